"""Cuts a stream into units that say their length ahead: packets, and the frames of the link.

What comes whole is handed on where it lies; only a unit that came in pieces is copied together.
"""

from __future__ import annotations

from collections.abc import Callable

from hoopgw_ssh.wire import Bytes


class Units:
    """Keeps what is not whole yet.

    Args:
        head: bytes of a unit that are enough to tell its size.
        take: called with data and the place of a unit in it: takes the unit, and returns where the
            next one begins; or the same place, if it is not whole. What is wrong with a head it
            must say at once. The data is valid during the call.
        size: tells a unit's bytes, from its head.

    """

    __slots__ = ("_head", "_needed", "_size", "_tail", "_take")

    def __init__(
        self, head: int, take: Callable[[memoryview, int], int], size: Callable[[memoryview], int]
    ) -> None:
        self._head = self._needed = head
        self._take = take
        self._size = size
        self._tail = bytearray()

    def receive(self, data: Bytes) -> None:
        """Take bytes."""
        view = memoryview(data)
        at = self._finish(view) if self._tail else 0
        take = self._take
        while (end := take(view, at)) != at:
            at = end
        if at < len(view):
            self._tail = bytearray(view[at:])
            self._look()

    def _finish(self, view: memoryview) -> int:
        """Complete the unit that has begun; return how much of ``view`` that took."""
        at = 0
        while at < len(view):
            start, at = at, min(at + self._needed - len(self._tail), len(view))
            self._tail += view[start:at]
            if len(self._tail) < self._needed:
                break
            whole = memoryview(self._tail)
            if self._take(whole, 0):
                self._tail = bytearray()
                self._needed = self._head
                break
            whole.release()
            self._look()
        return at

    def _look(self) -> None:
        """Find out how long the unit is that has begun, as soon as its head is there."""
        if len(self._tail) < self._head:
            self._needed = self._head
            return
        with memoryview(self._tail) as head:
            self._needed = self._size(head)
