"""What a session's answers may still cost, if its chain has a budget of rows or bytes.

What the target sends is paid for before it goes to the client, message by message: rows that are
not paid for do not go, and the statement that they answer is stopped. Paid is from what was taken
from control in advance; where that is not enough, the target is not read until control has given
more, or has said that nothing is left.

Only what is not data can go beyond, as the description of columns, or the tag of a statement: it
counts, and nothing comes after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import HoopgwError
from hoopgw.sessions.purses import Purse
from hoopgw_postgres import refusals

log = Logger()

_HEAD: Final = 5


class Meter:
    """Pays for one session's answers.

    Args:
        purse: what is paid from.
        hold: stops reading from the target.
        resume: goes on with what came already, and reads on.

    """

    def __init__(self, purse: Purse, hold: Callable[[], None], resume: Callable[[], None]) -> None:
        self._purse = purse
        self._hold = hold
        self._resume = resume
        self._asking = False
        self.waits = False
        """Whether nobody knows yet if there is more; nothing goes on meanwhile."""
        self.refusal = b""
        """The error for the client, once there is not enough, until the next operation."""

    @classmethod
    def of(
        cls, purse: Purse | None, hold: Callable[[], None], resume: Callable[[], None]
    ) -> Meter | None:
        """Make one, if rows or bytes are limited."""
        if purse is None or (purse.room("rows") is None and purse.room("bytes") is None):
            return None
        return cls(purse, hold, resume)

    def affords(self, rows: int, size: int) -> bool:
        """Whether so many rows and bytes are at hand."""
        room, space = self._purse.room("rows"), self._purse.room("bytes")
        return (room is None or rows <= room) and (space is None or size <= space)

    def refuses(self, size: int) -> bool:
        """Whether it is known that so many bytes cannot be had."""
        return bool(self.refusal) and not self.affords(0, size)

    def fitting(self, messages: memoryview) -> tuple[int, int]:
        """Return how many of whole messages are at hand, and their bytes."""
        most, space = self._purse.room("rows"), self._purse.room("bytes")
        limit = len(messages) if space is None else min(space, len(messages))
        at = rows = 0
        while at < limit and (most is None or rows < most):
            end = at + 1 + int.from_bytes(messages[at + 1 : at + _HEAD], "big")
            if end > limit:
                break
            at, rows = end, rows + 1
        return rows, at

    def pay(self, rows: int, size: int) -> None:
        """Count what goes to the client now."""
        self._purse.used({"rows": rows, "bytes": size})

    def ask(self, rows: int, size: int) -> None:
        """Ask for more. Afterwards it `waits`, or has a `refusal`, or so much is at hand."""
        if self.waits or self.refusal:
            return
        self.waits = self._asking = True
        more: Deferred[str] = self._purse.more({"rows": rows, "bytes": size})
        more.addCallbacks(self._answered, self._failed)
        self._asking = False
        if self.waits:
            self._hold()

    def reset(self) -> None:
        """Forget what was refused: another operation may find more, or is refused itself."""
        self.refusal = b""

    def _answered(self, short: str) -> None:
        self.refusal = refusals.used_up(short) if short else b""
        self._go_on()

    def _failed(self, failure: Failure) -> None:
        if failure.check(HoopgwError) is None:
            log.failure("charging a budget failed", failure)
        self.refusal = refusals.not_charged(failure.getErrorMessage())
        self._go_on()

    def _go_on(self) -> None:
        self.waits = False
        if not self._asking:
            self._resume()


def messages_in(chunk: bytes | memoryview) -> int:
    """Count whole messages."""
    at = count = 0
    while at < len(chunk):
        at += 1 + int.from_bytes(chunk[at + 1 : at + _HEAD], "big")
        count += 1
    return count
