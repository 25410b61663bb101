"""How many clients may be connected at once: together, and from one address. Pure."""

from __future__ import annotations

from collections import Counter

from attrs import define, field, frozen
from attrs.validators import gt

from hoopgw.identity.rate import network_of


@frozen(kw_only=True)
class DoorLimits:
    """Connections at once."""

    total: int = field(default=4_096, validator=gt(0))
    """One over TLS takes some 50 KB."""
    address: int = field(default=1_024, validator=gt(0))
    """From one address, behind which there may be many runners: more than any of them needs."""


@define(eq=False)
class Doors:
    """Counts who is in."""

    limits: DoorLimits = field(factory=DoorLimits)
    _inside: Counter[str] = field(factory=Counter, init=False)
    _total: int = field(default=0, init=False)

    def enter(self, address: str) -> bool:
        """Let one more in, if there is room for it; then it `leave`s."""
        key = network_of(address)
        if self._total >= self.limits.total or self._inside[key] >= self.limits.address:
            return False
        self._inside[key] += 1
        self._total += 1
        return True

    def leave(self, address: str) -> None:
        """Take note that one is gone."""
        key = network_of(address)
        self._total -= 1
        self._inside[key] -= 1
        if not self._inside[key]:
            del self._inside[key]
