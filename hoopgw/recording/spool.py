"""The worker's end of a spool: `SpoolWriter`, which keeps records in memory that it shares.

A worker writes into a segment, ``<worker>-<n>.spool``: a file whose space on the disk is reserved
when it is made, mapped into memory. So keeping a record is a copy, without a system call, and
cannot find the disk full. Only behind all bytes of a record is the word stored that says how far
records go: whenever the worker is killed, the recorder finds whole records and nothing else. Once
the recorder has synced records, their place is free for others (`SpoolWriter.free`); a worker whose
segment has no room left goes on in a new one.

While it writes a segment it holds a ``flock`` on it, and the kernel drops that with the process:
so the recorder knows, without asking, which segments will not grow any more. A segment is locked
before it gets its name, so there is no moment at which a living one looks abandoned.

What could still fail a store into the map is a file that somebody cuts short, or a filesystem that
does not keep what it reserved: then the kernel ends the worker (SIGBUS) before the operation runs.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Final

from attrs import define, field, setters
from attrs.validators import matches_re

from hoopgw.errors import RecorderError
from hoopgw.recording.framing import (
    END_WORD,
    FREED_WORD,
    SEALED_WORD,
    SPOOL_HEADER_SIZE,
    SpoolHead,
    spool_header,
)

SEGMENT_SIZE: Final = 4 * 2**20
"""Bytes of a segment, unless one record is longer."""
CELLS: Final = 5
"""Numbers that a writer and whoever uses it share with compiled code, in one line of memory."""
OFFSET_CELL: Final = 0
"""`SpoolWriter.offset`."""
SEGMENTS_CELL: Final = 1
"""How often the map was changed."""
BOUND_CELL: Final = 2
"""The offset beyond which a record takes the usual way; -1 if each does."""
RECORDS_CELL: Final = 3
"""Records that were kept."""
WAITING_CELL: Final = 4
"""The bytes waiting beyond which a record that is put off takes the usual way."""
_WORKER: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_NAME: Final = re.compile(rf"(?P<worker>{_WORKER})-(?P<number>[0-9]{{1,12}})\.spool")
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class SpoolWriteError(RecorderError):
    """The spool could not take it."""


def this_boot() -> bytes:
    """Return 16 bytes that name the time since the machine was started; zeros if nothing does."""
    try:
        return bytes.fromhex(_BOOT.read_text().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)


@define(eq=False, on_setattr=setters.NO_OP)  # hooks would double the time of `append`
class SpoolWriter:
    """Puts frames into a worker's own spool segments. Not for two processes of one name.

    Args:
        directory: the spool folder.
        worker: the worker's name.
        size: bytes of a segment.

    """

    directory: Path
    worker: str = field(validator=matches_re(_WORKER))
    size: int = SEGMENT_SIZE
    identity: bytes = field(default=b"", init=False)
    """Of the open segment: 16 random bytes."""
    cells: memoryview[int] = field(init=False, repr=False)
    """`CELLS` signed numbers of 8 bytes."""
    limit: int = field(default=0, init=False)
    """The offset up to which there is room in the open segment."""
    _capacity: int = field(default=0, init=False)
    _fd: int = field(default=-1, init=False)
    _map: mmap.mmap | None = field(default=None, init=False, repr=False)
    _words: memoryview = field(factory=lambda: memoryview(b""), init=False, repr=False)
    _number: int = field(default=0, init=False)
    _fence: Lock = field(factory=Lock, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.cells = memoryview(bytearray(8 * CELLS)).cast("q")
        self.cells[BOUND_CELL] = self.cells[WAITING_CELL] = -1
        self._fence.acquire()

    @property
    def offset(self) -> int:
        """Where the records in the open segment end."""
        return self.cells[OFFSET_CELL]

    def open_next(self, need: int = 0) -> None:
        """Go on in a new segment, with room for so many bytes at least.

        Raises:
            SpoolWriteError: it could not be made; the old one, if there is one, is still open.

        """
        head = SpoolHead(os.urandom(16), max(self.size - SPOOL_HEADER_SIZE, need), this_boot())
        try:
            self._number = max([self._number, *self._taken()]) + 1
            fd, mapped = self._make(head)
        except OSError as error:
            raise _cannot(error) from error
        self.close()
        self._fd, self._map, self._capacity = fd, mapped, head.capacity
        self.cells[SEGMENTS_CELL] += 1
        self._words = memoryview(mapped)[:SPOOL_HEADER_SIZE].cast("Q")
        self.identity, self.cells[OFFSET_CELL] = head.identity, SPOOL_HEADER_SIZE
        self.limit = SPOOL_HEADER_SIZE + head.capacity

    def append(self, data: bytes | bytearray) -> None:
        """Put whole frames behind those that are there, all or nothing.

        Raises:
            SpoolWriteError: there is no room for all of them.

        """
        size, offset = len(data), self.offset
        if offset + size > self.limit or self._map is None:
            raise SpoolWriteError("the spool is full")
        at = SPOOL_HEADER_SIZE + (offset - SPOOL_HEADER_SIZE) % self._capacity
        first = min(size, SPOOL_HEADER_SIZE + self._capacity - at)
        self._map[at : at + first] = data[:first]
        if first < size:
            self._map[SPOOL_HEADER_SIZE : SPOOL_HEADER_SIZE + size - first] = data[first:]
        self._order()
        self.cells[OFFSET_CELL] = offset + size
        self._words[END_WORD] = offset + size  # one aligned store: nobody sees a half of it

    def free(self, offset: int) -> None:
        """Use the place of what is before an offset anew: the log has it for good."""
        offset = min(offset, self.offset)
        if self._map is not None and offset + self._capacity > self.limit:
            self._words[FREED_WORD] = offset
            self._order()
            self.limit = offset + self._capacity

    def has_room(self, size: int) -> bool:
        """Say whether so many bytes could be put into the open segment."""
        return self._map is not None and self.offset + size <= self.limit

    def close(self) -> None:
        """Close the segment; the recorder may remove it once it has been read."""
        if self._map is not None:
            self._words.release()
            self.cells[BOUND_CELL] = -1
            self._map = None  # it goes with the last who uses it, and the lock would too
            self.limit = 0
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)

    def seal(self) -> None:
        """Close the segment, so that it may be read even after the machine was started anew.

        If it cannot be written to the disk, it is closed all the same.
        """
        if self._map is not None:
            try:
                self._map.flush()
                self._words[SEALED_WORD] = 1
                self._map.flush()
            except OSError:
                self._words[SEALED_WORD] = 0
            self.close()

    def _order(self) -> None:
        """Let what was stored be seen before what is stored next, on every kind of processor.

        Python has no fence, but a lock that is released and taken again is one.
        """
        self._fence.release()
        self._fence.acquire()

    def _make(self, head: SpoolHead) -> tuple[int, mmap.mmap]:
        temporary = self.directory / f"{self.worker}.new"
        temporary.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = SPOOL_HEADER_SIZE + head.capacity
            os.posix_fallocate(fd, 0, size)  # a hole would be a full disk met in the middle
            header = spool_header(head)
            if os.pwrite(fd, header, 0) != len(header):
                raise OSError("the header was cut short")
            populate = getattr(mmap, "MAP_POPULATE", 0)
            mapped = mmap.mmap(fd, size, flags=mmap.MAP_SHARED | populate)
            self._name(fd, temporary)
        except OSError:
            os.close(fd)
            raise
        finally:
            temporary.unlink(missing_ok=True)
        return fd, mapped

    def _name(self, fd: int, temporary: Path) -> None:
        """Give a segment its name: a link, unlike a rename, never replaces another one.

        It is this very file that gets it, not what another process of our name may have put under
        the temporary one meanwhile: the recorder would take that twice, and ours never.
        """
        path = self.directory / f"{self.worker}-{self._number}.spool"
        opened = f"/proc/self/fd/{fd}"
        if os.path.lexists(opened):
            os.link(opened, path, src_dir_fd=fd)  # with a folder given, it goes to what is open
        else:
            os.link(temporary, path)

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
