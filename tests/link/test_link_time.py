"""The link as time passes: ends, renewals, heartbeats, and what comes out of turn."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock

from hoopgw.errors import LinkError, UnavailableError
from hoopgw.link.certificates import issue_agent, moment
from hoopgw.link.floor import FloorEntry
from hoopgw.link.frames import Go, Hello, Open, encode
from hoopgw.link.incoming import HELLO_TIMEOUT
from hoopgw.link.lines import BEAT, MISSED, ORPHAN_GRACE
from hoopgw.link.open_sessions import LATE
from hoopgw.link.proof import AgentKey
from hoopgw.link.serving import GO_TIMEOUT
from hoopgw.link.spares import FEWEST, MOST, PATIENCE
from hoopgw.link.tickets import Ticket, TicketSigner
from tests.link.link_case import LinkTestCase, Talker
from tests.link.world import new_key, principal


class TimeTests(LinkTestCase):
    """Time is a `Clock`: nothing here waits for a wall clock."""

    def make_clock(self) -> Clock:
        self.clock = Clock()
        self.clock.advance(time.time())
        return self.clock

    async def pass_time(self, seconds: float, step: float = BEAT) -> None:
        """Let time pass in steps, with the sockets served in between."""
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            for _ in range(6):
                turn: Deferred[None] = Deferred()
                self.reactor.callLater(0, turn.callback, None)
                await turn

    async def test_the_agent_cuts_when_the_sessions_time_is_over(self) -> None:
        agent = self.world.agent()
        _, collector = await self.world.open(lasts=60.0)
        await self.pass_time(59.0)
        self.assertFalse(collector.lost.called)
        await self.pass_time(1.0)
        await collector.lost
        await self.until(lambda: not agent.sessions)
        self.assertEqual(self.world.leg.cancelled, ["reader"])

    async def test_a_session_that_ended_long_ago_is_not_cancelled(self) -> None:
        agent = self.world.agent()
        opened, _ = await self.world.open()
        await self.until(lambda: agent.sessions)
        opened.leg.abortConnection()
        await self.until(lambda: not agent.sessions)
        await self.pass_time(2 * LATE)
        opened.cancel()
        again, _ = await self.world.open()
        again.cancel()
        await self.until(lambda: self.world.leg.cancelled)
        self.assertEqual(self.world.leg.cancelled, ["reader"])

    async def test_a_renewed_session_lasts_longer(self) -> None:
        self.world.agent()
        opened, collector = await self.world.open(lasts=60.0)
        longer = principal(600.0, self.clock.seconds())
        await self.world.hub.renew(longer, "s-1", opened)
        await self.pass_time(590.0)
        self.assertFalse(collector.lost.called)
        await self.pass_time(11.0)
        await collector.lost

    async def test_a_renewal_is_for_its_own_session(self) -> None:
        self.world.agent()
        opened, _ = await self.world.open(lasts=60.0)
        with self.assertRaises(UnavailableError):
            await self.world.hub.renew(principal(600.0), "s-2", opened)
        opened.leg.abortConnection()
        with self.assertRaises(LinkError):
            await self.world.hub.renew(principal(600.0), "s-1", opened)

    async def test_a_session_waits_two_seconds_for_an_agent(self) -> None:
        opening = Deferred.fromCoroutine(self.world.open())
        self.clock.advance(PATIENCE - 0.1)
        self.assertFalse(opening.called)
        self.clock.advance(0.1)
        with self.assertRaisesRegex(LinkError, "agent local is not connected"):
            await opening

    async def test_an_agent_that_comes_meanwhile_serves(self) -> None:
        opening = Deferred.fromCoroutine(self.world.open())
        self.clock.advance(1.0)
        self.world.agent()
        await opening

    async def test_both_sides_beat(self) -> None:
        agent = self.world.agent()
        await self.world.open()
        await self.pass_time(20 * BEAT)
        self.assertTrue(agent.is_connected)
        self.assertTrue(self.world.hub.status()[0]["connected"])

    async def test_an_agent_that_beats_no_more_is_dropped_and_its_sessions_later(self) -> None:
        agent = self.world.agent()
        _, collector = await self.world.open()
        assert agent._peer is not None
        agent._peer.transport.pauseProducing()  # type: ignore[union-attr]  # it is connected
        assert agent._ticking is not None
        agent._ticking.cancel()
        await self.pass_time(MISSED * BEAT)
        self.assertTrue(self.world.hub.status()[0]["connected"])
        await self.pass_time(BEAT)
        self.assertFalse(self.world.hub.status()[0]["connected"])
        self.assertFalse(collector.lost.called)
        await self.pass_time(ORPHAN_GRACE + 1)
        await collector.lost

    async def test_a_gateway_that_stays_away_ends_the_sessions(self) -> None:
        agent = self.world.agent()
        _, collector = await self.world.open()
        for port in self.world.ports[1:]:
            port.stopListening()
        self.world.hub._line("local")._peer.close()  # type: ignore[union-attr]  # it is connected
        await self.until(lambda: not agent.is_connected)
        await self.pass_time(ORPHAN_GRACE - 1)
        self.assertFalse(collector.lost.called)
        await self.pass_time(1.0)
        await collector.lost

    async def test_who_says_no_hello_is_closed(self) -> None:
        talker = Talker()
        await self.world.dialler(self.world.authority.agent("local"))(talker)
        await talker.frame()
        await self.pass_time(HELLO_TIMEOUT - 0.1)
        self.assertFalse(talker.lost.called)
        await self.pass_time(0.1)
        await talker.lost

    async def test_a_revoked_agent_is_found_out(self) -> None:
        self.world.agent()
        _, collector = await self.world.open()
        self.world.enrolled.clear()
        await self.pass_time(60.0)
        await collector.lost
        self.assertFalse(self.world.hub.status()[0]["connected"])

    async def test_while_control_is_away_a_connected_agent_stays(self) -> None:
        async def check(name: str, serial: str) -> bool:
            raise UnavailableError("control is not there")

        self.world.agent()
        _, collector = await self.world.open()
        self.world.hub.check_certificate = check
        await self.pass_time(60.0)
        self.assertFalse(collector.lost.called)

    async def test_an_agent_whose_certificate_ends_is_dropped(self) -> None:
        authority, key = self.world.authority, new_key()
        lasts = timedelta(seconds=60)
        now = moment(self.clock.seconds())
        issued = issue_agent(
            authority.certificate, authority.key, "local", key.public_key(), now, lasts
        )
        agent = self.world.agent(key=AgentKey(issued, key))
        await self.world.open()
        await self.pass_time(59.0)
        self.assertTrue(agent.is_connected)
        await self.pass_time(2 * BEAT)
        self.assertFalse(self.world.hub.status()[0]["connected"])
        self.assertEqual(len(agent.sessions), 1)  # until the grace is over

    async def test_idle_connections_are_replaced_and_few_again_later(self) -> None:
        agent = self.world.agent()
        found = await gatherResults([Deferred.fromCoroutine(self.world.open()) for _ in range(40)])
        line = self.world.hub._line("local")
        self.assertEqual(line.spares.wanted, MOST)
        await self.until(lambda: agent.idle == MOST)
        old = set(agent._idle)
        await self.pass_time(300.0)
        await self.until(lambda: agent.idle == FEWEST)
        self.assertEqual(line.spares.wanted, FEWEST)
        self.assertFalse(old & agent._idle)
        self.assertTrue(all(opened.leg.connected for opened, _ in found))

    async def test_an_answer_that_nobody_fetches_closes_the_target(self) -> None:
        agent = self.world.agent()
        await self.until(lambda: agent.idle == FEWEST)
        spare = await self.world.hub._line("local").take()
        signer = TicketSigner(self.world.ticket_key, self.clock.seconds)
        ticket = Ticket(
            agent="local",
            nonce=spare.nonce,
            target="orders",
            account="reader",
            session="s-9",
            session_end=self.clock.seconds() + 60,
            principal=principal(),
        )
        await spare.open(signer.sign(ticket), {})
        self.assertEqual(self.world.echoes.open, 1)
        await self.pass_time(GO_TIMEOUT)
        await self.until(lambda: self.world.echoes.open == 0)

    async def hand_made(self, *frames: Any) -> None:
        """Send frames on a spare, and see it closed with nothing opened for it."""
        agent = self.world.agent()
        await self.until(lambda: agent.idle == FEWEST)
        spare = await self.world.hub._line("local").take()
        spare._link.write(b"".join(map(encode, frames)))
        await self.until(lambda: not spare._link.connected)
        self.assertEqual(self.world.echoes.open, 0)
        self.assertEqual(len(agent.sessions), 0)

    async def test_the_agent_takes_no_go_before_a_ticket(self) -> None:
        await self.hand_made(Go())

    async def test_the_agent_takes_nothing_behind_a_ticket(self) -> None:
        await self.hand_made(Open("x", {}), Go())

    async def test_the_agent_opens_nothing_for_a_bad_ticket(self) -> None:
        await self.hand_made(Open("x", {}))
        self.assertEqual(self.world.leg.asked, [])

    async def test_the_agent_takes_no_hello(self) -> None:
        await self.hand_made(Hello(1, "data", "local", b"", b"", b""))

    async def test_a_ticket_of_another_connection_is_refused(self) -> None:
        agent = self.world.agent()
        await self.until(lambda: agent.idle == FEWEST)
        line = self.world.hub._line("local")
        first, second = await line.take(), await line.take()
        signer = TicketSigner(self.world.ticket_key, self.clock.seconds)
        ticket = Ticket(
            agent="local",
            nonce=first.nonce,
            target="orders",
            account="reader",
            session="s-9",
            session_end=self.clock.seconds() + 60,
            principal=principal(),
        )
        with self.assertRaisesRegex(LinkError, "refused the gateway's ticket"):
            await second.open(signer.sign(ticket), {})
        with self.assertRaisesRegex(LinkError, "refused the gateway's ticket"):
            await first.open(signer.sign(evolve(ticket, agent="remote")), {})

    async def test_an_open_floor_is_not_read_only(self) -> None:
        agent = self.world.agent()
        entry = FloorEntry(
            targets=frozenset({"orders"}), accounts=frozenset({"reader"}), mode="any"
        )
        agent.opener = evolve(agent.opener, floor=evolve(agent.opener.floor, entries=(entry,)))
        await self.until(lambda: agent.idle == FEWEST)
        agent.reconnect()  # connections that wait already keep their opener
        await self.pass_time(5.0)
        await self.until(lambda: agent.idle == FEWEST)
        await self.world.open()
        self.assertEqual(self.world.leg.asked[0][1], {"read_only": False})
