"""Device codes, as the gateway asks for them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.identity.device_flow import LONGEST, DeviceIssuer, Later
from hoopgw.identity.graph import Reply
from hoopgw.identity.keys import DEADLINE
from hoopgw.identity.login import IssuerToken
from hoopgw.identity.settings import IssuerSettings
from hoopgw.identity.urns import ID_TOKEN
from tests.identity.forge import token

ISSUER = "https://idp.example"
DESCRIPTION = {
    "issuer": ISSUER,
    "device_authorization_endpoint": f"{ISSUER}/device",
    "token_endpoint": f"{ISSUER}/token",
}
CODE = {
    "device_code": "secret-device",
    "user_code": "ABCD-EFGH",
    "verification_uri": f"{ISSUER}/enter",
    "verification_uri_complete": f"{ISSUER}/enter?code=ABCD-EFGH",
    "expires_in": 600,
    "interval": 2,
}


class Provider:
    """Implements `Ask`: answers in turn, and keeps what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.silent = False

    def __call__(self, method: str, url: str, headers: Any, body: bytes | None) -> Deferred[Reply]:
        """Answer."""
        form = {k: v[0] for k, v in parse_qs((body or b"").decode()).items()}
        self.asked.append((method, url, form))
        if self.silent:
            return Deferred()
        status, answer = 200, DESCRIPTION
        if not url.endswith("/openid-configuration") or url in self.answers:
            several = self.answers[url]
            status, answer = several.pop(0) if len(several) > 1 else several[0]
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return succeed(Reply(status, data))


class DeviceIssuerTests(SynchronousTestCase):
    """`DeviceIssuer`."""

    def setUp(self) -> None:
        self.clock, self.provider = Clock(), Provider()
        self.settings = IssuerSettings(
            alias="corp", issuer=ISSUER, client_id="hoopgw-cli", audiences=["hoopgw"]
        )
        self.issuer = DeviceIssuer(self.settings, self.provider, self.clock)
        self.provider.answers = {
            f"{ISSUER}/device": [(200, CODE)],
            f"{ISSUER}/token": [(200, {"id_token": token()})],
        }

    def done(self, coroutine: Any) -> Any:
        """Return what a coroutine returns."""
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def failed(self, coroutine: Any, kind: type[Exception]) -> str:
        """Return why a coroutine failed."""
        failure = self.failureResultOf(Deferred.fromCoroutine(coroutine), kind)
        return str(failure.getErrorMessage())

    def test_begun(self) -> None:
        """As a public client; what is shown is in no ``repr``."""
        begun = self.done(self.issuer.begin())
        self.assertEqual(begun.code.code, "ABCD-EFGH")
        self.assertEqual((begun.interval, begun.lasts), (2.0, 600.0))
        self.assertNotIn("ABCD", repr(begun))
        self.assertNotIn("secret", repr(begun))
        form = self.provider.asked[1][2]
        self.assertEqual(form, {"client_id": "hoopgw-cli", "scope": "openid profile email"})
        self.done(self.issuer.begin())
        self.assertEqual(len(self.provider.asked), 3)  # the description was fresh
        self.clock.advance(3_601)
        self.done(self.issuer.begin())
        self.assertEqual(len(self.provider.asked), 5)

    def test_entra_on_behalf(self) -> None:
        """An access token for the gateway is asked for where an agent acts on behalf."""
        self.settings = evolve(
            self.settings, type="entra", tenant="t", on_behalf_of=frozenset({"orders"})
        )
        self.issuer = DeviceIssuer(self.settings, self.provider, self.clock)
        self.done(self.issuer.begin())
        self.assertIn("hoopgw/.default", self.provider.asked[1][2]["scope"].split())

    def test_what_cannot_be_shown(self) -> None:
        """Is not: a URL that is none, a code that is missing; and no code lasts for ever."""
        for change in (
            {"verification_uri": "javascript:alert(1)"},
            {"verification_uri": "https://idp.example/\x1b[2J"},
            {"verification_uri_complete": "http://elsewhere.example/x"},
            {"user_code": None, "device_code": None, "expires_in": "soon"},
        ):
            self.provider.answers[f"{ISSUER}/device"] = [(200, {**CODE, **change})]
            self.assertIn("cannot be read", self.failed(self.issuer.begin(), UnavailableError))
        self.provider.answers[f"{ISSUER}/device"] = [(200, {**CODE, "expires_in": 10**9})]
        self.assertEqual(self.done(self.issuer.begin()).lasts, LONGEST)

    def test_issuers_that_do_not_do_it(self) -> None:
        """Say so, or nothing; each is an end."""
        where = f"{ISSUER}/.well-known/openid-configuration"
        for status, answer in (
            (500, {}),
            (200, {**DESCRIPTION, "issuer": "https://other.example"}),
            (200, {"issuer": ISSUER}),
            (200, {**DESCRIPTION, "device_authorization_endpoint": "http://idp.example/device"}),
            (200, b"<html>"),
        ):
            issuer = DeviceIssuer(self.settings, self.provider, self.clock)
            self.provider.answers[where] = [(status, answer)]
            self.failed(issuer.begin(), UnavailableError)
        del self.provider.answers[where]
        self.provider.answers[f"{ISSUER}/device"] = [(400, {"error": "unauthorized_client"})]
        said = self.failed(self.issuer.begin(), UnavailableError)
        self.assertIn("unauthorized_client", said)

    def test_silence(self) -> None:
        """Is waited for, but not long."""
        self.provider.silent = True
        asking = Deferred.fromCoroutine(self.issuer.begin())
        self.clock.advance(DEADLINE + 0.1)
        self.failureResultOf(asking, UnavailableError)

    def test_polled(self) -> None:
        """Not yet; slower; and a token."""
        self.provider.answers[f"{ISSUER}/token"] = [
            (400, {"error": "authorization_pending"}),
            (400, {"error": "slow_down"}),
            (200, {"id_token": token(), "access_token": "opaque"}),
        ]
        self.assertEqual(self.done(self.issuer.poll("d")), Later(slower=False))
        self.assertEqual(self.done(self.issuer.poll("d")), Later(slower=True))
        given = self.done(self.issuer.poll("d"))
        assert isinstance(given, IssuerToken)
        self.assertEqual(given.kind, ID_TOKEN)
        self.assertEqual(self.provider.asked[-1][2]["device_code"], "d")

    def test_refused(self) -> None:
        """By the person, by time, and by the issuer; a fault of the issuer's is another thing."""
        for status, answer, kind in (
            (400, {"error": "access_denied"}, AuthenticationError),
            (400, {"error": "expired_token"}, AuthenticationError),
            (400, {"error": "invalid_grant"}, AuthenticationError),
            (200, {"access_token": "opaque"}, AuthenticationError),
            (503, {}, UnavailableError),
        ):
            self.provider.answers[f"{ISSUER}/token"] = [(status, answer)]
            self.failed(self.issuer.poll("d"), kind)
