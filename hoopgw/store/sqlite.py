"""The store in SQLite: all SQL that it takes, and the seals on its rows.

Two connections to one file: `_sure` syncs each commit to the disk before it returns, and carries
everything that decides; `_quick` does not, and carries only the list of live sessions, which is
rebuilt when workers come back. Writers in other threads or processes are kept apart by
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
from typing import Any, Final, TypeVar

from attrs import define, field
from twisted.logger import Logger

from hoopgw.errors import ConfigError, UnavailableError
from hoopgw.store.migrate import migrate
from hoopgw.store.rows import AgentRow, Change, PasswordRow, Request, SessionHead, State, Vote
from hoopgw.store.seals import SealKey, Value
from hoopgw.store.sqlite_rows import (
    AGENTS,
    HEADS,
    JOIN_TOKENS,
    PASSWORDS,
    REQUESTS,
    VOTES,
    JoinTokenRow,
    Table,
)

log = Logger()

KEEP_SETTLED: Final = 20_000
"""Settled requests that are kept at most, however new."""
BUSY_TIMEOUT: Final = 2.0
"""Seconds to wait for another writer, which can only be a tool of the operator."""

V = TypeVar("V")


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise UnavailableError(f"the store cannot be used: {error}") from error


@define(eq=False)
class SqliteStore:
    """Implements `hoopgw.store.rows.Store` on one SQLite file. For use by one thread."""

    _sure: sqlite3.Connection
    _quick: sqlite3.Connection
    _seals: SealKey
    tampered: int = field(default=0, init=False)
    _revoked: dict[str, float] = field(factory=dict, init=False)
    """What was seen revoked: a row that is deleted behind our back brings none back."""

    def __attrs_post_init__(self) -> None:
        self._revoked.update(self.revoked())

    @classmethod
    def open(cls, path: Path, key: bytes) -> SqliteStore:
        """Open the store, making or migrating it as needed.

        Args:
            path: of the database; readable by the owner only.
            key: of the seals, 32 bytes, from outside the store.

        Raises:
            ConfigError: a newer hoopgw has written it, or others may use the file.
            UnavailableError: it cannot be opened.

        """
        with _errors():
            _make_sure(path)
            sure = _connect(path, "FULL")
            migrate(sure, path)
            return cls(sure, _connect(path, "NORMAL"), SealKey(key))

    def close(self) -> None:
        """Close both connections; the last one to close folds the write-ahead log in."""
        with _errors():
            self._quick.close()
            self._sure.close()

    def check_writable(self) -> None:
        """Write what is there already."""
        with _errors(), self._transaction():
            version = self._sure.execute("PRAGMA user_version").fetchone()[0]
            self._sure.execute(f"PRAGMA user_version = {int(version)}")

    # Requests and votes.

    @contextmanager
    def change(self) -> Iterator[Change]:
        """Begin a transaction that holds the one write lock there is."""
        with _errors(), self._transaction():
            yield _SqliteChange(self)

    def request(self, request: str) -> Request | None:
        """Read one request."""
        return self._one(REQUESTS, "id = ?", request)

    def request_ids(self, states: Collection[State] | None, limit: int) -> Sequence[str]:
        """Read which are the newest requests."""
        wanted = () if states is None else tuple(states)
        where = "true" if states is None else f"state IN ({_marks(wanted)})"
        sql = f"SELECT id FROM requests WHERE {where} ORDER BY created DESC LIMIT ?"
        return [str(row[0]) for row in self._rows(sql, *wanted, limit)]

    def due(self, now: float, limit: int) -> Sequence[str]:
        """Read which open requests are over."""
        rows = self._rows(
            "SELECT id FROM requests WHERE (state = 'requested' AND expires <= ?1)"
            " OR (state = 'approved' AND usable_until <= ?1) LIMIT ?2",
            now,
            limit,
        )
        return [str(row[0]) for row in rows]

    def count_states(self) -> Mapping[str, int]:
        """Count requests by state."""
        return dict(self._rows("SELECT state, count(*) FROM requests GROUP BY state"))

    def votes(self, request: str) -> Sequence[Vote]:
        """Read the genuine votes on one request."""
        return self._genuine(VOTES, "request = ? ORDER BY at, person", request)

    # Log-ins.

    def keep_password(self, row: PasswordRow) -> None:
        """Insert a verifier."""
        self._insert(PASSWORDS, row)

    def count_passwords(self, login: str) -> int:
        """Count by the log-in's id, which is inside the principal."""
        rows = self._rows(
            "SELECT count(*) FROM session_passwords WHERE json_extract(principal, '$.session') = ?",
            login,
        )
        return int(rows[0][0])

    def password(self, handle: str) -> PasswordRow | None:
        """Read a verifier."""
        return self._one(PASSWORDS, "handle = ?", handle)

    def revoke(self, node: str, expires: float) -> None:
        """Remember it until it would have ended, and delete the passwords of all that descends."""
        with _errors(), self._transaction():
            self._write(
                "INSERT INTO revoked (node, expires) VALUES (?, ?)"
                " ON CONFLICT (node) DO UPDATE SET expires = max(expires, excluded.expires)",
                node,
                expires,
            )
            self._write(
                "DELETE FROM session_passwords WHERE json_extract(principal, '$.session') = ?1"
                " OR EXISTS (SELECT 1 FROM json_each(principal, '$.nodes')"
                " WHERE json_extract(value, '$.id') = ?1)",
                node,
            )
        self._revoked[node] = max(expires, self._revoked.get(node, 0.0))

    def is_revoked(self, lineage: Sequence[str]) -> bool:
        """Look each up."""
        if any(node in self._revoked for node in lineage):
            return True
        found = f"SELECT 1 FROM revoked WHERE node IN ({_marks(lineage)})"
        return bool(self._rows(found, *lineage))

    def revoked(self) -> Mapping[str, float]:
        """Read all; they are few, and purged."""
        return {**self._revoked, **dict(self._rows("SELECT node, expires FROM revoked"))}

    def use_once(self, purpose: str, jti: str, expires: float) -> bool:
        """Insert, or find it there."""
        added = self._write(
            "INSERT INTO used_jti (purpose, jti, expires) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            purpose,
            jti,
            expires,
        )
        return added == 1

    # Agents.

    def agent(self, name: str) -> AgentRow | None:
        """Read one agent."""
        return self._one(AGENTS, "name = ?", name)

    def agents(self) -> Sequence[AgentRow]:
        """Read all agents."""
        return self._genuine(AGENTS, "true ORDER BY name")

    def put_agent(self, row: AgentRow) -> None:
        """Insert or replace."""
        self._insert(AGENTS, row, replace=True)

    def add_join_token(self, token_hash: bytes, agent: str, expires: float) -> None:
        """Insert a token's hash."""
        self._insert(JOIN_TOKENS, JoinTokenRow(hash=token_hash, agent=agent, expires=expires))

    def use_join_token(self, token_hash: bytes, agent: str, now: float) -> bool:
        """Mark it used, if it is genuine and still may be."""
        with _errors(), self._transaction():
            good = "hash = ? AND agent = ? AND expires > ? AND used IS NULL"
            if self._one(JOIN_TOKENS, good, token_hash, agent, now) is None:
                return False
            used = "UPDATE join_tokens SET used = ? WHERE hash = ? AND used IS NULL"
            return self._write(used, now, token_hash) == 1

    # Live sessions.

    def open_session(self, head: SessionHead) -> None:
        """Insert or replace; a worker that comes back announces what it has."""
        row = HEADS.row(head)
        with _errors():
            self._quick.execute(
                f"INSERT OR REPLACE INTO sessions ({HEADS.names}) VALUES ({_marks(row)})", row
            )

    def close_session(self, session: str) -> None:
        """Delete one."""
        with _errors():
            self._quick.execute("DELETE FROM sessions WHERE id = ?", (session,))

    def drop_sessions(self, worker: str | None = None) -> None:
        """Delete those of one worker, or all."""
        with _errors():
            self._quick.execute("DELETE FROM sessions WHERE ?1 IS NULL OR worker = ?1", (worker,))

    def session(self, session: str) -> SessionHead | None:
        """Read one."""
        return self._one(HEADS, "id = ?", session)

    def sessions(self) -> Sequence[SessionHead]:
        """Read all; workers bound how many there are."""
        return self._genuine(HEADS, "true ORDER BY opened DESC")

    def purge(self, now: float, settled_before: float) -> None:
        """Delete what nobody can use any more."""
        with _errors(), self._transaction():
            for table in ("used_jti", "session_passwords", "join_tokens", "revoked"):
                self._write(f"DELETE FROM {table} WHERE expires < ?", now)
            settled = "state NOT IN ('requested', 'approved')"
            self._write(f"DELETE FROM requests WHERE created < ? AND {settled}", settled_before)
            self._write(
                f"DELETE FROM requests WHERE {settled} AND created < (SELECT created FROM requests"
                f" WHERE {settled} ORDER BY created DESC LIMIT 1 OFFSET ?)",
                KEEP_SETTLED - 1,
            )
        self._revoked = {node: end for node, end in self._revoked.items() if end >= now}

    # What these share.

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._sure.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._sure.execute("COMMIT")
        except BaseException:
            # On a full disk SQLite has rolled back by itself, and a commit that failed otherwise
            # has not: left open, the transaction would refuse every later one.
            if self._sure.in_transaction:
                self._sure.execute("ROLLBACK")
            raise

    def _rows(self, sql: str, *values: Value) -> list[tuple[Any, ...]]:
        with _errors():
            return self._sure.execute(sql, values).fetchall()

    def _write(self, sql: str, *values: Value) -> int:
        with _errors():
            return self._sure.execute(sql, values).rowcount

    def _one(self, table: Table[V], where: str, *values: Value) -> V | None:
        return next(iter(self._genuine(table, where, *values)), None)

    def _genuine(self, table: Table[V], where: str, *values: Value) -> list[V]:
        """Read the rows whose seals hold; report the others."""
        rows = self._rows(f"SELECT {table.names} FROM {table.name} WHERE {where}", *values)
        return [table.value(row) for row in rows if self._is_genuine(table, row)]

    def _is_genuine(self, table: Table[V], row: tuple[Any, ...]) -> bool:
        if not table.sealed or self._seals.holds(row[-1], table.name, *row[:-1]):
            return True
        self.tampered += 1
        log.error("a row of {table} was tampered with", table=table.name, row=repr(row[0])[:80])
        return False

    def _insert(self, table: Table[V], value: V, *, replace: bool = False) -> None:
        row = table.row(value)
        verb = "INSERT OR REPLACE" if replace else "INSERT"
        self._write(
            f"{verb} INTO {table.name} ({table.names}) VALUES ({_marks(row)}, ?)",
            *row,
            self._seals.seal(table.name, *row),
        )


@define(eq=False)
class _SqliteChange:
    """A transaction on requests and votes; see `Change`."""

    _store: SqliteStore

    def request(self, request: str) -> Request | None:
        return self._store.request(request)

    def waiting(self, join_key: bytes) -> Request | None:
        return self._store._one(REQUESTS, "join_key = ? AND state = 'requested'", join_key)

    def count_waiting(self, root: str | None = None) -> int:
        rows = self._store._rows(
            "SELECT count(*) FROM requests WHERE state = 'requested'"
            " AND (?1 IS NULL OR json_extract(principal, '$.chain[0].id') = ?1)",
            root,
        )
        return int(rows[0][0])

    def votes(self, request: str) -> Sequence[Vote]:
        return self._store.votes(request)

    def add_request(self, request: Request) -> None:
        self._store._insert(REQUESTS, request)

    def replace(self, old: Request, new: Request) -> bool:
        seals = self._store._seals
        moved = self._store._write(
            "UPDATE requests SET reason = ?, state = ?, settled = ?, usable_until = ?, note = ?,"
            " seal = ? WHERE id = ? AND state = ? AND seal = ?",
            new.reason,
            new.state,
            new.settled,
            new.usable_until,
            new.note,
            seals.seal(REQUESTS.name, *REQUESTS.row(new)),
            old.id,
            old.state,
            seals.seal(REQUESTS.name, *REQUESTS.row(old)),
        )
        return moved == 1

    def set_aside(self, request: str) -> None:
        self._store._write("UPDATE requests SET state = 'withdrawn' WHERE id = ?", request)

    def put_vote(self, vote: Vote) -> None:
        self._store._insert(VOTES, vote, replace=True)


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


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))
