"""Tests for `hoopgw.link.opening`: whose credential a target is opened with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import UnavailableError
from hoopgw.events import Principal
from hoopgw.link.floor import Floor, FloorEntry
from hoopgw.link.opening import TargetOpener
from hoopgw.link.tickets import Ticket, TicketVerifier
from hoopgw.spi import AgentTarget, Opened, TargetLeg
from tests.link.world import principal


@define(eq=False)
class Leg:
    """A protocol that fetches the credential, and no more."""

    fetched: list[bytes] = field(factory=list)

    async def open(self, target: AgentTarget, account: str, _wishes: Mapping[str, Any]) -> Opened:
        """Fetch it."""
        self.fetched.append(await target.accounts[account]())
        return cast("Opened", None)


async def nobody() -> bytes:
    """Refuse."""
    raise UnavailableError("this account has no credential of its own")


async def own() -> bytes:
    """Return what is the same for all."""
    return b"the-account's"


async def of_person(who: Principal, ticket: str) -> bytes:
    """Return what is one person's."""
    return f"{who.root.name} by {ticket}".encode()


class OpeningTests(SynchronousTestCase):
    """Accounts of their own, and of people."""

    def setUp(self) -> None:
        self.leg = Leg()
        self.target = AgentTarget(
            name="arm",
            protocol="azure",
            address="x:443",
            accounts={"deployer": own, "self": nobody},
            personal={"self": of_person},
        )
        self.opener = TargetOpener(
            verifier=TicketVerifier("local", {}, Clock().seconds),
            floor=Floor(
                (
                    FloorEntry(
                        targets=frozenset({"arm"}),
                        accounts=frozenset({"deployer", "self"}),
                        mode="any",
                    ),
                )
            ),
            targets={"arm": self.target},
            legs={"azure": cast("TargetLeg", self.leg)},
        )

    def open(self, account: str, text: str) -> bytes:
        """Open the target for a ticket; return what was fetched for it."""
        ticket = Ticket(
            agent="local",
            nonce=b"n" * 32,
            target="arm",
            account=account,
            session="s-1",
            session_end=1.0,
            principal=principal(),
            text=text,
        )
        opening = Deferred.fromCoroutine(cast("Any", self.opener.open(ticket, {})))
        self.successResultOf(opening)
        return self.leg.fetched[-1]

    def test_each_session_has_its_persons(self) -> None:
        """With its own ticket; nothing is left in the target for the next."""
        self.assertEqual(self.open("self", "t-1"), b"alice by t-1")
        self.assertEqual(self.open("self", "t-2"), b"alice by t-2")
        self.assertEqual(self.open("deployer", "t-3"), b"the-account's")
        self.assertIs(self.target.accounts["self"], nobody)
