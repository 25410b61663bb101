"""What is proved is true of the real engine; what is refuted is shown by a request."""

from __future__ import annotations

import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import PolicyError
from hoopgw.policy.prove import Proof, Prover
from hoopgw.policy.queries import Query, read_queries
from hoopgw.policy.schema_types import Declared
from hoopgw.policy.sets import PolicySet
from tests.policy.world import ROOT, policies, schema

AGENTS = '@id("agents") permit (principal is Hoopgw::Agent, action, resource)'
BELOW = AGENTS + " when { context.chain.hop > 0 };"
WITH_AGENT = 'context.chain.kinds.contains("agent")'
ALL = "principal, action, resource"
TAKE = 'action == Shop::Action::"take"'


def permit(name: str, scope: str, when: str = "") -> str:
    return f'@id("{name}") permit ({scope})' + (f" when {{ {when} }};" if when else ";")


def forbid(name: str, scope: str, when: str = "", annotations: str = "") -> str:
    return f'@id("{name}") {annotations} forbid ({scope})' + (
        f" when {{ {when} }};" if when else ";"
    )


class QueryCase(SynchronousTestCase):
    """Queries in a file."""

    def queries(self, text: str) -> tuple[Query, ...]:
        path = Path(self.mktemp())
        path.write_text(text)
        return read_queries(path, schema())

    def prove(self, text: str, query: str, timeout: float = 10.0) -> Proof:
        (asked,) = self.queries(f"queries:\n  - name: q\n{query}")
        return Prover(policies(text), timeout).prove(asked)

    def result(self, text: str, query: str) -> str:
        return self.prove(text, query).result


class ProveTests(QueryCase):
    """Tests for `Prover`."""

    dev = permit("dev", f'principal in Hoopgw::Group::"dev", {TAKE}, resource')
    outside = "    when: '!(principal in Hoopgw::Group::\"dev\")'\n"

    def test_an_attested_child_has_attributes(self) -> None:
        """Of a child that proved who it is, its issuer says what it says of a root."""
        text = permit("people", "principal is Hoopgw::Person, action, resource")
        mine = 'principal has repository && principal.repository == "x"'
        text += permit("ci", "principal is Hoopgw::Workload, action, resource", mine)
        query = "    who: below\n    action: [Shop::put]\n"
        self.assertEqual(self.result(text, query), "refuted")

    def test_who_is_attested_is_of_the_kind_of_its_id(self) -> None:
        """Of none that a parent could have named, and of no other's."""
        query = "    who: below\n    action: [Shop::put]\n    when: '{}'\n"
        named = 'principal in Hoopgw::AgentKind::"{}" && principal.attested{}'
        for kind, more, result in (
            ("planner", "", "proved"),
            ("corp|planner", "", "refuted"),
            ("corp|planner", ' && principal == Hoopgw::Agent::"lab|planner"', "proved"),
            ("corp|planner", ' && principal == Hoopgw::Agent::"corp|planner"', "refuted"),
        ):
            when = f"!(principal is Hoopgw::Person) && {named.format(kind, more)}"
            found = self.result(permit("all", ALL), query.format(when))
            self.assertEqual(found, result, (kind, more))
        unproved = f"!(principal is Hoopgw::Person) && {named.format('corp|planner', '')}"
        unproved = unproved.replace("&& principal.attested", "&& !principal.attested")
        self.assertEqual(self.result(permit("all", ALL), query.format(unproved)), "proved")

    def test_characters_that_the_solver_does_not_know(self) -> None:
        """Nothing is proved of them."""
        note = 'context has note && context.note like "*\U0010fff0" && !(context.note like "*}")'
        text = permit("noted", "principal is Hoopgw::Person, action, resource", note)
        self.assertNotEqual(self.result(text, "    action: [Shop::put]\n"), "proved")

    def test_proved_and_refuted(self) -> None:
        self.assertEqual(self.result(self.dev, self.outside), "proved")
        proof = self.prove(self.dev, "    action: [Shop::take]\n")
        self.assertEqual(proof.result, "refuted")
        assert proof.counterexample is not None
        shown = "\n".join(proof.counterexample.lines())
        self.assertIn("asked by  someone (person, in dev)", shown)
        self.assertIn("action    Shop::take", shown)
        assert proof.explanation is not None
        self.assertIn("allowed by dev", "\n".join(proof.explanation.lines()))

    def test_an_agent_may_what_its_root_may(self) -> None:
        both = self.dev + BELOW
        self.assertEqual(self.result(both, self.outside), "proved")
        self.assertEqual(self.result(self.dev + AGENTS + ";", self.outside), "refuted")
        self.assertEqual(self.result(both, "    who: below\n"), "refuted")
        self.assertEqual(self.result(self.dev, "    who: below\n"), "proved")

    def test_a_chain_that_exceeds_its_root(self) -> None:
        """A permit that asks for an agent in the chain: the person alone may not."""
        query = "    never: exceeding\n"
        self.assertEqual(self.result(self.dev + BELOW, query), "proved")
        more = permit(
            "more", f"principal, {TAKE}, resource", 'context.chain.kinds.contains("agent")'
        )
        proof = self.prove(more + BELOW, query)
        self.assertEqual(proof.result, "refuted")
        assert proof.counterexample is not None
        assert proof.counterexample.inquiry is not None
        self.assertEqual(len(proof.counterexample.inquiry.chain), 2)

    def test_only_far_down(self) -> None:
        """A chain of three is found where shorter ones will not do."""
        deep = permit("deep", "principal, action, resource", "context.chain.depth == 2")
        self.assertEqual(self.result(deep, ""), "refuted")

    def test_curable(self) -> None:
        """Without approval it never happens, with one it does; a mask is the same for seeing."""
        held = self.dev + forbid(
            "hold",
            f"principal, {TAKE}, resource",
            '!context.approvals.contains("hold")',
            '@approval("dba")',
        )
        self.assertEqual(self.result(held, "    never: freely\n"), "proved")
        self.assertEqual(self.result(held, "    never: allowed\n"), "refuted")
        see = 'action == Shop::Action::"see"'
        seen = permit("s", f"principal, {see}, resource") + forbid(
            "m", f"principal, {see}, resource", 'resource.labels.contains("card")', '@mask("last4")'
        )
        card = "    when: 'resource has labels && resource.labels.contains(\"card\")'\n"
        self.assertEqual(self.result(seen, "    never: freely\n" + card), "proved")
        self.assertEqual(self.result(seen, "    never: freely\n"), "refuted")
        self.assertEqual(self.result(seen, "    never: allowed\n" + card), "refuted")

    def test_a_forbid_that_errs_denies(self) -> None:
        """As hoopgw has it; Cedar alone would skip it."""
        errs = self.dev + forbid(
            "e", f"principal, {TAKE}, resource", f"context.count + {2**63 - 1} < 0"
        )
        counted = "    action: [Shop::take]\n    when: context.count > 0\n"
        self.assertEqual(self.result(self.dev, counted), "refuted")
        self.assertEqual(self.result(errs, counted), "proved")

    def test_texts_and_patterns(self) -> None:
        liked = permit(
            "l", f"principal, {TAKE}, resource", 'context has note && context.note like "a*z"'
        )
        for when, result in (
            ('context.note == "abz"', "refuted"),
            ('context.note == "abc"', "proved"),
            ('context.note like "b*"', "proved"),
            ('context.note like "a\\\\*z"', "refuted"),
            ("!(context has note)", "proved"),
            ('context.note == "aé\\\\u{5c}z"', "refuted"),
        ):
            guard = "" if "has" in when else "context has note && "
            query = f'    action: [Shop::take]\n    when: "{guard}{when}"\n'.replace(
                '"' + guard + when + '"', "'" + (guard + when).replace("\\\\", "\\") + "'"
            )
            self.assertEqual(self.result(liked, query), result, when)

    def test_what_has_no_formula_is_never_proved_by_it(self) -> None:
        """It may hold inside permits and fail inside forbids; the engine has the last word."""
        odd = "context.words == context.words"
        allowed = permit("o", f"principal, {TAKE}, resource", odd)
        refused = self.dev + forbid("o", f"principal, {TAKE}, resource", odd)
        self.assertEqual(self.result(allowed, ""), "refuted")
        self.assertEqual(self.result(refused, "    action: [Shop::take]\n"), "unconfirmed")

    def test_grants(self) -> None:
        """Templates may be linked, unless the query leaves grants aside."""
        offer = (
            '@id("t") @grant("g") @grant_approval("dba") permit (principal == ?principal,'
            f" {TAKE}, resource in ?resource);"
        )
        self.assertEqual(self.result(offer, ""), "refuted")
        self.assertEqual(self.result(offer, "    grants: false\n"), "proved")
        glass = (
            '@id("b") @breakglass("oncall") @grant_approval("security") permit (principal =='
            f" ?principal, {TAKE}, resource in ?resource) when {{ context.breakglass }};"
        )
        oncall = "    when: '!(principal in Hoopgw::Group::\"oncall\")'\n"
        self.assertEqual(self.result(glass, oncall), "proved")
        self.assertEqual(self.result(glass, ""), "refuted")
        self.assertEqual(self.result(glass + BELOW, "    who: below\n"), "proved")

    def test_a_grant_to_an_agents_chain_is_none_to_its_root(self) -> None:
        """So a chain exceeds its root by it, unless the query leaves such grants aside."""
        read = f'@grant("g") @grant_approval("dba") permit (principal == ?principal, {TAKE},'
        offer = f'@id("t") {read} resource in ?resource);'
        query = "    never: exceeding\n"
        for text in (offer, offer + BELOW, offer.replace("@grant_a", '@grant_for("dev") @grant_a')):
            proof = self.prove(text, query)
            self.assertEqual(proof.result, "refuted", text)
            assert proof.counterexample is not None
            self.assertEqual(proof.counterexample.alone, frozenset())
            shown = "\n".join(proof.counterexample.lines())
            self.assertRegex(shown, "granted   t to someone / ")
            for grants in ("root", "false"):
                found = self.result(text, f"{query}    grants: {grants}\n")
                self.assertEqual(found, "proved", (text, grants))
        # What the root holds it has without its chain, which a forbid may be about.
        chained = permit("chained", "principal is Hoopgw::Agent, action, resource", WITH_AGENT)
        lifted = forbid("f", "principal, action, resource", f"!({WITH_AGENT})")
        for more, result in ((chained, "proved"), (chained + lifted, "refuted")):
            found = self.result(offer + more, f"{query}    grants: root\n")
            self.assertEqual(found, result, more)

    def test_glass_and_its_agents(self) -> None:
        """It is broken for the person alone, so no chain exceeds its root by that."""
        glass = (
            '@id("b") @breakglass("oncall") @grant_approval("security") permit (principal =='
            f" ?principal, {TAKE}, resource in ?resource);"
        )
        self.assertEqual(self.result(glass + BELOW, "    never: exceeding\n"), "proved")

    def test_a_solver_that_takes_too_long(self) -> None:
        """Is said to be so, and is no proof."""
        slow = "".join(
            permit(
                f"p{n}",
                "principal, action, resource",
                f'context has note && context.note like "*{n}*a*b*c{n}*"',
            )
            for n in range(40)
        )
        proof = self.prove(
            slow, "    when: 'context has note && context.note like \"*x*y*z*q\"'\n", 0.001
        )
        self.assertEqual((proof.result, proof.counterexample), ("unknown", None))
        self.assertIn("0.001 s", proof.why)

    def test_many_policies(self) -> None:
        many = "".join(
            permit(
                f"p{n}",
                f'principal in Hoopgw::Group::"g{n}", {TAKE}, resource in Hoopgw::Target::"t{n}"',
            )
            for n in range(1000)
        )
        begun = time.monotonic()
        query = '    on: Hoopgw::Target::"t7"\n    when: \'!(principal in Hoopgw::Group::"g7")\'\n'
        self.assertEqual(self.result(many, query), "proved")
        self.assertLess(time.monotonic() - begun, 120)


class QueryTests(QueryCase):
    """Tests for `read_queries`."""

    def test_what_is_no_query(self) -> None:
        for text, why in (
            ("queries: [{name: q, when: 'principal.nmae == 1'}]", "q.*: .*nmae"),
            (
                f"queries: [{{name: q, when: 'true }}; {permit('x', ALL, 'true').strip('};')}'}}]",
                "each one expression",
            ),
            ("queries: [{name: q, when: '" + "(" * 200 + "'}]", "nests too deep"),
            ("queries: [{name: q, action: [Shop::fly]}]", "query 'q'"),
            ("queries: [{name: q, never: perhaps}]", "never"),
            ("queries: [{name: q, sometimes: x}]", "sometimes"),
            ("queries: {}", "not a file of queries"),
            ("queries: [" + "{name: q}, " * 600 + "]", "more than 500"),
        ):
            with self.assertRaisesRegex(PolicyError, why):
                self.queries(text)


class ExampleTests(SynchronousTestCase):
    """The queries that ship beside the example policies."""

    SCHEMAS = {  # noqa: RUF012  # read only
        "postgres": (ROOT / "protocols/hoopgw_postgres/schema.cedarschema").read_text("utf-8")
    }

    def test_all_are_proved(self) -> None:
        made = PolicySet.load(ROOT / "conf" / "policies", self.SCHEMAS)
        prover = Prover(made)
        asked = read_queries(ROOT / "conf" / "policies" / "queries.yaml", made.schema)
        self.assertGreater(len(asked), 5)
        proofs = [prover.prove(query) for query in asked]
        self.assertEqual([p.query.name for p in proofs if not p.is_proved], [])

    def test_a_bad_edit_is_found(self) -> None:
        """Whichever policy is taken out, or wherever a condition is lost, some query falls."""
        place = Path(self.mktemp())
        place.mkdir()
        for file in (ROOT / "conf" / "policies").glob("*.cedar"):
            text = file.read_text().replace(
                'unless { principal in Hoopgw::Group::"dba" || principal is Hoopgw::Agent };',
                'unless { principal in Hoopgw::Group::"developers" };',
            )
            text = text.replace(
                'principal in Hoopgw::Group::"developers",\n  action in\n',
                "principal,\n  action in\n",
            )
            (place / file.name).write_text(text)
        made = PolicySet.load(place, self.SCHEMAS)
        prover = Prover(made)
        asked = read_queries(ROOT / "conf" / "policies" / "queries.yaml", made.schema)
        refuted = {p.query.name for p in map(prover.prove, asked) if p.result == "refuted"}
        self.assertIn("nobody outside developers and dba writes", refuted)


class DeclaredTests(SynchronousTestCase):
    """Tests for `Declared`."""

    def test_a_schema(self) -> None:
        declared = Declared.of(schema())
        take = declared.actions["Shop::take"]
        self.assertEqual(take.groups, {"Shop::read"})
        self.assertEqual(take.resources, {"Shop::Shelf"})
        self.assertFalse(take.context["note"].required)
        self.assertEqual(take.context["words"].type, "Set<String>")
        self.assertEqual(
            declared.path("Shop::Field", "Hoopgw::Environment"),
            ("Shop::Shelf", "Hoopgw::Target"),
        )
