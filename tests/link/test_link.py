"""The link as a whole, over real sockets: unix and TCP with mutual TLS."""

from __future__ import annotations

import contextlib
import ssl
import time

from twisted.internet.defer import CancelledError, Deferred, gatherResults

from hoopgw.errors import LinkError, UnavailableError
from hoopgw.link import spares
from hoopgw.link.certificates import LINK_HOST, issue_agent, issue_listener, moment
from hoopgw.link.frames import Challenge, Go, Welcome, encode
from hoopgw.link.proof import AgentKey
from hoopgw.link.spares import FEWEST, MOST
from hoopgw.link.tls import agent_context
from hoopgw.transport import Address, connect
from tests.link.link_case import LinkTestCase, Talker
from tests.link.world import Authority, new_key, pem, principal


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
        self.patch(spares, "BUSY_PATIENCE", 60.0)  # however busy the machine is, too
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
