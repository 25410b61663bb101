"""Attacks on the token endpoint, over HTTPS, against a whole control process's service.

Each is an attempt to get from what one has something that allows more, lasts longer, or belongs to
somebody else. Where it can be shown, a test takes the defence away and sees the attack succeed.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from joserfc.jwk import OKPKey
from twisted.internet.threads import deferToThread

from hoopgw.cli.api import Proved
from hoopgw.identity.hops import HopClaims, mint_hop, public_jwk
from hoopgw.identity.tokens import GATEWAY
from hoopgw.identity.urns import (
    ID_TOKEN,
    JWT,
    REFRESH_TOKEN,
    SESSION_PASSWORD,
)
from tests.adversarial.endpoint_case import (
    ALL,
    CAP,
    ORDERS,
    SHOP,
    Answer,
    EndpointCase,
    cnf,
    new_key,
)
from tests.identity import forge


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
            timeout=60,
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
