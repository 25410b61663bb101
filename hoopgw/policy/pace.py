"""How fast refusals may be explained, for each root: to find what would cure one costs questions.

Who is refused may ask for something else at once, and again; each time the worker looks what would
help, and does nothing else meanwhile. So there are so many questions for a root, and for all that
it has started, and so many more each second. When they are used up, refusals name no cures for a
while; what is allowed, and what is refused, stays the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field

from hoopgw.policy.cache import Recent

BURST: Final = 2000
"""Questions at once; about 60 microseconds each, and more with many policies."""
RATE: Final = 40.0
"""Questions more in a second."""
_ROOTS: Final = 10_000
"""Roots that are remembered, those that were refused last."""


@define(eq=False)
class Pace:
    """Keeps count.

    Args:
        time: gives seconds since the epoch.

    """

    _time: Callable[[], float]
    _left: Recent[str, tuple[float, float]] = field(factory=lambda: Recent(_ROOTS), init=False)
    """By root: what was left, and when."""

    def room(self, root: str) -> int:
        """Return how many questions there are for a root now."""
        return int(self._now(root, self._time()))

    def used(self, root: str, questions: int) -> None:
        """Take note of what was used."""
        if questions:
            now = self._time()
            self._left.put(root, (max(0.0, self._now(root, now) - questions), now))

    def _now(self, root: str, now: float) -> float:
        found = self._left.get(root)
        if found is None:
            return float(BURST)
        left, at = found
        return min(float(BURST), left + max(0.0, now - at) * RATE)
