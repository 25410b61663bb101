"""The target-facing side, in memory: requests, answers, and when a connection is used again."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http.client import Call, UpstreamConnection
from hoopgw.http.errors import (
    UnansweredError,
    UpstreamError,
    UpstreamLostError,
    UpstreamMalformedError,
    UpstreamTimeoutError,
)
from hoopgw.http.messages import Headers, Pair, RequestHead, ResponseHead
from hoopgw.http.timing import Timeouts
from tests.http.fakes import FakeTransport, connect

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def asking(method: str = "GET", *pairs: Pair) -> RequestHead:
    """Make a head."""
    return RequestHead(method, "/a", Headers(((b"Host", b"x"), *pairs)))


@define(eq=False)
class Asked:
    """A connection to a target in memory."""

    timeouts: Timeouts = field(factory=Timeouts)
    clock: Clock = field(factory=Clock)
    idle: list[UpstreamConnection] = field(factory=list)
    lost: list[UpstreamConnection] = field(factory=list)
    upstream: UpstreamConnection = field(init=False)
    wire: FakeTransport = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.upstream = UpstreamConnection(
            self.clock,
            timeouts=self.timeouts,
            on_idle=self.idle.append,
            on_lost=self.lost.append,
        )
        self.wire = connect(self.upstream)

    def answer(self, data: bytes) -> None:
        """Let the target answer."""
        self.upstream.dataReceived(memoryview(bytearray(data)))


def whole(call: Call) -> Deferred[tuple[ResponseHead, bytes]]:
    """Wait for all of an answer."""

    async def read() -> tuple[ResponseHead, bytes]:
        head = await call.answer()
        return head, await call.body.collect(10_000)

    return Deferred.fromCoroutine(read())


class UpstreamTests(SynchronousTestCase):
    """Tests for `UpstreamConnection`."""

    def test_one_after_the_other(self) -> None:
        """A connection is free again when both messages are whole."""
        asked = Asked()
        for count in (1, 2):
            call = asked.upstream.begin(asking())
            self.assertEqual(asked.wire.take(), b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertFalse(asked.upstream.is_usable)
            got = whole(call)
            self.assertNoResult(got)
            asked.answer(OK[:20])
            asked.answer(OK[20:])
            self.assertEqual(self.successResultOf(got)[1], b"hello")
            self.assertTrue(asked.upstream.is_usable)
            self.assertEqual((len(asked.idle), asked.upstream.calls), (count, count))
            call.close()  # is over: harmless
        self.assertEqual(asked.wire.ended, "")

    def test_framing_of_requests(self) -> None:
        """A body goes by length where it is known, else in chunks; what is not ours is left out."""
        asked = Asked()
        extra: list[Pair] = [
            (b"Content-Length", b"99"),
            (b"Expect", b"100-continue"),
            (b"Connection", b"keep-alive"),
            (b"Transfer-Encoding", b"chunked"),
        ]
        asked.upstream.begin(asking("PUT", *extra), b"hello")
        self.assertEqual(
            asked.wire.take(), b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
        )
        asked = Asked()
        call = asked.upstream.begin(asking("POST"))
        self.assertIn(b"Content-Length: 0\r\n", asked.wire.take())
        asked = Asked()
        call = asked.upstream.begin(asking("POST"), None)
        call.outgoing.write(b"ab")
        call.outgoing.finish()
        self.assertTrue(
            asked.wire.take().endswith(b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
        )
        self.assertRaises(ValueError, Asked().upstream.begin, RequestHead("GET", "/"))

    def test_no_body(self) -> None:
        """What has none is whole with its head, whether or not anybody reads."""
        for method, data in (
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
            ("GET", b"HTTP/1.1 204 No\r\n\r\n"),
            ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ):
            asked = Asked()
            call = asked.upstream.begin(asking(method))
            head = Deferred.fromCoroutine(call.answer())
            asked.answer(data)
            self.successResultOf(head)
            self.assertTrue(asked.upstream.is_usable)

    def test_an_early_answer(self) -> None:
        """The target need not read the request to its end; then the connection has no future."""
        asked = Asked()
        call = asked.upstream.begin(asking("PUT"), 10)
        call.outgoing.write(b"abc")
        got = whole(call)
        asked.answer(OK)
        self.assertEqual(self.successResultOf(got)[1], b"hello")
        self.assertEqual((asked.wire.ended, asked.idle), ("closed", []))
        call.outgoing.write(b"defghij")  # goes nowhere
        call.outgoing.finish()

    def test_the_answer_before_the_end_of_the_request(self) -> None:
        """If the request is finished all the same, the connection is used again."""
        asked = Asked()
        call = asked.upstream.begin(asking("PUT"), 4)
        got = Deferred.fromCoroutine(call.answer())
        asked.answer(OK)
        self.successResultOf(got)
        call.outgoing.write(b"abcd")
        call.outgoing.finish()
        body = Deferred.fromCoroutine(call.body.collect(9))
        self.assertEqual(self.successResultOf(body), b"hello")
        self.assertTrue(asked.upstream.is_usable)

    def test_it_is_not_used_again(self) -> None:
        """After what the target says, or sends and nobody asked for."""
        for data in (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ):
            asked = Asked()
            call = asked.upstream.begin(asking())
            got = Deferred.fromCoroutine(call.answer())
            asked.answer(data)
            self.successResultOf(got)
            self.assertEqual(asked.idle, [])
            self.assertNotEqual(asked.wire.ended, "", data)
        asked = Asked()
        asked.answer(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertEqual((asked.wire.ended, asked.upstream.is_usable), ("aborted", False))

    def test_breaks(self) -> None:
        """What is malformed, cut off or late is told, and the connection ends."""
        for data, error in (
            (b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n", UpstreamMalformedError),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", UpstreamLostError),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", UpstreamLostError),
            (b"HTTP/1.1 200", UpstreamLostError),
            (b"", UnansweredError),
        ):
            asked = Asked()
            got = whole(asked.upstream.begin(asking()))
            asked.answer(data)
            asked.wire.lose()
            self.failureResultOf(got, error)
            self.assertEqual(asked.clock.getDelayedCalls(), [])
            self.assertEqual(len(asked.lost), 1)

    def test_until_the_end_of_the_connection(self) -> None:
        """A proper end is the end of such a body, a broken connection is not."""
        for reason, error in ((None, None), (ConnectionLost("reset"), UpstreamError)):
            asked = Asked()
            got = whole(asked.upstream.begin(asking()))
            asked.answer(b"HTTP/1.1 200 OK\r\n\r\nabc")
            asked.wire.lose(reason)
            if error is None:
                self.assertEqual(self.successResultOf(got)[1], b"abc")
            else:
                self.failureResultOf(got, error)

    def test_deadlines(self) -> None:
        """For the head from the end of the request, and for each byte of the body."""
        asked = Asked(Timeouts(answer=10, quiet=5))
        got = whole(asked.upstream.begin(asking()))
        asked.clock.advance(9)
        self.assertNoResult(got)
        asked.clock.advance(1)
        self.failureResultOf(got, UpstreamTimeoutError)
        asked = Asked(Timeouts(answer=10, quiet=5))
        call = asked.upstream.begin(asking("PUT"), 2)
        got = whole(call)
        asked.clock.advance(1_000)
        call.outgoing.write(b"ab")
        call.outgoing.finish()
        asked.clock.advance(9)
        asked.answer(b"HTTP/1.1 200 OK\r\n\r\nabc")
        for _ in range(3):
            asked.clock.advance(4)
            asked.answer(b"a")
        self.assertNoResult(got)
        asked.clock.advance(5)
        self.failureResultOf(got, UpstreamTimeoutError)
        self.assertEqual(asked.wire.ended, "aborted")

    def test_a_quiet_body(self) -> None:
        """A watch may be quiet if its caller says so."""
        asked = Asked(Timeouts(quiet=5))
        call = asked.upstream.begin(asking())
        call.quiet = None
        got = whole(call)
        asked.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        asked.clock.advance(10_000)
        asked.answer(b"0\r\n\r\n")
        self.assertEqual(self.successResultOf(got)[1], b"a")

    def test_a_body_that_is_not_read(self) -> None:
        """It waits in the kernel, and no time is counted for it."""
        asked = Asked(Timeouts(quiet=5))
        call = asked.upstream.begin(asking())
        got = Deferred.fromCoroutine(call.answer())
        asked.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        self.successResultOf(got)
        self.assertFalse(asked.wire.reading)
        asked.clock.advance(100)
        first = Deferred.fromCoroutine(call.body.read())
        self.assertEqual(self.successResultOf(first), b"abc")
        second = Deferred.fromCoroutine(call.body.read())
        self.assertTrue(asked.wire.reading)
        asked.answer(b"defghi")
        self.assertEqual(self.successResultOf(second), b"defghi")

    def test_giving_up(self) -> None:
        """An exchange that is not whole takes its connection with it."""
        asked = Asked()
        call = asked.upstream.begin(asking())
        got = Deferred.fromCoroutine(call.answer())
        call.close()
        self.failureResultOf(got, UpstreamLostError)
        self.assertEqual(asked.wire.ended, "aborted")
        self.assertEqual(asked.clock.getDelayedCalls(), [])

    def test_upgrade(self) -> None:
        """Where it was asked for, 101 makes a tunnel; another answer is an answer."""
        fields: list[Pair] = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
        asked = Asked()
        call = asked.upstream.begin(asking("GET", *fields), upgrade=True)
        self.assertIn(b"Connection: Upgrade\r\nUpgrade: websocket\r\n", asked.wire.take())
        got = Deferred.fromCoroutine(call.answer())
        asked.answer(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\1")
        self.assertEqual(self.successResultOf(got).status, 101)
        assert call.tunnel is not None
        call.tunnel.outgoing.write(b"\0ab")
        self.assertEqual(asked.wire.take(), b"\0ab")
        read = Deferred.fromCoroutine(call.tunnel.incoming.read())
        self.assertEqual(self.successResultOf(read), b"\1")
        last = Deferred.fromCoroutine(call.tunnel.incoming.read())
        asked.clock.advance(10_000)
        asked.wire.lose()
        self.assertIsNone(self.successResultOf(last))
        asked = Asked()
        plain: Any = whole(asked.upstream.begin(asking("GET", *fields), upgrade=True))
        asked.answer(OK)
        self.assertEqual(self.successResultOf(plain)[1], b"hello")
        self.assertEqual((asked.wire.ended, asked.idle), ("closed", []))
        asked = Asked()
        asked.upstream.begin(asking("GET", *fields))
        self.assertNotIn(b"pgrade", asked.wire.take())
