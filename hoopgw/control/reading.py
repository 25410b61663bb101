"""Work that reads files, done away from the reactor, by few threads and with a limit.

The threads are their own: whoever replays long sessions must not keep the reactor's threads, which
look up host names for the token endpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from hoopgw.errors import UnavailableError

THREADS: Final = 4
WAITING_LIMIT: Final = 32
"""Calls that may be under way or wait for a thread."""

T = TypeVar("T")


@define(eq=False)
class ReadingRoom:
    """Calls functions in threads. `start` it, and `stop` it at the end."""

    _reactor: Any
    _pool: ThreadPool = field(factory=lambda: ThreadPool(0, THREADS, "reading"), init=False)
    _busy: int = field(default=0, init=False)

    def start(self) -> None:
        """Let it work."""
        self._pool.start()

    def stop(self) -> None:
        """Wait for what is under way, and end."""
        if self._pool.started:
            self._pool.stop()

    def __call__(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Call a function in a thread; fails with `UnavailableError` if too much waits already."""
        if self._busy >= WAITING_LIMIT:
            return fail(UnavailableError("too many read recordings now; try again"))
        self._busy += 1
        # Whoever asked may go; the thread goes on, so only its end frees its place.
        outcome: Deferred[T] = Deferred()
        reading = deferToThreadPool(self._reactor, self._pool, function, *arguments)
        reading.addBoth(self._done, outcome)
        return outcome

    def _done(self, result: Any, outcome: Deferred[T]) -> None:
        self._busy -= 1
        outcome.callback(result)  # or its failure
