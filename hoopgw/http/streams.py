"""Bodies on the way through: what comes from one connection, what goes to another.

Data is pushed from where it comes to where it goes without a queue in between: while nobody wants
it, or the other side is full, the connection that it comes from is not read. What may be stored is
what one read of a socket gave, and what a transport queues.

A tunnel is the same: two `Incoming` and two `Outgoing` without framing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from zope.interface import implementer

from hoopgw.http.bodies import END, End
from hoopgw.http.errors import BodyTooLargeError
from hoopgw.http.heads import CHUNKED, UNTIL_CLOSE
from hoopgw.http.messages import NO_HEADERS, Headers
from hoopgw.http.timing import Deadline, Timeouts
from hoopgw.http.wire import Buffer, encode_chunk, encode_last_chunk
from hoopgw.transport import DataTransport

SMALL: Final = 16_384
"""Bytes of a piece that may wait for more; each is a system call, and with TLS a record."""
PIECES: Final = 16
"""Pieces that wait at most."""

RAW: Final = UNTIL_CLOSE
"""Framing of what goes out: none; its end is that of the connection."""


class Source(Protocol):
    """The connection that an `Incoming` belongs to."""

    def demand(self) -> None:
        """Somebody wants data: give what was read, and read on."""

    def refuse_more(self) -> None:
        """Nobody wants data any more, or just now."""


@define(eq=False)
class Incoming:
    """A body that comes in. Made by connections.

    It is either taken in pieces (`read`), as a whole (`collect`), or pushed on (`pipe`).
    """

    _source: Source
    trailers: Headers = field(default=NO_HEADERS, init=False)
    """After the end."""
    ended: bool = field(default=False, init=False)
    """Whether all of it came."""
    demanded: bool = field(default=False, init=False)
    """Whether anybody has wanted it."""
    size: int = field(default=0, init=False)
    """Bytes that came so far."""
    on_dry: Callable[[], None] | None = field(default=None, init=False)
    """Called when all that is here was delivered, and more is awaited."""
    _write: Callable[[Buffer], object] | None = field(default=None, init=False)
    _held: bool = field(default=False, init=False)
    _error: Exception | None = field(default=None, init=False)
    _waiting: Deferred[None] | None = field(default=None, init=False)

    @property
    def wanted(self) -> bool:
        """Whether data can be delivered now."""
        return self._write is not None and not self._held

    async def pipe(self, write: Callable[[Buffer], object]) -> Headers:
        """Give all data to ``write`` as it comes, and return the trailers.

        Data is valid during the call of ``write`` only; what it raises ends the pipe.

        Raises:
            MessageError: or `UpstreamError`: it did not come whole.

        """
        if self._write is not None:
            raise AssertionError("a body is taken once at a time")
        if not self.ended and self._error is None:
            self._write, self.demanded = write, True
            try:
                await self._until_woken()
            finally:
                self._write = self._waiting = None
        if self._error is not None:
            raise self._error
        return self.trailers

    async def read(self) -> bytes | None:
        """Return the next piece, at the end None.

        Raises:
            MessageError: or `UpstreamError`: it did not come whole.

        """
        pieces: list[bytes] = []

        def take(data: Buffer) -> None:
            pieces.append(bytes(data))
            self._held = True
            self._wake()

        await self._give(take)
        if pieces:
            return pieces[0]
        if self._error is not None:
            raise self._error
        return None

    async def pipe_until(self, write: Callable[[Buffer], bool]) -> bool:
        """Give data to ``write``, as `pipe`, until that says true; say whether it did.

        Raises:
            MessageError: or `UpstreamError`: it did not come whole.

        """
        stopped = False

        def take(data: Buffer) -> None:
            nonlocal stopped
            stopped = write(data)
            if stopped:
                self._held = True
                self._wake()

        await self._give(take)
        if not stopped and self._error is not None:
            raise self._error
        return stopped

    async def collect(self, limit: int) -> bytes:
        """Return all of it.

        Raises:
            BodyTooLargeError: it is longer than ``limit``; the rest was not read.
            MessageError: or `UpstreamError`: it did not come whole.

        """
        pieces: list[bytes] = []
        size = 0

        def take(data: Buffer) -> None:
            nonlocal size
            size += len(data)
            if size > limit:
                raise BodyTooLargeError(f"a body may have {limit} bytes here")
            pieces.append(bytes(data))

        await self.pipe(take)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def hold(self) -> None:
        """Deliver nothing for now: where it goes is full."""
        self._held = True
        self._source.refuse_more()

    def release(self) -> None:
        """Deliver again."""
        if self._held:
            self._held = False
            if self._write is not None:
                self._source.demand()

    # What connections call

    def deliver(self, data: Buffer) -> None:
        """Hand on what came."""
        self.size += len(data)
        assert self._write is not None
        try:
            self._write(data)
        except Exception as error:  # a mask's, a limit's: for who awaits the pipe
            self.fail(error)

    def ran_dry(self) -> None:
        """Say that all that is here was delivered."""
        if self.on_dry is not None:
            self.on_dry()

    def finish(self, end: End = END) -> None:
        """Say that all of it came."""
        self.ended, self.trailers = True, end.trailers
        self._wake()

    def fail(self, error: Exception) -> None:
        """Say that no more of it will come."""
        if not self.ended and self._error is None:
            self._error = error
            self._write = None
            self._wake()

    async def _give(self, take: Callable[[Buffer], None]) -> None:
        """Deliver to ``take`` until it holds and wakes us, or there is no more."""
        if not self.ended and self._error is None:
            self._write, self.demanded = take, True
            try:
                await self._until_woken()
            finally:
                self._write = self._waiting = None
                self._held = False

    async def _until_woken(self) -> None:
        waiting: Deferred[None] = Deferred()
        self._waiting = waiting
        self._source.demand()
        if not waiting.called:
            await waiting

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)


@implementer(IPushProducer)
@define(eq=False)
class Flow:
    """Whether a connection takes more; its transport's only producer."""

    _transport: DataTransport
    _clock: IReactorTime
    _timeouts: Timeouts
    full: bool = field(default=False, init=False)
    on_drained: Callable[[], None] | None = field(default=None, init=False)
    """Called when it has drained, after the body that is held."""
    _source: Incoming | None = field(default=None, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)
    _stalling: Deadline = field(init=False)
    _queued: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._stalling = Deadline(self._clock, self._check_progress)
        self._transport.registerProducer(self, True)

    def throttle(self, source: Incoming | None) -> None:
        """Hold this body from now on while the connection is full; None: no more."""
        before, self._source = self._source, source
        if before is not None:
            before.release()
        if source is not None and self.full:
            source.hold()

    async def drained(self) -> None:
        """Wait until more may be written."""
        if self.full:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting

    def pauseProducing(self) -> None:
        """Take note that the transport's queue is full."""
        self.full = True
        self._queued = self._transport.queued
        self._stalling.set(self._timeouts.stall)
        if self._source is not None:
            self._source.hold()

    def resumeProducing(self) -> None:
        """Take note that it has drained."""
        self.full = False
        self._stalling.clear()
        self._wake()
        if self._source is not None and not self.full:
            self._source.release()
        if self.on_drained is not None and not self.full:
            self.on_drained()

    def stopProducing(self) -> None:
        """Let who waits go on: the connection is gone, and what is written to it is dropped."""
        self._stalling.stop()
        self.full = False
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.called:  # it may have been cancelled
                one.callback(None)

    def _check_progress(self) -> None:
        """End a connection whose peer does not read."""
        queued = self._transport.queued
        if queued > self._queued - self._timeouts.pace:
            self._transport.abortConnection()
        else:
            self._queued = queued
            self._stalling.set(self._timeouts.stall)


@define(eq=False)
class Outgoing:
    """A body that goes out. Made by connections."""

    _transport: DataTransport
    _flow: Flow
    _framing: int
    """The length that is left, `CHUNKED`, or `RAW`."""
    _finished: Callable[[], None] | None = None
    """Called once it is whole."""
    _pending: list[Buffer] = field(factory=list)
    """What waits for more, to be sent with it."""
    _corked: bool = False
    """Whether small pieces wait."""
    unsent: bool = field(default=False, init=False)
    """Whether the head still waits."""
    done: bool = field(default=False, init=False)
    """Whether it is whole."""
    size: int = field(default=0, init=False)
    """Bytes that were written."""

    @property
    def is_open(self) -> bool:
        """Whether writing reaches anybody."""
        return self._transport.connected

    def write(self, data: Buffer) -> None:
        """Send data. Who writes much awaits `drained` in between, or uses `relay`.

        Raises:
            AssertionError: it is longer than was said, or ended already.

        """
        size = len(data)
        if not size:
            return
        framing = self._framing
        if self.done or 0 <= framing < size:
            raise AssertionError("a body is longer than was said")
        self.size += size
        if framing >= 0:
            self._framing = framing - size
        elif framing == CHUNKED:
            data = encode_chunk(data)
        if self._corked and size < SMALL:
            self._pending.append(bytes(data))
            if len(self._pending) >= PIECES:
                self.flush()
        elif self._pending:
            self._pending.append(data)
            self.flush()
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send what waits for more."""
        pending = self._pending
        if pending:
            data = pending[0] if len(pending) == 1 else b"".join(pending)
            pending.clear()
            self.unsent = False
            self._transport.write(data)

    def hold(self, data: Buffer) -> None:
        """Let a head wait for the body."""
        self._pending.append(data)
        self.unsent = True

    def retract(self) -> None:
        """Take back what waits, where nothing was sent: another answer takes its place."""
        if not self.unsent:
            raise AssertionError("a request is answered once")
        self._pending.clear()
        self.done = True

    def cork(self, corked: bool) -> None:
        """Let small pieces wait for more, until `flush` or the end; false: no more."""
        self._corked = corked
        if not corked:
            self.flush()

    async def drained(self) -> None:
        """Wait until the peer takes more, or is gone."""
        await self._flow.drained()

    def finish(self, trailers: Headers = NO_HEADERS) -> None:
        """Say that it is whole. Trailers go with chunks only.

        Raises:
            AssertionError: it is shorter than was said.

        """
        if self.done:
            raise AssertionError("a body ends once")
        if self._framing > 0:
            raise AssertionError("a body is shorter than was said")
        self.done = True
        if self._framing == CHUNKED:
            self._pending.append(encode_last_chunk(trailers))
        self.flush()
        if self._finished is not None:
            self._finished()

    def throttle(self, source: Incoming | None) -> None:
        """Hold ``source`` while the peer takes no more; None: no more."""
        self._flow.throttle(source)

    def abort(self) -> None:
        """Cut the connection, so that the peer sees that the body is not whole."""
        if not self.done:
            self._transport.abortConnection()


async def relay(
    source: Incoming, sink: Outgoing, transform: Callable[[Buffer], Buffer] | None = None
) -> Headers:
    """Send all that comes to where it goes, with back-pressure; return the trailers.

    The end is not sent: who relays has it to say, with `Outgoing.finish`. Small pieces that came
    together are sent together, also with what waits in ``sink``, and with the end if it is here.

    Args:
        source: read as fast as ``sink`` takes.
        sink: written to.
        transform: changes each piece; what it raises ends the relay.

    Raises:
        MessageError: or `UpstreamError`: ``source`` did not come whole.

    """
    sink.throttle(source)
    sink.cork(True)
    source.on_dry = sink.flush
    try:
        if transform is None:
            return await source.pipe(sink.write)
        change: Any = transform
        return await source.pipe(lambda data: sink.write(change(data)))
    finally:
        source.on_dry = None
        sink.throttle(None)


@define(eq=False)
class Tunnel:
    """What follows a change of protocol: bytes both ways, without framing."""

    incoming: Incoming
    outgoing: Outgoing
    _transport: DataTransport

    def close(self) -> None:
        """Close after what was written."""
        self._transport.loseConnection()

    def abort(self) -> None:
        """Close now."""
        self._transport.abortConnection()


Hook = Callable[[Buffer], Buffer]


async def join(
    near: Tunnel, far: Tunnel, to_far: Hook | None = None, to_near: Hook | None = None
) -> None:
    """Carry two tunnels into each other, until one ends; then both are closed.

    Args:
        near: to the client.
        far: to the target.
        to_far: sees, and may change, what the client sends; what it raises ends the tunnel.
        to_near: the same for what the target sends.

    Raises:
        Exception: whatever a hook raised.

    """
    over: Deferred[Any] = Deferred()

    def ended(result: Any) -> None:
        if not over.called:
            over.callback(result)  # a Failure too, which is then raised below

    ways = [
        Deferred.fromCoroutine(relay(near.incoming, far.outgoing, to_far)),
        Deferred.fromCoroutine(relay(far.incoming, near.outgoing, to_near)),
    ]
    for way in ways:
        way.addBoth(ended)
    try:
        await over
    finally:
        near.close()
        far.close()
        for way in ways:
            way.cancel()
