"""Tests for grants in the store."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import UnavailableError
from hoopgw.store.grant_rows import GrantRow, GrantState, ReviewState
from tests.store.values import ALICE, ALICES_AGENT, CAROL, digest, open_store

ROW = GrantRow(
    id="g-1",
    name="read",
    template="t-read",
    terms="0" * 32,
    principal=ALICES_AGENT,
    target="orders",
    scope="call",
    digest=digest("select 7"),
    text=b"select '\xff'",
    seconds=600.0,
    reason="why",
    extends="g-0",
    approvers=frozenset({"dba", "a\nb"}),
    created=5.0,
)
ACTIVE = evolve(ROW, state="active", began=6.0, ends=606.0, note="approved by carol")


class GrantTests(SynchronousTestCase):
    """What is kept comes back, and moves once."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.store = open_store(self.path)
        self.addCleanup(self.store.close)
        self.grants = self.store.grants

    def test_kept(self) -> None:
        """Every value of it, over a restart."""
        full = evolve(
            ACTIVE,
            breakglass=True,
            session="s-1",
            ended=7.0,
            review="closed",
            reviewer=CAROL.root.id,
            comment="fine",
            reviewed=8.0,
        )
        self.grants.add(full)
        again = open_store(self.path)
        self.addCleanup(again.close)
        self.assertEqual(again.grants.find("g-1"), full)
        self.assertIsNone(again.grants.find("g-2"))

    def test_moved_once(self) -> None:
        """Of two who read the same, one moves it."""
        self.grants.add(ROW)
        self.assertTrue(self.grants.move(ROW, ACTIVE))
        self.assertFalse(self.grants.move(ROW, evolve(ROW, state="denied")))
        self.assertEqual(self.grants.find("g-1"), ACTIVE)

    def test_moved_in_one_with_a_request(self) -> None:
        """What fails leaves nothing behind."""
        self.grants.add(ROW)
        with self.assertRaises(UnavailableError), self.store.change():
            self.assertTrue(self.grants.move(ROW, ACTIVE))
            raise UnavailableError("the rest cannot be done")
        self.assertEqual(self.grants.find("g-1"), ROW)

    def test_lists_and_counts(self) -> None:
        states: list[GrantState] = ["requested", "active", "active", "revoked"]
        for number, state in enumerate(states):
            alices = evolve(ROW, id=f"g-{number}", created=float(number), principal=ALICE)
            self.grants.add(evolve(alices, state=state))
        self.grants.add(evolve(ROW, id="g-9", review="open", state="expired"))
        self.assertEqual(self.grants.ids(["active"], 10), ["g-2", "g-1"])
        self.assertEqual(self.grants.ids(None, 2), ["g-9", "g-3"])
        self.assertEqual(self.grants.count("active"), 2)
        self.assertEqual(self.grants.count("active", ALICE.root.id), 2)
        self.assertEqual(self.grants.count("active", CAROL.root.id), 0)
        self.assertEqual(dict(self.grants.counts())["active"], 2)
        self.assertEqual(self.grants.open_reviews(9), ["g-9"])
        self.assertEqual(self.grants.count_unreviewed(), 1)

    def test_purged(self) -> None:
        """What ended long ago, unless somebody has yet to look at it."""
        kept: list[tuple[str, GrantState, ReviewState]] = [
            ("g-1", "requested", "none"),
            ("g-2", "active", "none"),
            ("g-3", "expired", "none"),
            ("g-4", "expired", "open"),
            ("g-5", "expired", "closed"),
        ]
        for name, state, review in kept:
            self.grants.add(evolve(ROW, id=name, state=state, review=review))
        self.store.purge(1000.0, 100.0)
        self.assertEqual(sorted(self.grants.ids(None, 9)), ["g-1", "g-2", "g-4"])

    def test_tampered(self) -> None:
        """A changed row is reported, and not there."""
        self.grants.add(ACTIVE)
        with sqlite3.connect(self.path) as database:
            database.execute("UPDATE grants SET ends = 9e9")
        before = self.store.tampered
        self.assertIsNone(self.grants.find("g-1"))
        self.assertEqual(self.store.tampered, before + 1)
        self.assertEqual(len(self.flushLoggedErrors()), 0)
