"""Carry bytes between two transports: the agent's whole work once a session is open.

This is the agent's hot path. For each piece that is read there is one call, ``write`` of the other
transport, bound here once, or none where the reactor is compiled; nothing is framed or looked at,
unless the target's protocol has an `Outbound`, as HTTPS has to add its credential to each request.
Back-pressure is the transports' own: each is the other's producer, so a side whose queue is full
stops the reading of the other.
A side that closes takes the other with it, after what was written has been sent.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from hoopgw.spi import Outbound
from hoopgw.transport import DataTransport


class _Side:
    """Receives for one transport, as far as Twisted asks of a protocol."""

    __slots__ = ("_lost", "dataReceived")

    def __init__(
        self, take: Callable[[bytes | memoryview], None], lost: Callable[[], None]
    ) -> None:
        self.dataReceived = take
        self._lost = lost

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Count it; the transport has stopped its producer, which closes the other side."""
        self._lost()


@define(eq=False)
class Pump:
    """Joins two transports until one of them closes."""

    near: DataTransport
    far: DataTransport
    on_end: Callable[[], None]
    """Called once, when both are gone."""
    outbound: Outbound | None = None
    """Looks at what goes from near to far."""
    _left: int = field(default=2, init=False)

    def start(self) -> None:
        """Take both transports over, and let the bytes flow."""
        gone = [side for side in (self.near, self.far) if not side.connected]
        for side, other in ((self.near, self.far), (self.far, self.near)):
            looked_at = self.outbound if side is self.near else None
            if looked_at is None:
                side.protocol = _Side(other.write, self._lost)
                side.carry_to(other)
                producer: IPushProducer = side
            else:
                side.protocol = _Side(looked_at.received, self._lost)
                producer = looked_at.gate
            other.registerProducer(producer, True)  # closes it if ``other`` has gone already
        for _ in gone:
            self._lost()
        if self.outbound is not None:
            self.outbound.begin(self._divert)
        self.near.resumeProducing()
        self.far.resumeProducing()

    def stop(self) -> None:
        """End both sides now."""
        self.near.abortConnection()
        self.far.abortConnection()

    def _divert(self, take: Callable[[bytes | memoryview], None]) -> None:
        if self.far.connected:
            self.far.protocol = _Side(take, self._lost)
            self.far.carry_to(None)

    def _lost(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.on_end()
