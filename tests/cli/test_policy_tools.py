"""``hoopgw policy what-if`` and its like, on a log folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType

from hoopgw.recording.inputs import InputBook
from hoopgw.recording.segments import segments
from tests.cli.recorded import say, write_log
from tests.cli.support import Run, run
from tests.cli.test_local import POLICIES, FolderTestCase
from tests.postgres.test_recorded import chain
from tests.recording.samples import VERIFIER

READ = b"SELECT * FROM customers WHERE email = 'ada@example.com'"
WRITE = b"UPDATE items SET n = 1 WHERE id = 3"


class RecordedCase(FolderTestCase):
    """Some sessions in a log, and a copy of the policies to change."""

    def setUp(self) -> None:
        super().setUp()
        inputs = InputBook()
        records = [
            *say("s1", chain("alice"), [READ, READ, WRITE, b"DROP TABLE items"], inputs),
            *say("s2", chain("alice", "planner"), [READ, b"SELECT * FROM items"], inputs),
            *say("s3", chain("carol", groups="support"), [READ, WRITE], inputs),
        ]
        self.log = Path("log").absolute()
        write_log(self.log, records)
        self.new = Path("new").absolute()
        shutil.copytree(POLICIES, self.new)

    def change(self, file: str, old: str, new: str) -> None:
        path = self.new / file
        text = path.read_text()
        self.assertIn(old, text)
        path.write_text(text.replace(old, new, 1))

    def what_if(self, *arguments: str | Path) -> Run:
        options = ("--policies", self.new, "--log", self.log, "--since", "all")
        return run("policy", "what-if", *options, *arguments, env={"COLUMNS": "300"})


class WhatIfTests(RecordedCase):
    """Tests for ``hoopgw policy what-if``."""

    def test_nothing_changes(self) -> None:
        result = self.what_if()
        self.assertEqual(result.status, 0, result.errors)
        self.assertIn("nothing changes", result.output)
        self.assertIn("0 of 8 recorded decisions change", result.output)

    def test_a_change(self) -> None:
        """Grouped, with who did it and an example without its literals."""
        self.change(
            "10-access.cedar",
            'Group::"developers",\n  action in [Postgres::Action::"select"',
            'Group::"readers",\n  action in [Postgres::Action::"select"',
        )
        result = self.what_if()
        self.assertIn("allow 10000 rows -> deny", result.output)
        self.assertIn("developers-read", result.output)
        self.assertIn("alice (2)", result.output)
        self.assertIn("alice / planner (2)", result.output)
        self.assertIn("WHERE email = ?", result.output)
        self.assertNotIn("ada@example.com", result.output)
        self.assertIn("0 wider, 4 narrower", result.output)
        groups = self.what_if("--json").json["groups"]
        self.assertEqual([group["count"] for group in groups], [2, 2])
        self.assertIn({"orders/public.customers": 2}, [group["resources"] for group in groups])
        self.assertEqual(self.what_if("--fail-on", "narrower").status, 1)
        self.assertEqual(self.what_if("--fail-on", "wider").status, 0)

    def test_an_approval_that_goes(self) -> None:
        (self.new / "30-approvals.cedar").unlink()
        (group,) = self.what_if("--json").json["groups"]
        self.assertEqual(
            (group["change"], group["direction"], group["decided_before"]),
            ("review -> allow", "wider", ["approve-writes"]),
        )

    def test_narrowed(self) -> None:
        """To a chain, a target, a time."""
        counts = [
            self.what_if("--json", *narrowed).json["judged"]
            for narrowed in (
                (),
                ("--chain", "alice"),
                ("--chain", "alice/planner"),
                ("--target", "billing"),
                ("--since", "2100-01-01T00:00:00Z"),
            )
        ]
        self.assertEqual(counts, [8, 6, 2, 0, 0])
        self.assertEqual(self.what_if("--since", "yesterday").status, 2)

    def test_a_record_that_was_changed(self) -> None:
        """It is named and not judged; with the key, nothing of such a log is believed."""
        self.assertEqual(self.what_if("--key", VERIFIER.encode()).status, 0)
        (segment,) = segments(self.log)
        data = segment.path.read_bytes()
        place = data.index(b"ada@example.com")
        segment.path.write_bytes(data[:place] + b"eve" + data[place + 3 :])
        result = self.what_if()
        self.assertIn("is not judged", result.output)
        self.assertNotIn("0 of 8", result.output)
        self.assertEqual(self.what_if("--key", VERIFIER.encode()).status, 1)

    def test_what_is_not_valid(self) -> None:
        """Status 5: nothing was judged."""
        (self.new / "10-access.cedar").write_text("permit")
        self.assertEqual(self.what_if().status, 5)
        empty = Path("empty")
        empty.mkdir()
        options = ("--policies", POLICIES, "--log", empty)
        self.assertEqual(run("policy", "what-if", *options).status, 5)


class ProveTests(RecordedCase):
    """Tests for ``hoopgw policy prove``."""

    def test_proved(self) -> None:
        result = run("policy", "prove", self.new / "queries.yaml")
        self.assertEqual(result.status, 0, result.errors)
        self.assertIn("11 queries are proved", result.output)

    def test_a_bad_edit(self) -> None:
        """Told by a request that the engine allows, and why it does."""
        self.change(
            "40-masking.cedar",
            'unless { principal in Hoopgw::Group::"fraud" };',
            'unless { principal in Hoopgw::Group::"support" };',
        )
        self.change("40-masking.cedar", "pii.email", "pii.mail")
        result = run("policy", "prove", self.new / "queries.yaml", env={"COLUMNS": "200"})
        self.assertEqual(result.status, 1)
        self.assertIn("REFUTED    no agent sees personal data in clear", result.output)
        self.assertIn("labelled pii.email", result.output)
        self.assertIn("allowed by agents-inherit", result.output)
        found = run("policy", "prove", self.new / "queries.yaml", "--json").json
        self.assertFalse(found["ok"])
        self.assertIn("refuted", [query["result"] for query in found["queries"]])

    def test_what_is_not_valid(self) -> None:
        queries = self.new / "queries.yaml"
        queries.write_text("queries: [{name: q, when: 'principal.x'}]")
        self.assertEqual(run("policy", "prove", queries).status, 5)
        queries.write_text("queries: []")
        self.assertEqual(run("policy", "prove", queries).status, 1)

    def test_too_little_time(self) -> None:
        """No answer is no proof."""
        result = run("policy", "prove", self.new / "queries.yaml", "--timeout", "0.001")
        self.assertEqual(result.status, 1)
        self.assertIn("NOT PROVED", result.output)


class SuggestTests(RecordedCase):
    """Tests for ``hoopgw policy suggest``."""

    def suggest(self, chain: str, *arguments: str) -> Run:
        options = ("--chain", chain, "--log", self.log, "--since", "all")
        return run("policy", "suggest", *options, *arguments)

    def test_a_policy(self) -> None:
        """Which checks, and by which all that the chain did would be allowed again."""
        result = self.suggest("alice/planner")
        self.assertEqual(result.status, 0, result.errors)
        self.assertIn('Postgres::Table::"orders/public.customers"', result.output)
        self.assertIn("delegate --allow orders:Postgres::select", result.output)
        shutil.rmtree(self.new)
        self.new.mkdir()
        (self.new / "suggested.cedar").write_text(result.output)
        self.assertEqual(run("policy", "check", self.new, "--strict").status, 0)
        mine = self.what_if("--chain", "alice/planner", "--json").json
        self.assertEqual((mine["judged"], mine["changed"]), (2, 0))
        others = self.what_if("--json").json
        self.assertGreater(others["narrower"], 0)
        self.assertEqual(others["wider"], 0)

    def test_nothing_to_suggest(self) -> None:
        result = self.suggest("nobody")
        self.assertEqual(result.status, 1)
        self.assertIn("nothing that it did was allowed", result.errors)
        self.assertEqual(self.suggest("alice", "--group", "dba").status, 1)

    def test_what_was_refused_is_never_in_it(self) -> None:
        made = self.suggest("alice", "--json").json
        self.assertEqual((made["allowed"], made["held"], made["refused"]), (2, 1, 1))
        self.assertNotIn("update", made["cedar"])
        self.assertNotIn("ddl", made["cedar"])


class WithoutSolverTests(RecordedCase):
    """Where z3 is not installed."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("hoopgw.policy.prove", "hoopgw.policy.reach"):
            before = sys.modules.pop(name, None)
            sys.modules[name] = None  # type: ignore[assignment]  # importing it fails then
            self.addCleanup(self.restore, name, before)

    @staticmethod
    def restore(name: str, before: ModuleType | None) -> None:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before

    def test_what_to_install(self) -> None:
        result = run("policy", "prove", self.new / "queries.yaml")
        self.assertEqual(result.status, 1)
        self.assertIn("pip install 'hoopgw[prove]'", result.errors)

    def test_lint_does_the_rest(self) -> None:
        result = run("policy", "lint", self.new)
        self.assertEqual(result.status, 0, result.output)
        self.assertIn("not looked for", result.output)
