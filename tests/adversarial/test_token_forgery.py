"""Attacks on the token endpoint: proofs, forged tokens, and input that no client sends.

Where it can be shown, a test takes the defence away and sees the attack succeed.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from urllib.parse import urlencode

import requests
from attrs import evolve
from joserfc.jwk import OctKey
from twisted.internet.threads import deferToThread

from hoopgw.control.site import UsedOnce
from hoopgw.identity import tokens
from hoopgw.identity.dpop import make_proof
from hoopgw.identity.hops import HopClaims, mint_hop, prove
from hoopgw.identity.jose import encode_part, parse, sign
from hoopgw.identity.keyfiles import load_signing_key
from hoopgw.identity.tokens import GATEWAY, TokenSigner
from hoopgw.identity.urns import (
    GRANT,
    ID_TOKEN,
    REFRESH_TOKEN,
    SESSION_PASSWORD,
)
from tests.adversarial.endpoint_case import ORDERS, SHOP, EndpointCase, cnf, new_key
from tests.identity import forge


class ProofTests(EndpointCase):
    """Proofs of possession that prove something else."""

    async def test_proofs(self) -> None:
        """For another URL or method, of another time, with another key or algorithm."""
        given = await self.begin()
        url, now = self.url + "/sts/token", time.time()
        secret = OctKey.import_key(encode_part(b"x" * 32).decode())
        jwk = dict(self.key.as_dict(private=False))
        private = dict(self.key.as_dict(private=True))
        claims = {"jti": "j", "htm": "POST", "htu": url, "iat": int(now)}
        header = {"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk}
        good = make_proof(self.key, "POST", url, now)
        for name, proof in (
            ("another endpoint", make_proof(self.key, "POST", self.url + "/sts/revoke", now)),
            ("another path", make_proof(self.key, "POST", url + "/", now)),
            ("another host", make_proof(self.key, "POST", "https://evil.example/sts/token", now)),
            ("another method", make_proof(self.key, "GET", url, now)),
            ("of yesterday", make_proof(self.key, "POST", url, now - 86_400)),
            ("of tomorrow", make_proof(self.key, "POST", url, now + 86_400)),
            (
                "its private part",
                sign(header | {"jwk": private}, claims, self.key),
            ),
            ("no proof", sign(header | {"typ": "jwt"}, claims, self.key)),
            ("symmetric", sign(header | {"alg": "HS256"}, claims, secret)),
            ("unsigned", unsigned(header | {"alg": "none"}, claims)),
            ("critical", sign(header | {"crit": ["b64"], "b64": True}, claims, self.key)),
            ("garbage", "x"),
            ("empty", "."),
            ("long", good + "A" * 12_000),
            ("too long for a header", good + "A" * 40_000),
        ):
            with self.subTest(name):
                form = self.refresh(given["refresh_token"])
                answer = await self.post(form, proof=proof)
                self.assertIn(answer.status, (400, 431), name)
        self.assertFalse(self.is_over(given))
        await self.given(self.refresh(given["refresh_token"]), self.key)

    async def test_replayed(self) -> None:
        """A request that somebody recorded is good once; without that memory it would not be."""
        login = (await self.begin())["access_token"]
        form, url = self.form(login, audience=ORDERS), self.url + "/sts/token"
        proof = make_proof(self.key, "POST", url, time.time())
        self.assertEqual((await self.post(form, proof=proof)).status, 200)
        self.assertEqual((await self.post(form, proof=proof)).body["error"], "invalid_dpop_proof")
        self.patch(UsedOnce, "use", lambda _self, _id, _expires: True)
        self.assertEqual((await self.post(form, proof=proof)).status, 200)

    async def test_shown_without_its_key(self) -> None:
        """A stolen gateway token; without the check it would be as good as its owner."""
        login = (await self.begin())["access_token"]
        form = self.form(login, audience=ORDERS)
        await self.refused(form)
        await self.refused(form, new_key())
        read = tokens.TokenVerifier.read
        self.patch(tokens.TokenVerifier, "read", lambda *a: evolve(read(*a), confirmation=None))
        await self.given(form)

    async def test_pops(self) -> None:
        """For a target, or shown before; and none from above or below in the chain."""
        login, child = (await self.begin())["access_token"], new_key()
        terms = HopClaims(name="planner", expires=time.time() + 100)
        chain = mint_hop(login, self.key, child, terms, time.time())
        shown = prove(chain, child, GATEWAY, time.time())
        await self.given(self.form(shown, audience=ORDERS))
        await self.refused(self.form(shown, audience=ORDERS))
        await self.refused(self.form(prove(chain, child, ORDERS, time.time()), audience=ORDERS))
        await self.refused(self.form(chain), self.key)
        root, _, hop = chain.partition("~")
        await self.refused(
            self.form(prove(root, self.key, GATEWAY, time.time()) + "~" + hop), child
        )


class ForgedTests(EndpointCase):
    """Tokens of the gateway's that the gateway did not make, or not so."""

    async def test_other_keys_of_the_gateway(self) -> None:
        """Each key has one purpose: what signs tickets or the log signs no token."""
        paths = self.config.paths
        read = self.service.token_keys.verifier.read(
            (await self.begin())["access_token"], GATEWAY, time.time()
        )
        unbound = evolve(read, confirmation=None)
        for path in (paths.ticket_key, paths.log_key):
            forged = TokenSigner(load_signing_key(path), self.url).sign(unbound)
            await self.refused(self.form(forged, audience=ORDERS))
        real = TokenSigner(load_signing_key(paths.token_key), self.url).sign(unbound)
        await self.given(self.form(real, audience=ORDERS))
        other = TokenSigner(load_signing_key(paths.token_key), "https://other.example").sign(
            unbound
        )
        await self.refused(self.form(other, audience=ORDERS))

    async def test_altered(self) -> None:
        """A header or claims that were changed, doubled, or ask for something."""
        login = (await self.begin())["access_token"]
        head, body, signature = login.split(".")
        claims = dict(parse(login).claims)
        header = {"typ": "at+jwt", "alg": "EdDSA", "kid": parse(login).kid}
        doubled = raw_part(b'{"iss":"x",' + decoded(body)[1:])
        for name, forged in (
            ("no algorithm", unsigned(header | {"alg": "none"}, claims)),
            ("groups", f"{head}.{part(claims | {'groups': ['admins']})}.{signature}"),
            ("crit", f"{part(header | {'crit': ['x']})}.{body}.{signature}"),
            ("jku", f"{part(header | {'jku': 'https://evil.example'})}.{body}.{signature}"),
            ("padding", login + "="),
            ("a doubled member", f"{head}.{doubled}.{signature}"),
            ("nested", f"{head}.{raw_part(b'[' * 10_000)}.{signature}"),
            ("not utf-8", f"{head}.{raw_part(bytes([255, 254]))}.{signature}"),
        ):
            with self.subTest(name):
                await self.refused(self.form(forged, audience=ORDERS), self.key)

    async def test_types(self) -> None:
        """A token shown as what it is not."""
        given = await self.begin()
        login = given["access_token"]
        for kind in (ID_TOKEN, REFRESH_TOKEN, SESSION_PASSWORD, "", "x"):
            form = self.form(login, audience=ORDERS) | {"subject_token_type": kind}
            await self.refused(form, self.key)
        for grant in ("password", "client_credentials", "authorization_code", "", GRANT + " "):
            await self.refused(self.form(login, audience=ORDERS) | {"grant_type": grant}, self.key)
        await self.refused(
            self.refresh(given["refresh_token"]) | {"subject_token": login}, self.key
        )
        await self.refused(self.form(login) | {"refresh_token": given["refresh_token"]}, self.key)

    async def test_deciphered(self) -> None:
        """An issuer's key does not make the gateway's tokens, whatever iss they name."""
        claims = forge.claims(iss=self.url, aud=GATEWAY, sid="x", kind="person")
        forged = forge.token(claims, key=forge.rsa_key("one"), typ="at+jwt")
        await self.refused(self.form(forged, audience=ORDERS))


class BadInputTests(EndpointCase):
    """Too much, too deep, twice, and in other alphabets."""

    async def test_huge(self) -> None:
        """A token of a megabyte is not read; one of 20 kB is read and refused."""
        answer = await self.post(self.form("A" * 2**20))
        self.assertEqual(answer.status, 413)
        for size in (20_000, 60_000):
            for path in ("/sts/token", "/sts/revoke", "/sts/introspect"):
                form = {"token": "A" * size} if path != "/sts/token" else self.form("A" * size)
                answer = await self.post(form, path=path)
                self.assertIn(answer.status, (200, 400, 401), path)
        chain = "~".join([self.made()] * 40)
        await self.refused(self.form(chain), self.key)

    async def test_many_groups(self) -> None:
        """More than fit into a token are refused with the reason; many that fit are given."""
        many = [f"group-{number:05}" for number in range(900)]
        await self.given(self.form(self.made(groups=many[:200])), self.key)
        for groups in (many, [*many, *many]):
            answer = await self.refused(self.form(self.made(groups=groups)), self.key)
            self.assertEqual(answer.body["error"], "invalid_grant")

    async def test_names_that_look_alike(self) -> None:
        """Children have names of ASCII; roots are told apart by their ids, not their names."""
        login = (await self.begin())["access_token"]
        for name in ("pl\u0430nner", "planner\u200b", "PLANNER", "planner ", "..", "a/b", "-x"):
            await self.refused(self.form(login, name=name, cnf=cnf(new_key())), self.key)
        for subject in ("alice\u202e", "a\nb", "alice~planner", "", "x" * 600):
            answer = await self.refused(self.form(self.made(sub=subject)), self.key)
            self.assertEqual(answer.body["error"], "invalid_grant")

    async def test_twice(self) -> None:
        """A parameter, a header, a member."""
        login = (await self.begin())["access_token"]

        def post(data: str, proofs: int) -> int:
            url = self.url + "/sts/token"
            prepared = requests.Request("POST", url, data=data).prepare()
            prepared.headers["Content-Type"] = "application/x-www-form-urlencoded"
            proof = ", ".join(make_proof(self.key, "POST", url, time.time()) for _ in range(proofs))
            prepared.headers["DPoP"] = proof
            with requests.Session() as session:
                ca = str(self.config.paths.ca_certificate)
                return session.send(prepared, verify=ca, timeout=60).status_code

        form = urlencode(self.form(login, audience=ORDERS))
        self.assertEqual(await deferToThread(post, form + "&audience=" + SHOP, 1), 400)
        self.assertEqual(await deferToThread(post, form + "&x=1" * 30, 1), 400)
        self.assertEqual(await deferToThread(post, form, 2), 400)
        self.assertEqual(await deferToThread(post, form, 1), 200)

    async def test_a_store_that_cannot_be_written(self) -> None:
        """It is said so, with when to come back; nothing is given that could not be taken back."""
        given = await self.begin()
        form = self.form(given["access_token"], audience=ORDERS)
        connection = self.store._db.connection
        connection.execute("PRAGMA query_only = ON")
        for asked, path in (
            (form, "/sts/token"),
            (self.form(self.made()), "/sts/token"),
            (self.refresh(given["refresh_token"]), "/sts/token"),
            ({"token": given["access_token"]}, "/sts/revoke"),
        ):
            answer = await self.post(asked, self.key, path=path)
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "5"))
            self.assertNotIn("readonly", json.dumps(answer.body))
        connection.execute("PRAGMA query_only = OFF")
        await self.given(form, self.key)
        await self.given(self.refresh(given["refresh_token"]), self.key)


def part(value: Any) -> str:
    return raw_part(json.dumps(value).encode())


def raw_part(value: bytes) -> str:
    return encode_part(value).decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def unsigned(header: Any, claims: Any) -> str:
    return f"{part(header)}.{part(dict(claims))}."
