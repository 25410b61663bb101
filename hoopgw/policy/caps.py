"""What the hops of a chain were narrowed to, by whoever delegated: asked before any policy. Pure.

A hop without caps is no narrower than its parent. For a hop with caps, each access needs one that
covers it: its target is the access's (or ``*``), and it holds the action, a group of the schema
that holds the action, or ``*``. Every hop is asked, so a chain may do what all of its caps allow
together, whatever a child was promised. `PRESENT` needs no more than some cap on that target: to
connect and to be shown what one reads is part of doing anything there at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen

from hoopgw.events import Access, Cap, Hop, Resource
from hoopgw.policy.lint import SEE, TARGET

CAPS: Final = "hoopgw:caps"
"""Stands where a policy's ``@id`` does, if caps refused; no ``@id`` has a colon."""
ANY: Final = "*"
PRESENT: Final = frozenset({"connect", SEE})
"""The actions, in each protocol's namespace, that any cap on the target covers."""
_SHOWN_LIMIT: Final = 4
"""Caps in the text of one refusal."""

ActionGroups = Mapping[str, frozenset[str]]
"""An action with its namespace, to all groups that hold it."""


@frozen(kw_only=True)
class Uncovered:
    """An access that the caps of a hop do not cover."""

    hop: Hop
    parent: str
    """The name of who narrowed it."""
    access: Access

    def __str__(self) -> str:
        """Say whose caps lack what, for the principal."""
        name, caps = self.hop.name, self.hop.caps or ()
        places = sorted(targets_of(self.access.resource)) or ["no target"]
        shown = [f"{', '.join(sorted(cap.actions))} on {cap.target}" for cap in caps[:_SHOWN_LIMIT]]
        more = ["more"] if len(caps) > _SHOWN_LIMIT else []
        held = "; ".join([*shown, *more]) or "nothing at all"
        return (
            f"the caps that {self.parent} gave {name} do not cover {self.access.action} on"
            f" {', '.join(places)}; they hold {held}"
        )


def uncovered(
    groups: ActionGroups, chain: Sequence[Hop], accesses: Sequence[Access]
) -> Uncovered | None:
    """Return the first access that the caps of some hop do not cover, root first; None if all."""
    for number, hop in enumerate(chain):
        if hop.caps is None:
            continue
        for access in accesses:
            if not is_covered(groups, hop.caps, access):
                parent = chain[number - 1].name if number else "its issuer"
                return Uncovered(hop=hop, parent=parent, access=access)
    return None


def is_covered(groups: ActionGroups, caps: Sequence[Cap], access: Access) -> bool:
    """Whether one of the caps covers an access."""
    targets = targets_of(access.resource)
    there = [cap for cap in caps if cap.target == ANY or cap.target in targets]
    if access.action.rpartition("::")[2] in PRESENT:
        return bool(there)
    wanted = {ANY, access.action, *groups.get(access.action, ())}
    return any(not wanted.isdisjoint(cap.actions) for cap in there)


def targets_of(resource: Resource) -> frozenset[str]:
    """Return the names of the targets that a resource is or lies in."""
    return frozenset(_targets(resource))


def _targets(resource: Resource) -> Iterator[str]:
    if resource.type == TARGET:
        yield resource.id
    for parent in resource.parents:
        yield from _targets(parent)
