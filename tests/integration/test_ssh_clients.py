"""Programs that people use SSH by, unmodified, through gateway and agent to a real sshd.

The tests of `test_ssh` and `test_ssh_files` have OpenSSH's own programs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from tests.support import gateway, openssh
from tests.support.ansible import NAME, Ansible
from tests.support.gateway import GatewayRig
from tests.support.openssh import ACCOUNT, SshServer
from tests.support.processes import PATIENCE, TOP, Processes, wait_until
from tests.support.ssh_gateway import SshClient, SshTarget
from tests.support.ssh_programs import command, environment, is_there

_HOSTS = 4


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    """Start an sshd that takes many at once."""
    with openssh.running("MaxSessions 40") as started:
        yield started


@pytest.fixture(scope="module")
def rig(server: SshServer) -> Iterator[GatewayRig]:
    """Start a gateway with that server behind it."""
    web1 = SshTarget(name="web1", server=server, options=f'forwards = ["{server.address}"]')
    running = gateway.start(ssh=[web1])
    yield running
    running.stop()


@pytest.fixture(scope="module")
def alice(rig: GatewayRig) -> SshClient:
    """Somebody who may do everything."""
    return rig.ssh_client("web1")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder with a short name: sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="hg-ssh-") as made:
        yield Path(made)


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Stop what a test has started."""
    with Processes.for_a_while() as started:
        yield started


def needs(name: str) -> None:
    """Skip where a program is not installed."""
    if not is_there(name):
        pytest.skip(f"{name} is not installed: python -m tests.support.ssh_programs")


def git(*argv: str | Path, client: SshClient, folder: Path) -> str:
    """Run git, which reaches hosts as a client does."""
    variables = {
        "GIT_SSH_COMMAND": f"ssh -F {client.folder}/config",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.com",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@example.com",
    }
    done = subprocess.run(
        ["git", *map(str, argv)],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ansible(alice: SshClient, folder: Path) -> None:
    """Modules that are copied and run, a file, a command: and no host is lost.

    With 200 hosts and 50 at a time: ``python -m benchmarks ansible``.
    """
    needs(NAME)
    ansible = Ansible(folder / "ansible", alice, "web1", _HOSTS)
    (folder / "sent").write_text("of Ansible\n")
    try:
        played = ansible.play(
            "- ping:",
            f"- copy: {{src: {folder}/sent, dest: '{folder}/{{{{ inventory_hostname }}}}'}}",
            "- raw: echo raw {{ inventory_hostname }}",
            forks=_HOSTS,
            patience=PATIENCE * 4,
        )
    finally:
        ansible.leave(alice.argv("ssh"))
    assert played.lost == (), played.output
    assert set(played.ok.values()) == {3}
    for host in played.ok:
        assert (folder / host).read_text() == "of Ansible\n"


def test_asyncssh(rig: GatewayRig, alice: SshClient, processes: Processes, folder: Path) -> None:
    """With the certificate in an agent: in a file it would refuse our critical option itself."""
    needs("asyncssh")
    agent = processes.start("ssh-agent", ["ssh-agent", "-D", "-a", str(folder / "agent")])
    agent.wait_until("it listens", (folder / "agent").exists)
    at_agent = {"SSH_AUTH_SOCK": str(folder / "agent")}
    added = subprocess.run(
        ["ssh-add", "-q", str(alice.folder / "id")], env={**os.environ, **at_agent}, check=False
    )
    assert added.returncode == 0
    program = command(
        str(TOP / "tests" / "integration" / "ssh_asyncssh.py"),
        *("127.0.0.1", str(rig.ssh_port), f"{ACCOUNT}+web1", str(alice.folder)),
    )
    done = subprocess.run(
        program,
        env=environment("asyncssh", alice.folder, **at_agent),
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr


def test_paramiko(rig: GatewayRig, alice: SshClient, folder: Path) -> None:
    """It knows no certificates of hosts, and so gets the plain key, which is not checked here."""
    key = paramiko.Ed25519Key.from_private_key_file(str(alice.folder / "id"))
    key.load_certificate(str(alice.folder / "id-cert.pub"))
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.MissingHostKeyPolicy())
        client.connect(
            "127.0.0.1",
            rig.ssh_port,
            username=f"{ACCOUNT}+web1",
            pkey=key,
            allow_agent=False,
            look_for_keys=False,
            timeout=PATIENCE,
        )
        _, output, errors = client.exec_command("cat; echo err >&2; exit 3", timeout=PATIENCE)
        output.channel.sendall(b"in")
        output.channel.shutdown_write()
        assert (output.read(), errors.read()) == (b"in", b"err\n")
        assert output.channel.recv_exit_status() == 3
        with client.open_sftp() as sftp:
            (folder / "sent").write_bytes(os.urandom(1_000_000))
            sftp.put(str(folder / "sent"), str(folder / "moved"))
            sftp.get(str(folder / "moved"), str(folder / "back"))
    assert (folder / "back").read_bytes() == (folder / "sent").read_bytes()


def test_git(alice: SshClient, folder: Path) -> None:
    """Clone and push, with more than one window of content."""
    there = folder / "there.git"
    git("init", "-q", "--bare", "-b", "main", there, client=alice, folder=folder)
    git("clone", "-q", f"ssh://web1{there}", "one", client=alice, folder=folder)
    one = folder / "one"
    (one / "big").write_bytes(os.urandom(5_000_000))
    for words in (["add", "big"], ["commit", "-qm", "big"], ["push", "-q", "origin", "HEAD:main"]):
        git(*words, client=alice, folder=one)
    git("clone", "-q", f"ssh://web1{there}", "two", client=alice, folder=folder)
    assert (folder / "two" / "big").read_bytes() == (one / "big").read_bytes()


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_rsync(alice: SshClient, folder: Path) -> None:
    """A tree there and back, and again, when there is nothing to do."""
    here, there, back = (folder / name for name in ("here", "there", "back"))
    (here / "a" / "b").mkdir(parents=True)
    (here / "a" / "big").write_bytes(os.urandom(4_000_000))
    (here / "a" / "b" / "small").write_text("small")
    base = ["rsync", "-a", "--stats", "-e", f"ssh -F {alice.folder}/config"]
    for source, sink in ((f"{here}/", f"web1:{there}"), (f"web1:{there}/", str(back))):
        for moved in (2, 0):
            done = subprocess.run(
                [*base, source, sink],
                capture_output=True,
                text=True,
                timeout=PATIENCE * 2,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert f"files transferred: {moved}\n" in done.stdout
    assert (back / "a" / "big").read_bytes() == (here / "a" / "big").read_bytes()


def test_many_channels_of_one_connection(alice: SshClient, folder: Path) -> None:
    """``ControlMaster``: twenty commands beside one another, and each has its own answer."""
    control = ["-o", f"ControlPath={folder}/control"]
    start = ["-o", "ControlMaster=yes", "-o", "ControlPersist=60", "-fN"]
    alice.ssh(*control, *start, "web1")
    running = []
    try:
        for number in range(20):
            program = alice.argv("ssh", *control, "web1", f"echo {number}; cat")
            running.append(subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        for number, each in enumerate(running):  # all of them live before the first one ends
            assert each.stdout is not None
            assert each.stdout.readline() == b"%d\n" % number
        for number, each in enumerate(running):
            assert each.communicate(b"%d" % number, timeout=PATIENCE)[0] == b"%d" % number
    finally:
        for each in running:
            each.kill()
            each.wait()
        alice.ssh(*control, "-O", "exit", "web1", status=None)
    wait_until("the master is gone", lambda: not (folder / "control").exists())


def test_through_it_to_another_host(alice: SshClient, server: SshServer, folder: Path) -> None:
    """``ssh -J``: the inner session is between the client and the host that it knows."""
    key = folder / "inner"
    key.touch(mode=0o600)
    key.write_bytes(server.user_key)
    host, _, port = server.address.partition(":")
    (folder / "known").write_text(f"[{host}]:{port} {server.host_key}\n")
    text = (alice.folder / "config").read_text()
    inner = (
        f"Host inner\nHostName {host}\nPort {port}\nUser {ACCOUNT}\nIdentityFile {key}\n"
        f"CertificateFile none\nUserKnownHostsFile {folder}/known\nProxyJump web1\n"
    )
    (folder / "config").write_text(inner + text)
    done = subprocess.run(
        ["ssh", "-F", str(folder / "config"), "inner", "echo $SSH_CONNECTION"],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )
    assert re.fullmatch(rf"127\.0\.0\.1 \d+ 127\.0\.0\.1 {port}\n", done.stdout), done.stderr


def test_ssh_audit(rig: GatewayRig, folder: Path) -> None:
    """Nothing that it calls a failure is offered by the listener."""
    needs("ssh-audit")
    program = command("-m", "ssh_audit", "-jj", "-p", str(rig.ssh_port), "127.0.0.1")
    done = subprocess.run(
        program,
        env=environment("ssh-audit", folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )
    assert '"kex"' in done.stdout, done.stderr
    assert '"fail"' not in done.stdout, done.stdout
