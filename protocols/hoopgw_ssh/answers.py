"""Answers to requests: in the order of what was asked, whoever gives them. No I/O, no clock.

Reference: RFC 4254 section 4 and 5.4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import define, field

from hoopgw.errors import ProtocolViolationError

REQUESTS_LIMIT: Final = 200
"""Requests of one channel, or of the connection, that wait for an answer or behind a hold."""


@define(eq=False)
class Slot:
    """The place of one answer among the others."""

    _answer: Callable[[], None]
    _payload: bytes | None = field(default=None, init=False)
    succeeded: bool = field(default=False, init=False)
    then: Callable[[], None] | None = field(default=None, init=False, repr=False)
    """Called when the answer has left, which may be behind others."""

    def succeed(self, payload: bytes = b"", then: Callable[[], None] | None = None) -> None:
        """Answer that it was done. ``payload`` is for requests of the connection."""
        self._settle(payload, succeeded=True, then=then)

    def fail(self) -> None:
        """Answer that it was not."""
        self._settle(b"", succeeded=False)

    def _settle(
        self, payload: bytes, *, succeeded: bool, then: Callable[[], None] | None = None
    ) -> None:
        if self._payload is None:
            self._payload, self.succeeded, self.then = payload, succeeded, then
            self._answer()


class Answers:
    """Sends answers in the order of what was asked."""

    def __init__(self, send: Callable[[bool, bytes], None]) -> None:
        self._send = send
        self._slots: deque[Slot] = deque()

    def slot(self) -> Slot:
        """Make room for one more. Raises `ProtocolViolationError` if too many wait."""
        if len(self._slots) >= REQUESTS_LIMIT:
            raise ProtocolViolationError("too many requests wait for an answer")
        made = Slot(self._flush)
        self._slots.append(made)
        return made

    def _flush(self) -> None:
        while self._slots and self._slots[0]._payload is not None:
            slot = self._slots.popleft()
            assert slot._payload is not None
            self._send(slot.succeeded, slot._payload)
            if slot.then is not None:
                slot.then()


def fail(slot: Slot | None) -> None:
    """Answer that something was not done, if an answer is wanted."""
    if slot is not None:
        slot.fail()


def passed_on(slot: Slot | None) -> Callable[[bool], None] | None:
    """Return what passes an answer on; None if none is wanted."""
    if slot is None:
        return None
    return lambda succeeded: slot.succeed() if succeeded else slot.fail()


def answer_to(slot: Slot | None) -> Callable[[bytes | None], None] | None:
    """Return what answers a request of the connection as the other side did; None: it did not."""
    if slot is None:
        return None
    return lambda answer: slot.fail() if answer is None else slot.succeed(answer)
