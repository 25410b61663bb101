"""What a changed set of policies would have made of what was done: recorded decisions, compared.

Each recorded question is judged by the new set, and compared with what was decided then (or with
what another set says). What differs is counted in groups: by what changed, and by which policies
decide now and decided before. Memory is bounded by the limits below, however much is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from attrs import define, field, frozen

from hoopgw.masking.literals import without_literals
from hoopgw.policy.links import grant_of
from hoopgw.policy.recorded import Outcome, Question, Retrial, Skipped
from hoopgw.terminal import clip, printable

GROUPS_LIMIT: Final = 1000
"""Groups that are told apart; what is beyond them is counted as one."""
COUNTED_LIMIT: Final = 200
"""Chains, actions or resources that are told apart in one group."""
FAULTS_LIMIT: Final = 100
"""Records that could not be judged that are named; all are counted."""
EXAMPLES: Final = 3
_EXAMPLE_WIDTH: Final = 200

Direction: TypeAlias = Literal["narrower", "wider", "other"]

_OPENNESS: Final = {
    "deny": 0,
    "review": 1,
    "allow": 2,
    "hidden": 0,
    "masked": 1,
    "clear": 2,
}
_NO_POLICY: Final = "no permit"
OTHERS: Final = "…"
"""Stands for all that is beyond a limit."""


@frozen(order=True)
class Change:
    """What would be different, and by which policies."""

    before: str
    """The outcome with its detail: ``masked last4``."""
    after: str
    decided_before: tuple[str, ...]
    decided_after: tuple[str, ...]
    direction: Direction

    @property
    def title(self) -> str:
        """Say it in few words."""
        return f"{self.before} -> {self.after}"


@frozen(kw_only=True)
class Example:
    """One of what a group holds."""

    session: str
    sequence: int
    path: str
    target: str
    text: str
    """The statement or command with its literals left out, or the field."""


@define(eq=False)
class Group:
    """All that changes in one way."""

    change: Change
    count: int = 0
    chains: Counter[str] = field(factory=Counter)
    actions: Counter[str] = field(factory=Counter)
    resources: Counter[str] = field(factory=Counter)
    examples: list[Example] = field(factory=list)
    first: int = 0
    """Nanoseconds since the epoch."""
    last: int = 0
    reason: str = ""
    """What the caller would read now."""

    def add(self, question: Question, after: Outcome) -> None:
        """Count one."""
        self.count += 1
        self.first = min(self.first or question.at, question.at)
        self.last = max(self.last, question.at)
        self.reason = self.reason or after.reason
        _count(self.chains, question.path)
        _count(self.actions, question.action)
        for name in dict.fromkeys(access.resource.id for access in question.accesses):
            _count(self.resources, name)
        if len(self.examples) < EXAMPLES:
            self._show(question)

    def _show(self, question: Question) -> None:
        text = without_literals(question.text.decode("utf-8", "backslashreplace"))
        shown = clip(printable(text), _EXAMPLE_WIDTH)
        if all(shown != example.text for example in self.examples):
            self.examples.append(
                Example(
                    session=question.session,
                    sequence=question.sequence,
                    path=question.path,
                    target=question.target,
                    text=shown,
                )
            )


@define(eq=False)
class WhatIf:
    """Compares, one question after the other.

    Args:
        new: judges by the changed set.
        old: judges by the set to compare with; None compares with what was recorded.

    """

    new: Retrial
    old: Retrial | None = None
    judged: int = field(default=0, init=False)
    changed: int = field(default=0, init=False)
    other_policies: int = field(default=0, init=False)
    """Of those that do not change, how many other policies would decide."""
    not_asked: int = field(default=0, init=False)
    """Records that policy was never asked about."""
    unjudged: int = field(default=0, init=False)
    """Records that could not be judged."""
    faults: list[Skipped] = field(factory=list, init=False)
    erring: int = field(default=0, init=False)
    """Questions for which a policy of the changed set errs, and so refuses."""
    _groups: dict[Change, Group] = field(factory=dict, init=False)

    def take(self, found: Question | Skipped) -> None:
        """Look at the next one."""
        if isinstance(found, Skipped):
            if not found.is_fault:
                self.not_asked += 1
                return
            self.unjudged += 1
            if len(self.faults) < FAULTS_LIMIT:
                self.faults.append(found)
            return
        self.judged += 1
        before = found.recorded if self.old is None else self.old.judge(found)
        after = self.new.judge(found)
        self.erring += bool(after.errors)
        change = changed(before, after)
        if change is None:
            self.other_policies += _names(before) != _names(after)
            return
        self.changed += 1
        group = self._groups.get(change)
        if group is None:
            if len(self._groups) >= GROUPS_LIMIT:
                change = Change(OTHERS, OTHERS, (), (), change.direction)
            group = self._groups.setdefault(change, Group(change))
        group.add(found, after)

    def take_all(self, found: Iterable[Question | Skipped]) -> None:
        """Look at all."""
        for each in found:
            self.take(each)

    @property
    def groups(self) -> list[Group]:
        """What changes: what opens first, then what closes; the most frequent first."""
        order = {"wider": 0, "narrower": 1, "other": 2}
        return sorted(
            self._groups.values(),
            key=lambda group: (order[group.change.direction], -group.count, group.change),
        )

    def count(self, direction: Direction) -> int:
        """Return how many decisions change in one direction."""
        groups = self._groups.values()
        return sum(group.count for group in groups if group.change.direction == direction)


def changed(before: Outcome, after: Outcome) -> Change | None:
    """Return what is different for the caller; None if nothing is."""
    if (before.word, before.detail) == (after.word, after.detail):
        same_remedies = before.word != "review" or _names(before) == _names(after)
        if same_remedies:
            return None
    return Change(
        f"{before.word} {before.detail}".strip(),
        f"{after.word} {after.detail}".strip(),
        _names(before),
        _names(after),
        _direction(before, after),
    )


def _direction(before: Outcome, after: Outcome) -> Direction:
    old, new = _OPENNESS.get(before.word, 0), _OPENNESS.get(after.word, 0)
    if old != new:
        return "wider" if new > old else "narrower"
    if before.word == "allow":
        was, becomes = _rows(before.detail), _rows(after.detail)
        if was != becomes:
            return "wider" if becomes > was else "narrower"
    return "other"


def _rows(detail: str) -> float:
    return float(detail.split()[0]) if detail else float("inf")


def _names(outcome: Outcome) -> tuple[str, ...]:
    """Name the policies that decided; of a grant, the template that it links."""
    named = (name.partition("/")[0] if grant_of(name) else name for name in outcome.because)
    return tuple(sorted(set(named))) or (_NO_POLICY,)


def _count(counter: Counter[str], name: str) -> None:
    if name not in counter and len(counter) >= COUNTED_LIMIT:
        name = OTHERS
    counter[name] += 1
