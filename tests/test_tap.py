"""Tests for `hoopgw.tap` and `hoopgw.processes.supervisor`: who is started, and ended in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.processes import supervisor
from hoopgw.processes.supervisor import Supervisor
from tests.support.processes import free_port, python_environment


class FakeTransport:
    """A process that ends when a test says so."""

    def __init__(self, role: str, watch: Any, signals: list[tuple[str, str]]) -> None:
        self.role, self.watch, self.signals = role, watch, signals
        self.pid = 4711

    def signalProcess(self, name: str) -> None:
        """Note a signal."""
        self.signals.append((self.role, name))

    def end(self, status: int = 0, killed: int | None = None) -> None:
        """End the process."""
        reason: Exception = ProcessDone(0)
        if status or killed:
            reason = ProcessTerminated(status or None, killed)
        self.watch.processEnded(Failure(reason))


class FakeReactor(Clock):
    """Starts processes that are none."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[str] = []
        self.processes: dict[str, FakeTransport] = {}
        self.signals: list[tuple[str, str]] = []
        self.broken = False

    def spawnProcess(self, watch: Any, _program: str, argv: list[str], **_rest: Any) -> Any:
        """Start one."""
        if self.broken:
            raise OSError("no more processes")
        role = argv[2].rpartition(".")[2]
        self.started.append(role)
        self.processes[role] = FakeTransport(role, watch, self.signals)
        return self.processes[role]

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        """Call it soon, as the real one does."""
        self.callLater(0, call, *arguments)


class SupervisorCase(SynchronousTestCase):
    """A supervisor over processes that are none."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.ended: list[int] = []
        self.supervisor = Supervisor(
            path=Path("hoopgw.toml"),
            control_socket=Path("none.sock"),
            reactor=self.reactor,
            end_with=self.ended.append,
        )
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        self.supervisor.startService()
        self.processes = self.reactor.processes


class StopTests(SupervisorCase):
    """Worker, control, recorder: one after the other."""

    def test_the_order(self) -> None:
        self.assertEqual(self.reactor.started, ["recorder", "control", "worker"])
        stopped = self.supervisor.stopService()
        for role in ("worker", "control", "recorder"):
            self.assertEqual(self.reactor.signals[-1], (role, "TERM"))
            self.assertNoResult(stopped)
            self.processes[role].end()
        self.successResultOf(stopped)
        self.assertEqual(len(self.reactor.signals), 3)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_who_does_not_end_is_killed(self) -> None:
        """Then it is the next one's turn, and no sooner."""
        stopped = self.supervisor.stopService()
        self.reactor.advance(supervisor.STOP_PATIENCE - 0.1)
        self.assertEqual(self.reactor.signals, [("worker", "TERM")])
        self.reactor.advance(0.1)
        self.assertEqual(self.reactor.signals, [("worker", "TERM"), ("worker", "KILL")])
        self.processes["worker"].end(killed=9)
        self.assertEqual(self.reactor.signals[-1], ("control", "TERM"))
        self.processes["control"].end()
        self.processes["recorder"].end()
        self.successResultOf(stopped)

    def test_one_that_waits_to_be_started_again(self) -> None:
        """It is not started any more, and nobody waits for it."""
        self.processes["worker"].end(status=1)
        stopped = self.supervisor.stopService()
        self.assertEqual(self.reactor.signals, [("control", "TERM")])
        self.processes["control"].end()
        self.processes["recorder"].end()
        self.successResultOf(stopped)
        self.reactor.advance(60)
        self.assertEqual(len(self.reactor.started), 3)

    def test_sighup_is_given_back(self) -> None:
        """After the end, SIGHUP means what it meant."""
        mine = signal.getsignal(signal.SIGHUP)
        self.supervisor.stopService()
        self.assertIsNot(signal.getsignal(signal.SIGHUP), mine)


class RestartTests(SupervisorCase):
    """Who ends is started again, later each time."""

    def test_delays(self) -> None:
        for delay in (0.5, 1.0, 2.0):
            self.processes["control"].end(status=1)
            self.reactor.advance(delay - 0.01)
            self.assertEqual(
                self.reactor.started.count("control"), 1 + [0.5, 1.0, 2.0].index(delay)
            )
            self.reactor.advance(0.01)
        self.assertEqual(self.reactor.started.count("control"), 4)
        self.assertEqual(self.reactor.started.count("worker"), 1)

    def test_a_long_life_is_forgiven(self) -> None:
        for _ in range(8):
            self.processes["worker"].end(killed=9)
            self.reactor.advance(supervisor.LAST_DELAY)
        self.reactor.advance(supervisor.STEADY + 1)
        self.processes["worker"].end(killed=9)
        self.reactor.advance(supervisor.FIRST_DELAY)
        self.assertEqual(self.reactor.started.count("worker"), 10)

    def test_no_process_is_to_be_had(self) -> None:
        """It is tried again, for ever."""
        self.reactor.broken = True
        self.processes["worker"].end(killed=9)
        self.reactor.pump([0.5, 1.0, 2.0])
        self.assertEqual(self.reactor.started.count("worker"), 1)
        self.reactor.broken = False
        self.reactor.advance(4.0)
        self.assertEqual(self.reactor.started.count("worker"), 2)

    def test_a_refusal_ends_the_gateway(self) -> None:
        """Status 2 is not tried again, and becomes the gateway's own."""
        self.processes["recorder"].end(status=2)
        self.assertEqual(self.ended, [2])
        self.reactor.advance(120)
        self.assertEqual(self.reactor.started.count("recorder"), 1)


class TwistdTests(SynchronousTestCase):
    """The whole program, where its processes cannot work."""

    def run_twistd(self, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run the gateway until it ends by itself."""
        program = "from twisted.scripts.twistd import run; run()"
        return subprocess.run(
            [
                *(sys.executable, "-c", program, "--nodaemon", f"--pidfile={folder / 'pid'}"),
                *("hoopgw", "--config", str(folder / "hoopgw.toml")),
            ],
            env={**os.environ, **python_environment()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_a_state_folder_that_is_not_there(self) -> None:
        """The gateway says why, ends with status 2, and leaves no pid file."""
        folder = Path(self.mktemp()).absolute()
        (folder / "policies").mkdir(parents=True)
        # Whichever of the processes ends first: it is all that is wrong.
        (folder / "policies" / "all.cedar").write_text("permit (principal, action, resource);")
        port = free_port()
        (folder / "hoopgw.toml").write_text(
            f"""
state = "/tmp/hg-none-{os.getpid()}"
name = "gw1"
[control]
listen = "127.0.0.1:{port}"
[link]
listen = "unix:/tmp/hg-none-{os.getpid()}/link.sock"
agent_uids = [0]
[policy]
directory = "policies"
"""
        )
        ended = self.run_twistd(folder)
        self.assertEqual(ended.returncode, 2, ended.stdout + ended.stderr)
        self.assertIn("hoopgw init", ended.stdout + ended.stderr)
        self.assertIn("the gateway stops", ended.stdout + ended.stderr)
        self.assertFalse((folder / "pid").exists())
