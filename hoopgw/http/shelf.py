"""An answer that nobody waits for, kept in memory: the place of a client's connection."""

from __future__ import annotations

from typing import Any, cast

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from hoopgw.http.exchange import Exchange
from hoopgw.http.messages import RequestHead, Response, ResponseHead
from hoopgw.http.streams import RAW, Flow, Outgoing, Tunnel
from hoopgw.http.timing import Timeouts
from hoopgw.http.wire import Buffer
from hoopgw.transport import DataTransport


@define(eq=False)
class _Store:
    """The part of a transport that an answer's body needs; keeps up to a limit."""

    limit: int
    data: bytearray = field(factory=bytearray, init=False, repr=False)
    is_whole: bool = field(default=True, init=False)
    connected: bool = field(default=True, init=False)
    queued: int = field(default=0, init=False)

    def write(self, data: Buffer) -> None:
        """Keep what there is room for; the target is read to the end all the same."""
        if len(self.data) + len(data) > self.limit:
            self.is_whole = False
        if self.is_whole:
            self.data += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take it: it is never paused."""

    def abortConnection(self) -> None:
        """Say that what is here is not all of it."""
        self.is_whole = self.connected = False


@define(eq=False)
class Shelf:
    """Takes one answer. Implements `hoopgw.http.exchange.Connection`.

    Args:
        head: the request's; its body was collected, if it had one.
        clock: of the worker.
        limit: bytes of the answer's body that are kept.

    """

    head: RequestHead
    _clock: IReactorTime
    limit: int
    exchange: Exchange = field(init=False)
    _store: _Store = field(init=False)
    _answer: ResponseHead | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._store = _Store(self.limit)
        self.exchange = Exchange(self, self.head)
        self.exchange.body.finish()

    @property
    def data_transport(self) -> DataTransport:
        """What stands for the transport."""
        return cast("DataTransport", self._store)

    @property
    def is_whole(self) -> bool:
        """Whether all of the answer is here."""
        return self.exchange.done and self._store.is_whole

    @property
    def response(self) -> Response | None:
        """The answer, as far as it was kept; None: there is none."""
        if self._answer is None:
            return None
        return Response(self._answer, bytes(self._store.data) if self.is_whole else b"")

    def answer(self, exchange: Exchange, response: Response) -> None:
        """Take a whole answer."""
        outgoing = self.begin(exchange, response.head, None)
        if not outgoing.done:
            outgoing.write(response.body)
            outgoing.finish()

    def begin(self, exchange: Exchange, head: ResponseHead, length: int | None) -> Outgoing:
        """Begin an answer."""
        self._answer = head
        bodyless = self.head.method == "HEAD" or head.status in (204, 304)
        flow = Flow(self.data_transport, self._clock, Timeouts())
        framing = 0 if bodyless else RAW if length is None else length
        exchange.outgoing = outgoing = Outgoing(self.data_transport, flow, framing)
        if bodyless:
            outgoing.finish()
        return outgoing

    def change(self, exchange: Exchange, head: ResponseHead) -> Tunnel:
        """Refuse: without a client there is nobody to speak another protocol."""
        raise AssertionError("a request without a client changes no protocol")

    def demand(self) -> None:
        """Do nothing: the body is here, or there is none."""

    def refuse_more(self) -> None:
        """Do nothing."""
