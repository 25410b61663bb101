"""Tests for `hoopgw.store.sqlite_revocations`: what was revoked, and what time it is at least."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import UnavailableError
from hoopgw.store.migrate import known_migrations, migrate
from hoopgw.store.sqlite import SqliteStore
from hoopgw.store.sqlite_revocations import FORGET_AFTER
from tests.store.values import KEY, open_store

OTHER = b"o" * 32
STEPS = st.tuples(
    st.sampled_from(["revoke", "revoke", "purge", "note", "reseal", "open"]),
    st.integers(0, 3),
    st.floats(0.0, 1000.0),
)


class RevocationCase(SynchronousTestCase):
    """A store in which three things were revoked."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.store = open_store(self.path)
        self.addCleanup(lambda: self.store.close())
        for number in range(3):
            self.store.revoke(f"node-{number}", 1000.0 + number)

    def alter(self, sql: str) -> None:
        """Change the file behind the store's back."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            self.assertGreater(connection.execute(sql).rowcount, 0)
        finally:
            connection.close()

    def reopen(self, *keys: bytes) -> SqliteStore:
        """Open it again, as control does when it starts."""
        self.store.close()
        self.store = SqliteStore.open(self.path, *(keys or (KEY,)))
        return self.store


class TamperTests(RevocationCase):
    """Whoever can write the store, and has not its key."""

    def refused(self) -> None:
        """Check that nobody can be let in."""
        self.reopen()
        self.assertIn("hoopgw store accept", self.store.problem)
        self.assertGreater(self.store.tampered, 0)
        self.assertRaises(UnavailableError, self.store.is_revoked, ["anything"])
        self.assertRaises(UnavailableError, self.store.revoked)
        self.assertRaises(UnavailableError, self.store.revoke, "node-9", 5000.0)

    def test_untouched(self) -> None:
        """All is there, also what was revoked twice and what was forgotten since."""
        self.store.revoke("node-1", 3000.0)
        self.store.revoke("node-1", 2000.0)
        self.store.purge(1000.5 + FORGET_AFTER, 0.0)
        self.assertEqual(self.reopen().revoked(), {"node-1": 3000.0, "node-2": 1002.0})
        self.assertEqual((self.store.problem, self.store.tampered), ("", 0))

    def test_whole_numbers(self) -> None:
        """They are as good as others."""
        self.store.revoke("node-9", 2000)
        self.store.note_time(50)
        self.assertEqual(self.reopen().revoked()["node-9"], 2000.0)
        self.store.accept(60)
        self.assertEqual((self.reopen().problem, self.store.time), ("", 60.0))

    def test_a_row_is_deleted(self) -> None:
        self.alter("DELETE FROM revoked WHERE node = 'node-1'")
        self.assertTrue(self.store.is_revoked(["node-1"]))
        self.refused()

    def test_all_rows_are_deleted(self) -> None:
        """With the head, or with one that says that there are none."""
        self.alter("DELETE FROM revoked")
        self.refused()
        self.alter("UPDATE revoked_head SET count = 0")
        self.refused()
        self.alter("DELETE FROM revoked_head")
        self.refused()

    def test_a_row_is_changed(self) -> None:
        """Another name, or an earlier end so that it is purged."""
        for change in ("node = 'else'", "expires = 1.0"):
            with self.subTest(change):
                self.setUp()
                self.alter(f"UPDATE revoked SET {change} WHERE node = 'node-1'")
                self.refused()

    def test_a_row_in_anothers_place(self) -> None:
        """The number is right, and each seal holds; but one was deleted, one is from before."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        old = connection.execute("SELECT * FROM revoked WHERE node = 'node-0'").fetchone()
        self.store.purge(1000.5 + FORGET_AFTER, 0.0)
        connection.execute("DELETE FROM revoked WHERE node = 'node-1'")
        connection.execute("INSERT INTO revoked VALUES (?, ?, ?)", old)
        connection.close()
        self.refused()

    def test_an_older_head(self) -> None:
        """It is of the rows that were."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        old = connection.execute("SELECT * FROM revoked_head").fetchone()
        self.store.revoke("node-9", 2000.0)
        connection.execute("REPLACE INTO revoked_head VALUES (?, ?, ?, ?)", old)
        connection.close()
        self.refused()

    def test_a_forged_row(self) -> None:
        """It ends nobody's log-in, and is reported; what is genuine counts."""
        self.alter("INSERT INTO revoked VALUES ('victim', 5000.0, x'00')")
        self.assertFalse(self.reopen().is_revoked(["victim"]))
        self.assertTrue(self.store.is_revoked(["node-1"]))
        self.assertEqual((self.store.problem, self.store.tampered), ("", 1))

    def test_what_is_deleted_while_control_lives_comes_back(self) -> None:
        """With the next purge."""
        self.alter("DELETE FROM revoked WHERE node = 'node-1'")
        self.store.purge(10.0, 0.0)
        self.assertEqual(self.store.tampered, 1)
        self.assertEqual(len(self.reopen().revoked()), 3)

    def test_accepted(self) -> None:
        """The operator takes it as it is, for good."""
        self.alter("DELETE FROM revoked WHERE node = 'node-1'")
        self.refused()
        self.store.purge(9e9, 0.0)
        self.store.accept(500.0)
        self.assertFalse(self.store.is_revoked(["node-1"]))
        self.assertTrue(self.reopen().is_revoked(["node-2"]))
        self.assertEqual((self.store.problem, self.store.time), ("", 500.0))


class KeyTests(RevocationCase):
    """Another key of the seals."""

    def test_resealed(self) -> None:
        self.store.reseal(OTHER)
        self.store.revoke("node-9", 2000.0)
        self.assertEqual(len(self.reopen(OTHER).revoked()), 4)
        self.assertEqual((self.store.problem, self.store.tampered), ("", 0))

    def test_while_it_is_replaced(self) -> None:
        """As after a crash between the store and the key's file."""
        self.store.reseal(OTHER)
        self.assertEqual(len(self.reopen(KEY, OTHER).revoked()), 3)
        self.store.revoke("node-9", 2000.0)
        self.assertEqual(len(self.reopen(KEY, OTHER).revoked()), 4)
        self.store.reseal(OTHER)
        self.assertEqual(len(self.reopen(OTHER).revoked()), 4)

    def test_a_new_key_is_no_amnesty(self) -> None:
        self.alter("DELETE FROM revoked WHERE node = 'node-1'")
        self.reopen().reseal(OTHER)
        self.assertNotEqual(self.reopen(OTHER).problem, "")


class AnyOrderTests(SynchronousTestCase):
    """Whatever is done, in whatever order."""

    @settings(max_examples=30)
    @given(st.lists(STEPS, max_size=12))
    def test_as_a_dictionary(self, steps: list[tuple[str, int, float]]) -> None:
        """The store is as what is known of it, and no step makes it look tampered with."""
        path, keys, known = Path(self.mktemp()), [KEY, OTHER], dict[str, float]()
        store, latest = open_store(path), 0.0
        for step, number, time in steps:
            name = f"node-{number}"
            match step:
                case "revoke":
                    store.revoke(name, time)
                    known[name] = max(time, known.get(name, 0.0))
                case "purge":
                    store.purge(time, 0.0)
                    latest = max(latest, time)
                    known = {n: end for n, end in known.items() if end >= time - FORGET_AFTER}
                case "note":
                    store.note_time(time)
                    latest = max(latest, time)
                case "reseal":
                    keys.reverse()
                    store.reseal(keys[0])
                case _:
                    store.close()
                    store = SqliteStore.open(path, *keys[: 1 + number % 2])
            self.assertEqual((store.revoked(), store.time), (known, latest))
            self.assertEqual((store.problem, store.tampered), ("", 0))
        store.close()


class TimeTests(RevocationCase):
    """What has been forgotten must not be new again, whatever the clock says."""

    def test_noted(self) -> None:
        """It grows only, and lasts."""
        self.store.note_time(700.0)
        self.store.note_time(600.0)
        self.assertEqual(self.reopen().time, 700.0)
        self.alter("UPDATE revoked_head SET time = 1.0")
        self.assertNotEqual(self.reopen().problem, "")

    def test_used_proofs_outlive_their_end(self) -> None:
        """By a minute, for clocks that differ."""
        self.assertTrue(self.store.use_once("pop", "j", 500.0))
        self.store.purge(500.0 + FORGET_AFTER - 1, 0.0)
        self.assertFalse(self.store.use_once("pop", "j", 500.0))

    def test_what_was_purged_counts_as_used(self) -> None:
        """Also after a restart, with the clock set back."""
        self.assertTrue(self.store.use_once("pop", "j", 500.0))
        self.store.purge(500.0 + FORGET_AFTER + 1, 0.0)
        for _ in range(2):
            self.assertFalse(self.store.use_once("pop", "j", 500.0))
            self.assertTrue(self.store.use_once("pop", f"k{_}", 502.0))
            self.reopen()


class UpgradeTests(SynchronousTestCase):
    """A store from before there were seals."""

    def test_what_was_revoked_stays_so(self) -> None:
        path = Path(self.mktemp())
        path.touch(mode=0o600)
        connection = sqlite3.connect(path, isolation_level=None)
        migrate(connection, path, {n: sql for n, sql in known_migrations().items() if n < 8})
        connection.execute("INSERT INTO revoked VALUES ('node-1', 900.0)")
        connection.close()
        for _ in range(2):
            store = open_store(path)
            self.assertEqual((store.problem, store.tampered), ("", 0))
            self.assertEqual(store.revoked(), {"node-1": 900.0})
            store.close()
