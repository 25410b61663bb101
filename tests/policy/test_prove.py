"""What is proved is true of the real engine; what is refuted is shown by a request."""

from __future__ import annotations

import random
import time
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import PolicyError
from hoopgw.events import Access, Attributes, Hop, HopKind, Resource
from hoopgw.policy.counterexamples import Counterexample, confirmed
from hoopgw.policy.prove import Proof, Prover
from hoopgw.policy.queries import Query, read_queries
from hoopgw.policy.questions import Inquiry
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


# Random sets, queries and requests

GROUPS = ["dev", "ops"]
CONDITIONS = [
    "context.bulk",
    "context.count > 2",
    "context.count + 9223372036854775800 > 5",
    'context.words.contains("w")',
    "context.words.isEmpty()",
    'context has note && context.note like "a*"',
    'context.note == "ab"',
    'resource.labels.contains("card")',
    'principal in Hoopgw::Group::"ops"',
    "context.chain.depth > 0",
    "context.chain.hop == 0",
    'context.chain.kinds.contains("agent")',
    "principal is Hoopgw::Agent && principal.attested",
    'principal is Hoopgw::Workload && principal has repository && principal.repository == "r"',
    'principal == Hoopgw::Person::"alice"',
    'resource in Hoopgw::Target::"shop"',
    "if context.bulk then context.count > 0 else context.chain.proved",
    "context.count * 2 == 6",
    "[1, 3].contains(context.count)",
    'context.words.containsAll(["w", "v"])',
    "context.now > 100",
]
SAFE = [c for c in CONDITIONS if not c.startswith("context.note ==")]
SCOPES = [
    "principal",
    'principal in Hoopgw::Group::"dev"',
    "principal is Hoopgw::Agent",
    "principal is Hoopgw::Person",
    'principal is Hoopgw::Agent in Hoopgw::AgentKind::"planner"',
    'principal is Hoopgw::Agent in Hoopgw::AgentKind::"corp|planner"',
]
ACTIONS = [
    'action in [Shop::Action::"read", Shop::Action::"write"]',
    'action in [Shop::Action::"read"]',
    'action == Shop::Action::"put"',
    'action in [Shop::Action::"take", Shop::Action::"put"]',
]
RESOURCES = ["resource", 'resource in Hoopgw::Target::"shop"', 'resource == Shop::Shelf::"s1"']


@st.composite
def sets(draw: st.DrawFn) -> str:
    """Draw some permits and forbids."""
    texts = []
    for number in range(draw(st.integers(1, 5))):
        scope = ", ".join(draw(st.sampled_from(each)) for each in (SCOPES, ACTIONS, RESOURCES))
        scope = scope.replace("action in [", "action in [")
        clauses = draw(st.lists(st.sampled_from(SAFE), max_size=2))
        negated = draw(st.booleans())
        whole = " && ".join(f"({c})" for c in clauses) or "true"
        word = "unless" if negated and clauses else "when"
        effect, annotation = draw(
            st.sampled_from([("permit", ""), ("permit", ""), ("forbid", ""), ("forbid", "hold")])
        )
        extra = ""
        if annotation:
            extra = f' unless {{ context.approvals.contains("r{number}") }}'
            annotation = '@approval("dba")'
        texts.append(
            f'@id("r{number}") {annotation} {effect} ({scope}) {word} {{ {whole} }}{extra};'
        )
    return "\n".join(texts)


def anybody(rng: random.Random, is_root: bool) -> Hop:
    kinds: list[HopKind] = ["person", "workload", "agent"] if is_root else ["agent", "workload"]
    kind = rng.choice(kinds)
    attributes: Attributes = ()
    if is_root and kind == "workload" and rng.random() < 0.5:
        attributes = (("repository", rng.choice(["r", "q"])),)
    attested = not is_root and rng.random() < 0.5
    child = rng.choice(["corp|planner", "lab|planner"]) if attested else f"x~{rng.random()}"
    return Hop(
        id=rng.choice(["alice", "bob"]) if is_root else child,
        name=rng.choice(["planner", "tester"]),
        kind=kind,
        groups=frozenset(g for g in GROUPS if is_root and rng.random() < 0.5),
        attested=attested,
        attributes=attributes,
    )


def request(rng: random.Random) -> Inquiry:
    """Make some request."""
    target = Resource(type="Hoopgw::Target", id=rng.choice(["shop", "bank"]))
    shelf = Resource(
        type="Shop::Shelf",
        id=rng.choice(["s1", "s2"]),
        parents=(target,),
        labels=frozenset(["card"] if rng.random() < 0.5 else []),
    )
    context: dict[str, str | bool | int | tuple[str, ...]] = {
        "bulk": rng.random() < 0.5,
        "count": rng.choice([-1, 0, 1, 3, 7, 100]),
        "words": tuple(w for w in ("w", "v") if rng.random() < 0.5),
    }
    if rng.random() < 0.5:
        context["note"] = rng.choice(["ab", "a", "b", ""])
    below = [anybody(rng, is_root=False) for _ in range(rng.choice([0, 0, 1, 1, 2]))]
    return Inquiry(
        chain=(anybody(rng, is_root=True), *below),
        accesses=(Access(action=f"Shop::{rng.choice(['take', 'look', 'put'])}", resource=shelf),),
        context=context,
        now=rng.choice([0, 50, 200]),
        proved=rng.random() < 0.5,
    )


class DifferentialTests(SynchronousTestCase):
    """Prove against the real engine."""

    counts: dict[str, int] = {}  # noqa: RUF012  # of one run

    @settings(max_examples=60, deadline=None)
    @given(
        sets(),
        st.sampled_from(SAFE),
        st.booleans(),
        st.sampled_from(["allowed", "freely", "exceeding"]),
        st.sampled_from(["root", "below", "agent", "anyone"]),
        st.integers(0, 2**32),
    )
    def test_what_is_proved_never_happens(
        self, text: str, when: str, negated: bool, never: str, who: str, seed: int
    ) -> None:
        try:
            made = policies(text)
        except PolicyError:
            assume(False)  # hypothesis's way to say so
        path = Path(self.mktemp())
        condition = f"!({when})" if negated else when
        path.write_text(
            f"queries:\n  - name: q\n    never: {never}\n    who: {who}\n    when: '{condition}'\n"
        )
        try:
            (query,) = read_queries(path, made.schema)
        except PolicyError:
            assume(False)
        proof = Prover(made, 5.0).prove(query)
        self.counts[proof.result] = self.counts.get(proof.result, 0) + 1
        rng = random.Random(seed)
        if proof.is_proved:
            for _ in range(120):
                tried = request(rng)
                self.assertFalse(
                    confirmed(made, query, Counterexample(inquiry=tried)), (text, tried)
                )

    def tearDown(self) -> None:
        """Most of what is not proved is refuted by a request that the engine confirms."""
        counts = self.counts
        if counts:
            self.assertGreater(counts.get("proved", 0), 0)
            self.assertGreater(counts.get("refuted", 0), counts.get("unconfirmed", 0))
