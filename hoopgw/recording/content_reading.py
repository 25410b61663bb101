"""Read contents: what a session's records say of them, and what is in their files.

Nothing here changes a file. Whether a file is what was written says `content_checking`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Self

from attrs import define, field, frozen

from hoopgw.recording.content_files import ContentFolder
from hoopgw.recording.content_frames import (
    FRAME_HEAD,
    FRAME_LIMIT,
    HEADER_LIMIT,
    ContentFrame,
    ContentHead,
    ContentReader,
)
from hoopgw.recording.reader import ReadError
from hoopgw.recording.records import AnyRecord, ContentEnded, ContentOpened, ContentPiece

PAGE_LEAST: Final = FRAME_LIMIT + HEADER_LIMIT + 64
"""Bytes of a page at least, so that one holds a whole frame."""
_READ: Final = 2**20
_TRIES: Final = 3


@define
class ContentRecords:
    """What a session's records say of one content."""

    opened: ContentOpened
    pieces: list[ContentPiece] = field(factory=list, repr=False)
    ended: ContentEnded | None = None

    @property
    def covered(self) -> int:
        """Bytes that the log vouches for."""
        if self.ended is not None:
            return self.ended.size
        return self.pieces[-1].size if self.pieces else 0


def contents_of(records: Iterable[AnyRecord]) -> dict[int, ContentRecords]:
    """Return a session's contents by number, as its records tell them."""
    found: dict[int, ContentRecords] = {}
    for record in records:
        match record:
            case ContentOpened():
                found.setdefault(record.number, ContentRecords(record))
            case ContentPiece() if record.number in found:
                found[record.number].pieces.append(record)
            case ContentEnded() if record.number in found:
                found[record.number].ended = record
            case _:
                pass
    return found


@frozen
class Page:
    """A part of a content."""

    data: bytes = field(repr=lambda data: f"<{len(data)} bytes>")
    """Whole frames; the first page begins with the header."""
    next: int
    """Where the next page begins."""
    has_ended: bool
    """Whether nothing will come behind the file's end."""
    is_last: bool
    """Whether this goes to the last whole frame that there is."""


def read_page(folder: ContentFolder, session: str, number: int, after: int, limit: int) -> Page:
    """Read whole frames of a content, from where the page before ended.

    Args:
        folder: of the contents.
        session: the session's id.
        number: of the content.
        after: 0, or `Page.next` of the page before.
        limit: bytes, `PAGE_LEAST` or more.

    Raises:
        ReadError: it is not there, or not what was written.

    """
    with open_content(folder, session, number) as opened:
        # Asked first: what is read behind a true answer is all that there will be.
        has_ended = opened.has_ended
        data = os.pread(opened.fd, max(limit, PAGE_LEAST), after)
        size = os.fstat(opened.fd).st_size
    end = _whole(data, with_head=after == 0)
    is_last = after + len(data) >= size
    if not is_last and not end:
        raise ReadError(f"content {number} of {session} is damaged at byte {after}")
    return Page(data[:end], after + end, has_ended, is_last)


def _whole(data: bytes, *, with_head: bool) -> int:
    """Return where the last whole frame ends."""
    at = 0
    if with_head:
        reader = ContentReader()
        reader.receive(data[: HEADER_LIMIT + 64])
        for _ in reader.frames():
            break
        if reader.head is None:
            return 0
        at = len(reader.head.encode())
    while at + FRAME_HEAD.size <= len(data):
        end = at + FRAME_HEAD.size + FRAME_HEAD.unpack_from(data, at)[2]
        if end > len(data):
            break
        at = end
    return at


@define(eq=False)
class OpenedContent:
    """A content file that is open for reading."""

    fd: int
    path: Path
    has_ended: bool
    """Whether it had ended when it was opened."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def frames(self) -> Iterator[tuple[ContentHead, ContentFrame]]:
        """Give its whole frames.

        Raises:
            ContentFormatError: it is not what was written.

        """
        reader, offset = ContentReader(), 0
        while data := os.pread(self.fd, _READ, offset):
            offset += len(data)
            reader.receive(data)
            for frame in reader.frames():
                assert reader.head is not None
                yield reader.head, frame


def open_content(folder: ContentFolder, session: str, number: int) -> OpenedContent:
    """Open a content for reading, wherever it is.

    Raises:
        ReadError: it is not there.

    """
    for _ in range(_TRIES):
        try:
            path = folder.find(session, number)
        except ValueError as error:
            raise ReadError(str(error)) from error
        if path is None:
            break
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # it has ended just now, and was moved
        except OSError as error:
            raise ReadError(f"{path.name} cannot be read: {error.strerror}") from error
        return OpenedContent(fd, path, path.parent == folder.kept)
    raise ReadError(f"content {number} of session {session[:100]} is not there")
