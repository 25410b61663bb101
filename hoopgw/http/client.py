"""The target-facing side: one request at a time over a given transport, and its answer.

An `UpstreamConnection` does not connect: it is given a `DataTransport` that leads to the target.
`UpstreamConnection.begin` sends a request's head and gives a `Call`, through which the body is
sent, and the answer is read. The answer may come before the body is sent.

A connection may be used again only if both messages are whole, the target wants that too, and
nothing came that nobody asked for. In any doubt it is not.

Reference: RFC 9112, sections 7 and 9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.http.asking import encode_head, framing_of
from hoopgw.http.errors import (
    UnansweredError,
    UpstreamError,
    UpstreamLostError,
    UpstreamTimeoutError,
)
from hoopgw.http.messages import Limits, RequestHead, ResponseHead
from hoopgw.http.streams import RAW, Flow, Hook, Incoming, Outgoing, Tunnel, relay
from hoopgw.http.timing import Deadline, Timeouts
from hoopgw.http.wire import TUNNEL, End, ResponseReader
from hoopgw.transport import DataTransport
from hoopgw.transport.sending import write

log = Logger()

ANSWER_LIMITS: Final = Limits(body=2**62)
"""Answers may be watched for ever; what is stored of them is not more for that."""


@define(eq=False)
class Call:
    """One request to a target, and its answer."""

    _connection: UpstreamConnection
    outgoing: Outgoing
    """The request's body."""
    body: Incoming
    """The answer's; after a change of protocol, what comes through the tunnel."""
    head: ResponseHead | None = field(default=None, init=False)
    """The answer's, once it came."""
    tunnel: Tunnel | None = field(default=None, init=False)
    """Where the target has changed the protocol."""
    length: int | None = field(default=None, init=False)
    """Of the answer's body, if it is known."""
    quiet: float | None = field(default=None, init=False)
    """Seconds without a byte of the answer's body that are allowed; None: no limit."""
    error: Exception | None = field(default=None, init=False)
    waiting: Deferred[None] | None = field(default=None, init=False)
    on_answer: Callable[[], None] | None = field(default=None, init=False)
    """Called, instead of `answer`, once the head is here or will not come."""
    _sending: Deferred[None] | None = field(default=None, init=False)

    def send_from(self, source: Incoming, change: Hook | None = None) -> None:
        """Send the request's body from another connection, while the answer is awaited.

        A target may answer before it has read all. If ``source`` does not come whole, the call is
        given up, and `answer` and the body raise why.

        Args:
            source: the client's body.
            change: sees each piece, and may change it.

        """
        self._sending = Deferred.fromCoroutine(self._send(source, change))
        self._sending.addErrback(self._not_sent)

    async def answer(self, patience: float | None = None) -> ResponseHead:
        """Wait for the head of the answer.

        Args:
            patience: seconds from the end of the request, instead of `Timeouts.answer`.

        Raises:
            UpstreamError: there is none, or none that can be taken.

        """
        self._connection.expect_answer(self, patience)
        if self.head is None and self.error is None:
            self.waiting = Deferred()
            try:
                await self.waiting
            finally:
                self.waiting = None
        if self.error is not None:
            raise self.error
        assert self.head is not None
        return self.head

    def whole_body(self, limit: int) -> bytes | None:
        """Return the answer's body if all of it is here; None if it is not, or is longer."""
        return self._connection.whole_body(self, limit)

    def end(self) -> None:
        """Take note that `whole_body` was used: the call is over."""
        self._connection.end_call(self)

    def close(self) -> None:
        """Give it up: if the exchange is not whole, its connection ends."""
        self._connection.give_up(self)
        if self._sending is not None:
            self._sending.cancel()

    def wake(self, error: Exception | None = None) -> None:
        """Take note that the head came, or will not come. For the connection."""
        self.error = error
        if self.on_answer is not None:
            self.on_answer()
        elif self.waiting is not None and not self.waiting.called:
            self.waiting.callback(None)

    async def _send(self, source: Incoming, change: Hook | None) -> None:
        out = self.outgoing
        await relay(source, out, change)
        if not out.done:
            out.finish()

    def _not_sent(self, failure: Failure) -> None:
        self._connection.give_up(self, failure.value)


class UpstreamConnection(Protocol):
    """One connection to a target. Its transport is a `DataTransport`."""

    def __init__(
        self,
        clock: IReactorTime,
        limits: Limits = ANSWER_LIMITS,
        timeouts: Timeouts | None = None,
        on_idle: Callable[[UpstreamConnection], None] = lambda connection: None,
        on_lost: Callable[[UpstreamConnection], None] = lambda connection: None,
    ) -> None:
        self._clock = clock
        self._timeouts = timeouts or Timeouts()
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._reader = ResponseReader(limits)
        self._deadline = Deadline(clock, self._expired)
        self._call: Call | None = None
        self._patience = self._timeouts.answer
        self._upgrade = False
        self._fresh = True  # nothing of this answer has come
        self._advancing = False
        self._reading = True
        self._closing = False
        self._lost = False
        self.calls = 0
        """Requests that were sent over it."""
        self.made = clock.seconds()

    @property
    def is_usable(self) -> bool:
        """Whether a request may be sent now."""
        return (
            self._call is None
            and not self._closing
            and not self._lost
            and self._reader.is_reusable
            and self._wire.connected
        )

    def begin(
        self,
        head: RequestHead,
        body: bytes | int | None = b"",
        *,
        upgrade: bool = False,
        later: bool = False,
    ) -> Call:
        """Send a request.

        What concerns one connection only, and lengths, are left out of its head; framing is added.

        Args:
            head: with ``Host``.
            body: the whole of it; or its length, or None if that is not known: then it is written
                to `Call.outgoing`, and finished.
            later: let the head wait for the first of the body, which follows soon: `relay` does.
            upgrade: pass on that the protocol is to be changed to what ``Upgrade`` names.

        Raises:
            ValueError: the head has no host, or a field with more than one line.

        """
        whole = body if isinstance(body, bytes) else None
        left, framing = framing_of(head.method, whole, body)
        data = encode_head(head, framing, upgrade=upgrade)
        if not self.is_usable:
            raise AssertionError("the connection is not free")
        self._deadline.clear()
        self._reader.expect(head.method, upgrade=upgrade)
        self._upgrade = upgrade
        call = Call(self, Outgoing(self._wire, self._flow, left, self._sent), Incoming(self))
        call.quiet = self._timeouts.quiet
        self._call = call
        self._fresh = True
        self._patience = self._timeouts.answer
        self.calls += 1
        if whole is not None:
            self._wire.write(data + whole)
            call.outgoing.size = len(whole)
            call.outgoing.finish()
        else:
            call.outgoing.hold(data)
            if not later:
                call.outgoing.flush()
        return call

    def ask(self, method: str, data: bytes) -> Call:
        """Send a request that has no body, and whose bytes are known already: `asking.bodyless`.

        The connection is free: the pool has just said so.
        """
        self._reader.expect(method)  # which raises if it is not
        self._upgrade = False
        self._call = call = Call(self, self._no_body, Incoming(self))
        call.quiet = self._timeouts.quiet
        self._fresh = True
        self.calls += 1
        self._deadline.set(self._timeouts.answer)
        write(self._wire, data)
        return call

    def whole_body(self, call: Call, limit: int) -> bytes | None:
        """Return an answer's body, if all of it is here. For the call."""
        if call is not self._call or call.head is None:
            return None
        return self._reader.whole_body(limit)

    def end_call(self, call: Call) -> None:
        """Pass over an answer's body, all of which is here. For the call."""
        reader = self._reader
        event: Any = reader.next_event()
        while not isinstance(event, End):
            call.body.size += len(event)
            event = reader.next_event()
        self._deadline.clear()
        self._over(call)
        call.body.finish(event)

    def wait_idle(self, seconds: float) -> None:
        """Close the connection if it is not used for so long."""
        self._deadline.set(seconds)

    def close(self) -> None:
        """Close it after what was written; it is not used from now on."""
        self._closing = True
        self._deadline.clear()
        self._wire.loseConnection()

    def abort(self) -> None:
        """Close it now."""
        self._wire.abortConnection()

    # What Twisted calls

    def connectionMade(self) -> None:
        """Take the transport over; it must be read (``resumeProducing``) by whoever gave it."""
        self._wire = cast("DataTransport", self.transport)
        self._flow = Flow(self._wire, self._clock, self._timeouts)
        self._no_body = Outgoing(self._wire, self._flow, 0)
        self._no_body.done = True

    def dataReceived(self, data: Any) -> None:
        """Read the answer; what nobody asked for ends the connection."""
        if self._call is None:
            self.abort()
            return
        self._reader.receive(data)
        try:
            self._advance()
        finally:
            self._reader.keep()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End what is under way: for a body without a length that is its end."""
        self._lost = True
        self._deadline.stop()
        call, self._call = self._call, None
        if call is not None:
            self._end(call, clean=reason.check(ConnectionDone) is not None)
        self._on_lost(self)

    # What a body calls: `Source`

    def demand(self) -> None:
        """Read on: somebody wants more of the body."""
        if self._call is not None:
            self._wait_for_more(self._call)
            self._advance()

    def refuse_more(self) -> None:
        """Read no more: where the body goes is full."""
        self._deadline.clear()
        self._pause()

    # What a call calls

    def expect_answer(self, call: Call, patience: float | None) -> None:
        """Count from now, or from the end of the request, how long the answer takes."""
        if patience is not None:
            self._patience = patience
        if call is self._call and call.head is None and call.outgoing.done:
            self._deadline.set(self._patience)

    def give_up(self, call: Call, reason: BaseException | None = None) -> None:
        """End the connection if the call is not over."""
        if call is self._call:
            if isinstance(reason, Exception):
                self._call = None
                call.wake(reason)
                call.body.fail(reason)
            self.abort()

    # Inside

    def _sent(self) -> None:
        """Take note that the request is whole."""
        call = self._call
        if call is not None:
            if call.head is None:
                self._deadline.set(self._patience)
            else:
                self._over(call)

    def _advance(self) -> None:
        if self._advancing:
            return  # the loop below sees what has changed
        self._advancing = True
        try:
            while self._call is not None and self._next(self._call):
                pass  # each step says whether there may be another one
        except UpstreamError as error:
            self._broken(error)
        except Exception:  # a mistake of ours: it may have been called by a reactor that trusts us
            log.failure("a connection could not go on")
            self._wire.abortConnection()
        finally:
            self._advancing = False

    def _next(self, call: Call) -> bool:
        """Take the next event; false if there is none, or nobody wants it."""
        reader = self._reader
        if call.head is not None:
            if call.body.ended:
                return False
            if call.body.wanted or reader.framing == 0:
                return self._next_of_body(call)
            self._deadline.clear()
            if reader.unread:
                self._pause()
            return False
        event: Any = reader.next_event()  # the first is the head
        if event is None:
            self._resume()
            return False
        call.head = event
        self._fresh = False
        self._deadline.clear()
        if reader.framing == TUNNEL:
            call.outgoing = Outgoing(self._wire, self._flow, RAW)
            call.tunnel = Tunnel(call.body, call.outgoing, self._wire)
            call.quiet = None
        else:
            call.length = reader.framing if reader.framing >= 0 else None
        self._advancing = False  # what is woken may want the body at once, and that is here
        call.wake()
        self._advancing = True
        return True

    def _next_of_body(self, call: Call) -> bool:
        event: Any = self._reader.next_event()  # after the head, its body
        if event is None:
            self._resume()
            call.body.ran_dry()
            return False
        if isinstance(event, End):
            self._deadline.clear()
            self._over(call)
            call.body.finish(event)
        else:
            call.body.deliver(event)
            if call.body.wanted:
                self._wait_for_more(call)
        return True

    def _wait_for_more(self, call: Call) -> None:
        if call.head is not None and call.quiet is not None:
            self._deadline.set(call.quiet)

    def _over(self, call: Call) -> None:
        """After both messages, or the answer: be free, or close."""
        if call is not self._call or not self._reader.is_whole:
            return
        self._call = None
        if not call.outgoing.done:
            # The target has answered what it has not read: the rest of the request has no place.
            self.close()
        elif self.is_usable and not self._upgrade:
            # What was asked to change the protocol and did not may be half-way between.
            self._resume()
            self._on_idle(self)
        else:
            self.close()

    def _end(self, call: Call, *, clean: bool) -> None:
        """Tell a call that nothing more comes."""
        error: Exception = UpstreamLostError("the target closed the connection within an answer")
        if call.head is None:
            if self._fresh and not self._reader.unread:
                error = UnansweredError("the target closed the connection without an answer")
            call.wake(error)
        elif call.tunnel is not None:
            call.body.finish()
        else:
            try:
                end = self._reader.end() if clean else None
            except UpstreamError as lost:
                end, error = None, lost
            if end is not None:
                call.body.finish(end)
        call.body.fail(error)

    def _broken(self, error: UpstreamError) -> None:
        """Give up on a target that breaks the protocol."""
        call, self._call = self._call, None
        self.abort()
        if call is not None:
            call.wake(error)
            call.body.fail(error)

    def _expired(self) -> None:
        if self._call is None:
            self.close()
        else:
            self._broken(UpstreamTimeoutError("the target did not answer in time"))

    def _pause(self) -> None:
        if self._reading and not self._lost:
            self._reading = False
            self._wire.pauseProducing()

    def _resume(self) -> None:
        if not self._reading and not self._lost:
            self._reading = True
            self._wire.resumeProducing()
