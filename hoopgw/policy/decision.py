"""The decision on one operation, as values.

`Deny` wins over `Review`, which wins over `Allow`; no opinion at all is `Deny`, and so is a policy
that errs. Masks outlive a review. ``match`` on a `Decision`: mypy says which case was forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from attrs import field, frozen
from attrs.validators import ge, min_len

from hoopgw.grants.held import HeldGrant


@frozen(kw_only=True)
class Allow:
    """Pass the operation on."""

    max_rows: int | None = None
    """End the answer with an error after this many rows; None is no limit."""


@frozen(kw_only=True)
class Remedy:
    """One approval that would cure a refusal."""

    rule: str
    """The policy's ``@id``."""
    groups: frozenset[str] = field(validator=min_len(1))
    """Who may approve: a member of any of them."""
    needed: int = field(default=1, validator=ge(1))
    """Distinct persons."""
    patience: float = 900.0
    """Seconds that the request waits for people."""
    prompt: str | None = None
    """What the requester is asked to state, if a justification is required."""


@frozen(kw_only=True)
class Review:
    """Hold the operation until every remedy is given."""

    remedies: tuple[Remedy, ...] = field(validator=min_len(1))
    max_rows: int | None = None

    def covers(self, other: Review) -> bool:
        """Whether who has approved this has approved what another one asks.

        Each of its remedies was asked here: of the same people or fewer groups, and as many of
        them or more.
        """
        return all(
            any(_is_no_less(mine, each) for mine in self.remedies) for each in other.remedies
        )


def _is_no_less(given: Remedy, asked: Remedy) -> bool:
    return (
        given.rule == asked.rule and given.groups <= asked.groups and given.needed >= asked.needed
    )


@frozen(kw_only=True)
class Use:
    """A grant that would allow a refused operation, if it can be used for it.

    Only control can say so, because it counts: a grant for one call is used up, one for one session
    is claimed.
    """

    grant: str
    digest: bytes | None = field(default=None, repr=lambda d: d.hex() if d else "None")
    """Of the one operation that it is for; None if it is for a session."""
    max_rows: int | None = None
    """As `Allow`'s, once it is used."""
    because: tuple[str, ...] = ()


@frozen(kw_only=True)
class Deny:
    """Refuse the operation."""

    reason: str
    """Shown to the principal; holds nothing that it does not know already."""
    uses: tuple[Use, ...] = ()
    """Who does not know of them refuses, which is right without them."""


Decision: TypeAlias = Allow | Review | Deny


@frozen(kw_only=True)
class Verdict:
    """A decision, and how it came about, for the recording."""

    decision: Decision
    because: tuple[str, ...] = ()
    """The ``@id`` of the policies that decided."""
    policy: str = ""
    """Version of the policy set: the first 16 hex digits of SHA-256 over its files."""
    errors: tuple[str, ...] = ()
    """What Cedar reported as erring; never empty without the decision being `Deny`."""
    held: tuple[HeldGrant, ...] = ()
    """What the principal held when this was judged, whether or not it made a difference."""
    now: int = 0
    """The time that policy saw, in seconds since the epoch; 0 if no policy reads it."""
    grants: tuple[str, ...] = ()
    """Ids of the grants without which it would be refused."""
    strict: bool = False
    """It is allowed because glass was broken: its intent must survive a power loss before it
    runs."""
    cures: tuple[str, ...] = ()
    """Names of what the principal could ask for, each of which would cure the refusal."""
    breakglass: tuple[str, ...] = ()
    """The same of what the principal could take itself, in an emergency."""


@frozen(kw_only=True)
class Sight:
    """How one labelled field is shown to one principal."""

    mask: str | None
    """Mask kind (`hoopgw.masking`), or None for the clear value."""
    because: tuple[str, ...] = ()


@frozen(kw_only=True)
class Hidden:
    """A labelled field that the principal may not even see masked."""

    reason: str
    because: tuple[str, ...] = ()


Sights: TypeAlias = Mapping[str, Sight | Hidden]
"""Resource id of the field to how it is shown."""
