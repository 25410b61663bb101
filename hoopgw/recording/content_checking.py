"""Check contents against what the log says of them: a part of `verification`.

Each file is read once, when the record of its end is met, or at the end of the log. What is missing
must have been removed by a record that says so.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from attrs import define, field, frozen

from hoopgw.recording.content_files import ContentFolder
from hoopgw.recording.content_reading import ContentRecords, open_content
from hoopgw.recording.reader import ReadError
from hoopgw.recording.records import (
    AnyRecord,
    ContentEnded,
    ContentOpened,
    ContentPiece,
    ContentRemoved,
    SessionEnded,
)

_READ: Final = 2**20
Key: TypeAlias = tuple[str, int]
"""A session and the number of a content in it."""


@frozen
class Difference:
    """What is not as the log says."""

    what: str
    is_missing: bool = False


def check_content(folder: ContentFolder, records: ContentRecords) -> Difference | None:
    """Compare a content's file with its records; None if it is what was written.

    Raises:
        OSError: it cannot be read.

    """
    session, number = records.opened.session, records.opened.number
    try:
        with open_content(folder, session, number) as opened:
            what = _compare(opened.fd, records)
    except ReadError as error:
        return Difference(str(error), is_missing=True)
    return None if what is None else Difference(what)


def _compare(fd: int, records: ContentRecords) -> str | None:
    state, at = hashlib.sha256(), 0
    for size, digest in _marks(records):
        while at < size:
            data = os.pread(fd, min(_READ, size - at), at)
            if not data:
                why = " (a power loss may take the last part)" if records.ended is not None else ""
                return f"it ends at byte {at}, and the log knows {records.covered} of it{why}"
            state.update(data)
            at += len(data)
        if state.digest() != digest:
            return f"what is before byte {size} is not what was written"
    if records.ended is not None and os.fstat(fd).st_size > at:
        return f"it goes on behind byte {at}, where it had ended"
    return None


def _marks(records: ContentRecords) -> Iterator[tuple[int, bytes]]:
    for piece in records.pieces:
        yield piece.size, piece.digest
    if records.ended is not None:
        yield records.ended.size, records.ended.digest


@define(eq=False)
class ContentAudit:
    """Checks the contents of a log, as its records are met.

    Args:
        folder: of the contents; None checks what records say of one another only.
        problem: told of what is wrong: where, and what.

    """

    _folder: ContentFolder | None
    _problem: Callable[[str, str], None]
    count: int = field(default=0, init=False)
    """Contents that the log knows."""
    size: int = field(default=0, init=False)
    """Bytes of those that are what was written."""
    removed: int = field(default=0, init=False)
    """Contents that are not there, as a record says."""
    _open: dict[Key, ContentRecords] = field(factory=dict, init=False)
    _missing: dict[Key, str] = field(factory=dict, init=False)
    _known: set[Key] = field(factory=set, init=False)

    def take(self, where: str, record: AnyRecord) -> None:
        """Look at the next record of the log."""
        match record:
            case ContentOpened():
                self._opened(where, record)
            case ContentPiece():
                self._piece(where, record)
            case ContentEnded():
                self._ended(where, record)
            case ContentRemoved():
                self.removed += self._missing.pop((record.of, record.number), None) is not None
            case SessionEnded():
                for key in [key for key in self._open if key[0] == record.session]:
                    self._problem(where, f"content {key[1]} of session {key[0]} never ended")
                    self._check(self._open.pop(key))
            case _:
                pass

    def finish(self) -> None:
        """Look at what goes on, what is missing, and what nobody has named."""
        for records in self._open.values():
            self._check(records)
        for (session, number), what in self._missing.items():
            self._problem(f"contents, {session}.{number}", what)
        if self._folder is None:
            return
        for session, number, path in self._folder.ended():
            if (session, number) not in self._known:
                self._problem(f"contents, {path.name}", "the log does not know it")

    def _opened(self, where: str, record: ContentOpened) -> None:
        key = (record.session, record.number)
        if key in self._known:
            self._problem(where, f"content {record.number} had begun")
            return
        self.count += 1
        self._known.add(key)
        self._open[key] = ContentRecords(record)

    def _piece(self, where: str, record: ContentPiece) -> None:
        records = self._open.get((record.session, record.number))
        if records is None or record.size <= records.covered:
            self._problem(where, f"a piece of content {record.number} that cannot be there")
        else:
            records.pieces.append(record)

    def _ended(self, where: str, record: ContentEnded) -> None:
        records = self._open.pop((record.session, record.number), None)
        if records is None:
            self._problem(where, f"content {record.number} had not begun, or had ended")
            return
        if record.size < records.covered:
            what = f"it lost {records.covered - record.size} bytes that were recorded"
            self._problem(f"contents, {record.session}.{record.number}", what)
            records.pieces = [piece for piece in records.pieces if piece.size <= record.size]
        records.ended = record
        self._check(records)

    def _check(self, records: ContentRecords) -> None:
        if self._folder is None:
            return
        session, number = records.opened.session, records.opened.number
        found = check_content(self._folder, records)
        if found is None:
            self.size += records.covered
        elif found.is_missing:
            self._missing[session, number] = found.what + ", and no record says that it was removed"
        else:
            self._problem(f"contents, {session}.{number}", found.what)
