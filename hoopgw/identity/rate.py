"""A limit on how often one address may ask: a bucket that drains at a steady rate. Pure."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

from attrs import define, field

ADDRESSES_LIMIT: Final = 10_000
"""Addresses that are remembered; the one that was quiet longest is forgotten first."""


@define(eq=False)
class RateLimit:
    """One for each thing that is limited."""

    burst: float
    """Cost that an address may cause at once."""
    per_second: float
    """Cost that is forgiven each second."""
    _levels: OrderedDict[str, tuple[float, float]] = field(factory=OrderedDict, init=False)

    def allows(self, address: str, cost: float, now: float) -> bool:
        """Say whether so much could be charged; nothing is."""
        return self._level(network_of(address), now) + cost <= self.burst

    def charge(self, address: str, cost: float, now: float) -> bool:
        """Say whether an address may go on, and if so, add the cost.

        Args:
            address: of the caller; IPv6 counts by its network of 64 bits.
            cost: what the request costs; one that failed may cost more afterwards.
            now: seconds, of any clock.

        """
        key = network_of(address)
        level = self._level(key, now)
        self._levels.pop(key, None)  # it goes to the end
        allowed = level + cost <= self.burst
        self._levels[key] = (level + cost if allowed else level, now)
        if len(self._levels) > ADDRESSES_LIMIT:
            self._levels.popitem(last=False)
        return allowed

    def _level(self, key: str, now: float) -> float:
        level, at = self._levels.get(key, (0.0, now))
        return max(0.0, level - max(0.0, now - at) * self.per_second)


def network_of(address: str) -> str:
    """Return what counts as one caller: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
