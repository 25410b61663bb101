"""The log's segment files, as they are read: by the recorder at its start, and by everyone else.

A segment is named by its first leaf, ``00000000000000001234.log``. Reading never changes a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import field, frozen

from hoopgw.recording.framing import (
    FRAME_HEADER_SIZE,
    LOG_HEADER_SIZE,
    RECORD_LIMIT,
    DamagedError,
    Frame,
    TornError,
    frames,
    parse_log_header,
)

_NAME: Final = re.compile(r"([0-9]{20})\.log")
_READ_SIZE: Final = 4 * 2**20


@frozen(order=True)
class Segment:
    """One segment file."""

    first: int
    """Its first leaf."""
    path: Path = field(order=False)

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.path.stat().st_size


@frozen
class Entry:
    """One frame of the log, with its place."""

    frame: Frame
    leaf: int
    """Its number, if it is a record; of the next record, if it is a position."""
    offset: int
    """Where in the segment it begins."""
    end: int
    """Where it ends."""


def segment_path(directory: Path, first: int) -> Path:
    """Return where the segment that begins with a leaf is kept."""
    return directory / f"{first:020}.log"


def segments(directory: Path) -> list[Segment]:
    """Return the segments of a log, in order."""
    found = []
    for path in directory.iterdir():
        match = _NAME.fullmatch(path.name)
        if match is not None:
            found.append(Segment(int(match[1]), path))
    return sorted(found)


def header(segment: Segment) -> tuple[int, bytes]:
    """Return the first leaf that a segment's header names, and the root before it.

    Raises:
        DamagedError: the header is not what was written.

    """
    with segment.path.open("rb") as file:
        first, root = parse_log_header(file.read(LOG_HEADER_SIZE))
    if first != segment.first:
        raise DamagedError(f"the header says that it begins with leaf {first}")
    return first, root


def entries(segment: Segment) -> Iterator[Entry]:
    """Walk a segment's frames.

    Raises:
        TornError: it ends inside a frame. All whole frames have been given by then.
        DamagedError: a frame is not what was written; likewise.

    """
    leaf, offset = segment.first, LOG_HEADER_SIZE
    fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        want = _READ_SIZE
        while data := os.pread(fd, want, offset):
            start = 0
            try:
                for frame in frames(data):
                    yield Entry(frame, leaf, offset + start, offset + frame.end)
                    leaf += frame.is_record
                    start = frame.end
            except TornError:
                if len(data) < want or want > _READ_SIZE:
                    raise
                # Read on from there, with room for the longest frame if this was not enough.
                want = _READ_SIZE if start else FRAME_HEADER_SIZE + RECORD_LIMIT
            else:
                want = _READ_SIZE
            offset += start
    finally:
        os.close(fd)
