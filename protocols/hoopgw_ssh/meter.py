"""Pays for what goes to a client, counts both ways, and says how it came out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hoopgw.sessions.journal import Answered
from hoopgw.sessions.purses import Purse
from hoopgw.terminal import printable_bytes
from hoopgw_ssh.channels import Request
from hoopgw_ssh.inspector import NOT_OPENED, Passage

UNPAID_LIMIT: Final = 4 * 2**20
"""Bytes that may wait to be paid for: more than a target may send without being given room."""
_TOGETHER: Final = 32_768
"""Bytes up to which pieces of one stream that wait are put together, however small they come."""
_NOT_CHARGED: Final = "hoopgw: the budget cannot be charged now, so nothing more is shown"


@define(eq=False)
class Meter:
    """Stands in a channel. Implements `hoopgw_ssh.inspector.Inspector`.

    What has no budget passes as it came. Else each piece is paid for before it goes on; where that
    takes time, the target is given no more room meanwhile.

    Args:
        purse: what is paid from; None if there is no budget.
        finished: told once, at the end.

    """

    _purse: Purse | None = field(repr=False)
    _finished: Callable[[Answered], None] = field(repr=False)
    _passage: Passage | None = field(default=None, init=False, repr=False)
    _sent: int = field(default=0, init=False)
    _received: int = field(default=0, init=False)
    _unpaid: deque[tuple[bytearray, int | None]] = field(factory=deque, init=False, repr=False)
    _size: int = field(default=0, init=False)
    """Bytes of these."""
    _asking: Deferred[None] | None = field(default=None, init=False, repr=False)
    _why: str = field(default="", init=False)
    """Why it was ended by us."""
    _over: bool = field(default=False, init=False)

    def attach(self, passage: Passage) -> None:
        """Take the way back into the channel."""
        self._passage = passage

    def end(self, why: str) -> None:
        """End the channel."""
        if not self._over:
            self._why = self._why or why
            self._unpaid.clear()
            if self._passage is not None:
                self._passage.end(why)

    def to_target(self, data: bytes) -> bytes:
        """Count it."""
        self._received += len(data)
        return data

    def input_ended(self) -> bytes:
        """Return nothing: it keeps nothing back."""
        return b""

    def to_client(self, data: bytes, code: int | None) -> bytes:
        """Pass it on, if it is paid for."""
        if self._why:
            return b""
        if not self._unpaid and self._pays(len(data)):
            self._sent += len(data)
            return data
        self._keep(data, code)
        if self._size > UNPAID_LIMIT:
            self.end("hoopgw: more is sent than can be paid for in time")
        elif self._asking is None:
            assert self._passage is not None
            self._passage.hold_output()
            asking = Deferred.fromCoroutine(self._pay()).addErrback(self._not_charged)
            if not asking.called:
                self._asking = asking
        return b""

    def _keep(self, data: bytes, code: int | None) -> None:
        """Keep what is not paid for; output and errors may alternate by the byte."""
        self._size += len(data)
        for kept, its in islice(reversed(self._unpaid), 2):
            if its == code:
                if len(kept) + len(data) <= _TOGETHER:
                    kept += data
                    return
                break
        self._unpaid.append((bytearray(data), code))

    def _pays(self, size: int) -> bool:
        purse = self._purse
        if purse is None:
            return True
        room = purse.room("bytes")
        if room is not None and size > room:
            return False
        if room is not None:
            purse.used({"bytes": size})
        return True

    async def _pay(self) -> None:
        purse, passage = self._purse, self._passage
        assert purse is not None
        assert passage is not None
        while self._unpaid and not self._why:
            data, code = self._unpaid[0]
            if not self._pays(len(data)):
                said = await purse.more({"bytes": len(data)})
                if said:
                    self.end(f"hoopgw: {said}")
                    return
                continue
            self._unpaid.popleft()
            self._size -= len(data)
            self._sent += len(data)
            passage.to_client(bytes(data), code)
        self._asking = None
        passage.release_output()

    def _not_charged(self, failure: Failure) -> None:
        del failure
        self.end(_NOT_CHARGED)

    def rest(self, code: int | None) -> bytes:
        """Return what is not paid for yet and can be, at the end of an output."""
        left = [data for data, its in self._unpaid if its == code]
        self._unpaid = deque(each for each in self._unpaid if each[1] != code)
        rest = b"".join(left)
        if not rest or self._why or not self._pays(len(rest)):
            return b""
        self._sent += len(rest)
        return rest

    def abandoned(self) -> None:
        """Do nothing: what runs on is shown to nobody."""

    def ended(self, status: Request | None) -> None:
        """Say how it came out."""
        if self._over:
            return
        self._over = True
        if self._asking is not None:
            self._asking.cancel()
        self._finished(
            Answered(
                outcome=_outcome(status, self._why),
                sent=self._sent,
                received=self._received,
            )
        )


def _outcome(status: Request | None, why: str) -> str:
    """Say how a connection ended."""
    if why:
        return f"ended: {why.removeprefix('hoopgw: ')}"
    if status is not None and status.name == NOT_OPENED:
        return f"FAILED: not opened: {printable_bytes(status.data[:200])}"
    return "closed"
