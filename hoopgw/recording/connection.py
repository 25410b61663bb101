"""How a worker reaches the recorder process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol

from hoopgw.ipc import Peer

_TIMEOUT: Final = 5.0

Connect: TypeAlias = Callable[[Peer], Deferred[Any]]
"""Connects a protocol to the recorder's socket; fails if nobody listens."""


def over_unix(reactor: Any, path: Path) -> Connect:
    """Return what connects to ``run/recorder.sock``."""
    endpoint = UNIXClientEndpoint(reactor, str(path), timeout=_TIMEOUT)

    def connect(peer: Peer) -> Deferred[Any]:
        connected: Deferred[Any] = connectProtocol(endpoint, peer)
        return connected

    return connect
