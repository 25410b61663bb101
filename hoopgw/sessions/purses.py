"""What sessions pay from where a hop of their chain was given a budget. A part of `hoopgw.spi`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from attrs import field, frozen
from attrs.validators import gt
from twisted.internet.defer import Deferred

from hoopgw.events import Principal


class Purse(Protocol):
    """What one session may still use, if some hop of its chain was given a budget."""

    def spend(self, names: Sequence[str]) -> bool:
        """Use one of each amount (`hoopgw.events.AMOUNTS`) at once, if it is at hand.

        An amount that is named several times is used so often.

        False where `fund` must be asked; False, too, if rows or bytes are used up.
        """
        ...

    def fund(self, names: Sequence[str]) -> Deferred[str]:
        """Use one of each amount, after asking for more.

        Fires with nothing, or with a text for the caller that says whose budget is used up. Fails
        with `UnavailableError` if that cannot be known now.
        """
        ...

    def room(self, name: str) -> int | None:
        """Return how much is at hand; None is no limit.

        What is at hand has been charged: a worker that dies has not used more than is counted.
        """
        ...

    def more(self, amounts: Mapping[str, int]) -> Deferred[str]:
        """Have so much of each amount at hand, for an answer that is under way.

        Fires with nothing if it is; otherwise with a text for the caller that says whose budget is
        used up, and all that this has left is at hand. Fails with `UnavailableError` if that cannot
        be known now.
        """
        ...

    def used(self, amounts: Mapping[str, int]) -> None:
        """Count what goes to the client now: rows and bytes of an answer."""
        ...

    def close(self) -> None:
        """Take note that the session is over."""
        ...


@frozen(kw_only=True)
class Listing:
    """One list of a target, and how much of it may be shown in a while, page by page."""

    target: str
    name: str
    """What tells it from the target's other lists, and is the same for all of its pages."""
    rows: int | None = None
    """Items; None is no limit."""
    bytes: int | None = None
    window: float = field(validator=gt(0.0))
    """Seconds: in any of that length no more is shown."""


class Budgets(Protocol):
    """Where budgets are charged."""

    def open(self, principal: Principal) -> Purse | None:
        """Return what a new session may use; None, and nothing to do, if there is no budget."""
        ...

    def listing(self, principal: Principal, listing: Listing) -> Purse:
        """Return what may be shown of a list now, to all that descend from a principal's root.

        Each holder closes its own. It is of the moment: ask again for each answer.
        """
        ...
