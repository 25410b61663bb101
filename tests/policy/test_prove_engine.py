"""What `hoopgw.policy.prove` proves never happens in the real engine: random sets and requests."""

from __future__ import annotations

import random
from pathlib import Path

from attrs import evolve
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import PolicyError
from hoopgw.events import Access, Attributes, Hop, HopKind, Resource
from hoopgw.grants.held import HeldGrant
from hoopgw.policy.counterexamples import Counterexample, confirmed
from hoopgw.policy.links import links_of
from hoopgw.policy.prove import Prover
from hoopgw.policy.queries import read_queries
from hoopgw.policy.questions import Inquiry
from hoopgw.policy.sets import PolicySet
from tests.policy.world import policies

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
OFFERED = ["resource in ?resource", 'resource in Hoopgw::Target::"shop"']
TERMS = [
    '@grant("g{}") @grant_approval("dba")',
    '@grant("g{}") @grant_approval("dba") @grant_for("dev")',
    '@breakglass("ops") @grant_approval("dba")',
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
    for number in range(draw(st.sampled_from([0, 0, 1, 2]))):
        action, resource = draw(st.sampled_from(ACTIONS)), draw(st.sampled_from(OFFERED))
        texts.append(
            f'@id("t{number}") {draw(st.sampled_from(TERMS)).format(number)}'
            f" permit (principal == ?principal, {action}, {resource})"
            f" when {{ {draw(st.sampled_from(SAFE))} }};"
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


def granted(
    made: PolicySet, inquiry: Inquiry, grants: object, rng: random.Random
) -> Counterexample:
    """Give the chain, or what it descends from, some of what it can be granted."""
    (target,) = inquiry.targets
    given: list[HeldGrant] = []
    for offer in made.offers.values() if grants else ():
        size = 1 if grants == "root" else rng.randint(1, len(inquiry.chain))
        to = inquiry.chain[:size]
        if rng.random() < 0.6 and offer.refuses(inquiry.chain, target) is None:
            given.append(
                HeldGrant(
                    id="g",
                    template=offer.template,
                    terms=offer.terms,
                    target=target,
                    chain=tuple((hop.kind, hop.id) for hop in to),
                    breakglass=bool(offer.breakglass),
                    until=1e9,
                )
            )
    return Counterexample(
        inquiry=evolve(
            inquiry,
            links=links_of(given, made.offers),
            breakglass=any(grant.breakglass for grant in given),
        ),
        alone=frozenset(grant.template for grant in given if len(grant.chain) == 1),
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
        st.sampled_from(["true", "false", "root"]),
        st.integers(0, 2**32),
    )
    def test_what_is_proved_never_happens(
        self, text: str, when: str, negated: bool, never: str, who: str, grants: str, seed: int
    ) -> None:
        try:
            made = policies(text)
        except PolicyError:
            assume(False)  # hypothesis's way to say so
        path = Path(self.mktemp())
        condition = f"!({when})" if negated else when
        path.write_text(
            f"queries:\n  - name: q\n    never: {never}\n    who: {who}\n    grants: {grants}\n"
            f"    when: '{condition}'\n"
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
                found = granted(made, tried, query.grants, rng)
                self.assertFalse(confirmed(made, query, found), (text, found))

    def tearDown(self) -> None:
        """Most of what is not proved is refuted by a request that the engine confirms."""
        counts = self.counts
        if counts:
            self.assertGreater(counts.get("proved", 0), 0)
            self.assertGreater(counts.get("refuted", 0), counts.get("unconfirmed", 0))
