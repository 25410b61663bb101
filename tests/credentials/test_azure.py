"""Tests for `hoopgw.credentials.azure`, against a local stand-in for a vault."""

from __future__ import annotations

import datetime
import ipaddress
import json
import shutil
import ssl
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.credentials.azure import (
    EARLY,
    PATIENCE,
    KeyVaultSource,
    Opener,
    TokenSource,
    identity,
    vault_scope,
)
from hoopgw.errors import ConfigError, UnavailableError

T = TypeVar("T")
SCOPE = "https://management.azure.com/.default"
URL = "https://mine.vault.azure.net/secrets/orders-reader"


def at_once(work: Callable[[], T]) -> Deferred[T]:
    """Run without a thread."""
    return execute(work)


@define
class FakeToken:
    token: str
    expires_on: int


@define
class FakeCredential:
    """Gives tokens that last an hour, and counts."""

    clock: Clock
    asked: list[str] = field(factory=list)
    broken: bool = False

    def get_token(self, *scopes: str) -> FakeToken:
        """As azure-identity's."""
        self.asked += scopes
        if self.broken:
            raise ValueError("the answer was: secret-part")
        return FakeToken(f"token-{len(self.asked)}", int(self.clock.seconds()) + 3600)


class TokenSourceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.credential = FakeCredential(self.clock)
        self.source = TokenSource(SCOPE, lambda: self.credential, at_once, self.clock)

    def fetch(self) -> bytes:
        return self.successResultOf(Deferred.fromCoroutine(self.source.fetch()))

    def test_a_token_is_kept_until_five_minutes_before_its_end(self) -> None:
        self.assertEqual(self.fetch(), b"token-1")
        self.clock.advance(3600 - EARLY - 1)
        self.assertEqual(self.fetch(), b"token-1")
        self.clock.advance(1)
        self.assertEqual(self.fetch(), b"token-2")
        self.assertEqual(self.credential.asked, [SCOPE] * 2)

    def test_logins_that_come_together_share_one_request(self) -> None:
        waiting: list[Deferred[object]] = []

        def later(work: Callable[[], T]) -> Deferred[T]:
            result: Deferred[T] = Deferred()
            waiting.append(result)  # type: ignore[arg-type]  # a list of several kinds
            return result.addCallback(lambda _: work())

        self.source.run_in_thread = later
        both = [Deferred.fromCoroutine(self.source.fetch()) for _ in range(2)]
        self.assertEqual(len(waiting), 1)
        waiting[0].callback(None)
        self.assertEqual([self.successResultOf(d) for d in both], [b"token-1"] * 2)

    def test_a_failure_says_nothing_of_the_answer_and_is_not_kept(self) -> None:
        self.credential.broken = True
        failure = self.failureResultOf(
            Deferred.fromCoroutine(self.source.fetch()), UnavailableError
        )
        self.assertNotIn("secret-part", failure.getErrorMessage())
        self.credential.broken = False
        self.assertEqual(self.fetch(), b"token-2")

    def test_silence_ends(self) -> None:
        self.source.run_in_thread = lambda work: Deferred()
        fetching = Deferred.fromCoroutine(self.source.fetch())
        self.clock.advance(PATIENCE)
        self.failureResultOf(fetching, UnavailableError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_its_repr_has_no_token(self) -> None:
        self.fetch()
        self.assertNotIn("token-1", repr(self.source))


class VaultScopeTests(SynchronousTestCase):
    def test_each_cloud_has_its_own(self) -> None:
        self.assertEqual(vault_scope(URL), "https://vault.azure.net/.default")
        self.assertEqual(
            vault_scope("https://a.vault.azure.cn/secrets/b/" + "0" * 32),
            "https://vault.azure.cn/.default",
        )

    def test_a_token_goes_nowhere_else(self) -> None:
        for url in (
            "http://mine.vault.azure.net/secrets/x",
            "https://mine.vault.azure.net.evil.example/secrets/x",
            "https://evil.example/secrets/x?.vault.azure.net",
            "https://evil.example#.vault.azure.net/secrets/x",
            "https://evil.example\\.vault.azure.net/secrets/x",
            "https://a@mine.vault.azure.net/secrets/x",
            "https://mine.vault.azure.net:444/secrets/x",
            "https://.vault.azure.net/secrets/x",
            "https://mine.vault.azure.net/secrets/x?y=z",
            "https://mine.vault.azure.net/keys/x",
            "https://mine.vault.azure.net/secrets/../keys/x",
            "https://mine.vault.azure.net/secrets/",
        ):
            with self.subTest(url=url):
                self.assertRaises(ConfigError, vault_scope, url)

    def test_a_client_id_is_a_guid(self) -> None:
        self.assertRaises(ConfigError, identity, "not-a-guid")
        self.assertTrue(callable(identity("00000000-0000-0000-0000-000000000001")))


class VaultHandler(BaseHTTPRequestHandler):
    """The shape of Key Vault's REST interface, as far as it is used."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        name = path.removeprefix("/secrets/")
        if self.headers["Authorization"] != "Bearer token-1" or query != "api-version=7.4":
            self.answer(401, b'{"error": {"code": "Unauthorized"}}')
        elif name == "orders-reader":
            self.answer(200, json.dumps({"value": "s3cret", "id": URL}).encode())
        elif name == "moved":
            self.send_response(302)
            self.send_header("Location", "/secrets/orders-reader?api-version=7.4")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif name == "odd":
            self.answer(200, b'{"value": {"s3cret": 1}}')
        elif name == "endless":
            self.answer(200, b'{"value": "' + b"s3cret" * 100_000 + b'"}')
        else:
            self.answer(404, b'{"error": {"code": "SecretNotFound"}}')

    def answer(self, status: int, body: bytes) -> None:
        """Send JSON."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """Stay silent."""


def self_signed(directory: Path) -> Path:
    """Write a certificate for 127.0.0.1 with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "vault")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "vault.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


class KeyVaultSourceTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="hgwvault"))
        self.addCleanup(shutil.rmtree, directory)
        self.pem = self_signed(directory)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), VaultHandler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.clock = Clock()
        self.verify: bool | str = str(self.pem)

    def source(self, name: str) -> KeyVaultSource:
        """Return a source whose vault is the local server."""
        here = f"https://127.0.0.1:{self.server.server_address[1]}"
        credential = FakeCredential(self.clock)
        url = URL.replace("orders-reader", name)
        return KeyVaultSource(
            url,
            TokenSource(vault_scope(url), lambda: credential, at_once, self.clock),
            lambda url, headers: Opener(self.verify)(
                url.replace("https://mine.vault.azure.net", here), headers
            ),
            at_once,
            self.clock,
        )

    def refused(self, name: str) -> str:
        failure = self.failureResultOf(
            Deferred.fromCoroutine(self.source(name).fetch()), UnavailableError
        )
        self.assertNotIn("s3cret", failure.getTraceback())
        text: str = failure.getErrorMessage()
        return text

    def test_the_value_is_the_secret(self) -> None:
        fetched = Deferred.fromCoroutine(self.source("orders-reader").fetch())
        self.assertEqual(self.successResultOf(fetched), b"s3cret")

    def test_a_refusal_is_told_by_its_status(self) -> None:
        self.assertIn("404", self.refused("none"))

    def test_no_redirect_is_followed(self) -> None:
        self.assertIn("302", self.refused("moved"))

    def test_what_is_no_secret_is_not_shown(self) -> None:
        self.assertIn("not answered with a secret", self.refused("odd"))
        self.assertIn("not answered with a secret", self.refused("endless"))

    def test_the_vault_must_prove_who_it_is(self) -> None:
        self.verify = True
        self.assertIn("cannot be reached", self.refused("orders-reader"))

    def test_a_vault_that_hangs_is_given_up(self) -> None:
        source = self.source("x")
        source.tokens._token, source.tokens._until = "t", 1e9  # there is one already
        hung = KeyVaultSource(
            source.url, source.tokens, source.get, lambda work: Deferred(), self.clock
        )
        fetched = Deferred.fromCoroutine(hung.fetch())
        self.clock.advance(PATIENCE)
        self.failureResultOf(fetched, UnavailableError)
