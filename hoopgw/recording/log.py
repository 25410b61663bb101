"""The log, as the recorder process writes it: one transaction after the other.

A transaction is `append` (any number of times), then `commit`, which syncs; or `rollback`, after
which the log, its tree and its hash files are as after the last commit. A sync that failed is
rolled back too: the kernel may have dropped the pages, and a second sync would say that all is
well. Only what has been committed is signed, and told to workers.

This module decides nothing about time; `hoopgw.recording.recovery` opens a log.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hoopgw.recording.batch import Batch
from hoopgw.recording.checkpoints import CheckpointFiles, sync_directory
from hoopgw.recording.framing import (
    LOG_HEADER_SIZE,
    log_header,
    position_frame,
)
from hoopgw.recording.hashes import Growth, HashFiles
from hoopgw.recording.merkle import Frontier
from hoopgw.recording.notes import Checkpoint, Verifier, sign
from hoopgw.recording.segments import segment_path
from hoopgw.recording.succession import Handover, make_handover

SEGMENT_SIZE: Final = 64 * 2**20
"""Bytes after which the log goes on in a new segment."""


@define(eq=False, kw_only=True)
class LogWriter:
    """Appends records to a log that `hoopgw.recording.recovery.open_log` has opened."""

    directory: Path
    origin: str
    segment_size: int = SEGMENT_SIZE
    _key: Ed25519PrivateKey = field(repr=False)
    _tree: Frontier
    """As committed."""
    _hashes: HashFiles
    _checkpoints: CheckpointFiles
    _signed: int
    """Size of the newest checkpoint."""
    _first: int
    """First leaf of the open segment."""
    _fd: int
    _length: int
    """Committed bytes of the open segment."""
    _lock: int
    _unsettled: tuple[bytes, Handover] | None = field(default=None, init=False)
    _growth: Growth = field(init=False)
    _written: int = field(init=False)
    """Bytes of the open segment, with those that are not committed."""

    def __attrs_post_init__(self) -> None:
        self._begin()

    @property
    def size(self) -> int:
        """Records that were committed."""
        return self._tree.size

    @property
    def unsigned(self) -> int:
        """Records that were committed and are in no checkpoint yet."""
        return self._tree.size - self._signed

    def append(self, spool: bytes, offset: int, batch: Batch) -> None:
        """Write records that begin at an offset of a spool.

        Raises:
            OSError: the disk is full or broken: roll back.

        """
        self._growth.extend(batch.leaves)
        self._write(position_frame(spool, offset), batch.frames)

    def commit(self) -> None:
        """Make all that was appended survive a power loss.

        Raises:
            OSError: the disk is full or broken: roll back.

        """
        if self._written != self._length:
            self._hashes.append(self._tree.size, self._growth.rows)
            os.fdatasync(self._fd)
            self._length, self._tree = self._written, self._growth.frontier
            self._begin()

    def rollback(self) -> None:
        """Forget what was appended since the last commit.

        Raises:
            OSError: it cannot be cut off, so that nothing may be appended any more. What is there
                is whole frames with their positions all the same: opening the log anew is safe.

        """
        os.ftruncate(self._fd, self._length)
        self._hashes.truncate(self._tree.size)
        self._begin()

    def roll(self, positions: Mapping[bytes, int]) -> bool:
        """Go on in a new segment if the open one is long enough; says whether it did.

        The new one begins with the positions of all spools that are still there, so that only the
        last segment needs to be read to know them.

        Raises:
            OSError: the disk is full; the log goes on as it was.

        """
        if self._length < self.segment_size or self._tree.size == self._first:
            return False
        self._hashes.sync()
        fd, length = create_segment(self.directory, self._tree, positions)
        os.close(self._fd)
        self._fd, self._length, self._first = fd, length, self._tree.size
        self._begin()
        return True

    def checkpoint(self) -> Checkpoint:
        """Sign the head of the log, and keep the checkpoint.

        Raises:
            OSError: the disk is full; try again.

        """
        head = Checkpoint(self.origin, self._tree.size, self._tree.root())
        self._checkpoints.keep(sign(head.text(), self.origin, self._key))
        self._signed = head.size
        return head

    def hand_over(self, key: Ed25519PrivateKey) -> None:
        """Sign the head of the log with the present key and the next, which signs from now on.

        The next key must be where it survives a power loss. `settle` has to follow.

        Raises:
            OSError: the disk is full, and perhaps the note is there all the same: open the log
                anew to find out.

        """
        head = Checkpoint(self.origin, self._tree.size, self._tree.root())
        note = make_handover(head, self._key, key)
        keys = [Verifier(self.origin, each.public_key()) for each in (self._key, key)]
        self._checkpoints.keep(note)
        self._key, self._signed = key, head.size
        self._unsettled = note, Handover(head, *keys)

    def settle(self) -> None:
        """Say beside the log who has it now, after a hand-over.

        Raises:
            OSError: the disk is full; try again.

        """
        if self._unsettled is not None:
            self._checkpoints.settle(*self._unsettled)
            self._unsettled = None

    def close(self) -> None:
        """Close the files. What was not committed is forgotten."""
        self.rollback()
        self._hashes.close()
        os.close(self._fd)
        os.close(self._lock)

    def _begin(self) -> None:
        self._growth = Growth(self._tree.copy())
        self._written = self._length

    def _write(self, *data: bytes) -> None:
        size = sum(map(len, data))
        if os.pwritev(self._fd, data, self._written) != size:
            raise OSError("the log was written short, so the disk is full")
        self._written += size


def create_segment(
    directory: Path, tree: Frontier, positions: Mapping[bytes, int]
) -> tuple[int, int]:
    """Make a new segment that survives a power loss; returns its descriptor and length.

    Raises:
        OSError: it could not be made, and is not there.

    """
    path = segment_path(directory, tree.size)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        table: Sequence[bytes] = [position_frame(*position) for position in positions.items()]
        data = b"".join([log_header(tree.size, tree.root()), *table])
        assert len(data) >= LOG_HEADER_SIZE
        if os.write(fd, data) != len(data):
            raise OSError("the new segment was written short")
        os.fdatasync(fd)
        sync_directory(directory)
    except OSError:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise
    return fd, len(data)
