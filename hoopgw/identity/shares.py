"""What each generation of a chain may use of a limit that a log-in, or a root, shares. Pure.

A limit that a person shares with all that descends from them would let the last agent of a chain
use up what those above it need: to ask, to log in, to end it. So all that is one generation below
may together use three quarters of it, all that is two below three quarters of that, and so on. What
a member and all below it can use is then never all that those above have.

Siblings share: what one of them uses, the others of its generation have not.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from attrs import define, field

from hoopgw.events import Principal
from hoopgw.identity.rate import RateLimit
from hoopgw.identity.tokens import CHAIN_LIMIT

_KEPT: Final = 0.75
"""What a generation has of the one above it."""


def share(limit: int, generation: int) -> int:
    """Return what all of a generation, and of those below it, may use; the root's is 0.

    At least one: below about ten, neighbouring generations may have the same.
    """
    return max(1, int(limit * _KEPT**generation))


def shares(limit: int, generation: int) -> tuple[int, ...]:
    """Return the share of each generation down to this one, the root's first."""
    return tuple(share(limit, each) for each in range(generation + 1))


def has_already(root: str, limit: int, generation: int, what: str) -> str:
    """Say that a generation has its share of what a root may have."""
    if not generation:
        return f"{root} has {limit} {what} already, the limit"
    return f"{root}'s agents have {share(limit, generation)} {what} already, their share"


def generation_of(principal: Principal) -> int:
    """Return how many delegations a principal is away from its root."""
    return len(principal.nodes)


@define(eq=False)
class SharedCount:
    """How many of something members of a chain have at one time."""

    limit: int
    """For all that share it."""
    _there: Counter[tuple[str, int]] = field(factory=Counter, init=False)
    """Owner and generation to what this and those below it have."""

    def __len__(self) -> int:
        return len(self._there)

    def exceeded(self, owner: str, principal: Principal) -> int | None:
        """Return the generation that has its share already, so that a principal gets no more.

        Args:
            owner: what they share it by: the root's id, or the log-in's.
            principal: who wants one.

        """
        for generation, limit in enumerate(shares(self.limit, generation_of(principal))):
            if self._there[owner, generation] >= limit:
                return generation
        return None

    def add(self, owner: str, principal: Principal) -> None:
        """Count one more."""
        generations = range(generation_of(principal) + 1)
        self._there.update((owner, generation) for generation in generations)

    def remove(self, owner: str, principal: Principal) -> None:
        """Count one less."""
        for generation in range(generation_of(principal) + 1):
            self._there[owner, generation] -= 1
            if not self._there[owner, generation]:
                del self._there[owner, generation]


@define(eq=False)
class SharedRate:
    """A limit on how often members of a chain may ask: a bucket for each generation."""

    burst: float
    """Cost that all together may cause at once."""
    per_second: float
    """Cost that is forgiven each second."""
    _limits: list[RateLimit] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        parts = [_KEPT**generation for generation in range(CHAIN_LIMIT)]
        self._limits = [RateLimit(self.burst * part, self.per_second * part) for part in parts]

    def charge(self, owner: str, principal: Principal, cost: float, now: float) -> bool:
        """Say whether a principal may go on, and if so, add the cost for it and all above it.

        Args:
            owner: what they share it by: the root's id, or the log-in's.
            principal: who asks.
            cost: what it costs.
            now: seconds, of any clock.

        """
        limits = self._limits[: generation_of(principal) + 1]
        if not all(limit.allows(owner, cost, now) for limit in limits):
            return False
        for limit in limits:
            limit.charge(owner, cost, now)
        return True
