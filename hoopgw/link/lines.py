"""What the gateway knows of one agent: its control connection, its spares, its open legs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any, Final, TypeAlias

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import LinkError, ProtocolViolationError
from hoopgw.ipc import Body, Handler, Peer
from hoopgw.link.attach import attach
from hoopgw.link.frames import FrameReader, Go, Open, Opened, Refused, encode
from hoopgw.link.proof import Proved
from hoopgw.link.spares import Spares
from hoopgw.transport import DataTransport

log = Logger()

BEAT: Final = 5.0
"""Seconds between heartbeats, both ways."""
MISSED: Final = 3
"""Heartbeats that may fail to come before a connection counts as dead."""
OPEN_TIMEOUT: Final = 15.0
"""Seconds that an agent may take to open a target; its own deadlines are shorter."""
TARGETS_LIMIT: Final = 1000
ACCOUNTS_LIMIT: Final = 100
"""That are taken note of for one target."""
ORPHAN_GRACE: Final = 30.0
"""Seconds that open legs live on after their agent's control connection was lost."""


class SpareLostError(LinkError):
    """A data connection was lost before the agent answered on it: another may serve."""


class SpareConnection(Protocol):
    """A data connection in the gateway, from its welcome to its `Go`."""

    def __init__(
        self,
        nonce: bytes,
        clock: IReactorTime,
        idle_lost: Callable[[SpareConnection], None],
    ) -> None:
        self.nonce = nonce
        self.since = clock.seconds()
        self._clock = clock
        self._idle_lost = idle_lost
        self._reader = FrameReader()
        self._answer: Deferred[Mapping[str, Any]] | None = None

    def adopt(self, transport: DataTransport) -> None:
        """Receive for a connection whose agent has been let in."""
        self._link = transport
        attach(transport, self)

    async def open(self, ticket: str, wishes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have the agent open a target, and return the facts; the transport is then paused.

        Raises:
            SpareLostError: the connection was lost before an answer.
            LinkError: the agent refused, with its reason, or took too long.

        """
        request = encode(Open(ticket, dict(wishes)))
        if not self._link.connected:
            raise SpareLostError("the agent's connection was lost")
        answer: Deferred[Mapping[str, Any]] = Deferred()
        self._answer = answer
        answer.addTimeout(OPEN_TIMEOUT, self._clock)
        self._link.write(request)
        try:
            return await answer
        except DeferredTimeoutError as error:
            self.close()
            raise LinkError("the target did not answer in time") from error
        except CancelledError:
            self.close()
            raise

    def release(self) -> DataTransport:
        """Give the bare transport away; from here on it carries the target's bytes."""
        self._link.write(encode(Go()))
        self._link.pauseProducing()
        self._link.protocol = None
        return self._link

    def close(self) -> None:
        """End the connection."""
        self._answer = None
        self._link.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Take the answer; there is nothing else to be said."""
        self._reader.receive_data(data)
        try:
            frame = self._reader.next_frame()
            if frame is None:
                return
            if self._answer is None or self._reader.rest():
                raise ProtocolViolationError("an answer that nobody asked for")
            answer, self._answer = self._answer, None
            match frame:
                case Opened(facts):
                    answer.callback(facts)
                case Refused(reason):
                    self._link.loseConnection()
                    answer.errback(LinkError(_printable(reason)))
                case _:
                    answer.errback(LinkError("the agent did not answer as it should"))
                    raise ProtocolViolationError(f"not an answer: {type(frame).__name__}")
        except ProtocolViolationError as error:
            log.warn("closing an agent's data connection: {error}", error=error)
            self._link.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget it, or tell who waits."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.errback(SpareLostError("the agent's connection was lost"))
        self._idle_lost(self)


Prove: TypeAlias = Callable[[int, int], Awaitable[list[bytes]]]
"""Gives a proof between two sizes of the log; see `hoopgw.recording.heads`."""


async def cannot_prove(_first: int, _second: int) -> list[bytes]:
    """Refuse: what a gateway without a log does."""
    raise LinkError("this gateway proves nothing of its log")


@define(eq=False)
class Line:
    """One agent as the gateway sees it; outlives the agent's connections."""

    name: str
    clock: IReactorTime = field(repr=False)
    changed: Callable[[], None] = field(repr=False)
    prove: Prove = field(default=cannot_prove, repr=False)
    """Proves that the gateway's log goes on."""
    note: bytes = field(default=b"", repr=False)
    """The log's newest checkpoint, if any is known."""
    handovers: tuple[bytes, ...] = field(default=(), repr=False)
    """Checkpoints with which the log's key was handed over; see `hoopgw.recording.succession`."""
    trust: str = ""
    """What agents should trust, by name; see `hoopgw.link.enrolment_api.Enrolled`."""
    known: str = field(default="", init=False)
    """What this agent says that it trusts."""
    spares: Spares[SpareConnection] = field(init=False, repr=False)
    targets: tuple[str, ...] = ()
    """As the agent says; for people."""
    accounts: Mapping[str, Mapping[str, str]] = field(factory=dict)
    """Each target's accounts, and where each usually is; as the agent says, for people."""
    proved: Proved | None = None
    _peer: Peer | None = field(default=None, init=False, repr=False)
    _heard: float = field(default=0.0, init=False)
    _legs: dict[bytes, DataTransport] = field(factory=dict, init=False, repr=False)
    _told: int = field(default=0, init=False)
    _proving: bool = field(default=False, init=False)
    _orphaned: IDelayedCall | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.spares = Spares(self.name, self.clock)

    @property
    def is_connected(self) -> bool:
        """Whether the control connection stands."""
        return self._peer is not None

    def control(self, proved: Proved, transport: DataTransport) -> None:
        """Speak with the agent over a new control connection; an older one is closed."""
        if self._peer is not None:
            log.warn("agent {name} connected again; its older connection ends", name=self.name)
            older, self._peer = self._peer, None
            older.close()
            self.spares.close()
        if self._orphaned is not None:
            self._orphaned.cancel()
            self._orphaned = None
        self.proved, self._heard, self._told = proved, self.clock.seconds(), 0
        handlers: dict[str, Handler] = {
            "beat": self._beat,
            "hello": self._hello,
            "consistency": self._consistency,
        }
        peer = Peer(handlers, self.clock, on_lost=self._control_lost)
        self._peer = peer
        self.spares.is_connected = True
        attach(transport, peer)
        self._tell_wanted()
        log.info("agent {name} connected", name=self.name)
        self.changed()

    def data(self, nonce: bytes, transport: DataTransport) -> None:
        """Keep a new data connection, if the agent's control connection stands."""
        spare = SpareConnection(nonce, self.clock, self.spares.remove)
        spare.adopt(transport)
        if self._peer is None or not self.spares.add(spare):
            spare.close()

    def opened(self, nonce: bytes, transport: DataTransport) -> None:
        """Remember an open leg, to end it should the agent be lost."""
        self._legs[nonce] = transport

    def connection(self, transport: Any) -> bytes | None:
        """Return the nonce of an open leg, or `None` if it is not open."""
        found = (n for n, t in self._legs.items() if t is transport and t.connected)
        return next(found, None)

    async def take(self) -> SpareConnection:
        """Wait for a data connection.

        Raises:
            LinkError: none came in time.

        """
        waiting = self.spares.take()
        self._tell_wanted()
        return await waiting

    def tell(self, name: str, **body: Any) -> None:
        """Tell the agent something, if it is there."""
        if self._peer is not None:
            self._peer.tell(name, **body)

    async def call(self, name: str, **body: Any) -> Body:
        """Call the agent.

        Raises:
            UnavailableError: it is not there, or refused.

        """
        if self._peer is None:
            raise LinkError(f"agent {self.name} is not connected")
        return await self._peer.call(name, **body)

    def show(self, note: bytes, handovers: tuple[bytes, ...] = ()) -> None:
        """Show the agent the log's newest checkpoint, now and when it connects."""
        self.note, self.handovers = note, handovers
        self.tell("checkpoint", note=note, handovers=list(handovers))

    def refresh(self, trust: str) -> None:
        """Let the agent fetch what it should trust, now and when it connects."""
        if trust != self.trust:
            self.trust = trust
            self.tell("refresh", trust=trust)

    def drop(self, reason: str) -> None:
        """Close the control connection, and all that waits."""
        if self._peer is not None:
            log.warn("dropping agent {name}: {reason}", name=self.name, reason=reason)
            self._peer.close()
            self._lost()

    def cut(self) -> None:
        """End every open leg now."""
        legs, self._legs = self._legs, {}
        for transport in legs.values():
            transport.abortConnection()

    def tick(self) -> None:
        """Send a heartbeat, and look whether the agent's came."""
        self._legs = {n: t for n, t in self._legs.items() if t.connected}
        if self._peer is None:
            return
        now = self.clock.seconds()
        if now - self._heard > MISSED * BEAT:
            self.drop("its heartbeats stopped")
            return
        if self.proved is not None and self.proved.ends.timestamp() <= now:
            self.drop("its certificate has ended")
            return
        self._peer.tell("beat")
        self.spares.tick()
        self._tell_wanted()

    def stop(self) -> None:
        """Close everything."""
        self.drop("the gateway stops")
        self.cut()
        if self._orphaned is not None:
            self._orphaned.cancel()
            self._orphaned = None

    def status(self) -> dict[str, Any]:
        """Return what ``hoopgw agent list`` shows."""
        return {
            "name": self.name,
            "connected": self.is_connected,
            "idle": self.spares.idle,
            "sessions": len(self._legs),
            "targets": list(self.targets),
            "trust": self.known if self.is_connected else "",
            "accounts": self.accounts,
        }

    def _tell_wanted(self) -> None:
        if self._peer is not None and self._told != self.spares.wanted:
            self._told = self.spares.wanted
            self._peer.tell("spare", wanted=self._told)

    def _beat(self, _body: Body) -> Body:
        self._heard = self.clock.seconds()
        return {}

    def _hello(self, body: Body) -> Body:
        targets = body.get("targets", [])
        if isinstance(targets, list):
            self.targets = tuple(_printable(str(target)) for target in targets[:TARGETS_LIMIT])
        self.accounts = _accounts(body.get("accounts"))
        self.known = _printable(str(body.get("trust", "")))
        self.changed()
        return {
            "time": self.clock.seconds(),
            "checkpoint": self.note,
            "handovers": list(self.handovers),
            "trust": self.trust,
        }

    async def _consistency(self, body: Body) -> Body:
        first, second = body.get("first"), body.get("second")
        if not isinstance(first, int) or not isinstance(second, int):
            raise LinkError("a proof needs two sizes")
        if self._proving:
            raise LinkError("one proof at a time")
        self._proving = True
        try:
            return {"proof": await self.prove(first, second)}
        finally:
            self._proving = False

    def _control_lost(self, peer: Peer) -> None:
        if peer is self._peer:
            log.info("agent {name} disconnected", name=self.name)
            self._lost()

    def _lost(self) -> None:
        self._peer = None
        self.spares.is_connected = False
        self.spares.close()
        if self._orphaned is None:
            self._orphaned = self.clock.callLater(ORPHAN_GRACE, self._cut_orphans)
        self.changed()

    def _cut_orphans(self) -> None:
        self._orphaned = None
        self.cut()


def _accounts(said: object) -> dict[str, dict[str, str]]:
    """Return the accounts that an agent tells of, as far as they can be."""
    if not isinstance(said, dict):
        return {}
    return {
        _printable(str(target)): {
            _printable(str(account)): _printable(str(place))
            for account, place in islice(accounts.items(), ACCOUNTS_LIMIT)
        }
        for target, accounts in islice(said.items(), TARGETS_LIMIT)
        if isinstance(accounts, dict)
    }


def _printable(text: str) -> str:
    """Return an agent's text so that it can be shown: one line, not too long."""
    return "".join(c if c.isprintable() else " " for c in text[:500])
