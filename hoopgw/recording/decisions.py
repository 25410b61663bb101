"""The records of a log from which decisions can be judged again, and no others.

Those are the beginnings of sessions, texts, inputs, intents and what policy said of sessions and
fields; results, which are most of a log's bytes, are passed over. Each record is compared with its
hash in the log's tree on the way. What is damaged or was changed is named, and reading goes on
behind it where it can: an auditor's whole proof is `hoopgw.recording.verification`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
from attrs import define, field, frozen

from hoopgw.recording.framing import DamagedError, TornError
from hoopgw.recording.hashes import HashFiles
from hoopgw.recording.index import NAME as INDEX
from hoopgw.recording.inputs import AGAIN
from hoopgw.recording.merkle import leaf_hash
from hoopgw.recording.reader import ReadError
from hoopgw.recording.segments import Segment, entries, segments

EARLIER_LIMIT: Final = 2000
"""Sessions that began before what is read, whose beginning is looked up; the latest count."""
_SLACK: Final = 600 * 10**9
"""Nanoseconds that records of several workers may be out of order."""
_WANTED: Final = frozenset(
    {
        b"session.started",
        b"session.judged",
        b"session.ended",
        b"fields.shown",
        b"text.defined",
        b"decision.input",
        b"grants.held",
        b"intent",
    }
)
_EARLIER: Final = (
    "SELECT first_leaf FROM sessions WHERE first_leaf < ? AND last_leaf >= ? AND refused = 0"
    " ORDER BY first_leaf DESC LIMIT ?"
)


@frozen
class Found:
    """A record that is wanted."""

    leaf: int
    data: bytes = field(repr=False)


@frozen
class Unreadable:
    """A record, or all from it to the end of its segment, that cannot be used."""

    leaf: int
    why: str


@define(eq=False)
class DecisionLog:
    """Reads the decisions in a log's folder. Changes nothing."""

    directory: Path
    read: int = field(default=0, init=False)
    """Bytes that were read, of all; for a progress bar."""
    total: int = field(default=0, init=False)

    def begin(self, since: int | None) -> int:
        """Return the leaf to read from, for decisions since a time (nanoseconds since the epoch).

        It is earlier than that time, as inputs may be written an hour before they are named.

        Raises:
            ReadError: there is no log.

        """
        found = self._segments()
        if since is None:
            return found[0].first
        start = found[0].first
        for segment in found[1:]:
            first = _first_time(segment)
            if first is not None and first > since - AGAIN - _SLACK:
                break
            start = segment.first
        return start

    def records(self, start: int, *, earlier: bool = True) -> Iterator[Found | Unreadable]:
        """Yield what is wanted from a leaf on.

        Args:
            start: the first leaf.
            earlier: whether the beginnings of sessions that went on then come first.

        Raises:
            ReadError: there is no log.

        """
        found = self._segments()
        mine = [s for n, s in enumerate(found) if n + 1 == len(found) or found[n + 1].first > start]
        self.total, self.read = sum(segment.size for segment in mine), 0
        if earlier:
            yield from self._beginnings(found, start)
        hashes = HashFiles(self.directory)
        try:
            for segment in mine:
                last = segment is mine[-1]
                yield from self._walk(segment, start, hashes, last=last)
        finally:
            hashes.close()

    @property
    def leaves(self) -> int:
        """Records of which the log's tree has the hash."""
        hashes = HashFiles(self.directory)
        try:
            return hashes.size()
        finally:
            hashes.close()

    def _segments(self) -> list[Segment]:
        try:
            found = segments(self.directory)
        except OSError as error:
            raise ReadError(f"{self.directory}: cannot be read: {error.strerror}") from error
        if not found:
            raise ReadError(f"{self.directory}: holds no log")
        return found

    def _walk(
        self, segment: Segment, start: int, hashes: HashFiles, *, last: bool
    ) -> Iterator[Found | Unreadable]:
        """Yield what is wanted of one segment."""
        leaf, before = segment.first, self.read
        try:
            for entry in entries(segment):
                self.read, leaf = before + entry.end, entry.leaf + entry.frame.is_record
                data = entry.frame.payload
                if not entry.frame.is_record or entry.leaf < start or tag_of(data) not in _WANTED:
                    continue
                if _was_changed(hashes, entry.leaf, data):
                    yield Unreadable(entry.leaf, "it is not the record that the log's tree holds")
                else:
                    yield Found(entry.leaf, data)
        except TornError as error:
            if not last:  # of the last one, the recorder is writing the rest
                yield Unreadable(leaf, f"{segment.path.name} from there on: {error}")
        except (DamagedError, OSError) as error:
            yield Unreadable(leaf, f"{segment.path.name} from there on: {error}")

    def _beginnings(self, found: list[Segment], start: int) -> Iterator[Found]:
        """Yield the beginnings of sessions that go on at a leaf; each segment is read once."""
        wanted = self._earlier(start)
        for number, segment in enumerate(found):
            after = found[number + 1].first if number + 1 < len(found) else start
            mine = {leaf for leaf in wanted if segment.first <= leaf < after}
            if mine:
                yield from _pick(segment, mine)

    def _earlier(self, start: int) -> Collection[int]:
        uri = f"{(self.directory / INDEX).absolute().as_uri()}?mode=ro"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as database:
                rows = database.execute(_EARLIER, (start, start, EARLIER_LIMIT)).fetchall()
        except sqlite3.Error:
            return ()  # their decisions are then named as not judged
        return [row[0] for row in rows]


def tag_of(data: bytes) -> bytes:
    """Return the tag of a record's bytes; nothing if they are none. Cheap: most are not wanted."""
    at = 3 if data[:1] == b"\xdc" else 1  # an array of more than 15 elements has a longer head
    size = data[at] - 0xA0 if len(data) > at else -1
    return data[at + 1 : at + 1 + size] if 0 <= size < 32 else b""


class _Dated(msgspec.Struct, array_like=True):
    """The beginning of every record."""

    tag: str
    session: str
    sequence: int
    at: int


def _first_time(segment: Segment) -> int | None:
    """Return when a segment's first record was made, or None if that cannot be read."""
    try:
        for entry in entries(segment):
            if entry.frame.is_record:
                return msgspec.msgpack.decode(entry.frame.payload, type=_Dated).at
    except (TornError, DamagedError, OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return None


def _pick(segment: Segment, wanted: set[int]) -> Iterator[Found]:
    try:
        for entry in entries(segment):
            if entry.frame.is_record and entry.leaf in wanted:
                wanted.discard(entry.leaf)
                yield Found(entry.leaf, entry.frame.payload)
                if not wanted:
                    return
    except (TornError, DamagedError, OSError):
        return  # those decisions are then named as not judged


def _was_changed(hashes: HashFiles, leaf: int, data: bytes) -> bool:
    try:
        return hashes.node(0, leaf) != leaf_hash(data)
    except DamagedError:
        return False  # the recorder has not written its hash yet, or the files are gone
