r"""What the sending side of scp says: lines, and contents behind some of them. No I/O.

``T`` times, ``C`` a file with its mode, size and name, ``D`` a folder, ``E`` its end; each is
answered before the next. A content is followed by a byte of its own: 0, or 1 or 2 and a message.
Answers are such bytes, too.

Reference: scp.c of OpenSSH. There is no other.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from attrs import frozen

from hoopgw.errors import ProtocolViolationError

LINE_LIMIT: Final = 8_192
"""Bytes of a line: modes, a size, and a name."""
_ENTRY: Final = re.compile(rb"([CD])([0-7]{4,5}) ([0-9]{1,19}) ([^\n]{1,255})\n")
_TIMES: Final = re.compile(rb"T[0-9]{1,19} [0-9]{1,9} [0-9]{1,19} [0-9]{1,9}\n")


@frozen
class Entry:
    """A file, or a folder that follows."""

    line: bytes
    is_folder: bool
    mode: int
    size: int
    name: bytes


@frozen
class Other:
    """A line of another kind: times, or the end of a folder."""

    line: bytes
    is_end: bool


@frozen
class Said:
    """An answer, or what follows a content: 0, or 1 or 2 with a message."""

    line: bytes

    @property
    def is_fine(self) -> bool:
        """Whether nothing is wrong."""
        return self.line == b"\0"


Piece: TypeAlias = Entry | Other | Said | memoryview


class ScpReader:
    """Cuts what the sending side says; or, without contents, what the other one answers."""

    def __init__(self) -> None:
        self._data = b""
        self._at = 0
        self._left = 0

    @property
    def kept(self) -> int:
        """Bytes that came and were not taken."""
        return len(self._data) - self._at

    def receive(self, data: bytes) -> None:
        """Take bytes. Nothing is parsed yet."""
        self._data = self._data[self._at :] + data if self.kept else data
        self._at = 0

    def expect(self, size: int) -> None:
        """Take what follows as content."""
        self._left = size

    def next_piece(self) -> Piece | None:
        """Return the next piece; None if there is none yet.

        Raises:
            ProtocolViolationError: this is not scp.

        """
        if not self.kept:
            return None
        if self._left:
            count = min(self.kept, self._left)
            piece = memoryview(self._data)[self._at : self._at + count]
            self._left -= count
            self._at += count
            return piece
        if self._data[self._at] == 0:
            self._at += 1
            return Said(b"\0")
        end = self._data.find(b"\n", self._at)
        if end - self._at >= LINE_LIMIT or (end < 0 and self.kept >= LINE_LIMIT):
            raise ProtocolViolationError(f"a line of scp is longer than {LINE_LIMIT} bytes")
        if end < 0:
            return None
        line = self._data[self._at : end + 1]
        self._at = end + 1
        return _parsed(line)


def _parsed(line: bytes) -> Piece:
    if line[0] in (1, 2):
        return Said(line)
    if line == b"E\n" or _TIMES.fullmatch(line):
        return Other(line, line == b"E\n")
    found = _ENTRY.fullmatch(line)
    if found is None:
        raise ProtocolViolationError("a line that scp does not know")
    size = int(found[3])
    if size >= 2**63:
        raise ProtocolViolationError("a file that is too large")
    return Entry(line, found[1] == b"D", int(found[2], 8), size, found[4])


def refusal(text: str) -> bytes:
    """Encode what makes the other side go on with the next file: one line."""
    shown = " ".join(text.split())[:1_000]
    return b"\1" + shown.encode() + b"\n"
