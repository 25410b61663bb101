"""An epoll reactor that dispatches data transports directly.

Twisted wraps each ``doRead`` in a logging context and a failure guard, which costs more than the
read itself. A `hoopgw.transport.DataTransport` guards itself, so it is called straight away; every
other descriptor takes Twisted's usual way. Installed as ``twistd --reactor hoopgw``.

Waiting and serving data transports is one function, `ready`. It has a compiled twin of the same
name in ``_dispatch``, which is taken if it was built and `accelerated.is_wanted` says so; the tests
hold both to the same.

Relies on `twisted.internet.epollreactor` and ``base`` (26.10): ``_poller``, ``_selectables``,
``_doReadOrWrite``, ``_newTimedCalls`` and ``_pendingTimedCalls``;
``tests/transport/test_reactor.py`` fails if they go.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll
from typing import Any, Final, TypeAlias

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.python import log

from hoopgw.transport import accelerated

_READ: Final = EPOLLIN | EPOLLHUP | EPOLLERR
_EVENTS: Final = 64
_LONGEST: Final = 2_147_483.0
"""Seconds that one wait may take, as Twisted's own; the kernel counts milliseconds in 31 bits."""


Ready: TypeAlias = Callable[[epoll, float, Mapping[int, Any]], list[tuple[int, int]] | None]


def ready(
    poller: epoll, wait: float, selectables: Mapping[int, Any]
) -> list[tuple[int, int]] | None:
    """Wait for events, and serve the data transports that have some.

    Args:
        poller: waits.
        wait: seconds; negative is for ever.
        selectables: descriptor to what it belongs to.

    Returns:
        What happened to others, as pairs of descriptor and event; None if nothing happened at all.

    """
    try:
        events = poller.poll(wait, _EVENTS)
    except OSError as error:
        if error.errno == errno.EINTR:
            return None
        raise
    if not events:
        return None
    others: list[tuple[int, int]] = []
    for fd, event in events:
        selectable = selectables.get(fd)
        if selectable is None:
            continue  # removed by an earlier event of this round
        if getattr(selectable, "direct", False):
            if event & _READ:
                selectable.doRead()
            if event & EPOLLOUT and selectable.connected:
                selectable.doWrite()
        else:
            others.append((fd, event))
    return others


class DirectReactor(EPollReactor):
    """`EPollReactor`, with a short way for data transports."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has not annotated it
        self._ready: Ready = ready
        if accelerated.is_wanted("hoopgw.transport._dispatch"):
            from hoopgw.transport import _dispatch

            self._ready = _dispatch.ready

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events and dispatch them.

        While only data legs have something to do, it waits again at once: Twisted's own turn of
        the loop costs as much as the work for a small statement. Whatever else there is (other
        descriptors, calls from threads, new or due timers, the end) returns to it.
        """
        selectables = self._selectables
        wait = -1.0 if timeout is None else timeout
        while True:
            others = self._ready(self._poller, wait, selectables)
            if others is None:
                return
            for fd, event in others:
                selectable = selectables.get(fd)
                if selectable is not None:
                    log.callWithLogger(selectable, self._doReadOrWrite, selectable, fd, event)
            if others or self.threadCallQueue or self._newTimedCalls or not self.running:
                return
            timed = self._pendingTimedCalls
            if not timed:
                wait = -1.0
            elif (wait := min(timed[0].time - self.seconds(), _LONGEST)) <= 0:
                return

    doIteration = doPoll


def install() -> None:
    """Install it as the process's reactor."""
    installReactor(DirectReactor())
