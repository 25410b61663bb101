"""A gateway and its agent over a real link, for tests of the link as a whole."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from hoopgw.errors import LinkError
from hoopgw.link.frames import FrameReader
from hoopgw.transport import DataTransport
from tests.link.world import Collector, World
from tests.support.waiting import eventually


class LinkTestCase(TestCase):
    tcp = False
    timeout = 120

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.world = World(reactor, tcp=self.tcp, clock=self.make_clock())
        self.addCleanup(lambda: Deferred.fromCoroutine(self.world.stop()))

    def make_clock(self) -> Any:
        """Return the clock of both sides."""
        return self.reactor

    async def refused(self, *args: Any, **options: Any) -> str:
        """Open, and return why that was refused."""
        with self.assertRaises(LinkError) as caught:
            await self.world.open(*args, **options)
        return str(caught.exception)

    async def until(self, condition: Any) -> None:
        await eventually(self.reactor, condition)


class Talker(Collector):
    """An agent's end of a connection, spoken by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = FrameReader()
        self._next: Deferred[Any] | None = None

    @property
    def link(self) -> DataTransport:
        return cast("DataTransport", self.transport)

    def dataReceived(self, data: bytes) -> None:
        self.reader.receive_data(data)
        if self._next is not None and (frame := self.reader.next_frame()) is not None:
            waiting, self._next = self._next, None
            waiting.callback(frame)

    def connectionLost(self, reason: object = None) -> None:
        super().connectionLost(reason)
        if self._next is not None:
            self._next.callback(None)

    async def frame(self) -> Any:
        """Return the next frame, or None when the connection is lost."""
        if (frame := self.reader.next_frame()) is not None:
            return frame
        if self.lost.called:
            return None
        self._next = Deferred()
        return await self._next
