"""Close the contents that a worker left open when it died. In the recorder process.

A content in ``open/`` that nobody has locked was left. Once all that its worker recorded is in the
log, what the file holds up to its last whole frame is hashed, its end is recorded (with ``mended``,
through a spool of the recorder's own, as any other record), and it is moved to ``kept/``. So what
no piece had covered is covered from then on; that it was written by the worker, and not by somebody
who came between, only the pieces vouch for.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections import Counter
from pathlib import Path
from typing import Final

from attrs import define, field, frozen
from twisted.logger import Logger

from hoopgw.recording.content_checking import check_content
from hoopgw.recording.content_files import ContentFolder
from hoopgw.recording.content_frames import ContentFormatError, ContentReader, FrameKind
from hoopgw.recording.content_reading import ContentRecords, contents_of
from hoopgw.recording.reader import LogReader, ReadError
from hoopgw.recording.records import AnyRecord, ContentEnded, SessionEnded, encode
from hoopgw.recording.spool import SpoolWriteError, SpoolWriter

log = Logger()

EVERY: Final = 5.0
"""Seconds between two looks."""
SPOOL: Final = "mender"
"""Whose spool it is that these records go through."""
_SPOOL_SIZE: Final = 2**16
_READ: Final = 2**20


@frozen
class _Whole:
    """What a file holds."""

    size: int
    """Up to its last whole frame."""
    digest: bytes
    counts: Counter[int]
    """Bytes by the kind of frame."""


@define(eq=False)
class ContentMender:
    """Looks for contents that were left, again and again.

    Args:
        folder: of the contents.
        log_dir: of the log.
        spool_dir: of the spools.

    """

    _folder: ContentFolder
    _log_dir: Path
    _spool_dir: Path
    _seen: set[str] = field(factory=set, init=False)
    """What was left when it last looked."""

    def look(self, *, has_taken_all: bool) -> int:
        """Close what was left at the last look already; return how many were closed.

        Args:
            has_taken_all: whether the log has all that workers have recorded that are gone; seen
                since the last look.

        Raises:
            OSError: a file or folder cannot be used; try again.

        """
        left = {
            path.name: (session, number, path)
            for session, number, path in self._folder.left_open()
            if not _is_locked(path)
        }
        old, self._seen = self._seen & left.keys(), set(left)
        if not old or not has_taken_all:
            return 0
        spool = SpoolWriter(self._spool_dir, SPOOL, _SPOOL_SIZE)
        pen = _Pen(spool)
        try:
            for name in sorted(old):
                self._mend(*left[name], pen)
                self._seen.discard(name)
        except SpoolWriteError as error:
            raise OSError(str(error)) from error
        finally:
            spool.seal()
        return len(old)

    def _mend(self, session: str, number: int, path: Path, pen: _Pen) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            known = self._known(session)
            records = contents_of(known).get(number)
            if records is None:
                log.warn("content {name} is not in the log; it is set aside", name=path.name)
                os.rename(path, self._folder.lost / path.name)
                return
            if records.ended is None:
                self._end(fd, known, records, pen)
            os.fsync(fd)
            os.rename(path, self._folder.kept / path.name)
        except BlockingIOError:
            return  # somebody has it after all
        finally:
            os.close(fd)

    def _known(self, session: str) -> list[AnyRecord]:
        try:
            return list(LogReader(self._log_dir).records(session))
        except ReadError:
            return []

    def _end(self, fd: int, known: list[AnyRecord], records: ContentRecords, pen: _Pen) -> None:
        """Record how far a content goes."""
        opened = records.opened
        name = f"{opened.session}.{opened.number}"
        if any(isinstance(record, SessionEnded) for record in known):
            log.error("content {name} never ended, and its session has", name=name)
            return
        found = check_content(self._folder, records)
        whole = _read(fd)
        os.ftruncate(fd, whole.size)
        outcome = "its worker died" + ("" if found is None else f"; {found.what}")
        log.warn("content {name} was left: {outcome}", name=name, outcome=outcome)
        sequence = pen.number(opened.session, known[-1].sequence + 1)
        pen.write(
            ContentEnded(
                opened.session,
                sequence,
                time.time_ns(),
                opened.number,
                whole.size,
                whole.digest,
                outcome,
                whole.counts[FrameKind.INPUT],
                whole.counts[FrameKind.OUTPUT],
                whole.counts[FrameKind.STDERR],
                mended=True,
            )
        )


@define(eq=False)
class _Pen:
    """Writes records into a spool, and numbers them."""

    _spool: SpoolWriter
    _next: dict[str, int] = field(factory=dict, init=False)
    """What comes next in sessions that it has written of."""

    def number(self, session: str, first: int) -> int:
        """Return the sequence of a session's next record; ``first`` if none was written here."""
        sequence = self._next.get(session, first)
        self._next[session] = sequence + 1
        return sequence

    def write(self, record: ContentEnded) -> None:
        """Write a record. Raises `SpoolWriteError`."""
        data = encode(record)
        size = 4 + len(data)
        if not self._spool.has_room(size):
            self._spool.open_next(size)
        self._spool.append(len(data).to_bytes(4, "big") + data)


def _read(fd: int) -> _Whole:
    """Read a file to its last whole frame; what is no content is kept as it is."""
    reader, state, counts = ContentReader(), hashlib.sha256(), Counter[int]()
    offset, pending = 0, b""
    try:
        while data := os.pread(fd, _READ, offset):
            offset += len(data)
            reader.receive(data)
            for frame in reader.frames():
                counts[frame.kind] += len(frame.data)
            whole = len(pending) + len(data) - (offset - reader.offset)
            joined = pending + data
            state.update(joined[:whole])
            pending = joined[whole:]
    except ContentFormatError:
        return _everything(fd)
    return _Whole(reader.offset, state.digest(), counts)


def _everything(fd: int) -> _Whole:
    state, offset = hashlib.sha256(), 0
    while data := os.pread(fd, _READ, offset):
        offset += len(data)
        state.update(data)
    return _Whole(offset, state.digest(), Counter())


def _is_locked(path: Path) -> bool:
    """Say whether somebody writes it; what is gone is nobody's."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
