"""Time that does not go back: setting a clock back must not make anything live longer."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from attrs import define, field

UNEVEN: Final = 30.0
"""Seconds that a clock may be set by without being doubted."""


@define(eq=False)
class ForwardClock:
    """Gives the later of the clock on the wall, and of what has passed since it was last seen.

    Args:
        wall: seconds since the epoch, which somebody may set.
        steady: seconds since whenever, which nobody can set.

    """

    _wall: Callable[[], float]
    _steady: Callable[[], float]
    _seen: float = field(init=False)
    _at: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._seen, self._at = self._wall(), self._steady()

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        # Asked in each turn of a worker's reactor, so it is written for speed.
        at, wall = self._steady(), self._wall()
        seen = self._seen + at - self._at
        self._at = at
        self._seen = seen = wall if wall > seen else seen
        return seen

    def is_at_least(self, time: float) -> None:
        """Take it that a time has passed: something that is kept bears it."""
        self._seen = max(self(), time)


@define(eq=False)
class EvenClock:
    """Tells whether the clock on the wall has run evenly for a while, so that it can be believed.

    Args:
        wall: seconds since the epoch, which somebody may set.
        steady: seconds since whenever, which nobody can set.

    """

    _wall: Callable[[], float]
    _steady: Callable[[], float]
    _since: float = field(init=False)
    _last: tuple[float, float] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._last = self._wall(), self._steady()
        self._since = self._last[1]

    def jump(self) -> float:
        """Return by how much it was set, in seconds, since this was last asked; 0 if hardly."""
        wall, at = self._wall(), self._steady()
        jumped = (wall - self._last[0]) - (at - self._last[1])
        self._last = wall, at
        if abs(jumped) <= UNEVEN:
            return 0.0
        self._since = at
        return jumped

    @property
    def seconds(self) -> float:
        """Return for how long it has run evenly, as far as `jump` has seen."""
        return self._last[1] - self._since


steady: Final[Callable[[], float]] = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
"""Returns seconds that nobody can set, and that go on while the machine sleeps."""


def go_forward(reactor: Any) -> ForwardClock:
    """Let the time of a process's reactor not go back, and return its clock.

    Twisted's own reactors go by the clock on the wall: set back by an hour, it makes every timer an
    hour late, and with them the end of every session. Call it before the reactor runs.
    """
    if isinstance(reactor.seconds, ForwardClock):
        return reactor.seconds
    # Cheaper than `steady`; while the machine sleeps, the wall's goes on.
    clock = ForwardClock(reactor.seconds, time.monotonic)
    # Twisted asks the reactor itself for the time, in timers that it makes later too.
    reactor.seconds = clock
    return clock
