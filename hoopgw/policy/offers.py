"""What may be asked for: the annotations that make a Cedar template a grant.

A template is in force for nobody. One with ``@grant("name")`` may be linked for a chain and a
target once people of ``@grant_approval`` agree; one with ``@breakglass("group")`` by members of
that group themselves, and those people look at it afterwards. An engine that does not know of this
links nothing, and so allows nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final, cast

from attrs import frozen
from cedarpy import pst

from hoopgw.events import Hop
from hoopgw.grants.held import SCOPES, Scope
from hoopgw.policy.annotations import OFFER_ANNOTATIONS
from hoopgw.policy.lint import target_of

GRANT: Final = "grant"
BREAKGLASS: Final = "breakglass"
LIMIT_LONGEST: Final = 24 * 3600.0
"""Seconds that a grant may be for, whatever its template says; of one that breaks glass less."""
BREAKGLASS_LONGEST: Final = 4 * 3600.0
LIMIT_USUAL: Final = 3600.0
"""Seconds, where a template says nothing: no grant is without end."""
_APPROVALS_MOST: Final = 9
_GROUPS_MOST: Final = 20
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_UNITS: Final[Mapping[str, float]] = {"s": 1.0, "m": 60.0, "h": 3600.0}


@frozen(kw_only=True)
class Offer:
    """What a template offers, and on which terms."""

    name: str
    """What it is asked for by."""
    template: str
    """The template's ``@id``."""
    terms: str
    """Digest of its text: a grant ends when its template is changed."""
    approvers: frozenset[str]
    """Groups whose members approve; of what breaks glass, who look at it afterwards."""
    needed: int = 1
    limit: float = LIMIT_USUAL
    """Seconds that it may be asked for, at most."""
    scopes: frozenset[Scope] = frozenset({"window"})
    requesters: frozenset[str] = frozenset()
    """Groups that the root must be in to ask for it; empty: anybody may."""
    breakglass: frozenset[str] = frozenset()
    """Groups whose members take it themselves; empty: it is an ordinary grant."""
    target: str | None = None
    """The one target that it is for, if it names one itself."""
    slots: frozenset[str] = frozenset()
    """What is filled in: ``?principal``, and ``?resource`` if it names no target."""

    def refuses(self, chain: tuple[Hop, ...], target: str) -> str | None:
        """Say why a chain cannot have it for a target, or None if it can ask."""
        if self.target not in (None, target):
            return f"{self.name} is for {self.target} only"
        if self.breakglass:
            if len(chain) > 1 or chain[0].kind != "person":
                return "only a person who acts directly breaks glass, not an agent or a workload"
            if not self.breakglass & chain[0].groups:
                return f"only members of these groups may: {', '.join(sorted(self.breakglass))}"
        elif self.requesters and not self.requesters & chain[0].groups:
            return f"only members of these groups may ask: {', '.join(sorted(self.requesters))}"
        return None


def digest_of(text: str) -> str:
    """Return what a template's text is known by."""
    return hashlib.sha256(b"hoopgw/grant-terms/v1\0" + text.encode()).hexdigest()[:32]


def is_offer(annotations: Collection[str]) -> bool:
    """Whether a policy says that it may be asked for."""
    return GRANT in annotations or BREAKGLASS in annotations


def read_offer(
    rule: str, text: str, policy: pst.Template, *, is_template: bool
) -> tuple[Offer | None, list[str]]:
    """Return what a policy offers, and what is wrong with how it says so.

    Args:
        rule: its ``@id``.
        text: its exact text.
        policy: the same in Cedar's tree.
        is_template: whether it has slots.

    """
    annotations = policy.annotations
    problems = list(_misused(annotations, is_template=is_template))
    if problems or not is_offer(annotations):
        return None, problems
    problems += _scope_problems(policy)
    breaks = BREAKGLASS in annotations
    name = annotations.get(GRANT) or rule
    if not _NAME.fullmatch(name):
        problems.append(f'@grant("{name[:40]}"): {_SAY_NAME}')
    values = _Values(annotations, problems)
    longest = BREAKGLASS_LONGEST if breaks else LIMIT_LONGEST
    offer = Offer(
        name=name,
        template=rule,
        terms=digest_of(text),
        approvers=values.groups("grant_approval"),
        needed=values.number("grant_approvals"),
        limit=values.duration("grant_limit", longest),
        scopes=values.scopes(),
        requesters=values.groups("grant_for"),
        breakglass=values.groups(BREAKGLASS),
        target=target_of(policy),
        slots=_slots(policy),
    )
    return (None if problems else offer), problems


_SAY_NAME: Final = "give a name of small letters, digits, '.', '_' and '-'"


def _misused(annotations: Mapping[str, str], *, is_template: bool) -> Iterator[str]:
    used = [name for name in OFFER_ANNOTATIONS if name in annotations]
    if used and not is_offer(annotations):
        yield f'@{used[0]} needs @grant("name") or @breakglass("group") beside it'
        return
    if used and not is_template:
        yield (
            f"@{used[0]} belongs on a template: write `principal == ?principal`, or it holds for "
            "everybody at all times"
        )
    if used and "grant_approval" not in annotations:
        yield 'name who approves (or looks at it afterwards), as in @grant_approval("dba")'
    if BREAKGLASS in annotations:
        for name in ("grant_approvals", "grant_for", "grant_scopes"):
            if name in annotations:
                yield f"@{name} says nothing beside @breakglass, which asks nobody beforehand"


def _scope_problems(policy: pst.Template) -> Iterator[str]:
    if policy.effect != "permit":
        yield "a grant is a permit; a forbid for a while is a policy with `context.now`"
    slots = _slots(policy)
    if "?principal" not in slots:
        yield "its scope must say `principal == ?principal`, or it would be granted to everybody"
    match policy.resource:
        case pst.ScopeIn(entity=pst.Slot()) | pst.ScopeIsIn(entity=pst.Slot()):
            pass
        case _ if target_of(policy) is None:
            yield (
                "its scope must say `resource in ?resource`, or name one target: "
                '`resource in Hoopgw::Target::"orders"`'
            )


def _slots(policy: pst.Template) -> frozenset[str]:
    found = set()
    for name, scope in (("?principal", policy.principal), ("?resource", policy.resource)):
        if isinstance(getattr(scope, "entity", None), pst.Slot):
            found.add(name)
    return frozenset(found)


class _Values:
    """Reads values of annotations; what is wrong is added to the problems."""

    def __init__(self, annotations: Mapping[str, str], problems: list[str]) -> None:
        self._annotations = annotations
        self._problems = problems

    def groups(self, name: str) -> frozenset[str]:
        """Read names of groups; none if it is not there."""
        value = self._annotations.get(name)
        if value is None:
            return frozenset()
        names = [each.strip() for each in value.split(",")]
        if not all(names) or len(names) > _GROUPS_MOST or not value.isprintable():
            self._wrong(name, value, 'name groups, as in "dba,security"')
        return frozenset(names)

    def number(self, name: str) -> int:
        """Read how many persons are needed; one if it is not there."""
        value = self._annotations.get(name, "1")
        if not re.fullmatch(r"[1-9]", value):
            self._wrong(name, value, f"give a number from 1 to {_APPROVALS_MOST}")
            return 1
        return int(value)

    def duration(self, name: str, longest: float) -> float:
        """Read seconds; `LIMIT_USUAL` if it is not there."""
        value = self._annotations.get(name)
        if value is None:
            return LIMIT_USUAL
        seconds = seconds_of(value)
        if seconds is None or not 1.0 <= seconds <= longest:
            self._wrong(name, value, f'give a duration up to "{longest / 3600:.0f}h", as "30m"')
            return LIMIT_USUAL
        return seconds

    def scopes(self) -> frozenset[Scope]:
        """Read what it may be granted for; a window of time if it is not there."""
        value = self._annotations.get("grant_scopes", "window")
        names = [each.strip() for each in value.split(",")]
        if not all(name in SCOPES for name in names):
            self._wrong("grant_scopes", value, f"name some of: {', '.join(SCOPES)}")
            return frozenset({"window"})
        return frozenset(cast("list[Scope]", names))

    def _wrong(self, name: str, value: str, fix: str) -> None:
        self._problems.append(f'@{name}("{value[:40]}"): {fix}')


def seconds_of(text: str) -> float | None:
    """Return the seconds of a duration such as ``15m``, or None if it is none."""
    match = re.fullmatch(r"([0-9]{1,6})([smh])", text)
    return None if match is None else float(match[1]) * _UNITS[match[2]]
