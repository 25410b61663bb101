"""A `DataTransport` in memory, and handlers that tests use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import define, field
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from hoopgw.http.exchange import Exchange, Handle
from hoopgw.http.messages import Limits, Response
from hoopgw.http.server import ServerConnection
from hoopgw.http.timing import Timeouts


@define(eq=False)
class FakeTransport:
    """Keeps what is written; `take` lets the peer read."""

    protocol: Any = None
    connected: bool = True
    written: bytearray = field(factory=bytearray)
    writes: list[bytes] = field(factory=list)
    reading: bool = True
    ended: str = ""
    """``closed`` or ``aborted``, by us."""
    queued: int = 0
    stuck: bool = False
    """The peer reads nothing: what is written is queued."""
    producer: Any = None

    def write(self, data: Any) -> None:
        """Keep it."""
        if self.connected and not self.ended:
            self.written += data
            self.writes.append(bytes(data))
            if self.stuck:
                self.queued += len(data)
                if self.queued > 1_000:
                    self.producer.pauseProducing()

    def writeSequence(self, pieces: Iterable[Any]) -> None:
        """Keep them."""
        self.write(b"".join(pieces))

    def drain(self) -> None:
        """Let the peer read everything."""
        self.stuck, self.queued = False, 0
        self.producer.resumeProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take the only one."""
        assert self.producer is None
        self.producer = producer

    def pauseProducing(self) -> None:
        """Read no more."""
        self.reading = False

    def resumeProducing(self) -> None:
        """Read again."""
        self.reading = True

    def loseConnection(self) -> None:
        """Close after what was written; the loss is told by `lose`."""
        self.ended = self.ended or "closed"

    def abortConnection(self) -> None:
        """Close now."""
        self.ended = "aborted"
        self.lose()

    def lose(self, reason: Exception | None = None) -> None:
        """Tell the protocol that the connection is gone."""
        if self.connected:
            self.connected = False
            if self.producer is None:
                return
            self.producer.stopProducing()
            self.protocol.connectionLost(Failure(reason or ConnectionDone()))

    def take(self) -> bytes:
        """Return what was written since the last time."""
        data = bytes(self.written)
        self.written.clear()
        return data


def connect(protocol: Any) -> FakeTransport:
    """Connect a protocol to a fake transport."""
    transport = FakeTransport(protocol)
    protocol.makeConnection(transport)
    return transport


@define(eq=False)
class Served:
    """A server connection in memory."""

    handle: Handle
    limits: Limits = field(factory=Limits)
    timeouts: Timeouts = field(factory=Timeouts)
    clock: Clock = field(factory=Clock)
    server: ServerConnection = field(init=False)
    wire: FakeTransport = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.server = ServerConnection(self.handle, self.clock, self.limits, self.timeouts)
        self.wire = connect(self.server)

    def send(self, data: bytes) -> bytes:
        """Let the server read, and return what it writes; its memory is used again."""
        shared = bytearray(data)
        self.server.dataReceived(memoryview(shared))
        shared[:] = b"\xee" * len(shared)
        self.clock.advance(0)
        return self.wire.take()


async def echo(exchange: Exchange) -> None:
    """Answer with what was asked."""
    request = await exchange.collect(10_000)
    exchange.respond(Response.of(200, request.target.encode() + b" " + request.body))
