"""Tests for `hoopgw.link.floor`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import LinkError
from hoopgw.link.floor import Floor, FloorEntry, Mode


def entry(targets: str, accounts: str, mode: Mode = "read-only") -> FloorEntry:
    return FloorEntry(
        targets=frozenset(targets.split()), accounts=frozenset(accounts.split()), mode=mode
    )


class FloorTests(SynchronousTestCase):
    def test_what_is_not_named_is_refused(self) -> None:
        for floor in (Floor(()), Floor((entry("orders", "reader"), entry("ledger", "owner")))):
            for target, account in (("orders", "owner"), ("ledger", "reader"), ("x", "reader")):
                self.assertRaises(LinkError, floor.mode, target, account)

    def test_an_entry_opens_each_of_its_accounts_on_each_of_its_targets(self) -> None:
        floor = Floor((entry("orders ledger", "reader writer", "any"),))
        for target in ("orders", "ledger"):
            for account in ("reader", "writer"):
                self.assertEqual(floor.mode(target, account), "any")

    def test_the_strictest_entry_counts(self) -> None:
        strict, loose = entry("orders", "reader"), entry("orders", "reader writer", "any")
        for floor in (Floor((strict, loose)), Floor((loose, strict))):
            self.assertEqual(floor.mode("orders", "reader"), "read-only")
            self.assertEqual(floor.mode("orders", "writer"), "any")

    def test_there_are_no_patterns(self) -> None:
        floor = Floor((entry("*", "*", "any"),))
        self.assertRaises(LinkError, floor.mode, "orders", "reader")

    def test_an_entry_names_something(self) -> None:
        self.assertRaises(ValueError, entry, "", "reader")
        self.assertRaises(ValueError, entry, "orders", "")
        self.assertRaises(ValueError, entry, "orders", "reader", "all")
