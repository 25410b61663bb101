"""Rules: what happens to the values of a document, by path; compiled to an automaton of paths.

Rules of several policies add up. Where more than one is for a value, the one that shows least
counts; a rule's ``keep`` and ``spare`` undo only that rule. What no rule is for is passed as it is,
byte for byte.

The automaton is made once for a set of rules (`compile_rules`) and has no state of a document: it
is shared by all answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

from attrs import evolve, field, frozen
from attrs.validators import in_, min_len

from hoopgw.documents.automaton import DEAD, Automaton, Effect, State
from hoopgw.documents.detectors import DETECTORS
from hoopgw.documents.grammar import RunTable
from hoopgw.documents.paths import Step, Wild, parse_path
from hoopgw.errors import PolicyError
from hoopgw.masking import KINDS, plain_kind
from hoopgw.transport import accelerated

if TYPE_CHECKING:
    from hoopgw.documents._scan import Scanner, Table
    from hoopgw.documents.json_masker import JsonMasker


@frozen
class Mask:
    """Put what a mask kind gives in place of the value, whatever it is.

    Of a container, nothing of what is in it is shown.
    """

    kind: str = field(default="redact", validator=in_(KINDS))


@frozen
class MaskStrings:
    """Mask every string at the path and below it; the names of members are shown."""

    kind: str = field(default="redact", validator=in_(KINDS))
    numbers: bool = False
    """Mask numbers, true and false too."""


@frozen
class Drop:
    """Leave the member or element out."""


@frozen
class Refuse:
    """Break the answer off: what is there can neither be shown nor masked."""

    reason: str


@frozen
class Detect:
    """Look for secrets in every string at the path and below it, and mask what is found.

    Of a number that is one (a card's), all is masked; so is all of a text that is longer than 16 Ki
    characters and may hold one. Names of members are not looked at.
    """

    detectors: tuple[str, ...] = field(validator=min_len(1))
    kind: str = field(default="redact", validator=in_(KINDS))

    @detectors.validator
    def _known(self, _attribute: object, value: tuple[str, ...]) -> None:
        for name in value:
            if name not in DETECTORS:
                raise ValueError(f"detector {name!r} is none of {', '.join(sorted(DETECTORS))}")


@frozen
class Rewrite:
    """Put what the caller's function makes of a string in its place: ``(path, text) -> text``.

    It gets the rule's path, and text that detectors have replaced already; it may raise
    `DocumentError`. For links, which must lead to the gateway, and for what can only be masked by
    who understands it (a kubeconfig in base64).
    """


@frozen
class Count:
    """Count the values at the path, for a limit of that name (`Limits.counts`)."""

    name: str


Treatment: TypeAlias = Mask | MaskStrings | Drop | Refuse | Detect | Rewrite | Count


@frozen
class Rule:
    """One treatment of the values at a path."""

    path: str
    treatment: Treatment
    keep: tuple[str, ...] = ()
    """Paths of values that this rule leaves alone, with all below them."""
    spare: tuple[str, ...] = ()
    """Paths of values that it leaves alone, but nothing that is below them."""


@frozen(eq=False)
class Rules:
    """A compiled set of rules."""

    start: State = field(repr=False)
    """Of the document itself."""
    runs: RunTable = field(repr=False)
    shows_plain: bool
    """Whether all rules go by what a text looks like, or only count: then a text without structure
    can be shown too, after detection."""
    _table: Table | None = field(default=None, repr=False)
    """For the compiled twin of `JsonMasker`; None without it."""

    def scanner(self, masker: JsonMasker) -> Scanner | None:
        """Return the compiled twin of a masker's reader; None if there is none."""
        if self._table is None:
            return None
        from hoopgw.documents._scan import Scanner

        return Scanner(self._table, masker)


STATES_LIMIT: Final = 4096
"""States of an automaton: many ``**`` in one path multiply them."""


def compile_rules(rules: Iterable[Rule], *, fold_case: bool = False) -> Rules:
    """Compile rules.

    Args:
        rules: in any order.
        fold_case: compare names without regard to case, as Azure Resource Manager does.

    Raises:
        PolicyError: a path is none, or the rules are too many together.

    """
    rules = tuple(rules)
    automaton = Automaton(fold_case, STATES_LIMIT)
    for rule in rules:
        path, effect, deep = parse_path(rule.path), _effect(rule), _is_deep(rule.treatment)
        automaton.add(
            _below(path) if deep else path,
            effect,
            [_below(parse_path(kept)) for kept in rule.keep],
            [parse_path(spared) for spared in rule.spare],
        )
    shown = all(isinstance(rule.treatment, Detect | Count) for rule in rules)
    start, runs = automaton.compile(), RunTable()
    table = _table(start)
    if start.effect.drop:
        raise PolicyError("a rule leaves out the document itself: refuse the operation instead")
    for state in (DEAD, start) if table is None else ():
        runs.of(state)  # what takes long is made now, and not while an answer waits
    return Rules(start, runs, shown, table)


def _table(start: State) -> Table | None:
    if not accelerated.is_wanted("hoopgw.documents._scan"):
        return None
    from hoopgw.documents._scan import Table

    return Table(start)


def _is_deep(treatment: Treatment) -> bool:
    return isinstance(treatment, MaskStrings | Detect)


def _below(path: tuple[Step, ...]) -> tuple[Step, ...]:
    return path if path[-1:] == (Wild.DEEP,) else (*path, Wild.DEEP)


def _effect(rule: Rule) -> Effect:
    """Return what a rule alone does to a value."""
    nothing = Effect()
    match rule.treatment:
        case Mask(kind):
            kind = plain_kind(kind)
            return evolve(nothing, whole=kind, strings=kind, numbers=kind)
        case MaskStrings(kind, numbers):
            kind = plain_kind(kind)
            return evolve(nothing, strings=kind, numbers=kind if numbers else None)
        case Drop():
            return evolve(nothing, drop=True)
        case Refuse(reason):
            return evolve(nothing, refuse=(reason,))
        case Detect(names, kind):
            found = tuple((DETECTORS[name], plain_kind(kind)) for name in names)
            return evolve(nothing, detectors=found)
        case Rewrite():
            return evolve(nothing, rewrites=(rule.path,))
        case Count(name):
            return evolve(nothing, counts=(name,))
