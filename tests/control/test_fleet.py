"""Tests for `hoopgw.control.fleet` and `attendance`."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.control.attendance import SILENCE, Attendance
from hoopgw.control.fleet import STATUS_AGE, Fleet
from hoopgw.errors import UnavailableError
from hoopgw.ipc import Body


@define(eq=False)
class FakeWorker:
    """A connection that keeps what it is told."""

    worker: str
    told: list[tuple[str, Body]] = field(factory=list)

    def tell(self, name: str, body: Body) -> None:
        """Keep it."""
        self.told.append((name, body))

    async def ask(self, name: str, body: Body) -> Body:
        """Have no answer."""
        raise UnavailableError(name)

    async def call(self, name: str, body: Body) -> bool:
        """Keep it; workers whose name ends so do not answer."""
        self.told.append((name, body))
        return not self.worker.endswith("mute")


class AttendanceTests(SynchronousTestCase):
    """Who waits."""

    def setUp(self) -> None:
        self.now = 100.0
        self.attendance = Attendance(lambda: self.now)

    def test_silence_ends_a_wait(self) -> None:
        self.attendance.seen("r", "a")
        self.attendance.seen("r", "b")
        self.now += SILENCE - 0.1
        self.attendance.seen("r", "b")
        self.now += 0.1
        self.assertEqual(self.attendance.silent(), [])
        self.assertEqual(self.attendance.waiters("r"), ["b"])
        self.now += SILENCE
        self.assertEqual(self.attendance.silent(), ["r"])
        self.assertEqual(self.attendance.silent(), [])

    def test_who_comes_back_after_a_restart_takes_the_empty_place(self) -> None:
        self.attendance.expect(["r", "s"])
        self.assertEqual(self.attendance.waiters("r"), [])
        self.attendance.seen("r", "a")
        self.now += SILENCE
        self.attendance.seen("r", "a")
        self.assertEqual(self.attendance.silent(), ["s"])
        self.assertEqual(self.attendance.lost("a"), ["r"])

    @given(st.lists(st.tuples(st.sampled_from("rs"), st.sampled_from("ab"), st.booleans())))
    def test_the_last_to_leave_is_told_so(self, steps: list[tuple[str, str, bool]]) -> None:
        """Against a plain set."""
        attendance, waiting = Attendance(lambda: 0.0), set[tuple[str, str]]()
        for request, waiter, comes in steps:
            if comes:
                attendance.seen(request, waiter)
                waiting.add((request, waiter))
            else:
                there = (request, waiter) in waiting
                waiting.discard((request, waiter))
                last = there and not any(r == request for r, _ in waiting)
                self.assertEqual(attendance.left(request, waiter), last)
            for name in "rs":
                expected = {w for r, w in waiting if r == name}
                self.assertEqual(set(attendance.waiters(name)), expected)


class FleetTests(SynchronousTestCase):
    """What workers say."""

    def setUp(self) -> None:
        self.now = 0.0
        self.fleet = Fleet(lambda: self.now)
        self.one, self.two = FakeWorker("w1"), FakeWorker("w2")
        self.fleet.joined(self.one)
        self.fleet.joined(self.two)

    def say(self, worker: FakeWorker, connected: bool, **more: Any) -> None:
        """Let a worker speak of one agent."""
        self.fleet.report_agents(worker, [{"name": "local", "connected": connected, **more}])

    def test_connected_to_one_is_connected(self) -> None:
        self.say(self.one, True, idle=3, targets=["orders"])
        self.say(self.two, False)
        self.assertTrue(self.fleet.agents()["local"].connected)
        self.assertEqual(self.fleet.agents()["local"].targets, ("orders",))

    def test_old_words_do_not_count(self) -> None:
        self.say(self.one, True)
        self.now = STATUS_AGE + 0.1
        self.assertEqual(self.fleet.agents(), {})

    def test_a_worker_that_left_says_nothing(self) -> None:
        self.say(self.one, True)
        self.assertTrue(self.fleet.left(self.one))
        self.assertFalse(self.fleet.left(self.one))
        self.say(self.one, True)
        self.assertEqual(self.fleet.agents(), {})
        self.fleet.tell_all("reload", {})
        self.assertEqual((self.one.told, self.two.told), ([], [("reload", {})]))
        self.assertFalse(self.fleet.tell_one("w1", "reload", {}))

    def test_counters_are_names_and_numbers(self) -> None:
        counters = {"good": 3, "Bad-Name": 1, "text": "x", "x" * 99: 1, 'a{b="c"}': 1}
        self.fleet.report_counters(self.one, counters)
        self.assertEqual(self.fleet.counters()["w1"], {"good": 3.0})
