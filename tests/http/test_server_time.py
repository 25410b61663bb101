"""Tests for `hoopgw.http.server`: deadlines, and tunnels."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http.exchange import Exchange
from hoopgw.http.messages import Headers, ResponseHead
from hoopgw.http.timing import Timeouts
from tests.http.fakes import Served, echo

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
PUT = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"


class DeadlineTests(SynchronousTestCase):
    """Clients that take their time."""

    timeouts = Timeouts(idle=60, head=10, stall=20, pace=100)

    def served(self) -> Served:
        """Serve with these times."""
        return Served(echo, timeouts=self.timeouts)

    def test_idle(self) -> None:
        """A connection without a request is closed, without a word."""
        served = self.served()
        served.send(GET)
        served.clock.advance(59)
        self.assertEqual(served.wire.ended, "")
        served.clock.advance(1)
        self.assertEqual((served.wire.ended, served.wire.take()), ("closed", b""))
        self.assertEqual(served.clock.getDelayedCalls(), [])

    def test_a_slow_head(self) -> None:
        """The head must be there in time, however many bytes come meanwhile."""
        served = self.served()
        for at in range(9):
            served.clock.advance(1)
            served.send(GET[at : at + 1])
        self.assertEqual(served.wire.ended, "")
        served.clock.advance(2)
        self.assertIn(b"HTTP/1.1 408 ", served.wire.take())
        self.assertEqual(served.wire.ended, "closed")

    def test_a_slow_body(self) -> None:
        """A body must bring so many bytes in the time, or it is given up."""
        for size, ended in ((1, "closed"), (60, "")):
            served = self.served()
            served.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
            for _ in range(10):
                served.clock.advance(4)
                if not served.wire.ended:
                    served.wire.take()
                    served.send(b"a" * size)
            self.assertEqual(served.wire.ended, ended, size)
            if ended:
                self.assertNotIn(b"200 OK", served.wire.take())

    def test_our_own_time_is_not_the_client_s(self) -> None:
        """While nobody wants the body, no time is counted."""
        wait: Deferred[None] = Deferred()

        async def handle(exchange: Exchange) -> None:
            await wait
            await echo(exchange)

        served = Served(handle, timeouts=self.timeouts)
        served.send(PUT)
        served.clock.advance(1_000)
        wait.callback(None)
        served.clock.advance(19)
        self.assertIn(b"/a hello", served.send(b"hello"))

    def test_a_client_that_does_not_read(self) -> None:
        """What waits for it is not kept for ever."""

        async def handle(exchange: Exchange) -> None:
            out = exchange.start(ResponseHead(200))
            out.write(b"a" * 2_000)
            await out.drained()
            out.finish()

        served = Served(handle, timeouts=self.timeouts)
        served.wire.stuck = True
        served.send(GET)
        served.clock.advance(19)
        self.assertEqual(served.wire.ended, "")
        served.clock.advance(2)
        self.assertEqual(served.wire.ended, "aborted")
        served.clock.advance(0)
        self.assertEqual(served.clock.getDelayedCalls(), [])


class TunnelTests(SynchronousTestCase):
    """A change of protocol."""

    def test_upgrade(self) -> None:
        """After 101 bytes come as they are, also those that came with the request."""
        got: list[bytes | None] = []

        async def handle(exchange: Exchange) -> None:
            self.assertEqual(exchange.head.upgrade, (b"websocket",))
            head = ResponseHead(101, Headers.of([(b"Upgrade", b"websocket")]))
            tunnel = exchange.upgrade(head)
            tunnel.outgoing.write(b"\0hello")
            while (data := await tunnel.incoming.read()) is not None:
                got.append(data)

        served = Served(handle)
        asking = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        self.assertEqual(
            served.send(asking + b"\1\2"),
            b"HTTP/1.1 101 Switching Protocols\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n\0hello",
        )
        served.send(GET)
        self.assertEqual(got, [b"\1\2", GET])
        served.clock.advance(100_000)
        self.assertEqual(served.wire.ended, "")
        served.wire.lose()
        self.assertEqual(served.clock.getDelayedCalls(), [])

    def test_the_end_of_the_handler_is_that_of_the_tunnel(self) -> None:
        """And no request is read after it."""

        async def handle(exchange: Exchange) -> None:
            exchange.upgrade(ResponseHead(200)).outgoing.write(b"bye")

        served = Served(handle)
        data = b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"
        self.assertEqual(served.send(data + GET), b"HTTP/1.1 200 OK\r\n\r\nbye")
        self.assertEqual(served.wire.ended, "closed")
