"""The bytes of a content file: what went over one stream or channel, in frames. No I/O, no clock.

A file begins with a header that says what it is, so that it can be shown without the log; what
vouches for it are its hashes, which are records of the log. The header is `MAGIC`, a length of 4
bytes, and a MessagePack map. Frames follow: a kind (1 byte), the microseconds since the start (8
bytes), the length (4 bytes), the bytes. All integers are big-endian. A file that is cut anywhere
gives its whole frames.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from struct import Struct, error
from typing import Final

import msgspec
from attrs import define, field, frozen

from hoopgw.errors import HoopgwError

MAGIC: Final = b"hoopgw content v1\n\0\0"
FRAME_LIMIT: Final = 2**20
"""Bytes of one frame; more is written as several."""
HEADER_LIMIT: Final = 64 * 1024
FRAME_HEAD: Final = Struct(">BQI")
"""Kind, microseconds, length."""
_LENGTH: Final = Struct(">I")
_SIZE: Final = Struct(">II")
_PLACE: Final = Struct(">Q")
FILE_KINDS: Final = ("upload", "download")
"""Kinds of contents that hold a file: to the target, and from it."""
_SIDE_LIMIT: Final = 10_000
"""Columns or rows that a terminal has at most; what clients claim beyond it is cut to it."""


class ContentFormatError(HoopgwError):
    """A content file is not what was written."""


class FrameKind(enum.IntEnum):
    """What a frame holds. A number is never used again for something else."""

    INPUT = 1
    """What the client sent."""
    OUTPUT = 2
    """What the client was shown."""
    STDERR = 3
    """The same, of the second stream."""
    RESIZE = 4
    """Columns and rows: `resize_data`."""
    MARK = 5
    """A note in UTF-8: the gateway's own word."""
    EXIT = 6
    """How it ended, in UTF-8: a number, or a signal's name."""
    FILE = 7
    """A piece of a file, and where it belongs: `piece_data`."""


@frozen(kw_only=True)
class ContentHead:
    """What a content file says of itself."""

    session: str
    number: int
    """Among the session's contents, from 0."""
    started: int
    """Nanoseconds since the epoch: what frames count from."""
    kind: str
    """``shell``, ``exec``, ``subsystem`` ..."""
    title: str = ""
    """For people."""
    term: str = ""
    """The client's ``TERM``; empty if there is no terminal."""
    columns: int = 0
    rows: int = 0
    boot: bytes = b""
    """The start of the machine in which it was written, as `spool.this_boot`."""

    def encode(self) -> bytes:
        """Return the header."""
        body = msgspec.msgpack.encode(
            {
                "session": self.session,
                "number": self.number,
                "started": self.started,
                "kind": self.kind,
                "title": self.title,
                "term": self.term,
                "columns": self.columns,
                "rows": self.rows,
                "boot": self.boot,
            }
        )
        return MAGIC + _LENGTH.pack(len(body)) + body


@frozen
class ContentFrame:
    """One frame."""

    kind: int
    """A `FrameKind`; one of a later version is skipped."""
    at: int
    """Microseconds since the start."""
    data: bytes = field(repr=lambda data: f"<{len(data)} bytes>")

    def encode(self) -> bytes:
        """Return it as it stands in the file."""
        return FRAME_HEAD.pack(self.kind, self.at, len(self.data)) + self.data


def resize_data(columns: int, rows: int) -> bytes:
    """Return what a frame of kind ``RESIZE`` holds."""
    return _SIZE.pack(side(columns), side(rows))


def piece_data(offset: int, data: bytes | bytearray | memoryview) -> bytes:
    """Return what a frame of kind ``FILE`` holds; ``offset`` counts from the file's begin."""
    return _PLACE.pack(offset) + data


def piece_of(data: bytes) -> tuple[int, bytes]:
    """Return the offset and the bytes of a frame of kind ``FILE``.

    Raises:
        ContentFormatError: it holds something else.

    """
    if len(data) < _PLACE.size:
        raise ContentFormatError("a piece of a file that is none")
    return _PLACE.unpack_from(data)[0], data[_PLACE.size :]


def side(claimed: int) -> int:
    """Return columns or rows as they are recorded: within what a terminal can have."""
    return min(max(claimed, 0), _SIDE_LIMIT)


def size_of(data: bytes) -> tuple[int, int]:
    """Return the columns and rows of a frame of kind ``RESIZE``.

    Raises:
        ContentFormatError: it holds something else.

    """
    try:
        columns, rows = _SIZE.unpack(data)
    except error:
        raise ContentFormatError("a size that is none") from None
    return side(columns), side(rows)


@define
class ContentReader:
    """Takes a content file's bytes, however they are cut, and gives what is whole.

    Feed it with `receive`; `head` is known once it is whole, and `frames` gives what is new.
    """

    head: ContentHead | None = None
    offset: int = 0
    """Bytes of the file up to the end of the last whole frame."""
    _buffer: bytearray = field(factory=bytearray, init=False, repr=False)

    def receive(self, data: bytes) -> None:
        """Take bytes."""
        self._buffer += data

    @property
    def rest(self) -> int:
        """Bytes behind the last whole frame."""
        return len(self._buffer)

    def frames(self) -> Iterator[ContentFrame]:
        """Give the whole frames that came.

        Raises:
            ContentFormatError: this is no content file, or not what was written.

        """
        if self.head is None and not self._take_head():
            return
        buffer, at = self._buffer, 0
        try:
            while len(buffer) - at >= FRAME_HEAD.size:
                kind, moment, length = FRAME_HEAD.unpack_from(buffer, at)
                if length > FRAME_LIMIT:
                    raise ContentFormatError(f"a frame of {length} bytes")
                end = at + FRAME_HEAD.size + length
                if end > len(buffer):
                    break
                frame = ContentFrame(kind, moment, bytes(buffer[at + FRAME_HEAD.size : end]))
                self.offset += end - at
                at = end
                yield frame
        finally:
            del buffer[:at]

    def _take_head(self) -> bool:
        buffer = self._buffer
        if not MAGIC.startswith(buffer[: len(MAGIC)]):
            raise ContentFormatError("this is no content of a session")
        start = len(MAGIC) + _LENGTH.size
        if len(buffer) < start:
            return False
        (length,) = _LENGTH.unpack_from(buffer, len(MAGIC))
        if length > HEADER_LIMIT:
            raise ContentFormatError(f"a header of {length} bytes")
        if len(buffer) < start + length:
            return False
        self.head = _head_of(bytes(buffer[start : start + length]))
        del buffer[: start + length]
        self.offset = start + length
        return True


class _Head(msgspec.Struct):
    """The header's map."""

    session: str
    number: int
    started: int
    kind: str
    title: str = ""
    term: str = ""
    columns: int = 0
    rows: int = 0
    boot: bytes = b""


def _head_of(body: bytes) -> ContentHead:
    try:
        found = msgspec.msgpack.decode(body, type=_Head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise ContentFormatError(f"the header cannot be read: {fault}") from fault
    return ContentHead(
        session=found.session,
        number=found.number,
        started=found.started,
        kind=found.kind,
        title=found.title,
        term=found.term,
        columns=side(found.columns),
        rows=side(found.rows),
        boot=found.boot,
    )
