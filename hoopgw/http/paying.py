"""What goes to a client is paid for before: from the chain's budget, and from what a list may show.

A list is limited over all of its pages (`hoopgw.sessions.purses.Listing`): who asks for it by
pages, in whatever order, on however many connections, gets no more of it than who asks for all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from attrs import define, field

from hoopgw.events import Principal
from hoopgw.http.model import ExceededError
from hoopgw.sessions.purses import Budgets, Listing, Purse
from hoopgw.sessions.refusals import Refusal, RefusedError

LISTS_KEPT: Final = 32
"""Lists of one session of which what is at hand is kept for the next page."""


@define(eq=False)
class Lists:
    """The lists that one session has asked for lately."""

    _budgets: Budgets
    _principal: Principal
    _kept: OrderedDict[Listing, Purse] = field(factory=OrderedDict, init=False)
    _closed: bool = field(default=False, init=False)

    def open(self, listing: Listing) -> Purse:
        """Return what may be shown of a list now; who asked closes it."""
        if not self._closed:
            # One of our own, so that a page does not give back what the next one needs.
            before = self._kept.pop(listing, None)
            self._kept[listing] = self._budgets.listing(self._principal, listing)
            if before is not None:
                before.close()
            if len(self._kept) > LISTS_KEPT:
                _listing, oldest = self._kept.popitem(last=False)
                oldest.close()
        return self._budgets.listing(self._principal, listing)

    def close(self) -> None:
        """Give back what is at hand: the session is over."""
        self._closed = True
        while self._kept:
            _listing, purse = self._kept.popitem()
            purse.close()


@define(eq=False)
class Till:
    """Pays for one answer, piece by piece."""

    _budget: Purse | None
    """The chain's, if it has one."""
    _listing: Listing | None
    _list: Purse | None
    """Of the listing."""
    _items: int = field(default=0, init=False)
    """Paid for."""

    @property
    def is_needed(self) -> bool:
        """Whether anything of the answer must be paid for."""
        budget = self._budget
        limits = () if budget is None else map(budget.room, ("rows", "bytes"))
        return self._list is not None or any(limit is not None for limit in limits)

    async def pay(self, size: int, items: int) -> None:
        """Pay for a piece.

        Args:
            size: bytes that are to be shown now.
            items: of lists, from the beginning of the answer.

        Raises:
            RefusedError: a budget is used up.
            ExceededError: as much of the list was shown as may be.
            UnavailableError: that cannot be known now.

        """
        new, self._items = items - self._items, max(items, self._items)
        amounts = {"rows": new, "bytes": size}
        if self._budget is not None and (said := await _pay(self._budget, amounts)):
            raise RefusedError(Refusal(kind="denied", text=said, status=429))
        if self._list is not None and await _pay(self._list, amounts):
            assert self._listing is not None
            raise _shown(self._listing)

    def close(self) -> None:
        """Take note that the answer is over."""
        if self._list is not None:
            self._list.close()


async def _pay(purse: Purse, amounts: Mapping[str, int]) -> str:
    """Use amounts; return what is said if they are not there."""
    if any((room := purse.room(name)) is not None and n > room for name, n in amounts.items()):
        said = await purse.more(amounts)
        if said:
            return said
    purse.used(amounts)
    return ""


def _shown(listing: Listing) -> ExceededError:
    """Return what says that no more of a list is shown for now."""
    limits = {"items": listing.rows, "bytes": listing.bytes}
    said = " or ".join(f"{limit} {name}" for name, limit in limits.items() if limit is not None)
    window = int(listing.window)
    return ExceededError(
        f"no more of this list may be shown now: {said} in {window} seconds, of all its pages"
        " together, to all that act for one log-in's owner",
        "Ask for less: a narrower scope, fewer pages; or wait. Other page sizes, filters, sessions"
        " and agents do not add to it.",
        {
            "code": "export_limit",
            "window": window,
            **{name: limit for name, limit in limits.items() if limit is not None},
        },
    )
