"""One SQLite connection whose rows are sealed: what the parts of the store share.

Statements are put together from constants of this room alone; every value is bound.
"""
# ruff: noqa: S608  # see the last sentence above

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from attrs import define, field
from twisted.logger import Logger

from hoopgw.errors import UnavailableError
from hoopgw.store.seals import SealKey, Value
from hoopgw.store.sqlite_rows import Table

log = Logger()

V = TypeVar("V")


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn what SQLite and the disk raise into `UnavailableError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise UnavailableError(f"the store cannot be used: {error}") from error


@define(eq=False)
class SealedDatabase:
    """Reads and writes rows under their seals. Every call raises `UnavailableError`."""

    connection: sqlite3.Connection
    seals: SealKey
    tampered: int = field(default=0, init=False)
    """How often a row was read whose seal did not hold."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the one write lock there is; all or nothing."""
        with store_errors():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                # On a full disk SQLite has rolled back by itself, and a commit that failed
                # otherwise has not: left open, it would refuse every later one.
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def rows(self, sql: str, *values: Value) -> list[tuple[Any, ...]]:
        """Read."""
        with store_errors():
            return self.connection.execute(sql, values).fetchall()

    def write(self, sql: str, *values: Value) -> int:
        """Write; return how many rows changed."""
        with store_errors():
            return self.connection.execute(sql, values).rowcount

    def one(self, table: Table[V], where: str, *values: Value) -> V | None:
        """Read the first row that is there and genuine."""
        return next(iter(self.genuine(table, where, *values)), None)

    def genuine(self, table: Table[V], where: str, *values: Value) -> list[V]:
        """Read the rows whose seals hold; report the others."""
        found = self.rows(f"SELECT {table.names} FROM {table.name} WHERE {where}", *values)
        return [table.value(row) for row in found if self._is_genuine(table, row)]

    def insert(self, table: Table[V], value: V, *, replace: bool = False) -> None:
        """Insert a value with its seal."""
        row = table.row(value)
        verb = "INSERT OR REPLACE" if replace else "INSERT"
        self.write(
            f"{verb} INTO {table.name} ({table.names}) VALUES ({marks(row)}, ?)",
            *row,
            self.seal(table, value),
        )

    def seal(self, table: Table[V], value: V) -> bytes:
        """Return the seal of a value's row."""
        return self.seals.seal(table.name, *table.row(value))

    def _is_genuine(self, table: Table[V], row: tuple[Any, ...]) -> bool:
        if not table.sealed or self.seals.holds(row[-1], table.name, *row[:-1]):
            return True
        self.tampered += 1
        log.error("a row of {table} was tampered with", table=table.name, row=repr(row[0])[:80])
        return False


def marks(values: Collection[object]) -> str:
    """Return a question mark for each value."""
    return ", ".join("?" for _ in values)
