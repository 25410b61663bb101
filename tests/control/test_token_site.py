"""Tests of `hoopgw.control.token_site`: who revokes, and who may ask what a token says."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import requests
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import OKPKey
from twisted.internet.threads import deferToThread

from hoopgw.events import Node, Principal
from hoopgw.identity.dpop import make_proof
from hoopgw.identity.hops import HopClaims, mint_hop, prove, public_jwk
from hoopgw.identity.keyfiles import load_certificate, load_private_key
from hoopgw.identity.tokens import GATEWAY, GatewayToken, target_audience
from hoopgw.link.assertion import ASSERTION_TYPE, make_assertion
from hoopgw.link.certificates import issue_agent, moment
from hoopgw.link.proof import AgentKey
from hoopgw.store.rows import AgentRow, LoginRow
from tests.control.gateway_case import ALICE, CAROL, ROOT, ROOTS_AGENT, GatewayCase, Reply, keeping
from tests.store.values import hop

REVOKE, INTROSPECT = "/sts/revoke", "/sts/introspect"
PLANNER = evolve(
    ALICE,
    chain=(ALICE.root, hop("alice~planner", kind="agent")),
    nodes=(Node(id="node-planner"),),
)
MIGRATOR = evolve(
    PLANNER,
    chain=(*PLANNER.chain, hop("alice~planner~migrator", kind="agent")),
    nodes=(*PLANNER.nodes, Node(id="node-migrator")),
)


class TokenSiteCase(GatewayCase):
    """A control process, and one agent that is enrolled."""

    def setUp(self) -> None:
        super().setUp()
        self.key = OKPKey.generate_key("Ed25519")
        self.agent = self.enrol("local")

    def enrol(self, name: str) -> AgentKey:
        paths, key = self.config.paths, ec.generate_private_key(ec.SECP256R1())
        certificate = issue_agent(
            load_certificate(paths.link_ca_certificate),
            load_private_key(paths.link_ca_key),
            name,
            key.public_key(),
            datetime.now(UTC),
        )
        self.store.put_agent(
            AgentRow(
                name=name,
                serial=f"{certificate.serial_number:x}",
                enrolled=time.time(),
                expires=time.time() + 3600,
            )
        )
        return AgentKey(certificate, key)

    def bound(self, who: Principal, key: OKPKey, audience: str = GATEWAY, **changes: Any) -> str:
        """Return a token that is bound to a key with which it can be the root of a chain."""
        now = time.time()
        token = GatewayToken(
            principal=who,
            audience=audience,
            issued=now,
            expires=now + 60,
            confirmation={"jkt": key.thumbprint(), "jwk": public_jwk(key)},
        )
        return self.service.signer.sign(evolve(token, **changes))

    async def post(
        self,
        path: str,
        token: str,
        key: OKPKey | None = None,
        caller: str | None = None,
        **more: str,
    ) -> Reply:
        """Post a form: with a proof of a key, or with a caller's own token."""
        headers = {}
        if caller is not None:
            headers["Authorization"] = f"Bearer {caller}"
        if key is not None:
            proof = make_proof(key, "POST", self.url + path, time.time(), caller)
            headers["DPoP"] = proof
        answer = await deferToThread(
            requests.post,
            self.url + path,
            data={"token": token} | more,
            headers=headers,
            verify=str(self.config.paths.ca_certificate),
            timeout=60,
        )
        return Reply(answer.status_code, answer.json(), answer.headers)


class RevokeTests(TokenSiteCase):
    """``POST /sts/revoke``."""

    async def revoked(self, token: str, status: int = 200, **how: Any) -> list[str]:
        """Revoke, and return what of the chain is revoked then."""
        answer = await self.post(REVOKE, token, **how)
        self.assertEqual(answer.status, status, answer.body)
        return [node for node in MIGRATOR.lineage if self.store.is_revoked([node])]

    async def test_ones_own(self) -> None:
        """With the proof of its key; with it goes what it stands for, and no more."""
        token = self.bound(PLANNER, self.key)
        self.assertEqual(await self.revoked(token, 403), [])
        self.assertEqual(await self.revoked(token, 403, key=OKPKey.generate_key("Ed25519")), [])
        self.assertEqual(await self.revoked(token, key=self.key), ["node-planner"])
        self.assertEqual(await self.revoked(token, key=self.key), ["node-planner"])

    async def test_a_token_that_is_bound_to_nothing(self) -> None:
        """Who has it may do everything with it, so also end it."""
        self.assertEqual(await self.revoked(self.token(MIGRATOR)), ["node-migrator"])

    async def test_a_token_for_a_target(self) -> None:
        """Others see it, as a password: it ends itself and nothing else, whoever's it is."""
        orders, told = target_audience("orders"), list[Any]()
        peer = await self.peer(cut=keeping(told))
        await peer.call("hello", worker="w1")
        for who in (ALICE, MIGRATOR):
            token, other = self.token(who, orders), self.token(who, orders)
            for _ in range(2):
                self.assertEqual(await self.revoked(token), [])
                self.assertEqual(await self.revoked(token, key=self.key), [])
            active = [(await self.asked(each)).body["active"] for each in (token, other)]
            self.assertEqual(active, [False, True])
        await peer.call("ping")
        ended = {str(body["node"]) for body in told}
        self.assertEqual(len(ended), 2)
        self.assertTrue(all(node.startswith("token:") for node in ended))
        self.assertEqual(ended, self.store.revoked().keys())
        self.assertLess(max(self.store.revoked().values()), time.time() + 61)

    async def test_a_token_for_a_target_by_an_ancestor(self) -> None:
        """Who could end what it stands for anyway ends that with it."""
        token = self.token(MIGRATOR, target_audience("orders"))
        parent = self.bound(PLANNER, self.key)
        self.assertEqual(await self.revoked(token, key=self.key, caller=parent), ["node-migrator"])

    async def asked(self, token: str) -> Reply:
        """Ask what a token says, as the agent of its target."""
        given = make_assertion("local", self.agent, self.url + INTROSPECT, time.time())
        return await self.post(
            INTROSPECT, token, client_assertion=given, client_assertion_type=ASSERTION_TYPE
        )

    async def test_by_an_ancestor(self) -> None:
        """Not by its child, nor by somebody else's chain; by administrators."""
        child, parent = OKPKey.generate_key("Ed25519"), self.bound(PLANNER, self.key)
        token = self.bound(MIGRATOR, child)
        for stranger in (CAROL, ROOTS_AGENT):
            caller = self.bound(stranger, child)
            self.assertEqual(await self.revoked(token, 403, key=child, caller=caller), [])
        below = self.bound(MIGRATOR, child)
        self.assertEqual(await self.revoked(parent, 403, key=child, caller=below), [])
        self.assertEqual(await self.revoked(token, key=self.key, caller=parent), ["node-migrator"])
        login = self.bound(ALICE, self.key)
        admin = self.bound(ROOT, child)
        self.assertEqual(
            await self.revoked(login, key=child, caller=admin), ["login-alice", "node-migrator"]
        )

    async def test_a_chain(self) -> None:
        """By who holds its last key, or by whoever it descends from; its pop is not needed."""
        child, stranger = OKPKey.generate_key("Ed25519"), OKPKey.generate_key("Ed25519")
        root = self.bound(ALICE, self.key)
        terms = HopClaims(name="planner", expires=time.time() + 50)
        chain = mint_hop(root, self.key, child, terms, time.time())
        for key in (None, stranger, self.key):
            self.assertEqual((await self.post(REVOKE, chain, key)).status, 403)
        shown = prove(chain, child, target_audience("orders"), time.time())
        self.assertEqual((await self.post(REVOKE, shown, key=child)).status, 200)
        self.assertEqual(len(self.store.revoked()), 1)
        self.assertFalse(self.store.is_revoked(ALICE.lineage))
        self.assertEqual((await self.post(REVOKE, chain, key=self.key, caller=root)).status, 200)

    async def test_a_refresh_token(self) -> None:
        """It ends the log-in, if its key is proved; also one that was used already."""
        now = time.time()
        row = LoginRow(
            id=ALICE.session,
            principal=ALICE,
            thumbprint=self.key.thumbprint(),
            refresh=b"\1" * 32,
            began=now,
            groups_at=now,
            expires=now + 60,
        )
        self.store.logins.keep(row)
        token = f"hgr1.{ALICE.session}.secret"
        self.assertEqual(await self.revoked(token, 403), [])
        self.assertEqual(await self.revoked(token, key=self.key), ["login-alice"])
        self.assertIsNone(self.store.logins.find(ALICE.session))

    async def test_what_is_not_good_is_no_error(self) -> None:
        """RFC 7009 section 2.2; and nothing is told of it."""
        over = self.bound(ALICE, self.key, issued=1.0, expires=2.0)
        for bad in ("garbage", over, "hgr1.x.y", "a.b.c~d.e.f", "~", over + "x", "x" * 20_000):
            self.assertEqual(await self.revoked(bad, key=self.key), [], bad[:40])
        malformed = await self.post(REVOKE, "x", token_type_hint="id_token")
        self.assertEqual((malformed.status, malformed.body["error"]), (400, "invalid_request"))
        self.assertEqual((await self.post(REVOKE, "")).status, 400)
        self.assertEqual((await self.post(REVOKE, "x", scope="y")).status, 400)

    async def test_a_proof_that_was_shown_with_a_token(self) -> None:
        """It proves nothing more when it is shown once more without."""
        mine, child = self.bound(PLANNER, self.key), OKPKey.generate_key("Ed25519")
        proof = make_proof(self.key, "POST", self.url + REVOKE, time.time(), mine)
        first = await self.raw_post(self.bound(MIGRATOR, child), proof, mine)
        self.assertEqual(first.status_code, 200)
        self.assertEqual((await self.raw_post(mine, proof)).status_code, 400)
        self.assertFalse(self.store.is_revoked(PLANNER.lineage))

    async def test_a_proof_is_good_once(self) -> None:
        """Not again, and not for another URL."""
        token = self.bound(ALICE, self.key)
        proof = make_proof(self.key, "POST", self.url + "/sts/token", time.time())
        self.assertEqual((await self.raw_post(token, proof)).status_code, 400)
        proof = make_proof(self.key, "POST", self.url + REVOKE, time.time())
        self.assertEqual((await self.raw_post(token, proof)).status_code, 200)
        self.assertEqual((await self.raw_post(token, proof)).status_code, 400)

    async def raw_post(self, token: str, proof: str, caller: str = "") -> requests.Response:
        headers = {"DPoP": proof} | ({"Authorization": f"DPoP {caller}"} if caller else {})
        answer: requests.Response = await deferToThread(
            requests.post,
            self.url + REVOKE,
            data={"token": token},
            headers=headers,
            verify=str(self.config.paths.ca_certificate),
            timeout=60,
        )
        return answer

    async def test_workers_are_told(self) -> None:
        """Live sessions below it end."""
        told: list[Any] = []
        peer = await self.peer(cut=keeping(told))
        await peer.call("hello", worker="w1")
        await self.revoked(self.bound(PLANNER, self.key), key=self.key)
        await peer.call("ping")
        self.assertEqual([body["node"] for body in told], ["node-planner"])

    async def test_store_out_of_reach(self) -> None:
        """It is said that the token was not revoked."""
        token = self.token(ALICE)
        self.store._db.connection.execute("PRAGMA query_only = ON")
        answer = await self.post(REVOKE, token)
        self.store._db.connection.execute("PRAGMA query_only = OFF")
        self.assertEqual(answer.status, 503)


class IntrospectTests(TokenSiteCase):
    """``POST /sts/introspect``."""

    async def asked(self, token: str, agent: AgentKey | None = None, **how: Any) -> Reply:
        if agent is not None:
            url = how.pop("url", self.url + INTROSPECT)
            name = how.pop("name", "local")
            how["client_assertion"] = make_assertion(name, agent, url, time.time())
            how["client_assertion_type"] = ASSERTION_TYPE
        return await self.post(INTROSPECT, token, **how)

    async def test_an_agent(self) -> None:
        """Of tokens for its own targets, as long as they are good."""
        orders, other = target_audience("orders"), target_audience("other")
        answer = await self.asked(self.token(PLANNER, orders), self.agent)
        body = answer.body
        self.assertEqual((answer.status, body["active"], body["aud"]), (200, True, orders))
        self.assertEqual((body["sub"], body["act"]["sub"]), ("corp|alice", "corp|alice~planner"))
        self.assertEqual((body["token_type"], body["username"]), ("Bearer", PLANNER.path))
        for token in (self.token(PLANNER, other), self.token(PLANNER)):
            self.assertEqual((await self.asked(token, self.agent)).body, {"active": False})

    async def test_an_administrator(self) -> None:
        """Of every token."""
        admin = self.bound(ROOT, self.key)
        for token in (self.token(ALICE), self.token(ALICE, target_audience("orders"))):
            answer = await self.asked(token, key=self.key, caller=admin)
            self.assertTrue(answer.body["active"])

    async def test_anybody_else(self) -> None:
        """Strangers are refused; who is logged in learns nothing, not even of an own token."""
        token = self.token(ALICE)
        self.assertEqual((await self.asked(token)).status, 401)
        self.assertEqual((await self.asked(token, caller="garbage")).status, 401)
        for who in (ALICE, CAROL, ROOTS_AGENT):
            caller = self.bound(who, self.key)
            answer = await self.asked(token, key=self.key, caller=caller)
            self.assertEqual((answer.status, answer.body), (200, {"active": False}))

    async def test_what_is_not_good(self) -> None:
        """Is inactive, and nothing more is said."""
        orders = target_audience("orders")
        over = self.bound(ALICE, self.key, orders, issued=1.0, expires=2.0)
        good = self.token(PLANNER, orders)
        for token in ("garbage", over, good + "x", good + "~" + good, "hgr1.a.b", "x" * 20_000):
            self.assertEqual((await self.asked(token, self.agent)).body, {"active": False})
        self.store.revoke(PLANNER.session, time.time() + 60)
        self.assertEqual((await self.asked(good, self.agent)).body, {"active": False})

    async def test_assertions(self) -> None:
        """Of an enrolled agent, for this URL, once, signed with the certificate's key."""
        token = self.token(ALICE, target_audience("orders"))
        stranger = AgentKey(self.agent.certificate, ec.generate_private_key(ec.SECP256R1()))
        for agent, changes in (
            (stranger, {}),
            (self.agent, {"url": self.url + REVOKE}),
            (self.agent, {"name": "other"}),
        ):
            self.assertEqual((await self.asked(token, agent, **changes)).status, 401)
        once: dict[str, Any] = {
            "client_assertion": make_assertion(
                "local", self.agent, self.url + INTROSPECT, time.time()
            ),
            "client_assertion_type": ASSERTION_TYPE,
        }
        self.assertEqual((await self.asked(token, **once)).status, 200)
        self.assertEqual((await self.asked(token, **once)).status, 401)
        late = make_assertion("local", self.agent, self.url + INTROSPECT, time.time() - 90)
        self.assertEqual(
            (await self.asked(token, **(once | {"client_assertion": late}))).status, 401
        )

    async def test_an_agent_that_was_put_out(self) -> None:
        """Its certificate is still good, but it is not enrolled any more."""
        self.service.enrolment.revoke("local")
        self.assertEqual((await self.asked(self.token(ALICE), self.agent)).status, 401)

    async def test_another_cas_agent(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        paths = self.config.paths
        forged = issue_agent(
            load_certificate(paths.ca_certificate),
            load_private_key(paths.ca_key),
            "local",
            key.public_key(),
            moment(time.time()),
        )
        answer = await self.asked(self.token(ALICE), AgentKey(forged, key))
        self.assertEqual(answer.status, 401)
