"""One data connection in the agent: idle, then opening a target, then a pump until its end.

The ticket says when the session ends. The agent cuts it then whatever the gateway does, and cancels
what the target is still doing for it; a ticket for renewal moves the end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import LinkError, ProtocolViolationError
from hoopgw.link.attach import attach
from hoopgw.link.frames import FrameReader, Go, Open, Refused, encode
from hoopgw.link.frames import Opened as OpenedFrame
from hoopgw.link.open_sessions import OpenSessions
from hoopgw.link.opening import TargetOpener
from hoopgw.link.pump import Pump
from hoopgw.link.tickets import Ticket
from hoopgw.spi import Opened
from hoopgw.transport import DataTransport

log = Logger()

GO_TIMEOUT: Final = 10.0
"""Seconds between the answer that a target is open and the gateway's `Go`."""
CANCEL_TIMEOUT: Final = 5.0
"""Seconds that cancelling at a target may take."""
_SETTLED_LIMIT: Final = 10 * 365 * 86_400.0
"""Seconds; an end further away than that is a mistake."""


@define(eq=False)
class AgentSession:
    """A target that is open for a ticket."""

    ticket: Ticket
    opened: Opened = field(repr=False)
    link: DataTransport = field(repr=False)
    clock: IReactorTime = field(repr=False)
    on_end: Callable[[], object] = field(repr=False)
    _pump: Pump | None = field(default=None, init=False, repr=False)
    _end: IDelayedCall | None = field(default=None, init=False, repr=False)
    _cancelling: Deferred[None] | None = field(default=None, init=False, repr=False)

    def start(self, rest: bytes) -> None:
        """Join the two legs; ``rest`` came from the gateway behind its `Go`."""
        log.info(
            "session {session} of {principal} opened {target} as {account}",
            session=self.ticket.session,
            principal=self.ticket.principal.path,
            target=self.ticket.target,
            account=self.ticket.account,
        )
        self.last_until(self.ticket.session_end)
        target: DataTransport = self.opened.transport
        outbound = None
        if self.opened.outbound is not None:
            outbound = self.opened.outbound(self.link, target)
        self._pump = Pump(self.link, target, self._ended, outbound)
        if self.opened.rest:
            self.link.write(self.opened.rest)
        if rest:
            (target.write if outbound is None else outbound.received)(rest)
        self._pump.start()

    def last_until(self, end: float) -> None:
        """Let the session last until ``end`` (seconds since the epoch)."""
        if self._end is not None and self._end.active():
            self._end.cancel()
        left = min(max(0.0, end - self.clock.seconds()), _SETTLED_LIMIT)
        self._end = self.clock.callLater(left, self.cut, "its time is over")

    def cut(self, reason: str) -> None:
        """End both legs now, and cancel what the target is doing."""
        log.info("session {session} is cut: {reason}", session=self.ticket.session, reason=reason)
        self.cancel()
        if self._pump is not None:
            self._pump.stop()

    def cancel(self) -> None:
        """Ask the target to stop what it is doing; one such request at a time."""
        if self._cancelling is None:
            self._cancelling = Deferred.fromCoroutine(_coroutine(self.opened.cancel))
            self._cancelling.addTimeout(CANCEL_TIMEOUT, self.clock)
            self._cancelling.addErrback(self._not_cancelled).addBoth(self._cancelled)

    def _not_cancelled(self, failure: Failure) -> None:
        log.warn(
            "cancelling for session {session} failed: {why}",
            session=self.ticket.session,
            why=failure.value,
        )

    def _cancelled(self, _result: object) -> None:
        self._cancelling = None

    def _ended(self) -> None:
        if self._end is not None and self._end.active():
            self._end.cancel()
        log.info("session {session} has ended", session=self.ticket.session)
        self.on_end()


async def _coroutine(cancel: Callable[[], Any]) -> None:
    await cancel()


class Serving(Protocol):
    """A data connection from its welcome to its `Go`.

    Args:
        nonce: which the ticket must name.
        opener: opens targets.
        clock: for deadlines.
        taken: called when the gateway begins to use the connection.
        left: called once when this protocol is done with it: a session has begun, or it is lost.
        sessions: all that are open; this one's is there while it lasts.

    """

    def __init__(
        self,
        nonce: bytes,
        opener: TargetOpener,
        clock: IReactorTime,
        taken: Callable[[Serving], None],
        left: Callable[[Serving], None],
        sessions: OpenSessions,
    ) -> None:
        self.nonce = nonce
        self._opener, self._clock = opener, clock
        self._taken, self._left = taken, left
        self._sessions = sessions
        self._reader = FrameReader()
        self._opening: Deferred[None] | None = None
        self._ready: tuple[Ticket, Opened] | None = None
        self._deadline: IDelayedCall | None = None

    def adopt(self, transport: DataTransport, rest: bytes) -> None:
        """Receive from now on; ``rest`` came behind the welcome."""
        self._link = transport
        attach(transport, self)
        if rest:
            self.dataReceived(rest)

    def close(self) -> None:
        """End it."""
        self._link.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Take `Open`, later `Go`; between them the gateway has nothing to say."""
        self._reader.receive_data(data)
        try:
            if self._opening is not None:
                raise ProtocolViolationError("bytes while a target is being opened")
            frame = self._reader.next_frame()
            match frame:
                case None:
                    return
                case Open(ticket, wishes) if self._ready is None:
                    self._open(ticket, wishes)
                case Go() if self._ready is not None:
                    self._go(*self._ready)
                case _:
                    raise ProtocolViolationError(f"{type(frame).__name__} out of turn")
        except ProtocolViolationError as error:
            log.warn("closing a data connection: {error}", error=error)
            self._link.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give up what was begun; a target that was opened for nobody is closed."""
        self._left(self)
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        ready, self._ready = self._ready, None
        if ready is not None:
            ready[1].transport.abortConnection()

    def _open(self, text: str, wishes: dict[str, Any]) -> None:
        self._taken(self)
        if self._reader.rest():
            raise ProtocolViolationError("bytes behind the ticket")
        opening = Deferred.fromCoroutine(self._open_target(text, wishes))
        if not opening.called:
            self._opening = opening
        opening.addErrback(self._not_opened)

    async def _open_target(self, text: str, wishes: dict[str, Any]) -> None:
        ticket = self._opener.check(text, self.nonce)
        opened = await self._opener.open(ticket, wishes)
        self._opening = None
        try:
            answer = encode(OpenedFrame(dict(opened.facts)))
        except (LinkError, TypeError) as error:
            opened.transport.abortConnection()
            raise LinkError("the target said more than can be passed on") from error
        self._ready = ticket, opened
        self._deadline = self._clock.callLater(GO_TIMEOUT, self._link.abortConnection)
        self._link.write(answer)

    def _not_opened(self, failure: Failure) -> None:
        self._opening = None
        if failure.check(CancelledError) is not None:
            return
        reason = "the agent could not open the target"
        if failure.check(LinkError) is not None:
            reason = failure.getErrorMessage()
        else:
            log.failure("a target could not be opened", failure)
        self._link.write(encode(Refused(reason[:500])))
        self._link.loseConnection()

    def _go(self, ticket: Ticket, opened: Opened) -> None:
        self._ready = None
        if self._deadline is not None:
            self._deadline.cancel()
        ended = partial(self._sessions.end, self.nonce)
        session = AgentSession(ticket, opened, self._link, self._clock, ended)
        self._sessions.begin(self.nonce, session)
        self._left(self)
        session.start(self._reader.rest())
