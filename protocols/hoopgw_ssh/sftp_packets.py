"""Cuts one direction of an SFTP channel into packets. No I/O.

What carries a file's content (WRITE, DATA) comes in the pieces in which it arrived, behind its
head; every other packet comes whole. Pieces are pulled, so that a decision can stop a reader
between two.

Invariants, each with a test: nothing is lost or invented, however the bytes were cut; a packet over
the limit is refused when its length is read; the only exception is `ProtocolViolationError`, and
after it every later call raises it again.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, TypeAlias

from attrs import field, frozen

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh.sftp_wire import DATA, HANDLE_LIMIT, PACKET_LIMIT, Packet

_U32: Final = Struct(">I")
_BULK: Final = Struct(">IBII")
"""Length, kind, id, and the length of what comes first."""
_TAIL: Final = Struct(">QI")
"""Of the head of a WRITE: offset, and the length of the content."""


@frozen
class Bulk:
    """The head of a packet with content: so many bytes of that follow."""

    head: bytes = field(repr=False)
    """As it came, up to the content."""
    id: int
    size: int
    handle: bytes = b""
    """Of a WRITE."""
    offset: int = 0
    """Of a WRITE."""


Piece: TypeAlias = Packet | Bulk | memoryview
"""A packet, the head of one with content, or some of that content."""


class PacketReader:
    """Cuts one direction of a channel.

    Args:
        bulk: the kind whose content comes in pieces: WRITE of clients, DATA of targets.

    """

    def __init__(self, bulk: int) -> None:
        self._bulk = bulk
        self._data: bytes = b""
        self._at = 0
        self._waiting = bytearray()
        """The begin of a packet that is not here whole, and `_need` the bytes that it takes."""
        self._need = 0
        self._left = 0
        """Bytes of content that are still to come."""
        self._failed: str | None = None

    @property
    def is_between(self) -> bool:
        """Whether what comes next is no content."""
        return not self._left

    @property
    def kept(self) -> int:
        """Bytes that came and were not taken."""
        return len(self._data) - self._at + len(self._waiting)

    def receive(self, data: bytes) -> None:
        """Take bytes. Nothing is parsed yet."""
        if self._waiting:
            self._waiting += data
            if len(self._waiting) < self._need:
                return
            data = bytes(self._waiting)
            self._waiting = bytearray()
        elif self._at < len(self._data):
            data = self._data[self._at :] + data
        self._data, self._at = data, 0

    def next_piece(self) -> Piece | None:
        """Return the next piece; None if there is none yet.

        Raises:
            ProtocolViolationError: the stream does not hold together.

        """
        if self._failed is not None:
            raise ProtocolViolationError(self._failed)
        data, at = self._data, self._at
        there = len(data) - at
        if not there:
            return None
        if self._left:
            count = min(there, self._left)
            self._left -= count
            self._at = at + count
            return memoryview(data)[at : at + count]
        if there < 5:
            self._wait(5)
            return None
        length = _U32.unpack_from(data, at)[0]
        if not 1 <= length <= PACKET_LIMIT:
            raise self._fail(f"a packet of {length} bytes")
        if data[at + 4] == self._bulk:
            return self._head(length)
        end = at + 4 + length
        if end > len(data):
            self._wait(4 + length)
            return None
        self._at = end
        return Packet(data[at + 4], data[at + 5 : end])

    def _head(self, length: int) -> Bulk | None:
        data, at = self._data, self._at
        self._check(length >= _BULK.size - 4)
        if len(data) - at < _BULK.size:
            self._wait(_BULK.size)
            return None
        _, kind, number, first = _BULK.unpack_from(data, at)
        start = at + _BULK.size
        if kind == DATA:
            self._check(length == _BULK.size - 4 + first)
            self._at, self._left = start, first
            return Bulk(data[at:start], number, first)
        # The handle of a WRITE comes first, then where the content belongs.
        self._check(first <= HANDLE_LIMIT)
        end = start + first + _TAIL.size
        self._check(length >= end - at - 4)
        if end > len(data):
            self._wait(end - at)
            return None
        offset, size = _TAIL.unpack_from(data, start + first)
        self._check(length == end - at - 4 + size)
        self._at, self._left = end, size
        return Bulk(data[at:end], number, size, data[start : start + first], offset)

    def _wait(self, need: int) -> None:
        """Keep what is there until so many bytes are: joined once, however small the pieces."""
        self._waiting, self._need = bytearray(self._data[self._at :]), need
        self._data, self._at = b"", 0

    def _check(self, fits: bool) -> None:  # says what is checked where it is called
        if not fits:
            raise self._fail("a length does not fit what it holds")

    def _fail(self, why: str) -> ProtocolViolationError:
        self._failed, self._data, self._at = f"SFTP: {why}", b"", 0
        self._waiting = bytearray()
        return ProtocolViolationError(self._failed)
