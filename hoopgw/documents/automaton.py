"""The automaton of paths: from the document to what happens to each value in it.

Each rule's path is a small nondeterministic automaton (``**`` may go on or end); all together are
made deterministic once. A state has a next state for each name that some rule has at that place,
one for all other names, and one for elements; so what a document says can make no new state, and
one look-up in a dict decides about a member.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeAlias

from attrs import define, evolve, field, frozen

from hoopgw.documents.detectors import Detector
from hoopgw.documents.paths import Step, Wild
from hoopgw.errors import PolicyError

STRONGEST_FIRST: Final = ("null", "redact", "year", "hash", "email", "last4")
"""Mask kinds, by what they show."""

Place: TypeAlias = frozenset[tuple[int, int]]
"""Where the paths stand: pairs of path and step that comes next."""


def stronger(one: str | None, other: str | None) -> str | None:
    """Return the mask kind that shows less; None masks nothing."""
    if one is None or other is None:
        return one or other
    return min(one, other, key=STRONGEST_FIRST.index)


@frozen
class Effect:
    """What happens to a value."""

    detectors: tuple[tuple[Detector, str], ...] = ()
    drop: bool = False
    refuse: tuple[str, ...] = ()
    whole: str | None = None
    """Mask kind of a container."""
    strings: str | None = None
    numbers: str | None = None
    """Mask kind of a number, of true and of false."""
    rewrites: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()

    def __or__(self, other: Effect) -> Effect:
        """Join the effects of two rules."""
        return Effect(
            drop=self.drop or other.drop,
            refuse=self.refuse + other.refuse,
            whole=stronger(self.whole, other.whole),
            strings=stronger(self.strings, other.strings),
            numbers=stronger(self.numbers, other.numbers),
            detectors=self.detectors + other.detectors,
            rewrites=self.rewrites + other.rewrites,
            counts=self.counts + other.counts,
        )

    @property
    def reads_strings(self) -> bool:
        """Whether a string must be known to say what stands for it."""
        return bool(self.detectors or self.rewrites)


NOTHING: Final = Effect()
"""The value is passed as it is."""
REPEATED: Final = Effect(whole="redact", strings="redact", numbers="redact")
"""What happens to a member whose name a rule knows, and that is there again: readers differ in
which of the two they take."""


@define(eq=False)
class State:
    """Where a value stands, by the rules."""

    effect: Effect
    """What happens to the value."""
    names: dict[str, tuple[int, State]] = field(factory=dict)
    """The states of members, and a bit for each; names are folded if the rules fold case."""
    fold_case: bool = False
    drops_members: bool = False
    """Whether a member may be left out."""
    _other: State | None = field(default=None)
    _element: State | None = field(default=None)

    @property
    def other(self) -> State:
        """The state of a member with any other name."""
        return self if self._other is None else self._other

    @property
    def element(self) -> State:
        """The state of an element."""
        return self if self._element is None else self._element

    @property
    def drops_elements(self) -> bool:
        """Whether elements are left out."""
        return self.element.effect.drop

    @property
    def is_uniform(self) -> bool:
        """Whether all below is as this."""
        return not self.names and self.other is self and self.element is self

    def join(self, names: dict[str, State], other: State, element: State) -> None:
        """Set where it leads; called once."""
        self.names = {name: (1 << bit, state) for bit, (name, state) in enumerate(names.items())}
        self._other, self._element = other, element
        self.drops_members = any(state.effect.drop for state in (*names.values(), other))

    def member(self, name: str) -> tuple[int, State]:
        """Return a member's state, and its bit; 0 if no rule has its name here."""
        found = self.names.get(name.casefold() if self.fold_case else name)
        return (0, self.other) if found is None else found


DEAD: Final = State(NOTHING)
"""Where no rule is for anything."""


@define(eq=False)
class Automaton:
    """Takes the paths of rules, and makes states of them."""

    fold_case: bool
    limit: int
    _paths: list[tuple[Step, ...]] = field(factory=list, init=False)
    _rules: list[tuple[Effect, int]] = field(factory=list, init=False)
    """The effect and the path of each rule."""
    _keeping: list[tuple[int, tuple[int, ...]]] = field(factory=list, init=False)
    """The path of each rule that keeps something, and the paths of what it keeps."""
    _sparing: dict[int, tuple[int, ...]] = field(factory=dict, init=False)
    """The path of each rule that spares something, to the paths of what it spares."""
    _own: set[int] = field(factory=set, init=False)
    """The paths that are not only for keeping."""
    _states: dict[Place, State] = field(factory=dict, init=False)

    def add(
        self,
        path: tuple[Step, ...],
        effect: Effect,
        kept: Iterable[tuple[Step, ...]],
        spared: Iterable[tuple[Step, ...]] = (),
    ) -> None:
        """Take a rule."""
        own = self._add(path)
        self._own.add(own)
        self._rules.append((effect, own))
        keeping = tuple(self._add(each) for each in kept)
        if sparing := tuple(self._add(each) for each in spared):
            self._sparing[own] = sparing
        if keeping:
            self._keeping.append((own, keeping))

    def _add(self, path: tuple[Step, ...]) -> int:
        if self.fold_case:
            path = tuple(step.casefold() if isinstance(step, str) else step for step in path)
        self._paths.append(path)
        return len(self._paths) - 1

    def compile(self) -> State:
        """Make all states; return the first.

        Raises:
            PolicyError: they are too many.

        """
        first = self._closed((path, 0) for path in range(len(self._paths)))
        start, waiting = self._state(first), [first]
        joined = set[Place]()
        while waiting:
            place = waiting.pop()
            if place in joined or (state := self._state(place)) is DEAD:
                continue
            joined.add(place)
            names, other, element = self._after(place)
            state.join(
                {name: self._state(after) for name, after in names.items()},
                self._state(other),
                self._state(element),
            )
            waiting += [*names.values(), other, element]
        return start

    def _state(self, place: Place) -> State:
        """Return the state of a place, new if it is met for the first time."""
        state = self._states.get(place)
        if state is None:
            effect = self._effect(place)
            if effect is NOTHING and not self._is_live(place):
                state = DEAD
            elif len(self._states) >= self.limit:
                raise PolicyError(f"rules of paths need more than {self.limit} states together")
            else:
                state = State(effect, fold_case=self.fold_case)
            self._states[place] = state
        return state

    def _is_live(self, place: Place) -> bool:
        """Say whether a rule's path, not one that keeps, can still go on."""
        return any(path in self._own and at < len(self._paths[path]) for path, at in place)

    def _closed(self, places: Iterable[tuple[int, int]]) -> Place:
        """Add what is reached by taking ``**`` for nothing; leave out rules that are kept off."""
        return self._shown(self._reached(places))

    def _reached(self, places: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
        found = set[tuple[int, int]]()
        for path, at in places:
            steps, end = self._paths[path], at
            while end < len(steps) and steps[end] is Wild.DEEP:
                end += 1
            found.update((path, each) for each in range(at, end + 1))
        return found

    def _shown(self, found: set[tuple[int, int]]) -> Place:
        for path, kept in self._keeping:
            # A path that keeps goes on with ``**``: it keeps all below, too.
            if any((each, len(self._paths[each])) in found for each in kept):
                gone = {path, *kept, *self._sparing.get(path, ())}
                found = {place for place in found if place[0] not in gone}
        return frozenset(found)

    def _after(self, place: Place) -> tuple[dict[str, Place], Place, Place]:
        """Return the places after each name that is known here, any other name, and an element."""
        names: dict[str, set[tuple[int, int]]] = {}
        other, element = set[tuple[int, int]](), set[tuple[int, int]]()
        for path, at in place:
            steps = self._paths[path]
            match steps[at] if at < len(steps) else None:
                case Wild.DEEP:
                    other.add((path, at))
                    element.add((path, at))
                case Wild.MEMBER:
                    other.add((path, at + 1))
                case Wild.ELEMENT:
                    element.add((path, at + 1))
                case str(name):
                    names.setdefault(name, set()).add((path, at + 1))
        reached = self._reached(other)
        known = sorted(names) if self._is_live(place) else ()
        return (
            {name: self._shown(reached | self._reached(names[name])) for name in known},
            self._shown(reached),
            self._closed(element),
        )

    def _effect(self, place: Place) -> Effect:
        """Join the effects of the rules whose paths end here."""
        ends = {path for path, at in place if at == len(self._paths[path])}
        effect = NOTHING
        for one, path in self._rules:
            if path in ends and ends.isdisjoint(self._sparing.get(path, ())):
                effect |= one
        if effect == NOTHING:
            return NOTHING  # the one that is compared by identity
        return evolve(effect, counts=tuple(dict.fromkeys(effect.counts)))


def hints(effect: Effect) -> tuple[str, ...]:
    """Return patterns of which one is found in each string that detectors must look at.

    A backslash is one: what is escaped cannot be searched as it is written.
    """
    found = dict.fromkeys(hint for one, _ in effect.detectors for hint in one.hints)
    return (r"\\", *found)


def names_pattern(state: State) -> bytes:
    """Return a pattern of the names that a state knows."""
    names = b"|".join(re.escape(name.encode()) for name in state.names)
    return b"(?i:%s)" % names if state.fold_case else b"(?:%s)" % names
