"""Tests for `hoopgw.grants.view` and `hoopgw.clock`."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.clock import ForwardClock
from hoopgw.grants.view import GrantView
from tests.policy.test_granting import grant
from tests.policy.world import ALICE, EVE, PLANNER, principal


class ViewTests(SynchronousTestCase):
    """What a worker knows."""

    def setUp(self) -> None:
        self.now, self.current = 1000.0, True
        self.view = GrantView(lambda: self.now, lambda: self.current)

    def test_nothing(self) -> None:
        """Without grants there is no epoch, so nobody is judged again for them."""
        self.assertEqual((self.view.epoch, self.view.held(principal(EVE))), ("", ()))
        self.assertIsNone(self.view.next_end)

    def test_told(self) -> None:
        """It counts at once, and not after it ended; each changes the epoch."""
        held = grant(EVE, until=1100.0)
        self.assertEqual(self.view.put(held), {EVE.id})
        epochs = [self.view.epoch]
        self.assertEqual(self.view.held(principal(EVE)), (held,))
        self.assertEqual(self.view.held(principal(ALICE)), ())
        self.assertEqual(self.view.drop(held.id), {EVE.id})
        epochs.append(self.view.epoch)
        self.assertEqual(self.view.held(principal(EVE)), ())
        self.assertEqual(self.view.drop(held.id), frozenset())
        self.assertEqual(len(set(epochs)), 2)

    def test_time(self) -> None:
        """It ends by time, whether or not anybody says so."""
        self.view.put(grant(EVE, until=1100.0))
        self.view.put(grant(ALICE, id="g-2", until=1200.0))
        before = self.view.epoch
        self.assertEqual(self.view.next_end, 1100.0)
        self.now = 1100.0
        self.assertNotEqual(self.view.epoch, before)
        self.assertEqual(self.view.held(principal(EVE)), ())
        self.assertEqual(len(self.view.held(principal(ALICE))), 1)
        self.now = 1200.0
        self.assertEqual(self.view.advance(), {ALICE.id})
        self.assertEqual((self.view.advance(), self.view.next_end), (frozenset(), None))

    def test_what_is_over_already(self) -> None:
        self.view.put(grant(EVE, until=999.0))
        self.assertEqual(self.view.held(principal(EVE)), ())

    def test_stale(self) -> None:
        """Unheard of control, no grant counts; and it does again when control is back."""
        held = grant(EVE, until=1100.0)
        self.view.put(held)
        fresh, self.current = self.view.epoch, False
        self.assertEqual(self.view.held(principal(EVE)), ())
        stale = self.view.epoch
        self.assertNotEqual(stale, fresh)
        self.current = True
        self.assertEqual(self.view.held(principal(EVE)), (held,))
        self.assertNotEqual(self.view.epoch, stale)

    def test_greeted_again(self) -> None:
        """What control says on a new connection is all that there is."""
        self.view.put(grant(EVE))
        self.assertEqual(self.view.replace([grant(ALICE, id="g-2")]), {EVE.id, ALICE.id})
        self.assertEqual(self.view.held(principal(EVE)), ())
        self.assertEqual(len(self.view), 1)

    def test_of_one_session(self) -> None:
        """What a session has claimed is of no other."""
        claimed = grant(EVE, scope="session", session="s-1")
        self.view.put(claimed)
        self.assertEqual(self.view.held(principal(EVE), "s-1"), (claimed,))
        self.assertEqual(self.view.held(principal(EVE), "s-2"), ())

    def test_replaced(self) -> None:
        """The same grant told anew, as it is claimed, takes its place."""
        held = grant(EVE, PLANNER, scope="session")
        self.view.put(held)
        self.view.put(evolve(held, session="s-1"))
        self.assertEqual(len(self.view), 1)
        self.assertEqual(self.view.held(principal(EVE, PLANNER)), ())


class ClockTests(SynchronousTestCase):
    """Time that does not go back."""

    def test_set_back(self) -> None:
        """Time goes on from where it was."""
        wall, steady = 1000.0, 5.0
        clock = ForwardClock(lambda: wall, lambda: steady)
        wall, steady = 1010.0, 15.0
        self.assertEqual(clock(), 1010.0)
        wall, steady = 400.0, 20.0
        self.assertEqual(clock(), 1015.0)
        wall, steady = 500.0, 120.0
        self.assertEqual(clock(), 1115.0)

    def test_set_forward(self) -> None:
        """What ended by a clock that was set forward has ended."""
        wall, steady = 1000.0, 5.0
        clock = ForwardClock(lambda: wall, lambda: steady)
        wall = 9000.0
        self.assertEqual(clock(), 9000.0)
        wall = 1001.0
        self.assertEqual(clock(), 9000.0)

    def test_what_is_kept_tells_the_time(self) -> None:
        clock = ForwardClock(lambda: 1000.0, lambda: 5.0)
        clock.is_at_least(2000.0)
        self.assertEqual(clock(), 2000.0)
        clock.is_at_least(1500.0)
        self.assertEqual(clock(), 2000.0)
