"""Clients log in: with a certificate, a proof of its key, and in time."""

from __future__ import annotations

import base64
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError, LinkError, ProtocolViolationError, UnavailableError
from hoopgw.events import Hop, Principal
from hoopgw.identity.certified import Certified
from hoopgw.identity.ssh_certificates import Restrictions, SshCaller, issue_user, verify_user
from hoopgw_ssh import user_login
from hoopgw_ssh.user_login import (
    CERTIFICATE,
    USERAUTH_BANNER,
    USERAUTH_FAILURE,
    USERAUTH_PK_OK,
    USERAUTH_REQUEST,
    USERAUTH_SUCCESS,
    LoggedIn,
    UserLogin,
    Wanted,
    parse_user,
)
from hoopgw_ssh.wire import string
from tests.ssh.pairs import Notes

URL = "https://gateway.example:8443"
NOW = 1_800_000_000.0
CA, KEY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
ALICE = Principal(
    chain=(Hop(id="corp|alice", name="alice", kind="person"),),
    session="log-in",
    expires=NOW + 3_600,
)
CERTIFIED = Certified(issuer=URL, principal=ALICE, targets=frozenset({"web1"}))


class Side:
    """The transport, as the service sees it."""

    sessionID = b"session"

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.ended = ""
        self.service: Any = None

    def sendPacket(self, number: int, payload: bytes) -> None:
        """Keep it."""
        self.sent.append((number, payload))

    def sendDisconnect(self, _reason: int, why: str) -> None:
        """Keep it."""
        self.ended = why

    def setService(self, service: Any) -> None:
        """Keep it."""
        self.service.serviceStopped()
        self.service = service

    @property
    def numbers(self) -> list[int]:
        """Of the messages that were sent."""
        return [number for number, _ in self.sent]


def certificate(key: Ed25519PrivateKey = KEY, **options: Any) -> bytes:
    """Return a certificate's blob."""
    text, _ = issue_user(CA, CERTIFIED, key.public_key(), ["deploy"], NOW, Restrictions(**options))
    return base64.b64decode(text.split()[1])


class LoginCase(SynchronousTestCase):
    """One log-in."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.side = Side()
        self.found: list[LoggedIn] = []
        self.failure: Exception | None = None
        self.opening: Deferred[None] = succeed(None)
        self.unavailable = False
        self.login = UserLogin(self.verify, "192.0.2.7", self.clock, self.admit)
        self.login.transport = self.side
        self.side.service = self.login
        self.login.serviceStarted()

    def verify(self, text: str, target: str, account: str) -> SshCaller:
        """Verify for real, unless a test wants a failure."""
        if self.failure is not None:
            raise self.failure
        return verify_user(text, [CA.public_key()], URL, target, account, NOW)

    async def admit(self, found: LoggedIn) -> Notes:
        """Keep it."""
        if self.unavailable:
            raise LinkError("the agent of web1 is away")
        await self.opening
        self.found.append(found)
        return Notes()

    def request(
        self, *rest: bytes, user: bytes = b"deploy+web1", method: bytes = b"publickey"
    ) -> bytes:
        """Return a request."""
        return b"".join((*map(string, (user, b"ssh-connection", method)), *rest))

    def signed(
        self,
        blob: bytes | None = None,
        key: Ed25519PrivateKey = KEY,
        name: bytes = b"ssh-ed25519",
        session: bytes = Side.sessionID,
        user: bytes = b"deploy+web1",
    ) -> bytes:
        """Return a request with a signature."""
        head = self.request(b"\1", string(CERTIFICATE), string(blob or certificate()), user=user)
        proof = key.sign(string(session) + bytes([USERAUTH_REQUEST]) + head)
        return head + string(string(name) + string(proof))

    def send(self, request: bytes) -> None:
        """Let the client ask."""
        self.login.packetReceived(USERAUTH_REQUEST, request)

    def refused(self, request: bytes) -> None:
        """Nobody is let in."""
        before = len(self.side.sent)
        self.send(request)
        self.assertEqual(self.side.numbers[before:][-1:], [USERAUTH_FAILURE])
        self.assertEqual(self.found, [])


class CertificateTests(LoginCase):
    """Certificates."""

    def test_good(self) -> None:
        """Who it stands for is known, and another service takes over."""
        blob = certificate()
        self.send(self.request(method=b"none"))
        self.send(self.request(b"\0", string(CERTIFICATE), string(blob)))
        self.send(self.signed(blob))
        self.assertEqual(self.side.numbers, [USERAUTH_FAILURE, USERAUTH_PK_OK, USERAUTH_SUCCESS])
        (found,) = self.found
        self.assertEqual(found.principal.root.id, "corp|alice")
        self.assertEqual(found.wanted, Wanted("deploy", "web1"))
        self.assertIsInstance(self.side.service, Notes)
        self.assertFalse(self.clock.getDelayedCalls())

    def test_the_key_must_be_proved(self) -> None:
        """By itself, over this session, this user, and by its own algorithm."""
        self.refused(self.signed(key=Ed25519PrivateKey.generate()))
        self.refused(self.signed(session=b"another"))
        self.refused(self.signed(name=b"ssh-rsa"))
        other = self.signed(user=b"root+web1")
        self.refused(other.replace(string(b"root+web1"), string(b"deploy+web1")))

    def test_where_it_is_for(self) -> None:
        """Another account, another target."""
        self.refused(self.signed(user=b"root+web1"))
        self.refused(self.signed(user=b"deploy+web2"))
        self.assertIn(b"not for account root", self.side.sent[0][1])

    def test_from_where(self) -> None:
        """A source-address is held."""
        self.refused(self.signed(certificate(sources=("198.51.100.0/24",))))
        self.send(self.signed(certificate(sources=("192.0.2.0/24",))))
        self.assertEqual(len(self.found), 1)

    def test_plain_keys(self) -> None:
        """Are nobody's; the client may go on with another."""
        raw = KEY.public_key().public_bytes_raw()
        blob = string(b"ssh-ed25519") + string(raw)
        self.refused(self.request(b"\0", string(b"ssh-ed25519"), string(blob)))
        self.refused(self.request(b"\0", string(CERTIFICATE), string(blob)))
        self.send(self.signed())
        self.assertEqual(len(self.found), 1)

    def test_passwords(self) -> None:
        """Are not taken, and not looked at."""
        self.refused(self.request(b"\0", string(b"secret"), method=b"password"))
        self.refused(self.request(string(b""), string(b""), method=b"keyboard-interactive"))


class TurnTests(LoginCase):
    """One at a time, and not for ever."""

    def test_requests_that_are_pipelined(self) -> None:
        """Wait for each other; nothing is taken after a success."""
        self.opening = Deferred()
        self.send(self.signed())
        self.send(self.signed())
        self.assertEqual(self.side.numbers, [])
        self.opening.callback(None)
        self.assertEqual(self.side.numbers, [USERAUTH_SUCCESS])
        self.assertEqual(len(self.found), 1)

    def test_too_many_at_once(self) -> None:
        """End the connection."""
        self.opening = Deferred()
        with self.assertRaises(ProtocolViolationError):
            for _ in range(user_login.WAITING_LIMIT + 2):
                self.send(self.signed())

    def test_too_many_attempts(self) -> None:
        """As well, after six."""
        for _ in range(user_login.ATTEMPTS_LIMIT):
            self.refused(self.request(method=b"none"))
        self.send(self.request(method=b"none"))
        self.assertEqual(self.side.ended, "too many attempts")

    def test_nobody_comes(self) -> None:
        """In time."""
        self.clock.advance(user_login.LOGIN_TIMEOUT)
        self.assertIn("in time", self.side.ended)

    def test_nobody_is_let_in_behind_the_end(self) -> None:
        """What was being opened is let go, and what waited is not looked at any more."""
        self.opening = Deferred()
        self.send(self.signed())
        self.send(self.signed())
        self.clock.advance(user_login.LOGIN_TIMEOUT)
        self.assertIn("in time", self.side.ended)
        self.assertTrue(self.opening.called)
        self.send(self.signed())
        self.assertEqual((self.found, self.side.sent), ([], []))

    def test_the_client_goes(self) -> None:
        """While the target is opened for it: that is given up, and nothing is said."""
        cancelled: list[object] = []
        self.opening = Deferred(cancelled.append)
        self.send(self.signed())
        self.login.serviceStopped()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.side.sent, [])

    def test_it_cannot_be_known_now(self) -> None:
        """Then nobody is let in, and the client is told so."""
        self.failure = UnavailableError("revocations are not known at the moment")
        self.send(self.signed())
        self.assertIn("at the moment", self.side.ended)

    def test_the_target_cannot_be_opened(self) -> None:
        """Nobody is let in to nothing: the client is told why."""
        self.unavailable = True
        self.send(self.signed())
        self.assertEqual(self.side.ended, "the agent of web1 is away")
        self.assertEqual(self.side.numbers, [])

    def test_a_fault_of_ours(self) -> None:
        """Says nothing of its inside."""
        self.failure = RuntimeError("/secret/path")
        self.send(self.signed())
        self.assertEqual(self.side.ended, "the log-in failed")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_why(self) -> None:
        """Is said once; six sentences would be noise."""
        for _ in range(3):
            self.refused(self.signed(user=b"deploy"))
        self.assertEqual(self.side.numbers.count(USERAUTH_BANNER), 1)
        self.assertIn(b"ACCOUNT+TARGET", self.side.sent[0][1])

    @given(st.binary(max_size=200))
    def test_garbage(self, request: bytes) -> None:
        """Is refused, or ends the connection; nobody is let in, nothing is logged as our fault."""
        self.setUp()
        self.send(request)
        self.assertEqual(self.found, [])
        self.assertTrue(self.side.ended or self.side.numbers)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_other_messages(self) -> None:
        """Of channels, before anybody has logged in."""
        with self.assertRaises(ProtocolViolationError):
            self.login.packetReceived(90, b"")


class UserTests(SynchronousTestCase):
    """User names."""

    def test_names(self) -> None:
        """The last + counts; a colon is for ssh itself."""
        for user, account, target in (
            (b"deploy+web1", "deploy", "web1"),
            (b"a+b@corp.example+web1", "a+b@corp.example", "web1"),
            (b"deploy:web1", "deploy", "web1"),
            (b"a:b+web1", "a:b", "web1"),
        ):
            self.assertEqual(parse_user(user), Wanted(account, target))

    def test_what_is_none(self) -> None:
        """Is told how it is written."""
        for user in (
            b"",
            b"deploy",
            b"+web1",
            b"deploy+",
            b"a\nb+c",
            b"\xff+a",
            b"x" * 400 + b"+a",
        ):
            with self.assertRaisesRegex(AuthenticationError, "ACCOUNT\\+TARGET"):
                parse_user(user)

    def test_values(self) -> None:
        """Are compared as they are."""
        self.assertNotEqual(Wanted("a", "b"), evolve(Wanted("a", "b"), target="c"))
