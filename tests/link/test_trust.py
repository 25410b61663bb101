"""Rotation as the link sees it: CAs change, agents fetch what is new, sessions live on."""

from __future__ import annotations

import time

from attrs import evolve
from joserfc.jwk import OKPKey
from twisted.internet.task import deferLater

from hoopgw import agent_tap
from hoopgw.link import identity
from hoopgw.link.enrolment_api import Enrolled
from hoopgw.link.tickets import TicketSigner, public_keys
from tests.link.link_case import LinkTestCase
from tests.link.test_agent_tap import AgentCase
from tests.link.test_enrol import Gateway
from tests.link.world import Authority, pem
from tests.support.waiting import eventually


class RotationTests(LinkTestCase):
    """The gateway's side, over TCP with mutual TLS."""

    tcp = True

    async def test_a_ca_that_is_not_trusted_any_more(self) -> None:
        """TLS remembers it, the gateway does not: who connects is refused, who is in stays."""
        world = self.world
        agent = world.agent()
        opened, collector = await world.open()
        world.hub.authorities = (Authority.new().certificate,)
        agent.reconnect()
        await deferLater(self.reactor, 0.3)
        self.assertFalse(agent.is_connected)
        opened.leg.write(b"ping")
        self.assertEqual(await collector.until(4), b"ping")
        world.hub.authorities = (Authority.new().certificate, world.authority.certificate)
        await self.until(lambda: agent.is_connected)
        _, again = await world.open()
        self.assertEqual(again.data, b"")

    async def test_a_ticket_of_a_key_that_the_agent_does_not_know(self) -> None:
        """That is why a next key signs nothing before every agent knows it."""
        world = self.world
        agent = world.agent()
        after = OKPKey.generate_key("Ed25519")
        world.hub.signer = TicketSigner(after, world.hub.clock.seconds)
        self.assertIn("refused the gateway's ticket", await self.refused())
        agent.opener.verifier.keys = {**agent.opener.verifier.keys, after.thumbprint(): after}
        await world.open()

    async def test_agents_say_what_they_trust(self) -> None:
        """When they connect; and they are told that there is something else, then and later."""
        world, told = self.world, list[str]()
        world.hub.refresh("first")
        agent = world.agent()
        agent.trust = lambda: "what I have"
        agent.on_refresh = told.append
        await self.until(lambda: world.hub.status()[0]["trust"] == "what I have")
        await self.until(lambda: told == ["first"])
        world.hub.refresh("second")
        world.hub.refresh("second")
        await self.until(lambda: told == ["first", "second"])
        agent.stop()
        await self.until(lambda: world.hub.status()[0]["trust"] == "")


class RefreshTests(AgentCase):
    """The agent's side: it fetches from control what it should trust."""

    def agent_of(self, gateway: Gateway) -> agent_tap.AgentService:
        """Start an agent in the middle of its certificate's life."""
        found = self.identity()
        changed = evolve(
            found.enrolment, url=gateway.token.url, gateway_ca=gateway.ca.decode(), trust="old"
        )
        return self.start(identity.Identity.of(changed, time.time()))

    async def test_fetched_at_once(self) -> None:
        """CAs of the link and of the listener, ticket keys: all as control has them."""
        gateway, _ = self.gateway()
        other, ticket = Authority.new(), OKPKey.generate_key("Ed25519")

        def answer(enrolled: Enrolled) -> Enrolled:
            return evolve(
                enrolled,
                link_ca=enrolled.link_ca + pem(other.certificate).decode(),
                ticket_keys=public_keys([gateway.ticket_key, ticket]),
                gateway_ca=gateway.ca.decode() + pem(other.certificate).decode(),
                trust="new",
            )

        gateway.answer = answer
        agent = self.agent_of(gateway)
        serial = agent.link.key().certificate.serial_number
        agent.link.on_refresh("new")
        await eventually(self.reactor, lambda: agent.link.trust() == "new")
        self.assertNotEqual(agent.link.key().certificate.serial_number, serial)
        self.assertIn(ticket.thumbprint(), agent.verifier.keys)
        kept = identity.load(agent.settings.state, time.time()).enrolment
        self.assertEqual(kept.gateway_ca.count("BEGIN CERTIFICATE"), 2)
        self.assertEqual(kept.link_ca.count("BEGIN CERTIFICATE"), 2)

    async def test_what_is_there_is_not_fetched(self) -> None:
        gateway, _ = self.gateway()
        agent = self.agent_of(gateway)
        agent.link.on_refresh("old")
        await deferLater(self.reactor, 0.1)
        self.assertEqual(gateway.seen, [])

    async def test_a_worker_can_only_make_it_ask(self) -> None:
        """Whatever a worker says, what is trusted comes from control; and not without pause."""
        gateway, _ = self.gateway()
        agent = self.agent_of(gateway)
        for number in range(50):
            agent.link.on_refresh(f"nonsense {number}")
        await eventually(self.reactor, lambda: bool(gateway.seen) and agent._renewing is None)
        for number in range(50):
            agent.link.on_refresh(f"more {number}")
        await deferLater(self.reactor, 0.2)
        self.assertEqual(len(gateway.seen), 1)
        self.assertEqual(agent.link.trust(), "")
        self.assertEqual(agent.found.enrolment.link_ca, pem(self.authority.certificate).decode())

    async def test_the_log_is_handed_over_meanwhile(self) -> None:
        """What the witness pinned is not lost to a renewal that began before."""
        gateway, _ = self.gateway()
        agent = self.agent_of(gateway)
        agent.found = evolve(agent.found, enrolment=evolve(agent.found.enrolment, log_key="first"))
        before = agent.found.enrolment

        def answer(enrolled: Enrolled) -> Enrolled:
            agent._log_handed_over("second")
            return evolve(enrolled, gateway_ca=gateway.ca.decode())

        gateway.answer = answer
        agent.link.on_refresh("new")
        await eventually(self.reactor, lambda: bool(gateway.seen) and agent._renewing is None)
        self.assertIsNot(agent.found.enrolment, before)
        self.assertEqual(agent.found.enrolment.log_key, "second")
        kept = identity.load(agent.settings.state, time.time()).enrolment
        self.assertEqual(kept.log_key, "second")
