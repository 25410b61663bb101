"""The client-facing side: requests come in, one at a time, and are answered.

A `ServerConnection` reads a request's head and gives an `Exchange` to ``handle``, a coroutine that
reads the body, answers, or takes the connection over as a tunnel. When it returns, the next request
is read. What it does not answer is answered for it; what it began and did not finish is cut short,
so that the client sees that it is not whole. If the client goes away, it is cancelled.

Each wait for the client has a deadline, and each store a limit; requests that come before their
turn stay unread. `streams` has the rest.

Reference: RFC 9112, sections 7 and 9; RFC 9110, section 10.1.1 (Expect).
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, Final, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.http.doors import Doors
from hoopgw.http.errors import (
    ClientGoneError,
    MessageError,
    RequestTimeoutError,
    UpstreamError,
)
from hoopgw.http.exchange import Exchange, Handle, Refuse, refuse_plainly
from hoopgw.http.heads import CHUNKED
from hoopgw.http.messages import Limits, RequestHead, Response, ResponseHead
from hoopgw.http.streams import RAW, Flow, Incoming, Outgoing, Tunnel
from hoopgw.http.timing import Deadline, Pace, Timeouts
from hoopgw.http.wire import CONTINUE, End, RequestReader, encode_response
from hoopgw.transport import DataTransport
from hoopgw.transport.sending import write

log = Logger()

TURN: Final = 16
"""Requests that came at once and are answered before others have their turn."""

_LENGTH: Final = frozenset({b"content-length"})
_CLOSE: Final = (b"Connection", b"close")
_CHUNKS: Final = (b"Transfer-Encoding", b"chunked")


class Task(typing.Protocol):
    """What handles a request."""

    def cancel(self) -> None:
        """Give it up: the client is gone."""
        ...


class ServerConnection(Protocol):
    """One client's connection. Its transport is a `DataTransport`."""

    def __init__(
        self,
        handle: Handle,
        clock: IReactorTime,
        limits: Limits,
        timeouts: Timeouts,
        refuse: Refuse = refuse_plainly,
        on_lost: Callable[[ServerConnection], None] = lambda connection: None,
    ) -> None:
        self._handle = handle
        self._clock = clock
        self._timeouts = timeouts
        self._refuse = refuse
        self._on_lost = on_lost
        self._reader = RequestReader(limits)
        self._deadline = Deadline(clock, self._expired)
        self._exchange: Exchange | None = None
        self._pace: Pace | None = None
        self._task: Task | None = None
        self._keep = True  # the connection is used again after this exchange
        self._in_head = False
        self._advancing = False
        self._turns = 0
        self._reading = True
        self._tunnel = False
        self._closed = False
        self._stopping = False

    @property
    def data_transport(self) -> DataTransport:
        """The transport."""
        return self._wire

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return self._exchange is None and self._reader.between

    def stop(self) -> None:
        """Close after the exchange that is under way."""
        self._stopping = True
        if self.is_idle:
            self._close()

    # What Twisted calls

    def connectionMade(self) -> None:
        """Wait for the first request."""
        self._wire = cast("DataTransport", self.transport)
        self._flow = Flow(self._wire, self._clock, self._timeouts)
        self._flow.on_drained = self._advance
        self._deadline.set(self._timeouts.idle)

    def dataReceived(self, data: Any) -> None:
        """Read requests, or pass a body on."""
        self._reader.receive(data)
        self._turns = 0
        try:
            self._advance()
        finally:
            self._reader.keep()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End what is under way for the client."""
        self._closed = True
        self._deadline.stop()
        exchange = self._exchange
        if exchange is not None:
            if self._tunnel:
                exchange.body.finish()
            else:
                exchange.body.fail(ClientGoneError("the client closed the connection"))
        if self._task is not None and not self._tunnel:
            # Not at once: what runs just now may have ended the connection itself.
            self._clock.callLater(0, self._task.cancel)
        self._on_lost(self)

    # What a body calls: `Source`

    def demand(self) -> None:
        """Read on: the handler wants more of the body."""
        exchange = self._exchange
        if exchange is None or self._closed:
            return
        if not self._tunnel:
            if exchange.head.expects_continue and not exchange.started and not exchange.body.size:
                self._say_continue()
            if self._pace is None:
                self._pace = Pace(self._clock, self._deadline, self._timeouts)
            self._pace.start(exchange.body.size)
        self._advance()

    def refuse_more(self) -> None:
        """Read no more: where the body goes is full."""
        if self._pace is not None:
            self._pace.stop()
        self._pause()

    # What an exchange calls

    def answer(self, exchange: Exchange, response: Response) -> None:
        """Write a whole answer."""
        head, body = response.head, response.body
        if response.trailers:
            outgoing = self.begin(exchange, head, None)
            outgoing.cork(True)
            if not outgoing.done:
                outgoing.write(body)
                outgoing.finish(response.trailers)
            return
        self.answer_whole(exchange, head, body)

    def answer_whole(self, exchange: Exchange, head: ResponseHead, body: bytes) -> None:
        """Write a whole answer, which has no trailers."""
        if not self._reader.is_whole:
            self._drop_rest(exchange)
        bodyless = _has_no_body(exchange.head, head)
        outgoing, data = self._begin_answer(exchange, head, len(body), 0, bodyless)
        write(self._wire, data if bodyless else data + body)
        outgoing.size = 0 if bodyless else len(body)
        outgoing.finish()

    def begin(self, exchange: Exchange, head: ResponseHead, length: int | None) -> Outgoing:
        """Begin an answer; its head waits in what is returned."""
        framing = CHUNKED if length is None else length
        if length is None and exchange.head.version != "1.1":
            framing = RAW
            self._keep = False
        bodyless = _has_no_body(exchange.head, head)
        left = 0 if bodyless else framing
        outgoing, data = self._begin_answer(exchange, head, framing, left, bodyless)
        outgoing.hold(data)
        if bodyless:
            outgoing.finish()
        return outgoing

    def change(self, exchange: Exchange, head: ResponseHead) -> Tunnel:
        """Write the answer after which there is no HTTP any more."""
        if not self._reader.is_whole or exchange.outgoing is not None:
            raise AssertionError("a tunnel follows a whole request, and is its answer")
        pairs = list(head.headers.end_to_end(_LENGTH).pairs)
        if head.status == 101:
            pairs.append((b"Connection", b"Upgrade"))
            pairs += [(b"Upgrade", value) for value in head.headers.all(b"upgrade")]
        data = encode_response(head.status, pairs, head.reason)
        exchange.outgoing = Outgoing(self._wire, self._flow, RAW)
        exchange.body = Incoming(self)
        self._tunnel, self._keep = True, False
        self._reader.tunnel()
        self._wire.write(data)
        return Tunnel(exchange.body, exchange.outgoing, self._wire)

    # Reading

    def _advance(self) -> None:
        """Go on with what was read, as far as somebody wants it."""
        if self._advancing:
            return  # the loop below sees what has changed
        self._advancing = True
        try:
            while not self._closed and (self._next_request() or self._next_of_body()):
                pass  # each step says whether there may be another one
        except MessageError as error:
            self._broken(error)
        except Exception:  # a mistake of ours: it may have been called by a reactor that trusts us
            log.failure("a connection could not go on")
            self._wire.abortConnection()
        finally:
            self._advancing = False

    def _next_request(self) -> bool:
        if self._exchange is not None:
            return False
        if self._flow.full:
            self._pause()  # who does not read answers may ask no more; `_advance` goes on
            return False
        if self._turns >= TURN:
            self._turns = 0
            self._pause()
            self._clock.callLater(0, self._advance)
            return False
        event = self._reader.next_event()
        if isinstance(event, RequestHead):
            self._turns += 1
            self._begin(event)
            return True
        if not self._in_head and not self._reader.between:
            self._in_head = True
            self._deadline.set(self._timeouts.head)
        self._resume()
        return False

    def _begin(self, head: RequestHead) -> None:
        """Let a request be handled."""
        self._deadline.clear()
        self._in_head = False
        self._pace = None
        self._keep = self._reader.keep_alive
        self._exchange = exchange = Exchange(self, head)
        if self._reader.framing == 0:
            self._reader.next_event()
            exchange.body.finish()
        shortly = self.begin_shortly(exchange)
        if shortly is None:
            self.go_on(exchange, self._handle(exchange))
        else:
            self._task = shortly

    def begin_shortly(self, exchange: Exchange) -> Task | None:
        """Begin to handle a request in a way that needs no coroutine, if there is one: here none.

        Who does it calls `finished` later, or `go_on` with a coroutine for the rest.
        """
        return None

    def go_on(self, exchange: Exchange, handling: Any) -> None:
        """Let a coroutine handle an exchange."""
        task: Deferred[None] = Deferred.fromCoroutine(handling)
        if not task.called:
            self._task = task
        task.addBoth(self._handled, exchange)
        task.addErrback(self._failed)

    def finished(self, exchange: Exchange) -> None:
        """Take note that an exchange was handled without a coroutine."""
        self._handled(None, exchange)

    def _next_of_body(self) -> bool:
        """Deliver a piece; false if there is none, or nobody wants it."""
        exchange, reader = self._exchange, self._reader
        if exchange is None:
            return False
        if reader.is_whole or not exchange.body.wanted:
            if self._pace is not None:
                self._pace.stop()
            if reader.unread:
                self._pause()
            elif reader.is_whole:
                self._resume()  # so that a client that goes away is noticed
            return False
        event: Any = reader.next_event()  # while a request is under way, its body
        if event is None:
            self._resume()
            exchange.body.ran_dry()
            return False
        if isinstance(event, End):
            exchange.body.finish(event)
        else:
            exchange.body.deliver(event)
        return True

    def _say_continue(self) -> None:
        if not self._reader.is_whole and not self._reader.unread:
            self._wire.write(CONTINUE)

    def _pause(self) -> None:
        if self._reading and not self._closed:
            self._reading = False
            self._wire.pauseProducing()

    def _resume(self) -> None:
        if not self._reading and not self._closed:
            self._reading = True
            self._wire.resumeProducing()

    # Answering

    def _begin_answer(
        self, exchange: Exchange, head: ResponseHead, framing: int, left: int, bodyless: bool
    ) -> tuple[Outgoing, bytes]:
        """Return an answer's body, and the bytes of its head."""
        if exchange.outgoing is not None:
            exchange.outgoing.retract()
        if bodyless and head.status != 204:
            pairs = list(head.headers.end_to_end().pairs)
        else:
            pairs = list(head.headers.end_to_end(_LENGTH).pairs)
            if framing >= 0 and not bodyless:
                pairs.append((b"Content-Length", b"%d" % framing))
            elif framing == CHUNKED and not bodyless:
                pairs.append(_CHUNKS)
        if not self._keep or self._stopping:
            self._keep = False
            pairs.append(_CLOSE)
        data = encode_response(head.status, pairs, head.reason)
        exchange.outgoing = outgoing = Outgoing(self._wire, self._flow, left)
        return outgoing, data

    def _drop_rest(self, exchange: Exchange) -> None:
        """Read over a body that nobody wanted, if all of it is here; else the connection ends."""
        if self._reader.is_whole or exchange.body.wanted:
            return
        self._keep = False
        if exchange.body.demanded or not self._reader.unread:
            return
        try:
            while (event := self._reader.next_event()) is not None:
                if isinstance(event, End):
                    exchange.body.finish(event)
                    self._keep = self._reader.keep_alive
        except MessageError:
            return  # the connection ends after this answer

    def _handled(self, result: Any, exchange: Exchange) -> None:
        """Take note that a handler is done; answer for it if it did not."""
        self._task = None
        if isinstance(result, Failure):
            self._answer_for(exchange, result)
        elif not exchange.started and not self._closed:
            log.error("a request was not answered")
            self._respond_last(exchange, 500, "the gateway has no answer")
        if self._closed:
            return
        if not exchange.done and not self._tunnel:
            self._wire.abortConnection()
        elif not self._keep or self._stopping or not self._reader.is_whole:
            self._close()
        else:
            self._exchange = None
            self._reader.proceed()
            self._deadline.set(self._timeouts.idle)
            self._advance()

    def _answer_for(self, exchange: Exchange, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, MessageError | UpstreamError):
            status, text = error.status, str(error)
            self._keep = self._keep and isinstance(error, UpstreamError)
        elif failure.check(CancelledError, ClientGoneError) is None:
            log.failure("a request could not be answered", failure)
            status, text = 500, "the gateway could not answer"
        else:
            status, text = 503, "the gateway gave the request up"
        if self._closed:
            return
        if not exchange.started:
            self._respond_last(exchange, status, text)
        elif not exchange.done or self._tunnel:
            self._wire.abortConnection()

    def _respond_last(self, exchange: Exchange, status: int, text: str) -> None:
        exchange.respond(self._refuse(exchange.head, status, text))

    def _failed(self, failure: Failure) -> None:
        """End after a mistake of ours: nothing may stay open by it."""
        log.failure("a connection could not go on", failure)
        self._wire.abortConnection()

    def _broken(self, error: MessageError) -> None:
        """Say what is wrong with what the client sent, and close."""
        self._keep = False
        exchange = self._exchange
        if exchange is not None:
            self._deadline.clear()
            self._pause()
            exchange.body.fail(error)  # its handler fails by it, and is answered for
            return
        response = self._refuse(None, error.status, str(error))
        pairs = [*response.headers.end_to_end(_LENGTH).pairs, _CLOSE]
        pairs.append((b"Content-Length", b"%d" % len(response.body)))
        self._wire.write(encode_response(response.status, pairs) + response.body)
        self._close()

    def _expired(self) -> None:
        """Take note that the client took too long."""
        if self._exchange is not None:
            if self._pace is not None and self._pace.is_over(self._exchange.body.size):
                self._broken(RequestTimeoutError("the body did not come in time"))
        elif self._in_head:
            self._broken(RequestTimeoutError("the request did not come in time"))
        else:
            self._close()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._deadline.stop()
            self._wire.loseConnection()


class ServerFactory(Factory):
    """Makes `ServerConnection`, knows those that are open, and stops them."""

    noisy = False

    def __init__(
        self,
        handle: Handle,
        clock: IReactorTime,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        refuse: Refuse = refuse_plainly,
        doors: Doors | None = None,
    ) -> None:
        self._doors = doors or Doors()
        self.connections: set[ServerConnection] = set()
        self._handle = handle
        self._clock = clock
        self._limits = limits or Limits()
        self._timeouts = timeouts or Timeouts()
        self._refuse = refuse

    def buildProtocol(self, addr: Any) -> ServerConnection | None:
        """Make one; None if there are too many."""
        address = str(getattr(addr, "host", ""))
        if not self._doors.enter(address):
            return None

        def lost(connection: ServerConnection) -> None:
            self.connections.discard(connection)
            self._doors.leave(address)

        connection = ServerConnection(
            self._handle,
            self._clock,
            self._limits,
            self._timeouts,
            self._refuse,
            lost,
        )
        self.connections.add(connection)
        return connection

    def stop(self) -> None:
        """Let every connection end after its exchange."""
        for connection in list(self.connections):
            connection.stop()


def _has_no_body(request: RequestHead, head: ResponseHead) -> bool:
    return request.method == "HEAD" or head.status in (204, 304)
