"""Tests for `hoopgw.store.resealing`, and of certificates in the store."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import UnavailableError
from hoopgw.store.certificate_rows import CertificateRow
from hoopgw.store.resealing import SEALED
from hoopgw.store.rows import AgentRow
from hoopgw.store.sqlite import SqliteStore
from tests.store.values import KEY, open_store

OTHER = b"o" * 32
AGENT = AgentRow(name="local", serial="abc", enrolled=1.0, expires=2e9)
CERTIFICATE = CertificateRow(
    serial=2**150 + 5,
    kind="x509",
    login="login-alice",
    lineage=("login-alice", "node-planner", "cert:7"),
    issued=1000.0,
    expires=2000.0,
)


class StoreCase(SynchronousTestCase):
    """A store with something in it."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.store = open_store(self.path)
        self.addCleanup(lambda: self.store.close())
        for number in range(3):
            self.store.put_agent(evolve(AGENT, name=f"agent-{number}"))
        self.store.certificates.keep(CERTIFICATE, [10])

    def reopen(self, *keys: bytes) -> SqliteStore:
        self.store.close()
        self.store = SqliteStore.open(self.path, *keys)
        return self.store


class ResealTests(StoreCase):
    """Another key."""

    def test_every_sealed_table(self) -> None:
        """Whoever adds a table with a seal adds it here."""
        database = sqlite3.connect(self.path)
        self.addCleanup(database.close)
        tables = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        sealed = {
            name
            for (name,) in tables.fetchall()
            if database.execute(
                "SELECT 1 FROM pragma_table_info(?) WHERE name = 'seal'", (name,)
            ).fetchone()
        }
        self.assertEqual({table.name for table in SEALED}, sealed)
        self.assertTrue(all(table.sealed for table in SEALED))

    def test_resealed(self) -> None:
        """Under the new key all is as before; under the old one, nothing is."""
        self.store.reseal(OTHER)
        self.assertEqual(len(self.store.agents()), 3)
        self.store.put_agent(evolve(AGENT, name="later"))
        self.assertEqual(len(self.reopen(OTHER).agents()), 4)
        self.assertEqual(self.store.certificates.find(CERTIFICATE.serial), CERTIFICATE)
        self.assertEqual(self.store.tampered, 0)
        self.assertEqual(len(self.reopen(KEY).agents()), 0)

    def test_both(self) -> None:
        """While the key is replaced, what either has sealed is genuine."""
        self.store.reseal(OTHER)
        self.assertEqual(len(self.reopen(KEY, OTHER).agents()), 3)
        self.store.reseal(OTHER)  # again, as after a crash
        self.assertEqual(len(self.reopen(OTHER).agents()), 3)

    def test_what_was_forged_stays_forged(self) -> None:
        """A new key is no amnesty."""
        database = sqlite3.connect(self.path)
        database.execute("UPDATE agents SET serial = 'evil' WHERE name = 'agent-1'")
        database.commit()
        database.close()
        self.store.reseal(OTHER)
        self.assertEqual([row.name for row in self.store.agents()], ["agent-0", "agent-2"])
        names = [row.name for row in self.reopen(OTHER).agents()]
        self.assertEqual(names, ["agent-0", "agent-2"])

    def test_all_or_nothing(self) -> None:
        """A store that cannot be written keeps its seals and its key."""
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        self.assertRaises(UnavailableError, self.store.reseal, OTHER)
        other.execute("ROLLBACK")
        self.assertEqual(len(self.store.agents()), 3)
        self.assertEqual(len(self.reopen(KEY).agents()), 3)


class CertificateTests(StoreCase):
    """Certificates of callers."""

    def test_revoked_by_lineage(self) -> None:
        """What ends its log-in, a delegation of it or itself ends it; nothing else does."""
        store = self.store.certificates
        self.assertEqual(store.revoked("x509", 1500.0), [])
        self.store.revoke("login-bob", 9e9)
        self.assertEqual(store.revoked("x509", 1500.0), [])
        for node in CERTIFICATE.lineage:
            with self.subTest(node):
                self.setUp()
                self.store.revoke(node, 9e9)
                store = self.store.certificates
                self.assertEqual(store.revoked("x509", 1500.0), [CERTIFICATE.serial])
                self.assertEqual(store.revoked("ssh", 1500.0), [])
                self.assertEqual(store.revoked("x509", 2000.0), [])

    def test_limit(self) -> None:
        """One log-in has so many at one time; others and those that have ended do not count."""
        store = self.store.certificates
        self.assertFalse(store.keep(evolve(CERTIFICATE, serial=1), [1]))
        self.assertIsNone(store.find(1))
        self.assertTrue(store.keep(evolve(CERTIFICATE, serial=2, login="other"), [1]))
        self.assertTrue(store.keep(evolve(CERTIFICATE, serial=3, issued=2500.0), [1]))

    def test_purged(self) -> None:
        self.store.purge(2059.0, 0.0)
        self.assertIsNotNone(self.store.certificates.find(CERTIFICATE.serial))
        self.store.purge(2061.0, 0.0)
        self.assertIsNone(self.store.certificates.find(CERTIFICATE.serial))
