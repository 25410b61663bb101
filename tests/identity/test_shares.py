"""Tests for `hoopgw.identity.shares`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.identity.shares import SharedRate, generation_of, share, shares
from hoopgw.identity.tokens import CHAIN_LIMIT
from tests.store.values import ALICE, ALICES_AGENT, ERIN

LAST = CHAIN_LIMIT - 1


class ShareTests(SynchronousTestCase):
    """What a generation may use."""

    def test_three_quarters(self) -> None:
        self.assertEqual(shares(1000, 3), (1000, 750, 562, 421))
        self.assertEqual([generation_of(who) for who in (ALICE, ALICES_AGENT)], [0, 1])

    @given(st.integers(1, 10**6), st.integers(0, LAST - 1))
    def test_never_more_than_above_and_never_nothing(self, limit: int, generation: int) -> None:
        above, below = share(limit, generation), share(limit, generation + 1)
        self.assertLessEqual(below, above)
        self.assertGreaterEqual(below, 1)
        if limit >= 10:
            self.assertLess(below, above)


class SharedRateTests(SynchronousTestCase):
    """How often a generation may ask."""

    def test_charged_to_all_above(self) -> None:
        rate = SharedRate(8.0, 1.0)
        asked = [rate.charge("alice", ALICES_AGENT, 1.0, 0.0) for _ in range(7)]
        self.assertEqual(asked, [True] * 6 + [False])
        asked = [rate.charge("alice", ALICE, 1.0, 0.0) for _ in range(3)]
        self.assertEqual(asked, [True] * 2 + [False])
        self.assertTrue(rate.charge("erin", ERIN, 1.0, 0.0))

    def test_what_is_refused_costs_nobody(self) -> None:
        rate = SharedRate(4.0, 1.0)
        self.assertFalse(rate.charge("alice", ALICES_AGENT, 3.5, 0.0))
        self.assertTrue(rate.charge("alice", ALICE, 4.0, 0.0))
