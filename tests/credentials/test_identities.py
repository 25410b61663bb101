"""Tests for `hoopgw.credentials.identities`, with azure-identity and a stand-in for Entra."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jws, jwt
from joserfc.jwk import OKPKey, RSAKey
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.credentials import EntraIdentity
from hoopgw.errors import ConfigError, UnavailableError
from tests.support.certificates import Authority
from tests.support.lookalike import Asked, LookAlike, Told

TENANT = "9f2b1a52-7c3e-4a0e-9d43-2b8f0a1c5d6e"
SCOPE = "https://management.azure.com/.default"


class EntraTests(SynchronousTestCase):
    """What the agent proves, and what it asks for."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir(mode=0o700)
        self.authority = Authority.make()
        self.entra = LookAlike(self.answer, self.authority.issue(self.folder, "entra"))
        self.addCleanup(self.entra.stop)

    def answer(self, asked: Asked) -> Told:
        """As Entra does."""
        if asked.path.startswith(f"/{TENANT}/v2.0/.well-known/openid-configuration"):
            base = f"{self.entra.url}/{TENANT}"
            return Told(
                body={
                    "issuer": f"{base}/v2.0",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                }
            )
        if asked.path == f"/{TENANT}/oauth2/v2.0/token":
            return Told(body={"access_token": "t-1", "token_type": "Bearer", "expires_in": 3600})
        return Told(404, {})

    def private(self, name: str, content: bytes) -> Path:
        """Write a file as the agent's."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path

    def fetch(self, **proof: Any) -> dict[str, list[str]]:
        """Fetch a token, and return the form that Entra was asked with."""
        found = EntraIdentity(
            tenant=TENANT,
            client="app-1",
            authority=self.entra.url,
            authority_ca=self.authority.write(self.folder / "ca.crt"),
            **proof,
        )
        token = found.credential()().get_token(SCOPE)
        self.assertEqual(token.token, "t-1")
        self.assertLess(abs(token.expires_on - time.time() - 3600), 120)
        form = parse_qs(self.entra.asked[-1].body.decode())
        self.assertEqual(form["scope"][0].split(" ")[0], SCOPE)
        self.assertEqual(form["grant_type"], ["client_credentials"])
        self.assertEqual(form["client_id"], ["app-1"])
        return form

    def test_a_secret(self) -> None:
        form = self.fetch(secret=self.private("secret", b"hunter2\n"))
        self.assertEqual(form["client_secret"], ["hunter2"])

    def test_a_secret_that_others_can_read(self) -> None:
        path = self.private("secret", b"hunter2")
        path.chmod(0o644)
        error = self.assertRaises(UnavailableError, self.fetch, secret=path)
        self.assertNotIn("hunter2", str(error))

    def test_a_certificate(self) -> None:
        """Its key signs what is shown, and is not shown itself."""
        key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "app-1")])
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(
            name, name, key.public_key(), 1, now, now + timedelta(days=1)
        ).sign(key, hashes.SHA256())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        form = self.fetch(certificate=self.private("pem", pem + made.public_bytes(Encoding.PEM)))
        claims = jwt.decode(
            form["client_assertion"][0], RSAKey.import_key(pem), ["RS256", "PS256"]
        ).claims
        self.assertEqual(claims["iss"], "app-1")

    def test_a_federated_token(self) -> None:
        """It is read anew for each token: who mounts it renews it."""
        key = OKPKey.generate_key("Ed25519")
        for subject in ("one", "two"):
            text = jws.serialize_compact({"alg": "EdDSA"}, subject.encode(), key, ["EdDSA"])
            form = self.fetch(token_file=self.private(f"token-{subject}", text.encode()))
            self.assertEqual(form["client_assertion"], [text])
            self.assertIn("jwt-bearer", form["client_assertion_type"][0])

    def test_what_makes_no_sense(self) -> None:
        good: dict[str, Any] = {"tenant": TENANT, "client": "app-1", "secret": Path("x")}
        for wrong in (
            {"secret": None},
            {"token_file": Path("y")},
            {"tenant": "a/b"},
            {"client": ""},
            {"authority": "http://login.example"},
            {"authority": "https://login.example/x"},
        ):
            with self.subTest(wrong=wrong):
                self.assertRaises(ConfigError, lambda w=wrong: EntraIdentity(**{**good, **w}))
