"""Templates of a policy set, filled in for somebody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from attrs import frozen

from hoopgw.events import Hop, HopKind
from hoopgw.grants.held import HeldGrant
from hoopgw.policy.lint import TARGET
from hoopgw.policy.offers import Offer

ENTITY_TYPES: Final[Mapping[HopKind, str]] = {
    "person": "Hoopgw::Person",
    "workload": "Hoopgw::Workload",
    "agent": "Hoopgw::Agent",
}
"""What a hop is to Cedar."""
IF_GRANTED: Final = "?"
"""Stands for the id of a grant that nobody has, to see what it would change."""


@frozen(kw_only=True, cache_hash=True)
class Link:
    """One template, for one hop and one target."""

    template: str
    """The ``@id`` of the template."""
    grant: str
    hop: tuple[HopKind, str]
    """Kind and id."""
    target: str
    slots: frozenset[str]

    @property
    def rule(self) -> str:
        """What the linked policy is called in verdicts: the template's name, and the grant's."""
        return f"{self.template}/{self.grant}"

    def values(self) -> dict[str, dict[str, str]]:
        """Return what the slots stand for: never a group, and never more than the one target."""
        kind, name = self.hop
        filled = {
            "?principal": {"type": ENTITY_TYPES[kind], "id": name},
            "?resource": {"type": TARGET, "id": self.target},
        }
        return {slot: filled[slot] for slot in self.slots}


def grant_of(rule: str) -> str:
    """Return the grant by which a rule of a verdict holds; empty for a policy of the files."""
    return rule.partition("/")[2]


def links_of(grants: Iterable[HeldGrant], offers: Mapping[str, Offer]) -> tuple[Link, ...]:
    """Link grants, for each hop that they were given to.

    A grant is left out whose template is gone, or is not any more what was approved.

    Args:
        grants: in force for a principal.
        offers: of the policy set, by the template's ``@id``.

    """
    return tuple(link for grant in grants for link in _links(grant, offers.get(grant.template)))


def _links(grant: HeldGrant, offer: Offer | None) -> Iterator[Link]:
    if offer is None or offer.terms != grant.terms or offer.target not in (None, grant.target):
        return
    if bool(offer.breakglass) != grant.breakglass:
        return
    for hop in grant.chain:
        yield Link(
            template=offer.template,
            grant=grant.id,
            hop=hop,
            target=grant.target,
            slots=offer.slots,
        )


def links_if_granted(offer: Offer, chain: Iterable[Hop], target: str) -> tuple[Link, ...]:
    """Link what a grant of an offer to this very chain would."""
    return tuple(
        Link(
            template=offer.template,
            grant=IF_GRANTED,
            hop=(hop.kind, hop.id),
            target=target,
            slots=offer.slots,
        )
        for hop in chain
    )
