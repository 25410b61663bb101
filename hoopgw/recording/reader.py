"""Read a log: sessions, their records, and proofs. For the control process, the CLI and exports.

Reading needs no key and changes nothing; the recorder may be writing meanwhile. What is given here
is what is in the files: whether that is what was written says `hoopgw.recording.verification`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from attrs import define, field, frozen

from hoopgw.errors import HoopgwError
from hoopgw.recording import index, merkle
from hoopgw.recording.checkpoints import split_history
from hoopgw.recording.framing import DamagedError, TornError
from hoopgw.recording.hashes import HashFiles
from hoopgw.recording.index import SessionFilter, SessionSummary
from hoopgw.recording.notes import Checkpoint, NoteError, Verifier, open_checkpoint
from hoopgw.recording.records import AnyRecord, decode
from hoopgw.recording.segments import Entry, Segment, entries, segments

ALL: Final = SessionFilter()
"""The newest sessions of all kinds."""
_HANDOVERS_LIMIT: Final = 64
_MARKER_WITHIN: Final = 512
"""Bytes at a record's beginning that hold its tag and its session's id."""


class ReadError(HoopgwError):
    """A log, or what is wanted of it, is not there or cannot be read."""


@frozen
class Kept:
    """A record with its place in the log."""

    leaf: int
    data: bytes = field(repr=lambda data: f"<{len(data)} bytes>")
    """The bytes that the tree has hashed."""

    @property
    def record(self) -> AnyRecord:
        """What they say.

        Raises:
            ReadError: they are no record.

        """
        try:
            return decode(self.data)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ReadError(f"leaf {self.leaf} is no record: {error}") from error


@frozen
class InclusionProof:
    """Shows that a record is in the log that a checkpoint signs."""

    leaf: int
    size: int
    """Of the tree, as in the checkpoint."""
    path: tuple[bytes, ...]

    def proves(self, data: bytes, checkpoint: Checkpoint) -> bool:
        """Say whether it shows that these very bytes are leaf ``leaf`` of the checkpoint's tree."""
        return self.size == checkpoint.size and merkle.verify_inclusion(
            merkle.leaf_hash(data), self.leaf, self.size, self.path, checkpoint.root
        )


@define(eq=False)
class LogReader:
    """Reads the log in a folder."""

    directory: Path

    def sessions(self, wanted: SessionFilter = ALL) -> list[SessionSummary]:
        """Return sessions, newest first; the index is up to a second behind the log.

        Raises:
            ReadError: there is no index.

        """
        return self._find(wanted)

    def session(self, session: str) -> SessionSummary:
        """Return one session.

        Raises:
            ReadError: it is not known.

        """
        found = self._find(SessionFilter(limit=1), session)
        if not found:
            raise ReadError(f"no session {session!r} is in the log")
        return found[0]

    def records(self, session: str) -> Iterator[AnyRecord]:
        """Give a session's records, in order; of a live session, those up to now.

        Raises:
            ReadError: the session is not known, or the log cannot be read.

        """
        for kept in self.kept(session):
            yield kept.record

    def kept(self, session: str) -> Iterator[Kept]:
        """Give a session's records with their places, for proofs. Raises as `records`."""
        summary = self.session(session)
        marker = msgspec.msgpack.encode(session)
        for kept in self.walk(summary.first_leaf):
            if summary.ended is not None and kept.leaf > summary.last_leaf:
                return
            # A cheap look first: most records are of other sessions.
            if marker in kept.data[:_MARKER_WITHIN] and kept.record.session == session:
                yield kept

    def walk(self, first: int = 0) -> Iterator[Kept]:
        """Give all records from a leaf on; ends where the recorder is writing.

        Raises:
            ReadError: the log cannot be read.

        """
        try:
            found = segments(self.directory)
        except OSError as error:
            raise ReadError(f"{self.directory}: cannot be read: {error.strerror}") from error
        for number, segment in enumerate(found):
            last = number + 1 == len(found)
            if last or found[number + 1].first > first:
                for entry in self._entries(segment, last=last):
                    if entry.frame.is_record and entry.leaf >= first:
                        yield Kept(entry.leaf, entry.frame.payload)

    def record(self, leaf: int) -> Kept:
        """Return one record by its number.

        Raises:
            ReadError: there is none.

        """
        for kept in self.walk(leaf):
            return kept
        raise ReadError(f"the log has no record {leaf}")

    def checkpoint(self, verifier: Verifier) -> Checkpoint:
        """Return the newest checkpoint, once its signature is seen to be good.

        Raises:
            NoteError: it is not genuine.
            ReadError: there is none.

        """
        return open_checkpoint(self.note(), verifier)

    def note(self) -> bytes:
        """Return the newest checkpoint as it is kept and handed on. Raises `ReadError`."""
        try:
            return (self.directory / "checkpoint").read_bytes()
        except OSError as error:
            raise ReadError(f"{self.directory}: has no checkpoint") from error

    def handovers(self) -> list[bytes]:
        """Return the newest checkpoints that hand the log's key over, in order; see `succession`.

        An agent that was away for more of them than these has to join again.
        """
        try:
            notes, _ = split_history((self.directory / "handovers").read_bytes())
        except OSError:
            return []
        return notes[-_HANDOVERS_LIMIT:]

    def key(self) -> str:
        """Return the log's public key, ``name+id+key``, as the recorder wrote it.

        Raises:
            ReadError: there is none.

        """
        try:
            return Verifier.decode((self.directory / "verifier").read_text()).encode()
        except (OSError, UnicodeDecodeError, NoteError) as error:
            raise ReadError(f"{self.directory}: has no public key") from error

    def inclusion(self, leaf: int, size: int) -> InclusionProof:
        """Prove that a leaf is in the tree of the first ``size`` records.

        Raises:
            ReadError: the log is shorter, or has no such leaf.

        """
        return InclusionProof(leaf, size, tuple(self._prove(merkle.inclusion_proof, leaf, size)))

    def consistency(self, first: int, second: int) -> list[bytes]:
        """Prove that the tree of ``second`` records goes on from that of ``first``.

        Raises:
            ReadError: the log is shorter, or the sizes are in the wrong order.

        """
        return self._prove(merkle.consistency_proof, first, second)

    def _prove(self, make: merkle.Prover, first: int, second: int) -> list[bytes]:
        hashes = HashFiles(self.directory)
        try:
            return make(first, second, hashes.node)
        except (ValueError, DamagedError) as error:
            raise ReadError(f"this cannot be proved: {error}") from error
        finally:
            hashes.close()

    def _find(self, wanted: SessionFilter, session: str | None = None) -> list[SessionSummary]:
        try:
            return index.find(self.directory, wanted, session)
        except sqlite3.Error as error:
            raise ReadError(f"{self.directory}: the index cannot be read: {error}") from error

    def _entries(self, segment: Segment, *, last: bool) -> Iterator[Entry]:
        try:
            yield from entries(segment)
        except TornError as error:
            if not last:
                raise ReadError(f"{segment.path.name}: {error}") from error
        except DamagedError as error:
            raise ReadError(f"{segment.path.name}: {error}") from error
