"""The tree's hashes, kept so that proofs need not read the records.

File ``hashes.<level>`` holds the nodes of one level, 32 bytes each, for every eighth level (0, 8,
16 ...): that is 0.4 % more than the leaf hashes alone, and a proof reads at most some hundred
hashes from each of few files, however long the log is. Keeping every level would double the
writes; keeping only the leaves would make each proof read them all.

They are derived from the records, never believed before they agree with a checkpoint, and made anew
when they do not. Sizes are always in leaves.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import define, field

from hoopgw.recording.framing import DamagedError
from hoopgw.recording.merkle import HASH_SIZE, Frontier, node_hash

STEP: Final = 8
"""Levels from one file to the next."""
_LEVELS: Final = range(0, 64, STEP)


@define(eq=False)
class HashFiles:
    """The hash files of one log. One process writes them; any may read."""

    directory: Path
    writable: bool = False
    _fds: dict[int, int] = field(factory=dict, init=False)

    def size(self) -> int:
        """Return for how many leaves there is a hash."""
        try:
            return os.fstat(self._fd(0)).st_size // HASH_SIZE
        except FileNotFoundError:
            return 0

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a complete node: a `hoopgw.recording.merkle.Nodes`.

        Raises:
            DamagedError: the files do not have it.

        """
        stored = level - level % STEP
        count = 1 << (level - stored)
        try:
            data = os.pread(self._fd(stored), HASH_SIZE * count, HASH_SIZE * index * count)
        except FileNotFoundError:
            data = b""
        if len(data) != HASH_SIZE * count:
            raise DamagedError(f"node {index} of level {level} is missing in the hash files")
        row = [data[start : start + HASH_SIZE] for start in range(0, len(data), HASH_SIZE)]
        while len(row) > 1:
            row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
        return row[0]

    def append(self, first: int, rows: Sequence[bytes | bytearray]) -> None:
        """Add nodes behind a tree of ``first`` leaves: ``rows[i]`` are those of level ``8 * i``.

        Raises:
            OSError: there is no space. `truncate` to ``first`` before going on.

        """
        for step, row in enumerate(rows):
            if row:
                level = step * STEP
                if os.pwrite(self._fd(level), row, HASH_SIZE * (first >> level)) != len(row):
                    raise OSError(f"{self._path(level).name} was written short")

    def truncate(self, size: int) -> None:
        """Forget what belongs to leaves from ``size`` on."""
        for level in _LEVELS:
            if level in self._fds or self._path(level).exists():
                os.ftruncate(self._fd(level), HASH_SIZE * (size >> level))

    def sync(self) -> None:
        """Make all of it survive a power loss."""
        for fd in self._fds.values():
            os.fdatasync(fd)

    def close(self) -> None:
        """Close the files."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def _path(self, level: int) -> Path:
        return self.directory / f"hashes.{level}"

    def _fd(self, level: int) -> int:
        fd = self._fds.get(level)
        if fd is None:
            flags = os.O_RDWR | os.O_CREAT if self.writable else os.O_RDONLY
            fd = self._fds[level] = os.open(self._path(level), flags | os.O_CLOEXEC, 0o600)
        return fd


@define
class Growth:
    """A tree's growth that is not written yet: the frontier moved on, the new nodes by file."""

    frontier: Frontier
    rows: list[bytearray] = field(factory=lambda: [bytearray()], repr=False)

    def extend(self, leaves: bytes) -> None:
        """Add leaves by their hashes, one behind the other."""
        for step, row in enumerate(self.frontier.extend(leaves)[::STEP]):
            self._add_row(step, row)

    def add(self, leaf: bytes) -> None:
        """Add a leaf by its hash."""
        self._add_row(0, leaf)
        made = self.frontier.append(leaf)
        for step in range(1, len(made) // STEP + 1):
            self._add_row(step, made[step * STEP - 1])

    def _add_row(self, step: int, row: bytes) -> None:
        if step == len(self.rows):
            self.rows.append(bytearray())
        self.rows[step] += row
