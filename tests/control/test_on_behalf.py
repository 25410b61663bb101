"""Tests for `hoopgw.control.on_behalf`: which agent gets what a person logged in with."""

from __future__ import annotations

from typing import Any, cast

from joserfc.jwk import OKPKey
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.control.on_behalf import OnBehalfCalls
from hoopgw.control.token_site import AgentCallers
from hoopgw.errors import AuthenticationError
from hoopgw.events import Hop, Principal
from hoopgw.identity.forms import FormCall
from hoopgw.identity.kept_proofs import KeptProofs
from hoopgw.identity.refusals import ExchangeError
from hoopgw.link.assertion import ASSERTION_TYPE
from hoopgw.link.tickets import LIFETIME, SKEW, Ticket, TicketSigner

NOW = 1_790_000_000.0
ALICE = Principal(
    chain=(Hop(id="corp|alice", name="alice", kind="person"),),
    session="s-1",
    expires=NOW + 3600.0,
)


class Named:
    """Takes an agent's assertion for its name."""

    def identify(self, assertion: str) -> str:
        """Return it."""
        if not assertion:
            raise AuthenticationError("none")
        return assertion


class OnBehalfTests(SynchronousTestCase):
    """Who may have it, and for what."""

    def setUp(self) -> None:
        self.now, self.ended = NOW, False
        self.key = OKPKey.generate_key("Ed25519", private=True)
        kept = KeptProofs({"corp": frozenset({"azure", "also"})}, lambda: self.now)
        kept.keep(ALICE, "alices-token", NOW + 600.0)
        self.calls = OnBehalfCalls(
            agents=cast("AgentCallers", Named()),
            kept=kept,
            ticket_keys=lambda: (self.key,),
            is_ended=lambda _principal: self.ended,
            now=lambda: self.now,
        )

    def ticket(self, agent: str = "azure", key: OKPKey | None = None, **changes: Any) -> str:
        """Return a ticket as a worker signs it."""
        return TicketSigner(key or self.key, lambda: self.now).sign(
            Ticket(
                agent=agent,
                nonce=b"n" * 32,
                target="arm",
                account="self",
                session="x-1",
                session_end=NOW + 3600.0,
                principal=ALICE,
                **changes,
            )
        )

    def give(self, ticket: str, agent: str = "azure", **more: str) -> Any:
        """Ask as an agent; returns the answer, or the refusal's code."""
        values = {
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": agent,
            "ticket": ticket,
            **more,
        }
        call = FormCall(values=values, address="192.0.2.1", path="", header=lambda _name: None)
        asking = Deferred.fromCoroutine(cast("Any", self.calls.give(call)))
        if not isinstance(found := self._settled(asking), ExchangeError):
            return found
        self.assertNotIn("alices-token", found.text)
        return found.code

    def _settled(self, asking: Deferred[Any]) -> Any:
        found: list[Any] = []
        asking.addCallbacks(found.append, lambda failure: found.append(failure.value))
        return found[0]

    def test_with_a_ticket(self) -> None:
        """As often as is needed while the ticket is good: connections can be many."""
        ticket = self.ticket()
        for _ in range(2):
            self.assertEqual(self.give(ticket), {"assertion": "alices-token", "expires_in": 600})

    def test_not_with_anothers(self) -> None:
        """Nor with one for something else, from somebody else, or of long ago."""
        stranger = OKPKey.generate_key("Ed25519", private=True)
        for ticket in (
            self.ticket("also"),
            self.ticket(key=stranger),
            self.ticket(use="renew"),
            "",
            "a.b.c",
        ):
            self.assertEqual(self.give(ticket), "invalid_grant")
        old = self.ticket()
        self.now += LIFETIME + SKEW
        self.assertEqual(self.give(old), "invalid_grant")

    def test_not_to_who_may_not(self) -> None:
        """An agent that is not named, and one that does not say who it is."""
        self.assertEqual(self.give(self.ticket("other"), "other"), "invalid_grant")
        self.assertEqual(self.give(self.ticket(), ""), "invalid_client")
        self.assertEqual(self.give(self.ticket(), client_assertion_type="x"), "invalid_client")
        self.assertEqual(self.give(self.ticket(), scope="x"), "invalid_request")

    def test_not_when_the_log_in_was_ended(self) -> None:
        self.ended = True
        self.assertEqual(self.give(self.ticket()), "invalid_grant")
