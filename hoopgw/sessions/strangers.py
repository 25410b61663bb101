"""Connections that have not logged in yet: how many, and who has to go when there are too many.

Whoever can reach the port can open connections and say nothing. A plain limit would let one host
keep everybody out for the length of the log-in's deadline. So when the limit is reached, the oldest
connection of the host that has most of them is closed: whoever fills the house loses, and a log-in,
which takes milliseconds, is hardly ever the oldest. With IPv6, where any host has as many addresses
as it likes, its network counts.
"""

from __future__ import annotations

from typing import Final, Protocol

from attrs import define, field

from hoopgw.identity.rate import network_of

LIMIT: Final = 500
"""Connections that may be logging in at once."""


class Stranger(Protocol):
    """A connection of somebody who has not logged in."""

    def turn_away(self) -> None:
        """Close at once; `Strangers.left` must be called before this returns, or soon."""
        ...


@define(eq=False)
class Strangers:
    """The connections of one listener that are logging in."""

    limit: int = LIMIT
    limit_per_address: int = LIMIT
    _by_address: dict[str, dict[Stranger, None]] = field(factory=dict, init=False, repr=False)
    """In the order in which they came."""
    _count: int = field(default=0, init=False)

    def __len__(self) -> int:
        return self._count

    def came(self, address: str, stranger: Stranger) -> None:
        """Let one in; another has to go if there are too many."""
        here = self._by_address.setdefault(network_of(address), {})
        here[stranger] = None
        self._count += 1
        if len(here) > self.limit_per_address:
            next(iter(here)).turn_away()
        elif self._count > self.limit:
            crowd = max(self._by_address.values(), key=len)
            next(iter(crowd)).turn_away()

    def left(self, address: str, stranger: Stranger) -> None:
        """Forget one: it has logged in, or is gone. Harmless if it is not known."""
        address = network_of(address)
        here = self._by_address.get(address)
        if here is None or stranger not in here:
            return
        del here[stranger]
        self._count -= 1
        if not here:
            del self._by_address[address]
