"""``hoopgw chains``, against a real control process's service."""

from __future__ import annotations

from attrs import evolve

from hoopgw.events import Node, Principal
from tests.cli.test_gateway import CommandCase
from tests.control.gateway_case import ALICE, CAROL, ROOT
from tests.store.values import hop


def below(parent: Principal, name: str, purpose: str = "") -> Principal:
    """Return a child."""
    return evolve(
        parent,
        chain=(*parent.chain, hop(name, kind="agent")),
        nodes=(*parent.nodes, Node(id=f"-{name:_<21}", purpose=purpose)),
    )


PLANNER = below(ALICE, "planner", purpose="step 3\x1b[2J")
MIGRATOR = below(PLANNER, "migrator")
OTHER = below(CAROL, "helper")


class ChainTests(CommandCase):
    """What is shown to whom, and what ends."""

    def setUp(self) -> None:
        super().setUp()
        for chain in (MIGRATOR, OTHER):
            self.service.board.delegations.keep(chain)

    async def test_mine(self) -> None:
        """As a tree, each below what it descends from; nobody else's."""
        done = await self.hoopgw(ALICE, "chains", "list")
        self.assertEqual(done.status, 0, done.errors)
        lines = done.output.splitlines()
        self.assertEqual(
            [line.split()[0] for line in lines[1:]], ["corp|alice", "planner", "migrator"]
        )
        self.assertEqual([len(line) - len(line.lstrip()) for line in lines[1:]], [0, 2, 4])
        self.assertIn("step 3\\x1b[2J", done.output)
        self.assertNotIn("helper", done.output)

    async def test_everybodys(self) -> None:
        """For who oversees; for anybody else it is still the own ones."""
        done = await self.hoopgw(ROOT, "chains", "list", "--all", "--json")
        names = {node["name"] for node in done.json["nodes"]}
        self.assertEqual(names, {"planner", "migrator", "helper"})
        done = await self.hoopgw(CAROL, "chains", "list", "--all", "--json")
        self.assertEqual([node["name"] for node in done.json["nodes"]], ["helper"])

    async def test_none(self) -> None:
        done = await self.hoopgw(ROOT, "chains", "list")
        self.assertEqual(done.output, "nothing is delegated\n")

    async def test_revoked(self) -> None:
        """With all below it; not by others, and not twice what is no id."""
        node = PLANNER.nodes[-1].id
        stranger = await self.hoopgw(CAROL, "chains", "revoke", node)
        self.assertEqual(stranger.status, 1)
        done = await self.hoopgw(ALICE, "chains", "revoke", node, "--reason", "enough")
        self.assertEqual((done.status, done.errors), (0, ""))
        self.assertTrue(self.store.is_revoked(MIGRATOR.lineage))
        self.assertFalse(self.store.is_revoked(ALICE.lineage))
        self.assertEqual((await self.hoopgw(ALICE, "chains", "revoke", "../x")).status, 2)
