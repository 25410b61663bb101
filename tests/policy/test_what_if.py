"""What would change, counted and grouped; and what cannot be judged, named."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Access, Hop
from hoopgw.policy.recorded import Outcome, Question, Retrial, Skipped
from hoopgw.policy.what_if import COUNTED_LIMIT, FAULTS_LIMIT, OTHERS, WhatIf, changed
from tests.policy.world import ALICE, CONTEXT, EVE, PLANNER, place, policies, shelf

OLD = """
@id("read") @max_rows("9") permit (principal in Hoopgw::Group::"developers",
  action in [Shop::Action::"read", Shop::Action::"see"], resource);
@id("agents") permit (principal is Hoopgw::Agent, action, resource);
@id("mask") @mask("last4") forbid (principal, action == Shop::Action::"see", resource)
  when { resource.labels.contains("card") };
"""
ALLOWED = Outcome("allow", ("read",), "9 rows")


def question(*chain: Hop, action: str = "take", leaf: int = 1, text: bytes = b"") -> Question:
    """Return a question that was allowed by the old set."""
    return Question(
        leaf=leaf,
        session="s1",
        sequence=leaf,
        at=10**18 + leaf,
        kind="operation",
        protocol="shop",
        target="shop",
        action=action,
        chain=chain or (ALICE,),
        accesses=(Access(action=f"Shop::{action}", resource=shelf()),),
        context=CONTEXT,
        decided=0,
        text=text,
        recorded=ALLOWED,
    )


def compare(new: str, *asked: Question | Skipped, old: str | None = None) -> WhatIf:
    compared = WhatIf(Retrial(policies(new)), None if old is None else Retrial(policies(old)))
    compared.take_all(asked)
    return compared


class WhatIfTests(SynchronousTestCase):
    """Tests for `WhatIf`."""

    def test_the_same_set_changes_nothing(self) -> None:
        compared = compare(OLD, question())
        self.assertEqual((compared.judged, compared.changed, compared.groups), (1, 0, []))

    def test_groups(self) -> None:
        """By what changes and by whom, with counts, chains and masked examples."""
        new = OLD.replace('"developers"', '"staff"')
        asked = [question(leaf=n, text=b"take 'book %d'" % n) for n in range(5)] + [
            question(ALICE, PLANNER, leaf=9, text=b"take 7")
        ]
        (group,) = compare(new, *asked).groups
        change = group.change
        self.assertEqual((change.title, change.direction), ("allow 9 rows -> deny", "narrower"))
        self.assertEqual((change.decided_before, change.decided_after), (("read",), ("no permit",)))
        self.assertEqual(group.chains, {"alice": 5, "alice / planner": 1})
        self.assertEqual([example.text for example in group.examples], ["take ?"])
        self.assertIn("no policy permits", group.reason)

    def test_each_kind_of_change(self) -> None:
        hold = OLD + (
            '@id("hold") @approval("dba") forbid (principal, action, resource)'
            ' unless { context.approvals.contains("hold") };'
        )
        for new, title, direction in (
            (hold, "allow 9 rows -> review 9 rows", "narrower"),
            (OLD.replace('"9"', '"8"'), "allow 9 rows -> allow 8 rows", "narrower"),
            (OLD.replace('@max_rows("9")', ""), "allow 9 rows -> allow", "wider"),
        ):
            (group,) = compare(new, question()).groups
            self.assertEqual((group.change.title, group.change.direction), (title, direction))

    def test_fields(self) -> None:
        """A mask that changes is neither wider nor narrower, one that goes is wider."""
        card = place("price", "card")
        shown = evolve(
            question(),
            kind="field",
            accesses=(Access(action="Shop::see", resource=card),),
            context={},
            recorded=Outcome("masked", ("mask",), "last4"),
        )
        for new, title, direction in (
            (OLD.replace("last4", "redact"), "masked last4 -> masked redact", "other"),
            (OLD.replace('"card"', '"other"'), "masked last4 -> clear", "wider"),
            (OLD.replace('@mask("last4")', ""), "masked last4 -> hidden", "narrower"),
        ):
            (group,) = compare(new, shown).groups
            self.assertEqual((group.change.title, group.change.direction), (title, direction))

    def test_two_sets(self) -> None:
        """What was recorded does not matter then."""
        asked = evolve(question(), recorded=Outcome("deny"))
        self.assertEqual(compare(OLD, asked, old=OLD).changed, 0)
        self.assertEqual(compare(OLD, asked).groups[0].change.direction, "wider")

    def test_the_same_by_others_is_only_counted(self) -> None:
        compared = compare(OLD.replace('"read"', '"reads"', 1), question())
        self.assertEqual((compared.changed, compared.other_policies), (0, 1))

    def test_a_policy_that_errs(self) -> None:
        """Refuses, and is told."""
        new = (
            OLD
            + '@id("e") forbid (principal, action == Shop::Action::"take", resource)'
            + (" when { context.count + 9223372036854775807 > 0 };")
        )
        compared = compare(new, question())
        self.assertEqual((compared.erring, compared.count("narrower")), (1, 1))

    def test_what_is_not_judged(self) -> None:
        asked = [Skipped(n, "changed") for n in range(FAULTS_LIMIT + 5)]
        compared = compare(OLD, *asked, Skipped(0, "never asked", is_fault=False))
        self.assertEqual((compared.unjudged, len(compared.faults)), (len(asked), FAULTS_LIMIT))
        self.assertEqual(compared.not_asked, 1)

    def test_it_is_bounded(self) -> None:
        """However many agents there are."""
        asked = [question(ALICE, evolve(PLANNER, name=f"a{n}", id=f"x~a{n}")) for n in range(300)]
        (group,) = compare(
            OLD.replace(
                "Agent,",
                "Agent, action, resource) when { false };\n"
                '@id("x") permit (principal is Hoopgw::Workload,',
            ),
            *asked,
        ).groups
        self.assertEqual(group.count, 300)
        self.assertEqual(len(group.chains), COUNTED_LIMIT + 1)
        self.assertEqual(group.chains[OTHERS], 100)

    def test_reviews_by_others_are_a_change(self) -> None:
        """Other people would be asked."""
        before, after = Outcome("review", ("a",)), Outcome("review", ("b",))
        self.assertIsNone(changed(before, before))
        self.assertIsNotNone(changed(before, after))
        self.assertEqual(EVE.groups, frozenset())
