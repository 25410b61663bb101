"""An issuer that fails, turns its keys over or means ill, while the gateway runs."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc.jwk import RSAKey
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from zope.interface import implementer

from hoopgw.identity import keys
from hoopgw.identity.urns import ACCESS_TOKEN, GRANT
from tests.control.gateway_case import TOML, GatewayCase
from tests.identity import forge
from tests.support.waiting import eventually

reactor: Any = _reactor

Document = Callable[[], tuple[int, bytes]]


def saying(body: bytes) -> Document:
    """Return what answers with a body."""
    return lambda: (200, body)


class Provider:
    """A small issuer on loopback."""

    def __init__(self) -> None:
        provider = self

        class Requests(BaseHTTPRequestHandler):
            """Serves discovery and keys."""

            def do_GET(self) -> None:
                """Answer as the test wants."""
                provider.asked.append(self.path)
                is_keys = self.path == "/keys"
                status, body = (provider.keys if is_keys else provider.discovery)()
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", body.decode())
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self.asked: list[str] = []
        self.stopping = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.keys: Document = self.publishing("one")
        self.discovery: Document = lambda: (200, self.description())
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def description(self, **changes: Any) -> bytes:
        """Return the discovery document."""
        return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys", **changes}).encode()

    def publishing(self, *names: str) -> Document:
        """Publish these keys."""
        body = forge.key_set(*(forge.public_jwk(forge.rsa_key(n), n) for n in names))
        return lambda: (200, body)

    def silence(self) -> tuple[int, bytes]:
        """Answer when nobody waits any more."""
        self.stopping.wait()
        return 200, b""

    def stop(self) -> None:
        """Stop it."""
        self.stopping.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class IssuerCase(GatewayCase):
    """A gateway with one issuer."""

    def setUp(self) -> None:
        self.provider = Provider()
        self.addCleanup(self.provider.stop)
        self.patch(keys, "PAUSE", 0.05)
        self.patch(keys, "DEADLINE", 60.0)
        issuer = f"""
[[identity.issuers]]
alias = "corp"
issuer = "{self.provider.url}"
client_id = "hoopgw-cli"
audiences = ["hoopgw"]
allow_http = true
"""
        self.toml = TOML + issuer + self.more()
        super().setUp()

    def more(self) -> str:
        """Return more of the configuration."""
        return ""

    def made(self, kid: str = "one", key: RSAKey | None = None, **changes: Any) -> str:
        """Make a token as the issuer does."""
        now = int(time.time())
        given = forge.claims(iss=self.provider.url, iat=now - 5, exp=now + 300, **changes)
        return forge.token(given, key=key or forge.rsa_key(kid), kid=kid)

    async def login(self, token: str) -> int:
        """Log in; return the answer's status."""
        form = {
            "grant_type": GRANT,
            "subject_token": token,
            "subject_token_type": ACCESS_TOKEN,
        }
        answer = await self.call("POST", "/sts/token", None, data=form)
        self.assertEqual("access_token" in answer.body, answer.status == 200)
        return answer.status

    async def pause(self) -> None:
        """Let the time pass in which no keys are fetched again."""
        await deferLater(reactor, 0.1)


class TurnoverTests(IssuerCase):
    """Keys come and go."""

    async def test_a_new_key(self) -> None:
        """It counts once it is published; the old one as long as it is."""
        self.assertEqual(await self.login(self.made("one")), 200)
        self.assertEqual(await self.login(self.made("two")), 400)
        self.provider.keys = self.provider.publishing("one", "two")
        await self.pause()
        self.assertEqual(await self.login(self.made("two")), 200)
        self.assertEqual(await self.login(self.made("one")), 200)
        self.provider.keys = self.provider.publishing("two")
        await self.pause()
        self.assertEqual(await self.login(self.made("three")), 400)  # which makes it look
        self.assertEqual(await self.login(self.made("one")), 400)
        self.assertEqual(await self.login(self.made("two")), 200)

    async def test_guesses_do_not_make_it_ask(self) -> None:
        """Unknown keys, unknown issuers and garbage lead to few requests, or none."""
        self.patch(keys, "PAUSE", 30.0)
        await self.login(self.made())
        before = len(self.provider.asked)
        for number in range(15):
            await self.login(self.made(f"guess-{number}", forge.rsa_key()))
            await self.login(forge.token(forge.claims(iss="https://other.example")))
        self.assertLessEqual(len(self.provider.asked) - before, 1)

    async def test_good_tokens_are_taken_while_others_guess(self) -> None:
        """From the same address, as behind a proxy or on a jump host."""
        statuses = [await self.login(self.made("one", forge.rsa_key("two"))) for _ in range(40)]
        self.assertEqual(statuses[-1], 429)
        self.assertEqual(await self.login(self.made()), 200)


class OutageTests(IssuerCase):
    """The issuer does not answer, or wrongly."""

    async def test_what_is_known_goes_on(self) -> None:
        """With an outage of any kind: known keys count, unknown ones do not, others are served."""
        self.assertEqual(await self.login(self.made()), 200)
        huge = b'{"keys": [' + b" " * 400_000 + b"]}"
        symmetric = {"kty": "oct", "kid": "two", "k": base64.b64encode(b"k" * 32).decode()}
        private = forge.rsa_key("two").as_dict(private=True) | {"kid": "two", "use": "sig"}
        small = RSAKey.generate_key(2048, {"kid": "two"}).as_dict(private=False)
        small |= {"kid": "two", "n": base64.urlsafe_b64encode(b"\xff" * 64).decode().rstrip("=")}
        for name, keys_now in {
            "an error": lambda: (500, b""),
            "nothing": lambda: (200, b""),
            "no keys": lambda: (200, b'{"keys": []}'),
            "too much": lambda: (200, huge),
            "garbage": lambda: (200, b"\xff\xfe"),
            "a redirect": lambda: (302, f"{self.provider.url}/other".encode()),
            "silence": self.provider.silence,
            "a shared secret": lambda: (200, json.dumps({"keys": [symmetric]}).encode()),
            "a private key": lambda: (200, json.dumps({"keys": [private]}).encode()),
            "a short key": lambda: (200, json.dumps({"keys": [small]}).encode()),
        }.items():
            self.provider.keys = keys_now
            self.patch(keys, "DEADLINE", 0.5 if name == "silence" else 60.0)
            await self.pause()
            self.assertIn(await self.login(self.made("two")), (400, 503), name)
            self.assertEqual(await self.login(self.made("one")), 200, name)
        self.assertNotIn("/other", self.provider.asked)
        self.provider.keys = self.provider.publishing("one", "two")
        await self.pause()
        self.assertEqual(await self.login(self.made("two")), 200)

    async def test_before_anything_was_known(self) -> None:
        """Nobody gets in, and it is said to be for now; with the issuer back, it works."""
        good = self.provider.keys
        self.provider.keys = lambda: (500, b"")
        self.assertEqual(await self.login(self.made()), 503)
        self.provider.keys = good
        await self.pause()
        self.assertEqual(await self.login(self.made()), 200)

    async def test_silence_hinders_nobody_else(self) -> None:
        """While one log-in waits for keys, the API answers."""
        self.provider.keys = self.provider.silence
        waiting = Deferred.fromCoroutine(self.login(self.made()))
        await eventually(reactor, lambda: "/keys" in self.provider.asked)
        self.assertEqual((await self.call("GET", "/healthz")).status, 200)
        self.assertFalse(waiting.called)
        self.provider.stopping.set()
        self.assertEqual(await waiting, 503)

    async def test_discovery_that_leads_elsewhere(self) -> None:
        """Another issuer's name, keys on another machine, or no https: nothing is asked there."""
        for changes in (
            {"issuer": "https://login.example"},
            {"issuer": self.provider.url + "/"},
            {"jwks_uri": "http://169.254.169.254/latest/meta-data"},
            {"jwks_uri": "file:///etc/passwd"},
            {"jwks_uri": f"http://user@127.0.0.1:{self.port}/x"},
            {"jwks_uri": ["x"]},
        ):
            self.provider.discovery = saying(self.provider.description(**changes))
            self.assertIn(await self.login(self.made()), (400, 503), changes)
            await self.pause()
        self.provider.discovery = lambda: (200, self.provider.description())
        self.assertEqual(await self.login(self.made()), 200)


class ClockTests(IssuerCase):
    """Clocks that are apart."""

    async def test_tokens(self) -> None:
        """Half a minute is borne, and no more, on either side."""
        now = int(time.time())
        for name, changes, wanted in (
            ("ended a moment ago", {"iat": now - 600, "exp": now - 20}, 200),
            ("ended", {"iat": now - 600, "exp": now - 45}, 400),
            ("of a clock that is ahead", {"iat": now + 20, "exp": now + 600}, 200),
            ("of the future", {"iat": now + 90, "exp": now + 600}, 400),
            ("not yet", {"iat": now, "nbf": now + 90, "exp": now + 600}, 400),
            ("of a year", {"iat": now, "exp": now + 365 * 86_400}, 400),
        ):
            given = forge.claims(iss=self.provider.url, **changes)
            status = await self.login(forge.token(given, key=forge.rsa_key("one")))
            if name == "ended a moment ago":
                self.assertIn(status, (200, 400), name)  # nothing may be left of its lifetime
            else:
                self.assertEqual(status, wanted, name)


class SilenceTests(IssuerCase):
    """What a caller sends is in no log, whatever becomes of it."""

    async def test_no_part_of_a_token_is_logged(self) -> None:
        """Good ones, bad ones, and those that open something else."""
        seen: list[LogEvent] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            seen.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        sent = [
            self.made(),
            self.made(azp="other"),
            self.made(aud="https://management.azure.com"),
            self.made(aud="api://AzureADTokenExchange"),
            self.made(aud=["hoopgw", "https://graph.microsoft.com"]),
            self.made("one", forge.rsa_key("mallory")),
            self.made() + "x",
        ]
        statuses = [await self.login(token) for token in sent]
        self.assertEqual(statuses, [200, *[400] * 6])
        said = "".join(f"{eventAsText(event)} {event}" for event in seen)
        self.assertIn("a token was refused", said)
        for token in sent:
            for part in token.split("."):
                self.assertNotIn(part[:40], said)
