"""Tests for ``hoopgw request`` and ``hoopgw grants``, against a real control process over TLS."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.cli.test_gateway import CommandCase
from tests.control.gateway_case import CAROL
from tests.grants.case import EVE, OFFERS, OLGA, SAM

ASKED = ("--target", "orders", "--for", "15m", "--reason", "ticket \x1b[2J7")


class GrantCommandTests(CommandCase):
    """Asking, deciding, ending."""

    policy = OFFERS

    async def test_asked_and_granted(self) -> None:
        """From what is offered to the end, in words and as JSON."""
        offers = await self.hoopgw(EVE, "grants", "offers", "--target", "orders")
        self.assertIn("read-orders", offers.output)
        asked = await self.hoopgw(EVE, "request", "--grant", "read-orders", *ASKED, "--json")
        grant = asked.json["id"]
        listed = await self.hoopgw(CAROL, "grants", "list", "--state", "requested")
        self.assertIn(grant, listed.output)
        shown = await self.hoopgw(CAROL, "grants", "show", grant)
        self.assertIn("ticket  [2J7", shown.output)
        self.assertNotIn("\x1b", shown.output + listed.output)
        refused = await self.hoopgw(EVE, "grants", "approve", grant)
        self.assertEqual(refused.status, 1)
        given = await self.hoopgw(CAROL, "grants", "approve", grant, "--comment", "go")
        self.assertEqual(given.status, 0, given.errors)
        self.assertIn("is granted until", given.output)
        more = await self.hoopgw(
            EVE, "grants", "extend", grant, "--for", "10m", "--reason", "more", "--json"
        )
        self.assertEqual((more.json["state"], more.json["extends"]), ("requested", grant))
        denied = await self.hoopgw(CAROL, "grants", "deny", more.json["id"])
        self.assertIn("is denied", denied.output)
        ended = await self.hoopgw(EVE, "grants", "revoke", grant, "--comment", "done")
        self.assertIn("is revoked", ended.output)
        shown = await self.hoopgw(EVE, "grants", "show", grant)
        self.assertIn("carol approved", shown.output)

    async def test_waited_for(self) -> None:
        """The command ends when it is decided; its status says how."""
        for verb, status in (("approve", 0), ("deny", 1)):
            waiting = Deferred.fromCoroutine(
                self.hoopgw(EVE, "request", "--action", "select", *ASKED, "--wait")
            )
            while not (names := self.store.grants.ids(["requested"], 1)):
                await deferLater(reactor, 0.02)
            await self.hoopgw(CAROL, "grants", verb, names[0])
            done = await waiting
            self.assertEqual(done.status, status, done.errors)

    async def test_wrong_use(self) -> None:
        for arguments in (
            ("request", *ASKED),
            ("request", *ASKED, "--grant", "a", "--action", "b"),
            ("request", "--target", "orders", "--grant", "a", "--for", "soon", "--reason", "x"),
            ("grants", "close", "g-1"),
        ):
            self.assertEqual((await self.hoopgw(EVE, *arguments)).status, 2, arguments)

    async def test_broken_glass(self) -> None:
        """Taken at once by the one offer that there is; listed until it is closed."""
        asked = ("--target", "orders", "--reason", "outage")
        other = await self.hoopgw(EVE, "grants", "breakglass", *asked)
        self.assertIn("break no glass", other.errors)
        taken = await self.hoopgw(OLGA, "grants", "breakglass", *asked)
        self.assertEqual(taken.status, 0, taken.errors)
        self.assertIn("security will look at all that you do", taken.output.replace("\n", " "))
        listed = await self.hoopgw(SAM, "grants", "reviews", "--json")
        (item,) = listed.json["grants"]
        closed = await self.hoopgw(SAM, "grants", "close", item["id"], "--comment", "seen")
        self.assertEqual(closed.output, f"the review of {item['id']} is closed\n")
        empty = await self.hoopgw(SAM, "grants", "reviews")
        self.assertEqual(empty.output, "all broken glass was looked at\n")
        shown = await self.hoopgw(SAM, "grants", "show", item["id"])
        self.assertIn("closed by corp|sam: seen", shown.output)
