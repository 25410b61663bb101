"""What the gateway itself asks of a target before a client's first statement.

One simple query on the fresh session; its answer is small, and nothing of it reaches the client.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from hoopgw.errors import LinkError
from hoopgw_postgres import wire

PATIENCE: Final = 10.0
"""Seconds."""
ANSWER_LIMIT: Final = 4 * 2**20
"""Bytes; a catalogue with more than this about classified columns is not believed."""
_COLUMNS_LIMIT: Final = 1664
"""Of a row, as in PostgreSQL: empty values cost the target four bytes, and us more."""

Row = tuple[bytes | None, ...]


class Prelude:
    """Runs queries on a target that nobody else uses yet.

    Args:
        transport: the target's; paused.
        clock: for deadlines.

    """

    def __init__(self, transport: Any, clock: IReactorTime) -> None:
        self._transport = transport
        self._clock = clock
        self._buffer = bytearray()
        self._received = 0
        self._sets: list[list[Row]] = []
        self._error = ""
        self._done: Deferred[list[list[Row]]] | None = None
        transport.protocol = self

    async def ask(self, text: bytes) -> list[list[Row]]:
        """Run a simple query; return the rows of each result, in text format.

        Raises:
            LinkError: the target refused it, broke off, or took too long.

        """
        self._sets, self._error, self._received = [], "", 0
        self._done = Deferred()
        self._done.addTimeout(PATIENCE, self._clock, _too_slow)
        self._transport.write(wire.query(text))
        self._transport.resumeProducing()
        try:
            return await self._done
        finally:
            self._transport.pauseProducing()

    def rest(self) -> bytes:
        """Take what came behind the last answer: it is the session's."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        return rest

    def dataReceived(self, data: memoryview) -> None:
        """Take what the target sent."""
        self._buffer += data
        self._received += len(data)
        if self._received > ANSWER_LIMIT:
            self._fail("the target's catalogue is too large")
        buffer = self._buffer
        while len(buffer) >= 5 and not self._is_over:
            length = int.from_bytes(buffer[1:5], "big")
            if not 4 <= length <= ANSWER_LIMIT:
                self._fail("the target does not speak PostgreSQL's protocol")
                return
            if len(buffer) < 1 + length:
                return
            kind, body = bytes(buffer[0:1]), bytes(buffer[5 : 1 + length])
            del buffer[: 1 + length]
            self._message(kind, body)

    @property
    def _is_over(self) -> bool:
        return self._done is None or self._done.called

    def connectionLost(self, reason: Failure) -> None:
        """Fail what waits."""
        self._fail("the target ended the connection")

    def _message(self, kind: bytes, body: bytes) -> None:
        if kind == b"T":
            self._sets.append([])
        elif kind == b"D" and self._sets:
            row = row_values(body)
            if row is None:
                self._fail("the target sent a malformed row")
            else:
                self._sets[-1].append(row)
        elif kind == b"E":
            self._error = wire.parse_report(body).get("M", "no reason given")
        elif kind == b"Z":
            if self._error:
                self._fail(f"the target refused to say what it holds: {self._error}")
            elif self._done is not None and not self._is_over:
                self._done.callback(self._sets)

    def _fail(self, reason: str) -> None:
        if self._done is not None and not self._is_over:
            self._done.errback(LinkError(reason))


def row_values(body: bytes) -> Row | None:
    """Return the values of a DataRow; None if it is none."""
    count = int.from_bytes(body[:2], "big")
    if len(body) < 2 + 4 * count or count > _COLUMNS_LIMIT:
        return None
    values: list[bytes | None] = []
    at = 2
    for _ in range(count):
        length = int.from_bytes(body[at : at + 4], "big", signed=True)
        at += 4
        if length < -1 or at + max(length, 0) > len(body):
            return None
        values.append(None if length < 0 else body[at : at + length])
        at += max(length, 0)
    return tuple(values) if at == len(body) else None


def _too_slow(_result: object, patience: float) -> object:
    raise LinkError(f"the target did not answer in {patience:.0f} s")
