"""A data worker's connection to the control process, made again whenever it is lost.

The worker goes on without it for a while: live sessions live, but nothing that needs a person's
approval runs, and after `VIEW_AGE` nobody logs in, because the log-in may have been revoked. When
the connection is back, every part that keeps state there is called
(`ControlClient.on_connected`) and announces what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import define, field
from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.clock import steady
from hoopgw.control.trust import WorkerTrust
from hoopgw.errors import UnavailableError
from hoopgw.ipc import CALL_TIMEOUT, Body, Handler, Peer

log = Logger()

FIRST_DELAY: Final = 0.1
"""Seconds before the first attempt to reconnect; jitter comes on top."""
LAST_DELAY: Final = 3.0
"""Seconds between attempts, at most, before jitter."""
BEAT: Final = 0.5
"""Seconds between two questions whether control is there."""
VIEW_AGE: Final = 2.0
"""Seconds since control last answered, after which what it may have revoked is not known here."""
FORGET_EVERY: Final = 60.0
"""Seconds between two looks at all that was revoked, for what can be forgotten."""

Connected = Callable[[], None]


@define(eq=False)
class ControlClient:
    """Calls the control process, and takes what it tells. `start` it once."""

    _endpoint: IStreamClientEndpoint
    _clock: IReactorTime
    _jitter: Callable[[], float]
    """Gives numbers in [0, 1), so that workers do not come back all at once."""
    worker: str
    """This worker's name, as in the spool."""
    _steady: Callable[[], float] = field(default=steady, kw_only=True)
    """Seconds that nobody can set: a view must not look fresh because the clock was set back."""
    _take_time: Callable[[float], None] = field(default=lambda _time: None, kw_only=True)
    """Told, whenever control answers, what time it is there: it is not earlier here."""
    issuer: str = field(default="", init=False)
    greeting: Mapping[str, Any] = field(factory=dict, init=False, repr=False)
    """What control said when the connection was last made: what parts begin with."""
    token_keys: Mapping[str, Any] | None = field(default=None, init=False, repr=False)
    """JWK Set of the gateway's token keys, as last told."""
    trust: WorkerTrust | None = field(default=None, init=False, repr=False)
    """What this worker verifies with, as last told."""
    _on_trust: list[Callable[[WorkerTrust], None]] = field(factory=list, init=False)
    _peer: Peer | None = field(default=None, init=False)
    _service: ClientService | None = field(default=None, init=False)
    _handlers: dict[str, Handler] = field(factory=dict, init=False)
    _connected: list[Connected] = field(factory=list, init=False)
    _on_beat: list[Connected] = field(factory=list, init=False)
    _beating: LoopingCall = field(init=False)
    _heard: float = field(default=float("-inf"), init=False)
    """When, by the steady clock, the last question was asked that control has answered."""
    _revoked: dict[str, float] = field(factory=dict, init=False)
    """Log-ins and delegations ended before their time, to when they can be forgotten."""
    _forgetting: float = field(default=0.0, init=False)
    """When to look again for some."""

    def __attrs_post_init__(self) -> None:
        self.on_tell("token_keys", self._take_keys)
        self.on_tell("trust", self._take_trust)
        self._beating = LoopingCall(self._beat)
        self._beating.clock = self._clock

    @property
    def is_connected(self) -> bool:
        """Whether control has greeted us on the present connection."""
        return self._peer is not None

    @property
    def silence(self) -> float:
        """Seconds for which control has not answered; infinite if it never has."""
        return self._steady() - self._heard

    @property
    def is_current(self) -> bool:
        """Whether what control revokes is known here. If not, nothing new may begin."""
        return self.silence <= VIEW_AGE

    def is_revoked(self, lineage: Iterable[str]) -> bool:
        """Whether any of a `Principal.lineage` was ended before its time."""
        return any(node in self._revoked for node in lineage)

    def revoke(self, node: str, expires: float) -> None:
        """Remember that a log-in or a delegation was ended, until it would have ended by itself."""
        self._revoked[node] = max(expires, self._revoked.get(node, 0.0))

    def on_beat(self, look: Connected) -> None:
        """Call ``look`` twice a second."""
        self._on_beat.append(look)

    def on_tell(self, name: str, handler: Callable[[Body], None]) -> None:
        """Call ``handler`` with what control tells under a name."""

        def handle(body: Body) -> Body:
            handler(body)
            return {}

        self._handlers[name] = handle

    def on_call(self, name: str, handler: Handler) -> None:
        """Answer with ``handler`` what control asks under a name."""
        self._handlers[name] = handler

    def on_trust(self, take: Callable[[WorkerTrust], None]) -> None:
        """Call ``take`` with what is to be trusted from now on.

        What it raises tells control that this worker has not taken it.
        """
        self._on_trust.append(take)

    def on_connected(self, announce: Connected) -> None:
        """Call ``announce`` each time that the connection is up, now too if it is."""
        self._connected.append(announce)
        if self.is_connected:
            announce()

    def start(self) -> None:
        """Connect, and keep connected."""
        policy = backoffPolicy(FIRST_DELAY, LAST_DELAY, 1.6, self._jitter)
        factory = PeerFactory(self._make_peer)
        self._service = ClientService(self._endpoint, factory, policy, self._clock)
        self._service.startService()
        self._beating.start(BEAT, now=False).addErrback(
            lambda failure: log.failure("the heartbeat to control broke", failure)
        )

    def stop(self) -> Deferred[None]:
        """Disconnect; the Deferred fires when the connection is gone."""
        service, self._service = self._service, None
        if self._beating.running:
            self._beating.stop()
        if service is None:
            return maybeDeferred(lambda: None)
        return maybeDeferred(service.stopService).addCallback(lambda _none: None)

    def call(self, name: str, timeout: float = CALL_TIMEOUT, /, **body: Any) -> Deferred[Body]:
        """Call control.

        The Deferred fails with `hoopgw.ipc.RemoteError` if control refused, and with
        `UnavailableError` if it is not connected or does not answer in ``timeout`` seconds.
        """
        if self._peer is None:
            return fail(UnavailableError("the control process is not connected"))
        return self._peer.call(name, timeout, **body).addErrback(_in_time)

    def tell(self, name: str, /, **body: Any) -> None:
        """Tell control; nothing happens while it is not connected."""
        if self._peer is not None:
            self._peer.tell(name, **body)

    def _make_peer(self) -> Peer:
        return Peer(self._handlers, self._clock, self._greet, self._lost)

    def _greet(self, peer: Peer) -> None:
        asked = self._steady()
        greeting = peer.call("hello", worker=self.worker)
        greeting.addCallback(lambda answer: self._greeted(peer, answer, asked))
        greeting.addErrback(lambda failure: self._not_greeted(peer, failure))

    def _greeted(self, peer: Peer, answer: Body, asked: float) -> None:
        self.issuer, self.greeting = str(answer["issuer"]), answer
        self._take_keys(answer["token_keys"])
        self._take_time(float(answer["now"]))
        for node, end in answer["revoked"].items():
            # What is known here stays so, also if control has an older copy of its store.
            self.revoke(str(node), float(end))
        self._peer, self._heard = peer, max(self._heard, asked)
        log.info("connected to control as {worker}", worker=self.worker)
        for announce in self._connected:
            try:
                announce()
            except Exception:  # one part's fault must not keep the others from announcing
                log.failure("announcing to control failed")

    def _not_greeted(self, peer: Peer, failure: Failure) -> None:
        log.warn("control did not greet: {reason}", reason=failure.getErrorMessage())
        peer.close()

    def _lost(self, peer: Peer) -> None:
        if self._peer is peer:
            self._peer = None
            log.warn("the connection to control is lost")

    def _beat(self) -> None:
        """Ask whether control is there, and let others look whether it has been."""
        asked, now = self._steady(), self._clock.seconds()
        if self._peer is not None:
            answer = self._peer.call("ping", VIEW_AGE)
            answer.addCallbacks(lambda body: self._answered(body, asked), lambda _failure: None)
        if now >= self._forgetting:
            self._forgetting = now + FORGET_EVERY
            self._revoked = {node: end for node, end in self._revoked.items() if end > now}
        for look in self._on_beat:
            try:
                look()
            except Exception:  # the next beat must come all the same
                log.failure("looking at the connection to control failed")

    def _answered(self, answer: Body, asked: float) -> None:
        self._take_time(float(answer["now"]))
        self._heard = max(self._heard, asked)

    def _take_trust(self, body: Body) -> None:
        try:
            trust = WorkerTrust.from_body(body)
        except (KeyError, TypeError, ValueError) as error:
            raise UnavailableError(f"what is to be trusted cannot be read: {error}") from error
        for take in self._on_trust:
            take(trust)
        self.trust = trust

    def _take_keys(self, keys: Mapping[str, Any]) -> None:
        self.token_keys = keys


def _in_time(failure: Failure) -> Body:
    if failure.check(DeferredTimeoutError) is not None:
        raise UnavailableError("the control process does not answer") from failure.value
    failure.raiseException()
    raise AssertionError  # raiseException does not return


class PeerFactory(Factory):
    """Makes a peer for each connection."""

    noisy = False

    def __init__(self, make: Callable[[], Peer]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> Peer:
        """Make one."""
        return self._make()
