"""A suggestion allows all that was allowed, and nothing else."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Access, Hop, Resource
from hoopgw.policy.recorded import Outcome, Question, Retrial
from hoopgw.policy.sets import PolicySet, examine
from hoopgw.policy.suggest import Deeds, Style, Suggestion, TooMuchError, suggest
from hoopgw.policy.text import SourceFile
from tests.policy.test_what_if import question
from tests.policy.world import ALICE, PLANNER, SHOP, place, policies, schema, shelf

SCHEMA = schema()
GROUPS = dict(SCHEMA.groups)


def did(
    action: str, resource: Resource, *chain: Hop, word: str = "allow", detail: str = ""
) -> Question:
    asked = question(*(chain or (ALICE,)), action=action)
    is_field = action == "see"
    return evolve(
        asked,
        kind="field" if is_field else "operation",
        accesses=(Access(action=f"Shop::{action}", resource=resource),),
        context={} if is_field else asked.context,
        recorded=Outcome(word, ("x",), detail),
    )


def suggested(*asked: Question, style: Style | None = None) -> tuple[Suggestion, PolicySet]:
    """Return a suggestion, and the set that it is."""
    deeds = Deeds()
    for each in asked:
        deeds.take(each)
    made = suggest(deeds, style or Style(), GROUPS)
    found, findings = examine([SourceFile(name="s.cedar", text=made.cedar)], SCHEMA)
    assert found is not None, (made.cedar, findings)
    assert not findings, findings
    return made, found


names = st.text(min_size=1, max_size=6) | st.sampled_from(["books", 'a"b', "a\\b", "é\n", "*/ //"])
shelves = st.builds(shelf, names)
deeds_done = st.lists(st.tuples(st.sampled_from(["take", "look", "put"]), shelves), min_size=1)


class SuggestTests(SynchronousTestCase):
    """Tests for `suggest`."""

    @settings(deadline=None, max_examples=40)
    @given(deeds_done, st.booleans(), shelves, st.sampled_from(["take", "look", "put"]))
    def test_what_was_done_and_no_more(
        self, done: list[tuple[str, Resource]], deep: bool, other: Resource, action: str
    ) -> None:
        """Whatever things are called."""
        chain = (ALICE, PLANNER) if deep else (ALICE,)
        asked = [did(each, resource, *chain) for each, resource in done]
        _, made = suggested(*asked)
        retrial = Retrial(made)
        self.assertEqual({retrial.judge(each).word for each in asked}, {"allow"})
        if (action, other) not in done:
            self.assertEqual(retrial.judge(did(action, other, *chain)).word, "deny")

    def test_nobody_else(self) -> None:
        made = suggested(did("take", shelf(), ALICE, PLANNER))[1]
        for others in (
            (PLANNER,),
            (evolve(ALICE, id="corp|eve"),),
            (ALICE, evolve(PLANNER, id="p2")),
        ):
            self.assertEqual(Retrial(made).judge(did("take", shelf(), *others)).word, "deny")

    def test_what_was_not_allowed_is_left_out(self) -> None:
        text = suggested(
            did("take", shelf()),
            did("put", shelf(), word="deny"),
            did("look", shelf(), word="review"),
            did("see", place("secret"), word="hidden"),
        )[0].cedar
        self.assertIn("Left out: 1 that were held, 2 that were refused", text)
        for word in ("put", "look", "secret"):
            self.assertNotIn(word, text)
        with self.assertRaisesRegex(ValueError, "nothing that it did was allowed"):
            suggested(did("put", shelf(), word="deny"))

    def test_masks_stay(self) -> None:
        """What was shown masked is not shown in clear."""
        masked = did("see", place("price", "card"), word="masked", detail="last4")
        clear = did("see", place("name"), word="clear")
        retrial = Retrial(suggested(masked, clear)[1])
        self.assertEqual(retrial.judge(masked).detail, "last4")
        self.assertEqual(retrial.judge(clear).word, "clear")

    def test_limits_stay(self) -> None:
        """The widest that was in force."""
        asked = [did("take", shelf(), detail=f"{n} rows") for n in (5, 9)]
        retrial = Retrial(suggested(*asked)[1])
        self.assertEqual(retrial.judge(asked[0]).detail, "9 rows")

    def test_generalised(self) -> None:
        """Only as asked: to groups of actions, to what holds the resources, to other people."""
        asked = (did("take", shelf("a")), did("take", shelf("b")))
        other = did("look", shelf("c"))
        exact = Retrial(suggested(*asked)[1])
        wide = Retrial(suggested(*asked, style=Style(resources="parent", actions="groups"))[1])
        self.assertEqual((exact.judge(other).word, wide.judge(other).word), ("deny", "allow"))
        put = did("put", shelf("a"))
        self.assertEqual(wide.judge(put).word, "deny")
        bob = evolve(ALICE, id="corp|bob")
        team = Retrial(suggested(*asked, style=Style(group="developers"))[1])
        self.assertEqual(team.judge(did("take", shelf("a"), bob)).word, "allow")
        with self.assertRaisesRegex(ValueError, "not in the group"):
            suggested(*asked, style=Style(group="dba"))

    def test_caps(self) -> None:
        """What `hoopgw delegate` takes; to be shown what one reads needs none of its own."""
        seen = did("see", place("x"), word="clear")
        made, _ = suggested(did("take", shelf()), did("put", shelf("b")), seen)
        self.assertEqual(made.caps, ("shop:Shop::put,Shop::take",))
        self.assertIn(
            "// As caps: hoopgw delegate --allow shop:Shop::put,Shop::take ...", made.cedar
        )

    def test_chains_of_the_same_names(self) -> None:
        """Are somebody else's: left out, and counted."""
        deeds = Deeds()
        deeds.take(did("take", shelf()))
        deeds.take(did("put", shelf(), evolve(ALICE, id="other|alice")))
        self.assertEqual((deeds.others, deeds.allowed), (1, 1))

    def test_names_that_would_end_a_comment(self) -> None:
        """Nothing of what somebody is called becomes policy."""
        evil = evolve(ALICE, id="corp|a", name='a\npermit (principal, action, resource);//"')
        made, found = suggested(did("take", shelf(), evil))
        self.assertEqual(len(found.rules), 1)
        self.assertNotIn("\npermit (principal, action", made.cedar)

    def test_it_is_bounded(self) -> None:
        deeds = Deeds()
        with self.assertRaisesRegex(TooMuchError, "shorter --since"):
            for number in range(20_001):
                deeds.take(
                    did("take", Resource(type="Shop::Shelf", id=str(number), parents=(SHOP,)))
                )
        self.assertIsNotNone(policies)
