"""The agent's side of the link: it dials out, keeps data connections ready, and serves tickets.

One `AgentLink` per gateway. It connects again for as long as it runs, waiting longer each time;
heartbeats go both ways, and a control connection on which they stop is dropped. When the gateway
stays away, what is open is cut after `ORPHAN_GRACE` seconds: nobody could revoke it any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import HoopgwError, LinkError
from hoopgw.ipc import Body, Peer
from hoopgw.link.attach import attach
from hoopgw.link.lines import BEAT, MISSED, ORPHAN_GRACE
from hoopgw.link.open_sessions import OpenSessions
from hoopgw.link.opening import TargetOpener
from hoopgw.link.outgoing import Outgoing
from hoopgw.link.proof import AgentKey
from hoopgw.link.serving import Serving
from hoopgw.link.spares import FEWEST
from hoopgw.link.tickets import SKEW
from hoopgw.link.witness import LogWitness

log = Logger()

SHORTEST: Final = 0.2
LONGEST: Final = 30.0
"""Seconds before the agent dials again; doubled from the one to the other."""
IDLE_LIMIT: Final = 64
"""Idle data connections that the agent keeps at most, whatever the gateway wishes."""
SESSIONS_LIMIT: Final = 4_096
"""Open targets at once."""


@define(eq=False)
class Backoff:
    """How long to wait before the next try: longer each time, and never the same for two agents."""

    jitter: Callable[[], float]
    """From 0 to 1: `random.random`."""
    _next: float = field(default=SHORTEST, init=False)

    def wait(self) -> float:
        """Return seconds, between half of what is due and all of it."""
        due, self._next = self._next, min(LONGEST, self._next * 2)
        return due * (0.5 + self.jitter() / 2)

    def reset(self) -> None:
        """Begin anew, after something has worked."""
        self._next = SHORTEST


@define(eq=False, kw_only=True)
class AgentLink:
    """Serves one gateway."""

    name: str
    key: Callable[[], AgentKey] = field(repr=False)
    """The agent's present key and certificate: they change when they are renewed."""
    dial: Callable[[Any], Awaitable[Any]] = field(repr=False)
    """Connects a protocol to the gateway; see `hoopgw.transport.connect`."""
    opener: TargetOpener = field(repr=False)
    clock: IReactorTime = field(repr=False)
    jitter: Callable[[], float] = field(repr=False)
    witness: LogWitness | None = field(default=None, repr=False)
    """Watches the gateway's log."""
    trust: Callable[[], str] = field(default=lambda: "", repr=False)
    """Names what this agent trusts; see `hoopgw.link.enrolment_api.Enrolled`."""
    on_refresh: Callable[[str], None] = field(default=lambda _trust: None, repr=False)
    """Called with what the gateway says that agents should trust."""
    sessions: OpenSessions = field(init=False, repr=False)
    _peer: Peer | None = field(default=None, init=False, repr=False)
    _heard: float = field(default=0.0, init=False)
    _wanted: int = field(default=FEWEST, init=False)
    _idle: set[Serving] = field(factory=set, init=False, repr=False)
    _opening: set[Serving] = field(factory=set, init=False, repr=False)
    _dialling: set[Deferred[None]] = field(factory=set, init=False, repr=False)
    _running: Deferred[None] | None = field(default=None, init=False, repr=False)
    _gone: Deferred[None] | None = field(default=None, init=False, repr=False)
    _ticking: IDelayedCall | None = field(default=None, init=False, repr=False)
    _again: IDelayedCall | None = field(default=None, init=False, repr=False)
    _orphaned: IDelayedCall | None = field(default=None, init=False, repr=False)
    _data_backoff: Backoff = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._data_backoff = Backoff(self.jitter)
        self.sessions = OpenSessions(self.clock)

    @property
    def is_connected(self) -> bool:
        """Whether the control connection stands."""
        return self._peer is not None

    @property
    def idle(self) -> int:
        """Data connections that wait for a ticket."""
        return len(self._idle)

    def start(self) -> None:
        """Dial, and go on dialling."""
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._stopped)

    def stop(self) -> None:
        """Close everything, and dial no more."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        self._disconnect()
        for dialling in list(self._dialling):
            dialling.cancel()
        for timer in (self._ticking, self._again, self._orphaned):
            if timer is not None and timer.active():
                timer.cancel()
        self.cut_all("the agent stops")

    def reconnect(self) -> None:
        """Make the control connection anew, after the certificate was renewed; sessions live on."""
        self._disconnect()

    def cut_all(self, reason: str) -> None:
        """End every session, and what is about to become one."""
        for serving in list(self._opening):
            serving.close()
        for session in self.sessions:
            session.cut(reason)

    # The control connection

    async def _run(self) -> None:
        backoff = Backoff(self.jitter)
        while True:
            try:
                await self._connect_control()
                backoff.reset()
                if self._peer is not None:  # it may have been lost in the same turn
                    gone: Deferred[None] = Deferred()
                    self._gone = gone
                    await gone
            except CancelledError:
                raise
            except (HoopgwError, ConnectError, OSError) as error:
                log.warn("the gateway cannot be reached: {error}", error=error)
            except Exception:  # an agent that stopped dialling could only be helped by hand
                log.failure("connecting to the gateway failed")
            await deferLater(self.clock, backoff.wait())

    async def _connect_control(self) -> None:
        outgoing = Outgoing(self.key(), self.name, "control", self.clock, self._control)
        await self._dialled(outgoing)

    async def _dialled(self, outgoing: Outgoing) -> None:
        try:
            await self.dial(outgoing)
        except BaseException:
            outgoing.give_up()
            raise
        await outgoing.done

    def _control(self, outgoing: Outgoing, rest: bytes) -> None:
        handlers = {
            "beat": self._beat,
            "spare": self._spare,
            "cut": self._cut,
            "cancel": self._cancel,
            "renew": self._renew,
            "checkpoint": self._checkpoint,
            "refresh": self._refresh,
        }
        peer = Peer(handlers, self.clock, on_lost=self._control_lost)
        self._peer, self._heard, self._wanted = peer, self.clock.seconds(), FEWEST
        if self._orphaned is not None and self._orphaned.active():
            self._orphaned.cancel()
        attach(outgoing.link, peer)
        log.info("connected to the gateway")
        if self.witness is not None:
            self.witness.connected()
        self._ticking = self.clock.callLater(BEAT, self._tick)
        accounts = self.opener.accounts()
        told = peer.call(
            "hello",
            targets=sorted(accounts),
            accounts=accounts,
            time=self.clock.seconds(),
            trust=self.trust(),
        )
        told.addCallbacks(self._answered, self._hello_failed)
        if rest:
            peer.dataReceived(rest)
        self._keep_ready()

    def _control_lost(self, peer: Peer) -> None:
        if peer is not self._peer:
            return
        self._peer = None
        log.info("the connection to the gateway is lost")
        if self._ticking is not None and self._ticking.active():
            self._ticking.cancel()
        for serving in list(self._idle):
            serving.close()
        self._orphaned = self.clock.callLater(ORPHAN_GRACE, self.cut_all, "the gateway stays away")
        gone, self._gone = self._gone, None
        if gone is not None:
            gone.callback(None)

    def _disconnect(self) -> None:
        peer = self._peer
        if peer is not None:
            peer.close()
            self._control_lost(peer)

    def _tick(self) -> None:
        self._ticking = self.clock.callLater(BEAT, self._tick)
        peer = self._peer
        if peer is None:
            return
        if self.clock.seconds() - self._heard > MISSED * BEAT:
            log.warn("the gateway's heartbeats stopped")
            self._disconnect()
            return
        peer.tell("beat")
        self.sessions.forget()
        self._keep_ready()

    def _stopped(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            log.failure("the link ended, which it must not", failure)

    # What the gateway asks

    def _beat(self, _body: Body) -> Body:
        self._heard = self.clock.seconds()
        return {}

    def _spare(self, body: Body) -> Body:
        wanted = body.get("wanted")
        if isinstance(wanted, int):
            self._wanted = min(max(1, wanted), IDLE_LIMIT)
            self._keep_ready()
        return {}

    def _cut(self, body: Body) -> Body:
        for session in self.sessions:
            if session.ticket.session == body.get("session"):
                session.cut("the gateway says so")
        return {}

    def _cancel(self, body: Body) -> Body:
        self.sessions.cancel(_bytes(body.get("connection")))
        return {}

    def _renew(self, body: Body) -> Body:
        nonce = _bytes(body.get("connection"))
        session = self.sessions.get(nonce)
        if session is None:
            raise LinkError("the session is not open any more")
        ticket = self.opener.verifier.verify(str(body.get("ticket")), nonce, "renew")
        if ticket.session != session.ticket.session:
            raise LinkError("the ticket is for another session")
        session.last_until(ticket.session_end)
        return {}

    def _checkpoint(self, body: Body) -> Body:
        if self.witness is not None:
            handed = body.get("handovers")
            handovers = tuple(map(_bytes, handed)) if isinstance(handed, list) else ()
            self.witness.show(_bytes(body.get("note")), self._prove, handovers)
        return {}

    def _refresh(self, body: Body) -> Body:
        trust = body.get("trust")
        if isinstance(trust, str) and trust:
            self.on_refresh(trust)
        return {}

    async def _prove(self, first: int, second: int) -> list[bytes]:
        if self._peer is None:
            raise LinkError("the gateway is not connected")
        answer = await self._peer.call("consistency", first=first, second=second)
        # Not bytes(node): of a number that would be as many zeros.
        return [_bytes(node) for node in answer["proof"]]

    def _answered(self, body: Body) -> None:
        """Look at the gateway's clock and at its log."""
        self._checkpoint({"note": body.get("checkpoint"), "handovers": body.get("handovers")})
        self._refresh(body)
        theirs = body.get("time")
        if isinstance(theirs, float) and abs(theirs - self.clock.seconds()) > SKEW:
            log.error("the gateway's clock is not ours, so tickets will be refused")

    def _hello_failed(self, failure: Failure) -> None:
        log.warn("the gateway did not answer: {why}", why=failure.value)

    # Data connections

    def _keep_ready(self) -> None:
        """Dial until enough connections wait."""
        while (
            self._peer is not None
            and len(self._idle) + len(self._dialling) < self._wanted
            and len(self.sessions) + len(self._opening) < SESSIONS_LIMIT
            and not (self._again is not None and self._again.active())
        ):
            dialling = Deferred.fromCoroutine(self._dial_data())
            if not dialling.called:
                self._dialling.add(dialling)
            dialling.addErrback(self._not_dialled).addBoth(self._dialled_data, dialling)

    async def _dial_data(self) -> None:
        await self._dialled(Outgoing(self.key(), self.name, "data", self.clock, self._data))
        self._data_backoff.reset()

    def _dialled_data(self, _result: None, dialling: Deferred[None]) -> None:
        self._dialling.discard(dialling)
        self._keep_ready()

    def _not_dialled(self, failure: Failure) -> None:
        if self._peer is None or failure.check(CancelledError) is not None:
            return  # with the control connection gone, none is wanted
        if failure.check(HoopgwError, ConnectError, OSError) is None:
            log.failure("a data connection failed", failure)
        else:
            log.warn("no data connection to the gateway: {why}", why=failure.value)
        if self._again is None or not self._again.active():
            self._again = self.clock.callLater(self._data_backoff.wait(), self._keep_ready)

    def _data(self, outgoing: Outgoing, rest: bytes) -> None:
        serving = Serving(
            outgoing.nonce, self.opener, self.clock, self._taken, self._left, self.sessions
        )
        self._idle.add(serving)
        serving.adopt(outgoing.link, rest)

    def _taken(self, serving: Serving) -> None:
        self._idle.discard(serving)
        self._opening.add(serving)
        self._keep_ready()

    def _left(self, serving: Serving) -> None:
        self._opening.discard(serving)
        if serving in self._idle:
            self._idle.remove(serving)
            self._keep_ready()


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
