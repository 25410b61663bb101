"""Explanations, test cases, and the example policies that ship with them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import PolicyError
from hoopgw.policy.cases import CaseResult, coverage, run_cases, untested
from hoopgw.policy.check import check
from hoopgw.policy.explain import explain
from hoopgw.policy.junit import junit
from hoopgw.policy.sets import PolicySet
from tests.policy.world import ALICE, EVE, PLANNER, ROOT, operation, place, policies, principal

TEXT = """
@id("read") @max_rows("9") permit (principal in Hoopgw::Group::"developers",
  action in [Shop::Action::"read", Shop::Action::"see"], resource);
@id("inherit") permit (principal is Hoopgw::Agent, action, resource)
  when { context.chain.hop > 0 && context.now < 1000 };
@id("bulk") @approval("dba") forbid (principal, action == Shop::Action::"take", resource)
  when { context.bulk } unless { context.approvals.contains("bulk") };
@id("mask") @mask("last4") forbid (principal, action == Shop::Action::"see", resource)
  when { resource.labels.contains("card") };
"""
CASES = """
context: {bulk: false, count: 1, words: []}
hops:
  alice: {groups: [developers]}
  bot: {kind: agent}
resources:
  shop: {type: Hoopgw::Target}
  books: {type: Shop::Shelf, id: shop/books, parents: [shop]}
  price: {type: Shop::Field, id: shop/price, parents: [books], labels: [card]}
cases:
"""
CASE = """
  - name: c
    who: [alice]
    action: Shop::take
    on: [books]
    expect: allow
    """
TOML = """
[hops]
alice = { groups = ["developers"] }
[context]
bulk = false
count = 1
words = []
[resources]
shop = { type = "Hoopgw::Target" }
books = { type = "Shop::Shelf", id = "shop/books", parents = ["shop"] }
[[cases]]
name = "c"
who = ["alice"]
action = "Shop::take"
on = ["books"]
expect = "allow"
now = 2026-11-21T10:00:00Z
"""


class ExplainTests(SynchronousTestCase):
    """Tests for `explain`."""

    def said(self, *asked: object, **more: object) -> str:
        made = policies(TEXT)
        return "\n".join(explain(made, *asked, **more).lines())  # type: ignore[arg-type]  # as they come

    def test_allowed(self) -> None:
        """Each hop has its line, each policy its place."""
        said = self.said(principal(ALICE, PLANNER), operation("take"), 0)
        self.assertEqual(
            said.splitlines(),
            [
                "outcome: allowed, 9 rows at most",
                "  alice (person), take shop/books: allowed by read",
                "  planner (agent), take shop/books: allowed by inherit",
                "  read is the permit at test.cedar:2",
                "  inherit is the permit at test.cedar:4",
            ],
        )

    def test_held(self) -> None:
        """The permit that Cedar does not name on a refusal is named here."""
        wanted = operation("take", context={"bulk": True, "count": 1, "words": ()})
        said = self.said(principal(ALICE), wanted, 0)
        self.assertIn("outcome: held until approved by 1 of dba (bulk)", said)
        self.assertIn("take shop/books: permitted by read, but refused by bulk", said)
        approved = self.said(principal(ALICE), wanted, 0, approvals=frozenset(["bulk"]))
        self.assertIn("outcome: allowed", approved)

    def test_refused(self) -> None:
        """A hop that lacks a permit, and the time that matters."""
        self.assertIn(
            "refused, as no permit holds", self.said(principal(EVE), operation("take"), 0)
        )
        late = self.said(principal(ALICE, PLANNER), operation("take"), 1000)
        self.assertIn("planner (agent), take shop/books: refused, as no permit holds", late)

    def test_a_field(self) -> None:
        wanted = evolve(operation("see", place("price", "card")), context={})
        self.assertIn("outcome: shown with mask last4", self.said(principal(ALICE), wanted, 0))
        clear = evolve(operation("see", place("name")), context={})
        self.assertIn("outcome: shown in clear", self.said(principal(ALICE), clear, 0))
        self.assertIn("outcome: hidden: no policy", self.said(principal(EVE), clear, 0))

    def test_errors(self) -> None:
        """Of one question, or before any is put."""
        self.assertIn("does not exist", self.said(principal(ALICE), operation("burn"), 0))
        broken = operation("take", context={"chain": "x"})
        self.assertIn("must not bring context.chain", self.said(principal(ALICE), broken, 0))


class CasesTests(SynchronousTestCase):
    """Tests for `run_cases`."""

    def setUp(self) -> None:
        self.place = Path(self.mktemp())
        self.place.mkdir()

    def run_text(self, text: str) -> tuple[CaseResult, ...]:
        (self.place / "a.cases.yaml").write_text(text)
        return run_cases(policies(TEXT), self.place)

    def problem(self, case: str) -> str:
        (result,) = self.run_text(CASES + case)
        self.assertEqual(result.is_passed, not result.problems)
        return "; ".join(result.problems)

    def test_each_expectation_can_fail(self) -> None:
        """First as it is, then with one thing changed."""
        see = CASE.replace("Shop::take", "Shop::see").replace("books", "price")
        masked = see.replace("allow", "masked")
        for passing, failing, why in (
            ("", "reason: x", "expected the reason"),
            ("max_rows: 9", "max_rows: 8", "expected 8 rows at most, got 9"),
            ("by: [read]", "by: [inherit]", "expected by inherit, got read"),
            ("", "context: {bulk: true}", "expected allow, got review: by bulk"),
            ("context: {bulk: true}\n    approvals: [bulk]", "mask: last4", "got None"),
        ):
            self.assertEqual(self.problem(CASE + passing), "")
            self.assertIn(why, self.problem(CASE + failing))
        self.assertEqual(self.problem(masked + "mask: last4"), "")
        self.assertIn("expected mask redact, got last4", self.problem(masked + "mask: redact"))
        self.assertIn("expected mask None, got last4", self.problem(masked))
        self.assertIn("got masked", self.problem(see.replace("allow", "clear")))
        self.assertIn("expected deny, got allow", self.problem(CASE.replace("allow", "deny")))

    def test_chains_and_time(self) -> None:
        chain = CASE.replace("[alice]", "[alice, bot]")
        self.assertEqual(self.problem(chain), "")
        self.assertIn("as bot may not", self.problem(chain + "now: 2026-11-21T10:00:00Z"))
        self.assertIn("as bot may not", self.problem(chain + "now: 1000"))

    def test_an_erring_policy_fails_the_case(self) -> None:
        """Also if a refusal was expected: it came for the wrong reason."""
        text = CASE.replace("Shop::take", "Shop::burn").replace("allow", "deny")
        self.assertIn("the policy erred", self.problem(text))

    def test_what_is_not_of_the_format(self) -> None:
        """The text names the file and the key."""
        for text, why in (
            (CASES, r"a\.cases\.yaml is not a file of test cases: .*cases"),
            (CASES + CASE + "exepct: x", r"exepct.*\$\.cases\[0\]|unknown field `exepct`"),
            (CASES + CASE.replace("allow", "maybe"), "maybe"),
            (CASES + CASE.replace("alice", "zoe"), r"case 'c': there is no \[hops\.zoe\]"),
            (CASES + CASE.replace("[books]", "[pens]"), r"there is no \[resources\.pens\]"),
            (CASES + CASE.replace("[books]", "[]"), "must name at least one"),
            (CASES.replace("[shop]", "[books]") + CASE, "lies in itself"),
            ("x: " + "[" * 5000, "nests deeper"),
            ("\x00", "is no YAML"),
        ):
            with self.assertRaisesRegex(PolicyError, why):
                self.run_text(text)

    def test_toml_is_the_same_in_another_notation(self) -> None:
        """By one way: what is judged is the same."""
        (self.place / "a.cases.toml").write_text(TOML)
        (result,) = run_cases(policies(TEXT), self.place)
        self.assertEqual((result.problems, result.place), ((), "a.cases.toml"))

    def test_a_failure_says_where_and_what(self) -> None:
        (result,) = self.run_text(CASES + CASE.replace("allow", "deny"))
        self.assertEqual(result.place, "a.cases.yaml:12")
        self.assertEqual(result.asked, "alice asks Shop::take on books")
        (difference,) = result.differences
        self.assertEqual((difference.expected, difference.got), ("deny", "allow"))

    def test_coverage(self) -> None:
        """Each policy with the cases that it decided, as a permit or as a forbid."""
        results = self.run_text(
            CASES
            + CASE
            + CASE.replace("allow", "review").replace("name: c", "name: d")
            + "context: {bulk: true}"
        )
        found = {each.rule.id: each.cases for each in coverage(policies(TEXT), results)}
        self.assertEqual(found, {"read": ("c",), "inherit": (), "bulk": ("d",), "mask": ()})

    def test_junit(self) -> None:
        """Well-formed whatever a name holds; a failure has its reasons."""
        odd = CASE.replace("name: c", 'name: "<c> \\x1b[31m &"').replace("allow", "deny")
        found = ElementTree.fromstring(junit(self.run_text(CASES + CASE + odd)))  # noqa: S314
        suite = found[0]
        self.assertEqual((suite.get("tests"), suite.get("failures")), ("2", "1"))
        self.assertEqual(suite[1].get("name"), "<c> \\x1b[31m &")
        failure = suite[1][0]
        self.assertIn("expected deny, got allow", str(failure.get("message")))
        self.assertIn("allowed by read", str(failure.text))

    def test_what_no_case_tests_is_named(self) -> None:
        made = policies(TEXT)
        (self.place / "a.cases.yaml").write_text(CASES + CASE)
        self.assertEqual(untested(made, run_cases(made, self.place)), ("inherit", "bulk", "mask"))
        self.assertEqual(untested(made, ()), ("read", "inherit", "bulk", "mask"))


class ExampleTests(SynchronousTestCase):
    """The policies of ``conf/policies``, with PostgreSQL's schema."""

    DIRECTORY = ROOT / "conf" / "policies"
    SCHEMAS = {  # noqa: RUF012  # read only
        "postgres": (ROOT / "protocols/hoopgw_postgres/schema.cedarschema").read_text("utf-8")
    }

    def test_nothing_is_found(self) -> None:
        """Neither errors nor warnings."""
        self.assertEqual(check(self.DIRECTORY, self.SCHEMAS), ())

    def test_all_cases_pass_and_cover_all(self) -> None:
        made = PolicySet.load(self.DIRECTORY, self.SCHEMAS)
        results = run_cases(made, self.DIRECTORY)
        self.assertEqual([(r.name, r.problems) for r in results if not r.is_passed], [])
        self.assertEqual(untested(made, results), ())
        self.assertGreater(len(results), 25)
