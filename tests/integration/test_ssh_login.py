"""The user's side of SSH, with real programs: set-up, certificates, children, rotation."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from tests.support import gateway, openssh
from tests.support.delegating import PATIENCE, Person
from tests.support.gateway import GatewayRig
from tests.support.openssh import ACCOUNT
from tests.support.ssh_gateway import SshTarget

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def rig() -> Iterator[GatewayRig]:
    """Start a gateway with an sshd behind it, under two names."""
    with openssh.running() as server:
        web1 = SshTarget(name="web1", server=server)
        running = gateway.start(ssh=[web1, evolve(web1, name="web2")])
        try:
            yield running
        finally:
            running.stop()


@pytest.fixture
def alice(rig: GatewayRig) -> Iterator[Person]:
    """Somebody who has logged in, and set `ssh` up."""
    with Person.logged_in(rig) as person:
        done = person.run("ssh-config", "--account", ACCOUNT)
        assert done.returncode == 0, done.stderr
        yield person


def ssh(person: Person, *words: str | Path, program: str = "ssh", **env: str) -> Done:
    """Run a program with the configuration of a person."""
    return subprocess.run(
        [program, "-F", str(person.home / "ssh" / "config"), *map(str, words)],
        env=person.environment(HOME=str(person.home), **env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def expect(done: Done, output: str) -> None:
    """Check that a command ran."""
    assert (done.returncode, done.stdout) == (0, output), done.stderr


def test_it_just_works(alice: Person) -> None:
    """Nothing is asked, by name and by account; the certificate is got when it is needed."""
    certificate = alice.home / "ssh" / "id_ed25519-cert.pub"
    assert not certificate.exists()
    expect(ssh(alice, "web1", "echo one"), "one\n")
    first = certificate.read_text()
    expect(ssh(alice, f"{ACCOUNT}+web2", "echo two"), "two\n")
    assert certificate.read_text() == first


def test_a_good_certificate_needs_no_gateway_api(alice: Person) -> None:
    """And starts no program of ours."""
    expect(ssh(alice, "web1", "true"), "")
    (alice.home / "login.json").write_text("nonsense")
    expect(ssh(alice, "web1", "echo on"), "on\n")
    (alice.home / "ssh" / "id_ed25519.until").write_text("0 0\n")
    refused = ssh(alice, "-q", "web1", "true")
    assert refused.returncode == 255
    assert "run `hoopgw login`" in refused.stderr


def test_other_programs(alice: Person, rig: GatewayRig) -> None:
    """scp, sftp, rsync where it is there, and git."""
    folder = Path(tempfile.mkdtemp(prefix="hg-files-"))
    try:
        (folder / "a").write_text("content")
        done = ssh(alice, "-q", folder / "a", f"web1:{folder}/b", program="scp")
        assert (folder / "b").read_text() == "content", done.stderr
        (folder / "batch").write_text(f"get {folder}/a {folder}/c\n")
        ssh(alice, "-b", folder / "batch", "web1", program="sftp")
        assert (folder / "c").read_text() == "content"
        for words in (
            ["init", "-q", "--bare", f"{folder}/there"],
            ["init", "-q", f"{folder}/here"],
            ["-C", f"{folder}/here", "commit", "-q", "--allow-empty", "-m", "one"],
            ["-C", f"{folder}/here", "push", "-q", f"web1:{folder}/there", "HEAD:main"],
            ["clone", "-q", "-b", "main", f"ssh://web1{folder}/there", f"{folder}/again"],
        ):
            done = subprocess.run(
                ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *words],
                env=alice.environment(
                    GIT_SSH_COMMAND=f"ssh -q -F {alice.home}/ssh/config", HOME=str(alice.home)
                ),
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert done.returncode == 0, (words, done.stderr)
        assert (folder / "again" / ".git").is_dir()
    finally:
        shutil.rmtree(folder)


def test_in_one_step(rig: GatewayRig) -> None:
    """As in a job: a log-in, and nothing set up."""
    with Person.logged_in(rig, name="job") as job:
        home = {"HOME": str(job.home)}
        expect(job.run("ssh", f"{ACCOUNT}@web1", "echo step", env=home), "step\n")
        assert job.run("ssh", f"{ACCOUNT}@web1", "exit 9", env=home).returncode == 9


def test_a_revoked_log_in(alice: Person, rig: GatewayRig) -> None:
    """Its certificate is refused at once, however good it looks; the reason is said."""
    expect(ssh(alice, "web1", "true"), "")
    rig.api("POST", f"/v1/logins/{alice.session}/revoke", {})
    deadline = time.monotonic() + PATIENCE
    while (refused := ssh(alice, "web1", "true")).returncode == 0:
        assert time.monotonic() < deadline
    assert "was revoked" in refused.stderr


def test_rotation(alice: Person, rig: GatewayRig) -> None:
    """Both CAs are replaced, and nobody who renews in between notices."""
    expect(ssh(alice, "web1", "echo before"), "before\n")
    known = alice.home / "ssh" / "known_hosts"

    def keys(*words: str) -> Done:
        return alice.run("keys", *words, "--config", rig.folder / "hoopgw.toml")

    for key in ("ssh-users", "ssh-hosts"):
        done = keys("rotate", key)
        assert done.returncode == 0, done.stderr
    # The next host CA is told to whoever renews, and signs nothing before the operator says so.
    expect(alice.run("ssh-certificate", "--force", "--quiet"), "")
    assert known.read_text().count("@cert-authority") == 2
    expect(ssh(alice, "web1", "echo between"), "between\n")
    done = keys("rotate", "ssh-hosts", "--switch")
    assert done.returncode == 0, done.stderr
    shown = (rig.settings.paths.ssh_host_certificate).read_text()
    deadline = time.monotonic() + PATIENCE
    while True:  # the worker takes the new certificate when it is told
        done = ssh(alice, "-v", "web1", "echo after")
        expect(done, "after\n")
        if _authority(shown) in done.stderr:
            break
        assert time.monotonic() < deadline, done.stderr


def _authority(certificate: str) -> str:
    """Return the fingerprint of the CA of a certificate."""
    done = subprocess.run(
        ["ssh-keygen", "-L", "-f", "-"],
        input=certificate,
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if "Signing CA" in line)
    return next(word for word in line.split() if word.startswith("SHA256:"))


def test_a_child(alice: Person, rig: GatewayRig) -> None:
    """Acts as itself, with its own configuration and with its parent's; its key is in no file."""
    config = alice.home / "ssh" / "config"
    script = f"""
        set -e
        ssh -F "$HOOPGW_SSH_CONFIG" web1 'echo own'
        ssh -F {config} web1 'echo parents'
        git ls-remote web1:/nowhere 2>&1 | grep -c 'not appear to be a git' || true
        grep -rl 'PRIVATE KEY' "$(dirname "$HOOPGW_SSH_CONFIG")" || echo none
        ssh -F "$HOOPGW_SSH_CONFIG" {ACCOUNT}+web2 true || echo refused
    """
    # Its parent has no certificate at all: whatever works, works by the child's.
    shutil.rmtree(alice.home / "ssh")
    assert alice.run("ssh-config", "--account", ACCOUNT).returncode == 0
    done = alice.delegate(
        *("--to", "planner", "--allow", "web1:*", "--account", ACCOUNT, "-q", "--"),
        *("sh", "-c", script),
        env={"HOME": str(alice.home)},
    )
    lines = done.stdout.split()
    assert lines == ["own", "parents", "1", "none", "refused"], done.stderr
    assert not (alice.home / "ssh" / "id_ed25519").exists()


def test_a_grandchild_and_one_without_ssh(alice: Person) -> None:
    """Each has its own; who was given nothing on SSH does not fall back to the parent's."""
    expect(ssh(alice, "web1", "true"), "")
    config = alice.home / "ssh" / "config"
    inner = f"{sys.executable} -m hoopgw.cli"
    done = alice.delegate(
        *("--to", "planner", "--account", ACCOUNT, "-q", "--", "sh", "-c"),
        f"{inner} delegate --to worker -q -- {inner} ssh web1 'echo deep'",
    )
    expect(done, "deep\n")
    done = alice.delegate(
        *("--to", "reader", "--allow", "orders:*", "-q", "--", "sh", "-c"),
        f"ssh -F {config} web1 true || echo refused",
        env={"HOME": str(alice.home)},
    )
    assert done.stdout == "refused\n"
    assert "no SSH target was delegated to this process" in done.stderr
