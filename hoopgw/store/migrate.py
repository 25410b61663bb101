"""Bring a SQLite store to this version's schema. The schema's number is in ``user_version``."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from hoopgw.errors import ConfigError

_NAME: Final = re.compile(r"sqlite_([0-9]{4})_[a-z0-9_]+\.sql")


def known_migrations() -> Mapping[int, str]:
    """Return the SQL of each migration by its number, in order.

    Raises:
        ValueError: the numbers are not 1, 2, 3 ...

    """
    found = {
        int(match[1]): entry.read_text()
        for entry in files("hoopgw.store.migrations").iterdir()
        if (match := _NAME.fullmatch(entry.name))
    }
    if sorted(found) != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations are missing or doubled: {sorted(found)}")
    return dict(sorted(found.items()))


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    migrations: Mapping[int, str] | None = None,
    finish: Callable[[int], None] = lambda _before: None,
) -> None:
    """Apply what is missing, all or nothing.

    Args:
        connection: to the store.
        path: of the store, for messages.
        migrations: by number; those of this version if not given.
        finish: does what SQL cannot, last of all, given the number that the store had before.

    Raises:
        ConfigError: the store is newer than the migrations that are known.

    """
    wanted = known_migrations() if migrations is None else migrations
    connection.execute("BEGIN IMMEDIATE")
    try:
        have = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if have > len(wanted):
            raise ConfigError(
                f"{path} was written by a newer hoopgw (schema {have}; this one knows"
                f" {len(wanted)}): start that version, or restore a backup"
            )
        for number in range(have + 1, len(wanted) + 1):
            for statement in statements(wanted[number]):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        finish(have)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # on a full disk SQLite has rolled back by itself
            connection.execute("ROLLBACK")
        raise


def statements(script: str) -> Iterator[str]:
    """Cut a script into statements.

    Raises:
        ValueError: the last one has no end.

    """
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        raise ValueError(f"a statement without an end: {pending[:80]!r}")
