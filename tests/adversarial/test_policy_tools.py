"""What policy tools are fed: bombs, floods, and logs that somebody wrote by hand."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import PolicyError
from hoopgw.policy.cases import run_cases
from hoopgw.policy.recorded import Question, QuestionReader, Retrial, Skipped
from hoopgw.policy.sets import PolicySet
from hoopgw.policy.text import FILE_LIMIT, SourceFile
from hoopgw.policy.what_if import WhatIf
from hoopgw.recording import inputs
from hoopgw.recording.decisions import Found, Unreadable
from hoopgw.recording.inputs import LEVELS_LIMIT, RESOURCES_LIMIT, InputBook
from hoopgw.recording.records import (
    AccessRecord,
    AnyRecord,
    DecisionInput,
    FieldsShown,
    Intent,
    ResourceRecord,
    SessionStarted,
    ShownRecord,
    encode,
)
from tests.cli.recorded import say
from tests.policy.test_cases import CASE, CASES, TEXT
from tests.policy.world import policies, schema
from tests.postgres.test_recorded import EXAMPLES, chain

ESCAPE = b"SELECT '\x1b]0;owned\x07' AS \"\xe2\x80\xae\", \xff"


class CaseFileTests(SynchronousTestCase):
    """Files of cases from somebody's branch."""

    def setUp(self) -> None:
        self.place = Path(self.mktemp())
        self.place.mkdir()
        self.policies = policies(TEXT)

    def run_text(self, text: str) -> None:
        (self.place / "a.cases.yaml").write_text(text)
        run_cases(self.policies, self.place)

    def test_a_file_at_the_limit(self) -> None:
        """A megabyte takes seconds, not minutes; a byte more is refused at once."""
        filler = "    context: {words: [" + "w1234, " * ((FILE_LIMIT - 4000) // 7) + "x]}\n"
        begun = time.process_time()
        self.run_text(CASES + CASE.rstrip() + "\n" + filler)
        self.assertLess(time.process_time() - begun, 60)
        with self.assertRaisesRegex(PolicyError, "bigger than"):
            self.run_text(CASES + "#" * FILE_LIMIT)

    def test_bombs(self) -> None:
        """By alias, by merge, by depth, by number, by what a tag would call."""
        for bomb in (
            "a: &a [1]\nb: [*a, *a]",
            "a: &a {b: 1}\nc: {<<: *a}",
            "a: " + "[" * 100_000,
            "a: " + "{b: " * 100_000,
            "- 1\n" * 250_000,
            "a: !!python/object/new:os.system [id]",
            "%TAG ! tag:x:\n---\na: !b c",
            "? " * 50_000,
        ):
            with self.assertRaises(PolicyError):
                self.run_text(bomb)


class ManyPoliciesTests(SynchronousTestCase):
    """More policies than there can be."""

    def test_ten_thousand(self) -> None:
        """Refused before Cedar sees them, with what to do."""
        text = "".join(
            f'@id("p{n}") permit (principal, action, resource in Hoopgw::Target::"t{n}");\n'
            for n in range(10_000)
        )
        begun = time.process_time()
        with self.assertRaisesRegex(PolicyError, "more than 5000 policies; cut the file"):
            PolicySet.from_files([SourceFile(name="a.cedar", text=text)], schema())
        self.assertLess(time.process_time() - begun, 60)


class ForgedLogTests(SynchronousTestCase):
    """Records that no worker would write, with every checksum right."""

    def setUp(self) -> None:
        said = say("s1", chain("alice"), [b"SELECT * FROM customers"], InputBook())
        self.records = said[:-1]  # the session goes on

    def read(self, records: list[AnyRecord]) -> list[Question | Skipped]:
        found = (Found(leaf, encode(record)) for leaf, record in enumerate(records))
        return list(QuestionReader().read(found))

    def faults(self, records: list[AnyRecord]) -> str:
        found = [each for each in self.read(records) if isinstance(each, Skipped) and each.is_fault]
        return "; ".join(each.why for each in found)

    def test_as_it_was(self) -> None:
        self.assertEqual(self.faults(self.records), "")

    def test_another_question_under_the_same_name(self) -> None:
        """A refusal that becomes a harmless question, so that a bad policy looks good."""
        forged = [
            msgspec.structs.replace(r, context={**r.context, "mintsCredentials": False, "x": 1})
            if isinstance(r, DecisionInput)
            else r
            for r in self.records
        ]
        said = self.faults(forged)
        self.assertIn("not the one that its id names", said)
        self.assertIn("is not in what was read", said)

    def test_what_an_intent_needs_is_gone(self) -> None:
        for kind in (DecisionInput, SessionStarted):
            without = [record for record in self.records if not isinstance(record, kind)]
            self.assertIn("is not in what was read", self.faults(without))

    def test_a_chain_that_cannot_be(self) -> None:
        forged = [
            msgspec.structs.replace(r, chain=[]) if isinstance(r, SessionStarted) else r
            for r in self.records
        ]
        self.assertIn("nobody began it", self.faults(forged))

    def test_resources_without_end(self) -> None:
        """A tower of them would end the process in recursion, a field of them its memory."""
        access = [AccessRecord("Postgres::select", 0)]
        tower = [
            ResourceRecord("T", str(n), [n - 1] if n else [], [])
            for n in range(RESOURCES_LIMIT + 1)
        ]
        high = tower[: LEVELS_LIMIT + 1]
        for rows, limit in ((high, "levels"), (tower, str(RESOURCES_LIMIT))):
            name = inputs._digest(access, rows, {})
            self.assertIn(limit, self.faults([DecisionInput("s", 0, 0, name, access, rows, {})]))

    def test_fields_that_do_not_add_up(self) -> None:
        noted = next(r for r in self.records if isinstance(r, DecisionInput))
        outcome = [ShownRecord(None, False, [])]
        for shown in ([], [0, 0], [1], [-1]):
            forged = FieldsShown("s1", 9, 9, noted.id, outcome, shown, "v")
            self.assertIn("how each field was shown", self.faults([*self.records, forged]))

    def test_times_and_types_from_nowhere(self) -> None:
        """Judged as refused, never as an error of ours."""
        rows = [ResourceRecord("No::Such", "x", [], ["l"])]
        access = [AccessRecord("No::fly", 0)]
        name = inputs._digest(access, rows, {})
        intents = [r for r in self.records if isinstance(r, Intent)]
        forged: list[AnyRecord] = [
            *self.records,
            DecisionInput("s1", 9, 9, name, access, rows, {}),
            msgspec.structs.replace(intents[0], input=name),
            msgspec.structs.replace(intents[0], at=2**63 - 1, decided=2**62),
            msgspec.structs.replace(intents[0], at=-(2**62), decided=-5),
        ]
        compared = WhatIf(Retrial(EXAMPLES))
        compared.take_all(self.read(forged))
        self.assertEqual(compared.unjudged, 0)
        self.assertEqual(compared.erring, 1)

    def test_garbage(self) -> None:
        found = list(
            QuestionReader().read(
                [Found(0, b""), Found(1, b"\xc1"), Found(2, b"\x93\xa6intent"), Unreadable(3, "x")]
            )
        )
        self.assertEqual([each.leaf for each in found], [0, 1, 2, 3])
        self.assertTrue(all(isinstance(each, Skipped) for each in found))

    def test_what_a_caller_wrote_does_not_reach_the_terminal(self) -> None:
        """Nor does a literal of it: examples are of what was done, not with what."""
        records = say("s\x1b[2J", chain("al\x1b[31mice", groups="dba"), [ESCAPE], InputBook())
        compared = WhatIf(Retrial(policies('@id("n") forbid (principal, action, resource);')))
        compared.take_all(self.read(records))
        shown = "".join(e.text for group in compared.groups for e in group.examples)
        self.assertNotIn("owned", shown)
        self.assertTrue(shown.isprintable(), shown)
