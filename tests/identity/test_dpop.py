"""Tests for `hoopgw.identity.dpop`."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError
from hoopgw.identity.dpop import PROOF_LIFETIME, check_proof, make_proof
from hoopgw.identity.jose import parse, sign
from tests.identity.forge import NOW, hmac_token

URL = "https://gw.example:8443/sts/token"


class ProofTests(SynchronousTestCase):
    """Tests for `check_proof`."""

    def setUp(self) -> None:
        self.key = OKPKey.generate_key("Ed25519")

    def forged(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Sign a proof with changes; None leaves a claim out."""
        parsed = parse(make_proof(self.key, "POST", URL, NOW, "token"))
        given = {k: v for k, v in (dict(parsed.claims) | claims).items() if v is not None}
        return sign(dict(parsed.header) | (header or {}), given, self.key)

    def assert_refused(self, proof: str, why: str = "") -> None:
        with self.subTest(why), self.assertRaisesRegex(AuthenticationError, why):
            check_proof(proof, "POST", URL, NOW, "token")

    def test_good(self) -> None:
        """The key's thumbprint comes out, and the proof's id, until it would be refused anyway."""
        proved = check_proof(self.forged(), "POST", URL + "?x=1", NOW, "token")
        self.assertEqual(proved.thumbprint, self.key.thumbprint())
        self.assertIn(proved.thumbprint, proved.id)
        self.assertGreater(proved.expires, NOW + PROOF_LIFETIME)

    def test_p256(self) -> None:
        """Browsers have P-256."""
        key = ECKey.generate_key("P-256")
        claims = parse(self.forged()).claims
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": dict(key.as_dict(private=False))}
        proved = check_proof(sign(header, claims, key), "POST", URL, NOW, "token")
        self.assertEqual(proved.thumbprint, key.thumbprint())

    def test_another_request(self) -> None:
        """A proof is for one method, URL and token."""
        self.assert_refused(self.forged(htm="GET"), "another request")
        self.assert_refused(self.forged(htu="https://gw.example:8443/v1/targets"), "request")
        self.assert_refused(self.forged(htu="https://evil.example/sts/token"), "request")
        self.assert_refused(self.forged(ath=None), "another token")
        self.assert_refused(make_proof(self.key, "POST", URL, NOW, "other"), "another token")

    def test_time(self) -> None:
        """It is of now."""
        self.assert_refused(self.forged(iat=NOW - PROOF_LIFETIME - 1), "of now")
        self.assert_refused(self.forged(iat=NOW + 31), "of now")
        for value in ("9", True, None):
            self.assert_refused(self.forged(iat=value), "iat")

    def test_form(self) -> None:
        """Its type, its key and its id are what they must be."""
        public = dict(self.key.as_dict(private=False))
        wrong: list[dict[str, Any]] = [
            {"typ": "JWT"},
            {"jwk": None},
            {"jwk": "x"},
            {"jwk": dict(self.key.as_dict(private=True))},
            {"jwk": dict(OKPKey.generate_key("Ed25519").as_dict(private=False))},
            {"jwk": public | {"crv": "Ed448"}},
            {"jwk": {"kty": "oct", "k": "eA"}},
        ]
        for header in wrong:
            self.assert_refused(self.forged(header))
        for value in (None, "", 5):
            self.assert_refused(self.forged(jti=value), "jti")

    def test_symmetric(self) -> None:
        """A key that both sides know proves nothing."""
        claims = parse(self.forged()).claims
        secret = OctKey.generate_key(256)
        header = {"typ": "dpop+jwt", "alg": "HS256", "jwk": dict(secret.as_dict(private=True))}
        self.assert_refused(sign(header, claims, secret))
        self.assert_refused(hmac_token(claims, b"secret"))

    @given(st.text(max_size=50))
    def test_garbage(self, garbage: str) -> None:
        """Whatever comes, the exception is the same."""
        self.assertRaises(AuthenticationError, check_proof, garbage, "POST", URL, time.time())
