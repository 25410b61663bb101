"""Real clients, through gateway and agent, to a real sshd: decided, recorded, ended in words."""

from __future__ import annotations

import filecmp
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import evolve

from hoopgw.identity.ssh_certificates import Restrictions
from tests.integration.test_recording import records_of
from tests.support import gateway, openssh
from tests.support.gateway import GatewayRig, process_of
from tests.support.openssh import ACCOUNT, SshServer
from tests.support.processes import SOON, Processes, Running, free_port, wait_until
from tests.support.ssh_gateway import SshClient, SshTarget


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    """Start an sshd."""
    with openssh.running() as started:
        yield started


@pytest.fixture(scope="module")
def rig(server: SshServer) -> Iterator[GatewayRig]:
    """Start a gateway with that server behind it, under several names."""
    web1 = SshTarget(name="web1", server=server, options=f'forwards = ["{server.address}"]')
    other = evolve(web1, name="other", host_key=openssh.public(server.folder / "user"))
    strict = evolve(web1, name="strict", durability="strict")
    running = gateway.start(ssh=[web1, other, strict], ssh_listener="attempts = 4")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def alice(rig: GatewayRig) -> SshClient:
    """Somebody who may do everything."""
    return rig.ssh_client("web1", "other", "strict")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder for files that go about."""
    with tempfile.TemporaryDirectory(prefix="hg-ssh-") as made:
        yield Path(made)


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Stop what a test has started."""
    with Processes.for_a_while() as started:
        yield started


@contextmanager
def no_room(pid: int) -> Iterator[None]:
    """Let a process write to no file: as on a full disk."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def works(client: SshClient, target: str = "web1") -> bool:
    """Say whether a command runs."""
    return client.ssh(target, "echo works", status=None).stdout == b"works\n"


def sleeping(client: SshClient, processes: Processes, mark: Path, target: str = "web1") -> Running:
    """Start a command that runs for long, and return its client once it runs."""
    # With a terminal: sshd lets a command without one live on when its connection is gone.
    command = f"echo $$ > {mark}; exec sleep 300"
    running = client.start(processes, f"ssh-{mark.name}", "ssh", "-tt", target, command)
    running.wait_until("the command runs", lambda: mark.exists() and mark.read_text().strip() != "")
    return running


def assert_ended(running: Running, mark: Path, said: str) -> None:
    """Check that the client ends and says why, and nothing runs on at the target."""
    assert running.process.wait(SOON) == 255
    running.wait_for_line(said)
    pid = mark.read_text().strip()
    wait_until("the command is gone", lambda: not Path(f"/proc/{pid}").exists())


# What clients do


def test_a_command(alice: SshClient) -> None:
    """Output, errors and status come as they are."""
    done = alice.ssh("web1", "echo out; echo err >&2; exit 7", status=7)
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_input(alice: SshClient) -> None:
    """All of it goes there and back."""
    sent = os.urandom(3_000_000)
    assert alice.ssh("web1", "cat", stdin=sent).stdout == sent


def test_a_shell(alice: SshClient) -> None:
    """Without a command, and with a terminal."""
    assert b"42\n" in alice.ssh("web1", stdin=b"echo $((6*7))\nexit\n").stdout
    assert b"/dev/pts/" in alice.ssh("-tt", "web1", stdin=b"tty\nexit\n").stdout


def test_environment_and_terminal(alice: SshClient) -> None:
    """What the server takes of the client's environment, and a terminal."""
    done = alice.ssh("-tt", "-o", "SetEnv=HG_X=seen", "web1", "echo $HG_X; tty; stty size")
    assert b"seen\r\n/dev/pts/" in done.stdout


def test_killed_by_a_signal(alice: SshClient) -> None:
    """As with any server: no status, and ssh says 255."""
    assert alice.ssh("web1", "kill -TERM $$", status=255).stdout == b""


def test_ciphers(alice: SshClient) -> None:
    """Those that there are."""
    for cipher in ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr"):
        assert alice.ssh("-c", cipher, "web1", "echo yes").stdout == b"yes\n"


def test_ways_to_name_a_target(alice: SshClient) -> None:
    """``account+target``; with a colon, too, in ssh."""
    for user in (f"{ACCOUNT}+web1", f"{ACCOUNT}:web1"):
        assert alice.ssh("-l", user, "web1", "echo yes").stdout == b"yes\n"


def test_files(alice: SshClient, folder: Path) -> None:
    """``scp`` in both of its ways, and ``sftp``."""
    here, there, back = (folder / name for name in ("here", "there", "back"))
    here.write_bytes(os.urandom(1_000_000))
    for mode in ((), ("-O",)):
        alice.run("scp", *mode, "-q", here, f"web1:{there}")
        alice.run("scp", *mode, "-q", f"web1:{there}", back)
        assert filecmp.cmp(here, back, shallow=False)
        there.unlink()
        back.unlink()
    batch = folder / "batch"
    batch.write_text(f"mkdir {folder}/d\nput {here} {folder}/d/x\nget {folder}/d/x {back}\n")
    alice.run("sftp", "-b", batch, "web1")
    assert filecmp.cmp(here, back, shallow=False)


def test_forwards(alice: SshClient, server: SshServer) -> None:
    """``-W`` to the sshd itself, whose version comes through; and ``-R``."""
    done = alice.ssh("-W", server.address, "web1", stdin=b"SSH-2.0-x\r\n")
    assert done.stdout.startswith(b"SSH-2.0-OpenSSH")
    port = free_port()
    bash = f"exec 3<>/dev/tcp/127.0.0.1/{port}; echo SSH-2.0-x >&3; head -c 15 <&3"
    forward = f"127.0.0.1:{port}:{server.address}"
    assert alice.ssh("-R", forward, "web1", f"bash -c '{bash}'").stdout == b"SSH-2.0-OpenSSH"


def test_several_on_one_connection(rig: GatewayRig, folder: Path) -> None:
    """With ControlMaster: many commands are one session."""
    bob = rig.ssh_client("web1", name="bob-shares")
    control = f"ControlPath={folder}/c"
    bob.ssh("-o", "ControlMaster=yes", "-o", control, "-fN", "web1")
    for number in range(4):
        assert bob.ssh("-o", control, "web1", f"echo {number}").stdout == f"{number}\n".encode()
    bob.ssh("-o", control, "-O", "exit", "web1")
    kinds = [record["kind"] for record in records_of(rig, "bob-shares")]
    assert kinds.count("session.started") == 1


def test_recorded(rig: GatewayRig) -> None:
    """From its start, with who it was, to its end."""
    carol = rig.ssh_client("web1", name="carol")
    carol.ssh("web1", "true")
    first, *_, last = records_of(rig, "carol")
    assert first["kind"] == "session.started"
    assert (first["target"], first["account"]) == ("web1", ACCOUNT)
    assert (first["method"], first["agent"]) == ("ssh-certificate", "local")
    assert (last["kind"], last["reason"]) == (
        "session.ended",
        "the client has closed the connection",
    )


# Who is not let in, and how that is said


def test_the_host_is_known_by_its_certificate(alice: SshClient, folder: Path) -> None:
    """One ``@cert-authority`` line is enough; without it, ssh does not connect."""
    said = alice.ssh("-v", "web1", "true").stderr
    assert b"Server host certificate: ssh-ed25519-cert-v01@openssh.com" in said
    (folder / "empty").touch()
    refused = alice.ssh("-o", f"UserKnownHostsFile={folder}/empty", "web1", "true", status=255)
    assert b"Host key verification failed" in refused.stderr


def test_who_is_not_let_in(rig: GatewayRig, alice: SshClient) -> None:
    """Each is told why."""
    wrong = (
        (alice, "nobody+web1", "the certificate is not for account nobody"),
        (alice, f"{ACCOUNT}+web9", "the certificate is not for target web9"),
        (alice, ACCOUNT, "connect as ACCOUNT+TARGET"),
        (rig.ssh_client("web1", age=700, lifetime=650), "", "the certificate is outside its time"),
        (rig.ssh_client("web1", groups=["nobody"]), "", "hoopgw: no policy permits alice"),
        (rig.ssh_client("web9"), f"{ACCOUNT}+web9", "there is no SSH target web9"),
        (
            rig.ssh_client("web1", restrictions=Restrictions(sources=("192.0.2.0/24",))),
            "",
            "the certificate may not be shown from here",
        ),
    )
    for client, user, said in wrong:
        done = client.ssh("-l", user or f"{ACCOUNT}+web1", "web1", "true", status=255)
        assert said in done.stderr.decode()
        assert done.stdout == b""


def test_targets_that_do_not_open(rig: GatewayRig, alice: SshClient) -> None:
    """Another host key, a credential that is not there, one that is not taken."""
    done = alice.ssh("other", "true", status=255)
    assert b"the host's key is not the one that is known" in done.stderr
    both = rig.ssh_client("web1", accounts=["keyless", "nobody"])
    done = both.ssh("-l", "keyless+web1", "web1", "true", status=255)
    assert b"the agent has no credential for keyless at the moment" in done.stderr
    done = both.ssh("-l", "nobody+web1", "web1", "true", status=255)
    assert b"the target does not take the agent's credential" in done.stderr


def test_refusals_are_recorded(rig: GatewayRig) -> None:
    """With who was refused what, from where, and why."""
    dan = rig.ssh_client("web1", name="dan", accounts=["keyless"])
    dan.ssh("-l", "keyless+web1", "web1", "true", status=255)
    found: list[str] = []

    def is_there() -> bool:
        log = b"".join(p.read_bytes() for p in rig.settings.paths.log.rglob("*") if p.is_file())
        found[:] = [name for name in ("session.refused", "keyless") if name.encode() in log]
        return len(found) == 2

    wait_until("the refusal is in the log", is_there)


# What ends in the middle


def test_revoked_while_a_command_runs(rig: GatewayRig, processes: Processes, folder: Path) -> None:
    """It ends at once, and whoever shows the certificate again is not let in."""
    eve = rig.ssh_client("web1", name="eve")
    running = sleeping(eve, processes, folder / "eve")
    rig.api("POST", f"/v1/logins/{eve.principal.session}/revoke", {})
    assert_ended(running, folder / "eve", "the log-in was revoked")
    assert b"revoked" in eve.ssh("web1", "true", status=255).stderr


def test_expired_while_a_command_runs(rig: GatewayRig, processes: Processes, folder: Path) -> None:
    """It ends when the log-in does."""
    frank = rig.ssh_client("web1", name="frank", lifetime=12)
    running = sleeping(frank, processes, folder / "frank")
    assert_ended(running, folder / "frank", "the log-in has expired")


def test_the_agent_dies(
    rig: GatewayRig, alice: SshClient, processes: Processes, folder: Path
) -> None:
    """What runs ends, new ones are told, and it may come back."""
    running = sleeping(alice, processes, folder / "mark")
    assert rig.agent is not None
    rig.agent.kill()
    assert_ended(running, folder / "mark", "the target, or the agent before it, has closed")
    done = alice.ssh("web1", "true", status=255)
    assert b"agent local is not connected" in done.stderr
    rig.start_agent()
    assert works(alice)


def test_a_full_disk(rig: GatewayRig, alice: SshClient, folder: Path) -> None:
    """Nothing runs unrecorded: neither in a new session, nor in one that is open."""
    control = f"ControlPath={folder}/c"
    alice.ssh("-o", "ControlMaster=yes", "-o", control, "-fN", "web1")
    number = iter(range(1_000))

    def is_refused() -> bool:
        """Whether it is known that nothing can be recorded; until then there is some room."""
        mark = folder / f"ran-{next(number)}"
        done = alice.ssh("-o", control, "web1", f"touch {mark}", status=None)
        assert mark.exists() == (done.returncode == 0), done.stderr
        return done.returncode != 0

    with no_room(process_of(rig, "recorder")):
        wait_until("commands are refused", is_refused)
        done = alice.ssh("web1", f"touch {folder}/new", status=None)
        assert (done.returncode, (folder / "new").exists()) == (255, False)
        assert b"record" in done.stderr
    wait_until("commands run again", lambda: works(alice))
    alice.ssh("-o", control, "-O", "exit", "web1", status=None)


def test_the_target_dies_and_the_gateway_stops(processes: Processes, folder: Path) -> None:
    """Each with its message; of a gateway of its own."""
    with openssh.running() as mortal, openssh.running() as other:
        targets = [
            SshTarget(name="mortal", server=mortal),
            SshTarget(name="web1", server=other),
        ]
        own = gateway.start(ssh=targets)
        try:
            gina = own.ssh_client("mortal", "web1", name="gina")
            first = sleeping(gina, processes, folder / "first", "mortal")
            second = sleeping(gina, processes, folder / "second", "web1")
            mortal.crash()
            assert_ended(first, folder / "first", "the target, or the agent before it, has closed")
            refused = gina.ssh("mortal", "true", status=255)
            assert b"the agent cannot reach mortal" in refused.stderr
            own.gateway.stop()
            assert_ended(second, folder / "second", "the gateway is shutting down")
        finally:
            own.stop()
