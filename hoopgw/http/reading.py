"""Reads what requests are: short ones at once, long ones in a thread.

To read a large template takes longer than anybody else's request may wait. Models are pure, so a
thread can do it; one at a time, because threads of Python take turns with the reactor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from hoopgw.http.messages import RequestHead
from hoopgw.http.model import Caller, Model, Plan
from hoopgw.sessions.refusals import Refusal, RefusedError

InThread: TypeAlias = Callable[[Callable[[], Plan]], "Deferred[Plan]"]
"""Runs something in a thread."""

AT_ONCE: Final = 65_536
"""Bytes of a body that is read where it is; some milliseconds at most."""
QUEUE_LIMIT: Final = 64
"""Long requests that wait for their turn."""


def in_thread_of(reactor: Any) -> InThread:
    """Return what runs something in a reactor's thread pool."""

    def run(work: Callable[[], Plan]) -> Deferred[Plan]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    return run


@define(eq=False)
class Reading:
    """Reads the requests of one listener.

    Args:
        in_thread: runs what takes long.

    """

    _in_thread: InThread
    _turn: DeferredLock = field(factory=DeferredLock, init=False)

    async def plan(
        self, model: Model, head: RequestHead, body: bytes | None, caller: Caller
    ) -> Plan:
        """Return what a request is; see `hoopgw.http.model.Model.plan`.

        Raises:
            RefusedError: it cannot be taken, or too much is being read.

        """
        work = partial(model.plan, head, body, caller)
        if body is None or len(body) <= AT_ONCE:
            return work()
        if len(self._turn.waiting) >= QUEUE_LIMIT:
            text = "too many long requests are being read"
            raise RefusedError(Refusal(kind="unavailable", text=text, retry_after=5))
        acquired: Deferred[DeferredLock] = self._turn.acquire()
        await acquired
        return await self._elsewhere(work)

    def _elsewhere(self, work: Callable[[], Plan]) -> Deferred[Plan]:
        """Read one in a thread; its turn ends with the thread, even if nobody waits any more."""
        found: Deferred[Plan] = Deferred()

        def done(result: Plan | Failure) -> None:
            self._turn.release()
            if isinstance(result, Failure):
                found.errback(result)
            else:
                found.callback(result)

        self._in_thread(work).addBoth(done)
        return found
