"""Caps: what whoever delegates narrows a child to, before any policy is asked."""

from __future__ import annotations

import typing

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Access, Cap, Hop, Operation, Principal, Resource
from hoopgw.policy.caps import CAPS, is_covered, uncovered
from hoopgw.policy.decision import Allow, Deny, Hidden, Review, Sight
from hoopgw.policy.engine import CedarPolicy
from hoopgw.policy.explain import explain
from hoopgw.policy.schema import Schema
from tests.policy.world import (
    ALICE,
    PERMIT_ALL,
    PLANNER,
    SHOP_SCHEMA,
    operation,
    place,
    policies,
    principal,
    schema,
    shelf,
)

GROUPS = schema().groups
OTHER = Resource(type="Hoopgw::Target", id="other")


def cap(*actions: str, target: str = "shop") -> Cap:
    """Make a cap."""
    return Cap(target=target, actions=frozenset(actions))


def capped(name: str, *caps: Cap) -> Hop:
    """Make a hop that was narrowed."""
    return Hop(id=f"corp|alice~{name}", name=name, kind="agent", caps=caps)


caps = st.builds(
    Cap,
    target=st.sampled_from(["shop", "other", "*"]),
    actions=st.frozensets(
        st.sampled_from(["Shop::take", "Shop::read", "Shop::write", "Shop::put", "*", "Shop::x"]),
        min_size=1,
        max_size=2,
    ),
)
hops = st.builds(
    Hop,
    id=st.sampled_from(["a", "b"]),
    name=st.sampled_from(["a", "b"]),
    kind=st.just("agent"),
    caps=st.none() | st.lists(caps, max_size=2).map(tuple),
)
operations = st.builds(
    operation,
    st.sampled_from(["take", "look", "put"]),
    st.sampled_from([shelf(), Resource(type="Shop::Shelf", id="x", parents=(OTHER,))]),
)


class CoverTests(SynchronousTestCase):
    """Which accesses a cap covers."""

    def covers(self, action: str, *caps: Cap, on: Resource | None = None) -> bool:
        return is_covered(GROUPS, caps, Access(action=action, resource=on or shelf()))

    def test_the_action_or_a_group_of_it(self) -> None:
        """As the schema says; another group is none."""
        for good in ("Shop::take", "Shop::read", "*"):
            self.assertTrue(self.covers("Shop::take", cap(good)), good)
        for bad in ("Shop::look", "Shop::write", "take", "read", "Shop::tak", "Other::take"):
            self.assertFalse(self.covers("Shop::take", cap(bad)), bad)
        self.assertTrue(
            self.covers("Shop::take", cap("Shop::put"), cap("Shop::look", "Shop::take"))
        )

    def test_groups_in_groups(self) -> None:
        """A group that holds a group that holds the action."""
        nested = SHOP_SCHEMA.replace(
            "action read, write;", "action all; action read, write in [all];"
        )
        groups = Schema.load({"shop": nested}).groups
        self.assertEqual(groups["Shop::take"], {"Shop::read", "Shop::all"})
        access = Access(action="Shop::take", resource=shelf())
        self.assertTrue(is_covered(groups, [cap("Shop::all")], access))

    def test_the_target(self) -> None:
        """The access's own, however far above the resource, or all."""
        self.assertTrue(self.covers("Shop::take", cap("*", target="*")))
        self.assertFalse(self.covers("Shop::take", cap("*", target="other")))
        self.assertTrue(self.covers("Shop::see", cap("Shop::put"), on=place("price")))
        nowhere = Resource(type="Shop::Shelf", id="shop")
        self.assertFalse(self.covers("Shop::take", cap("*"), on=nowhere))
        self.assertTrue(self.covers("Shop::take", cap("*", target="*"), on=nowhere))

    def test_a_resource_called_like_a_target_is_none(self) -> None:
        """Only the type makes a target of it."""
        fake = Resource(type="Shop::Shelf", id="shop", parents=(OTHER,))
        self.assertFalse(self.covers("Shop::take", cap("*"), on=fake))

    def test_to_be_there_at_all(self) -> None:
        """Connect and see need some cap on that target, and no more."""
        for action in ("Shop::connect", "Shop::see"):
            self.assertTrue(self.covers(action, cap("Shop::put")))
            self.assertFalse(self.covers(action, cap("*", target="other")))
            self.assertFalse(self.covers(action))

    def test_none_at_all(self) -> None:
        """An empty list covers nothing; no list covers all."""
        access = [Access(action="Shop::take", resource=shelf())]
        self.assertIsNotNone(uncovered(GROUPS, [ALICE, capped("planner")], access))
        self.assertIsNone(uncovered(GROUPS, [ALICE, PLANNER], access))

    @given(st.lists(hops, min_size=1, max_size=3), operations)
    def test_conjunction(self, chain: list[Hop], asked: Operation) -> None:
        """A chain has exactly what each of its hops has alone: nobody widens an ancestor."""
        together = uncovered(GROUPS, chain, asked.accesses) is None
        alone = all(uncovered(GROUPS, [hop], asked.accesses) is None for hop in chain)
        self.assertEqual(together, alone)


class JudgingTests(SynchronousTestCase):
    """Caps before policies."""

    def setUp(self) -> None:
        self.policy = CedarPolicy(policies(PERMIT_ALL), lambda: 0.0)

    def test_the_refusal_says_whose_caps_lack_what(self) -> None:
        """And what they hold, so that whoever delegates can mend it."""
        who = principal(ALICE, PLANNER, capped("migrator", cap("Shop::read"), cap("*", target="x")))
        self.assertIsInstance(self.policy.decide(who, operation("take")).decision, Allow)
        verdict = self.policy.decide(who, operation("put"))
        assert isinstance(verdict.decision, Deny)
        self.assertEqual(
            verdict.decision.reason,
            "the caps that planner gave migrator do not cover Shop::put on shop; they hold"
            " Shop::read on shop; * on x",
        )
        self.assertEqual(verdict.because, (CAPS,))

    def test_an_ancestors_caps_hold_for_its_children(self) -> None:
        """A child that was promised more has no more."""
        who = principal(
            ALICE, capped("planner", cap("Shop::read")), capped("b", cap("*", target="*"))
        )
        verdict = self.policy.decide(who, operation("put"))
        assert isinstance(verdict.decision, Deny)
        self.assertIn("that alice gave planner", verdict.decision.reason)

    def test_all_accesses_count(self) -> None:
        """One that is not covered refuses the operation."""
        mixed = evolve(
            operation("take"),
            accesses=(*operation("take").accesses, *operation("put").accesses),
        )
        who = principal(ALICE, capped("planner", cap("Shop::take")))
        self.assertIsInstance(self.policy.decide(who, mixed).decision, Deny)

    def test_caps_permit_nothing(self) -> None:
        """They narrow: without a permit the chain has nothing, and a forbid holds."""
        text = '@id("r") permit (principal, action in [Shop::Action::"read"], resource);'
        policy = CedarPolicy(policies(text), lambda: 0.0)
        who = principal(ALICE, capped("planner", cap("*", target="*")))
        self.assertIsInstance(policy.decide(who, operation("take")).decision, Allow)
        self.assertIsInstance(policy.decide(who, operation("put")).decision, Deny)

    def test_no_review_is_offered_for_what_no_approval_could_cure(self) -> None:
        """Nobody is asked to approve what the caps would still refuse."""
        policy = CedarPolicy(
            policies(
                PERMIT_ALL + '@id("ask") @approval("dba") forbid (principal, action, resource)'
                ' unless { context.approvals.contains("ask") };'
            ),
            lambda: 0.0,
        )
        who = principal(ALICE, capped("planner", cap("Shop::read")))
        self.assertIsInstance(policy.decide(who, operation("take")).decision, Review)
        self.assertIsInstance(policy.decide(who, operation("put")).decision, Deny)

    def test_fields(self) -> None:
        """A field is hidden on a target that the caps do not name; others are as policy says."""
        price = place("price")
        for target, kind in (("shop", Sight), ("other", Hidden), ("*", Sight)):
            who = principal(ALICE, capped("planner", cap("Shop::put", target=target)))
            self.assertIsInstance(self.policy.sights(who, [price])[price.id], kind)

    def test_explained(self) -> None:
        """Hop by hop: who is narrowed, and that the others are not."""
        who = principal(ALICE, capped("planner", cap("Shop::read")), PLANNER)
        lines = list(explain(self.policy.policies, who, operation("put"), 0).lines())
        self.assertIn("refused: the caps that alice gave planner do not cover", lines[0])
        self.assertIn("allowed by all", lines[1])
        self.assertIn("planner (agent), put shop/books: refused, as the caps", lines[2])
        self.assertIn("allowed by all", lines[3])


class SeenTests(SynchronousTestCase):
    """What else policies see of hops."""

    def decide(self, text: str, who: Principal) -> type[object]:
        policy = CedarPolicy(policies(PERMIT_ALL + text), lambda: 0.0)
        verdict = policy.decide(who, operation("take"))
        self.assertEqual(verdict.errors, ())
        return type(verdict.decision)

    def test_attested_and_isolated(self) -> None:
        """Of a child as its hop says; a root has proved itself, and has no parent."""
        for name in ("attested", "isolated"):
            text = (
                '@id("x") forbid (principal is Hoopgw::Agent, action, resource)'
                f" unless {{ principal.{name} }};"
            )
            root = evolve(PLANNER, id="corp|root")
            child = evolve(PLANNER, **typing.cast("dict[str, typing.Any]", {name: True}))
            self.assertIs(self.decide(text, principal(ALICE, PLANNER)), Deny)
            self.assertIs(self.decide(text, principal(ALICE, child)), Allow)
            self.assertIs(self.decide(text, principal(root)), Allow)

    def test_a_name_restricts(self) -> None:
        """All that was delegated to under it, as agent or workload, anywhere in the chain."""
        text = '@id("x") forbid (principal in Hoopgw::AgentKind::"planner", action, resource);'
        worker = evolve(PLANNER, kind="workload")
        last = evolve(capped("other"), caps=None)
        named: list[tuple[Hop, ...]] = [(ALICE, PLANNER), (ALICE, worker), (ALICE, PLANNER, last)]
        for chain in named:
            self.assertIs(self.decide(text, principal(*chain)), Deny)
        for chain in [(ALICE,), (PLANNER,), (ALICE, last)]:
            self.assertIs(self.decide(text, principal(*chain)), Allow)

    def test_who_is_attested_is_of_the_kind_of_its_id(self) -> None:
        """What its issuer shows of it for people says nothing: another issuer's may be the same."""
        kind = 'Hoopgw::AgentKind::"corp|planner"'
        by_id = f'@id("x") forbid (principal in {kind}, action, resource);'
        by_name = by_id.replace("corp|", "")
        proved = evolve(PLANNER, attested=True)
        look_alike = evolve(PLANNER, attested=True, id="lab|42")
        self.assertIs(self.decide(by_id, principal(ALICE, proved)), Deny)
        self.assertIs(self.decide(by_name, principal(ALICE, proved)), Allow)
        for other in (look_alike, PLANNER):
            self.assertIs(self.decide(by_id, principal(ALICE, other)), Allow)
        self.assertIs(self.decide(by_name, principal(ALICE, look_alike)), Allow)

    def test_a_permit_by_an_unproved_name_is_warned_of(self) -> None:
        """Whoever starts an agent names it; only an id says who it is."""
        scope = '@id("x") permit (principal in Hoopgw::AgentKind::"planner", action, resource)'
        clause = (
            '@id("x") permit (principal is Hoopgw::Agent, action, resource)'
            ' when { context.chain.hop > 0 && principal in Hoopgw::AgentKind::"planner" }'
        )
        proved = " when { principal is Hoopgw::Agent && principal.attested };"
        by_id = [each.replace("planner", "corp|planner") + ";" for each in (scope, clause)]
        warned = (scope + ";", clause + ";", scope + proved)
        for text, count in [*((each, 1) for each in warned), *((each, 0) for each in by_id)]:
            found = [w.text for w in policies(text).warnings if "nobody has proved" in w.text]
            self.assertEqual(len(found), count, text)

    def test_proved(self) -> None:
        """Whether the caller proved its key; the cache tells the two apart."""
        text = '@id("x") forbid (principal, action, resource) unless { context.chain.proved };'
        policy = CedarPolicy(policies(PERMIT_ALL + text), lambda: 0.0)
        who = principal(ALICE, PLANNER)
        for _ in range(2):
            for proved, kind in ((True, Allow), (False, Deny)):
                verdict = policy.decide(evolve(who, proved=proved), operation("take"))
                self.assertIsInstance(verdict.decision, kind)
        price = place("price")
        for proved, shown in ((True, Sight), (False, Hidden), (True, Sight)):
            sights = policy.sights(evolve(who, proved=proved), [price])
            self.assertIsInstance(sights[price.id], shown)
