"""Tests for `hoopgw.identity.endpoint`: whole HTTP requests, without a network."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from attrs import frozen
from joserfc.jwk import OKPKey
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.server import Site
from zope.interface import implementer

from hoopgw.identity.dpop import make_proof
from hoopgw.identity.endpoint import token_resource
from hoopgw.identity.forms import BODY_LIMIT
from hoopgw.identity.issuers import Issuer, Issuers
from hoopgw.identity.jose import PublicKey
from hoopgw.identity.tokens import GATEWAY, TokenVerifier
from hoopgw.identity.urns import ACCESS_TOKEN, GRANT
from tests.identity.forge import NOW, rsa_key, settings, token
from tests.identity.test_exchange import URL, ExchangeTestCase


@frozen
class Answer:
    """An HTTP answer, taken apart."""

    status: int
    headers: dict[str, str]
    body: Any


class SlowKeys:
    """Keys that somebody waits for."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[PublicKey]] = []

    async def find(self, _kid: str) -> PublicKey:
        self.waiting.append(Deferred())
        return await self.waiting[-1]


class EndpointTestCase(ExchangeTestCase):
    """The endpoint of an exchange."""

    def setUp(self) -> None:
        super().setUp()
        self.serve()

    def serve(self) -> None:
        self.site = Site(token_resource(self.exchange, URL), timeout=None)

    def connect(self, request: bytes, host: str = "10.0.0.1") -> StringTransport:
        """Send a request; the answer is what the transport then has."""
        return self.open(request, host)[1]

    def open(self, request: bytes, host: str) -> tuple[IProtocol, StringTransport]:
        """Send a request on a connection of its own."""
        channel = self.site.buildProtocol(IPv4Address("TCP", host, 1))
        assert channel is not None
        transport = StringTransport(peerAddress=IPv4Address("TCP", host, 1))
        channel.makeConnection(transport)
        channel.dataReceived(request)
        return channel, transport

    def send(self, request: bytes, host: str = "10.0.0.1") -> Answer:
        """Send a request, and return the answer."""
        head, _, body = self.connect(request, host).value().partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        if headers.get("transfer-encoding") == "chunked":
            body = body.partition(b"\r\n")[2].rpartition(b"\r\n0\r\n")[0]
        is_json = headers.get("content-type") == "application/json"
        return Answer(int(first.split()[1]), headers, json.loads(body) if is_json else None)

    def post(self, body: bytes | dict[str, str], *headers: str, host: str = "10.0.0.1") -> Answer:
        data = body if isinstance(body, bytes) else urlencode(body).encode()
        return self.send(self.request(data, *headers), host)

    def request(self, body: bytes, *headers: str) -> bytes:
        lines = [
            "POST /sts/token HTTP/1.1",
            "Host: gw.example",
            f"Content-Length: {len(body)}",
            *(headers or ("Content-Type: application/x-www-form-urlencoded",)),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body

    def get(self, path: str) -> Answer:
        return self.send(f"GET {path} HTTP/1.1\r\nHost: gw.example\r\n\r\n".encode())

    def form(self, **changes: str) -> dict[str, str]:
        return {
            "grant_type": GRANT,
            "subject_token": token(),
            "subject_token_type": ACCESS_TOKEN,
        } | changes


class TokenTests(EndpointTestCase):
    """``POST /sts/token``."""

    def test_given(self) -> None:
        """A token comes as JSON, and is not to be kept by caches."""
        answer = self.post(self.form())
        self.assertEqual((answer.status, answer.headers["cache-control"]), (200, "no-store"))
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.verifier.verify(answer.body["access_token"], GATEWAY, NOW)

    def test_refused(self) -> None:
        """An error has the form of RFC 6749, and is not to be kept either."""
        answer = self.post(self.form(subject_token="garbage"))
        self.assertEqual((answer.status, answer.headers["cache-control"]), (400, "no-store"))
        self.assertEqual(answer.body["error"], "invalid_grant")

    def test_forms(self) -> None:
        """A parameter twice, another content type, broken encoding, too many, too long."""
        good = urlencode(self.form()).encode()
        kind = "Content-Type: application/x-www-form-urlencoded"
        self.assertEqual(self.post(good, kind + "; charset=utf-8").status, 200)
        for body, header in (
            (good + b"&audience=a&audience=b", kind),
            (good, "Content-Type: application/json"),
            (good, "X-None: 1"),
            (b"\xff" + good, kind),
            (b"a=%ff", kind),
            (b"no form", kind),
            (good + b"&x=1" * 30, kind),
            (good + b"&nonce=" + b"x" * BODY_LIMIT, kind),
        ):
            with self.subTest(body[-40:], header=header):
                answer = self.post(body, header, host=f"10.0.1.{len(body) % 250}")
                self.assertEqual((answer.status, answer.body["error"]), (400, "invalid_request"))

    def test_other_methods(self) -> None:
        """Nothing else is served, so no token is ever in a URL."""
        self.assertEqual(self.get("/sts/token?grant_type=x").status, 405)

    def test_proof(self) -> None:
        """The DPoP header binds the token; two of them, or a bad one, are refused."""
        key = OKPKey.generate_key("Ed25519")
        kind = "Content-Type: application/x-www-form-urlencoded"
        body = urlencode(self.form()).encode()

        def header() -> str:
            return f"DPoP: {make_proof(key, 'POST', URL + '/sts/token', NOW)}"

        answer = self.post(body, kind, header())
        self.assertEqual((answer.status, answer.body["token_type"]), (200, "DPoP"))
        for headers in ([header(), header()], ["DPoP: x"], ["DPoP: \xe9"]):
            answer = self.post(body, kind, *headers)
            self.assertEqual((answer.status, answer.body["error"]), (400, "invalid_dpop_proof"))

    def test_rate(self) -> None:
        """Who is refused again and again must wait; who has a good token need not."""
        answers = [self.post(self.form(subject_token="x")).status for _ in range(40)]
        self.assertEqual((answers[0], answers[-1]), (400, 429))
        self.assertEqual(self.post(self.form()).status, 200)
        other = self.post(self.form(subject_token="x"), host="10.0.0.2")
        self.assertEqual(other.status, 400)
        self.now += 60
        self.assertEqual(self.post(self.form(subject_token="x")).status, 400)

    def test_rate_of_what_is_given(self) -> None:
        """An address gets so many tokens, and then some each second."""
        answers = [self.post(self.form()).status for _ in range(305)]
        self.assertEqual((answers[0], answers[299], answers[-1]), (200, 200, 429))
        self.assertEqual(self.post(self.form(), host="10.0.0.2").status, 200)
        self.now += 1
        self.assertEqual(self.post(self.form()).status, 200)

    def test_nothing_secret_is_logged(self) -> None:
        """Neither what comes in nor what goes out is in any log event."""
        events: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            events.append(repr(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        good = self.form()
        given = self.post(good).body["access_token"]
        bad = self.form(subject_token=token(kid="unknown"))
        self.post(bad)
        self.assertEqual(len(events), 2)
        for secret in (good["subject_token"], bad["subject_token"], given):
            for part in secret.split("."):
                self.assertNotIn(part, "".join(events))


class WaitingTests(EndpointTestCase):
    """Requests that wait for an issuer's keys."""

    def setUp(self) -> None:
        super().setUp()
        self.slow = SlowKeys()
        issuers = Issuers.of([Issuer(settings(), self.slow)], lambda: NOW)
        self.with_parts(issuers=issuers)
        self.serve()
        self.body = urlencode(self.form()).encode()

    def test_answered_later(self) -> None:
        """The answer comes when the keys are there."""
        transport = self.connect(self.request(self.body))
        self.assertEqual(transport.value(), b"")
        self.slow.waiting[0].callback(PublicKey(rsa_key()))
        self.assertIn(b"200 OK", transport.value())

    def test_caller_gone(self) -> None:
        """Nobody is answered, and nothing is left behind or logged as an error."""
        channel, _ = self.open(self.request(self.body), "10.0.0.1")
        channel.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.slow.waiting[0].called)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_too_many(self) -> None:
        """Only so many may wait."""
        for number in range(64):
            self.connect(self.request(self.body), f"10.0.2.{number}")
        answer = self.post(self.body, host="10.0.3.1")
        self.assertEqual((answer.status, answer.body["error"]), (503, "temporarily_unavailable"))
        for one in self.slow.waiting:
            one.callback(PublicKey(rsa_key()))
        Deferred.fromCoroutine(self.slow.find(""))
        self.connect(self.request(self.body), "10.0.3.1")
        self.assertEqual(len(self.slow.waiting), 66)

    def test_a_bug(self) -> None:
        """What nobody thought of is a 500 that says nothing."""
        transport = self.connect(self.request(self.body))
        self.slow.waiting[0].errback(RuntimeError("secret"))
        self.assertIn(b"500", transport.value())
        self.assertNotIn(b"secret", transport.value())
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class DocumentTests(EndpointTestCase):
    """What describes the endpoint."""

    def test_keys(self) -> None:
        """The key set verifies what was given, and has no private part."""
        answer = self.get("/sts/jwks.json")
        given = self.post(self.form()).body["access_token"]
        TokenVerifier(answer.body, URL).verify(given, GATEWAY, NOW)
        self.assertNotIn("d", answer.body["keys"][0])

    def test_metadata(self) -> None:
        """RFC 8414: where the endpoint is, and what it can."""
        document = self.get("/.well-known/oauth-authorization-server").body
        self.assertEqual(document["issuer"], URL)
        self.assertEqual(document["token_endpoint"], URL + "/sts/token")
        self.assertEqual(document["grant_types_supported"], [GRANT, "refresh_token"])

    def test_issuers(self) -> None:
        """How to log in, and nothing of what is asked of tokens."""
        document = self.get("/.well-known/hoopgw").body
        self.assertEqual(
            document["issuers"],
            [
                {
                    "alias": "corp",
                    "type": "oidc",
                    "issuer": settings().issuer,
                    "client_id": "hoopgw-cli",
                    "audiences": ["hoopgw"],
                    "wants_access": False,
                }
            ],
        )

    def test_elsewhere(self) -> None:
        """Other paths are not there."""
        for path in ("/sts/", "/sts/x", "/.well-known/x", "/"):
            self.assertEqual(self.send(f"GET {path} HTTP/1.0\r\n\r\n".encode()).status, 404)
