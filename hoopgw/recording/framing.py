"""The bytes of spool files and log segments: framing only, no files.

A *spool* is a worker's own file: a header, then a ring of some bytes (its capacity), in which
``[u32 length][record]`` stands over and over. Offsets go on behind the ring's end, so a place has
a new one each time round. Two words of the header, `FREED_WORD` and `END_WORD`, say from which to
which of them records are there. It has no checksums, as its bytes live in the page cache for some
milliseconds only. (The first version was a file that grew, without these words.)

A *log segment* is for years: a header, then frames ``[kind][u32 length][u32 CRC-32][payload]``.
The CRC covers kind, length and payload, and tells a torn or rotten frame from an altered one,
whose CRC an attacker will have put right: that one is found by the Merkle tree. A frame of kind
``R`` is a record, and a leaf of the tree. A frame of kind ``P`` is no leaf: it says from which
spool, and from which offset there, the records after it were taken, so that what a log holds
always tells how far each spool was read, wherever the log is cut.

All integers are big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final
from zlib import crc32

from attrs import field, frozen

from hoopgw.errors import HoopgwError

RECORD_LIMIT: Final = 32 * 2**20
"""Bytes that one record may have. Larger operations are refused, because they cannot be kept."""

SPOOL_MAGIC: Final = b"hoopgw spool v2\n"
_GROWING_MAGIC: Final = b"hoopgw spool v1\n"
_GROWING_HEADER_SIZE: Final = 32
_SPOOL_HEADER: Final = struct.Struct("=16s16sQQQQ16s48x")  # the words in the machine's own order
SPOOL_HEADER_SIZE: Final = _SPOOL_HEADER.size
END_WORD: Final = 4
"""The 8-byte word of a spool's header that says where its records end."""
FREED_WORD: Final = 5
"""The word that says where they begin: what is before may have been written over."""
SEALED_WORD: Final = 6
"""The word that is 1 once its writer has ended and all is on the disk."""
_LENGTH: Final = 4

LOG_MAGIC: Final = b"hoopgw log v1\n\0\0"
_LOG_HEADER: Final = struct.Struct(">16sQ32sI")
LOG_HEADER_SIZE: Final = _LOG_HEADER.size
_FRAME: Final = struct.Struct(">cII")
FRAME_HEADER_SIZE: Final = _FRAME.size
_POSITION: Final = struct.Struct(">16sQ")

RECORD: Final = b"R"
POSITION: Final = b"P"
_RECORD_KIND: Final = RECORD[0]
_POSITION_KIND: Final = POSITION[0]


class DamagedError(HoopgwError):
    """Bytes of a spool or a log are not what was once written there."""


class TornError(DamagedError):
    """A file ends inside a frame or a header, as after a power loss."""


@frozen
class SpoolHead:
    """What a spool's header says that does not change, but for ``sealed``."""

    identity: bytes
    """16 random bytes."""
    capacity: int = 0
    """Bytes of its ring; 0 for a file that grows."""
    boot: bytes = bytes(16)
    """When the machine was started, as 16 bytes that name it."""
    sealed: bool = False

    @property
    def begin(self) -> int:
        """The offset of the first record."""
        return SPOOL_HEADER_SIZE if self.capacity else _GROWING_HEADER_SIZE


def spool_header(head: SpoolHead) -> bytes:
    """Return what a spool file without records starts with."""
    begin = SPOOL_HEADER_SIZE
    return _SPOOL_HEADER.pack(
        SPOOL_MAGIC, head.identity, begin, begin, head.sealed, head.capacity, head.boot
    )


def parse_spool_header(data: bytes) -> SpoolHead:
    """Read what a spool file starts with.

    Raises:
        DamagedError: it is no spool.

    """
    if data[:16] == _GROWING_MAGIC and len(data) >= _GROWING_HEADER_SIZE:
        return SpoolHead(data[16:_GROWING_HEADER_SIZE])
    if len(data) < SPOOL_HEADER_SIZE:
        raise TornError("the spool ends inside its header")
    magic, identity, _, _, sealed, capacity, boot = _SPOOL_HEADER.unpack_from(data)
    if magic != SPOOL_MAGIC or not capacity:
        raise DamagedError("it does not begin like a spool")
    return SpoolHead(identity, capacity, boot, sealed == 1)


@frozen
class SpoolCut:
    """What some bytes of a spool held."""

    records: list[bytes] = field(repr=lambda records: f"<{len(records)} records>")
    taken: int
    """Bytes that the records took; what is behind is an incomplete frame, or damage."""
    fault: str | None = None
    """Why nothing behind can be read, if so."""


def spool_records(data: bytes) -> SpoolCut:
    """Cut spool bytes (without the header) into whole records. Never raises."""
    records: list[bytes] = []
    taken, end = 0, len(data)
    while end - taken >= _LENGTH:
        start = taken + _LENGTH
        size = int.from_bytes(data[taken:start], "big")
        if not 0 < size <= RECORD_LIMIT:
            return SpoolCut(records, taken, f"it has a record of {size} bytes")
        if start + size > end:
            break
        taken = start + size
        records.append(data[start:taken])
    return SpoolCut(records, taken)


def log_header(first: int, root: bytes) -> bytes:
    """Return what a segment starts with: its first leaf, and the tree's root before that."""
    head = _LOG_HEADER.pack(LOG_MAGIC, first, root, 0)[:-4]
    return head + crc32(head).to_bytes(4, "big")


def parse_log_header(data: bytes) -> tuple[int, bytes]:
    """Return a segment's first leaf and the root before it.

    Raises:
        DamagedError: it is no header.

    """
    if len(data) < LOG_HEADER_SIZE:
        raise TornError("the segment ends inside its header")
    magic, first, root, crc = _LOG_HEADER.unpack_from(data)
    if magic != LOG_MAGIC:
        raise DamagedError("it does not begin like a log segment of this version")
    if crc32(data[: LOG_HEADER_SIZE - 4]) != crc:
        raise DamagedError("the header's checksum is wrong")
    return first, bytes(root)


_heads: Final = struct.Struct(">cI").pack
_crc_bytes: Final = struct.Struct(">I").pack


def frame(kind: bytes, payload: bytes) -> bytes:
    """Return a log frame."""
    head = _heads(kind, len(payload))
    return head + _crc_bytes(crc32(payload, crc32(head))) + payload


def record_frames(records: Iterable[bytes]) -> list[bytes]:
    """Return the log frames of records, in pieces to be joined."""
    parts: list[bytes] = []
    for record in records:
        head = _heads(RECORD, len(record))
        parts += (head, _crc_bytes(crc32(record, crc32(head))), record)
    return parts


def position_frame(spool: bytes, offset: int) -> bytes:
    """Return the frame that says where the records after it come from."""
    return frame(POSITION, _POSITION.pack(spool, offset))


@frozen
class Frame:
    """One frame of a segment, as read."""

    kind: int
    """``ord('R')`` or ``ord('P')``."""
    payload: bytes = field(repr=lambda payload: f"<{len(payload)} bytes>")
    end: int
    """Offset behind it, in what was read."""

    @property
    def is_record(self) -> bool:
        """Whether it is a leaf of the tree."""
        return self.kind == _RECORD_KIND

    def position(self) -> tuple[bytes, int]:
        """Return the spool and offset of a ``P`` frame."""
        spool, offset = _POSITION.unpack(self.payload)
        return bytes(spool), offset


def frames(data: bytes, start: int = 0) -> Iterator[Frame]:
    """Walk log frames.

    Raises:
        TornError: the data end inside a frame; more may come if the file goes on.
        DamagedError: a frame is not what was written.

    """
    view, end = memoryview(data), len(data)
    while start < end:
        if end - start < FRAME_HEADER_SIZE:
            raise TornError("the data end inside a frame's header")
        kind, size, crc = _FRAME.unpack_from(data, start)
        body = start + FRAME_HEADER_SIZE
        if kind not in (RECORD, POSITION) or not 0 < size <= RECORD_LIMIT:
            raise DamagedError("no frame begins here")
        if kind == POSITION and size != _POSITION.size:
            raise DamagedError("a position of the wrong size")
        if body + size > end:
            raise TornError("the data end inside a frame")
        payload = bytes(view[body : body + size])
        if crc32(payload, crc32(view[start : start + 5])) != crc:
            raise DamagedError("a frame's checksum is wrong")
        start = body + size
        yield Frame(kind[0], payload, start)
