"""The client leg: who is let in, what is taken note of, and how it ends."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import LinkError, UnavailableError
from hoopgw.identity.caller_certificates import certificate_node
from hoopgw.policy.decision import Deny, Verdict
from hoopgw.recording.records import SessionEnded, SessionRefused, SessionStarted
from hoopgw.sessions.ends import REVOKED
from hoopgw_ssh.joined import Joined
from hoopgw_ssh.user_login import CERTIFICATE, USERAUTH_FAILURE, USERAUTH_SUCCESS
from hoopgw_ssh.wire import string
from tests.ssh.gateway_world import World

NO = Verdict(decision=Deny(reason="not today"), because=("p",), policy="v1")


class LoginTests(SynchronousTestCase):
    """From a connection to a session."""

    def setUp(self) -> None:
        self.world = World()

    def refused(self, user: bytes = b"deploy+web1") -> str:
        """Log in, and be disconnected; return why, which is recorded too."""
        visitor = self.world.connect().log_in(user)
        self.assertNotIn(USERAUTH_SUCCESS, visitor.numbers)
        self.assertTrue(visitor.lost)
        self.assertEqual(len(self.world.recorder.of(SessionRefused)), 1)
        self.assertEqual(list(self.world.opened), [each for each, _ in self.world.closed])
        return visitor.client.told

    def test_let_in(self) -> None:
        """The session is announced, recorded with who and how, and the target is joined."""
        visitor = self.world.connect().log_in()
        self.assertIn(USERAUTH_SUCCESS, visitor.numbers)
        self.assertIsInstance(visitor.server.service, Joined)
        (session,) = self.world.opened
        principal, target, _, account, address, _, credential, _ = self.world.opened[session]
        self.assertEqual((target, account, address), ("web1", "deploy", "192.0.2.7"))
        self.assertEqual(credential, certificate_node(self.world.shown[-1].serial))
        (started,) = self.world.recorder.of(SessionStarted)
        self.assertEqual((started.session, started.login), (session, principal.session))
        self.assertEqual((started.method, started.agent), ("ssh-certificate", "local"))
        self.assertEqual(self.world.kinds()[0], "SessionStarted")
        self.assertIn("SessionJudged", self.world.kinds())

    def test_host_keys(self) -> None:
        """A certificate for who knows the CA, the plain key for who has pinned it."""
        for algorithm in (CERTIFICATE, b"ssh-ed25519"):
            visitor = self.world.connect(algorithm).log_in()
            self.assertIn(USERAUTH_SUCCESS, visitor.numbers)
            self.assertIn(algorithm, visitor.hosts.seen[0])

    def test_no_host_key(self) -> None:
        """Nobody is served before there is one."""

        def nothing() -> None:
            raise UnavailableError("none yet")

        self.world.factory.context.ssh_host = nothing  # type: ignore[misc,assignment]
        self.assertIsNone(self.world.factory.buildProtocol(None))
        self.flushLoggedErrors()

    def test_policy(self) -> None:
        """It is asked before the agent is."""
        self.world.verdict = lambda _operation: NO
        self.assertEqual(self.refused(), "hoopgw: not today")
        self.assertEqual(self.world.links, [])
        (record,) = self.world.recorder.of(SessionRefused)
        self.assertEqual(
            (record.protocol, record.target, record.account, record.address, record.reason),
            ("ssh", "web1", "deploy", "192.0.2.7", "not today"),
        )

    def test_what_to_ask_for(self) -> None:
        """A refusal that a grant would cure says how to get it, before the end."""
        self.world.verdict = lambda _operation: evolve(NO, cures=("on-call",))
        visitor = self.world.connect().log_in()
        self.assertIn("hoopgw request --target web1 --grant on-call", visitor.banner)
        self.assertEqual(visitor.client.told, "hoopgw: not today")

    def test_no_such_target(self) -> None:
        self.assertEqual(self.refused(b"deploy+web9"), "there is no SSH target web9 here")

    def test_too_many_sessions(self) -> None:
        self.world.no_session = UnavailableError("the gateway has 2 sessions already, its limit")
        self.assertIn("its limit", self.refused())

    def test_the_agent_is_away(self) -> None:
        self.world.opening = Deferred()
        self.world.opening.errback(LinkError("agent local is not connected"))
        self.assertEqual(self.refused(), "agent local is not connected")

    def test_nothing_can_be_recorded(self) -> None:
        """Then nothing begins, and the target is let go."""
        self.world.recorder.full = True
        self.assertIn("the disk is full", self.refused())
        self.assertEqual(self.world.links[0].ended, "aborted")

    def test_the_client_leaves_while_the_target_opens(self) -> None:
        """It is taken back."""
        self.world.opening = Deferred()
        visitor = self.world.connect().log_in()
        visitor.leave()
        (record,) = self.world.recorder.of(SessionRefused)
        self.assertEqual(record.reason, "the client left")
        self.assertEqual([why for _, why in self.world.closed], ["the client left"])

    def test_cut_while_the_target_opens(self) -> None:
        """As by a revocation: nobody is let in, and the client is told."""
        self.world.opening = Deferred()
        visitor = self.world.connect().log_in()
        self.world.cut(REVOKED)
        visitor.run()
        self.assertIn(REVOKED, visitor.client.told)
        self.assertNotIn(USERAUTH_SUCCESS, visitor.numbers)
        self.assertEqual([why for _, why in self.world.closed], [REVOKED])

    def test_a_certificate_that_is_not_good(self) -> None:
        """The client may try again; the refusal is recorded when it has left."""
        visitor = self.world.connect().log_in(b"root+web1")
        self.assertEqual(visitor.numbers.count(USERAUTH_FAILURE), 1)
        self.assertIn("not for account root", visitor.banner)
        self.assertEqual(self.world.recorder.records, [])
        visitor.leave()
        (record,) = self.world.recorder.of(SessionRefused)
        self.assertEqual((record.account, record.target), ("root", "web1"))

    def test_source_address(self) -> None:
        """A certificate for some networks is good from these."""
        inside = self.world.connect(address="10.0.0.9").log_in(sources=("10.0.0.0/8",))
        self.assertIn(USERAUTH_SUCCESS, inside.numbers)
        outside = self.world.connect(address="192.0.2.7").log_in(sources=("10.0.0.0/8",))
        self.assertIn("may not be shown from here", outside.banner)

    def test_limits_of_the_listener(self) -> None:
        """Attempts and time are the configuration's."""
        self.world = World(listener={"attempts": 2, "login_timeout": 30})
        visitor = self.world.connect()
        for _ in range(3):
            visitor.log_in(b"root+web1")
        self.assertEqual(visitor.client.told, "too many attempts")
        late = self.world.connect()
        self.world.clock.advance(30)
        self.assertIn("in time", late.run().client.told)

    def test_strangers(self) -> None:
        """Who fills the house with connections that do not log in loses his oldest ones."""
        self.world = World(listener={"strangers": 4, "strangers_per_address": 2})
        crowd = [self.world.connect() for _ in range(2)]
        known = self.world.connect(address="192.0.2.1").log_in()
        late = self.world.connect()
        self.assertEqual(
            [each.server.transport.closed for each in (*crowd, known, late)],
            [True, False, False, False],
        )


class EndTests(SynchronousTestCase):
    """A session's end."""

    def setUp(self) -> None:
        self.world = World()
        self.visitor = self.world.connect().log_in()

    def assert_ended(self, why: str) -> None:
        """Check that the end was recorded once, and all is given back."""
        (ended,) = self.world.recorder.of(SessionEnded)
        self.assertEqual(ended.reason, why)
        self.assertEqual([each for _, each in self.world.closed], [why])
        self.assertEqual([purse.closed for purse in self.world.purses], [1])

    def test_the_client_leaves(self) -> None:
        self.visitor.leave()
        self.assert_ended("the client has closed the connection")
        self.assertEqual(self.world.links[0].ended, "closed")

    def test_the_target_leaves(self) -> None:
        """The client is told."""
        self.world.links[0].lose()
        self.visitor.run()
        self.assertIn("the target, or the agent before it", self.visitor.client.told)
        self.assert_ended("the target, or the agent before it, has closed the connection")

    def test_the_agent_ends_it_at_the_log_ins_end(self) -> None:
        """Its clock may be a little ahead: the reason is the same as ours would be."""
        self.world.clock.advance(3_600 - 2)
        self.visitor.run()
        self.world.links[0].lose()
        self.visitor.run()
        self.assertIn("the log-in has expired", self.visitor.client.told)

    def test_cut(self) -> None:
        """At once, with what to do; what comes later goes nowhere."""
        self.world.cut(REVOKED)
        self.visitor.run()
        self.assertTrue(self.visitor.client.told.startswith(f"{REVOKED}. "))
        self.assert_ended(REVOKED)
        self.world.cut(REVOKED)
        self.visitor.leave()
        self.assert_ended(REVOKED)

    def test_what_runs_is_hung_up(self) -> None:
        """A cut tells the target what its terminal's end would: sshd lets other commands live."""
        talk = self.visitor.start(b"sleep 300")
        taker = talk.far.takers[0]
        self.assertEqual(taker.requests[-1].name, b"exec")
        self.world.cut(REVOKED)
        talk.run()
        self.assertEqual(taker.events[-2:], [(b"signal", string(b"HUP")), "closed"])
        self.assertIn("session", [each.kind.decode() for each, _ in talk.far.openings])

    def test_nothing_is_hung_up_when_the_client_leaves(self) -> None:
        """Then it is as with any sshd."""
        talk = self.visitor.start(b"sleep 300")
        self.visitor.leave()
        talk._frames.receive(self.world.links[0].take())
        self.assertNotIn(b"signal", [each.name for each in talk.far.takers[0].requests])

    def test_a_grant_is_over(self) -> None:
        """It is looked at when grants change."""
        self.assertIsNone(self.world.reconsider())
        self.world.verdict = lambda _operation: NO
        self.assertEqual(self.world.reconsider(), "the access that was granted for a while is over")
