"""Tests for ``/v1/nodes``: who may end which delegation, and who is told."""

from __future__ import annotations

import time

from attrs import evolve
from joserfc.jwk import OKPKey

from hoopgw.control import site
from hoopgw.events import Hop, Node, Principal
from hoopgw.identity.hops import HopClaims, mint_hop, node_id, prove, public_jwk
from hoopgw.identity.tokens import GATEWAY, GatewayToken
from tests.control.gateway_case import ALICE, AUDITOR, CAROL, ROOT, GatewayCase, keeping, soon


def acting(parent: Principal, name: str) -> Principal:
    """Return a child of a principal."""
    hop = Hop(id=f"{parent.chain[-1].id}~{name}", name=name, kind="agent")
    made = Node(id=node_id(parent.lineage[-1], name), purpose=f"ticket of {name}")
    return evolve(parent, chain=(*parent.chain, hop), nodes=(*parent.nodes, made))


PLANNER = acting(ALICE, "planner")
MIGRATOR = acting(PLANNER, "migrator")
SIBLING = acting(ALICE, "sibling")


class NodesTests(GatewayCase):
    """Two delegations of Alice, one below the first, and who wants what of them."""

    def setUp(self) -> None:
        super().setUp()
        self.service.board.delegations.keep(MIGRATOR)
        self.service.board.delegations.keep(SIBLING)

    async def revoke(self, who: Principal | str, node: str, **body: object) -> int:
        """Ask to end a delegation, and return the status."""
        return (await self.call("POST", f"/v1/nodes/{node}/revoke", who, body)).status

    async def test_listed(self) -> None:
        """To each those that they may end; all to who oversees."""
        for who, names in (
            (ALICE, {"planner", "migrator", "sibling"}),
            (PLANNER, {"planner", "migrator"}),
            (MIGRATOR, {"migrator"}),
            (CAROL, set()),
            (ROOT, {"planner", "migrator", "sibling"}),
            (AUDITOR, {"planner", "migrator", "sibling"}),
        ):
            answer = await self.call("GET", "/v1/nodes", who)
            self.assertEqual({node["name"] for node in answer.body["nodes"]}, names, who.path)
        answer = await self.call("GET", f"/v1/nodes?root={CAROL.root.id.replace('|', '%7C')}", ROOT)
        self.assertEqual(answer.body, {"nodes": []})
        [node] = (await self.call("GET", "/v1/nodes", MIGRATOR)).body["nodes"]
        self.assertEqual(node["parent"], PLANNER.lineage[-1])
        self.assertEqual(node["purpose"], "ticket of migrator")
        self.assertEqual(node["hop"], "corp|alice~planner~migrator")

    async def test_what_was_ended_is_not_listed(self) -> None:
        """Nor what is below it; the rest still is."""
        self.assertEqual(await self.revoke(ALICE, PLANNER.lineage[-1]), 200)
        answer = await self.call("GET", "/v1/nodes", ALICE)
        self.assertEqual([node["name"] for node in answer.body["nodes"]], ["sibling"])

    async def test_who_may_not(self) -> None:
        """Others, siblings, children and auditors: to them there is no such delegation."""
        planner = PLANNER.lineage[-1]
        for who in (CAROL, SIBLING, MIGRATOR, AUDITOR):
            self.assertEqual(await self.revoke(who, planner), 404, who.path)
        self.assertFalse(self.store.is_revoked(PLANNER.lineage))

    async def test_who_may(self) -> None:
        """Administrators, the person at the root by any log-in, parents, and who acts in it."""
        for who in (ROOT, ALICE, evolve(ALICE, session="another"), PLANNER, MIGRATOR):
            migrator = acting(PLANNER, f"m-{who.root.name}-{who.session[:7]}-{len(who.chain)}")
            who = migrator if who is MIGRATOR else who
            self.service.board.delegations.keep(migrator)
            self.assertEqual(await self.revoke(who, migrator.lineage[-1]), 200, who.path)
            self.assertTrue(self.store.is_revoked(migrator.lineage))
        self.assertFalse(self.store.is_revoked(PLANNER.lineage))

    async def test_workers_are_told_why(self) -> None:
        """Who ended it, and the reason that was given."""
        told: list[dict[str, object]] = []
        peer = await self.peer(cut=keeping(told))
        await peer.call("hello", worker="w1")
        self.assertEqual(
            await self.revoke(PLANNER, MIGRATOR.lineage[-1], reason="went astray"), 200
        )
        await peer.call("ping")
        [body] = told
        self.assertEqual(body["node"], MIGRATOR.lineage[-1])
        self.assertRegex(
            str(body["reason"]),
            r"^the delegation to migrator was revoked by alice/planner#.{8}: went astray$",
        )

    async def test_one_that_was_not_shown_yet(self) -> None:
        """Who knows the keys below its own can end what they make; nobody else can, but admins."""
        unknown = node_id(node_id(PLANNER.lineage[-1], "key-1"), "key-2")
        for who, prints, status in (
            (PLANNER, [], 404),
            (PLANNER, ["key-2"], 404),
            (ALICE, ["key-1", "key-2"], 404),
            (PLANNER, ["key-1", "key-2"], 200),
        ):
            self.assertEqual(await self.revoke(who, unknown, thumbprints=prints), status)
        for bad in ("x", [1], ["k"] * 6, ["é"]):
            self.assertEqual(await self.revoke(PLANNER, "A" * 22, thumbprints=bad), 400)
        self.assertEqual(await self.revoke(ROOT, "B" * 22), 200)
        for malformed in ("x", "B" * 300):
            self.assertEqual(await self.revoke(ROOT, malformed), 404)

    async def test_a_child_does_not_end_its_roots_log_in(self) -> None:
        """Its siblings would end with it."""
        for login in ("mine", ALICE.session):
            answer = await self.call("POST", f"/v1/logins/{login}/revoke", PLANNER, {})
            self.assertEqual(answer.status, 403)

    async def test_an_agent_calls_with_its_chain(self) -> None:
        """Proved by a pop, or by the request's own proof; each once."""
        now, alice, planner = time.time(), *(OKPKey.generate_key("Ed25519") for _ in range(2))
        root = self.service.signer.sign(
            GatewayToken(
                principal=soon(ALICE),
                audience=GATEWAY,
                issued=now,
                expires=now + 60.0,
                confirmation={"jkt": alice.thumbprint(), "jwk": public_jwk(alice)},
            )
        )
        chain = mint_hop(root, alice, planner, HopClaims(name="planner", expires=now + 60), now)
        shown = prove(chain, planner, GATEWAY, now)
        answer = await self.call("GET", "/v1/me", shown)
        self.assertRegex(answer.body["path"], "^alice/planner#.{8}$")
        for again in (shown, chain):
            self.assertEqual((await self.call("GET", "/v1/me", again)).status, 401)
        self.assertEqual((await self.call("GET", "/v1/me", chain, key=planner)).status, 200)
        self.assertEqual((await self.call("GET", "/v1/me", chain, key=alice)).status, 401)
        node = answer.body["chain"][1]["node"]
        self.assertEqual(await self.revoke(prove(chain, planner, GATEWAY, now), node), 200)
        self.assertEqual((await self.call("GET", "/v1/me", chain, key=planner)).status, 401)


class FloodTests(GatewayCase):
    """A log-in may ask a few times only."""

    def setUp(self) -> None:
        self.patch(site, "_BURST", 8.0)
        self.patch(site, "_PER_SECOND", 0.001)
        super().setUp()
        self.service.board.delegations.keep(PLANNER)

    async def test_a_child_does_not_keep_its_parent_from_ending_it(self) -> None:
        """By asking without end: its parent, and that one's, can ask for more."""
        for who, count in ((MIGRATOR, 4), (PLANNER, 2)):
            answers = [(await self.call("GET", "/v1/me", who)).status for _ in range(count + 1)]
            self.assertEqual(answers, [200] * count + [429])
        planner = PLANNER.lineage[-1]
        answer = await self.call("POST", f"/v1/nodes/{planner}/revoke", ALICE, {})
        self.assertEqual(answer.status, 200)
