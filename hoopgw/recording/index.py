"""The index of sessions: a small SQLite file beside the log, to find sessions without reading it.

It is not evidence: it is made from the log, can be made again from it at any time, and is never
synced. The recorder process writes it; anyone may read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from attrs import define, field, frozen

from hoopgw.recording.batch import Batch
from hoopgw.recording.records import (
    HopRecord,
    SessionEnded,
    SessionRefused,
    SessionStarted,
    purposes,
    trail,
)
from hoopgw.recording.segments import entries, segments

NAME: Final = "index.db"
_VERSION: Final = 2
_BATCH: Final = 10_000
"""Sessions with news that are kept in memory while the log is read again."""

_LATEST: Final = 2**63 - 1
"""What SQLite can hold; a worker may write more."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (version INTEGER NOT NULL, leaves INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY,
    protocol TEXT NOT NULL DEFAULT '', target TEXT NOT NULL DEFAULT '',
    account TEXT NOT NULL DEFAULT '', root_id TEXT NOT NULL DEFAULT '',
    root_name TEXT NOT NULL DEFAULT '', path TEXT NOT NULL DEFAULT '',
    purpose TEXT NOT NULL DEFAULT '',
    login TEXT NOT NULL DEFAULT '', method TEXT NOT NULL DEFAULT '',
    address TEXT NOT NULL DEFAULT '', agent TEXT NOT NULL DEFAULT '',
    started INTEGER, ended INTEGER, reason TEXT NOT NULL DEFAULT '',
    refused INTEGER NOT NULL DEFAULT 0,
    intents INTEGER NOT NULL DEFAULT 0, denied INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0,
    first_leaf INTEGER NOT NULL, last_leaf INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sessions_by_start ON sessions (started);
CREATE INDEX IF NOT EXISTS sessions_by_root ON sessions (root_id, started);
"""
_COUNT: Final = """
INSERT INTO sessions (id, intents, denied, held, first_leaf, last_leaf)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET intents = intents + excluded.intents,
    denied = denied + excluded.denied, held = held + excluded.held,
    last_leaf = max(last_leaf, excluded.last_leaf)
"""
_START: Final = """
UPDATE sessions SET protocol = ?, target = ?, account = ?, root_id = ?, root_name = ?, path = ?,
    purpose = ?, login = ?, method = ?, address = ?, agent = ?, started = ? WHERE id = ?
"""
_REFUSE: Final = """
UPDATE sessions SET protocol = ?, target = ?, account = ?, address = ?, reason = ?, started = ?,
    ended = ?, refused = 1 WHERE id = ?
"""
_END: Final = "UPDATE sessions SET ended = ?, reason = ? WHERE id = ?"


class _Other(msgspec.Struct, frozen=True, array_like=True):
    """What the index needs of records that it does not count."""

    session: str


class _Text(_Other, frozen=True, tag="text.defined"):
    pass


class _Input(_Other, frozen=True, tag="decision.input"):
    pass


class _Grants(_Other, frozen=True, tag="grants.held"):
    pass


class _Judged(_Other, frozen=True, tag="session.judged"):
    pass


class _Shown(_Other, frozen=True, tag="fields.shown"):
    pass


class _Settled(_Other, frozen=True, tag="review.settled"):
    pass


class _Result(_Other, frozen=True, tag="result"):
    pass


class _Grant(_Other, frozen=True, tag="grant.step"):
    pass


class _Opened(_Other, frozen=True, tag="content.opened"):
    pass


class _Piece(_Other, frozen=True, tag="content.piece"):
    pass


class _Ended(_Other, frozen=True, tag="content.ended"):
    pass


class _Removed(_Other, frozen=True, tag="content.removed"):
    pass


class _Frozen(_Other, frozen=True, tag="session.frozen"):
    pass


class _Thawed(_Other, frozen=True, tag="session.thawed"):
    pass


class _Intent(msgspec.Struct, frozen=True, array_like=True, tag="intent"):
    """What it needs of an intent, and as little of the rest as there is on the way."""

    session: str
    sequence: int
    at: int
    action: str
    resources: msgspec.Raw
    text: msgspec.Raw
    parameters: msgspec.Raw
    digest: msgspec.Raw
    decision: str


_Noted: TypeAlias = (
    SessionStarted
    | SessionRefused
    | SessionEnded
    | _Intent
    | _Result
    | _Text
    | _Input
    | _Grants
    | _Judged
    | _Shown
    | _Settled
    | _Grant
    | _Opened
    | _Piece
    | _Ended
    | _Removed
    | _Frozen
    | _Thawed
)
_decode: Final = msgspec.msgpack.Decoder(_Noted).decode


@define
class _News:
    """What is new about one session since the last flush."""

    first: int
    last: int
    intents: int = 0
    denied: int = 0
    held: int = 0
    marks: list[SessionStarted | SessionRefused | SessionEnded] = field(factory=list)


@define(eq=False)
class SessionIndex:
    """Writes the index: `note` for the records in order, `commit`, and `flush` now and then.

    What was noted counts from `commit` on, as in the log; `rollback` forgets it.
    """

    _database: sqlite3.Connection
    leaves: int = field(init=False)
    """Records of the log that the index knows of, with those that are not flushed."""
    _noted: int = field(default=0, init=False)
    """Records since the last commit."""
    _fresh: dict[str, _News] = field(factory=dict, init=False)
    """What they say."""
    _news: dict[str, _News] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.leaves = self._flushed()

    @classmethod
    def open(cls, directory: Path, size: int) -> SessionIndex:
        """Open the index of a log with ``size`` records, and read what it does not know yet.

        Raises:
            DamagedError: the log cannot be read.

        """
        path = directory / NAME
        try:
            index = cls(_connect(path))
        except sqlite3.DatabaseError:
            index = None  # not a database, or of another version: it can be made again
        if index is None or index.leaves > size:
            if index is not None:
                index._database.close()
            for stale in directory.glob(f"{NAME}*"):
                stale.unlink()
            index = cls(_connect(path))
        for data in _records_from(directory, index.leaves):
            index._note_one(index.leaves + index._noted, data)
            index._noted += 1
            if len(index._fresh) >= _BATCH:
                index.commit()
                index.flush()
        index.commit()
        index.flush()
        return index

    @property
    def dirty(self) -> bool:
        """Whether there is something to flush."""
        return bool(self._news)

    def note(self, batch: Batch) -> None:
        """Take records as they are in the log; those that cannot be read are left to `verify`."""
        start = self.leaves + self._noted
        self._noted += batch.count
        for session, first, last, intents, denied, held in batch.counted:
            news = self._news_of(session, start + first, start + last)
            news.intents += intents
            news.denied += denied
            news.held += held
        for number, data in batch.others:
            self._note_one(start + number, data)

    def _note_one(self, leaf: int, data: bytes) -> None:
        try:
            record = _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        news = self._news_of(record.session, leaf, leaf)
        if isinstance(record, _Intent):
            news.intents += 1
            news.denied += record.decision == "deny"
            news.held += record.decision == "review"
        elif not isinstance(record, _Other):
            news.marks.append(record)

    def _news_of(self, session: str, first: int, last: int) -> _News:
        news = self._fresh.get(session)
        if news is None:
            news = self._fresh[session] = _News(first, last)
        news.first, news.last = min(news.first, first), max(news.last, last)
        return news

    def commit(self) -> None:
        """Let what was noted count: the log has it for good."""
        for session, fresh in self._fresh.items():
            news = self._news.setdefault(session, fresh)
            if news is not fresh:
                news.last = fresh.last
                news.intents += fresh.intents
                news.denied += fresh.denied
                news.held += fresh.held
                news.marks += fresh.marks
        self.leaves += self._noted
        self.rollback()

    def rollback(self) -> None:
        """Forget what was noted since the last commit."""
        self._fresh.clear()
        self._noted = 0

    def flush(self) -> None:
        """Write what is new.

        Raises:
            sqlite3.Error: it could not be written; it is kept, and can be flushed later.

        """
        with self._database:
            for session, news in self._news.items():
                counts = (news.intents, news.denied, news.held, news.first, news.last)
                self._database.execute(_COUNT, (session, *counts))
                for mark in news.marks:
                    self._mark(mark)
            self._database.execute("UPDATE meta SET leaves = ?", (self.leaves,))
        self._news.clear()

    def close(self) -> None:
        """Flush and close; what cannot be flushed is read from the log at the next start."""
        try:
            self.flush()
        finally:
            self._database.close()

    def _mark(self, mark: SessionStarted | SessionRefused | SessionEnded) -> None:
        at, session = min(mark.at, _LATEST), mark.session
        match mark:
            case SessionStarted():
                root = mark.chain[0] if mark.chain else HopRecord("", "", "", [])
                who = (mark.protocol, mark.target, mark.account, root.id, root.name)
                chain = (trail(mark.chain), purposes(mark.chain))
                how = (mark.login, mark.method, mark.address, mark.agent)
                self._database.execute(_START, (*who, *chain, *how, at, session))
            case SessionRefused():
                what = (mark.protocol, mark.target, mark.account, mark.address, mark.reason)
                self._database.execute(_REFUSE, (*what, at, at, session))
            case SessionEnded():
                self._database.execute(_END, (at, mark.reason, session))

    def _flushed(self) -> int:
        return int(self._database.execute("SELECT leaves FROM meta").fetchone()[0])


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=1.0)
    path.chmod(0o600)
    database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;")
    database.executescript(_SCHEMA)
    row = database.execute("SELECT version FROM meta").fetchone()
    if row is None:
        with database:
            database.execute("INSERT INTO meta VALUES (?, 0)", (_VERSION,))
    elif row[0] != _VERSION:
        database.close()
        raise sqlite3.DatabaseError("the index is of another version")
    return database


def _records_from(directory: Path, leaf: int) -> Iterator[bytes]:
    """Read the log's records from a leaf on."""
    found = segments(directory)
    for number, segment in enumerate(found):
        if number + 1 < len(found) and found[number + 1].first <= leaf:
            continue
        for entry in entries(segment):
            if entry.frame.is_record and entry.leaf >= leaf:
                yield entry.frame.payload


@frozen(kw_only=True)
class SessionSummary:
    """One session, as the index knows it."""

    id: str
    protocol: str
    target: str
    account: str
    root_id: str
    root_name: str
    path: str
    """The chain for people: ``alice/planner#46p-LpCB``."""
    purpose: str
    """What its hops were made for, as their parents said: not verified."""
    login: str
    method: str
    address: str
    agent: str
    started: int | None
    """Nanoseconds since the epoch."""
    ended: int | None
    reason: str
    refused: bool
    """Whether it was refused before it began."""
    intents: int
    denied: int
    held: int
    first_leaf: int
    last_leaf: int


@frozen(kw_only=True)
class SessionFilter:
    """Which sessions are wanted; all that is given must hold."""

    root: str | None = None
    """The root's id or name."""
    target: str | None = None
    protocol: str | None = None
    since: int | None = None
    """Started at or after, in nanoseconds since the epoch."""
    until: int | None = None
    """Started before."""
    live: bool | None = None
    denied: bool | None = None
    """Whether something was refused in it."""
    limit: int = 100


def find(
    directory: Path, wanted: SessionFilter, session: str | None = None
) -> list[SessionSummary]:
    """Look sessions up, newest first.

    Raises:
        sqlite3.Error: there is no index, or it cannot be read.

    """
    where, values = _conditions(wanted, session)
    names = [attribute.name for attribute in SessionSummary.__attrs_attrs__]
    # Names and conditions are constants of this module; values are bound.
    query = (
        f"SELECT {', '.join(names)} FROM sessions WHERE {where}"  # noqa: S608
        " ORDER BY started DESC, first_leaf DESC LIMIT ?"
    )
    uri = f"{(directory / NAME).absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as database:
        rows = database.execute(query, (*values, wanted.limit)).fetchall()
    found = [dict(zip(names, row, strict=True)) for row in rows]
    return [SessionSummary(**{**row, "refused": bool(row["refused"])}) for row in found]


def _conditions(wanted: SessionFilter, session: str | None) -> tuple[str, list[str | int]]:
    terms: list[tuple[str, tuple[str | int, ...]]] = [("1", ())]
    for column, value in (
        ("id = ?", session),
        ("target = ?", wanted.target),
        ("protocol = ?", wanted.protocol),
        ("started >= ?", wanted.since),
        ("started < ?", wanted.until),
    ):
        if value is not None:
            terms.append((column, (value,)))
    if wanted.root is not None:
        terms.append(("(root_id = ? OR root_name = ?)", (wanted.root, wanted.root)))
    if wanted.live is not None:
        terms.append(("ended IS NULL" if wanted.live else "ended IS NOT NULL", ()))
    if wanted.denied is not None:
        terms.append(("denied > 0" if wanted.denied else "denied = 0", ()))
    return " AND ".join(term for term, _ in terms), [v for _, given in terms for v in given]
