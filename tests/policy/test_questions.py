"""What Cedar is asked: only the policies that could apply, which must not change an answer."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Access, Resource
from hoopgw.policy.questions import BATCH_LIMIT, Inquiry, ask, in_batches, see_of
from hoopgw.policy.sets import Compiled
from tests.policy.world import ALICE, CONTEXT, PLANNER, place, policies

SCOPES = st.sampled_from(
    [
        "resource",
        'resource in Hoopgw::Target::"a"',
        'resource in Hoopgw::Target::"b"',
        'resource is Shop::Shelf in Hoopgw::Target::"a"',
        'resource in Hoopgw::Environment::"a"',
        'resource == Shop::Shelf::"a"',
        'resource in Shop::Shelf::"b"',
        "resource is Shop::Shelf",
    ]
)
LINES = st.lists(st.tuples(st.sampled_from(["permit", "forbid"]), SCOPES), max_size=8)
TARGETS = st.lists(st.sampled_from("ab"), max_size=2, unique=True).map(
    lambda ids: tuple(
        Resource(
            type="Hoopgw::Target",
            id=each,
            parents=(Resource(type="Hoopgw::Environment", id=each),),
        )
        for each in ids
    )
)
SHELVES = st.builds(
    lambda name, parents: Resource(type="Shop::Shelf", id=name, parents=parents),
    st.sampled_from(["a", "b", "c"]),
    TARGETS,
)


class SliceTests(SynchronousTestCase):
    """Tests for `Compiled.for_targets`."""

    @given(LINES, st.lists(SHELVES, min_size=1, max_size=3, unique_by=lambda each: each.id))
    def test_the_rest_could_not_have_applied(
        self, lines: list[tuple[str, str]], shelves: list[Resource]
    ) -> None:
        """The answers are those of the whole set."""
        made = policies(
            "".join(
                f'@id("p{number}") {effect} (principal, action, {scope});'
                for number, (effect, scope) in enumerate(lines)
            )
        )
        inquiry = Inquiry(
            chain=(ALICE, PLANNER),
            accesses=tuple(Access(action="Shop::take", resource=each) for each in shelves),
            context=CONTEXT,
            now=0,
        )
        whole = Compiled(tuple(evolve(rule, target=None) for rule in made.rules))
        sliced = ask(made.all, made.schema, inquiry)
        unsliced = ask(whole, made.schema, inquiry)
        self.assertEqual(
            [(a.is_allowed, [r.id for r in a.rules], a.errors) for a in sliced],
            [(a.is_allowed, [r.id for r in a.rules], a.errors) for a in unsliced],
        )

    def test_others_are_left_out(self) -> None:
        """So that the property above is about slices at all; a slice is made once."""
        made = policies(
            '@id("a") permit (principal, action, resource in Hoopgw::Target::"a");'
            '@id("b") permit (principal, action, resource is Shop::Shelf in Hoopgw::Target::"b");'
            '@id("c") forbid (principal, action, resource);'
        )
        found = made.all.for_targets(frozenset("a"))
        self.assertEqual([rule.id for rule in found.rules.values()], ["a", "c"])
        self.assertIs(made.all.for_targets(frozenset("a")), found)
        none = made.all.for_targets(frozenset())
        self.assertEqual([rule.id for rule in none.rules.values()], ["c"])


class BatchTests(SynchronousTestCase):
    """Tests for `in_batches` and `see_of`."""

    @given(st.integers(0, 4 * BATCH_LIMIT), st.integers(1, 6))
    def test_nothing_is_lost_and_each_fits(self, count: int, hops: int) -> None:
        fields = [place("x")] * count
        parts = list(in_batches(fields, hops))
        self.assertEqual(sum(map(len, parts)), count)
        self.assertTrue(all(0 < len(part) * hops <= BATCH_LIMIT for part in parts))

    def test_see(self) -> None:
        """In the namespace of the field's own type, however deep."""
        self.assertEqual(see_of(place("x")).action, "Shop::see")
        deep = Resource(type="A::B::C", id="x")
        self.assertEqual(see_of(deep).action, "A::B::see")
