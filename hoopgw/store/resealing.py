"""Seal every row of the store anew, with another key: in one transaction, or not at all.

A row whose seal does not hold is left as it is, so that it does not hold under the new key either.
"""
# ruff: noqa: S608  # statements are put together from this room's constants alone

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hoopgw.store.sealed import SealedDatabase
from hoopgw.store.seals import SealKey
from hoopgw.store.sqlite_certificates import CERTIFICATES
from hoopgw.store.sqlite_grants import GRANTS
from hoopgw.store.sqlite_logins import LOGINS
from hoopgw.store.sqlite_nodes import NODES, SPENT
from hoopgw.store.sqlite_revocations import REVOKED
from hoopgw.store.sqlite_rows import AGENTS, JOIN_TOKENS, PASSWORDS, REQUESTS, VOTES, Table

SEALED: Final[tuple[Table[Any], ...]] = (
    REQUESTS,
    VOTES,
    PASSWORDS,
    AGENTS,
    JOIN_TOKENS,
    LOGINS,
    NODES,
    SPENT,
    CERTIFICATES,
    GRANTS,
    REVOKED,
)
"""Every table with a seal; a test compares with the database."""


def reseal(
    database: SealedDatabase, key: bytes, also: Callable[[SealKey], None] = lambda _key: None
) -> None:
    """Seal all genuine rows with a key, which seals from then on.

    Args:
        database: where they are.
        key: the other key.
        also: seals what is in no row, in the same transaction.

    Raises:
        UnavailableError: the store cannot be written; nothing has changed.

    """
    fresh = SealKey(key)
    with database.transaction():
        for table in SEALED:
            _reseal(database, table, fresh)
        also(fresh)
    database.seals = fresh


def _reseal(database: SealedDatabase, table: Table[Any], fresh: SealKey) -> None:
    info = f"SELECT name FROM pragma_table_info('{table.name}') WHERE pk ORDER BY pk"
    primary = [str(row[0]) for row in database.rows(info)]
    where = " AND ".join(f"{name} = ?" for name in primary)
    for key in database.rows(f"SELECT {', '.join(primary)} FROM {table.name}"):
        # One by one: a row of requests may hold a text of megabytes.
        row = database.rows(f"SELECT {table.names} FROM {table.name} WHERE {where}", *key)[0]
        if database.seals.holds(row[-1], table.name, *row[:-1]):
            seal = fresh.seal(table.name, *row[:-1])
            database.write(f"UPDATE {table.name} SET seal = ? WHERE {where}", seal, *key)
