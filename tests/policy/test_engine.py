"""The cache that never says more than a fresh evaluation, and the reload that keeps what works."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw import spi
from hoopgw.errors import PolicyError
from hoopgw.events import Cap, Hop, Resource
from hoopgw.policy.cache import Recent
from hoopgw.policy.decision import Allow, Deny, Hidden, Review, Sight
from hoopgw.policy.engine import CedarPolicy, PolicyDirectory
from hoopgw.policy.sets import PolicySet
from tests.policy.world import (
    ALICE,
    CONTEXT,
    EVE,
    PLANNER,
    SHOP_SCHEMA,
    hop,
    operation,
    place,
    policies,
    principal,
    shelf,
)

TEXT = """
@id("read") @max_rows("9") permit (principal in Hoopgw::Group::"developers",
  action in [Shop::Action::"read", Shop::Action::"see"], resource)
  when { !(resource has labels) || !resource.labels.contains("secret") };
@id("write") permit (principal in Hoopgw::Group::"developers",
  action in [Shop::Action::"write"], resource) when { context.count == 1 };
@id("inherit") permit (principal is Hoopgw::Agent, action, resource)
  when { context.chain.hop > 0 };
@id("bulk") @approval("dba") forbid (principal, action in [Shop::Action::"write"], resource)
  when { context.bulk || context.words.contains("all") }
  unless { context.approvals.contains("bulk") };
@id("alone") forbid (principal is Hoopgw::Agent,
  action in [Shop::Action::"read", Shop::Action::"write"], resource)
  when { !principal.isolated && context.words.contains("a") };
@id("named") forbid (principal in Hoopgw::AgentKind::"planner", action, resource)
  when { principal has attested && !principal.attested && resource has labels &&
    resource.labels.contains("card") };
@id("proof") forbid (principal is Hoopgw::Agent, action in [Shop::Action::"write"], resource)
  unless { context.chain.proved };
@id("mask") @mask("last4") forbid (principal, action == Shop::Action::"see", resource)
  when { resource.labels.contains("card") } unless { principal in Hoopgw::Group::"fraud" };
"""
HOURS = """
@id("hours") @deny("come back in time") forbid (principal, action, resource)
  when { context.now < 100 || context.now >= 200 };
"""
PLAIN, TIMED = policies(TEXT), policies(TEXT + HOURS)

CHAINS = st.sampled_from(
    [
        (ALICE,),
        (EVE,),
        (ALICE, PLANNER),
        (PLANNER,),
        (PLANNER, PLANNER),
        (hop("alice", "developers", "fraud"),),
        (hop("alice", "developers", kind="agent"),),
        (hop("alice", "developers", kind="workload"),),
        (hop("alice"),),
        (ALICE, evolve(PLANNER, attested=True)),
        (ALICE, evolve(PLANNER, isolated=True)),
        (ALICE, evolve(PLANNER, name="other")),
        (ALICE, evolve(PLANNER, caps=())),
        (ALICE, evolve(PLANNER, caps=(Cap(target="shop", actions=frozenset({"Shop::read"})),))),
        (ALICE, evolve(PLANNER, caps=(Cap(target="*", actions=frozenset({"Shop::write"})),))),
    ]
)
RESOURCES = st.sampled_from(
    [
        shelf(),
        shelf("books", "secret"),
        shelf("vault"),
        Resource(type="Shop::Shelf", id="shop/books"),
        Resource(type="Shop::Field", id="shop/books"),
        place("price", "card"),
        place("price"),
        place("name", "card"),
    ]
)
# To Python, 1 is True and 0 is False; to Cedar they are not.
VALUES = st.sampled_from([True, False, 1, 0, 2, (), ("all",), ("a", "all"), "1", "", 1.0, ["all"]])
CONTEXTS = st.one_of(
    st.just(dict(CONTEXT)),
    st.fixed_dictionaries({"bulk": VALUES, "count": VALUES, "words": VALUES}),
    st.dictionaries(st.sampled_from(["bulk", "count", "words", "note", "now"]), VALUES),
    st.permutations(list(CONTEXT.items())).map(dict),
)
OPERATIONS = st.builds(
    lambda action, on, context: operation(action, *on, context=context),
    st.sampled_from(["take", "look", "put", "see", "burn"]),
    st.lists(RESOURCES, min_size=1, max_size=3),
    CONTEXTS,
)
TIMES = st.sampled_from([0.0, 99.9, 100.0, 150.2, 150.7, 199.99, 200.0, -1.0])


class CacheTests(SynchronousTestCase):
    """A hit equals a fresh evaluation."""

    @given(
        st.sampled_from([PLAIN, TIMED]),
        st.lists(OPERATIONS, min_size=1, max_size=2),
        st.lists(st.tuples(CHAINS, st.booleans(), st.integers(0, 1), TIMES), max_size=20),
    )
    def test_verdicts(
        self, made: PolicySet, wanted: list[Any], asked: list[tuple[Any, bool, int, float]]
    ) -> None:
        """Whatever was asked before; few operations, so that the rest of the key must tell."""
        clock = Clock()
        cached = CedarPolicy(made, clock.seconds)
        for chain, proved, number, clock.rightNow in [*asked, *asked]:
            fresh = CedarPolicy(made, clock.seconds)
            who = evolve(principal(*chain), proved=proved)
            what = wanted[number % len(wanted)]
            self.assertEqual(cached.decide(who, what), fresh.decide(who, what))

    @given(
        st.sampled_from([PLAIN, TIMED]),
        st.sampled_from(["take", "put"]),
        st.lists(
            st.tuples(
                st.sampled_from(["bulk", "count", "words"]),
                st.sampled_from([True, False, 1, 0, (), ("all",)]),
            ),
            max_size=20,
        ),
    )
    def test_contexts(self, made: PolicySet, action: str, changes: list[tuple[str, Any]]) -> None:
        """One value differs from the question before, or only its type."""
        cached = CedarPolicy(made, lambda: 150.0)
        who = principal(ALICE)
        for name, value in changes:
            fresh = CedarPolicy(made, lambda: 150.0)
            wanted = operation(action, context={**CONTEXT, name: value})
            self.assertEqual(cached.decide(who, wanted), fresh.decide(who, wanted))

    @given(
        st.sampled_from([PLAIN, TIMED]),
        st.lists(st.tuples(CHAINS, st.lists(RESOURCES, max_size=4), TIMES), max_size=12),
    )
    def test_sights(self, made: PolicySet, asked: list[tuple[Any, Any, float]]) -> None:
        """The same for fields, in whatever company they are asked for."""
        clock = Clock()
        cached = CedarPolicy(made, clock.seconds)
        for chain, fields, clock.rightNow in [*asked, *asked]:
            fresh = CedarPolicy(made, clock.seconds)
            who = principal(*chain)
            self.assertEqual(cached.sights(who, fields), fresh.sights(who, fields))

    def test_a_hit_is_the_same_object(self) -> None:
        """So that the properties above are about hits at all."""
        cached = CedarPolicy(PLAIN, lambda: 0.0)
        first = cached.decide(principal(ALICE), operation("take"))
        self.assertIs(cached.decide(principal(ALICE), operation("take")), first)
        self.assertIsInstance(first.decision, Allow)

    def test_the_text_does_not_matter_and_the_rest_does(self) -> None:
        """One verdict serves all statements of a shape; a group lost is a new question."""
        cached = CedarPolicy(PLAIN, lambda: 0.0)
        self.assertIsInstance(cached.decide(principal(ALICE), operation("take")).decision, Allow)
        without = hop("alice")
        self.assertIsInstance(cached.decide(principal(without), operation("take")).decision, Deny)

    def test_each_part_of_a_question_counts(self) -> None:
        """What differs in one part only from what was allowed is refused."""
        cached = CedarPolicy(PLAIN, lambda: 0.0)
        renamed: Mapping[str, Any] = {"bulk": False, "count": 1, "wordz": ()}
        for chain, wanted in (
            ((ALICE, EVE), operation("take")),
            ((hop("alice"),), operation("take")),
            ((hop("bob", "developer"),), operation("take")),
            ((ALICE,), operation("burn")),
            ((ALICE,), operation("take", shelf(), shelf("vault", "secret"))),
            ((ALICE,), operation("take", shelf("books", "secret"))),
            ((ALICE,), operation("take", Resource(type="Shop::Field", id="shop/books"))),
            ((ALICE,), operation("take", context=renamed)),
        ):
            allowed = cached.decide(principal(ALICE), operation("take"))
            self.assertIsInstance(allowed.decision, Allow)
            refused = cached.decide(principal(*chain), wanted)
            self.assertIsInstance(refused.decision, Deny, (chain, wanted))

    def test_truth_is_not_one(self) -> None:
        """Python would find the verdict on the one under the key of the other."""
        cached = CedarPolicy(PLAIN, lambda: 0.0)
        number: Mapping[str, Any] = {**CONTEXT, "count": 1}
        truth: Mapping[str, Any] = {**CONTEXT, "count": True}
        allowed = cached.decide(principal(ALICE), operation("put", context=number))
        self.assertIsInstance(allowed.decision, Allow)
        refused = cached.decide(principal(ALICE), operation("put", context=truth))
        self.assertIsInstance(refused.decision, Deny)

    def test_time_ends_an_entry(self) -> None:
        """At the second that a policy names."""
        clock = Clock()
        cached = CedarPolicy(TIMED, clock.seconds)
        who, wanted = principal(ALICE), operation("take")
        seen = []
        for step in (99.5, 0.5, 99.5, 0.5):
            clock.advance(step)
            seen.append(isinstance(cached.decide(who, wanted).decision, Allow))
        self.assertEqual(seen, [False, True, True, False])

    def test_errors_are_not_kept(self) -> None:
        """They are told to the operator each time."""
        cached = CedarPolicy(PLAIN, lambda: 0.0)
        first = cached.decide(principal(ALICE), operation("burn"))
        self.assertIsNot(cached.decide(principal(ALICE), operation("burn")), first)

    def test_what_cannot_be_hashed_is_refused(self) -> None:
        """A protocol's mistake is no reason to fall over."""
        context: Mapping[str, Any] = {**CONTEXT, "words": ["all"]}
        verdict = CedarPolicy(PLAIN, lambda: 0.0).decide(
            principal(ALICE), operation("take", context=context)
        )
        self.assertIsInstance(verdict.decision, Deny)

    def test_sights_of_one_name_and_two_descriptions(self) -> None:
        """Which labels are true is not known."""
        fields = [place("price", "card"), place("price")]
        shown = CedarPolicy(PLAIN, lambda: 0.0).sights(principal(ALICE), fields)
        self.assertIsInstance(shown["shop/price"], Hidden)

    def test_how_fields_are_shown(self) -> None:
        """In clear, masked, hidden."""
        asked = CedarPolicy(PLAIN, lambda: 0.0)
        fields = [place("name"), place("price", "card"), place("key", "secret")]
        shown = asked.sights(principal(ALICE), fields)
        self.assertEqual(shown["shop/name"], Sight(mask=None, because=("read",)))
        self.assertEqual(shown["shop/price"], Sight(mask="last4", because=("mask",)))
        self.assertIsInstance(shown["shop/key"], Hidden)
        self.assertEqual(asked.sights(principal(ALICE), []), {})

    def test_it_is_what_protocols_are_given(self) -> None:
        policy: spi.Policy = CedarPolicy(PLAIN, lambda: 0.0)
        self.assertEqual(policy.version, PLAIN.version)

    def test_what_is_kept_of_it_ends_with_its_epoch(self) -> None:
        """Only a policy that reads the time has another one each second."""
        clock = Clock()
        for each, ends in ((PLAIN, False), (TIMED, True)):
            policy = CedarPolicy(each, lambda: 150.0 + clock.seconds())
            before = policy.epoch
            clock.advance(1)
            self.assertEqual(policy.epoch != before, ends)
            self.assertEqual(policy.version, each.version)


class RecentTests(SynchronousTestCase):
    """Tests for `Recent`."""

    def test_the_stalest_goes(self) -> None:
        """And what is used stays."""
        kept: Recent[str, int] = Recent(2)
        kept.put("a", 1)
        kept.put("b", 2)
        self.assertEqual(kept.get("a"), 1)
        kept.put("c", 3)
        self.assertEqual([kept.get(key) for key in "abc"], [1, None, 3])
        self.assertEqual(len(kept), 2)

    def test_some_weigh_more(self) -> None:
        """They push out as many as they weigh, and what is too heavy alone is not kept."""
        kept: Recent[str, int] = Recent(4)
        for key in "abcd":
            kept.put(key, 1)
        kept.put("e", 2, 3)
        self.assertEqual([kept.get(key) for key in "abcde"], [None, None, None, 1, 2])
        kept.put("e", 3)
        kept.put("f", 1, 2)
        self.assertEqual([kept.get(key) for key in "def"], [1, 3, 1])
        kept.put("g", 1, 5)
        self.assertIsNone(kept.get("g"))
        kept.drop("f")
        kept.drop("f")
        kept.put("h", 1, 2)
        self.assertEqual(len(kept), 3)

    def test_a_limit_is_needed(self) -> None:
        with self.assertRaises(ValueError):
            Recent[str, int](0)


class PolicyDirectoryTests(SynchronousTestCase):
    """Tests for `PolicyDirectory`."""

    def setUp(self) -> None:
        self.place = Path(self.mktemp())
        self.place.mkdir()
        self.file = self.place / "a.cedar"
        self.file.write_text(TEXT)
        self.policy = PolicyDirectory.open(self.place, {"shop": SHOP_SCHEMA}, lambda: 0.0)

    def decision(self, *chain: Hop) -> Allow | Review | Deny:
        return self.policy.decide(principal(*chain or (ALICE,)), operation("take")).decision

    def test_a_good_change_is_in_force_at_once(self) -> None:
        """Verdicts of before are forgotten, and the version says so."""
        before = self.policy.version
        self.assertIsInstance(self.decision(), Allow)
        self.file.write_text(TEXT.replace("developers", "nobody"))
        self.assertTrue(self.policy.reload())
        self.assertIsInstance(self.decision(), Deny)
        self.assertNotEqual(self.policy.version, before)
        self.assertIs(self.policy.problem, None)

    def test_a_bad_change_changes_nothing_and_is_told(self) -> None:
        """Until it is mended."""
        before = self.policy.version
        self.file.write_text(TEXT + "permit (principal, action, resource);")
        self.assertFalse(self.policy.reload())
        self.assertEqual(self.policy.version, before)
        self.assertIn("a.cedar:22: error: give it an @id", self.policy.problem or "")
        self.assertIsInstance(self.decision(), Allow)
        self.file.write_text(TEXT)
        self.assertFalse(self.policy.reload())
        self.assertIs(self.policy.problem, None)

    def test_a_vanished_directory_changes_nothing(self) -> None:
        self.file.unlink()
        self.assertFalse(self.policy.reload())
        self.assertIn("no *.cedar file", self.policy.problem or "")
        self.assertIsInstance(self.decision(), Allow)

    def test_the_same_keeps_its_cache(self) -> None:
        first = self.policy.decide(principal(ALICE), operation("take"))
        self.assertFalse(self.policy.reload())
        self.assertIs(self.policy.decide(principal(ALICE), operation("take")), first)

    def test_reading_and_adopting_apart(self) -> None:
        """As a thread and the reactor do."""
        self.file.write_text(TEXT + HOURS)
        read = self.policy.read()
        self.assertIsInstance(self.decision(), Allow)
        self.assertTrue(self.policy.adopt(read))
        self.assertIs(self.policy.policies, read)
        self.assertIsInstance(self.decision(), Deny)

    def test_without_a_valid_policy_nothing_starts(self) -> None:
        self.file.write_text("permit")
        with self.assertRaises(PolicyError):
            PolicyDirectory.open(self.place, {"shop": SHOP_SCHEMA}, lambda: 0.0)

    def test_sights_come_from_what_is_in_force(self) -> None:
        policy: spi.Policy = self.policy
        shown = policy.sights(principal(ALICE), [place("price", "card")])
        self.assertEqual(shown["shop/price"], Sight(mask="last4", because=("mask",)))
