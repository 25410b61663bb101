"""The socket that workers and local commands connect to: our own user only.

The socket's mode keeps others out; the kernel's word on who connects (``SO_PEERCRED``) keeps out
whoever got a descriptor all the same, and does not depend on the mode of a folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorUNIX
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger

from hoopgw.errors import ConfigError
from hoopgw.ipc import Peer, peer_uid

log = Logger()

PEERS_LIMIT: Final = 64
"""Connections at one time: workers are few, commands are short."""


def listen_own(reactor: IReactorUNIX, path: Path, factory: Factory) -> IListeningPort:
    """Listen at a path, for this user only.

    The caller holds the state folder's lock, so a socket that is there is a dead one's.

    Raises:
        ConfigError: something else is there, or it cannot be made.

    """
    # Closed from its beginning on: the mode alone is set only after the socket is there.
    before = os.umask(0o077)
    try:
        if path.is_symlink() or path.exists():
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise ConfigError(f"{path} is in the way: it is no socket")
            path.unlink()
        return reactor.listenUNIX(str(path), factory, backlog=PEERS_LIMIT, mode=0o600)
    except (OSError, CannotListenError) as error:
        raise ConfigError(f"{path}: cannot listen there: {error}") from error
    finally:
        os.umask(before)


@define(eq=False)
class OwnPeers(Factory):
    """Makes peers for connections of our own user, and refuses others."""

    _make: Callable[[Callable[[Peer], None], Callable[[Peer], None]], Peer]
    """Makes a peer of what to call when it is connected and when it is lost."""
    _uid: int = field(factory=os.geteuid)
    _peers: set[Peer] = field(factory=set, init=False)

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Make a peer, unless there are too many."""
        if len(self._peers) >= PEERS_LIMIT:
            log.warn("more than {limit} connections to the control socket", limit=PEERS_LIMIT)
            return None
        return self._make(self._connected, self._peers.discard)

    def _connected(self, peer: Peer) -> None:
        transport: Any = peer.transport
        uid = peer_uid(transport.getHandle())
        if uid != self._uid:
            log.error("user {uid} was refused at the control socket", uid=uid)
            transport.abortConnection()
            return
        self._peers.add(peer)
