"""A least-privilege policy from what a chain really did: text of Cedar, and caps.

Each thing that was allowed becomes part of a permit for each hop of the chain; what was refused or
held never does. Nothing is generalised unless it is asked for: the permits name the very actions
and resources. A field that was shown masked stays masked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from attrs import define, field, frozen

from hoopgw.events import Hop, Resource
from hoopgw.policy.caps import PRESENT
from hoopgw.policy.links import ENTITY_TYPES
from hoopgw.policy.lint import TARGET
from hoopgw.policy.recorded import Question
from hoopgw.terminal import printable

USES_LIMIT: Final = 20_000
"""Distinct pairs of an action and a resource that are counted; more are an error."""
_LISTED: Final = 100
"""Resources in one permit."""

Resources: TypeAlias = Literal["exact", "parent", "target"]
"""How resources are named: themselves, what they are directly in, or their target."""
Actions: TypeAlias = Literal["exact", "groups"]
"""How actions are named: themselves, or by a group of the schema that holds them."""
Use: TypeAlias = tuple[str, Resource]
"""An action and a resource."""


class TooMuchError(Exception):
    """A chain did too many different things to list them; the text says what to do."""


@define(eq=False)
class Count:
    """How often something was done."""

    times: int = 0
    last: int = 0
    """Nanoseconds since the epoch."""
    rows: int | None = 0
    """The highest limit on rows that was set; None if there was none."""

    def add(self, at: int, rows: int | None) -> None:
        """Count one."""
        self.times += 1
        self.last = max(self.last, at)
        self.rows = None if rows is None or self.rows is None else max(self.rows, rows)


@define(eq=False)
class Deeds:
    """What a chain did, from recorded questions."""

    chain: tuple[Hop, ...] | None = field(default=None, init=False)
    others: int = field(default=0, init=False)
    """Decisions on chains of the same names that are not the same."""
    allowed: int = field(default=0, init=False)
    held: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    uses: dict[Use, Count] = field(factory=dict, init=False)
    masks: dict[Resource, str] = field(factory=dict, init=False)
    """Fields that were shown masked."""

    def take(self, question: Question) -> None:
        """Look at one decision on the chain.

        Raises:
            TooMuchError: there are too many different things.

        """
        ids = tuple((hop.kind, hop.id) for hop in question.chain)
        if self.chain is None:
            self.chain = question.chain
        elif ids != tuple((hop.kind, hop.id) for hop in self.chain):
            self.others += 1
            return
        word = question.recorded.word
        if word == "review":
            self.held += 1
        elif word in ("deny", "hidden"):
            self.refused += 1
        else:
            self.allowed += 1
            self._add(question)

    def _add(self, question: Question) -> None:
        detail = question.recorded.detail
        rows = int(detail.split()[0]) if detail.endswith(" rows") else None
        for access in question.accesses:
            count = self.uses.get((access.action, access.resource))
            if count is None:
                if len(self.uses) >= USES_LIMIT:
                    raise TooMuchError(
                        f"it did more than {USES_LIMIT} different things; give a shorter --since"
                    )
                count = self.uses[access.action, access.resource] = Count()
            count.add(question.at, rows)
            if question.recorded.word == "masked":
                self.masks[access.resource] = detail


@frozen(kw_only=True)
class Suggestion:
    """A policy, and caps."""

    cedar: str
    caps: tuple[str, ...]
    """As ``hoopgw delegate --allow`` takes them: ``orders:Postgres::select,Postgres::update``."""


@frozen(kw_only=True)
class Style:
    """How a suggestion is written.

    ``groups`` are the schema's groups of actions, as `hoopgw.policy.schema.Schema.groups`.
    """

    resources: Resources = "exact"
    actions: Actions = "exact"
    group: str | None = None
    """A group of the root that the permits are for, instead of the person."""
    name: str = "suggested"
    """Begins the ids."""


def suggest(deeds: Deeds, style: Style, groups: dict[str, frozenset[str]]) -> Suggestion:
    """Write a policy that allows what was allowed.

    Raises:
        ValueError: nothing was allowed, or the root is not in the group.

    """
    chain = deeds.chain
    if chain is None or not deeds.uses:
        raise ValueError("nothing that it did was allowed")
    if style.group is not None and style.group not in chain[0].groups:
        raise ValueError(f"{chain[0].name} is not in the group {style.group}")
    writer = _Writer(chain, style, deeds, groups)
    return Suggestion(cedar="\n".join(writer.lines()), caps=tuple(_caps(writer)))


@define(eq=False)
class _Writer:
    """Writes one suggestion."""

    chain: tuple[Hop, ...]
    style: Style
    deeds: Deeds
    groups: dict[str, frozenset[str]]
    _number: int = field(default=0, init=False)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the file."""
        path = printable(" / ".join(hop.name for hop in self.chain))
        deeds = self.deeds
        yield f"// What {path} was allowed: {deeds.allowed} decisions."
        if deeds.held or deeds.refused:
            yield f"// Left out: {deeds.held} that were held, {deeds.refused} that were refused."
        for cap in _caps(self):
            yield f"// As caps: hoopgw delegate --allow {cap} ..."
        for actions, resources in self.parts():
            for start in range(0, len(resources), _LISTED):
                for number, hop in enumerate(self.chain):
                    yield ""
                    yield from self._permit(
                        hop, actions, resources[start : start + _LISTED], number
                    )
        for mask in sorted(set(deeds.masks.values())):
            fields = [r for r, kind in deeds.masks.items() if kind == mask]
            for start in range(0, len(fields), _LISTED):
                yield ""
                yield from self._mask(mask, fields[start : start + _LISTED])

    def parts(self) -> list[tuple[tuple[str, ...], list[tuple[Resource, Count]]]]:
        """Return which actions are allowed on which resources, for each set of actions."""
        merged: dict[Resource, dict[str, Count]] = {}
        for (action, resource), count in self.deeds.uses.items():
            named = merged.setdefault(self._named(resource), {})
            into = named.setdefault(self._action(action), Count())
            into.times += count.times
            into.last = max(into.last, count.last)
            into.rows = _higher(into.rows, count.rows)
        by_actions: dict[tuple[str, ...], list[tuple[Resource, Count]]] = {}
        for resource, actions in merged.items():
            counts = list(actions.values())
            whole = Count(
                sum(each.times for each in counts),
                max(each.last for each in counts),
                _highest(each.rows for each in counts),
            )
            key = tuple(sorted(actions))
            by_actions.setdefault(key, []).append((resource, whole))
        for resources in by_actions.values():
            resources.sort(key=lambda each: (each[0].type, each[0].id))
        return sorted(by_actions.items(), key=lambda each: each[0])

    def _named(self, resource: Resource) -> Resource:
        """Return the resource that a permit names for one that was used."""
        if self.style.resources == "parent" and resource.parents and resource.type != TARGET:
            return resource.parents[0]
        if self.style.resources == "target":
            return target_of(resource) or resource
        return resource

    def _action(self, action: str) -> str:
        held_by = self.groups.get(action, frozenset())
        return min(held_by) if self.style.actions == "groups" and held_by else action

    def _permit(
        self,
        hop: Hop,
        actions: Sequence[str],
        resources: Sequence[tuple[Resource, Count]],
        number: int,
    ) -> Iterator[str]:
        times = sum(count.times for _, count in resources)
        last = max(count.last for _, count in resources)
        yield f"// {times} times, last on {_day(last)}"
        yield f'@id("{self._id(hop)}")'
        rows = _highest(count.rows for _, count in resources)
        if rows and number == 0:
            yield f'@max_rows("{rows}")'
        yield "permit ("
        yield f"  {self._principal(hop, number)},"
        yield f"  action in [{', '.join(map(_action_uid, actions))}],"
        first = target_of(resources[0][0])
        place = f"context.chain.hop == {number}" if number else ""
        if len(resources) == 1:
            yield f"  resource in {_uid(resources[0][0].type, resources[0][0].id)}"
            yield f")\nwhen {{ {place} }};" if place else ");"
            return
        same = first is not None and all(target_of(each) == first for each, _ in resources)
        yield f"  resource in {_uid(first.type, first.id)}" if same and first else "  resource"
        yield ")"
        yield f"when {{ {place} }}\nwhen {{" if place else "when {"
        yield "  resource in ["
        for listed, (resource, count) in enumerate(resources):
            comma = "," if listed + 1 < len(resources) else ""
            told = f"// {count.times} times, last on {_day(count.last)}"
            yield f"    {_uid(resource.type, resource.id)}{comma}  {told}"
        yield "  ]"
        yield "};"

    def _mask(self, mask: str, fields: Sequence[Resource]) -> Iterator[str]:
        namespace = fields[0].type.rpartition("::")[0]
        yield f'@id("{self._id(self.chain[0])}")'
        yield f'@mask("{mask}")'
        yield "forbid ("
        yield "  principal,"
        yield f"  action == {_action_uid(f'{namespace}::see')},"
        yield "  resource"
        yield ")"
        names = ", ".join(_uid(each.type, each.id) for each in fields)
        yield f"when {{ resource in [{names}] }};"

    def _principal(self, hop: Hop, number: int) -> str:
        if number == 0 and self.style.group is not None:
            return f"principal in {_uid('Hoopgw::Group', self.style.group)}"
        return f"principal == {_uid(ENTITY_TYPES[hop.kind], hop.id)}"

    def _id(self, hop: Hop) -> str:
        self._number += 1
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", hop.name).strip("-.")[:30]
        return f"{self.style.name}-{self._number}-{name or 'hop'}"


def target_of(resource: Resource) -> Resource | None:
    """Return the target that a resource is, or lies in."""
    waiting = [resource]
    while waiting:
        each = waiting.pop()
        if each.type == TARGET:
            return each
        waiting += each.parents
    return None


def _caps(writer: _Writer) -> Iterator[str]:
    """Yield caps, one a target; what every cap on a target covers is left out if there is more."""
    by_target: dict[str, set[str]] = {}
    for actions, resources in writer.parts():
        for resource, _ in resources:
            target = target_of(resource)
            if target is not None:
                by_target.setdefault(target.id, set()).update(actions)
    for target_id, done in sorted(by_target.items()):
        needed = {action for action in done if action.rpartition("::")[2] not in PRESENT} or done
        yield f"{target_id}:{','.join(sorted(needed))}"


def _higher(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def _highest(rows: Iterable[int | None]) -> int | None:
    highest: int | None = 0
    for each in rows:
        highest = _higher(highest, each)
    return highest


def _day(at: int) -> str:
    try:
        return datetime.fromtimestamp(at / 1e9, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return "an unknown day"


def _action_uid(action: str) -> str:
    namespace, dots, name = action.rpartition("::")
    return _uid(f"{namespace}{dots}Action", name)


def _uid(kind: str, name: str) -> str:
    """Write an entity as Cedar does; what is not plain is escaped."""
    escaped = "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\u{{{ord(c):x}}}"
        for c in name
    )
    return f'{kind}::"{escaped}"'
