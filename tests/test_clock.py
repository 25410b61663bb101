"""Tests for `hoopgw.clock` on a real reactor; `ForwardClock` itself: `tests.grants.test_view`."""

from __future__ import annotations

import subprocess
import sys

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.clock import EvenClock, ForwardClock, go_forward
from tests.support.processes import TOP

_PROGRAM = """
import sys, time
from twisted.internet import reactor
from hoopgw.clock import go_forward

behind = 0.0
reactor.seconds = lambda: time.time() - behind
if sys.argv[1] == "forward":
    go_forward(reactor)

def set_back():
    global behind
    behind = 3600.0
    reactor.callLater(0.1, print, "made later")

def look():
    print("made before")
    reactor.callLater(0.2, reactor.stop)

reactor.callLater(0.1, set_back)
reactor.callLater(0.3, look)
reactor.run()
"""


class EvenTests(SynchronousTestCase):
    """A clock that somebody sets is not believed for a while."""

    def setUp(self) -> None:
        self.time, self.wrong = 1000.0, 0.0
        self.clock = EvenClock(lambda: self.time + self.wrong, lambda: self.time)

    def after(self, seconds: float, wrong: float) -> tuple[float, float]:
        """Let time pass, and the clock be wrong by that much; look."""
        self.time, self.wrong = self.time + seconds, wrong
        return self.clock.jump(), self.clock.seconds

    def test_even(self) -> None:
        """Small steps, as of a service that keeps the time, are none."""
        self.assertEqual(self.after(60.0, 5.0), (0.0, 60.0))
        self.assertEqual(self.after(60.0, -20.0), (0.0, 120.0))

    def test_set(self) -> None:
        """Forward, and back again."""
        self.after(600.0, 0.0)
        self.assertEqual(self.after(60.0, 3600.0), (3600.0, 0.0))
        self.assertEqual(self.after(60.0, 3600.0), (0.0, 60.0))
        self.assertEqual(self.after(60.0, 0.0), (-3600.0, 0.0))
        self.assertEqual(self.after(700.0, 0.0), (0.0, 700.0))


class ReactorTests(SynchronousTestCase):
    """The clock on the wall is set back by an hour while timers wait."""

    def program(self, how: str, timeout: float) -> str:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, how],
            capture_output=True,
            text=True,
            check=True,
            timeout=timeout,
            cwd=TOP,
        )
        return done.stdout

    def test_timers_come_all_the_same(self) -> None:
        self.assertEqual(self.program("forward", 60.0), "made later\nmade before\n")

    def test_without_it_they_come_an_hour_late(self) -> None:
        self.assertRaises(subprocess.TimeoutExpired, self.program, "as Twisted has it", 5.0)

    def test_once(self) -> None:
        """A reactor has one clock, however often it is asked for."""
        reactor = Clock()
        clock = go_forward(reactor)
        self.assertIsInstance(clock, ForwardClock)
        self.assertIs(go_forward(reactor), clock)
