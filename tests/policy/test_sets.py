"""Loading a set: what is refused, where, and with which fix."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import PolicyError
from hoopgw.policy.check import check
from hoopgw.policy.schema import Schema
from hoopgw.policy.sets import PolicySet
from tests.policy.world import PERMIT_ALL, SHOP_SCHEMA, policies

SEE = 'forbid (principal, action == Shop::Action::"see", resource)'
FORBID = "forbid (principal, action, resource)"
CURED = 'unless { context.approvals.contains("x") }'


class RefusedTests(SynchronousTestCase):
    """Each of these is refused with its place and the fix."""

    def refused(self, text: str, why: str, line: int = 1) -> None:
        with self.assertRaises(PolicyError) as caught:
            policies(text)
        self.assertIn(why, str(caught.exception))
        self.assertIn(f"test.cedar:{line}: error: ", str(caught.exception))

    def test_syntax(self) -> None:
        self.refused("\n\npermit (principal, action);\n", "does not parse: ", line=3)
        self.refused(f'@id("a") @id("b") {FORBID};', "duplicate annotation")

    def test_ids(self) -> None:
        self.refused(f"{FORBID};", 'give it an @id("name")')
        self.refused(f"@id {FORBID};", 'give it an @id("name")')
        self.refused(f'@id("{"a" * 65}") {FORBID};', 'give it an @id("name")')
        self.refused(f'@id("a\\nb") {FORBID};', 'give it an @id("name")')
        self.refused(
            f'@id("x") {FORBID};\n@id("x") {FORBID};', "'x' is taken by test.cedar:1", line=2
        )

    def test_one_id_in_two_files(self) -> None:
        with self.assertRaisesRegex(PolicyError, r"b\.cedar:1: .*taken by test\.cedar:1"):
            policies(PERMIT_ALL, b=PERMIT_ALL)

    def test_what_the_schema_does_not_know(self) -> None:
        """The error stands at the policy that has it, not at the first."""
        typo = PERMIT_ALL + '\n\n@id("x")\n' + 'forbid (principal, action == Shop::Action::"take", '
        self.refused(typo + 'resource) when { resource.lables.contains("a") };', "`lables`", line=3)
        self.refused('@id("x") permit (principal, action == Shop::Action::"tke", resource);', "tke")
        self.refused(
            '@id("x") permit (principal is Hoopgw::Group, action, resource);', "applicable"
        )
        self.refused(f'@id("x") {FORBID} when {{ context.bulk }};', "`bulk`")
        self.refused(f'@id("x") {FORBID} when {{ [1, "a"].contains(1) }};', "not compatible")

    def test_long_complaints_are_cut(self) -> None:
        """Cedar quotes the types, and a record's type is as long as the record."""
        record = ", ".join(f"a{number}: 1" for number in range(1000))
        with self.assertRaises(PolicyError) as caught:
            policies(f'@id("x") {FORBID} when {{ {{{record}}} == {{b: 1}} }};')
        self.assertLess(len(str(caught.exception)), 600)

    def test_templates_are_validated_too(self) -> None:
        self.refused(
            '@id("x") permit (principal == ?principal, action, resource) when { context.nope };',
            "nope",
        )

    def test_unknown_annotation(self) -> None:
        self.refused(f'@id("x") @aproval("dba") {FORBID};', "no annotation is called @aproval")
        self.refused(
            '@id("x") @max_session("4h") permit (principal, action, resource);', "@max_session"
        )

    def test_values(self) -> None:
        for annotation, fix in (
            ('@approvals("0")', "from 1 to 9"),
            ('@approvals("10")', "from 1 to 9"),
            ('@approvals("-1")', "from 1 to 9"),
            ('@approvals("٣")', "from 1 to 9"),
            ("@approvals", "from 1 to 9"),
            ('@approval_ttl("15")', '"15m"'),
            ('@approval_ttl("0s")', '"15m"'),
            ('@approval_ttl("25h")', '"15m"'),
            ('@justify(" ")', "printable"),
            ('@justify("a\\u{1b}[2Jb")', "printable"),
        ):
            text = f'@id("x") @approval("dba") {annotation} {FORBID} {CURED};'
            self.refused(text, fix)
        for groups in ("", ",", "dba,,ops", "a\\nb"):
            self.refused(f'@id("x") @approval("{groups}") {FORBID} {CURED};', "name the groups")
        self.refused(f'@id("x") @deny("") {FORBID};', "printable")
        for rows in ("0", "1e3", "9999999999", ""):
            self.refused(
                f'@id("x") @max_rows("{rows}") permit (principal, action, resource);',
                "whole number",
            )

    def test_masks(self) -> None:
        self.refused(f'@id("x") @mask("blur") {SEE};', "no mask is called 'blur'")
        self.refused(f'@id("x") @mask {SEE};', "name a mask")
        see = "@mask works only where the scope says"
        self.refused(f'@id("x") @mask("redact") {FORBID};', see)
        actions = '[Shop::Action::"see", Shop::Action::"take"]'
        self.refused(
            f'@id("x") @mask("redact") forbid (principal, action in {actions}, resource);', see
        )

    def test_contradictions(self) -> None:
        self.refused(f'@id("x") @mask("redact") @approval("dba") {SEE} {CURED};', "exclude")
        self.refused(f'@id("x") @mask("redact") @justify("why") {SEE};', "exclude")
        self.refused(f'@id("x") @mask("redact") @deny("no") {SEE};', "@deny is final")
        self.refused(f'@id("x") @approval("a") @deny("no") {FORBID} {CURED};', "@deny is final")
        self.refused(f'@id("x") @approvals("2") {FORBID};', "@approvals needs @approval")
        self.refused(f'@id("x") @approval_ttl("2m") {FORBID};', "@approval_ttl needs @approval")
        self.refused(f'@id("x") @approval("dba") {SEE} {CURED};', "cannot cure `see`")

    def test_curable_permits(self) -> None:
        """On a permit they would widen for an engine that ignores them."""
        for name, value in (("approval", "dba"), ("mask", "redact"), ("justify", "why")):
            text = f'@id("x") @{name}("{value}") permit (principal, action, resource);'
            self.refused(text, f"@{name} belongs on a forbid")
        self.refused(f'@id("x") @max_rows("5") {FORBID};', "@max_rows belongs on a permit")

    def test_an_approval_must_be_able_to_cure(self) -> None:
        """Also when it was copied from another policy."""
        fix = 'unless { context.approvals.contains("x") }'
        for clause in (
            "",
            'unless { context.approvals.contains("x") && context.now > 3 }',
            'when { context.approvals.contains("x") }',
        ):
            self.refused(f'@id("x") @approval("dba") {FORBID} {clause};', fix)
        other = f'@id("y") @approval("dba") {FORBID} {CURED};'
        with self.assertRaisesRegex(PolicyError, r'contains\("y"\)'):
            policies(f'@id("x") @approval("dba") {FORBID} {CURED}; {other}')

    def test_ways_to_say_it(self) -> None:
        """All of these lift the forbid when it was approved."""
        for clause in (
            CURED,
            'unless { context.now < 3 || context.approvals.contains("x") }',
            'when { !context.approvals.contains("x") }',
            'when { context.now > 3 && !(context.approvals.contains("x")) }',
        ):
            made = policies(f'@id("x") @approval("dba") {FORBID} {clause};')
            self.assertEqual([rule.id for rule in made.rules], ["x"])

    def test_approvals_that_nobody_gives(self) -> None:
        self.refused(f'@id("y") {FORBID} {CURED};', "never contains 'x'")

    def test_all_errors_at_once(self) -> None:
        """A person mends them in one go; a thousand are not told."""
        with self.assertRaises(PolicyError) as caught:
            policies("\n".join(f"{FORBID};" for _ in range(30)))
        lines = str(caught.exception).splitlines()
        self.assertEqual(len(lines), 21)
        self.assertEqual(lines[-1], "and 10 more errors")


class AcceptedTests(SynchronousTestCase):
    """What a set keeps of its policies."""

    def test_rules(self) -> None:
        made = policies(
            '// note\n@id("x") @approval("dba, ops") @approvals("2") @approval_ttl("90s")\n'
            f'@justify("which ticket?") {FORBID} {CURED};\n'
            f'@id("m") @mask("last4") {SEE};\n'
            '@id("p") @max_rows("10") permit (principal, action, resource) when {context.now > 3};'
        )
        ask, mask, permit = made.rules
        assert ask.remedy is not None
        self.assertEqual(ask.remedy.groups, {"dba", "ops"})
        self.assertEqual((ask.remedy.needed, ask.remedy.patience), (2, 90.0))
        self.assertEqual(ask.remedy.prompt, "which ticket?")
        self.assertEqual((ask.file, ask.line), ("test.cedar", 2))
        self.assertEqual((mask.mask, permit.max_rows), ("last4", 10))
        self.assertTrue(made.reads_now)
        self.assertEqual([each.line for each in made.warnings], [5])  # it names nobody

    def test_kinds_of_masks_can_be_given(self) -> None:
        place = Path(self.mktemp())
        place.mkdir()
        (place / "a.cedar").write_text(f'@id("m") @mask("blur") {SEE};')
        made = PolicySet.load(place, {"shop": SHOP_SCHEMA}, kinds={"blur"})
        self.assertEqual([rule.mask for rule in made.rules], ["blur"])
        with self.assertRaisesRegex(PolicyError, "no mask is called 'blur'"):
            PolicySet.load(place, {"shop": SHOP_SCHEMA})

    def test_the_time_is_noticed(self) -> None:
        """In each way to read it; and only then."""
        for body, reads in (
            ("context.now > 3", True),
            ("context has now", False),
            ('context["now"] > 3', True),
            ("if context.chain.depth > 1 then context.now > 3 else true", True),
            ("[context.now].contains(3)", True),
            ("context.chain.depth > 1", False),
            ("context == context", True),
            ("{a: context} == {a: context}", True),
        ):
            made = policies(f'@id("x") {FORBID} when {{ {body} }};')
            self.assertEqual(made.reads_now, reads, body)


class WarningsTests(SynchronousTestCase):
    """What is doubtful is loaded, and said."""

    def test_everything_to_everybody(self) -> None:
        (finding,) = policies(PERMIT_ALL).warnings
        self.assertIn("test.cedar:1: warning: permits every action to everybody", str(finding))

    def test_agents_as_roots(self) -> None:
        """An agent's own log-in is the root of its chain."""
        agents = '@id("a") permit (principal is Hoopgw::Agent, action, resource)'
        (finding,) = policies(f"{agents};").warnings
        self.assertIn("context.chain.hop > 0", finding.text)
        self.assertEqual(policies(f"{agents} when {{ context.chain.hop > 0 }};").warnings, ())


class SchemaTests(SynchronousTestCase):
    """Tests for `Schema`."""

    def test_protocols_must_declare_what_is_ours(self) -> None:
        for gone in (
            "now: Long,",
            "approvals: Set<String>,",
            "breakglass: Bool,",
            "chain: Hoopgw::Chain,",
        ):
            text = SHOP_SCHEMA.replace(gone, "", 1)
            with self.assertRaisesRegex(PolicyError, "protocol shop: .* must declare"):
                Schema.load({"shop": text})

    def test_one_that_does_not_parse_is_named(self) -> None:
        with self.assertRaisesRegex(PolicyError, "schema of protocol shop does not parse"):
            Schema.load({"shop": "namespace Shop {"})

    def test_two_of_one_namespace(self) -> None:
        with self.assertRaisesRegex(PolicyError, "of all protocols together"):
            Schema.load({"shop": SHOP_SCHEMA, "mall": SHOP_SCHEMA})

    def test_labels_are_given_where_they_are_declared(self) -> None:
        made = Schema.load({"shop": SHOP_SCHEMA})
        shelf = made.entity("Shop::Shelf", "a", [], frozenset(["x"]))
        self.assertEqual(shelf["attrs"], {"labels": ["x"]})
        self.assertEqual(made.entity("Hoopgw::Target", "a", [], frozenset())["attrs"], {})
        for kind in ("Hoopgw::Target", "Shop::Cellar"):
            with self.assertRaises(ValueError):
                made.entity(kind, "a", [], frozenset(["x"]))


class CheckTests(SynchronousTestCase):
    """Tests for `check`."""

    def test_findings(self) -> None:
        """All of them, errors or not, and the directory's own."""
        place = Path(self.mktemp())
        self.assertEqual([f.level for f in check(place, {"shop": SHOP_SCHEMA})], ["error"])
        place.mkdir()
        (place / "a.cedar").write_text(PERMIT_ALL + f"\n{FORBID};")
        found = check(place, {"shop": SHOP_SCHEMA})
        self.assertEqual([(f.level, f.line) for f in found], [("warning", 1), ("error", 2)])
