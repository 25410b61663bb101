"""Tests for `hoopgw.policy.granting` and the offers that it goes by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import PolicyError
from hoopgw.events import ContextValue, Hop, Operation, Principal, Resource
from hoopgw.grants.held import HeldGrant, held_from_dict, held_to_dict
from hoopgw.policy.decision import Allow, Deny, Hidden, Remedy, Review, Sight, Verdict
from hoopgw.policy.engine import CedarPolicy
from hoopgw.policy.offers import digest_of
from hoopgw.policy.questions import offers_action
from hoopgw.policy.sets import PolicySet
from tests.policy.world import (
    ALICE,
    EVE,
    PERMIT_ALL,
    PLANNER,
    hop,
    operation,
    place,
    policies,
    principal,
    shelf,
)

READ = """@id("t-read") @grant("read-shop") @grant_approval("owners") @grant_limit("2h")
@grant_scopes("window,session,call")
permit (principal == ?principal, action in Shop::Action::"read", resource in ?resource);"""
GLASS = """@id("t-glass") @breakglass("oncall") @grant_approval("security") @grant_limit("30m")
permit (principal == ?principal, action, resource in ?resource) when { context.breakglass };"""
TEXT = f"""
@id("agents") permit (principal is Hoopgw::Agent, action, resource)
when {{ context.chain.hop > 0 }};
@id("never-bulk") @deny("never in bulk")
forbid (principal, action, resource) when {{ context has bulk && context.bulk }};
@id("approve-put") @approval("owners")
forbid (principal, action == Shop::Action::"put", resource)
unless {{ context.breakglass || context.approvals.contains("approve-put") }};
{READ}
{GLASS}
"""
TESTER = hop("tester", kind="agent")
ONCALL = hop("olga", "oncall")
BULK: Final[Mapping[str, ContextValue]] = {"bulk": True, "count": 1, "words": ()}


def grant(*chain: Hop, id: str = "g-1", **changes: Any) -> HeldGrant:  # noqa: A002  # its name
    made = HeldGrant(
        id=id,
        template="t-read",
        terms=digest_of(READ),
        target="shop",
        chain=tuple((each.kind, each.id) for each in chain),
        nodes=tuple(f"node-{each.name}" for each in chain[1:]),
        until=2e9,
    )
    return evolve(made, **changes)


def broken(who: Hop) -> HeldGrant:
    return grant(who, template="t-glass", terms=digest_of(GLASS), breakglass=True, id="g-9")


class Holding:
    """Grants that are always in force."""

    epoch = "1"

    def __init__(self, *grants: HeldGrant) -> None:
        self.grants = grants

    def held(self, who: Principal, session: str = "") -> tuple[HeldGrant, ...]:
        return tuple(g for g in self.grants if g.covers(who) and g.session in ("", session))


class ReviewTests(SynchronousTestCase):
    """Tests for `Review.covers`."""

    def test_what_was_approved_is_what_is_asked(self) -> None:
        """By the same people, and as many: or it has to be asked anew."""
        one = Remedy(rule="put", groups=frozenset({"dba"}), needed=2)
        other = evolve(one, rule="pii", prompt="why?")
        given = Review(remedies=(one, other))
        for asked, covered in (
            ((one,), True),
            ((evolve(one, needed=1, patience=5.0, prompt="why?"),), True),
            ((evolve(one, groups=frozenset({"dba", "security"})),), True),
            ((evolve(one, needed=3),), False),
            ((evolve(one, groups=frozenset({"security"})),), False),
            ((evolve(one, rule="more"),), False),
            ((one, other, evolve(one, rule="more")), False),
        ):
            self.assertEqual(given.covers(Review(remedies=asked)), covered, asked)


class GrantingCase(SynchronousTestCase):
    """Policies with templates."""

    text = TEXT

    def setUp(self) -> None:
        self.policies: PolicySet = policies(self.text)

    def judge(
        self,
        who: Principal,
        *grants: HeldGrant,
        asked: Operation | None = None,
        session: str = "",
    ) -> Verdict:
        policy = CedarPolicy(self.policies, lambda: 1000.0, Holding(*grants))
        return policy.decide(who, asked or operation("take"), session)


class HeldTests(GrantingCase):
    """What a grant allows, and whom."""

    def test_for_a_person(self) -> None:
        """It permits what its template does, and the verdict names it."""
        self.assertIsInstance(self.judge(principal(EVE)).decision, Deny)
        verdict = self.judge(principal(EVE), grant(EVE))
        self.assertEqual(verdict.decision, Allow())
        self.assertEqual((verdict.because, verdict.grants), (("t-read/g-1",), ("g-1",)))
        self.assertIsInstance(
            self.judge(principal(EVE), grant(EVE), asked=operation("put")).decision, Deny
        )
        self.assertIsInstance(self.judge(principal(ALICE), grant(EVE)).decision, Deny)

    def test_for_a_chain(self) -> None:
        """Of the agent and what it starts; not of who started it, nor of a sibling."""
        held = grant(EVE, PLANNER)
        for chain in ((EVE, PLANNER), (EVE, PLANNER, TESTER)):
            self.assertEqual(self.judge(principal(*chain), held).decision, Allow(), chain)
        others = ((EVE,), (EVE, TESTER), (EVE, TESTER, PLANNER), (ALICE, PLANNER))
        for other in others:
            self.assertIsInstance(self.judge(principal(*other), held).decision, Deny, other)
        again = principal(EVE, PLANNER)
        later = evolve(again, nodes=(evolve(again.nodes[0], id="a later delegation"),))
        self.assertIsInstance(self.judge(later, held).decision, Deny)

    def test_a_person_and_its_agents(self) -> None:
        """What a person holds, its agents may use as far as policy lets them inherit."""
        verdict = self.judge(principal(EVE, PLANNER), grant(EVE))
        self.assertEqual((verdict.decision, verdict.grants), (Allow(), ("g-1",)))

    def test_who_left_the_group_that_it_is_for(self) -> None:
        text = READ.replace('@grant_limit("2h")', '@grant_for("developers")')
        self.policies = policies(self.text.replace(READ, text))
        held = grant(ALICE, terms=digest_of(text))
        self.assertEqual(self.judge(principal(ALICE), held).decision, Allow())
        self.assertIsInstance(self.judge(principal(hop("alice")), held).decision, Deny)

    def test_what_forbids_goes_before(self) -> None:
        """A grant permits; it lifts nothing that is forbidden."""
        verdict = self.judge(principal(EVE), grant(EVE), asked=operation("take", context=BULK))
        assert isinstance(verdict.decision, Deny)
        self.assertEqual(verdict.decision.reason, "never in bulk")
        self.assertEqual(verdict.cures, ())

    def test_changed_or_gone_templates(self) -> None:
        """What was approved is the text that there was."""
        self.policies = policies(self.text.replace('Shop::Action::"read"', 'Shop::Action::"put"'))
        self.assertIsInstance(self.judge(principal(EVE), grant(EVE)).decision, Deny)
        self.policies = policies(self.text.replace(READ, ""))
        self.assertIsInstance(self.judge(principal(EVE), grant(EVE)).decision, Deny)
        self.policies = policies(self.text.replace('"t-read"', '"t-else"'))
        self.assertIsInstance(self.judge(principal(EVE), grant(EVE)).decision, Deny)

    def test_another_target(self) -> None:
        self.assertIsInstance(self.judge(principal(EVE), grant(EVE, target="safe")).decision, Deny)

    def test_what_is_allowed_uses_none(self) -> None:
        """A grant that is not needed is not named."""
        self.policies = policies(self.text + '@id("all") permit (principal, action, resource);')
        verdict = self.judge(principal(EVE), grant(EVE))
        self.assertEqual((verdict.because, verdict.grants), (("all",), ()))

    def test_cached_by_what_is_held(self) -> None:
        """A verdict ends with the grant, also without a new epoch."""
        holding = Holding(grant(EVE))
        policy = CedarPolicy(self.policies, lambda: 1000.0, holding)
        self.assertEqual(policy.decide(principal(EVE), operation("take")).decision, Allow())
        holding.grants = ()
        self.assertIsInstance(policy.decide(principal(EVE), operation("take")).decision, Deny)

    def test_sights(self) -> None:
        """A field that may not be seen is, with a grant; its mask stays."""
        self.policies = policies(
            self.text.replace('Shop::Action::"read", resource', 'Shop::Action::"see", resource')
            + '@id("mask") @mask("last4") forbid (principal, action == Shop::Action::"see", '
            'resource) when { resource.labels.contains("pii") };'
        )
        text = READ.replace('Shop::Action::"read"', 'Shop::Action::"see"')
        fields = [place("a"), place("b", "pii")]
        held = grant(EVE, terms=digest_of(text))
        for grants, wanted in (((), Hidden), ((held,), Sight)):
            policy = CedarPolicy(self.policies, lambda: 1000.0, Holding(*grants))
            sights = policy.sights(principal(EVE), fields)
            self.assertEqual([type(sight) for sight in sights.values()], [wanted, wanted])
        shown = [sight.mask for sight in sights.values() if isinstance(sight, Sight)]
        self.assertEqual(shown, [None, "last4"])

    def test_as_plain_values(self) -> None:
        """A grant is the same after it crossed a process."""
        held = grant(EVE, PLANNER, scope="call", digest=b"\1" * 32)
        self.assertEqual(held_from_dict(held_to_dict(held)), held)
        for name, value in (("scope", "always"), ("chain", [["root", "x"]]), ("until", "soon")):
            with self.assertRaises(ValueError):
                held_from_dict({**held_to_dict(held), name: value})


class UsedUpTests(GrantingCase):
    """Grants that control has to count."""

    def test_a_call(self) -> None:
        """It is refused, unless the grant can be used for it."""
        verdict = self.judge(principal(EVE), grant(EVE, scope="call", digest=b"\1" * 32))
        assert isinstance(verdict.decision, Deny)
        (use,) = verdict.decision.uses
        self.assertEqual((use.grant, use.digest), ("g-1", b"\1" * 32))
        self.assertEqual(use.because, ("t-read/g-1",))

    def test_a_session(self) -> None:
        """It is claimed first; then it is of that session alone."""
        verdict = self.judge(principal(EVE), grant(EVE, scope="session"), session="s-1")
        assert isinstance(verdict.decision, Deny)
        self.assertEqual([use.digest for use in verdict.decision.uses], [None])
        claimed = grant(EVE, scope="session", session="s-1")
        self.assertEqual(self.judge(principal(EVE), claimed, session="s-1").decision, Allow())
        for session in ("s-2", ""):
            other = self.judge(principal(EVE), claimed, session=session).decision
            self.assertEqual(other, Deny(reason=other.reason))  # type: ignore[union-attr]  # it is


class GlassTests(GrantingCase):
    """Breaking glass."""

    def test_what_it_lifts(self) -> None:
        """What a policy says, and nothing else; and it is recorded strictly."""
        who = principal(ONCALL)
        put = operation("put")
        verdict = self.judge(who, broken(ONCALL), asked=put)
        self.assertEqual((verdict.decision, verdict.strict), (Allow(), True))
        self.assertEqual(verdict.grants, ("g-9",))
        bulk = self.judge(who, broken(ONCALL), asked=operation("put", context=BULK))
        self.assertIsInstance(bulk.decision, Deny)

    def test_not_for_agents(self) -> None:
        """What a person broke glass for, it does itself."""
        verdict = self.judge(principal(ONCALL, PLANNER), broken(ONCALL))
        self.assertIsInstance(verdict.decision, Deny)
        self.assertFalse(verdict.strict)

    def test_on_another_target(self) -> None:
        """Glass that is broken on one target lifts nothing on others, and unmasks nothing there."""
        self.policies = policies(
            self.text
            + PERMIT_ALL
            + '@id("mask") @mask("last4") forbid (principal, action == Shop::Action::"see", '
            'resource) when { resource.labels.contains("pii") } unless { context.breakglass };'
        )
        safe = Resource(
            type="Shop::Shelf",
            id="safe/books",
            parents=(Resource(type="Hoopgw::Target", id="safe"),),
        )
        name = Resource(
            type="Shop::Field", id="safe/name", parents=(safe,), labels=frozenset({"pii"})
        )
        who, held = principal(ONCALL), broken(ONCALL)
        self.assertEqual(self.judge(who, held, asked=operation("put")).decision, Allow())
        for asked in (operation("put", safe), operation("put", safe, shelf())):
            verdict = self.judge(who, held, asked=asked)
            self.assertIsInstance(verdict.decision, Review)
            self.assertFalse(verdict.strict)
        policy = CedarPolicy(self.policies, lambda: 1000.0, Holding(held))
        shown = policy.sights(who, [name])["safe/name"]
        self.assertEqual(shown, Sight(mask="last4", because=("mask",)))
        here = place("name", "pii")
        here_shown = policy.sights(who, [here])[here.id]
        assert isinstance(here_shown, Sight)
        self.assertIsNone(here_shown.mask)

    def test_a_template_that_changed(self) -> None:
        """Broken glass whose template is gone unmasks nothing beside another grant."""
        self.policies = policies(
            self.text.replace("security", "auditors")
            + PERMIT_ALL
            + '@id("mask") @mask("last4") forbid (principal, action == Shop::Action::"see", '
            'resource) when { resource.labels.contains("pii") } unless { context.breakglass };'
        )
        policy = CedarPolicy(self.policies, lambda: 1000.0, Holding(broken(ONCALL), grant(ONCALL)))
        field = place("name", "pii")
        shown = policy.sights(principal(ONCALL), [field])[field.id]
        self.assertEqual(shown, Sight(mask="last4", because=("mask",)))

    def test_who_left_the_group(self) -> None:
        """Glass stays broken only for members of the group that may break it."""
        verdict = self.judge(principal(hop("olga")), broken(ONCALL), asked=operation("put"))
        self.assertIsInstance(verdict.decision, Deny)

    def test_an_ordinary_grant_of_it(self) -> None:
        """A grant that does not say that glass was broken does not link such a template."""
        held = evolve(broken(EVE), breakglass=False)
        self.assertIsInstance(self.judge(principal(EVE), held).decision, Deny)


class CureTests(GrantingCase):
    """What a refusal says that one could ask for."""

    def test_what_would_help(self) -> None:
        verdict = self.judge(principal(EVE))
        self.assertEqual((verdict.cures, verdict.breakglass), (("read-shop",), ()))
        self.assertEqual(self.judge(principal(EVE, PLANNER)).cures, ("read-shop",))
        self.assertEqual(self.judge(principal(EVE), asked=operation("put")).cures, ())

    def test_a_grant_that_would_be_held_for_approval(self) -> None:
        """A remedy for the refusal is not the end of what policy asks."""
        self.policies = policies(self.text.replace('"read", resource', '"write", resource'))
        verdict = self.judge(principal(EVE), asked=operation("put"))
        self.assertEqual(verdict.cures, ("read-shop",))
        text = READ.replace('"read"', '"write"')
        held = grant(EVE, terms=digest_of(text))
        verdict = self.judge(principal(EVE), held, asked=operation("put"))
        self.assertIsInstance(verdict.decision, Review)
        self.assertEqual((verdict.because, verdict.grants), (("approve-put",), (held.id,)))

    def test_glass_is_named_to_members_only(self) -> None:
        self.assertEqual(self.judge(principal(ONCALL)).breakglass, ("t-glass",))
        for chain in ((EVE,), (ONCALL, PLANNER)):
            self.assertEqual(self.judge(principal(*chain)).breakglass, ())

    def test_who_may_ask(self) -> None:
        self.policies = policies(
            self.text.replace('@grant_limit("2h")', '@grant_for("developers")')
        )
        self.assertEqual(self.judge(principal(EVE)).cures, ())
        self.assertEqual(self.judge(principal(ALICE)).cures, ("read-shop",))
        self.assertEqual(self.judge(principal(ALICE, PLANNER)).cures, ("read-shop",))


class OfferTests(SynchronousTestCase):
    """What `hoopgw policy check` says of templates."""

    def refused(self, text: str) -> str:
        with self.assertRaises(PolicyError) as caught:
            policies(text)
        return str(caught.exception)

    def test_an_offer(self) -> None:
        offer = policies(TEXT).offer("read-shop")
        assert offer is not None
        self.assertEqual(
            (offer.template, offer.limit, offer.needed, offer.approvers, offer.slots),
            ("t-read", 7200.0, 1, {"owners"}, {"?principal", "?resource"}),
        )
        self.assertEqual(offer.scopes, {"window", "session", "call"})
        self.assertEqual(offer.terms, digest_of(READ))

    def test_refused(self) -> None:
        """Each mistake that would grant more than is meant, or to more."""
        head = '@id("x") @grant("x") @grant_approval("o") '
        everybody = "permit (principal, action, resource in ?resource);"
        for text, said in (
            (head + everybody, "principal == ?principal"),
            (head + "permit (principal == ?principal, action, resource);", "?resource"),
            (head + "permit (principal == ?principal, action, resource == ?resource);", "in ?res"),
            (head + "forbid (principal == ?principal, action, resource in ?resource);", "permit"),
            (head + "permit (principal, action, resource);", "template"),
            (READ.replace('@grant_approval("owners")', ""), "who approves"),
            (READ.replace('"2h"', '"25h"'), "24h"),
            (READ.replace('"2h"', '"0s"'), "24h"),
            (READ.replace('"2h"', '"always"'), "24h"),
            (GLASS.replace('"30m"', '"5h"'), "4h"),
            (READ.replace("window,session", "window,ever"), "window, session, call"),
            (READ.replace('"read-shop"', '"Read Shop"'), "small letters"),
            (READ + READ.replace("t-read", "t-two"), "is the name of"),
            (READ.replace('@grant("read-shop")', ""), "needs @grant"),
            (GLASS.replace("@grant_limit", "@grant_for"), "says nothing"),
        ):
            self.assertIn(said, self.refused(text), text)

    def test_asked_for_by_an_action(self) -> None:
        """By the group that the template names, by an action in it, not by another."""
        made = policies(TEXT)
        offer = made.offer("read-shop")
        assert offer is not None
        for action in ("read", "take", "Shop::take", "Shop::read", "look"):
            self.assertTrue(offers_action(made, offer, action), action)
        for action in ("put", "write", "Other::take", "", "Shop::", '"'):
            self.assertFalse(offers_action(made, offer, action), action)

    def test_a_named_target(self) -> None:
        """A template for one target alone needs no slot for it."""
        text = READ.replace("resource in ?resource", 'resource in Hoopgw::Target::"shop"')
        made = policies(text)
        offer = made.offer("read-shop")
        assert offer is not None
        self.assertEqual((offer.target, offer.slots), ("shop", {"?principal"}))
        held = grant(EVE, terms=digest_of(text))
        policy = CedarPolicy(made, lambda: 1000.0, Holding(held))
        self.assertEqual(policy.decide(principal(EVE), operation("take")).decision, Allow())
        self.assertIsNotNone(offer.refuses((EVE,), "safe"))
