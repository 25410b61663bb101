"""The recorder's end of a spool: `SpoolTail`, which reads what a worker writes.

It looks at the words of the header through a map, where a word is never half there, and reads
records from the file, so that no store of a worker's can disturb it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path
from typing import Final

from attrs import define, field

from hoopgw.recording.batch import Batch, take
from hoopgw.recording.framing import (
    END_WORD,
    FREED_WORD,
    SPOOL_HEADER_SIZE,
    DamagedError,
    SpoolHead,
    parse_spool_header,
)
from hoopgw.recording.spool import this_boot

READ_SIZE: Final = 64 * 1024
"""Bytes that are read from a spool at once, unless one record is longer.

So few that what is made of them stays in a processor's nearer caches, beside what the others need.
"""
_LENGTH: Final = 4
_NOTHING: Final = Batch(0, 0, None, b"", b"")


@define(eq=False)
class SpoolTail:
    """Reads a segment from where the log stands, while its worker writes.

    Reading moves ``offset``; `commit` says that what was read is in the log for good, `rollback`
    that it is to be read again.
    """

    path: Path
    worker: str
    number: int
    head: SpoolHead
    _fd: int
    _words: memoryview = field(repr=False)
    """Of the header; none for a file that grows."""
    _boot: bytes
    offset: int = field(init=False)
    committed: int = field(init=False)
    ended: bool = field(default=False, init=False)
    """Whether its writer is gone, so that it does not grow any more."""
    exhausted: bool = field(default=False, init=False)
    """Whether the last `read` found nothing, after its writer was gone."""
    fault: str | None = field(default=None, init=False)
    """Why it cannot be read on, if so."""
    _lost: str = field(default="", init=False)
    """Why nothing of it can be read."""

    def __attrs_post_init__(self) -> None:
        self.offset = self.committed = self.begin

    @classmethod
    def open(cls, path: Path, worker: str, number: int, boot: bytes | None = None) -> SpoolTail:
        """Open a segment; set its offset with `start`.

        Args:
            path: of the file.
            worker: who writes it.
            number: of the segment.
            boot: names the time since the machine was started, if not what `this_boot` says.

        Raises:
            DamagedError: it has no good header.

        """
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # flock over some filesystems wants writing
        try:
            head = parse_spool_header(os.pread(fd, SPOOL_HEADER_SIZE, 0))
            words = memoryview(b"")
            if head.capacity:
                if os.fstat(fd).st_size < SPOOL_HEADER_SIZE + head.capacity:
                    raise DamagedError("it is shorter than its header says")
                words = memoryview(mmap.mmap(fd, SPOOL_HEADER_SIZE, prot=mmap.PROT_READ)).cast("Q")
        except BaseException:
            os.close(fd)
            raise
        return cls(path, worker, number, head, fd, words, this_boot() if boot is None else boot)

    @property
    def identity(self) -> bytes:
        """The segment's."""
        return self.head.identity

    @property
    def begin(self) -> int:
        """Where its first record is, or was."""
        return self.head.begin

    def start(self, offset: int) -> None:
        """Read from here on: the log has all that is before; 0 if it has nothing of this spool."""
        if self.head.capacity and self._has_header():
            freed, end = self._words[FREED_WORD], self._words[END_WORD]
            if offset and offset < freed:
                self._lost = "the log was set back: it lacks what had no place here any more"
            elif end > max(offset, freed) and self.head.boot != self._boot and not self.head.sealed:
                self._lost = "the machine was started anew before the last records were taken"
            offset = max(offset, freed)
        self.offset = self.committed = max(offset, self.begin)

    def read(self) -> Batch:
        """Read the next whole records, if there are any."""
        try:
            batch = self._read()
        except DamagedError as error:
            batch = Batch(0, 0, str(error), b"", b"")
        self.offset += batch.taken
        self.exhausted = self.ended and not batch.count
        return batch

    def _read(self) -> Batch:
        data = self._bytes(READ_SIZE)
        if not data:
            return _NOTHING
        batch = take(data)
        if len(data) == READ_SIZE and not batch.count and batch.fault is None:
            # The length is within its limit, or there were a fault.
            batch = take(self._bytes(_LENGTH + int.from_bytes(data[:_LENGTH], "big")))
        if self.head.capacity and not batch.count and batch.fault is None:
            raise DamagedError("a record goes on behind the end")  # which only moves by whole ones
        return batch

    def _bytes(self, size: int) -> bytes:
        """Return what is there from the offset on, up to some size.

        Raises:
            DamagedError: what the header says is there is not.

        """
        if self._lost:
            raise DamagedError(self._lost)
        capacity = self.head.capacity
        if not capacity:
            return os.pread(self._fd, size, self.offset)
        if not self._has_header():
            raise DamagedError("it was cut short")
        there: int = self._words[END_WORD] - self.offset
        if not 0 <= there <= capacity:
            raise DamagedError("its end is where it cannot be")
        size = min(size, there)
        if not size:
            return b""
        at = SPOOL_HEADER_SIZE + (self.offset - SPOOL_HEADER_SIZE) % capacity
        first = min(size, SPOOL_HEADER_SIZE + capacity - at)
        data = os.pread(self._fd, first, at)
        if first < size:
            data += os.pread(self._fd, size - first, SPOOL_HEADER_SIZE)
        if len(data) != size:
            raise DamagedError("it was cut short")
        return data

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
        if not self.head.capacity:
            return max(os.fstat(self._fd).st_size - self.offset, 0)
        return max(self._words[END_WORD] - self.offset, 0) if self._has_header() else 0

    def _has_header(self) -> bool:
        """Say whether the words may be looked at: behind a file's end, the kernel would end us."""
        return os.fstat(self._fd).st_size >= SPOOL_HEADER_SIZE

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
        self._words.release()
        os.close(self._fd)
