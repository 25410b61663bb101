"""What went over real SSH channels is recorded whole, verified, replayed, and watched."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests

from hoopgw.recording.content_files import ContentFolder
from hoopgw.recording.content_frames import ContentFrame, ContentReader, FrameKind
from hoopgw.recording.notes import Verifier
from hoopgw.recording.verification import Report, verify
from hoopgw.streams.asciicast import read_cast
from tests.cli.support import run
from tests.integration.test_ssh import no_room
from tests.integration.test_ssh_login import Typing
from tests.support import gateway, openssh
from tests.support.gateway import GatewayRig, process_of
from tests.support.openssh import SshServer
from tests.support.processes import Processes, wait_until
from tests.support.ssh_gateway import SshClient, SshTarget

OUT, ERR, IN = FrameKind.OUTPUT, FrameKind.STDERR, FrameKind.INPUT
_MENDED: float = 120.0
"""Seconds: the recorder looks twice."""


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    """Start an sshd."""
    with openssh.running() as started:
        yield started


@pytest.fixture(scope="module")
def rig(server: SshServer) -> Iterator[GatewayRig]:
    """Start a gateway with that server behind it, also as one whose commands' input is kept."""
    web1 = SshTarget(name="web1", server=server)
    keeping = SshTarget(name="keeping", server=server, options='record_input = "commands"')
    running = gateway.start(ssh=[web1, keeping])
    yield running
    running.stop()


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Stop what a test has started."""
    with Processes.for_a_while() as started:
        yield started


def client(rig: GatewayRig, name: str) -> SshClient:
    """Return somebody of that name, whose sessions can be told from others."""
    return rig.ssh_client("web1", "keeping", name=name)


def session_of(rig: GatewayRig, name: str, *, ended: bool = True) -> str:
    """Return a person's only session, once it is in the log, and has ended."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        sessions = rig.api("GET", "/v1/sessions", groups=["auditors"])["sessions"]
        found[:] = [each for each in sessions if each["path"] == name]
        return len(found) == 1 and (not ended or found[0]["ended"] is not None)

    wait_until("the session is in the log", is_there)
    return str(found[0]["id"])


def content_of(rig: GatewayRig, session: str) -> dict[str, Any]:
    """Return what the gateway says of a session's only content, once it says something."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        path = f"/v1/sessions/{session}/contents"
        with suppress(requests.HTTPError):  # one that has just begun is not known yet
            found[:] = rig.api("GET", path, groups=["auditors"])["contents"]
        return len(found) == 1

    wait_until("the content is in the log", is_there)
    return found[0]


def frames_of(rig: GatewayRig, session: str) -> list[ContentFrame]:
    """Return the frames of a session's first content, asked of the gateway."""
    reader, frames, after = ContentReader(), list[ContentFrame](), 0
    while True:
        path = f"/v1/sessions/{session}/contents/0?after={after}"
        page = rig.api("GET", path, groups=["auditors"])
        reader.receive(base64.b64decode(page["data"]))
        frames += reader.frames()
        after = page["next"]
        if page["last"]:
            return frames


def joined(frames: list[ContentFrame], kind: int) -> bytes:
    """Return what all frames of one kind hold."""
    return b"".join(frame.data for frame in frames if frame.kind == kind)


def verified(rig: GatewayRig) -> Report:
    """Return what an auditor finds in the gateway's folders."""
    paths = rig.settings.paths
    verifier = Verifier.decode((paths.log / "verifier").read_text())
    return verify(paths.log, verifier, ContentFolder(paths.contents))


def exported(rig: GatewayRig, session: str, *more: str) -> str:
    """Return a session's content as an asciicast, exported from the gateway's folders."""
    done = run("sessions", "export", session, "--log", rig.settings.paths.log, *more)
    assert done.status == 0, done.errors
    return done.output


def test_a_command(rig: GatewayRig) -> None:
    """Both streams, in order, and how it ended; of its input the hash."""
    sent = os.urandom(1_000)
    alice = client(rig, "rec-command")
    alice.ssh("web1", "echo out; echo err >&2; cat > /dev/null; exit 7", stdin=sent, status=7)
    session = session_of(rig, "rec-command")
    content, frames = content_of(rig, session), frames_of(rig, session)
    assert (joined(frames, OUT), joined(frames, ERR)) == (b"out\n", b"err\n")
    assert frames[-1].kind == FrameKind.EXIT
    assert frames[-1].data == b"7"
    assert (content["kind"], content["outcome"], content["state"]) == ("exec", "exit 7", "kept")
    assert (content["output"], content["stderr"], content["input"]) == (4, 4, 1_000)
    assert content["holds"] == ["output"]
    assert not joined(frames, IN)
    records = rig.api("GET", f"/v1/sessions/{session}/records", groups=["auditors"])["records"]
    (result,) = (each for each in records if each["kind"] == "result")
    assert (result["outcome"], result["intent"]) == ("exit 7", content["intent"])
    assert (
        hashlib.sha256(sent).digest().decode("utf-8", "backslashreplace")
        == (result["received_digest"])
    )
    assert records[-1]["kind"] == "session.ended"


def test_much_output(rig: GatewayRig) -> None:
    """What the client got, to the last byte; and it is what the log vouches for."""
    alice = client(rig, "rec-much")
    got = alice.ssh("web1", "head -c 30000000 /dev/urandom").stdout
    session = session_of(rig, "rec-much")
    frames = frames_of(rig, session)
    assert hashlib.sha256(joined(frames, OUT)).digest() == hashlib.sha256(got).digest()
    name = f"{session}.0"
    data = (rig.settings.paths.contents / "kept" / name).read_bytes()
    assert content_of(rig, session)["digest"] == hashlib.sha256(data).hexdigest()
    assert content_of(rig, session)["size"] > len(got) == 30_000_000


def test_a_terminal(rig: GatewayRig) -> None:
    """What it showed; a password that was typed without echo is nowhere."""
    alice = client(rig, "rec-terminal")
    secret = "hunter2-not-to-be-kept"
    script = f'read -rs -p "Password: " x; echo; echo "length ${{#x}}"; exit\n{secret}\n'
    alice.ssh("-tt", "web1", stdin=script.encode(), status=None)
    session = session_of(rig, "rec-terminal")
    content = content_of(rig, session)
    assert (content["kind"], bool(content["term"])) == ("shell", True)
    frames = frames_of(rig, session)
    shown = joined(frames, OUT)
    assert b"Password: " in shown
    assert not joined(frames, IN)
    assert content["input"] == len(script)
    cast = read_cast(exported(rig, session))
    assert cast.header["title"].startswith("rec-terminal > web1: shell")
    assert "Password: " in "".join(event.data for event in cast.events if event.code == "o")


def test_output_that_attacks_who_watches(rig: GatewayRig) -> None:
    """The client got it and the file holds it; a replay and an export leave it out."""
    alice = client(rig, "rec-attack")
    attack = r"\033]52;c;cm0gLXJmIC8K\007\033[21t\033[6n\033]0;x\007\033[31mred\033[0m\n"
    assert b"\x1b]52;c;" in alice.ssh("-tt", "web1", f"printf '{attack}'").stdout
    session = session_of(rig, "rec-attack")
    wait_until("it was put away", lambda: content_of(rig, session)["state"] == "kept")
    assert b"\x1b]52;c;" in joined(frames_of(rig, session), OUT)
    shown = "".join(event.data for event in read_cast(exported(rig, session)).events)
    assert shown == "\x1b[31mred\x1b[0m\r\n"
    raw = "".join(event.data for event in read_cast(exported(rig, session, "--raw")).events)
    assert "\x1b]52;c;cm0gLXJmIC8K\x07" in raw
    replayed = run("sessions", "replay", session, "--log", rig.settings.paths.log)
    assert "\x1b" not in replayed.output
    assert "\nred\n" in replayed.output


def test_input_where_the_target_says_so(rig: GatewayRig) -> None:
    """Of commands without a terminal; with one it is not kept."""
    alice = client(rig, "rec-input")
    alice.ssh("keeping", "cat", stdin=b"kept\n")
    session = session_of(rig, "rec-input")
    assert content_of(rig, session)["holds"] == ["input", "output"]
    assert joined(frames_of(rig, session), IN) == b"kept\n"
    typing = client(rig, "rec-typing")
    typing.ssh("-tt", "keeping", stdin=b"exit\n", status=None)
    assert content_of(rig, session_of(rig, "rec-typing"))["holds"] == ["output"]


def test_while_it_goes_on(rig: GatewayRig, processes: Processes) -> None:
    """It can be read up to now, and on; and it is cut, which the recording says."""
    alice = client(rig, "rec-live")
    command = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.05; done"
    running = alice.start(processes, "live", "ssh", "-tt", "web1", command)
    running.wait_for_line("line 3")
    session = session_of(rig, "rec-live", ended=False)
    content_of(rig, session)
    first = joined(frames_of(rig, session), OUT)
    assert first.startswith(b"line 0\r\n")
    wait_until("more is there", lambda: len(joined(frames_of(rig, session), OUT)) > len(first))
    rig.api("POST", f"/v1/sessions/{session}/cut", {"reason": "enough"})
    assert session_of(rig, "rec-live") == session
    wait_until("it was put away", lambda: content_of(rig, session)["state"] == "kept")
    assert content_of(rig, session)["outcome"]


def test_frozen(rig: GatewayRig, server: SshServer) -> None:
    """What is typed does not get to a frozen shell; then it does, and a frozen one can be cut."""
    typing = Typing(client(rig, "rec-frozen").argv("ssh", "-tt", "web1"))
    typing.enter("echo ready-$((1 + 1))")
    typing.read_until("ready-2")
    session = session_of(rig, "rec-frozen", ended=False)
    rig.api("POST", f"/v1/sessions/{session}/freeze", {"reason": "a look"})
    typing.read_until(r"hoopgw: frozen by root: a look\. Nothing goes through")
    there = server.folder / "typed-while-frozen"
    typing.enter(f"touch {there}; echo done-$((2 + 2))")
    assert client(rig, "rec-beside").ssh("web1", "echo yes").stdout == b"yes\n"
    assert not there.exists()
    assert "done" not in typing.seen
    rig.api("POST", f"/v1/sessions/{session}/thaw", {})
    typing.read_until(r"(?s)hoopgw: thawed by root\..*done-4")
    assert there.exists()
    rig.api("POST", f"/v1/sessions/{session}/freeze", {})
    typing.read_until(r"hoopgw: frozen by root\.")
    rig.api("POST", f"/v1/sessions/{session}/cut", {"reason": "enough"})
    assert typing.wait() == 255
    assert session_of(rig, "rec-frozen") == session
    records = rig.api("GET", f"/v1/sessions/{session}/records", groups=["auditors"])["records"]
    kinds = [each["kind"] for each in records]
    told = [kind for kind in kinds if kind in ("session.frozen", "session.thawed")]
    assert told == ["session.frozen", "session.thawed", "session.frozen"]
    assert {each["by"] for each in records if each["kind"] in told} == {"root"}


def test_a_full_disk(rig: GatewayRig, processes: Processes) -> None:
    """The channel ends, its client is told why, and nothing new begins; then all is well again."""
    alice = client(rig, "rec-full")
    command = "while :; do echo on and on; sleep 0.02; done"
    running = alice.start(processes, "full", "ssh", "web1", command)
    running.wait_for_line("on and on")
    with no_room(process_of(rig, "worker")):
        assert running.process.wait(60) == 77
        running.wait_for_line("the recording cannot be written")
        refused = client(rig, "rec-full-2").ssh("web1", "echo done >&2", status=None)
        assert refused.returncode != 0
        assert b"done\n" not in refused.stderr
    assert client(rig, "rec-full-3").ssh("web1", "echo yes").stdout == b"yes\n"
    session = session_of(rig, "rec-full")
    assert "the recording cannot be written" in content_of(rig, session)["outcome"]


def test_a_killed_worker(rig: GatewayRig, processes: Processes) -> None:
    """What was shown is there; the recorder names what is left, and an auditor finds no fault."""
    alice = client(rig, "rec-killed")
    command = "i=0; while :; do echo $i; i=$((i+1)); done"
    running = alice.start(processes, "killed", "ssh", "web1", command)
    running.wait_for_line("1000")
    session = session_of(rig, "rec-killed", ended=False)
    os.kill(process_of(rig, "worker"), signal.SIGKILL)
    assert running.process.wait(60) == 255
    content: dict[str, Any] = {}

    def is_mended() -> bool:
        content.update(content_of(rig, session))
        return content["state"] == "kept" and content["digest"] is not None

    wait_until("the recorder has closed it", is_mended, _MENDED)
    assert content["mended"]
    assert content["outcome"] == "its worker died"
    recorded = joined(frames_of(rig, session), OUT)
    numbers = recorded.split(b"\n")[:-1]
    assert numbers == [str(number).encode() for number in range(len(numbers))]
    shown = [line for line in running.output.splitlines() if line.isdigit()]
    assert recorded.startswith("\n".join(shown).encode())
    wait_until("gateway and agent are there", lambda: works(rig))
    assert verified(rig).problems == ()


def works(rig: GatewayRig) -> bool:
    """Say whether a command runs."""
    done = client(rig, f"rec-works-{os.urandom(4).hex()}").ssh("web1", "echo yes", status=None)
    return done.stdout == b"yes\n"


def test_modes(rig: GatewayRig) -> None:
    """Files and folders are the gateway's own."""
    contents = rig.settings.paths.contents
    assert contents.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o700 for path in contents.iterdir())
    files = [path for path in contents.glob("*/*") if path.is_file()]
    assert files
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)


def test_tampering(rig: GatewayRig) -> None:
    """One bit of one content, wherever: found; and what is put back is in order again."""
    alice = client(rig, "rec-tampered")
    alice.ssh("web1", "seq 1 1000")
    session = session_of(rig, "rec-tampered")
    content_of(rig, session)
    path = rig.settings.paths.contents / "kept" / f"{session}.0"
    wait_until("it was put away", path.exists)
    assert verified(rig).problems == ()
    data = path.read_bytes()
    for at in (3, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        (problem,) = verified(rig).problems
        assert problem.where == f"contents, {path.name}"
    path.unlink()
    assert "no record says that it was removed" in verified(rig).problems[0].what
    path.write_bytes(data)
    assert verified(rig).problems == ()
