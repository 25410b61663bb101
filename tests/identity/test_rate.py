"""Tests for `hoopgw.identity.rate`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.identity import rate
from hoopgw.identity.rate import RateLimit


class RateLimitTests(SynchronousTestCase):
    """Tests for `RateLimit`."""

    def setUp(self) -> None:
        self.rate = RateLimit(burst=10.0, per_second=2.0)

    def test_burst_and_rest(self) -> None:
        """The burst is allowed at once, and then what drains."""
        self.assertEqual(
            [self.rate.charge("10.0.0.1", 1.0, 0.0) for _ in range(12)].count(True), 10
        )
        self.assertFalse(self.rate.charge("10.0.0.1", 1.0, 0.4))
        self.assertTrue(self.rate.charge("10.0.0.1", 1.0, 0.5))
        self.assertTrue(self.rate.charge("10.0.0.2", 10.0, 0.5))

    def test_networks(self) -> None:
        """IPv6 counts by network, and an IPv4 address is one however it is written."""
        self.assertTrue(self.rate.charge("2001:db8::1", 10.0, 0.0))
        self.assertFalse(self.rate.charge("2001:db8::2", 1.0, 0.0))
        self.assertTrue(self.rate.charge("2001:db8:0:1::1", 1.0, 0.0))
        self.assertTrue(self.rate.charge("10.0.0.1", 10.0, 0.0))
        self.assertFalse(self.rate.charge("::ffff:10.0.0.1", 1.0, 0.0))
        self.assertTrue(self.rate.charge("not an address", 1.0, 0.0))

    def test_memory(self) -> None:
        """It remembers so many addresses, and forgets the quiet ones first."""
        self.rate.charge("10.1.0.0", 10.0, 0.0)
        for number in range(rate.ADDRESSES_LIMIT):
            self.rate.charge(f"a{number}", 1.0, 0.0)
        self.assertEqual(len(self.rate._levels), rate.ADDRESSES_LIMIT)
        self.assertTrue(self.rate.charge("10.1.0.0", 10.0, 0.0))

    @given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 12)), max_size=30))
    def test_never_more_than_the_rate(self, steps: list[tuple[float, float]]) -> None:
        """Whatever the pattern, what passes is at most the burst and what drained."""
        limit, now, passed = RateLimit(burst=10.0, per_second=2.0), 0.0, 0.0
        for wait, cost in steps:
            now += wait
            if limit.charge("x", cost, now):
                passed += cost
            self.assertLessEqual(passed, 10.0 + 2.0 * now + 1e-6)
