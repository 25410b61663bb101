"""Tests of `hoopgw.control.api_certificates`: how long what it issues lasts."""

from __future__ import annotations

import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import OKPKey

from hoopgw.identity.authority import request
from hoopgw.identity.hops import HopClaims, mint_hop, public_jwk
from hoopgw.identity.tokens import GATEWAY, GatewayToken
from tests.control.gateway_case import AGENT, ALICE, TOML, GatewayCase, soon

LONG = 3 * 3600.0


class LifetimeCase(GatewayCase):
    """Callers whose keys are proved."""

    def setUp(self) -> None:
        super().setUp()
        self.key, self.child = (OKPKey.generate_key("Ed25519") for _ in range(2))
        self.ec = ec.generate_private_key(ec.SECP256R1())

    def root(self, who: Any = ALICE, key: OKPKey | None = None, lasts: float = LONG) -> str:
        now, key = time.time(), key or self.key
        return self.service.signer.sign(
            GatewayToken(
                principal=soon(who, LONG),
                audience=GATEWAY,
                issued=now,
                expires=now + lasts,
                confirmation={"jkt": key.thumbprint(), "jwk": public_jwk(key)},
            )
        )

    def chain(self, lasts: float) -> str:
        now = time.time()
        claims = HopClaims(name="planner", expires=now + lasts)
        return mint_hop(self.root(), self.key, self.child, claims, now)

    async def lasts(self, token: str, key: OKPKey, **more: Any) -> list[float]:
        """Return for how long certificates of both kinds last."""
        line = OKPKey.generate_key("Ed25519").public_key.public_bytes(
            Encoding.OpenSSH, PublicFormat.OpenSSH
        )
        found = []
        for what in (
            {"csr": request(self.ec, "x")},
            {"ssh_key": line.decode(), "accounts": ["reader"]},
        ):
            body = {"targets": ["orders"], **what, **more}
            answer = await self.call("POST", "/v1/certificates", token, body, key=key)
            self.assertEqual(answer.status, 200, answer.body)
            found.append(answer.body["expires"] - time.time())
        return found


class LifetimeTests(LifetimeCase):
    """With the configuration's own limits."""

    async def test_of_a_chain(self) -> None:
        """A quarter of an hour, though the chain lasts longer; not longer when it is asked for."""
        for more in ({}, {"lifetime": 3600}):
            for seconds in await self.lasts(self.chain(LONG - 60), self.child, **more):
                self.assertTrue(600 < seconds <= 901, seconds)

    async def test_of_a_chain_that_ends_sooner(self) -> None:
        """With its first part."""
        for seconds in await self.lasts(self.chain(120.0), self.child):
            self.assertLessEqual(seconds, 121)

    async def test_of_a_flat_chain(self) -> None:
        """Its own token may last for long."""
        token = self.root(AGENT, self.child)
        for seconds in await self.lasts(token, self.child):
            self.assertTrue(600 < seconds <= 901, seconds)

    async def test_of_a_person(self) -> None:
        """As long as the token, and an hour at most."""
        for token, most in ((self.root(), 3600), (self.root(lasts=100.0), 100)):
            for seconds in await self.lasts(token, self.key):
                self.assertTrue(most / 4 < seconds <= most + 1, seconds)


class ConfiguredTests(LifetimeCase):
    """With another limit."""

    toml = TOML.replace("[link]", "[identity]\nchain_certificate_lifetime = 60\n[link]")

    async def test_of_a_chain(self) -> None:
        for seconds in await self.lasts(self.chain(LONG - 60), self.child):
            self.assertLessEqual(seconds, 61)
