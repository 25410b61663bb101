"""End with the supervisor, however it ends.

The supervisor holds the other end of its children's standard input. When that closes, it is gone,
even by SIGKILL, and a child that lived on would hold ports, spools and sockets that the next
supervisor's children need. A terminal's Ctrl-C, which reaches all of them at once, is left to the
supervisor, because it ends its children in order.
"""

from __future__ import annotations

import os
import signal
from typing import Any, Final

from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

log = Logger()

VARIABLE: Final = "HOOPGW_LIFELINE"
"""Environment variable that says that standard input is the supervisor's."""


def hold(reactor: Any) -> None:
    """Stop the reactor when the supervisor is gone; nothing if there is none."""
    if os.environ.get(VARIABLE) == "1":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.set_blocking(0, False)
        reactor.addReader(_Lifeline(reactor))


@implementer(IReadDescriptor)
class _Lifeline:
    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def fileno(self) -> int:
        return 0

    def logPrefix(self) -> str:
        return "lifeline"

    def doRead(self) -> None:
        try:
            ended = os.read(0, 1024) == b""
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self._reactor.removeReader(self)
            self._stop()

    def connectionLost(self, reason: Failure) -> None:
        """Stop: a pipe whose other end closes is told as this, and so is the reactor's own stop."""
        self._stop()

    def _stop(self) -> None:
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            return  # it stops for another reason
        log.warn("the supervisor is gone, so this process stops")
