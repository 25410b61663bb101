"""Just-in-time grants in SQLite."""
# ruff: noqa: S608  # put together from constants of this module; every value is bound

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from attrs import define

from hoopgw.store.coding import compact, principal_text, read_principal
from hoopgw.store.grant_rows import GrantRow, GrantState
from hoopgw.store.sealed import SealedDatabase, marks
from hoopgw.store.sqlite_rows import Column, Table

GRANTS: Final = Table(
    "grants",
    GrantRow,
    (
        Column("id", lambda g: g.id),
        Column("name", lambda g: g.name),
        Column("template", lambda g: g.template),
        Column("terms", lambda g: g.terms),
        Column("principal", lambda g: principal_text(g.principal), read_principal),
        Column("target", lambda g: g.target),
        Column("scope", lambda g: g.scope),
        Column("digest", lambda g: g.digest),
        Column("operation", lambda g: g.text, attribute="text"),
        Column("seconds", lambda g: g.seconds),
        Column("reason", lambda g: g.reason),
        Column("extends", lambda g: g.extends),
        Column(
            "approvers",
            lambda g: compact(sorted(g.approvers)),
            lambda text: frozenset(map(str, json.loads(text))),
        ),
        Column("breakglass", lambda g: int(g.breakglass), bool),
        Column("state", lambda g: g.state),
        Column("session", lambda g: g.session),
        Column("created", lambda g: g.created),
        Column("began", lambda g: g.began),
        Column("ends", lambda g: g.ends),
        Column("ended", lambda g: g.ended),
        Column("note", lambda g: g.note),
        Column("review", lambda g: g.review),
        Column("reviewer", lambda g: g.reviewer),
        Column("comment", lambda g: g.comment),
        Column("reviewed", lambda g: g.reviewed),
    ),
)
_NAMES: Final = [column.name for column in GRANTS.columns]
_MOVE: Final = (
    f"UPDATE grants SET {', '.join(f'{name} = ?' for name in _NAMES)}, seal = ?"
    " WHERE id = ? AND seal = ?"
)


@define(eq=False)
class SqliteGrants:
    """Implements `GrantStore` on SQLite."""

    _db: SealedDatabase

    @contextmanager
    def change(self) -> Iterator[None]:
        """Hold the one write lock there is."""
        with self._db.transaction():
            yield

    def find(self, grant: str) -> GrantRow | None:
        """Read one."""
        return self._db.one(GRANTS, "id = ?", grant)

    def ids(self, states: Collection[GrantState] | None, limit: int) -> Sequence[str]:
        """Read which are the newest."""
        wanted = () if states is None else tuple(states)
        where = "true" if states is None else f"state IN ({marks(wanted)})"
        sql = f"SELECT id FROM grants WHERE {where} ORDER BY created DESC LIMIT ?"
        return [str(row[0]) for row in self._db.rows(sql, *wanted, limit)]

    def open_reviews(self, limit: int) -> Sequence[str]:
        """Read which were not looked at yet, the oldest first."""
        sql = "SELECT id FROM grants WHERE review = 'open' ORDER BY created LIMIT ?"
        return [str(row[0]) for row in self._db.rows(sql, limit)]

    def count(self, state: GrantState, root: str | None = None, generation: int = 0) -> int:
        """Count those in a state: all, or one root's."""
        rows = self._db.rows(
            "SELECT count(*) FROM grants WHERE state = ?1"
            " AND (?2 IS NULL OR json_extract(principal, '$.chain[0].id') = ?2)"
            " AND json_array_length(principal, '$.chain') > ?3",
            state,
            root,
            generation,
        )
        return int(rows[0][0])

    def counts(self) -> Mapping[str, int]:
        """Count all by state."""
        return dict(self._db.rows("SELECT state, count(*) FROM grants GROUP BY state"))

    def count_unreviewed(self) -> int:
        """Count those that were not looked at."""
        return int(self._db.rows("SELECT count(*) FROM grants WHERE review = 'open'")[0][0])

    def add(self, row: GrantRow) -> None:
        """Insert one."""
        self._db.insert(GRANTS, row)

    def move(self, old: GrantRow, new: GrantRow) -> bool:
        """Replace what is there, if its seal is that of what was read."""
        values = GRANTS.row(new)
        sealed = self._db.seal(GRANTS, new), old.id, self._db.seal(GRANTS, old)
        return self._db.write(_MOVE, *values, *sealed) == 1

    def purge(self, before: float) -> None:
        """Delete what ended before a time, and is not to be looked at any more."""
        self._db.write(
            "DELETE FROM grants WHERE state NOT IN ('requested', 'active')"
            " AND review <> 'open' AND created < ?",
            before,
        )
