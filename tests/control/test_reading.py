"""Tests for `hoopgw.control.reading`."""

from __future__ import annotations

import threading
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.trial.unittest import TestCase

from hoopgw.control.reading import WAITING_LIMIT, ReadingRoom
from hoopgw.errors import UnavailableError


class ReadingTests(TestCase):
    """A room on the real reactor."""

    def setUp(self) -> None:
        loop: Any = reactor
        self.room = ReadingRoom(loop)
        self.room.start()
        self.addCleanup(self.room.stop)

    async def test_results_and_failures_come_back(self) -> None:
        self.assertEqual(await self.room(divmod, 7, 2), (3, 1))
        with self.assertRaises(ZeroDivisionError):
            await self.room(divmod, 7, 0)

    async def test_there_is_a_limit_that_leaving_does_not_lift(self) -> None:
        """A caller that goes leaves its thread behind, and so its place stays taken."""
        gate = threading.Event()
        self.addCleanup(gate.set)
        under_way = [self.room(gate.wait) for _ in range(WAITING_LIMIT)]
        left = under_way.pop()
        left.cancel()
        await self.assertFailure(left, CancelledError)
        with self.assertRaises(UnavailableError):
            await self.room(divmod, 7, 2)
        gate.set()
        await gatherResults(under_way)
        self.assertEqual(await self.room(divmod, 7, 2), (3, 1))
