"""Who waits for which review: a request without anybody waiting is withdrawn.

A waiter is a worker's connection. It says every few seconds which requests it waits for; silence
of `SILENCE` seconds, or the loss of the connection, ends its wait. After a restart nobody is known
to wait for the requests that survived in the store, so each gets that time from the start on.
Nothing of this is stored: a heartbeat is no reason to write to a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Final

from attrs import define, field

SILENCE: Final = 15.0
"""Seconds without a sign of life after which nobody waits any more."""

GONE: Final = "whoever asked does not wait any more"


@define(eq=False)
class Attendance:
    """Keeps the waiters of each request."""

    _now: Callable[[], float]
    _waiters: dict[str, dict[Hashable, float]] = field(factory=dict, init=False)
    """Request to its waiters to when each was last heard of."""

    def expect(self, requests: Iterable[str]) -> None:
        """Give somebody time to come back to these requests, after a restart."""
        for request in requests:
            self._waiters.setdefault(request, {})[None] = self._now()

    def seen(self, request: str, waiter: Hashable) -> None:
        """Note that a waiter waits."""
        waiters = self._waiters.setdefault(request, {})
        waiters.pop(None, None)  # somebody has come back
        waiters[waiter] = self._now()

    def is_waiting(self, request: str, waiter: Hashable) -> bool:
        """Whether a waiter is known to wait."""
        return waiter in self._waiters.get(request, {})

    def left(self, request: str, waiter: Hashable) -> bool:
        """Note that a waiter does not wait; say whether nobody does now."""
        waiters = self._waiters.get(request)
        if waiters is None or waiter not in waiters:
            return False
        del waiters[waiter]
        if not waiters:
            del self._waiters[request]
        return not waiters

    def lost(self, waiter: Hashable) -> list[str]:
        """Note that a waiter is gone; return the requests that nobody waits for now."""
        return [request for request in list(self._waiters) if self.left(request, waiter)]

    def silent(self) -> list[str]:
        """Drop waiters that were not heard of; return the requests that nobody waits for now."""
        oldest = self._now() - SILENCE
        return [
            request
            for request, waiters in list(self._waiters.items())
            for waiter, seen in list(waiters.items())
            if seen <= oldest and self.left(request, waiter)
        ]

    def waiters(self, request: str) -> list[Hashable]:
        """Return who waits for a request."""
        return [waiter for waiter in self._waiters.get(request, {}) if waiter is not None]

    def forget(self, request: str) -> None:
        """Drop a request that is settled."""
        self._waiters.pop(request, None)
