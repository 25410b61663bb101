"""Tests for `hoopgw_ssh.pace`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hoopgw_ssh.pace import FIRST, LEAST, TURN, next_read


class PaceTests(SynchronousTestCase):
    """Tests for `next_read`."""

    def test_who_takes_long_reads_less(self) -> None:
        self.assertEqual(next_read(200_000, 10 * TURN, 0), 20_000)
        self.assertEqual(next_read(20_000, 2 * TURN, 20_000), 10_000)

    def test_there_is_a_least(self) -> None:
        self.assertEqual(next_read(LEAST, 100.0, LEAST), LEAST)

    def test_who_is_quick_reads_more_when_there_is_more(self) -> None:
        limit, limits = FIRST, []
        while limit:
            limit = next_read(limit, 0.0, limit)
            limits.append(limit)
        self.assertEqual(limits, [65_536, 131_072, 0])
        self.assertEqual(next_read(10, 0.0, FIRST), FIRST)
        self.assertEqual(next_read(FIRST, TURN / 2, FIRST), FIRST)
        self.assertEqual(next_read(200_000, 0.0, 0), 0)
