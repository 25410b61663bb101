"""The user's side of SSH, with real programs: set-up, certificates, children, rotation."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hoopgw.identity.keyfiles import load_signing_key
from hoopgw.identity.ssh_certificates import public_line
from tests.oidc.nano import NanoProvider
from tests.support import gateway, openssh
from tests.support.delegating import PATIENCE, Person
from tests.support.gateway import GatewayRig
from tests.support.openssh import ACCOUNT
from tests.support.processes import Processes, wait_until
from tests.support.ssh_gateway import SshTarget

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def provider() -> Iterator[NanoProvider]:
    """Start an issuer with device codes."""
    with Processes.for_a_while() as processes:
        yield NanoProvider.start(processes, processes.folder / "idp")


@pytest.fixture(scope="module")
def rig(provider: NanoProvider) -> Iterator[GatewayRig]:
    """Start a gateway with an sshd behind it, under two names."""
    issuer = f"""
[[identity.issuers]]
alias = "corp"
issuer = "{provider.url}"
client_id = "hoopgw-cli"
audiences = ["hoopgw"]
allow_http = true
[identity.issuers.group_names]
dba = "developers"
"""
    with openssh.running() as server:
        web1 = SshTarget(name="web1", server=server)
        running = gateway.start(
            ssh=[web1, evolve(web1, name="web2")], ssh_listener='device_code = "corp"', extra=issuer
        )
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


def plain(rig: GatewayRig, *words: str, target: str = "web1") -> list[str]:
    """Return a command of somebody who has nothing but `ssh`, and the gateway's CA."""
    paths = rig.settings.paths
    key = load_signing_key(paths.ssh_hosts_key).public_key
    assert isinstance(key, Ed25519PublicKey)
    known = rig.folder / "plain-known"
    known.write_text(f"@cert-authority * {public_line(key)}\n")
    return [
        *("ssh", "-F", "none", "-p", str(rig.ssh_port), "-o", f"UserKnownHostsFile={known}"),
        *("-o", "StrictHostKeyChecking=yes", "-o", "IdentityFile=none", "-q", *words),
        f"{ACCOUNT}+{target}@127.0.0.1",
    ]


class Typing:
    """Somebody at a terminal, which `ssh` asks."""

    def __init__(self, command: list[str]) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ.pop("SSH_AUTH_SOCK", None)
            os.execvp(command[0], command)  # noqa: S606  # of the test's own making
        self.seen = ""

    def read_until(self, pattern: str) -> re.Match[str]:
        """Read what is shown, up to something."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.seen)) is None:
            ready, _, _ = select.select([self._fd], [], [], 1.0)
            try:
                piece = os.read(self._fd, 4096).decode() if ready else ""
            except OSError:  # it has ended
                piece = None
            assert piece is not None and time.monotonic() < deadline, self.seen  # noqa: PT018
            self.seen += piece
        return found

    def enter(self, text: str = "") -> None:
        """Type something, press Enter, and forget what was shown before."""
        self.seen = ""
        os.write(self._fd, f"{text}\n".encode())

    def wait(self) -> int:
        """Return the status that it ends with."""
        with contextlib.suppress(AssertionError):
            self.read_until("nothing of the kind is ever shown")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_device_code(rig: GatewayRig, provider: NanoProvider) -> None:
    """With nothing but `ssh`, quiet too: a code in the question, approved in a browser."""
    terminal = Typing([*plain(rig), "echo let in; sleep 300"])
    asked = terminal.read_until(r"open (\S+) and enter (\S+?),? .*press Enter")
    assert provider.url in asked[1]
    terminal.enter()
    terminal.read_until("Not approved yet")  # the gateway has waited a while for it
    provider.approve_device(asked[2])
    terminal.enter()
    terminal.read_until("let in")
    started = live_start(rig)
    assert (started["account"], started["method"]) == (ACCOUNT, "device-code")
    # It is a log-in like any other: it can be revoked, and its sessions end.
    rig.api("POST", f"/v1/logins/{started['login']}/revoke", {})
    assert terminal.wait() == 255


def live_start(rig: GatewayRig) -> dict[str, Any]:
    """Return the first record of the only session that lives, once the log has it."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        with contextlib.suppress(requests.HTTPError):
            live = rig.api("GET", "/v1/sessions?live=true", groups=["auditors"])["sessions"]
            if len(live) == 1:
                path = f"/v1/sessions/{live[0]['id']}/records"
                found[:] = rig.api("GET", path, groups=["auditors"])["records"]
        return bool(found)

    wait_until("the session is in the log", is_there)
    return found[0]


def test_device_codes_are_not_for_batches(rig: GatewayRig) -> None:
    """Nobody is there to be asked: it fails at once."""
    done = subprocess.run(
        [*plain(rig, "-o", "BatchMode=yes"), "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 255


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
