"""Verify a log offline, as an auditor does: from the files and the log's public key alone.

Everything is read: each frame and its checksum, each checkpoint's signature and its root over the
records before it, the hash files, and what the records say of one another: each session's sequence
without a gap, each result behind its intent; and, where they are given, the contents beside the log
against their hashes in it. It goes on after a fault where it can, and says of
each where it is. It needs memory for the sessions that have not ended, and a byte for each of
their records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from attrs import define, field, frozen

from hoopgw.recording import merkle
from hoopgw.recording.checkpoints import split_history
from hoopgw.recording.content_checking import ContentAudit
from hoopgw.recording.content_files import ContentFolder
from hoopgw.recording.framing import LOG_HEADER_SIZE, DamagedError, TornError
from hoopgw.recording.hashes import STEP, HashFiles
from hoopgw.recording.notes import Checkpoint, NoteError, Verifier, open_checkpoint
from hoopgw.recording.records import (
    AnyRecord,
    Intent,
    Result,
    ReviewSettled,
    SessionEnded,
    SessionRefused,
    TextDefined,
    decode,
)
from hoopgw.recording.segments import Entry, Segment, entries, header, segments
from hoopgw.recording.succession import Handover, read_handover, succession

_PROBLEMS_LIMIT: Final = 1000
_GAP_LIMIT: Final = 1_000_000
"""Records that may be missing in a session for its numbers to be trusted behind the gap."""
_OTHER, _INTENT = range(2)


@frozen
class Problem:
    """One thing that is not as it was written, or as it should be."""

    where: str
    """File and byte, or record and session."""
    what: str


@frozen(kw_only=True)
class Report:
    """What a verification found."""

    origin: str
    records: int
    """Records that could be read, from the first on."""
    signed: int
    """Records that the newest genuine checkpoint covers."""
    root: bytes = field(repr=bytes.hex)
    """Over ``records``."""
    checkpoints: int
    """Genuine checkpoints whose root is that of the records."""
    handovers: int
    """How often the log's key was handed over to another."""
    sessions: int
    torn: int
    """Bytes at the end that are no whole frame: a crash leaves some, or the recorder is writing."""
    problems: tuple[Problem, ...]
    """At most 1,000."""
    contents: int = 0
    """Contents that the log knows."""
    contents_size: int = 0
    """Bytes of them that were read, and are what was written."""
    contents_removed: int = 0
    """Contents that are not there, as a record says."""

    @property
    def ok(self) -> bool:
        """Whether the log is what was written."""
        return not self.problems

    @property
    def unsigned(self) -> int:
        """Records behind the newest checkpoint: nothing vouches for them yet."""
        return self.records - self.signed


def verify(directory: Path, verifier: Verifier, contents: ContentFolder | None = None) -> Report:
    """Verify the log in a folder against the public key of its origin.

    Args:
        directory: of the log.
        verifier: the key.
        contents: what is beside the log; None leaves it unread.

    Raises:
        OSError: a file cannot be read.

    """
    return _Verification(directory, verifier, contents).run()


@define(eq=False)
class _Verification:
    directory: Path
    verifier: Verifier
    _folder: ContentFolder | None = None
    _problems: list[Problem] = field(factory=list, init=False)
    _tree: merkle.Frontier = field(factory=merkle.Frontier, init=False)
    _signed: dict[int, list[Checkpoint]] = field(factory=dict, init=False)
    """Genuine checkpoints by their size, that were not compared yet."""
    _agreed: int = field(default=0, init=False)
    _newest: int = field(default=0, init=False)
    _handovers: int = field(default=0, init=False)
    _torn: int = field(default=0, init=False)
    _end: str = field(default="checkpoints", init=False)
    """How far the segments could be read."""
    _sessions: _Sessions = field(init=False)
    _contents: ContentAudit = field(init=False)
    _hashes: HashFiles = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._sessions = _Sessions(self._problem)
        self._contents = ContentAudit(self._folder, self._problem)
        self._hashes = HashFiles(self.directory)

    def run(self) -> Report:
        """Read everything."""
        self._read_checkpoints()
        self._compare()
        found = segments(self.directory)
        for number, segment in enumerate(found):
            if not self._read_segment(segment, last=number + 1 == len(found)):
                break  # what leaf comes next is not known any more
        if self._signed:
            self._problem(
                self._end,
                f"{max(self._signed)} records are signed, and {self._tree.size} can be read",
            )
        self._check_hash_files()
        self._hashes.close()
        self._contents.finish()
        return Report(
            origin=self.verifier.name,
            records=self._tree.size,
            signed=self._newest,
            root=self._tree.root(),
            checkpoints=self._agreed,
            handovers=self._handovers,
            sessions=self._sessions.count,
            torn=self._torn,
            problems=tuple(self._problems),
            contents=self._contents.count,
            contents_size=self._contents.size,
            contents_removed=self._contents.removed,
        )

    def _problem(self, where: str, what: str) -> None:
        if len(self._problems) < _PROBLEMS_LIMIT:
            self._problems.append(Problem(where, what))

    def _read_checkpoints(self) -> None:
        history = self.directory / "checkpoints"
        data = history.read_bytes() if history.exists() else b""
        notes, taken = split_history(data)
        if taken != len(data):
            self._problem(f"checkpoints, byte {taken}", "the file ends inside a checkpoint")
        offset, before = 0, -1
        keys = iter(self._keys(notes))
        key = next(keys)
        for note in notes:
            where = f"checkpoints, byte {offset}"
            offset += len(note) + 1
            checkpoint = self._open(where, note, key)
            if checkpoint is not None:
                if _handed_over(note):
                    self._handovers += 1
                    key = next(keys, key)
                if checkpoint.size < before:
                    self._problem(where, "it signs less than the one before it")
                before = checkpoint.size
                self._signed.setdefault(checkpoint.size, []).append(checkpoint)
        newest = self.directory / "checkpoint"
        if not newest.exists():
            self._problem("checkpoint", "is missing")
        elif (checkpoint := self._open("checkpoint", newest.read_bytes(), key)) is not None:
            if checkpoint.size < before:
                self._problem("checkpoint", "is older than the end of checkpoints")
            self._signed.setdefault(checkpoint.size, []).append(checkpoint)

    def _keys(self, notes: list[bytes]) -> Sequence[Verifier]:
        """Return the log's keys in their order: as the trusted one vouches for the others."""
        handed = [found for found in map(_handed_over, notes) if found is not None]
        try:
            return succession(handed, self.verifier)
        except NoteError as error:
            self._problem("checkpoints", str(error))
            return [self.verifier]

    def _open(self, where: str, note: bytes, key: Verifier) -> Checkpoint | None:
        try:
            return open_checkpoint(note, key)
        except NoteError as error:
            self._problem(where, str(error))
            return None

    def _read_segment(self, segment: Segment, *, last: bool) -> bool:
        """Read one segment; says whether the next one can be read."""
        name, offset = segment.path.name, 0
        self._end = f"{name}, byte 0"
        try:
            first, root = header(segment)
            if (first, root) != (self._tree.size, self._tree.root()):
                self._problem(f"{name}, byte 0", "it does not go on from the segments before it")
                return False
            offset = LOG_HEADER_SIZE
            for entry in entries(segment):
                offset = entry.end
                self._end = f"{name}, byte {offset}"
                if entry.frame.is_record:
                    self._take(segment, entry)
        except TornError as error:
            if last:  # whether anything is missing is for the checkpoints to say
                self._torn = segment.size - offset
                return False
            self._problem(f"{name}, byte {offset} (record {self._tree.size})", str(error))
            return False
        except DamagedError as error:
            self._problem(f"{name}, byte {offset} (record {self._tree.size})", str(error))
            return False
        return True

    def _take(self, segment: Segment, entry: Entry) -> None:
        data, leaf = entry.frame.payload, entry.leaf
        digest = merkle.leaf_hash(data)
        where = f"{segment.path.name}, byte {entry.offset} (record {leaf})"
        self._same_node(0, leaf, digest, where)
        made = self._tree.append(digest)
        for level in range(STEP, len(made) + 1, STEP):
            self._same_node(level, leaf >> level, made[level - 1], where)
        self._compare()
        try:
            record = decode(data)
        except (msgspec.MsgspecError, RecursionError) as error:
            self._problem(where, f"it is no record: {error}")
            return
        self._sessions.take(where, record)
        self._contents.take(where, record)

    def _same_node(self, level: int, index: int, digest: bytes, where: str) -> None:
        """Compare with the hash files, where they have it: with the record, or against it."""
        try:
            kept = self._hashes.node(level, index)
        except DamagedError:
            return  # told once, at the end
        if kept != digest:
            self._problem(where, f"hashes.{level} has another hash at {index}")

    def _compare(self) -> None:
        """Compare the checkpoints of this size with the records up to here."""
        for checkpoint in self._signed.pop(self._tree.size, []):
            if checkpoint.root == self._tree.root():
                self._agreed += 1
                self._newest = max(self._newest, checkpoint.size)
            else:
                self._problem(
                    f"checkpoint of size {checkpoint.size}",
                    f"a record before record {checkpoint.size} is not the one that was signed",
                )

    def _check_hash_files(self) -> None:
        size = self._hashes.size()
        if size < self._newest:
            self._problem("hashes.0", f"has {size} of {self._newest} leaves: proofs cannot be made")


def _handed_over(note: bytes) -> Handover | None:
    """Return what a note hands over; a bad hand-over gives nothing to nobody."""
    try:
        return read_handover(note)
    except NoteError:
        return None


@define
class _Open:
    """A session that goes on: what each of its records was."""

    kinds: bytearray = field(factory=bytearray)
    texts: set[int] = field(factory=set)


@define(eq=False)
class _Sessions:
    """Checks what the records of a session say of one another."""

    _problem: Callable[[str, str], None]
    count: int = field(default=0, init=False)
    _open: dict[str, _Open] = field(factory=dict, init=False)
    _ended: set[bytes] = field(factory=set, init=False)
    """Digests of ids, 16 bytes each."""

    def take(self, where: str, record: AnyRecord) -> None:
        """Look at the next record of the log."""
        key = merkle.leaf_hash(record.session.encode())[:16]
        state = self._open.get(record.session)
        if state is None:
            if key in self._ended:
                self._problem(where, f"session {record.session} had ended")
                return
            self.count += 1
            state = self._open[record.session] = _Open()
        self._sequence(where, record, state)
        self._points(where, record, state)
        kind = _INTENT if isinstance(record, Intent) else _OTHER
        state.kinds.append(kind)
        if isinstance(record, TextDefined):
            state.texts.add(record.number)
        if isinstance(record, SessionEnded | SessionRefused):
            del self._open[record.session]
            self._ended.add(key)

    def _sequence(self, where: str, record: AnyRecord, state: _Open) -> None:
        expected = len(state.kinds)
        if record.sequence != expected:
            self._problem(
                where,
                f"session {record.session} goes on with record {record.sequence}, not {expected}",
            )
            if expected < record.sequence < expected + _GAP_LIMIT:
                state.kinds.extend(bytes(record.sequence - expected))

    def _points(self, where: str, record: AnyRecord, state: _Open) -> None:
        if isinstance(record, Result | ReviewSettled):
            intent = record.intent
            if not 0 <= intent < len(state.kinds) or state.kinds[intent] != _INTENT:
                self._problem(where, f"it belongs to record {intent}, which is no intent")
        elif (
            isinstance(record, Intent)
            and isinstance(record.text, int)
            and record.text not in state.texts
        ):
            self._problem(where, f"it names text {record.text}, which was not defined")
