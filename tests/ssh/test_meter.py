"""Tests for `hoopgw_ssh.meter`: what waits to be paid for."""

from __future__ import annotations

from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.sessions.purses import Purse
from hoopgw_ssh.channels import STDERR
from hoopgw_ssh.inspector import Passage
from hoopgw_ssh.meter import Meter


@define
class SlowPurse:
    """Has nothing, until it is told."""

    left: int = 0
    asked: Deferred[str] = field(factory=Deferred)

    def room(self, name: str) -> int:
        """Return what is at hand."""
        del name
        return self.left

    def more(self, amounts: dict[str, int]) -> Deferred[str]:
        """Take its time."""
        del amounts
        return self.asked

    def used(self, amounts: dict[str, int]) -> None:
        """Count it."""
        self.left -= amounts["bytes"]


@define
class Shown:
    """Keeps what is passed on. As much of a `Passage` as a meter needs."""

    pieces: list[tuple[bytes, int | None]] = field(factory=list)
    holds: int = 0

    def to_client(self, data: bytes, code: int | None = None, *_: Any) -> None:
        """Keep it."""
        self.pieces.append((data, code))

    def hold_output(self) -> None:
        """Count it."""
        self.holds += 1

    def release_output(self) -> None:
        """Count it."""
        self.holds -= 1


class UnpaidTests(SynchronousTestCase):
    """What a target sends while the budget is asked."""

    def test_single_bytes_of_two_streams(self) -> None:
        """They are few pieces: each takes memory, and all are moved when they are paid for."""
        purse, shown = SlowPurse(), Shown()
        meter = Meter(cast("Purse", purse), lambda _answered: None)
        meter.attach(cast("Passage", shown))
        for _ in range(40_000):
            meter.to_client(b"a", None)
            meter.to_client(b"b", STDERR)
        self.assertEqual(shown.holds, 1)
        purse.left = 80_000
        purse.asked.callback("")
        self.assertEqual(shown.holds, 0)
        self.assertLess(len(shown.pieces), 10)
        for code, byte in ((None, b"a"), (STDERR, b"b")):
            text = b"".join(data for data, its in shown.pieces if its == code)
            self.assertEqual(text, byte * 40_000)
