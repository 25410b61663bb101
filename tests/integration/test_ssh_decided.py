"""What real SSH clients ask for, decided by policy and by people, at a real sshd."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hoopgw.identity.ssh_certificates import Restrictions
from hoopgw.policy.recorded import Question, QuestionReader, Retrial, Skipped
from hoopgw.policy.sets import PolicySet
from hoopgw.recording.decisions import DecisionLog
from tests.integration.test_recording import records_of
from tests.policy.world import ROOT
from tests.support import gateway, openssh
from tests.support.gateway import GatewayRig
from tests.support.processes import PATIENCE, Processes, wait_until
from tests.support.ssh_gateway import SshClient, SshTarget

SCHEMAS = {
    name: (ROOT / f"protocols/hoopgw_{name}/schema.cedarschema").read_text("utf-8")
    for name in ("ssh", "postgres")
}
POLICY = """
@id("connect") permit (principal, action == Ssh::Action::"connect", resource);

@id("developers-run")
permit (principal in Hoopgw::Group::"developers", action == Ssh::Action::"run", resource)
when { resource in [Ssh::Program::"echo", Ssh::Program::"cat", Ssh::Program::"id",
  Ssh::Program::"touch", Ssh::Program::"bash"] };

@id("developers-more")
permit (principal in Hoopgw::Group::"developers",
  action in [Ssh::Action::"shell", Ssh::Action::"tunnels", Ssh::Action::"subsystem",
    Ssh::Action::"writes", Ssh::Action::"reads"], resource);

@id("gated")
permit (principal in Hoopgw::Group::"developers",
  action in [Ssh::Action::"gated_shell", Ssh::Action::"run", Ssh::Action::"setenv"],
  resource in Ssh::Host::"gated")
when { action != Ssh::Action::"run" || resource in [Ssh::Program::"cd", Ssh::Program::"pwd",
  Ssh::Program::"export", Ssh::Program::"sleep"] };

@id("four-eyes") @approval("ops") @approval_ttl("15m")
forbid (principal, action == Ssh::Action::"run", resource)
when { resource in [Ssh::Program::"touch", Ssh::Program::"bash"] }
unless { context.approvals.contains("four-eyes") };

@id("shells") @approval("ops") @approval_ttl("15m")
forbid (principal, action == Ssh::Action::"shell", resource)
unless { context.approvals.contains("shells") };
"""


OPTIONS = """
patterns = { ticket = { pattern = 'TICKET-[0-9]{5}' } }

[targets.labels]
"/etc/hosts" = ["internal.hosts"]
"""


@pytest.fixture(scope="module")
def rig() -> Iterator[GatewayRig]:
    """Start an sshd, and a gateway with it behind."""
    with openssh.running() as server:
        web1 = SshTarget(name="web1", server=server, options=OPTIONS)
        gated = SshTarget(name="gated", server=server, options='shell = "gated"')
        started = gateway.start(policy=POLICY, ssh=[web1, gated])
        yield started
        started.stop()


@pytest.fixture(scope="module")
def alice(rig: GatewayRig) -> SshClient:
    """Return a developer."""
    return rig.ssh_client("web1")


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


def requests_of(rig: GatewayRig, text: str) -> list[dict[str, Any]]:
    """Return the requests for approval with these words, settled ones too."""
    found = rig.api("GET", "/v1/requests")["requests"]
    return [each for each in found if text in str(each)]


def vote(rig: GatewayRig, text: str, how: str) -> None:
    """Vote on the one request with these words."""
    wait_until("a request is filed", lambda: bool(requests_of(rig, text)))
    (request,) = requests_of(rig, text)
    rig.api("POST", f"/v1/requests/{request['id']}/{how}", {}, name="olga", groups=["ops"])


def test_what_is_permitted_runs(alice: SshClient) -> None:
    """Programs by their names, in pipes, too."""
    assert alice.ssh("web1", "echo a | cat").stdout == b"a\n"


@pytest.mark.parametrize(
    "command", ["rm x", "echo a; rm x", "echo $(rm x)", "x=rm; $x y", "env id", "id 'x", "./id"]
)
def test_what_is_not_does_not(alice: SshClient, command: str) -> None:
    """The status says so, and standard error why."""
    done = alice.ssh("web1", command, status=77)
    assert done.stdout == b""
    assert done.stderr.startswith(b"hoopgw: no policy permits alice to ")


def test_what_is_put_out_is_masked(alice: SshClient) -> None:
    """Secrets that nobody was permitted to see, on both streams; all of a file with labels."""
    told = "echo key AKIAIOSFODNN7EXAMPLE, TICKET-00417; echo password=hunter2 >&2"
    done = alice.ssh("web1", told)
    assert done.stdout == b"key ***, ***\n"
    assert done.stderr.endswith(b"password=***\n")
    hidden = alice.ssh("web1", "cat /etc/hosts")
    assert hidden.stdout.startswith(b"hoopgw: this shows /etc/hosts, which you may not see")
    assert b"localhost" not in hidden.stdout


def test_approved(rig: GatewayRig, alice: SshClient, processes: Processes, folder: Path) -> None:
    """It waits, says for whom, and runs once it is approved; what comes as input is dropped."""
    mark = folder / "approved"
    command = f"cat > {mark}; touch {mark}"
    argv = alice.argv("ssh", "web1", command)
    running = processes.start("held", ["sh", "-c", 'echo evil | exec "$@"', "sh", *argv])
    line = running.wait_for_line(r"held for approval by ops: request (\S+);")
    running.wait_for_line(f"hoopgw requests approve {line[1]}")
    assert not mark.exists()
    vote(rig, str(mark), "approve")
    assert running.process.wait(PATIENCE) == 0
    assert mark.read_bytes() == b""


def test_denied(rig: GatewayRig, alice: SshClient, processes: Processes, folder: Path) -> None:
    """The client ends with 77."""
    mark = folder / "denied"
    running = alice.start(processes, "held", "ssh", "web1", f"touch {mark}")
    vote(rig, str(mark), "deny")
    assert running.process.wait(PATIENCE) == 77
    assert not mark.exists()


def test_interrupted(rig: GatewayRig, alice: SshClient, processes: Processes, folder: Path) -> None:
    """Who presses Ctrl-C withdraws the request."""
    mark = folder / "interrupted"
    running = alice.start(processes, "held", "ssh", "web1", f"touch {mark}")
    running.wait_for_line("held for approval")
    running.process.send_signal(signal.SIGINT)
    running.process.wait(PATIENCE)

    def is_withdrawn() -> bool:
        return [each["state"] for each in requests_of(rig, str(mark))] == ["withdrawn"]

    wait_until("the request is withdrawn", is_withdrawn)
    assert not mark.exists()


def test_a_shell(rig: GatewayRig, alice: SshClient, processes: Processes) -> None:
    """It is held when it is opened."""
    argv = alice.argv("ssh", "-tt", "web1")
    running = processes.start("shell", ["sh", "-c", 'exec "$@" < /dev/null', "sh", *argv])
    running.wait_for_line("held for approval by ops")
    vote(rig, "an interactive shell", "deny")
    assert running.process.wait(PATIENCE) == 77


class Typing:
    """A client at a real terminal."""

    def __init__(self, argv: list[str]) -> None:
        self._fd, inner = pty.openpty()
        termios.tcsetwinsize(inner, (24, 200))
        self.process = subprocess.Popen(
            argv, stdin=inner, stdout=inner, stderr=inner, start_new_session=True
        )
        os.close(inner)
        self.seen = ""

    def type(self, text: str, *, until: str) -> str:
        """Type something when what came before is done; return what is shown up to something."""
        self.seen = ""
        os.write(self._fd, text.encode())
        return self.wait_for(until)

    def wait_for(self, text: str) -> str:
        """Return what is shown, up to a text."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self._fd], [], [], 1.0)[0]:
                self.seen += os.read(self._fd, 4096).decode()
        return self.seen

    def close(self) -> None:
        """Hang up."""
        os.close(self._fd)
        self.process.kill()
        self.process.wait(PATIENCE)


@pytest.fixture
def typing(rig: GatewayRig) -> Iterator[Typing]:
    """Open a gated shell."""
    terminal = Typing(rig.ssh_client("gated", name="gina").argv("ssh", "-q", "gated"))
    yield terminal
    terminal.close()


def test_a_gated_shell(rig: GatewayRig, typing: Typing, folder: Path) -> None:
    """Each line is a command of its own: run, refused, held or interrupted by itself."""
    (folder / "in here").mkdir()
    mark = folder / "in here" / "mark"
    typing.wait_for("@gated:~> \x1b[K")
    prompt = "in here> \x1b[K"  # and nothing typed behind it
    typing.type(f"cd {folder}\r", until=f"@gated:{folder}> \x1b[K")
    typing.type("cd 'in here'\r", until=prompt)
    typing.type("export WHO=gina\r", until=prompt)
    assert "\r\nI am gina\r\n" in typing.type('echo "I am $WHO"\r', until=prompt)
    assert "no policy permits gina to run rm" in typing.type("rm -rf mark\r", until=prompt)
    typing.type("touch mark\r", until="held for approval by ops")
    assert not mark.exists()
    vote(rig, "in here' && touch mark", "approve")
    typing.wait_for(prompt)
    assert mark.exists()
    typing.type("echo on; sleep 45\r", until="\r\non\r\n")
    typing.type("\x03", until="^C")
    typing.type("\x03", until=prompt)  # sshd passes no signals on to root's commands
    typing.type("exit 3\r", until="")
    assert typing.process.wait(PATIENCE) == 3


def test_a_gated_shell_of_a_pipe(rig: GatewayRig) -> None:
    """Without a terminal: lines come in, output goes out, and nothing else."""
    client = rig.ssh_client("gated", name="guy")
    done = client.ssh("-T", "gated", stdin=b"cd /\npwd\nrm x\necho a; echo b >&2\n")
    assert done.stdout == b"/\na\n"
    assert done.stderr.startswith(b"hoopgw: no policy permits guy to run rm x")
    assert done.stderr.endswith(b"b\n")
    client.ssh("-T", "gated", stdin=b"for f in a; do\necho a\n", status=2)
    client.ssh("-tt", "gated", stdin=b"exit 4\r", status=4)


def test_forwards_that_lead_nowhere(alice: SshClient) -> None:
    """To the host itself, its cloud's metadata, and other servers of SSH."""
    for where in ("127.0.0.1:80", "169.254.169.254:80", "localhost:80", "db1:22", "0x7f.1:80"):
        done = alice.ssh("-W", where, "web1", status=255)
        assert b"no forward leads to" in done.stderr, where


def test_a_certificate_for_one_command(rig: GatewayRig) -> None:
    """And without a terminal."""
    backup = rig.ssh_client("web1", name="backup", restrictions=Restrictions(command="echo done"))
    assert backup.ssh("web1", "echo done").stdout == b"done\n"
    for argv in (("web1", "echo done; id"), ("web1", "id"), ("web1",), ("-s", "web1", "sftp")):
        done = backup.ssh(*argv, status=77)
        assert b"for one command only" in done.stderr
    done = backup.ssh("-tt", "web1", "echo done", status=255)
    assert b"PTY allocation request failed" in done.stderr


def test_recorded(rig: GatewayRig) -> None:
    """What was decided, by which policies, and how it came out."""
    carol = rig.ssh_client("web1", name="carol")
    carol.ssh("web1", "echo out; cat x", status=1)
    records = records_of(rig, "carol")
    intents = [each for each in records if each["kind"] == "intent"]
    assert [each["decision"] for each in intents] == ["allow"]
    (result,) = (each for each in records if each["kind"] == "result")
    assert (result["intent"], result["outcome"]) == (intents[0]["sequence"], "exit 1")


def test_every_recorded_decision_is_what_policy_says_again(rig: GatewayRig) -> None:
    """Of all that the tests before this one did; what policy was not asked, it says nothing of."""
    rig.ssh_client("web1", name="dave").ssh("web1", "echo out; rm x", status=77)

    def asked() -> list[Question | Skipped]:
        log = DecisionLog(rig.settings.paths.log)
        return list(QuestionReader().read(log.records(log.begin(None))))

    def is_recorded() -> bool:
        mine = [q for q in asked() if isinstance(q, Question) and q.chain[0].name == "dave"]
        return any(q.recorded.word == "deny" for q in mine)

    wait_until("the log has it all", is_recorded)
    retrial = Retrial(PolicySet.load(rig.settings.policy.directory, SCHEMAS))
    words = set()
    for each in asked():
        if isinstance(each, Skipped):
            assert not each.is_fault, each
            continue
        again = retrial.judge(each)
        assert (again.word, again.because) == (each.recorded.word, each.recorded.because), each
        words.add(each.recorded.word)
    assert words >= {"allow", "deny"}
