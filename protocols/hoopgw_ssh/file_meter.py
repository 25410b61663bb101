"""What was moved of one file in one direction: counted, and hashed in the order of the file.

Clients ask for many pieces ahead, and a server may answer them in any order. Pieces that come early
wait, up to a limit, until those before them have come; so what is moved whole is hashed whole. What
cannot be is told as such: see `hoopgw_ssh.files.Transfer`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

from hoopgw_ssh.files import Extent, Transfer
from hoopgw_ssh.kept_files import KeptFile
from hoopgw_ssh.wire import Bytes

EARLY_LIMIT: Final = 4 * 2**20
"""Bytes of one file that wait for those before them."""
_PIECES_LIMIT: Final = 4_096


class FileMeter:
    """One direction of one open file.

    Args:
        start: where in the file the first piece belongs, as the client asked.
        is_upload: whether bytes go to the target.
        is_new: whether the file holds nothing but what is moved: it was made, or emptied.
        kept: keeps what it holds, if that is wanted.

    """

    __slots__ = (
        "_again",
        "_early",
        "_early_size",
        "_end",
        "_has_holes",
        "_hash",
        "_is_new",
        "_kept",
        "_lost",
        "_next",
        "_order",
        "_start",
        "_update",
        "is_upload",
    )

    def __init__(
        self,
        start: int,
        *,
        is_upload: bool,
        is_new: bool = False,
        kept: KeptFile | None = None,
    ) -> None:
        self.is_upload = is_upload
        self._kept = kept
        self._is_new = is_new
        self._start = self._next = start
        self._hash = hashlib.sha256()
        self._update: Callable[[Bytes], None] = self._hash.update
        self._early: dict[int, bytes] = {}
        self._order: list[int] = []
        self._early_size = 0
        self._lost = 0
        self._has_holes = self._again = False
        self._end: int | None = None

    def feed(self, offset: int, data: Bytes) -> None:
        """Take bytes that belong at an offset.

        Raises:
            RecorderError: they are to be kept, and cannot be; so they must not go on.

        """
        if self._kept is not None:
            self._kept.take(offset, data)
        self._count(offset, data)

    def _count(self, offset: int, data: Bytes) -> None:
        if offset == self._next:
            self._update(data)
            self._next += len(data)
            if self._early:
                self._take_early()
            return
        if offset > self._next:
            self._keep(offset, data)
            return
        past = self._next - offset
        if offset < self._start:
            self._has_holes = True
            self._lost += min(len(data), self._start - offset)
        elif self.is_upload:
            self._again = True
        if len(data) > past:
            self._count(self._next, data[past:])

    def ended_at(self, size: int) -> None:
        """Take note that the target says the file has so many bytes."""
        self._end = size

    def cut(self, size: int) -> None:
        """Take note that the client makes the file so long."""
        if self._start == 0 and size == self._next:
            self._is_new = True  # what was there before is gone, or was written over
        else:
            self._has_holes = True

    def spoil(self) -> None:
        """Take note that what is in the file is something else: a piece failed, or was changed."""
        self._has_holes = True

    def transfer(self, path: str) -> Transfer:
        """Return what was moved; what is kept of it ends."""
        extent, kept = self._extent(), self._kept
        if kept is not None:
            kept.end(extent)
        return Transfer(
            path=path,
            is_upload=self.is_upload,
            size=self._next - self._start + self._early_size + self._lost,
            digest=self._hash.digest(),
            offset=self._start,
            extent=extent,
            content=-1 if kept is None else kept.number,
        )

    @property
    def end(self) -> int:
        """Where what was moved without a hole ends."""
        return self._next

    def _extent(self) -> Extent:
        if self._has_holes or self._again or self._early:
            return "partial"
        is_all = self._is_new if self.is_upload else self._end == self._next
        return "whole" if is_all and not self._start else "range"

    def _keep(self, offset: int, data: Bytes) -> None:
        waiting = self._early.get(offset)
        if waiting is not None:
            self._again = self._again or self.is_upload  # another content for the same place
            return
        if self._early_size + len(data) > EARLY_LIMIT or len(self._early) >= _PIECES_LIMIT:
            self._has_holes = True
            self._lost += len(data)
            return
        self._early_size += len(data)
        self._early[offset] = bytes(data)
        heappush(self._order, offset)

    def _take_early(self) -> None:
        """Hash what has waited for this place, and what that makes room for."""
        while self._order and self._order[0] <= self._next:
            first = heappop(self._order)
            data = self._early.pop(first)
            self._early_size -= len(data)
            past = self._next - first
            self._again = self._again or (past > 0 and self.is_upload)
            if len(data) > past:
                self._update(data[past:])
                self._next += len(data) - past
