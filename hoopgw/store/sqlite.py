"""The store in SQLite: all SQL that it takes, and the seals on its rows.

Two connections to one file: that of `_db` syncs each commit to the disk before it returns, and
carries everything that decides; `_quick` does not, and carries only the list of live sessions,
which is rebuilt when workers come back. Writers in other threads or processes are kept apart by
``BEGIN IMMEDIATE``; a request is moved on by one guarded UPDATE that names the state and the seal
that were read, so of any number of racers one wins.

Statements are put together from constants of this room alone; every value is bound.
"""
# ruff: noqa: S608  # see the last sentence above

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import define, field
from twisted.logger import Logger

from hoopgw.errors import ConfigError
from hoopgw.store.migrate import migrate
from hoopgw.store.resealing import reseal
from hoopgw.store.rows import AgentRow, Change, PasswordRow, Request, SessionHead, State, Vote
from hoopgw.store.sealed import SealedDatabase, marks, store_errors
from hoopgw.store.seals import SealKey
from hoopgw.store.sqlite_certificates import SqliteCertificates
from hoopgw.store.sqlite_grants import SqliteGrants
from hoopgw.store.sqlite_logins import SqliteLogins
from hoopgw.store.sqlite_nodes import SqliteNodes
from hoopgw.store.sqlite_revocations import (
    FORGET_AFTER,
    SqliteRevocations,
    begin_revocations,
)
from hoopgw.store.sqlite_rows import (
    AGENTS,
    HEADS,
    JOIN_TOKENS,
    PASSWORDS,
    REQUESTS,
    VOTES,
    JoinTokenRow,
)

log = Logger()

_FIRST_HEAD: Final = 8
"""The migration that brings the head of the revocations."""
KEEP_SETTLED: Final = 20_000
"""Settled requests that are kept at most, however new."""
BUSY_TIMEOUT: Final = 2.0
"""Seconds to wait for another writer, which can only be a tool of the operator."""
_BELOW: Final = (
    "json_extract(principal, '$.session') = ?1 OR EXISTS (SELECT 1 FROM"
    " json_each(principal, '$.nodes') WHERE json_extract(value, '$.id') = ?1)"
)
"""Whether a principal descends from a log-in or a delegation."""
_ENDING: Final = (
    "used_jti",
    "session_passwords",
    "join_tokens",
    "logins",
    "nodes",
    "spent",
    "certificates",
)
"""The tables whose rows say until when they are of use."""


@define(eq=False)
class SqliteStore:
    """Implements `hoopgw.store.rows.Store` on one SQLite file. For use by one thread."""

    _db: SealedDatabase
    _quick: sqlite3.Connection
    logins: SqliteLogins = field(init=False)
    nodes: SqliteNodes = field(init=False)
    grants: SqliteGrants = field(init=False)
    certificates: SqliteCertificates = field(init=False)
    _revocations: SqliteRevocations = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.logins = SqliteLogins(self._db)
        self.nodes = SqliteNodes(self._db)
        self.grants = SqliteGrants(self._db)
        self.certificates = SqliteCertificates(self._db)
        self._revocations = SqliteRevocations(self._db)

    @property
    def tampered(self) -> int:
        """How often a row was read whose seal did not hold."""
        return self._db.tampered

    @classmethod
    def open(cls, path: Path, key: bytes, *others: bytes) -> SqliteStore:
        """Open the store, making or migrating it as needed.

        Args:
            path: of the database; readable by the owner only.
            key: of the seals, 32 bytes, from outside the store.
            others: more keys whose seals hold, while the key is replaced.

        Raises:
            ConfigError: a newer hoopgw has written it, or others may use the file.
            UnavailableError: it cannot be opened.

        """
        with store_errors():
            _make_sure(path)
            sure = _connect(path, "FULL")
            database = SealedDatabase(sure, SealKey(key, others))

            def finish(before: int) -> None:
                if before < _FIRST_HEAD:
                    begin_revocations(database)

            migrate(sure, path, finish=finish)
            return cls(database, _connect(path, "NORMAL"))

    def close(self) -> None:
        """Close both connections; the last one to close folds the write-ahead log in."""
        with store_errors():
            self._quick.close()
            self._db.connection.close()

    def reseal(self, key: bytes) -> None:
        """Seal every genuine row anew."""
        reseal(self._db, key, self._revocations.reseal)
        self._revocations.resealed()

    def check_writable(self) -> None:
        """Write what is there already."""
        with self._db.transaction():
            version = self._db.connection.execute("PRAGMA user_version").fetchone()[0]
            self._db.connection.execute(f"PRAGMA user_version = {int(version)}")

    # Requests and votes.

    @contextmanager
    def change(self) -> Iterator[Change]:
        """Begin a transaction that holds the one write lock there is."""
        with self._db.transaction():
            yield _SqliteChange(self, self._db)

    def request(self, request: str) -> Request | None:
        """Read one request."""
        return self._db.one(REQUESTS, "id = ?", request)

    def request_ids(self, states: Collection[State] | None, limit: int) -> Sequence[str]:
        """Read which are the newest requests."""
        wanted = () if states is None else tuple(states)
        where = "true" if states is None else f"state IN ({marks(wanted)})"
        sql = f"SELECT id FROM requests WHERE {where} ORDER BY created DESC LIMIT ?"
        return [str(row[0]) for row in self._db.rows(sql, *wanted, limit)]

    def open_below(self, node: str) -> Sequence[str]:
        """Read by the log-in's id and the nodes' ids, which are inside the principal."""
        open_ = "state IN ('requested', 'approved')"
        rows = self._db.rows(f"SELECT id FROM requests WHERE {open_} AND ({_BELOW})", node)
        return [str(row[0]) for row in rows]

    def due(self, now: float, limit: int) -> Sequence[str]:
        """Read which open requests are over."""
        rows = self._db.rows(
            "SELECT id FROM requests WHERE (state = 'requested' AND expires <= ?1)"
            " OR (state = 'approved' AND usable_until <= ?1) LIMIT ?2",
            now,
            limit,
        )
        return [str(row[0]) for row in rows]

    def count_states(self) -> Mapping[str, int]:
        """Count requests by state."""
        return dict(self._db.rows("SELECT state, count(*) FROM requests GROUP BY state"))

    def votes(self, request: str) -> Sequence[Vote]:
        """Read the genuine votes on one request."""
        return self._db.genuine(VOTES, "request = ? ORDER BY at, person", request)

    # Log-ins.

    def keep_password(self, row: PasswordRow) -> None:
        """Insert a verifier."""
        self._db.insert(PASSWORDS, row)

    def count_passwords(self, login: str, generation: int = 0) -> int:
        """Count by the log-in's id, which is inside the principal, and by its chain."""
        rows = self._db.rows(
            "SELECT count(*) FROM session_passwords WHERE json_extract(principal, '$.session') = ?"
            " AND json_array_length(principal, '$.chain') > ?",
            login,
            generation,
        )
        return int(rows[0][0])

    def drop_passwords(self, login: str) -> None:
        """Delete by the log-in's id, which is inside the principal."""
        self._db.write(
            "DELETE FROM session_passwords WHERE json_extract(principal, '$.session') = ?", login
        )

    def password(self, handle: str) -> PasswordRow | None:
        """Read a verifier."""
        return self._db.one(PASSWORDS, "handle = ?", handle)

    def revoke(self, node: str, expires: float) -> None:
        """Remember it until it would have ended, and delete the passwords of all that descends."""

        def along() -> None:
            self.logins.forget(node)
            self._db.write(f"DELETE FROM session_passwords WHERE {_BELOW}", node)

        self._revocations.revoke(node, expires, along)

    def is_revoked(self, lineage: Sequence[str]) -> bool:
        """Look each up."""
        return self._revocations.is_revoked(lineage)

    def count_revoked(self) -> int:
        """Count them."""
        return len(self._revocations)

    def revoked(self) -> Mapping[str, float]:
        """Return all; they are few, and purged."""
        return self._revocations.all()

    @property
    def problem(self) -> str:
        """Why it is not known what was revoked."""
        return self._revocations.problem

    # Time.

    @property
    def time(self) -> float:
        """The greatest that was noted."""
        return self._revocations.time

    def note_time(self, now: float) -> None:
        """Keep it beside the revocations, under their MAC."""
        self._revocations.note_time(now)

    def accept(self, now: float) -> None:
        """Take what is there, and this for the time; delete what log-ins go on by."""

        def along() -> None:
            self._db.write("DELETE FROM logins")
            self._db.write("DELETE FROM session_passwords")

        self._revocations.accept(now, along)

    def use_once(self, purpose: str, jti: str, expires: float) -> bool:
        """Insert, or find it there. What may have been purged counts as used."""
        if expires < self.time - FORGET_AFTER:
            return False
        added = self._db.write(
            "INSERT INTO used_jti (purpose, jti, expires) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            purpose,
            jti,
            expires,
        )
        return added == 1

    # Agents.

    def agent(self, name: str) -> AgentRow | None:
        """Read one agent."""
        return self._db.one(AGENTS, "name = ?", name)

    def agents(self) -> Sequence[AgentRow]:
        """Read all agents."""
        return self._db.genuine(AGENTS, "true ORDER BY name")

    def put_agent(self, row: AgentRow) -> None:
        """Insert or replace."""
        self._db.insert(AGENTS, row, replace=True)

    def add_join_token(self, token_hash: bytes, agent: str, expires: float) -> None:
        """Insert a token's hash."""
        self._db.insert(JOIN_TOKENS, JoinTokenRow(hash=token_hash, agent=agent, expires=expires))

    def use_join_token(self, token_hash: bytes, agent: str, now: float) -> bool:
        """Mark it used, if it is genuine and still may be."""
        with self._db.transaction():
            good = "hash = ? AND agent = ? AND expires > ? AND used IS NULL"
            if self._db.one(JOIN_TOKENS, good, token_hash, agent, now) is None:
                return False
            used = "UPDATE join_tokens SET used = ? WHERE hash = ? AND used IS NULL"
            return self._db.write(used, now, token_hash) == 1

    def drop_join_tokens(self, agent: str) -> int:
        """Delete those that were not used."""
        return self._db.write("DELETE FROM join_tokens WHERE agent = ? AND used IS NULL", agent)

    # Live sessions.

    def open_session(self, head: SessionHead) -> None:
        """Insert or replace; a worker that comes back announces what it has."""
        row = HEADS.row(head)
        with store_errors():
            self._quick.execute(
                f"INSERT OR REPLACE INTO sessions ({HEADS.names}) VALUES ({marks(row)})", row
            )

    def close_session(self, session: str) -> None:
        """Delete one."""
        with store_errors():
            self._quick.execute("DELETE FROM sessions WHERE id = ?", (session,))

    def drop_sessions(self, worker: str | None = None) -> None:
        """Delete those of one worker, or all."""
        with store_errors():
            self._quick.execute("DELETE FROM sessions WHERE ?1 IS NULL OR worker = ?1", (worker,))

    def session(self, session: str) -> SessionHead | None:
        """Read one."""
        return self._db.one(HEADS, "id = ?", session)

    def sessions(self) -> Sequence[SessionHead]:
        """Read all; workers bound how many there are."""
        return self._db.genuine(HEADS, "true ORDER BY opened DESC")

    def purge(self, now: float, settled_before: float) -> None:
        """Delete what nobody can use any more, after the time has been noted by which it is so."""
        self._revocations.note_time(now)
        if self.problem:
            return
        self._revocations.purge(now)
        with self._db.transaction():
            for table in _ENDING:
                self._db.write(f"DELETE FROM {table} WHERE expires < ?", now - FORGET_AFTER)
            self.grants.purge(settled_before)
            settled = "state NOT IN ('requested', 'approved')"
            self._db.write(f"DELETE FROM requests WHERE created < ? AND {settled}", settled_before)
            self._db.write(
                f"DELETE FROM requests WHERE {settled} AND created < (SELECT created FROM requests"
                f" WHERE {settled} ORDER BY created DESC LIMIT 1 OFFSET ?)",
                KEEP_SETTLED - 1,
            )


@define(eq=False)
class _SqliteChange:
    """A transaction on requests and votes; see `Change`."""

    _store: SqliteStore
    _db: SealedDatabase

    def request(self, request: str) -> Request | None:
        return self._store.request(request)

    def waiting(self, join_key: bytes) -> Request | None:
        return self._db.one(REQUESTS, "join_key = ? AND state = 'requested'", join_key)

    def usable(self, join_key: bytes, now: float) -> Request | None:
        where = "state = 'approved' AND join_key = ? AND usable_until > ?"
        return self._db.one(REQUESTS, where, join_key, now)

    def count_waiting(self, root: str | None = None, generation: int = 0) -> int:
        rows = self._db.rows(
            "SELECT count(*) FROM requests WHERE state = 'requested'"
            " AND (?1 IS NULL OR json_extract(principal, '$.chain[0].id') = ?1)"
            " AND json_array_length(principal, '$.chain') > ?2",
            root,
            generation,
        )
        return int(rows[0][0])

    def votes(self, request: str) -> Sequence[Vote]:
        return self._store.votes(request)

    def add_request(self, request: Request) -> None:
        self._db.insert(REQUESTS, request)

    def replace(self, old: Request, new: Request) -> bool:
        moved = self._db.write(
            "UPDATE requests SET reason = ?, state = ?, settled = ?, usable_until = ?, note = ?,"
            " seal = ? WHERE id = ? AND state = ? AND seal = ?",
            new.reason,
            new.state,
            new.settled,
            new.usable_until,
            new.note,
            self._db.seal(REQUESTS, new),
            old.id,
            old.state,
            self._db.seal(REQUESTS, old),
        )
        return moved == 1

    def set_aside(self, request: str) -> None:
        self._db.write("UPDATE requests SET state = 'withdrawn' WHERE id = ?", request)

    def put_vote(self, vote: Vote) -> None:
        self._db.insert(VOTES, vote, replace=True)


def _make_sure(path: Path) -> None:
    """Make the file if it is not there, and refuse one that others may use."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigError(f"{path}: is no file of user {os.geteuid()}")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigError(f"{path}: others may use it (mode {mode:04o}); run: chmod 0600 {path}")


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection
