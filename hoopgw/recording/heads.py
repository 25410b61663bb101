"""The log's checkpoints as the recorder signs them, and proofs that one goes on from another.

For the worker, which passes them on to agents: they keep the newest, and so see it when a log is
set back. What passes here is signed or proved, so nothing of it has to be believed.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import RecorderError
from hoopgw.ipc import Body, Peer

log = Logger()


@define(eq=False)
class LogHeads:
    """Follows the recorder. `start` it once."""

    _endpoint: IStreamClientEndpoint
    _clock: IReactorTime
    _jitter: Callable[[], float]
    _on_new: Callable[[bytes, tuple[bytes, ...]], None]
    """Called with each new checkpoint, a signed note, and with those that hand the key over."""
    _peer: Peer | None = field(default=None, init=False)
    _service: ClientService | None = field(default=None, init=False)

    def start(self) -> None:
        """Connect, and stay connected."""
        policy = backoffPolicy(0.1, 2.0, 1.6, self._jitter)
        factory = Factory.forProtocol(self._make_peer)
        factory.noisy = False
        self._service = ClientService(self._endpoint, factory, policy, self._clock)
        self._service.startService()

    def stop(self) -> Deferred[None]:
        """Disconnect."""
        service, self._service = self._service, None
        stopped = maybeDeferred(lambda: None if service is None else service.stopService())
        return stopped.addCallback(lambda _none: None)

    async def prove(self, first: int, second: int) -> list[bytes]:
        """Return a proof (RFC 6962, 2.1.2) between two sizes of the log.

        Raises:
            UnavailableError: the recorder is not there, or its log is shorter.

        """
        if self._peer is None:
            raise RecorderError("the recorder is not connected")
        answer = await self._peer.call("consistency", first=first, second=second)
        return [bytes(node) for node in answer["proof"]]

    def _make_peer(self) -> Peer:
        handlers = {"checkpoint": self._told}
        return Peer(handlers, self._clock, self._connected, self._lost)

    def _connected(self, peer: Peer) -> None:
        self._peer = peer
        following = peer.call("follow")
        following.addCallbacks(self._told, lambda failure: self._not_followed(peer, failure))

    def _not_followed(self, peer: Peer, failure: Failure) -> None:
        log.warn("the recorder tells no checkpoints: {why}", why=failure.getErrorMessage())
        peer.close()

    def _lost(self, peer: Peer) -> None:
        if peer is self._peer:
            self._peer = None

    def _told(self, body: Body) -> Body:
        if note := bytes(body["note"]):
            self._on_new(note, tuple(map(bytes, body.get("handovers", ()))))
        return {}
