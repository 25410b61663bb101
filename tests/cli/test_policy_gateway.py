"""``hoopgw policy`` asking a gateway for what was recorded."""

from __future__ import annotations

import shutil

from attrs import evolve

from hoopgw.recording.inputs import InputBook
from hoopgw.recording.records import Intent
from tests.cli.recorded import say, write_log
from tests.cli.test_gateway import CommandCase
from tests.cli.test_local import POLICIES
from tests.control.gateway_case import ALICE, AUDITOR, CAROL
from tests.postgres.test_recorded import chain
from tests.store.values import DBA, ask

READ = b"SELECT * FROM customers WHERE id = 7"
WRITE = b"UPDATE items SET n = 1 WHERE id = 3"


class RecordedAtGatewayTests(CommandCase):
    """A log in the gateway's state."""

    def setUp(self) -> None:
        super().setUp()
        records = say("s1", chain("alice", "planner"), [READ, WRITE], InputBook())
        shutil.rmtree(self.config.paths.log, ignore_errors=True)
        self.config.paths.log.parent.mkdir(exist_ok=True)
        write_log(self.config.paths.log, records)
        self.held = [r for r in records if isinstance(r, Intent) and r.decision == "review"]

    async def test_what_if(self) -> None:
        """The same from the gateway as from the log; for overseers only."""
        new = self.folder / "new"
        shutil.copytree(POLICIES, new)
        (new / "30-approvals.cedar").unlink()
        options = ("policy", "what-if", "--policies", new, "--since", "all", "--json")
        asked = await self.hoopgw(AUDITOR, *options)
        self.assertEqual(asked.status, 0, asked.errors)
        read = await self.hoopgw(AUDITOR, *options, "--log", self.config.paths.log)
        self.assertEqual(asked.json, read.json)
        self.assertEqual((asked.json["judged"], asked.json["changed"]), (2, 1))
        refused = await self.hoopgw(ALICE, *options)
        self.assertEqual(refused.status, 1)
        self.assertIn("administrators and auditors", refused.errors)

    async def test_suggest(self) -> None:
        options = ("policy", "suggest", "--chain", "alice/planner", "--since", "all")
        made = await self.hoopgw(AUDITOR, *options)
        self.assertEqual(made.status, 0, made.errors)
        self.assertIn('Postgres::Table::"orders/public.customers"', made.output)

    async def test_explain(self) -> None:
        """A request, and any operation: what was decided then, and what would be now."""
        (intent,) = self.held
        filed = self.docket.file(
            evolve(ask("update", ALICE, DBA), session="s1", digest=intent.digest)
        )
        said = await self.hoopgw(ALICE, "policy", "explain", filed.id)
        self.assertEqual(said.status, 0, said.errors)
        self.assertIn("then: review, by approve-writes", said.output)
        self.assertIn("alice (person), update orders/public.items: refused", said.output)
        named = f"s1/{intent.sequence}"
        operation = await self.hoopgw(AUDITOR, "policy", "explain", named, "--json")
        self.assertEqual(operation.json["recorded"]["decision"], "review")
        self.assertEqual(operation.json["path"], "alice / planner")

    async def test_explain_is_for_those_who_may_see(self) -> None:
        (intent,) = self.held
        for who, what in (
            (CAROL, f"s1/{intent.sequence}"),
            (AUDITOR, "s1/0"),
            (AUDITOR, "s9/1"),
            (AUDITOR, "r-0123456789abcdef"),
        ):
            refused = await self.hoopgw(who, "policy", "explain", what)
            self.assertEqual(refused.status, 1, refused.output)
