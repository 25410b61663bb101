"""The annotations of a policy: how a refusal can be cured, and what a permit still asks.

Cedar ignores annotations, so an engine without this code only ever refuses more. A forbid is
*curable* by an approval (``@approval``) or by a mask (``@mask``); each other forbid is final.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, Literal, TypeAlias

from attrs import evolve, field, frozen

from hoopgw.policy.decision import Remedy

_ORDER: Final[Mapping[str, int]] = {"hide": 4, "null": 3, "redact": 2, "hash": 1}
"""Strictest highest. All other kinds show different parts of a value: none covers another."""

_TEXT_LIMIT: Final = 300
_GROUPS_LIMIT: Final = 20
_APPROVALS_LIMIT: Final = 9
_PATIENCE_LIMIT: Final = 24 * 3600.0
_ROWS_LIMIT: Final = 2**31 - 1

Effect: TypeAlias = Literal["permit", "forbid"]

OFFER_ANNOTATIONS: Final = (
    "grant",
    "breakglass",
    "grant_approval",
    "grant_approvals",
    "grant_for",
    "grant_limit",
    "grant_scopes",
)
"""What makes a template a grant; `hoopgw.policy.offers` reads them."""


@frozen(kw_only=True)
class Rule:
    """One policy, as far as it matters after Cedar's answer."""

    id: str
    """Its ``@id``."""
    effect: Effect
    file: str
    line: int
    order: int
    """Its place in the set: the first of several refusals is the one told."""
    text: str = field(repr=False, default="")
    target: str | None = None
    """The one target that its scope is limited to, if it is."""
    groups: frozenset[str] = frozenset()
    """Who may approve what it forbids; empty unless ``@approval`` is there."""
    needed: int = 1
    patience: float = 900.0
    """Seconds."""
    prompt: str | None = None
    mask: str | None = None
    deny: str | None = None
    max_rows: int | None = None

    @property
    def is_curable(self) -> bool:
        """Whether a refusal by it can be cured at all."""
        return bool(self.groups) or self.mask is not None

    @property
    def remedy(self) -> Remedy | None:
        """The approval that would cure a refusal by it."""
        if not self.groups:
            return None
        return Remedy(
            rule=self.id,
            groups=self.groups,
            needed=self.needed,
            patience=self.patience,
            prompt=self.prompt,
        )

    @property
    def refusal(self) -> str:
        """Why it refuses, for the principal."""
        if self.deny is not None:
            return self.deny
        if self.prompt is not None and not self.groups:
            return (
                f"policy {self.id} wants a stated reason ({self.prompt}), "
                "and this gateway has no channel yet on which one could be given"
            )
        return f"refused by policy {self.id}"


def strictest(kinds: Collection[str]) -> str | None:
    """Return the mask that shows no more than each of these; None, the clear value, for none."""
    if not kinds:
        return None
    if len({kind for kind in kinds if kind not in _ORDER}) > 1:
        # The last four digits and the domain of an address show more together than each alone.
        kinds = {*kinds, "redact"}
    return max(sorted(kinds), key=lambda kind: _ORDER.get(kind, 0))


class _BadValueError(Exception):
    """An annotation's value is not what it must be; the text is the fix."""


def apply_annotations(
    rule: Rule, annotations: Mapping[str, str], is_about_see: bool, kinds: Collection[str]
) -> tuple[Rule, list[str]]:
    """Return the rule with its annotations, and what is wrong with them."""
    problems = list(_misplaced(rule.effect, annotations))
    for name, value in annotations.items():
        reader = _READERS.get(name)
        if reader is None or _EFFECTS[name] != rule.effect:
            continue
        try:
            rule = reader(rule, value)
        except _BadValueError as error:
            problems.append(f'@{name}("{value[:40]}"): {error}')
    problems += _contradictions(rule, annotations, is_about_see, kinds)
    return rule, problems


def _misplaced(effect: Effect, annotations: Mapping[str, str]) -> Iterable[str]:
    for name in annotations:
        if name == "id":
            continue
        if name not in _EFFECTS:
            yield f"no annotation is called @{name}; these are: @id, @{', @'.join(_EFFECTS)}"
        elif _EFFECTS[name] != effect:
            yield f"@{name} belongs on a {_EFFECTS[name]}, not on a {effect}" + (
                ": an engine that ignores it would allow; write a forbid beside the permit"
                if effect == "permit"
                else ""
            )


def _contradictions(
    rule: Rule, annotations: Mapping[str, str], is_about_see: bool, kinds: Collection[str]
) -> Iterable[str]:
    if rule.mask is not None:
        if not is_about_see:
            yield '@mask works only where the scope says `action == …::Action::"see"`'
        if rule.mask not in kinds:
            yield f"no mask is called {rule.mask!r}; these are: {', '.join(sorted(kinds))}"
        if rule.groups or rule.prompt is not None:
            yield "@mask and @approval or @justify exclude each other: one policy, one remedy"
    elif rule.groups and is_about_see:
        yield "@approval cannot cure `see`, which is asked when rows already come; approve the read"
    for name in ("approvals", "approval_ttl"):
        if name in annotations and "approval" not in annotations:
            yield f'@{name} needs @approval("group") beside it'
    if rule.deny is not None and rule.is_curable:
        yield "@deny is final; without it the remedy is offered, with it nothing is: remove one"


def _text(value: str) -> str:
    if not value.strip() or len(value) > _TEXT_LIMIT or not value.isprintable():
        # It goes to terminals and into protocol messages.
        raise _BadValueError(f"give one line of 1 to {_TEXT_LIMIT} printable characters")
    return value


def _number(value: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", value) or not 1 <= int(value) <= most:
        raise _BadValueError(f"give a whole number from 1 to {most}")
    return int(value)


_UNITS: Final[Mapping[str, float]] = {"s": 1.0, "m": 60.0, "h": 3600.0}


def _duration(value: str) -> float:
    match = re.fullmatch(r"([0-9]{1,6})([smh])", value)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 1.0 <= seconds <= _PATIENCE_LIMIT:
        raise _BadValueError('give a duration from "1s" to "24h", such as "15m"')
    return seconds


def _groups(value: str) -> frozenset[str]:
    names = [name.strip() for name in value.split(",")]
    if not all(names) or len(names) > _GROUPS_LIMIT or not value.isprintable():
        raise _BadValueError('name the groups that may approve, as in "dba,security"')
    return frozenset(names)


def _mask(value: str) -> str:
    if not value:
        raise _BadValueError('name a mask, as in "last4"')
    return value


_READERS: Final[Mapping[str, Callable[[Rule, str], Rule]]] = {
    "approval": lambda rule, value: evolve(rule, groups=_groups(value)),
    "approvals": lambda rule, value: evolve(rule, needed=_number(value, _APPROVALS_LIMIT)),
    "approval_ttl": lambda rule, value: evolve(rule, patience=_duration(value)),
    "justify": lambda rule, value: evolve(rule, prompt=_text(value)),
    "mask": lambda rule, value: evolve(rule, mask=_mask(value)),
    "deny": lambda rule, value: evolve(rule, deny=_text(value)),
    "max_rows": lambda rule, value: evolve(rule, max_rows=_number(value, _ROWS_LIMIT)),
}
_EFFECTS: Final[Mapping[str, Effect]] = {
    **{name: "permit" if name == "max_rows" else "forbid" for name in _READERS},
    **dict.fromkeys(OFFER_ANNOTATIONS, "permit"),
}
