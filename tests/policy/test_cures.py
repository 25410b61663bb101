"""What a refusal says to ask for: found for all offers at once, as if each were tried alone."""

from __future__ import annotations

from typing import Any, Final

import cedarpy
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Hop, Operation
from hoopgw.policy.decision import Deny
from hoopgw.policy.engine import CedarPolicy
from hoopgw.policy.granting import LINKED_LIMIT, QUESTIONS_LIMIT, TRIED_LIMIT, USES_LIMIT
from hoopgw.policy.judging import judge
from hoopgw.policy.links import links_if_granted
from hoopgw.policy.pace import BURST, RATE
from hoopgw.policy.questions import Inquiry
from hoopgw.policy.sets import PolicySet
from tests.policy.test_granting import GLASS, READ, TESTER, TEXT, GrantingCase, grant
from tests.policy.world import (
    ALICE,
    EVE,
    PLANNER,
    hop,
    operation,
    policies,
    principal,
    shelf,
)

STANDING: Final = """
@id("dev-vault") permit (principal in Hoopgw::Group::"developers", action, resource)
when { context has count && context.count == 1 && resource == Shop::Shelf::"shop/vault" };
@id("owners-put") @approval("owners") forbid (principal, action == Shop::Action::"put", resource)
unless { context.breakglass || context.approvals.contains("owners-put") };
"""
SCOPES = [
    'action in Shop::Action::"read", resource in ?resource',
    'action in [Shop::Action::"read", Shop::Action::"write"], resource in Hoopgw::Target::"shop"',
    'action == Shop::Action::"put", resource in ?resource',
    "action, resource in ?resource",
]
WHEN = [
    "true",
    "context.chain.hop == 0",
    'resource == Shop::Shelf::"shop/books"',
    "principal is Hoopgw::Agent",
    "context.breakglass",
    "context has count && context.count + 9223372036854775800 > 5",
]
ABOVE = [
    '@grant("g{0}") @grant_approval("dba")',
    '@grant("g{0}") @grant_approval("dba") @grant_for("developers")',
    '@breakglass("oncall") @grant_approval("security")',
]


@st.composite
def sets(draw: st.DrawFn) -> PolicySet:
    """Draw some templates beside policies that are always in force."""
    texts = [STANDING if draw(st.booleans()) else TEXT.replace(READ, "").replace(GLASS, "")]
    for number in range(draw(st.integers(1, 4))):
        above = draw(st.sampled_from(ABOVE)).format(number)
        scope, when = draw(st.sampled_from(SCOPES)), draw(st.sampled_from(WHEN))
        texts.append(
            f'@id("t{number}") {above} permit (principal == ?principal, {scope}) when {{ {when} }};'
        )
    return policies("\n".join(texts))


CHAINS: Final[tuple[tuple[Hop, ...], ...]] = (
    (EVE,),
    (ALICE,),
    (hop("olga", "oncall"),),
    (EVE, PLANNER),
    (ALICE, PLANNER, TESTER),
)
OPERATIONS: Final = (
    operation("take"),
    operation("put"),
    operation("take", shelf(), shelf("vault")),
    operation("put", shelf("vault")),
)


def one_by_one(made: PolicySet, inquiry: Inquiry, *, breaks: bool) -> tuple[str, ...]:
    """Try each offer alone."""
    return tuple(
        offer.name
        for offer in made.offers.values()
        if bool(offer.breakglass) == breaks
        and offer.refuses(inquiry.chain, "shop") is None
        and not isinstance(judge(made, linked(inquiry, made, offer, breaks)).decision, Deny)
    )


def linked(inquiry: Inquiry, made: PolicySet, offer: Any, breaks: bool) -> Inquiry:
    links = links_if_granted(offer, inquiry.chain, "shop")
    return evolve(inquiry, links=links, breakglass=breaks)


class CureTests(SynchronousTestCase):
    """Tests for what `judge_granted` says of refusals."""

    @settings(max_examples=settings().max_examples // 2)
    @given(sets(), st.sampled_from(CHAINS), st.sampled_from(OPERATIONS))
    def test_as_if_each_were_tried(
        self, made: PolicySet, chain: tuple[Hop, ...], wanted: Operation
    ) -> None:
        """Those that help alone, and no others; where one errs beside them, fewer."""
        verdict = CedarPolicy(made, lambda: 1000.0).decide(principal(*chain), wanted)
        if not isinstance(verdict.decision, Deny):
            self.assertEqual((verdict.cures, verdict.breakglass), ((), ()))
            return
        inquiry = Inquiry(chain=chain, accesses=wanted.accesses, context=wanted.context, now=1000)
        for said, breaks in ((verdict.cures, False), (verdict.breakglass, True)):
            alone = one_by_one(made, inquiry, breaks=breaks)
            if breaks or not verdict.because:
                self.assertLessEqual(set(said), set(alone))
            if said:
                self.assertEqual(said, alone)


class CostTests(GrantingCase):
    """Whoever is refused may ask again and again, while the worker does nothing else."""

    text = TEXT + "".join(
        READ.replace("t-read", f"t{n}").replace("read-shop", f"g{n}") for n in range(150)
    )

    def count(
        self, who: tuple[Hop, ...], tables: int, *grants: Any, action: str = "take"
    ) -> tuple[int, Any]:
        """Return how many questions Cedar was asked for one refusal, and the verdict."""
        asked: list[int] = []
        batch = cedarpy.is_authorized_batch

        def counting(requests: Any, *others: Any) -> Any:
            asked.append(len(requests))
            return batch(requests, *others)

        self.patch(cedarpy, "is_authorized_batch", counting)
        on = [shelf(f"s{number}") for number in range(tables)]
        verdict = self.judge(principal(*who), *grants, asked=operation(action, *on))
        self.patch(cedarpy, "is_authorized_batch", batch)
        self.assertIsInstance(verdict.decision, Deny)
        return sum(asked), verdict

    def test_many_offers(self) -> None:
        """However many there are, the questions are put once more, not once for each."""
        chain = (EVE, PLANNER, TESTER)
        plain = len(chain) * 10
        asked, verdict = self.count(chain, 10)
        self.assertLessEqual(asked, 2 * plain)
        self.assertEqual(len(verdict.cures), TRIED_LIMIT)
        self.assertLess(LINKED_LIMIT, len(self.policies.offers))

    def test_many_resources(self) -> None:
        """A statement that touches very much is refused, without saying what to ask for."""
        chain = (EVE, PLANNER, TESTER)
        asked, verdict = self.count(chain, QUESTIONS_LIMIT)
        self.assertEqual(asked, len(chain) * QUESTIONS_LIMIT)
        self.assertEqual(verdict.cures, ())

    def test_many_grants_that_do_not_help(self) -> None:
        """Those that could be used up are looked at together, too."""
        offers = [self.policies.offers[f"t{number}"] for number in range(TRIED_LIMIT)]
        held = [
            grant(EVE, id=each.name, template=each.template, terms=each.terms, scope="session")
            for each in offers
        ]
        fewer, _ = self.count((EVE,), 1, action="put")
        asked, verdict = self.count((EVE,), 1, *held, action="put")
        self.assertEqual(verdict.decision.uses, ())
        self.assertLessEqual(asked, fewer + 2)

    def test_both_kinds_together(self) -> None:
        """What is granted, and what is broken in an emergency, are asked out of one purse."""
        olga = hop("olga", "oncall")
        for tables in (1, 60, 100, QUESTIONS_LIMIT // 2 + 1, QUESTIONS_LIMIT):
            asked, _ = self.count((olga,), tables, action="put")
            # Each is put a second time where people could approve: so is the operation itself.
            self.assertLessEqual(asked, 2 * (tables + QUESTIONS_LIMIT))

    def test_many_grants_that_do(self) -> None:
        """Of those only as many are tried as there are questions for it, and one at least."""
        offers = [self.policies.offers[f"t{number}"] for number in range(TRIED_LIMIT)]
        held = [
            grant(EVE, id=each.name, template=each.template, terms=each.terms, scope="session")
            for each in offers
        ]
        for tables, tried in ((1, TRIED_LIMIT), (QUESTIONS_LIMIT, 2)):
            asked, verdict = self.count((EVE,), tables, *held)
            self.assertEqual(len(verdict.decision.uses), tried)
            self.assertLessEqual(asked, tables + 2 * (USES_LIMIT + QUESTIONS_LIMIT))


class PaceTests(SynchronousTestCase):
    """Whoever is refused again and again is told less, and nobody else."""

    def test_a_flood_of_refusals(self) -> None:
        """The questions for cures run dry, and come back; verdicts stay as they are."""
        clock = Clock()
        clock.advance(1000.0)
        policy = CedarPolicy(policies(TEXT), clock.seconds)
        asked: list[int] = []
        batch = cedarpy.is_authorized_batch

        def counting(requests: Any, *others: Any) -> Any:
            asked.append(len(requests))
            return batch(requests, *others)

        self.patch(cedarpy, "is_authorized_batch", counting)
        wanted = [
            operation("take", *(shelf(f"{number}-{each}") for each in range(100)))
            for number in range(60)
        ]
        verdicts = [policy.decide(principal(EVE), each) for each in wanted]
        self.assertTrue(all(isinstance(each.decision, Deny) for each in verdicts))
        self.assertEqual(len({each.decision for each in verdicts if not each.cures}), 40)
        told = [bool(each.cures) for each in verdicts]
        self.assertEqual(told, [True] * 20 + [False] * 40)
        self.assertLessEqual(sum(asked), 60 * 100 + 2 * BURST)
        other = policy.decide(principal(hop("bob")), wanted[-1])
        self.assertTrue(other.cures)
        clock.advance(100 / RATE + 1)
        self.assertTrue(policy.decide(principal(EVE), wanted[-1]).cures)
