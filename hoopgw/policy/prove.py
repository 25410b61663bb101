"""Prove that something never happens under a set of policies, or show a request for which it does.

The set and the query become one formula that holds for every request by which the query is broken,
and perhaps for some more, never for fewer: where a policy cannot be put into the formula exactly,
the solver may choose what it says. So if no request satisfies the formula, none breaks the query.
If one does, it is put to the real engine, and only what that confirms is called a counterexample.

A chain is looked at by its root and one hop below it, which stands for each: a chain is allowed
what all of its hops are, so leaving the others out never leaves out a request.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import cedarpy
import z3
from attrs import define, field, frozen
from cedarpy import pst

from hoopgw.policy.annotations import Rule
from hoopgw.policy.counterexamples import Counterexample, confirmed, read_model
from hoopgw.policy.explain import Explanation, explain_inquiry
from hoopgw.policy.formulas import FALSE, HopView
from hoopgw.policy.lint import SEE, target_of
from hoopgw.policy.queries import Query
from hoopgw.policy.schema_types import Declared
from hoopgw.policy.sets import PolicySet
from hoopgw.policy.symbols import AGENT, GROUP, PERSON, Bool, Situation

TIMEOUT: Final = 10.0
"""Seconds for one query, unless told otherwise."""
_SIMPLER: Final = 0.5
"""Seconds that are spent to make a counterexample simpler."""

Result: TypeAlias = Literal["proved", "refuted", "unconfirmed", "unknown"]


@frozen(kw_only=True)
class Proof:
    """What came of one query."""

    query: Query
    result: Result
    """``proved``; ``refuted`` by a request that the engine confirms; ``unconfirmed``, if the engine
    does not; ``unknown``, if the solver did not come to an end."""
    seconds: float
    counterexample: Counterexample | None = None
    explanation: Explanation | None = None
    """What the engine says of the counterexample, if it confirms it."""
    why: str = ""

    @property
    def is_proved(self) -> bool:
        """Whether what the query forbids cannot happen."""
        return self.result == "proved"


@define(eq=False)
class Prover:
    """Answers queries about one set of policies.

    Args:
        policies: the set.
        timeout: seconds for each query.

    """

    policies: PolicySet
    timeout: float = TIMEOUT
    _declared: Declared = field(init=False, repr=False)
    _parsed: list[tuple[Rule, pst.Template]] = field(init=False, repr=False)
    _templates: list[tuple[Rule, pst.Template]] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._declared = Declared.of(self.policies.schema)
        everything = self.policies.all
        self._parsed = parse_rules(everything.rules)
        # Without an offer nobody can ask for a template, so it is never linked.
        self._templates = [
            (rule, tree)
            for rule, tree in parse_rules(everything.templates)
            if rule.id in self.policies.offers
        ]

    def prove(self, query: Query) -> Proof:
        """Answer one query."""
        begun = time.monotonic()
        problem = _Problem(self, query)
        attempts = [problem.short, problem.long]
        unconfirmed: Counterexample | None = None
        for more in attempts:
            solver = z3.Solver()
            left = self.timeout - (time.monotonic() - begun)
            solver.set("timeout", max(1, int(left * 1000)))
            solver.add(*problem.formulas(), more)
            answer = solver.check() if left > 0 else z3.unknown
            if answer == z3.unknown:
                why = f"the solver did not come to an end within {self.timeout:g} s"
                return self._proof(query, "unknown", begun, why=why)
            if answer == z3.sat:
                model = _simpler(solver, problem.wishes())
                offers = self.policies.offers
                found = read_model(problem.situation, problem.contexts(), model, offers)
                if confirmed(self.policies, query, found):
                    assert found.inquiry is not None
                    said = explain_inquiry(self.policies, found.inquiry)
                    return self._proof(query, "refuted", begun, found, said)
                unconfirmed = unconfirmed or found
        if unconfirmed is None:
            return self._proof(query, "proved", begun)
        why = "a request was found that might break it, but the engine does not confirm it"
        return self._proof(query, "unconfirmed", begun, unconfirmed, why=why)

    @staticmethod
    def _proof(
        query: Query,
        result: Result,
        begun: float,
        counterexample: Counterexample | None = None,
        explanation: Explanation | None = None,
        why: str = "",
    ) -> Proof:
        return Proof(
            query=query,
            result=result,
            seconds=time.monotonic() - begun,
            counterexample=counterexample,
            explanation=explanation,
            why=why,
        )


@define(eq=False)
class _Problem:
    """One query as formulas."""

    prover: Prover
    query: Query
    situation: Situation = field(init=False)
    root: HopView = field(init=False)
    leaf: HopView = field(init=False)
    alone: HopView | None = field(default=None, init=False)
    _goal: list[Bool] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        situation = self.situation = Situation.of(self.prover._declared)
        first, place = z3.IntVal(0), situation.place
        self.root = HopView("root", situation, situation.root, situation.context(first))
        self.leaf = HopView("leaf", situation, situation.leaf, situation.context(place))
        runs = self.query.never != "freely"
        below = z3.Or(situation.depth == 0, self._allowed(self.leaf, or_reviewed=runs))
        self._goal = [self._allowed(self.root, or_reviewed=runs), below, self._condition()]
        if self.query.never == "exceeding":
            context = situation.context_alone()
            self.alone = HopView("alone", situation, situation.root, context)
            self._goal.append(situation.depth >= 1)
            self._goal.append(z3.Not(self._allowed(self.alone, or_reviewed=True)))
        if not runs:
            self._goal += self._without_approvals()
        self._goal += self._grants()

    @property
    def short(self) -> Bool:
        """Chains of one hop below the root at most: their counterexamples are complete."""
        return self.situation.depth <= 1

    @property
    def long(self) -> Bool:
        """All others."""
        return self.situation.depth >= 2

    def contexts(self) -> list[Any]:
        """Return the contexts that values were looked at in."""
        return [view.context for view in self._views()]

    def formulas(self) -> Iterable[Bool]:
        """Yield the goal and all facts."""
        yield from self._goal
        yield from self.situation.facts()
        for view in self._views():
            yield from self.situation.facts_of_context(view.context)

    def wishes(self) -> Iterable[Bool]:
        """Yield what a readable counterexample would be like, the most important first."""
        situation = self.situation
        yield situation.depth == 0
        yield situation.depth <= 2
        for linked in situation.granted.values():
            yield z3.Not(linked)
        for entity, name in ((situation.root, "someone"), (situation.resource, "something")):
            for inside in entity.inside.values():
                yield z3.Not(inside)
            yield entity.id == z3.StringVal(name)
        yield situation.root.is_a(PERSON)

    def _views(self) -> list[HopView]:
        return [view for view in (self.root, self.leaf, self.alone) if view is not None]

    def _allowed(self, view: HopView, *, or_reviewed: bool) -> Bool:
        """Say when this hop's question is answered so that the operation runs.

        Args:
            view: the question.
            or_reviewed: whether an approval, or a mask, may be needed for it.

        """
        permits, refuses, errs = [FALSE], [FALSE], [FALSE]
        is_see, about = self._is_see(), target_of(self.query.condition)
        for rule, tree in self.prover._parsed:
            if None not in (about, rule.target) and rule.target != about:
                continue  # a resource lies in one target
            found = view.holds(tree)
            errs.append(found.errs)
            if rule.effect == "permit":
                permits.append(found.it)
            elif not or_reviewed or not rule.is_curable:
                refuses.append(found.it)
            else:
                # A mask cures seeing, an approval everything else.
                refuses.append(z3.And(found.it, z3.Not(is_see) if rule.mask else is_see))
        for rule, tree in self.prover._templates:
            found = view.holds(tree, self.situation.is_granted(rule.id, view.name))
            errs.append(found.errs)
            permits.append(found.it)
        return z3.And(z3.Or(permits), z3.Not(z3.Or(refuses)), z3.Not(z3.Or(errs)))

    def _is_see(self) -> Bool:
        actions = enumerate(self.situation.actions)
        numbers = [n for n, name in actions if name.rpartition("::")[2] == SEE]
        return z3.Or([self.situation.action == number for number in numbers])

    def _condition(self) -> Bool:
        """Say when a request is one that the query is about."""
        condition, depth = self.query.condition, self.situation.depth
        of_root, of_leaf = self.root.holds(condition), self.leaf.holds(condition)
        is_root = z3.And(of_root.it, z3.Not(of_root.errs))
        is_leaf = z3.And(depth >= 1, of_leaf.it, z3.Not(of_leaf.errs))
        match self.query.who:
            case "root":
                return is_root
            case "below":
                return is_leaf
            case "agent":
                # One that logs in by itself is a root.
                situation = self.situation
                below = z3.And(is_leaf, situation.leaf.is_a(AGENT))
                return z3.Or(below, z3.And(is_root, situation.root.is_a(AGENT)))
        return z3.Or(is_root, is_leaf)

    def _without_approvals(self) -> Iterable[Bool]:
        for view in self._views():
            approvals = view.context.values.get("approvals")
            for given in () if approvals is None else approvals.members.values():
                yield z3.Not(given)

    def _grants(self) -> Iterable[Bool]:
        """Yield who can have which template linked, and break glass."""
        situation, offers = self.situation, self.prover.policies.offers
        breaking: list[Bool] = []
        for (template, hop), linked in situation.granted.items():
            offer = offers[template]
            groups = offer.breakglass or offer.requesters
            if not self.query.grants or (self.query.grants == "root" and hop == "leaf"):
                yield z3.Not(linked)
            elif groups:
                members = [situation.root.is_in((GROUP, group)) for group in sorted(groups)]
                yield z3.Implies(linked, z3.Or(members))
            if offer.breakglass:
                yield z3.Implies(linked, z3.And(situation.depth == 0, hop == "root"))
                breaking.append(linked)
        for rule, _ in self.prover._templates:
            yield from self._of_one_chain(rule.id)
        for view in self._views():
            breaks = view.context.values.get("breakglass")
            if breaks is not None:
                yield z3.Implies(breaks, z3.Or(breaking))

    def _of_one_chain(self, template: str) -> Iterable[Bool]:
        """Yield that a grant links its template for each hop of whom it was given to.

        So what links it below the root links it for the root. What links it for the root was given
        to the root itself, or to a chain that begins there: then it is linked for the first hop
        below too, and the root alone does not have it.
        """
        situation = self.situation
        root, leaf = (situation.is_granted(template, hop) for hop in ("root", "leaf"))
        yield z3.Implies(leaf, root)
        alone = situation.is_granted(template, "alone") if self.alone is not None else None
        if alone is not None:
            yield z3.Implies(alone, root)
            yield z3.Implies(z3.And(root, z3.Not(alone), situation.place == 1), leaf)
            if self.query.grants == "root":
                yield alone == root


def parse_rules(rules: Iterable[Rule]) -> list[tuple[Rule, pst.Template]]:
    """Return the trees of rules."""
    by_id = {rule.id: rule for rule in rules}
    if not by_id:
        return []
    parsed = cedarpy.policies_to_pst("\n".join(rule.text for rule in by_id.values()))
    trees: Mapping[str, pst.Template] = {**parsed.static_policies, **parsed.templates}
    return [(by_id[tree.annotations["id"]], tree) for tree in trees.values()]


def _simpler(solver: Any, wishes: Iterable[Bool]) -> Any:
    """Return a model in which as many wishes hold as are found in a short time."""
    model, granted = solver.model(), list[Bool]()
    until = time.monotonic() + _SIMPLER
    solver.set("timeout", 100)
    for wish in wishes:
        if time.monotonic() > until:
            break
        if z3.is_true(model.eval(wish)):
            granted.append(wish)
        elif solver.check(*granted, wish) == z3.sat:
            model = solver.model()
            granted.append(wish)
    return model
