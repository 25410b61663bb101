"""Tests of `hoopgw.store.migrate`."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError, UnavailableError
from hoopgw.store.migrate import known_migrations, migrate, statements
from tests.store.values import open_store

FIRST = {1: "CREATE TABLE a (x);"}
BOTH = {**FIRST, 2: "CREATE TABLE b (x);\nINSERT INTO b VALUES ('one; two');"}


class MigrateTests(SynchronousTestCase):
    """Migrations on a real file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(self.connection.close)

    def version(self) -> int:
        """Return the schema's number."""
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])

    def test_only_what_is_missing_is_applied(self) -> None:
        migrate(self.connection, self.path, FIRST)
        self.assertEqual(self.version(), 1)
        migrate(self.connection, self.path, BOTH)
        migrate(self.connection, self.path, BOTH)
        self.assertEqual(self.version(), 2)
        self.assertEqual(self.connection.execute("SELECT x FROM b").fetchall(), [("one; two",)])

    def test_a_newer_store_is_refused(self) -> None:
        """And the text says what to do."""
        migrate(self.connection, self.path, BOTH)
        error = self.assertRaises(ConfigError, migrate, self.connection, self.path, FIRST)
        self.assertIn("schema 2; this one knows 1", str(error))

    def test_a_broken_migration_leaves_nothing(self) -> None:
        broken = {**FIRST, 2: "CREATE TABLE b (x);\nCREATE TABLE a (x);"}
        self.assertRaises(sqlite3.Error, migrate, self.connection, self.path, broken)
        self.assertEqual(self.version(), 0)
        self.assertEqual(self.connection.execute("SELECT name FROM sqlite_master").fetchall(), [])

    def test_a_statement_without_an_end_is_a_mistake(self) -> None:
        self.assertRaises(ValueError, list, statements("SELECT 1;\nSELECT 2"))

    def test_the_shipped_ones_are_numbered_without_a_gap(self) -> None:
        self.assertEqual(list(known_migrations()), list(range(1, len(known_migrations()) + 1)))


class OpenTests(SynchronousTestCase):
    """Opening the store itself."""

    def test_two_may_open_a_new_store_at_once(self) -> None:
        """One makes the tables, the others find them."""
        path, failed = Path(self.mktemp()), list[Exception]()

        def begin() -> None:
            try:
                open_store(path).close()
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=begin) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])

    def test_only_the_owner_may_read_it(self) -> None:
        path = Path(self.mktemp())
        store = open_store(path)
        self.addCleanup(store.close)
        for file in path.parent.glob(path.name + "*"):
            self.assertEqual(file.stat().st_mode & 0o777, 0o600, file.name)

    def test_what_is_no_database_is_not_overwritten(self) -> None:
        path = Path(self.mktemp())
        path.touch(mode=0o600)
        path.write_bytes(b"not a database, but longer than a header" * 100)
        self.assertRaises(UnavailableError, open_store, path)
        self.assertTrue(path.read_bytes().startswith(b"not a database"))
