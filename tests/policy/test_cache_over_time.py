"""What policy says from its cache, while grants, time and policies change: as if it kept nothing.

Any order of asking, granting, claiming, using up, revoking, passing time, setting clocks, losing
control and reloading. Each answer is compared with that of a set that was never asked before, with
the grants that a plain list says are held; and answers that were kept beside an epoch, as sessions
keep them for their next statement, with what is so while the epoch is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hoopgw.clock import ForwardClock
from hoopgw.events import Cap, Operation, Principal, Resource
from hoopgw.grants.held import SCOPES, HeldGrant, Scope
from hoopgw.grants.view import GrantView
from hoopgw.masking import KINDS
from hoopgw.policy.decision import Sights, Verdict
from hoopgw.policy.engine import CedarPolicy, PolicyDirectory
from hoopgw.policy.sets import PolicySet
from tests.policy.test_granting import GLASS, ONCALL, TESTER, TEXT
from tests.policy.world import (
    ALICE,
    EVE,
    PLANNER,
    hop,
    operation,
    place,
    policies,
    principal,
    schema,
    shelf,
)

SEE = """
@id("t-see") @grant("see-shop") @grant_approval("owners")
@grant_scopes("window,session")
permit (principal == ?principal, action in [Shop::Action::"see", Shop::Action::"put"],
  resource in ?resource) when { context.chain.proved || context.chain.depth == 0 };
@id("people-see") permit (principal in Hoopgw::Group::"developers", action == Shop::Action::"see",
  resource) when { resource.labels.contains("card") };
@id("proof") @deny("prove your key") forbid (principal is Hoopgw::Agent,
  action == Shop::Action::"put", resource) unless { context.chain.proved };
@id("mask") @mask("last4") forbid (principal, action == Shop::Action::"see", resource)
when { resource.labels.contains("card") } unless { context.breakglass };
"""
HOURS = """
@id("hours") forbid (principal, action in [Shop::Action::"read", Shop::Action::"see"], resource)
when { context.now >= 1010 && context.now < 1030 };
"""
BASE: Final = TEXT + SEE
SETS: Final = {
    "base": policies(BASE),
    "other terms": policies(BASE.replace('@grant_limit("2h")', '@grant_limit("3h")')),
    "for some": policies(BASE.replace('@grant("read-shop")', '@grant("r") @grant_for("sales")')),
    "without glass": policies(BASE.replace(GLASS, "")),
    "by the hour": policies(BASE + HOURS),
}
CI = hop("ci", "sales", kind="workload")
RUN = principal(CI)
AGENT = principal(EVE, PLANNER)
LATER = evolve(AGENT, nodes=(evolve(AGENT.nodes[0], id="a later delegation"),))
CAPPED = evolve(PLANNER, caps=(Cap(target="shop", actions=frozenset({"Shop::read"})),))
PAIRS: Final[tuple[tuple[Principal, Principal], ...]] = (
    (principal(EVE), principal(ALICE)),
    (principal(EVE), principal(hop("eve", "sales"))),
    (principal(ALICE), principal(hop("alice"))),
    (principal(ONCALL), principal(ONCALL, PLANNER)),
    (principal(EVE), AGENT),
    (AGENT, LATER),
    (AGENT, evolve(AGENT, proved=True)),
    (AGENT, principal(EVE, CAPPED)),
    (AGENT, principal(EVE, PLANNER, TESTER)),
    (RUN, evolve(RUN, session="the log-in of the next run")),
    (RUN, principal(CI, PLANNER)),
)
"""Two who differ in little: what is kept of one must not be said of the other."""
ODD: Final[Mapping[str, Any]] = {"bulk": False, "count": True, "words": ()}
"""To Python it is the usual one, to Cedar it is none."""
OPERATIONS: Final[tuple[tuple[Operation, Operation], ...]] = (
    (operation("take"), operation("put")),
    (operation("take"), operation("take", context=ODD)),
    (operation("take"), operation("take", context={"bulk": True, "count": 1, "words": ()})),
    (operation("take"), operation("take", shelf("books", "secret"), shelf("vault"))),
)
FIELDS: Final = (place("price", "card"), place("price"), place("name", "secret"))
SESSIONS: Final = ("s-1", "s-2")
IDS: Final = ("g-1", "g-2")
Question: TypeAlias = tuple[Principal, str, Operation | None]
"""Who, in which session, of which operation; of how fields are shown if there is none."""


class Listed:
    """Grants as a plain list has them. Implements `hoopgw.policy.engine.Grants`."""

    epoch = "each time another"

    def __init__(self, grants: list[HeldGrant]) -> None:
        self.grants = grants

    def held(self, who: Principal, session: str = "") -> tuple[HeldGrant, ...]:
        """Return those of somebody, whether or not they were looked for before."""
        return tuple(g for g in self.grants if g.covers(who) and g.session in ("", session))


class CacheOverTime(RuleBasedStateMachine):
    """One worker's policy and grants, and what is so: everything is asked after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.wall, self.steady, self.current = 1000.0, 0.0, True
        self.clock = ForwardClock(lambda: self.wall, lambda: self.steady)
        self.view = GrantView(self.clock, lambda: self.current)
        self.made = SETS["base"]
        first = CedarPolicy(self.made, lambda: self.wall, self.view)
        self.policy = PolicyDirectory(
            Path("none"), schema(), KINDS, lambda: self.wall, self.view, first
        )
        self.grants: dict[str, HeldGrant] = {}
        self.kept: dict[tuple[str, int], object] = {}
        """By epoch and question, as sessions keep them for their next statement."""
        self.questions: list[Question] = []

    @initialize(
        pair=st.sampled_from(PAIRS),
        operations=st.sampled_from(OPERATIONS),
        fields=st.lists(st.sampled_from(FIELDS), min_size=1, max_size=2, unique=True),
    )
    def begin(
        self,
        pair: tuple[Principal, Principal],
        operations: tuple[Operation, Operation],
        fields: list[Resource],
    ) -> None:
        """Choose who asks for what."""
        self.pair, self.fields = pair, fields
        kinds = (*operations, None)
        self.questions = [(who, each, on) for who in pair for each in SESSIONS for on in kinds]

    def ask(self, policy: PolicyDirectory | CedarPolicy, question: Question) -> Verdict | Sights:
        """Put a question."""
        who, session, wanted = question
        if wanted is None:
            return policy.sights(who, self.fields, session)
        return policy.decide(who, wanted, session)

    @invariant()
    def nothing_that_is_kept_makes_a_difference(self) -> None:
        """Compare with what is so, and with what was said while nothing has changed."""
        now = self.clock()
        in_force = [g for g in self.grants.values() if self.current and g.until > now]
        for number, question in enumerate(self.questions):
            fresh = CedarPolicy(self.made, lambda: self.wall, Listed(in_force))
            so = self.ask(fresh, question)
            assert self.ask(self.policy, question) == so, question
            assert self.kept.setdefault((self.policy.epoch, number), so) == so, question

    # Granting

    @rule(
        name=st.sampled_from(IDS),
        made=st.sampled_from([None, None, None, *SETS.values()]),
        number=st.integers(0, 2),
        first=st.booleans(),
        scope=st.sampled_from([*SCOPES, "session"]),
        on=st.sampled_from(["shop", "shop", "shop", "shop", "bank"]),
        seconds=st.sampled_from([-1.0, 0.5, 3.0, 20.0, 500.0, 500.0]),
    )
    def grant(
        self,
        name: str,
        made: PolicySet | None,
        number: int,
        first: bool,
        scope: Scope,
        on: str,
        seconds: float,
    ) -> None:
        """Put a grant in force, or in the place of another one; some were of another policy."""
        offers = list((made or self.made).offers.values())
        offer, who = offers[number % len(offers)], self.pair[0 if first else 1]
        held = HeldGrant(
            id=name,
            template=offer.template,
            terms=offer.terms,
            target=on,
            chain=tuple((each.kind, each.id) for each in who.chain),
            nodes=tuple(node.id for node in who.nodes),
            login=who.login,
            scope="window" if offer.breakglass else scope,
            breakglass=bool(offer.breakglass),
            until=self.clock() + seconds,
        )
        self.put(held)

    def put(self, held: HeldGrant) -> None:
        """Tell of a grant."""
        self.view.put(held)
        self.grants.pop(held.id, None)
        self.grants[held.id] = held

    @precondition(lambda self: any(g.scope == "session" for g in self.grants.values()))
    @rule(session=st.sampled_from(SESSIONS))
    def claim(self, session: str) -> None:
        """Have a session use a grant that is for one."""
        held = next(each for each in self.grants.values() if each.scope == "session")
        self.put(evolve(held, session=session))

    @precondition(lambda self: self.grants)
    @rule(name=st.sampled_from(IDS))
    def end(self, name: str) -> None:
        """Revoke one, or use it up."""
        self.view.drop(name)
        self.grants.pop(name, None)

    @precondition(lambda self: self.grants)
    @rule(keep=st.sets(st.sampled_from(IDS)))
    def greet(self, keep: set[str]) -> None:
        """Connect with control again, which tells all there are."""
        self.grants = {name: grant for name, grant in self.grants.items() if name in keep}
        self.view.replace(self.grants.values())

    @rule()
    def fall_silent_or_come_back(self) -> None:
        """Lose control, so that nothing is known to be granted, or hear of it again."""
        self.current = not self.current

    # Time and policies

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 10.0, 20.0]), told=st.booleans())
    def wait(self, seconds: float, told: bool) -> None:
        """Let time pass, with the timer or before it."""
        self.wall += seconds
        self.steady += seconds
        if told:
            self.view.advance()

    @rule(wall=st.sampled_from([900.0, 1000.0, 1009.9, 1010.0, 1029.9, 1030.0, 2000.0]))
    def set_the_clock(self, wall: float) -> None:
        """Set the clock on the wall, back too."""
        self.wall = wall

    @rule(name=st.sampled_from(sorted(SETS)))
    def reload(self, name: str) -> None:
        """Put other policies in force."""
        self.made = SETS[name]
        self.policy.adopt(self.made)


CacheOverTime.TestCase.settings = settings(
    max_examples=settings().max_examples // 5,
    stateful_step_count=20,
    deadline=None,
)
CacheOverTimeTest = CacheOverTime.TestCase
