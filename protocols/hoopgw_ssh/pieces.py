"""What waits to leave on a channel. No I/O, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from attrs import define

from hoopgw_ssh.wire import CHANNEL_DATA, EXTENDED_DATA

_SMALL: Final = 1_024
"""Bytes up to which pieces that wait are put together: each takes hundreds of bytes itself."""

_MANY: Final = 1_024
"""Pieces on one channel from which their number counts for more than their order."""


@define(eq=False)
class Piece:
    """Something that waits to leave on a channel."""

    number: int
    data: memoryview
    code: int = 0
    credit: Callable[[int], None] | None = None
    owed: int = 0

    def take(self, other: Piece) -> bool:
        """Put a small piece of the same stream behind this one; say whether that was done."""
        if (self.number, self.code, self.credit) != (other.number, other.code, other.credit):
            return False
        if not len(other.data) or len(self.data) + len(other.data) > _SMALL:
            return False
        self.data = memoryview(b"".join((self.data, other.data)))
        self.owed += other.owed
        return True


def put(queue: deque[Piece], piece: Piece) -> None:
    """Put data into a queue: if it is little, into the last piece of its stream.

    Where many wait, that may be the last but one: output and errors that alternate by the byte
    would else make a piece of each. They are streams of their own, so no protocol depends on the
    order between them, but up to there it is kept for who reads.
    """
    for last in islice(reversed(queue), 1 if len(queue) < _MANY else 2):
        if last.take(piece):
            return
        is_data = last.number in (CHANNEL_DATA, EXTENDED_DATA)
        if not is_data or (last.number, last.code) == (piece.number, piece.code):
            break
    queue.append(piece)
