"""A proxy made of the engine, as plain as can be; for tests with real sockets, and benchmarks."""

from __future__ import annotations

import ssl
from typing import Any

from attrs import define, field

from hoopgw.http.exchange import Exchange
from hoopgw.http.forwarding import Hooks, Show, forward, pass_on
from hoopgw.http.messages import Limits, RequestHead
from hoopgw.http.pool import Key, Pool, PoolLimits
from hoopgw.http.server import ServerFactory
from hoopgw.http.timing import Timeouts
from hoopgw.transport import Address, DataTransport, connect, listen


@define(eq=False)
class Proxy:
    """Listens on loopback, and passes everything on to one port."""

    reactor: Any
    upstream: int
    timeouts: Timeouts = field(factory=Timeouts)
    limits: PoolLimits = field(factory=PoolLimits)
    tls: ssl.SSLContext | None = None
    upstream_tls: ssl.SSLContext | None = None
    show: Show = pass_on
    transports: list[DataTransport] = field(factory=list)
    """To the target, in the order in which they were opened."""
    pool: Pool = field(init=False)
    factory: ServerFactory = field(init=False)
    port: int = field(init=False)
    _listening: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.pool = Pool(clock=self.reactor, limits=self.limits, timeouts=self.timeouts)
        self.factory = ServerFactory(self.handle, self.reactor, Limits(), self.timeouts)
        self._listening = listen(
            self.reactor, Address(host="127.0.0.1"), self.factory, tls=self.tls
        )
        self.port = self._listening.getHost().port

    async def open(self) -> DataTransport:
        """Connect to the target."""
        transport = await connect(
            self.reactor,
            Address(host="127.0.0.1", port=self.upstream),
            _Nobody(),
            tls=self.upstream_tls,
            paused=True,
        )
        self.transports.append(transport)
        return transport

    async def handle(self, exchange: Exchange) -> None:
        """Pass one exchange on."""
        connection = await self.pool.take(Key("target", "account", "session"), self.open)
        head = exchange.head
        sent = RequestHead(head.method, head.target, head.headers)
        await forward(exchange, connection, sent, show=self.show, hooks=Hooks())

    async def stop(self) -> None:
        """Close everything."""
        await self._listening.stopListening()
        for connection in list(self.factory.connections):
            connection.data_transport.abortConnection()
        self.pool.stop()


class _Nobody:
    """Receives nothing: the transport is paused until the pool has it."""

    def makeConnection(self, transport: Any) -> None:
        """Do nothing."""
