"""Open a log: check what is there, mend what a crash may leave, refuse what nobody should find.

A crash or a power loss can leave a torn end behind the newest checkpoint: that end is copied aside
and cut off, and the spools are read again from where the log then stands. Everything else (a log
that is shorter than its newest checkpoint, or whose tree has another root, or a damaged frame
before it) cannot come from a crash, and the recorder must not go on as if nothing had been:
`EvidenceError`.

How much is checked at the start is bounded (`RECHECK_BYTES`), because the gateway refuses
everything until the recorder runs; older segments are covered by the hash files, whose root must
be the checkpoint's, and by ``hoopgw sessions verify``, which reads all.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from attrs import define, field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.logger import Logger

from hoopgw.errors import HoopgwError
from hoopgw.recording.checkpoints import CheckpointFiles, write_atomically
from hoopgw.recording.framing import LOG_HEADER_SIZE, DamagedError, Frame
from hoopgw.recording.hashes import Growth, HashFiles
from hoopgw.recording.log import SEGMENT_SIZE, LogWriter, create_segment
from hoopgw.recording.merkle import EMPTY_ROOT, Frontier, leaf_hash
from hoopgw.recording.notes import Checkpoint, NoteError, Verifier, sign
from hoopgw.recording.segments import Segment, entries, header, segments

log = Logger()

RECHECK_BYTES: Final = 256 * 2**20
"""Bytes at the end of the log that are read again at the start."""
_ROWS: Final = 65_536
"""Leaves whose hashes are written at once."""


class EvidenceError(HoopgwError):
    """The log is not what was written: somebody changed it, or the disk lost it."""


@frozen
class OpenedLog:
    """A log that may be written."""

    writer: LogWriter
    positions: dict[bytes, int]
    """Spool to the offset up to which the log has it; spools that are not here begin at 0."""


def open_log(
    directory: Path,
    key: Ed25519PrivateKey,
    origin: str,
    *,
    segment_size: int = SEGMENT_SIZE,
    recheck: int = RECHECK_BYTES,
) -> OpenedLog:
    """Open a log for writing, or begin a new one in an empty folder.

    Raises:
        EvidenceError: it was changed; the text says where, and what the operator can do.
        OSError: the folder cannot be used, or another recorder uses it.

    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _lock(directory)
    try:
        opening = _Opening(directory, key, origin)
        checkpoint = opening.newest()
        recovered = opening.recover(checkpoint, recheck)
    except BaseException:
        os.close(lock)
        raise
    writer = LogWriter(
        directory=directory,
        origin=origin,
        segment_size=segment_size,
        key=key,
        tree=recovered.tree,
        hashes=opening.hashes,
        checkpoints=opening.checkpoints,
        signed=checkpoint.size,
        first=recovered.first,
        fd=recovered.fd,
        length=recovered.length,
        lock=lock,
    )
    return OpenedLog(writer, recovered.positions)


def _lock(directory: Path) -> int:
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


@frozen
class _Recovered:
    tree: Frontier
    first: int
    """First leaf of the last segment."""
    fd: int
    length: int
    positions: dict[bytes, int]


@define(eq=False)
class _Opening:
    """The steps of opening one log."""

    directory: Path
    key: Ed25519PrivateKey = field(repr=False)
    origin: str
    checkpoints: CheckpointFiles = field(init=False)
    hashes: HashFiles = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.checkpoints = CheckpointFiles(self.directory)
        self.hashes = HashFiles(self.directory, writable=True)

    def newest(self) -> Checkpoint:
        """Return the newest checkpoint; a new log gets one of size 0, so none is ever missing."""
        verifier = Verifier(self.origin, self.key.public_key())
        try:
            newest = self.checkpoints.load(verifier)
        except NoteError as error:
            raise self.tampered(f"its newest checkpoint is not genuine: {error}") from error
        if newest is not None:
            return newest
        if any(segment.size > LOG_HEADER_SIZE for segment in segments(self.directory)):
            raise self.tampered("there are records, but no checkpoint")
        write_atomically(self.directory / "verifier", verifier.encode().encode() + b"\n")
        newest = Checkpoint(self.origin, 0, EMPTY_ROOT)
        self.checkpoints.keep(sign(newest.text(), self.origin, self.key))
        return newest

    def recover(self, checkpoint: Checkpoint, recheck: int) -> _Recovered:
        """Check the log against its newest checkpoint, and cut a torn end off."""
        found = self._without_stillborn(checkpoint.size)
        if not found:
            if checkpoint.size:
                raise self.tampered(f"{checkpoint.size} records are signed, and none is there")
            self.hashes.truncate(0)
            fd, length = create_segment(self.directory, Frontier(), {})
            return _Recovered(Frontier(), 0, fd, length, {})
        if found[0].first != 0:
            raise self.tampered(f"its first segment begins with leaf {found[0].first}")
        start = self._where_to_start(found, checkpoint, recheck)
        return self._walk(found, start, checkpoint)

    def _without_stillborn(self, signed: int) -> list[Segment]:
        """Drop a last segment that was being made when the recorder died."""
        found = segments(self.directory)
        if found and signed <= found[-1].first:
            try:
                header(found[-1])
            except DamagedError:
                stillborn = found.pop().path
                stillborn.rename(stillborn.with_suffix(".torn"))
        return found

    def _where_to_start(self, found: list[Segment], signed: Checkpoint, recheck: int) -> int:
        """Return the first segment to read: the hash files vouch for those before it."""
        start, size = len(found) - 1, found[-1].size
        while start and (size < recheck or found[start].first > signed.size):
            start -= 1
            size += found[start].size
        try:
            if (
                start
                and Frontier.at(found[start].first, self.hashes.node).root()
                != (header(found[start])[1])
            ):
                start = 0
        except DamagedError:
            start = 0
        return start

    def _walk(self, found: list[Segment], start: int, signed: Checkpoint) -> _Recovered:
        tree = Frontier.at(found[start].first, self.hashes.node)
        self.hashes.truncate(tree.size)
        walk = _Walk(self, signed, tree)
        for segment in found[start:]:
            end = walk.segment(segment, last=segment is found[-1])
        if walk.tree.size < signed.size:
            raise self.tampered(
                f"it ends with record {walk.tree.size} of {signed.size} that are signed"
            )
        self.hashes.sync()
        fd = os.open(found[-1].path, os.O_RDWR | os.O_CLOEXEC)
        os.fsync(fd)  # what the last recorder wrote but did not sync is about to be signed
        return _Recovered(walk.tree, found[-1].first, fd, end, walk.positions)

    def tampered(self, why: str) -> EvidenceError:
        return EvidenceError(
            f"the log in {self.directory} is not what was written: {why}. Keep it as evidence: "
            "move the folder away, and give the gateway another name to begin a new log."
        )


@define(eq=False)
class _Walk:
    """Reads segments, grows the tree, and compares it with the checkpoint on the way."""

    opening: _Opening
    signed: Checkpoint
    tree: Frontier
    positions: dict[bytes, int] = field(factory=dict, init=False)
    _spool: bytes = field(default=b"", init=False)
    _growth: Growth = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._growth = Growth(self.tree.copy())
        self._compare()

    def segment(self, segment: Segment, *, last: bool) -> int:
        """Read one segment; returns where its good part ends."""
        end = LOG_HEADER_SIZE
        try:
            first, root = header(segment)
            if (first, root) != (self._growth.frontier.size, self._growth.frontier.root()):
                raise self.opening.tampered(f"{segment.path.name} does not go on from before it")
            for entry in entries(segment):
                self._take(entry.frame)
                end = entry.end
        except DamagedError as error:
            size = self._growth.frontier.size
            if not last or size < self.signed.size:
                raise self.opening.tampered(
                    f"{segment.path.name} at byte {end}, record {size} of {self.signed.size} that "
                    f"are signed: {error}"
                ) from error
            _cut_off(segment, end, str(error))
        self._write()
        return end

    def _take(self, frame: Frame) -> None:
        if not frame.is_record:
            self._spool, offset = frame.position()
            self.positions[self._spool] = offset
            return
        if not self._spool:
            raise DamagedError("a record comes before any position")
        self.positions[self._spool] += 4 + len(frame.payload)
        self._growth.add(leaf_hash(frame.payload))
        self._compare()
        if len(self._growth.rows[0]) >= _ROWS:
            self._write()

    def _compare(self) -> None:
        tree = self._growth.frontier
        if tree.size == self.signed.size and tree.root() != self.signed.root:
            raise self.opening.tampered(
                f"its first {tree.size} records are not those that were signed"
            )

    def _write(self) -> None:
        self.opening.hashes.append(self.tree.size, self._growth.rows)
        self.tree = self._growth.frontier
        self._growth = Growth(self.tree.copy())


def _cut_off(segment: Segment, end: int, why: str) -> None:
    """Copy a torn end aside and cut it off."""
    with segment.path.open("r+b") as file:
        file.seek(end)
        torn = file.read()
        aside = segment.path.with_name(f"{segment.path.stem}.{end}.torn")
        write_atomically(aside, torn)
        file.truncate(end)
        os.fsync(file.fileno())
    log.warn(
        "the log had a torn end, as after a crash: {why}; {size} bytes were moved to {aside}",
        why=why,
        size=len(torn),
        aside=aside.name,
    )
