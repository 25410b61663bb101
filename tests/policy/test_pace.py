"""Tests for `hoopgw.policy.pace`: how fast refusals are explained."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.policy.pace import BURST, RATE, Pace


class PaceTests(SynchronousTestCase):
    """Questions for each root."""

    @given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 400)), max_size=30))
    def test_never_more(self, steps: list[tuple[float, int]]) -> None:
        """Whoever takes what there is gets no more than that, in any time."""
        clock = Clock()
        pace = Pace(clock.seconds)
        used = 0
        for pause, wanted in steps:
            clock.advance(pause)
            took = min(wanted, pace.room("alice"))
            pace.used("alice", took)
            used += took
            self.assertLessEqual(used, BURST + clock.seconds() * RATE + 1e-6)
        self.assertEqual(pace.room("bob"), BURST)

    def test_it_comes_back(self) -> None:
        clock = Clock()
        pace = Pace(clock.seconds)
        pace.used("alice", BURST)
        self.assertEqual(pace.room("alice"), 0)
        clock.advance(1.0)
        self.assertEqual(pace.room("alice"), int(RATE))
        clock.advance(1e6)
        self.assertEqual(pace.room("alice"), BURST)
