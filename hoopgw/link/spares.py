"""Data connections that wait in the gateway, and sessions that wait for one.

One `Spares` per agent. Pure bookkeeping but for the waiters' deadlines: connections come and go,
and `wanted` says how many should wait. It doubles when they run out, up to `MOST`, and halves again
when half of them stay unused.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, Protocol, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from hoopgw.errors import LinkError

FEWEST: Final = 4
MOST: Final = 32
"""Idle connections of one agent."""
PATIENCE: Final = 2.0
"""Seconds that a session waits for a data connection of an agent that is not there."""
BUSY_PATIENCE: Final = 10.0
"""Seconds that it waits if the agent is there, and only slower than a crowd of sessions."""
WAITERS_LIMIT: Final = 2_000
IDLE_LIMIT: Final = 240.0
"""Seconds after which an idle connection is replaced, before a firewall forgets it."""


class Spare(Protocol):
    """A connection that can serve one session."""

    @property
    def since(self) -> float:
        """When it came."""
        ...

    def close(self) -> None:
        """End it, unused."""
        ...


S = TypeVar("S", bound=Spare)


@define(eq=False)
class Spares(Generic[S]):
    """The idle connections of one agent."""

    agent: str
    clock: IReactorTime = field(repr=False)
    wanted: int = FEWEST
    """How many the agent should keep."""
    is_connected: bool = False
    """Whether the agent's control connection stands; only for what a waiter is told."""
    _idle: deque[S] = field(factory=deque, init=False, repr=False)
    _waiters: deque[Deferred[S]] = field(factory=deque, init=False, repr=False)
    _least: int = field(default=0, init=False)

    @property
    def idle(self) -> int:
        """How many wait."""
        return len(self._idle)

    def take(self) -> Deferred[S]:
        """Return an idle connection as soon as there is one.

        Fails with `LinkError` after `PATIENCE` or `BUSY_PATIENCE`, or at once if too many wait.
        """
        waiter: Deferred[S] = Deferred(self._forget)
        if self._idle:
            # The newest: it is the likeliest to be alive.
            waiter.callback(self._idle.pop())
            self._least = min(self._least, len(self._idle))
            return waiter
        self.wanted = min(MOST, self.wanted * 2)
        if len(self._waiters) >= WAITERS_LIMIT:
            waiter.errback(LinkError(f"too many sessions wait for agent {self.agent}"))
            return waiter
        self._waiters.append(waiter)
        self._watch(waiter, self.clock.seconds() + BUSY_PATIENCE)
        return waiter

    def _watch(self, waiter: Deferred[S], end: float) -> None:
        """Look after `PATIENCE` whether the agent is there, and if it is, once more at the end."""
        left = end - self.clock.seconds()
        first = min(PATIENCE, left) if not self.is_connected else left

        def look() -> None:
            if self.is_connected and self.clock.seconds() < end:
                self._watch(waiter, end)  # it came meanwhile
                return
            self._waiters.remove(waiter)
            missing = "has no free connection" if self.is_connected else "is not connected"
            waiter.errback(LinkError(f"agent {self.agent} {missing}"))

        looking = self.clock.callLater(max(0.0, first), look)

        def stop(result: S) -> S:
            if looking.active():
                looking.cancel()
            return result

        waiter.addBoth(stop)

    def add(self, spare: S) -> bool:
        """Take a new connection in; False if there are enough of them."""
        if self._waiters:
            self._waiters.popleft().callback(spare)
            return True
        if len(self._idle) >= MOST:
            return False
        self._idle.append(spare)
        return True

    def remove(self, spare: S) -> None:
        """Forget a connection that was lost while it waited."""
        if spare in self._idle:
            self._idle.remove(spare)

    def close(self) -> None:
        """Close all that wait: their agent has gone."""
        idle, self._idle = self._idle, deque()
        for spare in idle:
            spare.close()

    def tick(self) -> None:
        """Now and then: want fewer if half of them were never used, and close what is too old."""
        if self._least > self.wanted // 2 and self.wanted > FEWEST:
            self.wanted = max(FEWEST, self.wanted // 2)
        now = self.clock.seconds()
        old = [s for s in self._idle if now - s.since > IDLE_LIMIT]
        extra = max(0, len(self._idle) - len(old) - self.wanted)
        young = [s for s in self._idle if now - s.since <= IDLE_LIMIT]
        for spare in [*old, *young[:extra]]:
            self._idle.remove(spare)
            spare.close()
        self._least = len(self._idle)

    def _forget(self, waiter: Deferred[S]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
