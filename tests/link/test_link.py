"""The link as a whole, over real sockets: unix and TCP with mutual TLS."""

from __future__ import annotations

import contextlib
import ssl
import time
from datetime import timedelta
from typing import Any, cast

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from hoopgw.errors import LinkError, UnavailableError
from hoopgw.link.certificates import LINK_HOST, issue_agent, issue_listener, moment
from hoopgw.link.floor import FloorEntry
from hoopgw.link.frames import Challenge, FrameReader, Go, Hello, Open, Welcome, encode
from hoopgw.link.incoming import HELLO_TIMEOUT
from hoopgw.link.lines import BEAT, MISSED, ORPHAN_GRACE
from hoopgw.link.open_sessions import LATE
from hoopgw.link.proof import AgentKey
from hoopgw.link.serving import GO_TIMEOUT
from hoopgw.link.spares import FEWEST, MOST, PATIENCE
from hoopgw.link.tickets import Ticket, TicketSigner
from hoopgw.link.tls import agent_context
from hoopgw.transport import Address, DataTransport, connect
from tests.link.world import Authority, Collector, World, eventually, new_key, pem, principal


class LinkTestCase(TestCase):
    tcp = False
    timeout = 60

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.world = World(reactor, tcp=self.tcp, clock=self.make_clock())
        self.addCleanup(lambda: Deferred.fromCoroutine(self.world.stop()))

    def make_clock(self) -> Any:
        """Return the clock of both sides."""
        return self.reactor

    async def refused(self, *args: Any, **options: Any) -> str:
        """Open, and return why that was refused."""
        with self.assertRaises(LinkError) as caught:
            await self.world.open(*args, **options)
        return str(caught.exception)

    async def until(self, condition: Any) -> None:
        await eventually(self.reactor, condition)


class UnixTests(LinkTestCase):
    async def test_bytes_go_to_the_target_and_back(self) -> None:
        self.world.agent()
        opened, collector = await self.world.open(wishes={"database": "shop"})
        opened.leg.write(b"ping")
        self.assertEqual(await collector.until(4), b"ping")
        self.assertEqual(opened.facts, {"greeting": "hello"})
        self.assertEqual(opened.agent, "local")
        asked = [("reader", {"database": "shop", "read_only": True})]
        self.assertEqual(self.world.leg.asked, asked)

    async def test_many_sessions_at_once(self) -> None:
        self.world.agent()
        found = await gatherResults([Deferred.fromCoroutine(self.world.open()) for _ in range(300)])
        for number, (opened, _) in enumerate(found):
            opened.leg.write(f"{number:04}".encode())
        for number, (_, collector) in enumerate(found):
            self.assertEqual(await collector.until(4), f"{number:04}".encode())
        self.assertLessEqual(self.world.hub.status()[0]["idle"], MOST)

    async def test_what_the_target_said_early_comes_first(self) -> None:
        self.world.leg.rest = b"notice"
        self.world.agent()
        opened, collector = await self.world.open()
        opened.leg.write(b"ping")
        self.assertEqual(await collector.until(10), b"noticeping")

    async def test_when_the_caller_closes_the_target_is_closed(self) -> None:
        agent = self.world.agent()
        opened, _ = await self.world.open()
        self.assertEqual(self.world.echoes.open, 1)
        opened.leg.loseConnection()
        await self.until(lambda: self.world.echoes.open == 0 and not agent.sessions)

    async def test_when_the_target_closes_the_caller_is_told(self) -> None:
        self.world.agent()
        _, collector = await self.world.open()
        self.world.echoes.connections[0].link.loseConnection()
        await collector.lost

    async def test_the_agents_refusal_reaches_the_caller(self) -> None:
        self.world.agent()
        self.world.leg.fail = LinkError("the target has no database of that name")
        self.assertEqual(await self.refused(), "the target has no database of that name")

    async def test_a_fault_of_the_agent_is_not_described(self) -> None:
        self.world.agent()
        self.world.leg.fail = ValueError("s3cret")
        self.assertEqual(await self.refused(), "the agent could not open the target")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_the_floor_is_the_agents_own(self) -> None:
        self.world.agent()
        self.assertIn("floor", await self.refused(account="owner"))
        self.assertIn("floor", await self.refused(target="ledger"))
        self.assertIn("no account nobody", await self.refused(account="nobody"))
        self.assertEqual(self.world.leg.asked, [])

    async def test_read_only_is_not_the_gateways_to_say(self) -> None:
        self.world.agent()
        await self.world.open(wishes={"read_only": False})
        self.assertEqual(self.world.leg.asked[0][1], {"read_only": True})

    async def test_a_target_of_another_agent_is_not_opened(self) -> None:
        self.world.agent()
        self.assertIn("remote is not connected", await self.refused(target="elsewhere"))
        self.assertIn("no agent is configured", await self.refused(target="unknown"))

    async def test_long_wishes_are_refused_here(self) -> None:
        self.world.agent()
        self.assertIn("too long", await self.refused(wishes={"x": "y" * 70_000}))
        await self.world.open()

    async def test_a_ticket_for_one_operation_is_refused(self) -> None:
        self.world.agent()
        with self.assertRaisesRegex(LinkError, "one approved operation"):
            await self.world.hub.open(principal(), "s", "orders", "reader", {}, b"\1" * 32)

    async def test_a_spare_that_turns_out_dead_is_replaced(self) -> None:
        agent = self.world.agent()
        await self.until(lambda: self.world.hub.status()[0]["idle"] == FEWEST)
        for serving in list(agent._idle):  # as if the host had lost them without a word
            serving._link._sock.shutdown(1)
            break
        for _ in range(FEWEST + 1):
            await self.world.open()

    async def test_cancelling_reaches_the_right_session(self) -> None:
        self.world.agent()
        opened, _ = await self.world.open()
        await self.world.open()
        opened.cancel()
        await self.until(lambda: self.world.leg.cancelled)
        self.assertEqual(self.world.leg.cancelled, ["reader"])

    async def test_a_cancel_that_comes_behind_the_end_still_counts(self) -> None:
        agent = self.world.agent()
        opened, _ = await self.world.open()
        await self.until(lambda: agent.sessions)
        opened.leg.abortConnection()
        await self.until(lambda: not agent.sessions)
        opened.cancel()
        await self.until(lambda: self.world.leg.cancelled)

    async def test_a_cut_ends_the_session_and_cancels(self) -> None:
        agent = self.world.agent()
        _, collector = await self.world.open()
        self.world.hub.cut("another", "revoked")
        self.world.hub.cut("s-1", "revoked")
        await collector.lost
        await self.until(lambda: not agent.sessions and self.world.leg.cancelled)
        await self.until(lambda: self.world.echoes.open == 0)

    async def test_a_caller_that_gives_up_leaves_nothing_behind(self) -> None:
        agent = self.world.agent()
        self.world.leg.hold = Deferred()
        opening = Deferred.fromCoroutine(self.world.open())
        await self.until(lambda: self.world.echoes.open == 1)
        opening.cancel()
        with contextlib.suppress(CancelledError):
            await opening
        await self.until(lambda: self.world.echoes.open == 0)
        self.assertEqual(len(agent.sessions), 0)

    async def test_when_the_gateway_goes_the_targets_are_closed(self) -> None:
        agent = self.world.agent()
        opened, _ = await self.world.open()
        opened.leg.abortConnection()
        self.world.hub.stop()
        await self.until(lambda: self.world.echoes.open == 0 and not agent.is_connected)

    async def test_when_the_agent_goes_the_callers_are_told(self) -> None:
        agent = self.world.agent()
        _, collector = await self.world.open()
        agent.stop()
        await collector.lost
        await self.until(lambda: not self.world.hub.status()[0]["connected"])

    async def test_what_is_being_opened_ends_with_the_agent(self) -> None:
        agent = self.world.agent()
        self.world.leg.hold = Deferred()
        opening = Deferred.fromCoroutine(self.world.open())
        await self.until(lambda: self.world.echoes.open == 1)
        agent.stop()
        with self.assertRaises(LinkError):
            await opening
        await self.until(lambda: self.world.echoes.open == 0)

    async def test_the_agent_comes_back(self) -> None:
        agent = self.world.agent()
        await self.world.open()
        self.world.hub.stop()
        for port in self.world.ports[1:]:
            port.stopListening()
        await self.until(lambda: not agent.is_connected)
        self.world.hub = self.world.new_hub()
        self.world.address = self.world.listen(self.world.hub)
        agent.dial = self.world.dialler(agent.key())
        await self.until(lambda: agent.is_connected)
        await self.world.open()

    async def test_a_new_control_connection_leaves_sessions_alone(self) -> None:
        agent = self.world.agent()
        opened, collector = await self.world.open()
        agent.reconnect()
        await self.until(lambda: agent.is_connected)
        opened.leg.write(b"ping")
        self.assertEqual(await collector.until(4), b"ping")
        await self.world.open()

    async def test_the_younger_of_two_agents_serves(self) -> None:
        first = self.world.agent()
        await self.world.open()
        key = first.key()
        first.stop()
        self.world.agent(key=key)
        await self.world.open()

    async def test_status_tells_what_is_there(self) -> None:
        self.world.agent()
        await self.world.open()
        await self.until(lambda: self.world.hub.status()[0]["targets"])
        local, remote = self.world.hub.status()
        self.assertEqual(
            (local["name"], local["connected"], local["sessions"], local["targets"]),
            ("local", True, 1, ["orders"]),
        )
        self.assertEqual(local["accounts"], {"orders": {"reader": ""}})
        self.assertEqual((remote["name"], remote["connected"]), ("remote", False))

    # Who may connect

    async def test_an_agent_that_is_not_enrolled_is_not_let_in(self) -> None:
        self.world.enrolled.clear()
        await self.not_let_in(self.world.authority.agent("local"))
        self.assertEqual(self.world.asked[0][0], "local")

    async def test_another_authority_does_not_count(self) -> None:
        await self.not_let_in(Authority.new().agent("local"))
        self.assertEqual(self.world.asked, [])

    async def test_a_certificate_that_has_ended_does_not_count(self) -> None:
        authority, key = self.world.authority, new_key()
        then = moment(time.time() - 2 * 86_400)
        old = issue_agent(authority.certificate, authority.key, "local", key.public_key(), then)
        await self.not_let_in(AgentKey(old, key))
        self.assertEqual(self.world.asked, [])

    async def test_the_listeners_certificate_is_no_agents(self) -> None:
        authority, key = self.world.authority, new_key()
        now = moment(time.time())
        issued = issue_listener(authority.certificate, authority.key, key.public_key(), now)
        await self.not_let_in(AgentKey(issued, key))
        self.assertEqual(self.world.asked, [])

    async def test_another_agents_certificate_does_not_count(self) -> None:
        self.world.enrolled.add("remote")
        await self.not_let_in(self.world.authority.agent("remote"), "local")
        self.assertEqual(self.world.asked, [])

    async def test_a_certificate_without_its_key_does_not_count(self) -> None:
        good = self.world.authority.agent("local")
        if self.tcp:
            return  # TLS itself asks for the key there
        await self.not_let_in(AgentKey(good.certificate, new_key()))
        self.assertEqual(self.world.asked, [])

    async def not_let_in(self, key: AgentKey, name: str = "local") -> None:
        """Say hello with this key, and see the connection closed without a welcome."""
        talker = Talker()
        with contextlib.suppress(LinkError, ssl.SSLError):
            await self.world.dialler(key)(talker)
            challenge = await talker.frame()
            if challenge is not None:  # TLS may have closed it already
                talker.link.write(encode(key.hello(challenge, "control", name, bytes(32))))
                self.assertIsNone(await talker.frame())
        await talker.lost
        self.assertFalse(any(line["connected"] for line in self.world.hub.status()))

    async def test_a_hello_of_another_connection_does_not_count(self) -> None:
        key = self.world.authority.agent("local")
        first, second = Talker(), Talker()
        dial = self.world.dialler(key)
        await dial(first)
        await dial(second)
        challenge = await first.frame()
        await second.frame()
        assert isinstance(challenge, Challenge)
        second.link.write(encode(key.hello(challenge, "control", "local", bytes(32))))
        await second.lost
        self.assertEqual(self.world.asked, [])

    async def test_data_without_control_is_closed(self) -> None:
        key = self.world.authority.agent("local")
        talker = Talker()
        await self.world.dialler(key)(talker)
        challenge = await talker.frame()
        assert isinstance(challenge, Challenge)
        talker.link.write(encode(key.hello(challenge, "data", "local", bytes(32))))
        self.assertIsInstance(await talker.frame(), Welcome)
        await talker.lost

    async def test_control_that_cannot_be_asked_lets_nobody_in(self) -> None:
        async def check(name: str, serial: str) -> bool:
            raise UnavailableError("control is not there")

        self.world.hub.check_certificate = check
        await self.not_let_in(self.world.authority.agent("local"))

    async def test_garbage_is_closed(self) -> None:
        key = self.world.authority.agent("local")
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\1x", b"\xff" * 20, encode(Go())):
            talker = Talker()
            await self.world.dialler(key)(talker)
            await talker.frame()
            talker.link.write(garbage)
            await talker.lost

    async def test_a_revoked_agent_is_put_out_with_its_sessions(self) -> None:
        agent = self.world.agent()
        _, collector = await self.world.open()
        self.world.enrolled.clear()
        self.world.hub.drop_agent("local", "revoked")
        await collector.lost
        self.assertIn("not connected", await self.refused())
        self.assertFalse(agent.is_connected)


class Talker(Collector):
    """An agent's end of a connection, spoken by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = FrameReader()
        self._next: Deferred[Any] | None = None

    @property
    def link(self) -> DataTransport:
        return cast("DataTransport", self.transport)

    def dataReceived(self, data: bytes) -> None:
        self.reader.receive_data(data)
        if self._next is not None and (frame := self.reader.next_frame()) is not None:
            waiting, self._next = self._next, None
            waiting.callback(frame)

    def connectionLost(self, reason: object = None) -> None:
        super().connectionLost(reason)
        if self._next is not None:
            self._next.callback(None)

    async def frame(self) -> Any:
        """Return the next frame, or None when the connection is lost."""
        if (frame := self.reader.next_frame()) is not None:
            return frame
        if self.lost.called:
            return None
        self._next = Deferred()
        return await self._next


class TcpTests(UnixTests):
    tcp = True

    async def test_without_a_certificate_nothing_is_said(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=pem(self.world.authority.certificate).decode())
        talker = Talker()
        await connect(
            self.reactor, self.world.address, talker, tls=context, server_hostname=LINK_HOST
        )
        self.assertIsNone(await talker.frame())

    async def test_the_hello_must_be_of_the_certificate_that_tls_has_seen(self) -> None:
        self.world.enrolled.add("remote")
        shown, other = self.world.authority.agent("remote"), self.world.authority.agent("local")
        talker = Talker()
        await self.world.dialler(shown)(talker)
        challenge = await talker.frame()
        assert isinstance(challenge, Challenge)
        talker.link.write(encode(other.hello(challenge, "control", "local", bytes(32))))
        await talker.lost
        self.assertEqual(self.world.asked, [])

    async def test_older_tls_is_refused(self) -> None:
        key = self.world.authority.agent("local")
        ca = pem(self.world.authority.certificate).decode()
        context = agent_context(pem(key.key, key.certificate), ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        talker = Talker()
        await connect(
            self.reactor, self.world.address, talker, tls=context, server_hostname=LINK_HOST
        )
        await talker.lost

    async def test_an_agent_cannot_pose_as_the_gateway(self) -> None:
        """Its certificate is of the same CA, but names no host and serves no server."""
        other = self.world.authority.agent("remote")
        posing = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (self.world.folder / "posing.pem").write_bytes(pem(other.key, other.certificate))
        posing.load_cert_chain(self.world.folder / "posing.pem")
        hub = self.world.new_hub()
        port = hub.listen(Address("127.0.0.1", 0), posing)
        self.world.ports.append(port)
        self.addCleanup(hub.stop)
        self.world.address = Address("127.0.0.1", port.getHost().port)  # type: ignore[attr-defined]  # of IPv4Address
        talker = Talker()
        await self.world.dialler(self.world.authority.agent("local"))(talker)
        self.assertIsNone(await talker.frame())

    def test_tcp_without_tls_is_refused(self) -> None:
        self.assertRaises(ValueError, self.world.new_hub().listen, Address("127.0.0.1", 0))


class UserTests(LinkTestCase):
    async def test_another_user_is_not_spoken_to(self) -> None:
        for port in self.world.ports[1:]:
            port.stopListening()
        hub = self.world.new_hub(uids=frozenset({4711}))
        self.addCleanup(hub.stop)
        self.world.address = self.world.listen(hub)
        talker = Talker()
        await self.world.dialler(self.world.authority.agent("local"))(talker)
        self.assertIsNone(await talker.frame())


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
        agent.door = evolve(agent.door, floor=evolve(agent.door.floor, entries=(entry,)))
        await self.until(lambda: agent.idle == FEWEST)
        agent.reconnect()  # connections that wait already keep their door
        await self.pass_time(5.0)
        await self.until(lambda: agent.idle == FEWEST)
        await self.world.open()
        self.assertEqual(self.world.leg.asked[0][1], {"read_only": False})
