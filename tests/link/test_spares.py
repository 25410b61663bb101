"""Tests for `hoopgw.link.spares`."""

from __future__ import annotations

from attrs import define
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import LinkError
from hoopgw.link import spares
from hoopgw.link.spares import BUSY_PATIENCE, FEWEST, IDLE_LIMIT, MOST, PATIENCE, Spares


@define(eq=False)
class FakeSpare:
    since: float
    closed: bool = False

    def close(self) -> None:
        self.closed = True


class SparesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.spares: Spares[FakeSpare] = Spares("local", self.clock)

    def add(self, count: int = 1) -> list[FakeSpare]:
        found = [FakeSpare(self.clock.seconds()) for _ in range(count)]
        for spare in found:
            self.spares.add(spare)
        return found

    def test_the_newest_is_taken_first(self) -> None:
        old, new = self.add(2)
        self.assertIs(self.successResultOf(self.spares.take()), new)
        self.assertIs(self.successResultOf(self.spares.take()), old)

    def test_who_waits_longest_is_served_first(self) -> None:
        first, second = self.spares.take(), self.spares.take()
        (one,) = self.add()
        self.assertIs(self.successResultOf(first), one)
        self.assertNoResult(second)
        (two,) = self.add()
        self.assertIs(self.successResultOf(second), two)
        self.assertEqual(self.spares.idle, 0)

    def test_waiting_ends(self) -> None:
        waiting = self.spares.take()
        self.clock.advance(PATIENCE - 0.01)
        self.assertNoResult(waiting)
        self.clock.advance(0.01)
        failure = self.failureResultOf(waiting, LinkError)
        self.assertEqual(failure.getErrorMessage(), "agent local is not connected")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.add()
        self.assertEqual(self.spares.idle, 1)

    def test_a_busy_agent_is_not_called_absent(self) -> None:
        self.spares.is_connected = True
        waiting = self.spares.take()
        self.clock.advance(BUSY_PATIENCE - 0.01)
        self.assertNoResult(waiting)
        self.clock.advance(0.01)
        failure = self.failureResultOf(waiting, LinkError)
        self.assertEqual(failure.getErrorMessage(), "agent local has no free connection")

    def test_an_agent_that_comes_while_somebody_waits(self) -> None:
        """From then on it is not absent, only busy."""
        waiting = self.spares.take()
        self.clock.advance(PATIENCE / 2)
        self.spares.is_connected = True
        self.clock.advance(BUSY_PATIENCE - PATIENCE / 2 - 0.01)
        self.assertNoResult(waiting)
        self.clock.advance(0.01)
        self.failureResultOf(waiting, LinkError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_agent_that_goes_while_somebody_waits(self) -> None:
        """It is waited for as one that is there: it may be back at once."""
        self.spares.is_connected = True
        waiting = self.spares.take()
        self.spares.is_connected = False
        self.clock.advance(BUSY_PATIENCE)
        failure = self.failureResultOf(waiting, LinkError)
        self.assertEqual(failure.getErrorMessage(), "agent local is not connected")

    def test_who_gave_up_gets_nothing(self) -> None:
        given_up, waiting = self.spares.take(), self.spares.take()
        given_up.addErrback(lambda _: None)
        given_up.cancel()
        (one,) = self.add()
        self.assertIs(self.successResultOf(waiting), one)

    def test_not_everybody_may_wait(self) -> None:
        self.patch(spares, "WAITERS_LIMIT", 2)
        waiting = [self.spares.take() for _ in range(2)]
        self.failureResultOf(self.spares.take(), LinkError)
        self.add(2)
        for waiter in waiting:
            self.successResultOf(waiter)

    def test_more_are_wanted_when_they_run_out_and_fewer_later(self) -> None:
        self.assertEqual(self.spares.wanted, FEWEST)
        self.add(FEWEST)
        for _ in range(FEWEST):
            self.spares.take()
        self.assertEqual(self.spares.wanted, FEWEST)
        waiting = [self.spares.take() for _ in range(10)]
        self.assertEqual(self.spares.wanted, MOST)
        self.add(10 + MOST)
        self.assertTrue(all(waiter.called for waiter in waiting))
        for _ in range(10):
            self.spares.tick()
        self.assertEqual(self.spares.wanted, FEWEST)
        self.assertEqual(self.spares.idle, FEWEST)

    def test_there_are_never_too_many(self) -> None:
        self.add(MOST)
        self.assertFalse(self.spares.add(FakeSpare(0.0)))

    def test_the_old_are_closed(self) -> None:
        old = self.add(2)
        self.clock.advance(IDLE_LIMIT)
        new = self.add(2)
        self.clock.advance(1)
        self.spares.tick()
        self.assertEqual([spare.closed for spare in old + new], [True, True, False, False])
        self.assertEqual(self.spares.idle, 2)

    def test_the_lost_are_forgotten(self) -> None:
        (one,) = self.add()
        self.spares.remove(one)
        self.spares.remove(one)
        self.assertEqual(self.spares.idle, 0)

    def test_all_are_closed_with_their_agent(self) -> None:
        found = self.add(3)
        self.spares.close()
        self.assertTrue(all(spare.closed for spare in found))
        self.assertEqual(self.spares.idle, 0)
