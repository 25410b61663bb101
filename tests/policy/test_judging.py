"""How answers become verdicts, held against a small model of the rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Access, Hop
from hoopgw.policy.annotations import strictest
from hoopgw.policy.decision import Allow, Decision, Deny, Hidden, Remedy, Review, Sight, Verdict
from hoopgw.policy.judging import judge, judge_sights, wanted
from hoopgw.policy.questions import BATCH_LIMIT, Inquiry
from hoopgw.policy.sets import PolicySet
from tests.policy.world import (
    ALICE,
    CONTEXT,
    EVE,
    PLANNER,
    hop,
    operation,
    place,
    policies,
    shelf,
)

GROUPS = ("a", "b", "c")


@frozen(kw_only=True)
class Line:
    """One policy of the model: it holds for the members of a group."""

    group: str
    rows: int | None = None
    """Of a permit."""
    cure: str = ""
    """Of a forbid: who approves, or which mask."""
    is_forbid: bool = False

    def text(self, name: str, action: str) -> str:
        scope = f'(principal in Hoopgw::Group::"{self.group}", action == Shop::Action::"{action}"'
        if not self.is_forbid:
            limit = f'@max_rows("{self.rows}")' if self.rows else ""
            return f'@id("{name}") {limit} permit {scope}, resource);'
        if not self.cure:
            return f'@id("{name}") @deny("never {name}") forbid {scope}, resource);'
        if action == "see":
            return f'@id("{name}") @mask("{self.cure}") forbid {scope}, resource);'
        return (
            f'@id("{name}") @approval("{self.cure}") forbid {scope}, resource)'
            f' unless {{ context.approvals.contains("{name}") }};'
        )


def lines(cures: Sequence[str]) -> st.SearchStrategy[list[Line]]:
    group = st.sampled_from(GROUPS)
    permit = st.builds(Line, group=group, rows=st.sampled_from([None, 5, 50]))
    forbid = st.builds(
        Line, group=group, is_forbid=st.just(True), cure=st.sampled_from([*cures, *cures, ""])
    )
    return st.lists(st.one_of(permit, permit, forbid), max_size=7)


members = st.frozensets(st.sampled_from(GROUPS))
chains = st.lists(members, min_size=1, max_size=4).map(
    lambda each: tuple(hop(f"h{number}", *groups) for number, groups in enumerate(each))
)


def made_of(found: Sequence[Line], action: str) -> PolicySet:
    return policies("\n".join(line.text(f"p{i}", action) for i, line in enumerate(found)))


def inquire(action: str, chain: tuple[Hop, ...], **more: Any) -> Inquiry:
    asked = operation(action)
    return Inquiry(chain=chain, accesses=asked.accesses, context=CONTEXT, now=0, **more)


def model(found: Sequence[Line], chain: tuple[Hop, ...]) -> Decision | None:
    """Say what must come out; None is a refusal for lack of a permit."""
    holding = {
        (i, line) for i, line in enumerate(found) for each in chain if line.group in each.groups
    }
    forbids = sorted((each for each in holding if each[1].is_forbid), key=lambda each: each[0])
    for number, line in forbids:
        if not line.cure:
            return Deny(reason=f"never p{number}")
    for each in chain:
        if not any(not line.is_forbid and line.group in each.groups for line in found):
            return None
    rows = min((line.rows for _, line in holding if line.rows), default=None)
    if not forbids:
        return Allow(max_rows=rows)
    remedies = tuple(Remedy(rule=f"p{i}", groups=frozenset([x.cure])) for i, x in forbids)
    return Review(remedies=remedies, max_rows=rows)


def width(decision: Decision) -> tuple[int, float]:
    """Return how much a decision lets through."""
    match decision:
        case Deny():
            return 0, 0.0
        case Review(max_rows=rows):
            return 1, float("inf") if rows is None else rows
        case Allow(max_rows=rows):
            return 2, float("inf") if rows is None else rows


class JudgeTests(SynchronousTestCase):
    """Tests for `judge`."""

    @given(lines(["x", "y"]), chains)
    def test_as_the_model(self, found: list[Line], chain: tuple[Hop, ...]) -> None:
        """The strictest of all hops and policies holds."""
        made = made_of(found, "take")
        verdict = judge(made, inquire("take", chain))
        expected = model(found, chain)
        if expected is None:
            assert isinstance(verdict.decision, Deny)
            self.assertIn("no policy permits", verdict.decision.reason)
            self.assertEqual(verdict.because, ())
        else:
            self.assertEqual(verdict.decision, expected)
        self.assertEqual((verdict.errors, verdict.policy), ((), made.version))

    @given(lines(["x", "y"]), chains, members)
    def test_another_hop_never_widens(
        self, found: list[Line], chain: tuple[Hop, ...], more: frozenset[str]
    ) -> None:
        """A child has at most what its parent has."""
        made = made_of(found, "take")
        alone = judge(made, inquire("take", chain)).decision
        longer = judge(made, inquire("take", (*chain, hop("child", *more)))).decision
        self.assertLessEqual(width(longer), width(alone))
        if isinstance(alone, Review) and isinstance(longer, Review):
            self.assertLessEqual(set(alone.remedies), set(longer.remedies))

    @given(lines(["x", "y"]), chains)
    def test_approvals_are_what_lifts_a_review(
        self, found: list[Line], chain: tuple[Hop, ...]
    ) -> None:
        """Given all remedies, what was held is allowed; given all but one, it is not."""
        made = made_of(found, "take")
        decision = judge(made, inquire("take", chain)).decision
        if not isinstance(decision, Review):
            return
        asked = frozenset(remedy.rule for remedy in decision.remedies)
        given_all = judge(made, inquire("take", chain, approvals=asked)).decision
        self.assertEqual(given_all, Allow(max_rows=decision.max_rows))
        fewer = asked - {decision.remedies[0].rule}
        given_fewer = judge(made, inquire("take", chain, approvals=fewer)).decision
        self.assertIsInstance(given_fewer, Review)

    def test_all_accesses_count(self) -> None:
        """One table that is forbidden refuses the whole statement."""
        made = policies(
            '@id("p") permit (principal, action, resource) when { context.now >= 0 };'
            '@id("no") @deny("not that one") forbid (principal, action, resource == '
            'Shop::Shelf::"shop/vault");'
        )
        both = operation("take", shelf("books"), shelf("vault"))
        asked = evolve(inquire("take", (ALICE,)), accesses=both.accesses)
        verdict = judge(made, asked)
        self.assertEqual(verdict.decision, Deny(reason="not that one"))
        self.assertEqual(verdict.because, ("no",))

    def test_a_remedy_for_one_access_does_not_grant_another(self) -> None:
        """A permit is needed for each."""
        made = policies(
            '@id("p") permit (principal, action, resource == Shop::Shelf::"shop/books");'
            '@id("ask") @approval("x") forbid (principal, action, resource == '
            'Shop::Shelf::"shop/vault") unless { context.approvals.contains("ask") };'
        )
        both = operation("take", shelf("books"), shelf("vault"))
        verdict = judge(made, evolve(inquire("take", (ALICE,)), accesses=both.accesses))
        assert isinstance(verdict.decision, Deny)
        self.assertIn("no policy permits alice to take shop/vault", verdict.decision.reason)

    def test_the_hop_that_lacks_a_permit_is_named(self) -> None:
        made = policies('@id("p") permit (principal in Hoopgw::Group::"g", action, resource);')
        chain = (hop("alice", "g"), PLANNER)
        verdict = judge(made, inquire("take", chain))
        reason = "no policy permits alice / planner to take shop/books, as planner may not"
        self.assertEqual(verdict.decision, Deny(reason=reason))

    def test_refusals_say_in_words_what_was_asked(self) -> None:
        """Names of actions that are no verbs before their resource are put into words."""
        for action, words in (
            ("unknown", "do on web1 what cannot be told beforehand"),
            ("shell", "open a shell on web1"),
            ("connect", "connect to web1"),
            ("run", "run web1"),
        ):
            self.assertEqual(wanted(f"Ssh::{action}", "web1"), words)

    def test_justification_alone_is_refused(self) -> None:
        """There is no channel on which to give one, so it is never taken for given."""
        made = policies(
            '@id("p") permit (principal, action, resource);'
            '@id("why") @justify("which ticket?") forbid (principal, action, resource);'
        )
        verdict = judge(made, inquire("take", (ALICE,)))
        assert isinstance(verdict.decision, Deny)
        self.assertIn("which ticket?", verdict.decision.reason)
        self.assertIn("no channel", verdict.decision.reason)

    def test_justification_with_approval_is_a_prompt(self) -> None:
        made = policies(
            '@id("p") permit (principal, action, resource);'
            '@id("why") @justify("which ticket?") @approval("dba") @approvals("2")'
            '@approval_ttl("1h") forbid (principal, action, resource)'
            ' unless { context.approvals.contains("why") };'
        )
        remedy = Remedy(
            rule="why",
            groups=frozenset(["dba"]),
            needed=2,
            patience=3600.0,
            prompt="which ticket?",
        )
        verdict = judge(made, inquire("take", (ALICE,)))
        self.assertEqual(verdict.decision, Review(remedies=(remedy,)))

    def test_an_empty_set_permits_nothing(self) -> None:
        self.assertIsInstance(judge(policies(""), inquire("take", (ALICE,))).decision, Deny)

    def test_kinds_depth_and_hop(self) -> None:
        """What a policy can know of the chain."""
        made = policies(
            '@id("p") permit (principal, action, resource) when { context.chain.kinds == '
            '["agent", "person"] && context.chain.depth == 2 && (principal is Hoopgw::Agent || '
            "context.chain.hop == 0) };"
            '@id("q") @deny("last") forbid (principal is Hoopgw::Agent, action, resource) '
            "when { context.chain.hop == 3 };"
        )
        allowed = judge(made, inquire("take", (ALICE, PLANNER, PLANNER)))
        self.assertEqual(allowed.decision, Allow())
        self.assertIsInstance(judge(made, inquire("take", (ALICE, PLANNER))).decision, Deny)

    def test_too_much_at_once(self) -> None:
        """The reactor waits meanwhile, so there is a limit, and it refuses."""
        made = policies('@id("p") permit (principal, action, resource);')
        many = operation("take", *(shelf(str(i)) for i in range(BATCH_LIMIT // 2 + 1)))
        chain = (ALICE, EVE)
        verdict = judge(made, evolve(inquire("take", chain), accesses=many.accesses))
        self.assertIsInstance(verdict.decision, Deny)
        self.assertIn("more than", verdict.errors[0])

    def test_one_thing_in_two_descriptions(self) -> None:
        """Labels decide, so two opinions on them are none."""
        made = policies('@id("p") permit (principal, action, resource);')
        both = operation("take", shelf("books"), shelf("books", "secret"))
        verdict = judge(made, evolve(inquire("take", (ALICE,)), accesses=both.accesses))
        self.assertIsInstance(verdict.decision, Deny)
        self.assertIn("described in two ways", verdict.errors[0])

    @settings(max_examples=50)
    @given(st.text(), st.text(), st.text())
    def test_any_name(self, who: str, group: str, what: str) -> None:
        """Names are data: no quote or line end in one makes it another."""
        made = policies(
            '@id("p") permit (principal in Hoopgw::Group::"g", action, resource)'
            ' unless { resource == Shop::Shelf::"shop/vault" };'
        )
        asked = operation("take", shelf(what))
        verdict = judge(made, evolve(inquire("take", (hop(who, group),)), accesses=asked.accesses))
        may = group == "g" and what != "vault"
        self.assertEqual(isinstance(verdict.decision, Allow), may and not verdict.errors)


class SightTests(SynchronousTestCase):
    """Tests for `judge_sights` and `strictest`."""

    KINDS = ("hide", "null", "redact", "hash", "last4", "partial", "email")

    def sight(self, made: PolicySet, chain: tuple[Hop, ...]) -> Sight | Hidden:
        accesses = (Access(action="Shop::see", resource=place("price", "money")),)
        (found,) = judge_sights(made, Inquiry(chain=chain, accesses=accesses, now=0))
        self.assertEqual(found.errors, ())
        return found.sight

    @given(lines(KINDS), chains)
    def test_as_the_model(self, found: list[Line], chain: tuple[Hop, ...]) -> None:
        """The strictest mask of all hops holds; what no mask cures is hidden."""
        got = self.sight(made_of(found, "see"), chain)
        match model(found, chain):
            case None:
                assert isinstance(got, Hidden)
                self.assertIn("no policy permits", got.reason)
            case Deny(reason=reason):
                assert isinstance(got, Hidden)
                self.assertEqual(got.reason, reason)
            case Allow():
                assert isinstance(got, Sight)
                self.assertIs(got.mask, None)
            case Review(remedies=remedies):
                assert isinstance(got, Sight)
                masks = {next(iter(remedy.groups)) for remedy in remedies}
                self.assertEqual(got.mask, strictest(masks))
                self.assertEqual(got.because, tuple(remedy.rule for remedy in remedies))

    @given(st.frozensets(st.sampled_from(KINDS)), st.sampled_from(KINDS))
    def test_one_more_mask_never_shows_more(self, kinds: frozenset[str], more: str) -> None:
        """In the order hide, null, redact, hash, and then all the rest."""
        order = ["hide", "null", "redact", "hash"]

        def rank(kind: str | None) -> int:
            return 5 if kind is None else order.index(kind) if kind in order else 4

        before, after = strictest(kinds), strictest(kinds | {more})
        self.assertLessEqual(rank(after), min(rank(before), rank(more)))
        self.assertIn(after, {*kinds, more, "redact"})

    def test_masks_that_show_different_parts(self) -> None:
        """Both together would show more than each allows."""
        self.assertEqual(strictest({"last4", "email"}), "redact")
        self.assertEqual(strictest({"last4", "email", "hash"}), "redact")
        self.assertEqual(strictest({"last4", "hash"}), "hash")
        self.assertEqual(strictest({"last4"}), "last4")
        self.assertIs(strictest(frozenset()), None)

    def test_answers_come_in_order_and_alone(self) -> None:
        """One field that cannot be asked about does not change the others."""
        made = policies(
            '@id("p") permit (principal, action, resource);'
            '@id("m") @mask("redact") forbid (principal, action == Shop::Action::"see", resource)'
            ' when { resource.labels.contains("b") };'
        )
        fields = [place("1", "a"), shelf("not a field"), place("2", "b"), place("2", "c")]
        accesses = tuple(Access(action="Shop::see", resource=each) for each in fields)
        asked = Inquiry(chain=(ALICE,), accesses=accesses, now=0)
        got = [each.sight for each in judge_sights(made, asked)]
        self.assertEqual([type(each) for each in got], [Sight, Hidden, Sight, Sight])
        self.assertEqual(
            [each.mask for each in got if isinstance(each, Sight)], [None, "redact", None]
        )

    def test_a_mask_does_not_cure_a_statement(self) -> None:
        """A `see` among an operation's own accesses has no answer to mask."""
        made = policies(
            '@id("p") permit (principal, action, resource);'
            '@id("m") @mask("redact") forbid (principal, action == Shop::Action::"see", resource);'
        )
        accesses = (Access(action="Shop::see", resource=place("price")),)
        verdict = judge(made, Inquiry(chain=(ALICE,), accesses=accesses, now=0))
        self.assertEqual(
            verdict,
            Verdict(
                decision=Deny(reason="refused by policy m"),
                because=("m",),
                policy=made.version,
            ),
        )
