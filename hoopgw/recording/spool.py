"""Both ends of a spool: the worker's `SpoolWriter`, the recorder's `SpoolTail`.

A worker writes one segment after the other, ``<worker>-<n>.spool``. While it writes a segment it
holds a ``flock`` on it, and the kernel drops that with the process: so the recorder knows, without
asking, which segments will not grow any more. A segment is locked before it gets its name, so there
is no moment at which a living one looks abandoned.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import define, field, setters
from attrs.validators import matches_re

from hoopgw.errors import RecorderError
from hoopgw.recording.batch import Batch, take
from hoopgw.recording.framing import (
    SPOOL_HEADER_SIZE,
    parse_spool_header,
    spool_header,
    whole_frames,
)

SEGMENT_SIZE: Final = 16 * 2**20
"""Bytes after which a worker goes on in a new segment."""
READ_SIZE: Final = 64 * 1024
"""Bytes that are read from a spool at once, unless one record is longer.

So few that what is made of them stays in a processor's nearer caches, beside what the others need.
"""
_LENGTH: Final = 4
_PROBE_SIZE: Final = 64 * 1024
_WORKER: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_NAME: Final = re.compile(rf"(?P<worker>{_WORKER})-(?P<number>[0-9]{{1,12}})\.spool")


class SpoolWriteError(RecorderError):
    """The spool could not take it all."""

    def __init__(self, text: str, kept: int = 0) -> None:
        super().__init__(text)
        self.kept = kept
        """Bytes of whole frames that were kept all the same, from the first on."""


@define(eq=False, on_setattr=setters.NO_OP)  # hooks would double the time of `append`
class SpoolWriter:
    """Appends frames to a worker's own spool segments. Not for two processes of one name."""

    directory: Path
    worker: str = field(validator=matches_re(_WORKER))
    identity: bytes = field(default=b"", init=False)
    """Of the open segment: 16 random bytes."""
    offset: int = field(default=0, init=False)
    """Bytes in the open segment."""
    _fd: int = field(default=-1, init=False)
    _number: int = field(default=0, init=False)

    def open_next(self) -> None:
        """Go on in a new segment.

        Raises:
            SpoolWriteError: it could not be made; the old one, if there is one, is still open.

        """
        identity = os.urandom(16)
        try:
            self._number = max([self._number, *self._taken()]) + 1
            fd = self._make(identity)
        except OSError as error:
            raise _cannot(error) from error
        self.close()
        self._fd, self.identity, self.offset = fd, identity, SPOOL_HEADER_SIZE

    def append(self, data: bytes | bytearray) -> None:
        """Write frames with one system call. A torn tail is cut off again.

        Raises:
            SpoolWriteError: not all could be written; ``kept`` says how much was.

        """
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            self.cut()
            raise _cannot(error) from error
        if written != len(data):
            kept = whole_frames(data, written)
            self.offset += kept
            self.cut()
            raise SpoolWriteError("the spool is full", kept)
        self.offset += written

    def probe(self) -> None:
        """See whether there is space again.

        Raises:
            SpoolWriteError: there is not.

        """
        path = self.directory / f"{self.worker}.probe"
        try:
            path.write_bytes(bytes(_PROBE_SIZE))
        except OSError as error:
            raise _cannot(error) from error
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the segment; the recorder may remove it once it has been read."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def cut(self) -> None:
        """Cut a torn tail off. If that fails too, the recorder drops it, as nothing follows it."""
        try:
            os.ftruncate(self._fd, self.offset)
        except OSError:
            self.close()

    def _make(self, identity: bytes) -> int:
        temporary = self.directory / f"{self.worker}.new"
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            header = spool_header(identity)
            if os.write(fd, header) != len(header):
                raise OSError("the header was cut short")
            # A link, unlike a rename, never replaces another segment.
            os.link(temporary, self.directory / f"{self.worker}-{self._number}.spool")
        except OSError:
            os.close(fd)
            raise
        finally:
            temporary.unlink(missing_ok=True)
        return fd

    def _taken(self) -> Iterator[int]:
        for entry in os.scandir(self.directory):
            name = parse_name(entry.name)
            if name is not None and name[0] == self.worker:
                yield name[1]


def _cannot(error: OSError) -> SpoolWriteError:
    return SpoolWriteError(f"the spool cannot be written: {error.strerror or error}")


def parse_name(name: str) -> tuple[str, int] | None:
    """Return the worker and the number in a segment's file name, or None if it is none."""
    match = _NAME.fullmatch(name)
    return None if match is None else (match["worker"], int(match["number"]))


@define(eq=False)
class SpoolTail:
    """Reads a segment from where the log stands, while its worker writes.

    Reading moves ``offset``; `commit` says that what was read is in the log for good, `rollback`
    that it is to be read again.
    """

    path: Path
    worker: str
    number: int
    identity: bytes
    offset: int
    committed: int
    _fd: int
    begin: int = SPOOL_HEADER_SIZE
    """Where its first record is."""
    ended: bool = field(default=False, init=False)
    """Whether its writer is gone, so that it does not grow any more."""
    exhausted: bool = field(default=False, init=False)
    """Whether the last `read` found nothing, after its writer was gone."""
    fault: str | None = field(default=None, init=False)
    """Why it cannot be read on, if so."""

    @classmethod
    def open(cls, path: Path, worker: str, number: int) -> SpoolTail:
        """Open a segment; set its offset with `start`.

        Raises:
            DamagedError: it has no good header.

        """
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # flock over some filesystems wants writing
        try:
            identity = parse_spool_header(os.pread(fd, SPOOL_HEADER_SIZE, 0))
        except BaseException:
            os.close(fd)
            raise
        return cls(path, worker, number, identity, SPOOL_HEADER_SIZE, SPOOL_HEADER_SIZE, fd)

    def start(self, offset: int) -> None:
        """Read from here on: the log has all that is before."""
        self.offset = self.committed = max(offset, SPOOL_HEADER_SIZE)

    def read(self) -> Batch:
        """Read the next whole records, if there are any."""
        data = os.pread(self._fd, READ_SIZE, self.offset)
        batch = take(data)
        if len(data) == READ_SIZE and not batch.count and batch.fault is None:
            size = _LENGTH + int.from_bytes(data[:_LENGTH], "big")  # within its limit, or a fault
            batch = take(os.pread(self._fd, size, self.offset))
        self.offset += batch.taken
        self.exhausted = self.ended and not batch.count
        return batch

    def look_for_end(self) -> bool:
        """See whether the writer is gone. If it is, read once more before believing it is all."""
        if not self.ended:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self.ended = True
        return True

    def rest(self) -> int:
        """Return how many bytes lie behind what was read."""
        return max(os.fstat(self._fd).st_size - self.offset, 0)

    def commit(self) -> None:
        """Say that all that was read is in the log."""
        self.committed = self.offset

    def rollback(self) -> None:
        """Read again what was read since the last `commit`."""
        self.offset, self.fault, self.exhausted = self.committed, None, False

    def remove(self) -> None:
        """Delete the segment: the log has it all."""
        self.path.unlink(missing_ok=True)
        self.close()

    def set_aside(self) -> Path:
        """Rename the segment, so that it is kept for people to look at. Returns its new path."""
        aside = self.path.with_suffix(f".{self.identity.hex()[:8]}.damaged")
        self.path.rename(aside)
        self.close()
        return aside

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
