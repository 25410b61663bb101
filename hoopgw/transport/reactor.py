"""An epoll reactor that dispatches data transports directly.

Twisted wraps each ``doRead`` in a logging context and a failure guard, which costs more than the
read itself. A `hoopgw.transport.DataTransport` guards itself, so it is called straight away; every
other descriptor takes Twisted's usual way. Installed as ``twistd --reactor hoopgw``.

Relies on `twisted.internet.epollreactor` and ``base`` (26.10): ``_poller``, ``_selectables``,
``_doReadOrWrite``, ``_newTimedCalls`` and ``_pendingTimedCalls``;
``tests/transport/test_reactor.py`` fails if they go.
"""

from __future__ import annotations

import errno
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from typing import Final

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.python import log

_READ: Final = EPOLLIN | EPOLLHUP | EPOLLERR
_EVENTS: Final = 64


class DirectReactor(EPollReactor):
    """`EPollReactor`, with a short way for data transports."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has not annotated it

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events and dispatch them.

        While only data legs have something to do, it waits again at once: Twisted's own turn of
        the loop costs as much as the work for a small statement. Whatever else there is (other
        descriptors, calls from threads, new or due timers, the end) returns to it.
        """
        poll, selectables = self._poller.poll, self._selectables
        wait = -1 if timeout is None else timeout
        while True:
            try:
                events = poll(wait, _EVENTS)
            except OSError as error:
                if error.errno == errno.EINTR:
                    return
                raise
            others = not events
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
                    others = True
                    log.callWithLogger(selectable, self._doReadOrWrite, selectable, fd, event)
            if others or self.threadCallQueue or self._newTimedCalls or not self.running:
                return
            timed = self._pendingTimedCalls
            if not timed:
                wait = -1
            elif (wait := timed[0].time - self.seconds()) <= 0:
                return

    doIteration = doPoll


def install() -> None:
    """Install it as the process's reactor."""
    installReactor(DirectReactor())
