"""Tests of `hoopgw.control.reach`, over the admin API: who is shown what there is to reach."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from hoopgw.events import Cap, Node, Principal
from tests.control.gateway_case import ALICE, AUDITOR, CAROL, ROOT, TOML, GatewayCase, soon
from tests.store.values import hop, person

SHOP = """
[[targets]]
name = "shop"
protocol = "postgres"
agent = "remote"
"""
POLICY = """
@id("developers")
permit (principal in Hoopgw::Group::"dev", action, resource);

@id("shop-readers")
permit (principal in Hoopgw::Group::"shop", action, resource in Hoopgw::Target::"shop");

@id("agents")
permit (principal is Hoopgw::Agent, action, resource);

@id("books-only")
permit (principal in Hoopgw::Group::"books", action == Postgres::Action::"connect",
  resource == Postgres::Database::"orders/books");
"""
ACCOUNTS = {"orders": {"reader": "books", "writer": "other"}, "shop": {"clerk": "shop"}}


class ReachTests(GatewayCase):
    """Two targets, of two agents."""

    toml = TOML + SHOP

    def setUp(self) -> None:
        super().setUp()
        (self.folder / "policies" / "test.cedar").write_text(POLICY)

    async def announce(self) -> None:
        peer = await self.peer()
        await peer.call("hello", worker="w1")
        agents = [
            {"name": name, "connected": True, "targets": [target], "accounts": accounts}
            for name, target, accounts in (
                ("local", "orders", {"orders": ACCOUNTS["orders"]}),
                # An agent is believed of its own targets only.
                ("remote", "shop", ACCOUNTS | {"orders": {"admin": "books"}}),
            )
        ]
        await peer.call("agent_status", agents=agents)

    async def shown(self, who: Principal, query: str = "") -> dict[str, list[str]]:
        answer = await self.call("GET", f"/v1/targets{query}", who)
        self.assertEqual(answer.status, 200, answer.body)
        return {each["name"]: each["accounts"] for each in answer.body["targets"]}

    async def test_by_policy(self) -> None:
        """Each is shown what opening a session would be allowed, and no more."""
        await self.announce()
        self.assertEqual(
            await self.shown(ALICE), {"orders": ["reader", "writer"], "shop": ["clerk"]}
        )
        self.assertEqual(await self.shown(soon(person("sam", "shop"))), {"shop": ["clerk"]})
        self.assertEqual(await self.shown(soon(person("ben", "books"))), {"orders": ["reader"]})
        self.assertEqual(await self.shown(CAROL), {})
        self.assertEqual(await self.shown(ROOT), {})

    async def test_caps(self) -> None:
        """A child is shown no more than it was narrowed to."""
        await self.announce()
        cap = Cap(target="shop", actions=frozenset({"Postgres::read", "Postgres::connect"}))
        child = evolve(hop("planner", kind="agent"), caps=(cap,))
        chain = evolve(ALICE, chain=(ALICE.root, child), nodes=(Node(id="n"),))
        self.assertEqual(await self.shown(chain), {"shop": ["clerk"]})

    async def test_everything(self) -> None:
        """For those who oversee, who may ask for it."""
        await self.announce()
        for who in (ROOT, AUDITOR):
            self.assertEqual(
                await self.shown(who, "?all=true"),
                {"orders": ["reader", "writer"], "shop": ["clerk"]},
            )
        self.assertEqual((await self.call("GET", "/v1/targets?all=true", ALICE)).status, 403)
        self.assertEqual((await self.call("GET", "/v1/targets?x=1", ALICE)).status, 400)

    async def test_agents_that_are_not_there(self) -> None:
        """Then nobody knows the accounts, and policy is asked without one."""
        self.assertEqual(await self.shown(ALICE), {"orders": [], "shop": []})

    async def test_malformed_announcements(self) -> None:
        """They are refused, and nothing is shown of them."""
        peer = await self.peer()
        await peer.call("hello", worker="w1")
        agent: dict[str, Any] = {"name": "local", "connected": True, "targets": ["orders"]}
        for accounts in ("x", {"orders": "x"}, ["orders"]):
            broken = peer.call("agent_status", agents=[{**agent, "accounts": accounts}])
            await self.assertFailure(broken, Exception)
        self.assertEqual(await self.shown(ALICE), {"orders": [], "shop": []})

    async def test_a_policy_that_is_not_valid(self) -> None:
        """The one before it holds, as for sessions; if there was none, nothing is shown."""
        policy = self.folder / "policies" / "test.cedar"
        policy.write_text("permit (")
        answer = await self.call("GET", "/v1/targets", ALICE)
        self.assertEqual(answer.status, 503)
        policy.write_text(POLICY)
        self.assertEqual(await self.shown(ALICE), {"orders": [], "shop": []})
        policy.write_text("permit (")
        self.assertEqual(await self.shown(ALICE), {"orders": [], "shop": []})
