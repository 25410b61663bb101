"""Tests for `hoopgw.http.callers`: who may send a request, and how long what it showed holds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.events import Hop, Principal
from hoopgw.http.callers import AGAIN, Callers, LoggedIn
from hoopgw.http.messages import Headers, RequestHead
from hoopgw.http.model import status_of
from hoopgw.identity.shown import (
    Bearer,
    CallerCertificate,
)
from hoopgw.sessions.refusals import Refusal, RefusedError
from hoopgw.spi import (
    GatewayContext,
)

ALICE = Principal(
    chain=(Hop(id="corp|alice", name="alice", kind="person"),), session="login-1", expires=9000.0
)


GOOD = Bearer(principal=ALICE, account="", expires=300.0)


@define(eq=False)
class Logins:
    """Knows one token, one chain and one certificate."""

    asked: list[str] = field(factory=list)
    bearer_answer: Bearer | Exception = GOOD
    away: bool = False

    def bearer(self, token: str, target: str) -> Bearer:
        """Verify a token."""
        self.asked.append(token)
        if isinstance(self.bearer_answer, Exception):
            raise self.bearer_answer
        if (token, target) != ("good", "api"):
            raise AuthenticationError(f"the token {token} is not good")
        return self.bearer_answer

    def chain(self, chain: str, target: str) -> Deferred[Principal]:
        """Verify a chain, whose proof is good once."""
        if self.away:
            return fail(UnavailableError("control is away"))
        if chain in self.asked:
            return fail(AuthenticationError("used before"))
        self.asked.append(chain)
        return succeed(ALICE)

    def certificate(self, der: bytes, target: str, account: str) -> CallerCertificate:
        """Verify a certificate."""
        if (der, account) != (b"der", "reader"):
            raise AuthenticationError("it is for another account")
        return CallerCertificate(ALICE, "cert:7")


class CallersTests(SynchronousTestCase):
    """One connection."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.logins = Logins()
        self.shown: bytes | None = None
        tls = SimpleNamespace(getpeercert=lambda binary_form: self.shown)
        context = SimpleNamespace(clock=self.clock, logins=self.logins)
        self.transport = SimpleNamespace(tls=tls)
        self.callers = Callers(cast("GatewayContext", context), cast("Any", self.transport))
        self.lives = True

    def identify(self, *fields: tuple[bytes, bytes], account: str = "reader") -> Deferred[LoggedIn]:
        """Send a request."""
        head = RequestHead("GET", "/", Headers(fields))
        return Deferred.fromCoroutine(
            self.callers.identify(head, "api", account, lambda _login: self.lives)
        )

    def good(self, *fields: tuple[bytes, bytes], **options: str) -> LoggedIn:
        """Send one that is believed."""
        return self.successResultOf(self.identify(*fields, **options))

    def refused(self, *fields: tuple[bytes, bytes]) -> Refusal:
        """Send one that is not."""
        error = self.failureResultOf(self.identify(*fields), RefusedError).value
        assert isinstance(error, RefusedError)
        return error.refusal

    def test_a_token(self) -> None:
        login = self.good((b"Authorization", b"Bearer good"))
        self.assertEqual((login.principal, login.account, login.method), (ALICE, "reader", "token"))

    def test_it_is_not_verified_each_time_but_again_and_again(self) -> None:
        for _ in range(3):
            self.good((b"Authorization", b"Bearer good"))
        self.assertEqual(len(self.logins.asked), 1)
        self.clock.advance(AGAIN)
        self.good((b"Authorization", b"Bearer good"))
        self.assertEqual(len(self.logins.asked), 2)

    def test_not_after_its_end(self) -> None:
        self.logins.bearer_answer = Bearer(principal=ALICE, account="", expires=10.0)
        self.good((b"Authorization", b"Bearer good"))
        self.clock.advance(10.0)
        self.logins.bearer_answer = AuthenticationError("expired")
        self.assertEqual(status_of(self.refused((b"Authorization", b"Bearer good"))), 401)

    def test_not_when_its_session_was_ended(self) -> None:
        """What was revoked a moment ago is not believed because it was good before."""
        self.good((b"Authorization", b"Bearer good"))
        self.lives = False
        self.logins.bearer_answer = AuthenticationError("revoked")
        self.refused((b"Authorization", b"Bearer good"))

    def test_another_token_is_not_the_one_before(self) -> None:
        self.good((b"Authorization", b"Bearer good"))
        self.refused((b"Authorization", b"Bearer gooe"))

    def test_a_bad_token_is_not_repeated(self) -> None:
        """A token of somebody else's, as Entra's, reaches no answer."""
        refusal = self.refused((b"Authorization", b"Bearer secret-of-entra"))
        self.assertEqual(refusal.kind, "unauthenticated")
        self.assertNotIn("secret", repr(refusal))

    def test_a_chain_is_good_for_its_connection(self) -> None:
        for _ in range(3):
            login = self.good((b"Authorization", b"Bearer root~hop~pop"))
        self.assertEqual(login.method, "chain")
        self.lives = False
        self.refused((b"Authorization", b"Bearer root~hop~pop"))

    def test_control_is_away(self) -> None:
        self.logins.away = True
        self.assertEqual(status_of(self.refused((b"Authorization", b"Bearer root~hop~pop"))), 503)

    def test_a_certificate(self) -> None:
        self.shown = b"der"
        login = self.good()
        self.assertEqual((login.method, login.credential), ("certificate", "cert:7"))
        self.assertIn("another account", self.refused((b"X-Hoopgw-Account", b"owner")).text)

    def test_what_is_no_proof(self) -> None:
        for value in (b"Basic YTpi", b"Bearer", b"Bearer ", b"SharedKey a:b", b"", b"\xff"):
            with self.subTest(value=value):
                self.assertEqual(status_of(self.refused((b"Authorization", value))), 401)
        self.assertEqual(status_of(self.refused()), 401)
        twice = (b"Authorization", b"Bearer good"), (b"authorization", b"Bearer good")
        self.assertEqual(status_of(self.refused(*twice)), 400)

    def test_outside_tls(self) -> None:
        self.transport.tls = None
        self.assertIn("TLS", self.refused((b"Authorization", b"Bearer good")).text)

    def test_accounts(self) -> None:
        """The token's own, then what the request says, then the target's."""
        token = (b"Authorization", b"Bearer good")
        owner = (b"X-Hoopgw-Account", b"owner")
        self.assertEqual(self.good(token, owner).account, "owner")
        self.assertEqual(self.good(token).account, "reader")
        answer = self.logins.bearer_answer
        assert isinstance(answer, Bearer)
        self.logins.bearer_answer = evolve(answer, account="deployer")
        self.clock.advance(AGAIN)
        self.assertEqual(self.good(token).account, "deployer")
        self.refused(token, owner)
        for bad in (b"", b"a\x00b", b"\xe9", b"x" * 300):
            with self.subTest(bad=bad):
                refusal = self.refused(token, (b"X-Hoopgw-Account", bad))
                self.assertEqual(refusal.kind, "malformed")
        self.assertEqual(self.refused(token, owner, owner).kind, "malformed")
