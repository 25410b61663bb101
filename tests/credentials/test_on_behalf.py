"""Tests for `hoopgw.credentials.on_behalf`, with the real `msal` and a stand-in of Entra."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.credentials.identities import EntraIdentity
from hoopgw.credentials.on_behalf import PEOPLE_LIMIT, OnBehalfOf
from hoopgw.errors import LinkError, UnavailableError
from hoopgw.events import Hop, Node, Principal
from tests.identity import forge
from tests.support.certificates import Authority
from tests.support.entra import Entra, client_certificate

T = TypeVar("T")

TENANT = "00000001-0000-0ff1-ce00-000000000000"
CLIENT = "f2510d34-8dca-4ab8-a0bc-aaec4d3a3e36"


def at_once(work: Callable[[], T], /) -> Deferred[T]:
    """Run it here."""
    try:
        return succeed(work())
    except Exception:
        return fail()


class OnBehalfTests(SynchronousTestCase):
    """Tokens of people."""

    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp())
        authority = Authority.make("entra CA")
        pem, certificate = client_certificate(folder)
        self.entra = Entra(tenant=TENANT, client=CLIENT, certificate=certificate)
        self.entra.start(folder, authority)
        self.addCleanup(self.entra.server.stop)
        self.clock = Clock()
        self.clock.advance(time.time())
        self.tickets: list[str] = []
        self.logged_in: dict[str, str] = {}
        self.fetcher = OnBehalfOf(
            identity=EntraIdentity(
                tenant=TENANT,
                client=CLIENT,
                certificate=pem,
                authority=self.entra.url,
                authority_ca=authority.write(folder / "ca.crt"),
            ),
            scope="https://management.azure.com/.default",
            ask=self.ask,
            run_in_thread=at_once,
            clock=self.clock,
        )

    def ask(self, ticket: str) -> str:
        """Stand in for control."""
        self.tickets.append(ticket)
        who = ticket.partition(":")[2]
        if who not in self.logged_in:
            raise UnavailableError("the gateway refused (400): log in again")
        return self.logged_in[who]

    def log_in(self, name: str, lifetime: float = 3600.0, **claims: object) -> Principal:
        """Let somebody log in at the gateway."""
        now = time.time()
        self.logged_in[name] = forge.token(
            {"aud": CLIENT, "oid": name, "exp": int(now + lifetime), **claims}
        )
        return self.principal(name)

    def principal(self, name: str, *agents: str, session: str = "") -> Principal:
        """Return a chain."""
        chain = [Hop(id=f"corp|{name}", name=name, kind="person")]
        chain += [Hop(id=f"corp|{name}~{agent}", name=agent, kind="agent") for agent in agents]
        return Principal(
            chain=tuple(chain),
            nodes=tuple(Node(id=f"node-{agent}") for agent in agents),
            session=session or f"login-{name}",
            expires=self.clock.seconds() + 7200.0,
        )

    def fetch(self, principal: Principal) -> str:
        """Fetch a token; the ticket names the root."""
        ticket = f"ticket:{principal.root.name}"
        fetching = Deferred.fromCoroutine(self.fetcher.fetch(principal, ticket))
        return self.successResultOf(fetching).decode()

    def refused(self, principal: Principal) -> str:
        """Return why there is no token."""
        ticket = f"ticket:{principal.root.name}"
        fetching = Deferred.fromCoroutine(self.fetcher.fetch(principal, ticket))
        return str(self.failureResultOf(fetching, LinkError).value)

    def test_a_persons_token(self) -> None:
        """Asked for as Entra wants it; asked for once."""
        alice = self.log_in("alice")
        self.assertEqual(self.fetch(alice), "azure-token-alice-1")
        self.assertEqual(self.fetch(alice), "azure-token-alice-1")
        self.assertEqual(self.entra.refused, [])
        (form,) = self.entra.asked
        self.assertEqual(form["assertion"], self.logged_in["alice"])
        self.assertEqual(form["requested_token_use"], "on_behalf_of")

    def test_people_are_apart(self) -> None:
        """Each log-in has its own, whatever agents act for it."""
        alice, bob = self.log_in("alice"), self.log_in("bob")
        self.assertEqual(self.fetch(alice), "azure-token-alice-1")
        self.assertEqual(self.fetch(bob), "azure-token-bob-2")
        self.assertEqual(self.fetch(alice), "azure-token-alice-1")
        again = self.principal("alice", session="another")
        self.assertEqual(self.fetch(again), "azure-token-alice-3")

    def test_agents_act_on_behalf_of_the_root(self) -> None:
        self.log_in("alice")
        self.assertEqual(self.fetch(self.principal("alice", "planner")), "azure-token-alice-1")

    def test_it_is_refreshed(self) -> None:
        """With Entra's refresh token: what the person logged in with is asked for no more."""
        self.entra.lifetime = 400
        alice = self.log_in("alice")
        self.fetch(alice)
        self.clock.advance(101)
        (person,) = self.fetcher._people.values()
        cache = person.app.token_cache
        (kept,) = cache.search("AccessToken")
        cache.modify("AccessToken", kept, {"expires_on": "1"})  # as msal goes by the real time
        self.assertEqual(self.fetch(alice), "azure-token-alice-2")
        self.assertEqual(len(self.tickets), 1)
        self.assertEqual(self.entra.asked[-1]["grant_type"], "refresh_token")

    def test_what_nobody_has_logged_in_with(self) -> None:
        """The person is told what to do."""
        self.assertIn("log in again", self.refused(self.principal("alice")))
        self.log_in("alice", lifetime=-1)
        self.assertIn("Entra wants alice to log in again", self.refused(self.principal("alice")))
        self.log_in("alice", aud="another")
        self.refused(self.principal("alice"))
        self.assertEqual(self.fetch(self.log_in("alice")), "azure-token-alice-1")

    def test_what_entra_asks_of_the_person(self) -> None:
        # Each another person: msal answers the same question again by itself for a minute.
        for who, code, said in (
            ("alice", "interaction_required", "wants alice to log in again"),
            ("bob", "invalid_client", "gives the agent no token on behalf of bob (invalid_client)"),
        ):
            self.entra.error = code
            text = self.refused(self.log_in(who))
            self.assertIn(said, text)
            self.assertNotIn("AADSTS", text)

    def test_it_is_forgotten(self) -> None:
        """When the log-in has ended, and when there are too many."""
        alice = self.log_in("alice")
        self.fetch(alice)
        self.clock.advance(7201)
        self.log_in("bob")
        self.fetch(self.principal("bob"))
        self.assertEqual(len(self.fetcher._people), 1)
        for number in range(PEOPLE_LIMIT + 5):
            self.fetcher._person(self.principal("carl", session=str(number)))
        self.assertEqual(len(self.fetcher._people), PEOPLE_LIMIT)
