"""Tests for `hoopgw.demo.processes`."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.demo.processes import Children, DemoError, free_port, is_listening

_STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
signal.pause()
"""


class ChildrenTests(SynchronousTestCase):
    """Processes are started, watched and stopped."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.children = Children(self.folder)
        self.addCleanup(self.children.stop)

    def start(self, name: str, program: str) -> None:
        self.children.start(name, [sys.executable, "-c", program])

    def test_stopped_in_reverse(self) -> None:
        """What was started last is stopped first."""
        for name in ("one", "two", "three"):
            self.start(name, "import signal; signal.pause()")
        stopped: list[str] = []
        self.children.stop(stopped.append)
        self.assertEqual(stopped, ["three", "two", "one"])

    def test_one_that_ends_is_told_with_its_log(self) -> None:
        """A process that dies explains itself."""
        self.start("weak", "import sys; sys.exit('no disk')")
        error = self.assertRaises(
            DemoError, self.children.wait_until, "the start", lambda: False, 10.0
        )
        self.assertIn("weak ended with status 1", str(error))
        self.assertIn("no disk", str(error))

    def test_patience_ends(self) -> None:
        """A wait has a deadline."""
        error = self.assertRaises(
            DemoError, self.children.wait_until, "the start", lambda: False, 0.0
        )
        self.assertIn("the start did not happen", str(error))

    def test_a_stubborn_one_is_killed_with_what_it_started(self) -> None:
        """Nothing is left of a process that does not stop when it is asked."""
        self.patch(sys.modules["hoopgw.demo.processes"], "STOP_PATIENCE", 0.2)
        self.start("stubborn", _STUBBORN)
        log = self.folder / "stubborn.log"
        self.children.wait_until("its child", lambda: log.read_text().endswith("\n"), 10.0)
        grandchild = int(log.read_text())
        self.children.stop()
        there = Path(f"/proc/{grandchild}/exe")  # what was killed takes a moment to go
        self.children.wait_until("the grandchild's end", lambda: not there.exists(), 20.0)

    def test_what_is_not_there_does_not_start(self) -> None:
        """A missing program is one clear error."""
        error = self.assertRaises(DemoError, self.children.start, "x", [str(self.folder / "none")])
        self.assertIn("x did not start", str(error))

    def test_the_kernel_ends_them_with_us(self) -> None:
        """If the demonstration is killed, its processes are asked to stop."""
        folder = self.folder / "inner"
        folder.mkdir()
        program = (
            "import os, signal, sys, pathlib\n"
            "from hoopgw.demo.processes import Children\n"
            f"children = Children(pathlib.Path({str(folder)!r}))\n"
            "c = children.start('x', [sys.executable, '-c', 'import signal; signal.pause()'])\n"
            "print(c.pid, flush=True)\n"
            "signal.pause()\n"
        )
        outer = self.children.start(
            "outer",
            [sys.executable, "-c", program],
            env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )
        log = self.folder / "outer.log"
        self.children.wait_until("its child", lambda: log.read_text().endswith("\n"), 20.0)
        inner = Path(f"/proc/{int(log.read_text())}/exe")
        os.kill(outer.pid, signal.SIGKILL)
        outer.process.wait()
        others = Children(self.folder)
        others.wait_until("the end of the inner one", lambda: not inner.exists(), 10.0)


class PortTests(SynchronousTestCase):
    """Tests for `free_port` and `is_listening`."""

    def test_a_free_port(self) -> None:
        """Nothing listens on it."""
        self.assertFalse(is_listening(free_port()))
