"""Connections in memory: what one end writes, the other gets when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopgw.ipc import Peer


@define(eq=False)
class Wire:
    """One connection: two ends, each with what the other has written."""

    ends: tuple[Any, Any]
    transports: tuple[StringTransport, StringTransport] = field(
        factory=lambda: (StringTransport(), StringTransport())
    )
    is_up: bool = field(default=True, init=False)

    def carry(self) -> bool:
        """Carry what was written; say whether there was anything."""
        carried = False
        for end, transport in zip(reversed(self.ends), self.transports, strict=True):
            data = transport.value()
            transport.clear()
            if data and self.is_up:
                carried = True
                end.dataReceived(data)
        if self.is_up and any(t.disconnecting or t.disconnected for t in self.transports):
            self.cut()
        return carried

    def cut(self) -> None:
        """Lose the connection."""
        if self.is_up:
            self.is_up = False
            for end in self.ends:
                end.connectionLost(Failure(ConnectionDone()))


@implementer(IStreamClientEndpoint)
@define(eq=False)
class Endpoint:
    """What a client connects to; it can be down."""

    make: Callable[[], Peer]
    """Makes the server's end of a connection."""
    is_up: bool = True
    attempts: int = field(default=0, init=False)
    wires: list[Wire] = field(factory=list, init=False)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, unless nobody listens."""
        self.attempts += 1
        if not self.is_up:
            return fail(ConnectError())
        client = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]  # none in memory
        server = self.make()
        assert client is not None
        wire = Wire((client, server))
        self.wires.append(wire)
        server.makeConnection(wire.transports[1])
        client.makeConnection(wire.transports[0])
        connected: IProtocol = client
        return succeed(connected)

    def carry(self) -> None:
        """Carry until nothing is under way."""
        while any(wire.carry() for wire in list(self.wires)):
            continue

    def cut(self) -> None:
        """Lose all connections."""
        for wire in self.wires:
            wire.cut()
