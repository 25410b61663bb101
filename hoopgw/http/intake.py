"""Bytes that have come and are not read yet: of one direction of a connection.

What comes is not copied while it is a body that can be handed on at once. A head that comes in many
pieces is gathered in one growing buffer, and each byte of it is looked at once.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from attrs import define, field

from hoopgw.http.errors import HeadTooLargeError, MalformedError, TargetTooLongError

Buffer: TypeAlias = bytes | memoryview

_BLANK: Final = b"\r\n\r\n"
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


@define(eq=False)
class Intake:
    """Stores what was received, and gives it away in the pieces that a reader asks for."""

    _data: Buffer = b""
    _at: int = 0
    _partial: bytearray = field(factory=bytearray)
    """A head that is not whole. While it has anything, nothing else is stored."""
    _scanned: int = 0
    """Bytes of it that were looked at."""

    @property
    def unread(self) -> int:
        """Bytes that are stored."""
        return len(self._partial) or len(self._data) - self._at

    def receive(self, data: Buffer | bytearray) -> None:
        """Store what came. It must stay as it is until `keep` is called."""
        if self._partial:
            self._partial += data
        elif self._at < len(self._data):
            self._data = b"".join((memoryview(self._data)[self._at :], data))
            self._at = 0
        else:
            self._data, self._at = bytes(data) if isinstance(data, bytearray) else data, 0

    def keep(self) -> None:
        """Copy what is still unread: the memory that came with `receive` will be used again."""
        if self._at >= len(self._data):
            self._data, self._at = b"", 0
        elif type(self._data) is memoryview:
            self._data, self._at = bytes(self._data[self._at :]), 0

    def take(self, count: int) -> Buffer:
        """Give up to ``count`` bytes; none if nothing is stored."""
        start, end = self._at, min(len(self._data), self._at + count)
        self._at = end
        if start == 0 and end == len(self._data):
            return self._data
        return memoryview(self._data)[start:end]

    def peek(self, count: int) -> bytes:
        """Return a copy of the next ``count`` bytes, or of all that there are, and keep them."""
        return bytes(self._data[self._at : self._at + count])

    def take_all(self) -> Buffer:
        """Give all that is stored."""
        if self._partial:
            self._data, self._at = bytes(self._partial), 0
            self._partial.clear()
        return self.take(len(self._data))

    def match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Take what a pattern matches here."""
        found = pattern.match(self._data, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def has_line(self, skip: int, limit: int) -> bool:
        """Say whether a line ends after ``skip`` bytes, or is longer than it may be."""
        rest = bytes(self._data[self._at : self._at + limit + 1])
        return len(rest) > limit or rest.find(b"\n", skip) >= 0

    def block(self, limit: int, line_limit: int | None = None) -> bytes | None:
        """Take all up to the next blank line, with it; None if it has not come.

        Args:
            limit: bytes of all of it.
            line_limit: bytes of its first line.

        Raises:
            HeadTooLargeError: there is none within ``limit``.
            TargetTooLongError: there is not even a line's end within ``line_limit``.
            MalformedError: a line ends with a bare LF.

        """
        if self._partial:
            end = self._partial.find(_BLANK, max(0, self._scanned - 3), limit)
            if end < 0:
                self._check_partial(limit, line_limit)
                return None
            found = bytes(self._partial[: end + 4])
            self._data, self._at = bytes(self._partial[end + 4 :]), 0
            self._partial.clear()
            return found
        data = self._data
        if type(data) is not bytes:
            data = self._data = bytes(data[self._at :])
            self._at = 0
        start = self._at
        end = data.find(_BLANK, start, start + limit)
        if end < 0:
            if start < len(data):
                self._partial += data[start:]
                self._data, self._at, self._scanned = b"", 0, 0
                self._check_partial(limit, line_limit)
            return None
        self._at = end + 4
        return data[start : end + 4]

    def _check_partial(self, limit: int, line_limit: int | None) -> None:
        """Refuse what cannot become a head, early."""
        partial = self._partial
        if _BARE_LF.search(partial, self._scanned) is not None:
            raise MalformedError("a line ends with a bare LF")
        self._scanned = len(partial)
        if (
            line_limit is not None
            and len(partial) > line_limit
            and partial.find(b"\r\n", 0, line_limit + 2) < 0
        ):
            raise TargetTooLongError(f"the first line is longer than {line_limit} bytes")
        if len(partial) >= limit:
            raise HeadTooLargeError(f"the head is longer than {limit} bytes")
