"""Attacks on the token endpoint, over HTTPS, against a whole control process's service.

Each is an attempt to get from what one has something that allows more, lasts longer, or belongs to
somebody else. Where it can be shown, a test takes the defence away and sees the attack succeed.
"""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import requests
from attrs import evolve, field, frozen
from joserfc.jwk import OctKey, OKPKey
from twisted.internet.threads import deferToThread

from hoopgw.cli.api import Proved
from hoopgw.control.site import UsedOnce
from hoopgw.events import Cap
from hoopgw.identity import tokens
from hoopgw.identity.dpop import make_proof
from hoopgw.identity.hops import HopClaims, mint_hop, prove, public_jwk
from hoopgw.identity.jose import encode_part, parse, sign
from hoopgw.identity.keyfiles import load_signing_key
from hoopgw.identity.tokens import GATEWAY, TokenSigner, target_audience
from hoopgw.identity.urns import (
    ACCESS_TOKEN,
    GRANT,
    ID_TOKEN,
    JWT,
    REFRESH_GRANT,
    REFRESH_TOKEN,
    SESSION_PASSWORD,
)
from tests.adversarial.test_issuer import IssuerCase, Provider
from tests.identity import forge

ORDERS, SHOP = target_audience("orders"), target_audience("shop")
EXCHANGE = {"grant_type": GRANT, "subject_token_type": ACCESS_TOKEN}
CAP = Cap(target="orders", actions=frozenset({"Postgres::read"}))
ALL = json.dumps([{"target": "*", "actions": ["*"]}])


MORE = """
[[identity.issuers]]
alias = "machines"
issuer = "{url}"
audiences = ["hoopgw"]
groups_claim = "roles"
kind = "workload"
allow_http = true
[[targets]]
name = "shop"
protocol = "postgres"
agent = "local"
"""


def new_key() -> OKPKey:
    return OKPKey.generate_key("Ed25519", private=True)


def cnf(key: OKPKey) -> str:
    return json.dumps({"jwk": public_jwk(key)})


@frozen
class Answer:
    """What the endpoint said."""

    status: int
    body: dict[str, Any]
    headers: Any = field(repr=False)


class EndpointCase(IssuerCase):
    """Alice, logged in with a key, and a second issuer whose tokens are workloads'."""

    def setUp(self) -> None:
        self.machines = Provider()
        self.addCleanup(self.machines.stop)
        super().setUp()
        self.key = new_key()

    def more(self) -> str:
        """Configure the second issuer and a second target."""
        return MORE.format(url=self.machines.url)

    def ask(
        self,
        form: dict[str, str],
        key: OKPKey | None = None,
        path: str = "/sts/token",
        proof: str | None = None,
    ) -> Answer:
        """Post a form; blocks."""
        headers = {}
        if key is not None:
            proof = make_proof(key, "POST", self.url + path, time.time())
        if proof is not None:
            headers["DPoP"] = proof
        answer = requests.post(
            self.url + path,
            data=form,
            headers=headers,
            verify=str(self.config.paths.ca_certificate),
            timeout=20,
        )
        return Answer(answer.status_code, answer.json(), answer.headers)

    async def post(self, form: dict[str, str], key: OKPKey | None = None, **how: Any) -> Answer:
        answer: Answer = await deferToThread(self.ask, form, key, **how)
        return answer

    async def given(self, form: dict[str, str], key: OKPKey | None = None) -> dict[str, Any]:
        answer = await self.post(form, key)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.body

    async def refused(self, form: dict[str, str], key: OKPKey | None = None, **how: Any) -> Answer:
        """Ask, and see that it is refused, and not by a fault of ours."""
        answer = await self.post(form, key, **how)
        self.assertIn(answer.status, (400, 403), (form.keys(), answer.body))
        self.assertNotIn("access_token", answer.body)
        return answer

    async def begin(self, **claims: Any) -> dict[str, Any]:
        """Log Alice in."""
        return await self.given(self.form(self.made(**claims)), self.key)

    def form(self, subject: str, **more: str) -> dict[str, str]:
        return EXCHANGE | {"subject_token": subject} | more

    def refresh(self, token: str) -> dict[str, str]:
        return {"grant_type": REFRESH_GRANT, "refresh_token": token}

    def machine(self, **changes: Any) -> str:
        """Make a workload's token as the second issuer does."""
        now = int(time.time())
        values = {"iss": self.machines.url, "sub": "build-7", "azp": None, "groups": None}
        given = forge.claims(**(values | {"iat": now - 5, "exp": now + 300} | changes))
        return forge.token(given, key=forge.rsa_key("one"))

    def is_over(self, given: dict[str, Any]) -> bool:
        """Whether the log-in of a token was revoked."""
        login = parse(given["access_token"]).claims["sid"]
        return self.store.is_revoked([login])


class WiderTests(EndpointCase):
    """From a narrow token to a wide one."""

    async def test_a_target_token_is_exchanged_for_nothing(self) -> None:
        """Neither for the gateway, nor for another target, a password, a child or a refresh."""
        login = (await self.begin())["access_token"]
        narrow = (await self.given(self.form(login, audience=ORDERS), self.key))["access_token"]
        child = {"name": "planner", "cnf": cnf(new_key())}
        for more in (
            {},
            {"audience": GATEWAY},
            {"audience": SHOP},
            {"audience": ORDERS},
            {"audience": ORDERS, "account": "app", "requested_token_type": SESSION_PASSWORD},
            child,
        ):
            for key in (None, self.key):
                await self.refused(self.form(narrow, **more), key)
        await self.refused(self.refresh(narrow), self.key)

    async def test_a_flat_token_is_not_refreshed(self) -> None:
        """Not by being exchanged for its like, not as a refresh token, not by another name."""
        flat, child = await self.flat()
        for form in (
            self.form(flat),
            self.form(flat, audience=GATEWAY),
            self.form(flat, requested_token_type=REFRESH_TOKEN),
            self.form(flat, requested_token_type=ID_TOKEN),
            self.form(flat) | {"subject_token_type": REFRESH_TOKEN},
            self.form(flat) | {"subject_token_type": ID_TOKEN},
            self.refresh(flat),
        ):
            await self.refused(form, child)

    async def flat(self) -> tuple[str, OKPKey]:
        """Return a flat token of a narrow chain, and the key that it is bound to."""
        login, child = (await self.begin())["access_token"], new_key()
        terms = HopClaims(name="planner", expires=time.time() + 100, caps=(CAP,), nest=1)
        chain = mint_hop(login, self.key, child, terms, time.time())
        return (await self.given(self.form(chain), child))["access_token"], child

    async def test_nothing_comes_out_of_a_chain_that_is_wider(self) -> None:
        """Whatever is asked for, every hop's caps stay, and time and depth only shrink."""
        flat, child = await self.flat()
        now = int(time.time())
        grandchild = new_key()
        wide = {"name": "wide", "cnf": cnf(grandchild), "caps": ALL, "ttl": "86400", "nest": "5"}
        below = (await self.given(self.form(flat, **wide), child))["access_token"]
        for token, audience in ((below, GATEWAY), (flat, GATEWAY)):
            read = self.service.token_keys.verifier.read(token, audience, time.time())
            self.assertLessEqual(read.principal.expires, now + 101)
            self.assertEqual(read.principal.chain[1].caps, (CAP,))
        self.assertEqual(read.hops_left, 1)
        third = {"name": "third", "cnf": cnf(new_key()), "nest": "5"}
        await self.refused(self.form(below, **third), grandchild)
        narrow = await self.given(self.form(below, audience=ORDERS), grandchild)
        read = self.service.token_keys.verifier.read(narrow["access_token"], ORDERS, time.time())
        self.assertEqual(read.principal.chain[1].caps, (CAP,))

    async def test_caps_hold_where_policy_is_asked(self) -> None:
        """The wide child of a narrow one may do what both may: the narrow one's."""
        flat, child = await self.flat()
        grandchild = new_key()
        wide = {"name": "wide", "cnf": cnf(grandchild), "caps": ALL}
        below = (await self.given(self.form(flat, **wide), child))["access_token"]
        answer = await deferToThread(self.targets, below, grandchild)
        self.assertEqual([each["name"] for each in answer["targets"]], [])

    def targets(self, token: str, key: OKPKey) -> Any:
        answer = requests.get(
            self.url + "/v1/targets",
            auth=Proved(key, token, self.url),
            verify=str(self.config.paths.ca_certificate),
            timeout=20,
        )
        return answer.json()

    async def test_a_child_is_nobody_else(self) -> None:
        """No parameter makes it a person, gives it groups, another root or another log-in."""
        login = (await self.begin())["access_token"]
        good = {"name": "planner", "cnf": cnf(new_key())}
        for name, value in (
            ("groups", '["dba"]'),
            ("sub", "corp|bob"),
            ("sid", "other"),
            ("act", "{}"),
            ("kind", "person"),
            ("node", "x"),
            ("attested", "true"),
            ("caps", '[{"target":"orders","actions":["Postgres::read"],"groups":["dba"]}]'),
            ("budget", '{"rows":1,"rows":2}'),
            ("nest", '1},"kind":{"x":1'),
            ("cnf", '{"jwk":' + json.dumps(public_jwk(new_key())) + ',"jkt":"x"}'),
        ):
            await self.refused(self.form(login, **(good | {name: value})), self.key)
        await self.given(self.form(login, **good), self.key)

    async def test_what_an_issuer_says_of_chains(self) -> None:
        """Claims of ours in an issuer's token mean nothing: it is a root, and a new log-in."""
        token = self.made(
            sid="other", act={"sub": "corp|carol", "kind": "person"}, node={"id": "x"}, nest=6
        )
        given = await self.given(self.form(token), self.key)
        read = self.service.token_keys.verifier.read(given["access_token"], GATEWAY, time.time())
        self.assertEqual(len(read.principal.chain), 1)
        self.assertNotEqual(read.principal.session, "other")
        self.assertIsNone(read.nest)


class RefreshTests(EndpointCase):
    """Refresh tokens, their copies, and their keys."""

    async def test_replay(self) -> None:
        """The second use ends the log-in, for whoever has which copy."""
        first = await self.begin()
        second = await self.given(self.refresh(first["refresh_token"]), self.key)
        self.assertFalse(self.is_over(first))
        await self.refused(self.refresh(first["refresh_token"]), self.key)
        self.assertTrue(self.is_over(first))
        await self.refused(self.refresh(second["refresh_token"]), self.key)
        await self.refused(self.form(second["access_token"], audience=ORDERS), self.key)

    async def test_race(self) -> None:
        """Of many at once one wins, and that it was a race is noticed."""
        first = await self.begin()
        form = self.refresh(first["refresh_token"])

        def race() -> list[int]:
            with ThreadPoolExecutor(8) as pool:
                answers = pool.map(lambda _number: self.ask(form, self.key), range(8))
                return [answer.status for answer in answers]

        statuses = await deferToThread(race)
        self.assertEqual(sorted(statuses), [200] + [400] * 7)
        self.assertTrue(self.is_over(first))

    async def test_stolen_without_the_key(self) -> None:
        """It gives nothing, and the thief cannot even end the log-in."""
        given = await self.begin()
        form = self.refresh(given["refresh_token"])
        await self.refused(form)
        await self.refused(form, new_key())
        theirs = await self.given(self.form(self.made(sub="mallory")), stolen := new_key())
        await self.refused(form, stolen)
        await self.refused(self.refresh(theirs["refresh_token"]), self.key)
        self.assertEqual(
            (await self.post({"token": given["refresh_token"]}, path="/sts/revoke")).status, 403
        )
        self.assertFalse(self.is_over(given))
        await self.given(form, self.key)

    async def test_after_the_end(self) -> None:
        """Of a log-in that was revoked, by any of its tokens."""
        given = await self.begin()
        token = {"token": given["access_token"]}
        self.assertEqual((await self.post(token, self.key, path="/sts/revoke")).status, 200)
        await self.refused(self.refresh(given["refresh_token"]), self.key)

    async def test_made_up(self) -> None:
        """Secrets are not guessed; what is made up for a log-in revokes it only with its key."""
        given = await self.begin()
        prefix, login, _ = given["refresh_token"].split(".")
        made_up = self.refresh(f"{prefix}.{login}.{'A' * 43}")
        await self.refused(made_up, new_key())
        self.assertFalse(self.is_over(given))
        for bad in ("", ".", "..", f"{prefix}.{login}", "' OR 1=1 --", "\0", "x" * 5000):
            await self.refused(self.refresh(bad), self.key)
        self.assertFalse(self.is_over(given))

    async def test_nothing_of_it_is_kept(self) -> None:
        """Who reads the store finds no refresh token in it."""
        given = await self.begin()
        secret = given["refresh_token"].split(".")[2].encode()
        for file in self.config.paths.state.rglob("store.db*"):
            self.assertNotIn(secret, file.read_bytes())


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


class ActorTests(EndpointCase):
    """Whom a child pretends to be."""

    async def act(self, subject: str, key: OKPKey, actor: str, **more: str) -> Answer:
        form = {"actor_token": actor, "actor_token_type": JWT, "cnf": cnf(new_key())} | more
        return await self.post(self.form(subject, **form), key)

    async def test_actors(self) -> None:
        """Strangers, people, oneself, what the gateway gave, what is for others or over."""
        given = await self.begin()
        login = given["access_token"]
        now = int(time.time())
        for name, actor in (
            ("of an unknown issuer", self.machine(iss="https://evil.example")),
            (
                "of the issuer, with another's key",
                forge.token(
                    forge.claims(
                        iss=self.machines.url, sub="x", azp=None, iat=now - 5, exp=now + 300
                    ),
                    key=forge.rsa_key("two"),
                ),
            ),
            ("the subject itself", self.made()),
            ("another person", self.made(sub="bob")),
            ("a gateway token", login),
            ("a refresh token", given["refresh_token"]),
            ("for another audience", self.machine(aud="api://AzureADTokenExchange")),
            ("over", self.machine(iat=now - 900, exp=now - 60)),
            ("like a child", self.machine(sub="build~planner")),
            ("of a stranger's key", self.machine(cnf={"jkt": new_key().thumbprint()})),
            ("nothing", "x"),
        ):
            with self.subTest(name):
                answer = await self.act(login, self.key, actor)
                self.assertIn(answer.status, (400, 403), answer.body)
        answer = await self.act(login, self.key, self.machine(roles=["admins"]))
        self.assertEqual(answer.status, 200, answer.body)
        read = self.service.token_keys.verifier.read(
            answer.body["access_token"], GATEWAY, time.time()
        )
        self.assertEqual(read.principal.chain[1].groups, frozenset())
        self.assertTrue(read.principal.chain[1].attested)

    async def test_an_actor_without_a_parent(self) -> None:
        """An actor token is no subject's; nor does it give what only a log-in gives."""
        form = {"actor_token": self.machine(), "actor_token_type": JWT, "cnf": cnf(new_key())}
        await self.refused(self.form("x", **form), self.key)
        await self.refused(self.form(self.made(), **form), self.key)
        await self.refused(self.form(self.machine(), **form), self.key)

    async def test_revoked_parents(self) -> None:
        """Nothing is given below what was ended, and nothing to the key that it was ended for."""
        login, child = (await self.begin())["access_token"], new_key()
        form = {"name": "planner", "cnf": cnf(child)}
        given = await self.given(self.form(login, **form), self.key)
        self.service.board.delegations.revoke(given["node"], "test")
        await self.refused(self.form(given["access_token"], audience=ORDERS), child)
        await self.refused(self.form(given["access_token"], name="x", cnf=cnf(new_key())), child)
        await self.refused(self.form(login, **form), self.key)
        terms = HopClaims(name="renamed", expires=time.time() + 60)
        chain = mint_hop(login, self.key, child, terms, time.time())
        await self.refused(self.form(chain), child)
        await self.given(self.form(login, audience=ORDERS), self.key)


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
                return session.send(prepared, verify=ca, timeout=20).status_code

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
