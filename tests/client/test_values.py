"""Caps, times and budgets as they are written, and what opens a target."""

from __future__ import annotations

import subprocess
import sys

import psycopg.conninfo
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.client.errors import Refused
from hoopgw.client.values import (
    Access,
    check_within,
    covers,
    parse_budget,
    parse_caps,
    parse_duration,
    shown,
)
from hoopgw.events import Budget, Cap
from tests.support.processes import python_environment

ACCESS = Access(
    target="orders",
    host="gw.example",
    port=6432,
    database="orders/archive",
    user="app reader",
    password="a~b~c?/@:",
    ca="/etc/ca.pem",
    expires=0.0,
)


class CapsTests(SynchronousTestCase):
    """``--allow``."""

    def test_they_add_up(self) -> None:
        """Several for one target are one cap."""
        given = ["orders:Postgres::read", "orders:Postgres::insert,Postgres::set", "*:*"]
        orders = frozenset({"Postgres::read", "Postgres::insert", "Postgres::set"})
        expected = (Cap(target="orders", actions=orders), Cap(target="*", actions=frozenset("*")))
        self.assertEqual(parse_caps(given), expected)
        self.assertEqual(parse_caps(shown(expected).split()), expected)

    def test_none_is_not_nothing(self) -> None:
        """No caps are the parent's; an empty list would be a child that may do nothing."""
        self.assertIsNone(parse_caps(None))
        self.assertRaises(Refused, parse_caps, [])

    def test_what_is_none(self) -> None:
        """Each is refused, with how to write it."""
        for wrong in ("orders", ":x", "orders:", "orders:a,,b", ""):
            error = self.assertRaises(Refused, parse_caps, [wrong])
            self.assertIn("TARGET:ACTION", error.hint)

    def test_within(self) -> None:
        """What only the gateway can compare passes here; it asks every hop."""
        held = parse_caps(["orders:Postgres::read", "*:Ssh::exec"])
        for fine in ("orders:Postgres::select", "orders:Postgres::read", "host:Ssh::exec"):
            check_within(parse_caps([fine]), held)
        check_within(None, held)
        check_within(parse_caps(["*:*"]), None)
        self.assertRaises(Refused, check_within, parse_caps(["orders:*"]), held)

    def test_covers(self) -> None:
        """By the target's name, or all."""
        self.assertTrue(covers(parse_caps(["*:x"]), "orders"))
        self.assertTrue(covers(None, "orders"))
        self.assertFalse(covers(parse_caps(["orders:x"]), "order"))


class WrittenTests(SynchronousTestCase):
    """Times and budgets."""

    def test_times(self) -> None:
        """Seconds, or with a unit."""
        for text, seconds in (("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400)):
            self.assertEqual(parse_duration(text), seconds)
        for text in ("", "0", "0m", "-1m", "1w", "m", "1.5h", "\u0661m", "99999999d"):
            self.assertRaises(Refused, parse_duration, text)

    def test_budgets(self) -> None:
        """Known amounts, each once."""
        self.assertEqual(parse_budget(["operations=10", "rows=5"]), Budget(operations=10, rows=5))
        self.assertIsNone(parse_budget([]))
        for wrong in (["operations"], ["cpu=1"], ["rows=-1"], ["rows=1", "rows=2"], ["rows=²"]):
            self.assertRaises(Refused, parse_budget, wrong)


class AccessTests(SynchronousTestCase):
    """What opens one connection."""

    def test_a_url_means_the_same(self) -> None:
        """Libpq reads from the URL what the arguments say, whatever is in them."""
        read = psycopg.conninfo.conninfo_to_dict(ACCESS.url)
        self.assertEqual(read, {n: str(v) for n, v in ACCESS.psycopg().items()})

    def test_no_secret_is_shown(self) -> None:
        """Not in a traceback or a log."""
        self.assertNotIn(ACCESS.password, repr(ACCESS))


class LoadingTests(SynchronousTestCase):
    """What the library pulls in."""

    def test_neither_twisted_nor_cedar(self) -> None:
        """Programs that use it are not servers."""
        code = (
            "import sys, hoopgw.client, hoopgw_postgres.door, hoopgw.client.logins\n"
            "print({m.partition('.')[0] for m in sys.modules} & {'twisted', 'cedarpy', 'zope'})"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=python_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(done.stdout, "set()\n")
