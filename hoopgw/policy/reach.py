"""Policies that never make a difference, found by the solver.

A policy that no request can satisfy says nothing, and is mostly a mistake: two conditions that
exclude each other, a type that the action does not apply to. A permit all of whose requests some
forbid refuses for good is one as well. Findings are warnings: nothing is wider for it.

As in `hoopgw.policy.prove`, what cannot be put into a formula may be anything, so a policy is never
called unreachable that can be reached.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import z3

from hoopgw.policy.annotations import Rule
from hoopgw.policy.formulas import HopView
from hoopgw.policy.lint import Finding
from hoopgw.policy.prove import parse_rules
from hoopgw.policy.schema_types import Declared
from hoopgw.policy.sets import PolicySet
from hoopgw.policy.symbols import Situation

_EACH: Final = 1000
"""Milliseconds for one policy."""


def unreachable(policies: PolicySet, timeout: float) -> Iterator[Finding]:
    """Yield what is never reached, in the set's order.

    Args:
        policies: the set.
        timeout: seconds in all; what is not looked at by then is told.

    """
    until = time.monotonic() + timeout
    declared = Declared.of(policies.schema)
    parsed = parse_rules(policies.rules)
    forbids = [(r, t) for r, t in parsed if r.effect == "forbid" and not r.is_curable]
    for number, (rule, tree) in enumerate(parsed):
        if time.monotonic() > until:
            text = f"{len(parsed) - number} policies were not looked at within {timeout:g} s"
            yield Finding(level="warning", file=rule.file, line=rule.line, text=text)
            return
        situation = Situation.of(declared)
        views = [
            HopView("root", situation, situation.root, situation.context(z3.IntVal(0))),
            HopView("leaf", situation, situation.leaf, situation.context(situation.place)),
        ]
        satisfied = [view.holds(tree).it for view in views]
        refused = [
            z3.Or([view.holds(each).it for _, each in forbids]) if rule.effect == "permit" else None
            for view in views
        ]
        solver = z3.Solver()
        solver.set("timeout", _EACH)
        solver.add(*situation.facts())
        for view in views:
            solver.add(*situation.facts_of_context(view.context))
        below = z3.And(situation.depth >= 1, satisfied[1])
        if solver.check(z3.Or(satisfied[0], below)) == z3.unsat:
            yield _finding(rule, "no request can satisfy this; is a condition the wrong way round?")
        elif rule.effect == "permit" and forbids:
            free = [z3.And(s, z3.Not(r)) for s, r in zip(satisfied, refused, strict=True)]
            below = z3.And(situation.depth >= 1, free[1])
            if solver.check(z3.Or(free[0], below)) == z3.unsat:
                yield _finding(rule, "whatever this permits, some forbid refuses for good")


def _finding(rule: Rule, text: str) -> Finding:
    return Finding(level="warning", file=rule.file, line=rule.line, text=text)
