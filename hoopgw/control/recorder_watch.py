"""Whether the recorder process lives and can write, as control sees it over its socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.control.client import PeerFactory
from hoopgw.errors import UnavailableError
from hoopgw.ipc import Body, Peer

log = Logger()

ASK_EVERY: Final = 2.0
ANSWER_WITHIN: Final = 2.0
"""Seconds: the recorder answers between two turns, which take milliseconds."""
HAND_OVER_WITHIN: Final = 10.0
"""Seconds: it waits for the disk a few times."""
WATCHER: Final = "control"
"""The name that control gives; no worker is called so."""


@define(eq=False)
class RecorderWatch:
    """Keeps asking. `start` it once."""

    _endpoint: IStreamClientEndpoint
    _clock: IReactorTime
    _jitter: Callable[[], float]
    _peer: Peer | None = field(default=None, init=False)
    _answered: bool = field(default=False, init=False)
    _objection: str = field(default="", init=False)
    _service: ClientService | None = field(default=None, init=False)
    _asking: LoopingCall = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._asking = LoopingCall(self._ask)
        self._asking.clock = self._clock

    @property
    def problem(self) -> str:
        """What is wrong; empty if nothing is."""
        if self._peer is None:
            return "the recorder is not connected"
        return self._objection if self._answered else "the recorder does not answer"

    def start(self) -> None:
        """Connect, and keep asking."""
        policy = backoffPolicy(0.1, 2.0, 1.6, self._jitter)
        factory = PeerFactory(self._make_peer)
        self._service = ClientService(self._endpoint, factory, policy, self._clock)
        self._service.startService()
        self._asking.start(ASK_EVERY).addErrback(
            lambda failure: log.failure("watching the recorder broke", failure)
        )

    def stop(self) -> Deferred[None]:
        """Disconnect."""
        if self._asking.running:
            self._asking.stop()
        service, self._service = self._service, None
        stopped = maybeDeferred(lambda: None if service is None else service.stopService())
        return stopped.addCallback(lambda _none: None)

    async def hand_over(self) -> str:
        """Let the recorder give the log to a new key; return that key's public part.

        Raises:
            UnavailableError: the recorder is not there, or refuses.

        """
        if self._peer is None:
            raise UnavailableError("the recorder is not connected")
        try:
            answer = await self._peer.call("hand_over", HAND_OVER_WITHIN)
        except DeferredTimeoutError as error:
            raise UnavailableError("the recorder does not answer") from error
        return str(answer["key"])

    def _make_peer(self) -> Peer:
        handlers = {"progress": self._progress}
        return Peer(handlers, self._clock, self._connected, self._lost)

    def _connected(self, peer: Peer) -> None:
        self._peer = peer
        self._ask()

    def _lost(self, peer: Peer) -> None:
        if peer is self._peer:
            self._peer, self._answered, self._objection = None, False, ""

    def _ask(self) -> None:
        peer = self._peer
        if peer is None:
            return
        answer = peer.call("hello", ANSWER_WITHIN, worker=WATCHER)
        answer.addCallbacks(lambda _body: self._note(peer, True), lambda f: self._silent(peer, f))

    def _silent(self, peer: Peer, failure: Failure) -> None:
        log.warn("the recorder does not answer: {why}", why=failure.getErrorMessage())
        self._note(peer, False)

    def _note(self, peer: Peer, answered: bool) -> None:
        if peer is self._peer:
            self._answered = answered

    def _progress(self, body: Body) -> Body:
        self._objection = str(body.get("objection", ""))
        return {}
