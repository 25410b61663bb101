"""What was ended before its time, in SQLite, and what time it is at least.

Each row is sealed, so one that was forged or changed is found. A seal cannot show that a row is
gone; therefore one more row, the head, has a MAC over how many there are and over a sum of another
MAC of each. The sum itself is never written, so nobody without the key can make rows that add up to
the same, however many they have seen. The head also bears the greatest time at which control has
looked: what ended before may have been forgotten since, so for control it is never earlier.

When the store is opened and its rows are not those of the head, something is missing, and nobody
can say what: then every question fails (`UnavailableError`) until the operator has accepted it. In
the life of the process it is its memory that counts, and rows deleted behind its back are put back.

What this does not show: that rows and head were put back together, as with an older copy of the
whole store.
"""
# ruff: noqa: S608  # put together from constants of this module; every value is bound

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from attrs import define, field, frozen
from twisted.logger import Logger

from hoopgw.errors import UnavailableError
from hoopgw.store.sealed import SealedDatabase
from hoopgw.store.seals import SealKey
from hoopgw.store.sqlite_rows import Column, Table

log = Logger()

FORGET_AFTER: Final = 60.0
"""Seconds after its end for which anything is still remembered: more than clocks differ."""
INCOMPLETE: Final = (
    "what was revoked is not all there any more, or not what time it was, so nobody can be let in:"
    " it was tampered with, or its key is another; see 'hoopgw store accept' in hoopgw(1)"
)
_HEAD: Final = "revoked_head"
_ITEM: Final = "revoked_item"
_MODULUS: Final = 2**256


@frozen(kw_only=True)
class RevokedRow:
    """A log-in, a delegation, a certificate or a token that was ended."""

    node: str
    expires: float
    """When it can be forgotten."""


REVOKED: Final = Table(
    "revoked",
    RevokedRow,
    (Column("node", lambda r: r.node), Column("expires", lambda r: r.expires)),
)


@define(eq=False)
class SqliteRevocations:
    """Implements what `hoopgw.store.rows.Store` says of revocations, and of time."""

    _db: SealedDatabase
    problem: str = field(default="", init=False)
    """Why it is not known what was revoked; empty if it is."""
    time: float = field(default=0.0, init=False)
    """Seconds since the epoch that have passed, at least."""
    _ends: dict[str, float] = field(factory=dict, init=False, repr=False)
    _total: int = field(default=0, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._ends = {row.node: row.expires for row in self._db.genuine(REVOKED, "true")}
        self._total = _total(self._db.seals, self._ends)
        head = self._db.rows(f"SELECT count, time, mac FROM {_HEAD}")
        if head and self._is_head(*head[0]):
            self.time = float(head[0][1])
            return
        self.problem = INCOMPLETE
        self._db.tampered += 1
        log.error("revocations are missing in the store, or what time it was: it was tampered with")

    def revoke(self, node: str, expires: float, along: Callable[[], None]) -> None:
        """Remember one until then, in one transaction with what ``along`` writes."""
        self._check()
        before = self._ends.get(node)
        # A whole number would come back as another kind of value, and its seal would not hold.
        row = RevokedRow(node=node, expires=max(float(expires), before or 0.0))
        total = self._total + _item(self._db.seals, node, row.expires)
        if before is not None:
            total -= _item(self._db.seals, node, before)
        with self._db.transaction():
            self._db.insert(REVOKED, row, replace=True)
            self._write_head(len(self._ends) + (before is None), total, self.time)
            along()
        self._total, self._ends[node] = total, row.expires

    def is_revoked(self, lineage: Iterable[str]) -> bool:
        """Look each up."""
        self._check()
        return any(node in self._ends for node in lineage)

    def all(self) -> Mapping[str, float]:
        """Return all, with when each can be forgotten."""
        self._check()
        return dict(self._ends)

    def __len__(self) -> int:
        return len(self._ends)

    def note_time(self, now: float) -> None:
        """Keep what time it is, if that is later than what is kept."""
        now = float(now)
        if self.problem or now <= self.time:
            return
        with self._db.transaction():
            self._write_head(len(self._ends), self._total, now)
        self.time = now

    def purge(self, now: float) -> None:
        """Forget what ended some time before now, which was noted; put back what is missing."""
        kept = {node: end for node, end in self._ends.items() if end >= now - FORGET_AFTER}
        gone = {node: end for node, end in self._ends.items() if node not in kept}
        total = self._total - _total(self._db.seals, gone)
        with self._db.transaction():
            self._db.write("DELETE FROM revoked WHERE expires < ?", now - FORGET_AFTER)
            if dict(self._db.rows("SELECT node, expires FROM revoked")) != kept:
                self._db.tampered += 1
                log.error("revocations were changed in the store, and are put back")
                self._db.write("DELETE FROM revoked")
                for node, end in kept.items():
                    self._db.insert(REVOKED, RevokedRow(node=node, expires=end))
            self._write_head(len(kept), total, self.time)
        self._ends, self._total = kept, total

    def accept(self, now: float, along: Callable[[], None]) -> None:
        """Take what is there for all, and this for the time, with what ``along`` writes."""
        now = float(now)
        with self._db.transaction():
            self._write_head(len(self._ends), self._total, now)
            along()
        self.problem, self.time = "", now

    def reseal(self, fresh: SealKey) -> None:
        """Write the head under another key, inside a transaction. One that is not good stays so."""
        if not self.problem:
            total = _total(fresh, self._ends)
            self._write_head(len(self._ends), total, self.time, fresh)

    def resealed(self) -> None:
        """Take it that the database has another key."""
        self._total = _total(self._db.seals, self._ends)

    def _check(self) -> None:
        if self.problem:
            raise UnavailableError(self.problem)

    def _is_head(self, count: int, time: float, mac: bytes) -> bool:
        """Whether the head is of these rows, under any key that counts."""
        if count != len(self._ends):
            return False
        first, *others = self._db.seals.each()
        if first.holds(mac, *_head(count, self._total, time)):
            return True
        return any(key.holds(mac, *_head(count, _total(key, self._ends), time)) for key in others)

    def _write_head(self, count: int, total: int, time: float, key: SealKey | None = None) -> None:
        mac = (key or self._db.seals).seal(*_head(count, total, time))
        sql = f"INSERT OR REPLACE INTO {_HEAD} (one, count, time, mac) VALUES (1, ?, ?, ?)"
        self._db.write(sql, count, time, mac)


def begin_revocations(database: SealedDatabase) -> None:
    """Seal what is there, and write the first head: for a store that has never had one."""
    found = database.rows("SELECT node, expires FROM revoked")
    ends = {str(node): float(end) for node, end in found}
    for node, end in ends.items():
        database.insert(REVOKED, RevokedRow(node=node, expires=end), replace=True)
    mac = database.seals.seal(*_head(len(ends), _total(database.seals, ends), 0.0))
    sql = f"INSERT OR REPLACE INTO {_HEAD} (one, count, time, mac) VALUES (1, ?, 0.0, ?)"
    database.write(sql, len(ends), mac)


def _head(count: int, total: int, time: float) -> tuple[str, int, bytes, float]:
    """Return what the head's MAC is over."""
    return _HEAD, count, (total % _MODULUS).to_bytes(32, "big"), time


def _total(key: SealKey, ends: Mapping[str, float]) -> int:
    return sum(_item(key, node, end) for node, end in ends.items())


def _item(key: SealKey, node: str, expires: float) -> int:
    return int.from_bytes(key.seal(_ITEM, node, expires), "big")
