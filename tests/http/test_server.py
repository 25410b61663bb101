"""The client-facing side, in memory: what comes in what order, limits, deadlines, back-pressure."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http.errors import ClientGoneError, MalformedError, UpstreamTimeoutError
from hoopgw.http.exchange import Exchange, answering
from hoopgw.http.messages import Headers, Request, Response, ResponseHead
from hoopgw.http.server import TURN
from hoopgw.http.streams import relay
from tests.http.fakes import Served, echo
from tests.http.test_wire import cuts, each_byte, requests

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
PUT = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"


class AnswerTests(SynchronousTestCase):
    """One request after the other."""

    def test_keep_alive(self) -> None:
        """A connection serves many requests, and says the length of each answer."""
        served = Served(echo)
        for _ in range(3):
            self.assertEqual(served.send(GET), b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n/a ")
        self.assertEqual((served.wire.ended, served.server.is_idle), ("", True))
        self.assertEqual(served.send(PUT), b"")
        self.assertIn(b"\r\n\r\n/a hello", served.send(b"hello"))

    def test_close(self) -> None:
        """Who asks for it, or speaks HTTP/1.0, is told that the connection ends, and it does."""
        for data in (
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
        ):
            served = Served(echo)
            self.assertIn(b"Connection: close\r\n", served.send(data + GET))
            self.assertEqual(served.wire.ended, "closed")

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        """All of them, each after the one before."""
        served = Served(echo)
        data = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(100))
        answers = served.send(data)
        while served.clock.getDelayedCalls() and not served.server.is_idle:
            served.clock.advance(0)
        answers += served.wire.take()
        self.assertEqual(
            [piece.split(b"\r\n\r\n")[1][:4].strip() for piece in answers.split(b"HTTP/1.1 ")[1:]],
            [b"/%d" % n for n in range(100)],
        )

    @given(st.lists(requests(), max_size=4), st.data())
    def test_any_cut_is_answered_the_same(self, sent: list[bytes], draw: st.DataObject) -> None:
        """However the bytes come, and with bodies that are read or not."""

        async def handle(exchange: Exchange) -> None:
            if exchange.head.method == "DELETE":
                exchange.respond(Response.of(204))
            else:
                await echo(exchange)

        data = b"".join(sent)
        told = []
        for pieces in ([data], cuts(data, draw), each_byte(data)):
            served = Served(handle)
            answer = b"".join(served.send(piece) for piece in pieces if not served.wire.ended)
            # Where nobody reads a body, the connection ends unless all of it was here.
            told.append(answer if b"DELETE" not in data else answer[:20])
        self.assertEqual(told[0], told[1])
        self.assertEqual(told[0], told[2])

    def test_pipelined_requests_leave_others_their_turn(self) -> None:
        """After some, the rest waits for the next turn of the reactor, and nothing is read."""
        served = Served(echo)
        served.server.dataReceived(GET * 100)
        self.assertEqual(served.wire.take().count(b"HTTP/1.1 200"), TURN)
        self.assertFalse(served.wire.reading)
        for _ in range(100 // TURN):
            served.clock.advance(0)
        self.assertEqual(served.wire.take().count(b"HTTP/1.1 200"), 100 - TURN)
        self.assertTrue(served.wire.reading)

    def test_answers_that_nobody_reads_are_few(self) -> None:
        """While the client does not take answers, its further requests wait."""
        count = 0

        async def handle(exchange: Exchange) -> None:
            nonlocal count
            count += 1
            exchange.respond(Response.of(200, b"a" * 600))

        served = Served(handle)
        served.wire.stuck = True
        served.send(GET * 10)
        self.assertEqual((count, served.wire.reading), (2, False))
        served.wire.drain()
        self.assertEqual((count, served.wire.reading), (10, True))

    def test_while_one_is_handled_no_other_is_read(self) -> None:
        """A request that comes early waits, and the connection is not read."""
        waits: list[Deferred[None]] = []

        async def handle(exchange: Exchange) -> None:
            waits.append(Deferred())
            await waits[-1]
            exchange.respond(Response.of(200))

        served = Served(handle)
        self.assertEqual(served.send(GET), b"")
        self.assertTrue(served.wire.reading)  # a client that goes away is noticed
        served.send(GET + GET)
        self.assertFalse(served.wire.reading)
        self.assertEqual(len(waits), 1)
        for _ in range(2):
            waits[-1].callback(None)
        self.assertEqual(len(waits), 3)
        self.assertTrue(served.wire.reading)

    def test_chunks_and_trailers(self) -> None:
        """A body without a length goes in chunks; trailers go with it."""

        async def handle(exchange: Exchange) -> None:
            out = exchange.start(ResponseHead(200, Headers.of([(b"Content-Length", b"9")])))
            out.write(b"ab")
            out.write(b"")
            out.write(memoryview(b"c"))
            out.finish(Headers.of([(b"X-Sum", b"1")]))

        self.assertEqual(
            Served(handle).send(GET),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nab\r\n1\r\nc\r\n0\r\nX-Sum: 1\r\n\r\n",
        )
        old = Served(handle)
        answer = old.send(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        self.assertEqual(answer, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc")
        self.assertEqual(old.wire.ended, "closed")

    def test_answers_without_a_body(self) -> None:
        """HEAD and 304 keep the length of what is not sent, and the connection goes on."""

        async def handle(exchange: Exchange) -> None:
            head = ResponseHead(200, Headers.of([(b"Content-Length", b"9")]))
            self.assertTrue(exchange.start(head).done)

        served = Served(handle)
        data = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
        self.assertEqual(served.send(data), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        self.assertTrue(served.server.is_idle)
        self.assertNotIn(b"/ ", Served(echo).send(data))

    def test_hop_by_hop_fields_stay(self) -> None:
        """What a target says of its own connection is not passed on."""

        async def handle(exchange: Exchange) -> None:
            pairs = [(b"Connection", b"close, X-Own"), (b"X-Own", b"1"), (b"Keep-Alive", b"9")]
            exchange.respond(Response.of(200, b"", headers=[*pairs, (b"X-A", b"b")]))

        self.assertEqual(
            Served(handle).send(GET), b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 0\r\n\r\n"
        )

    def test_stop(self) -> None:
        """An idle connection closes at once, a busy one after its answer."""
        served = Served(echo)
        served.server.stop()
        self.assertEqual(served.wire.ended, "closed")
        served = Served(echo)
        served.send(PUT)
        served.server.stop()
        self.assertEqual(served.wire.ended, "")
        self.assertIn(b"Connection: close", served.send(b"hello"))
        self.assertEqual(served.wire.ended, "closed")


class FaultTests(SynchronousTestCase):
    """What goes wrong, and how it is said."""

    def refused(self, data: bytes, **options: Any) -> bytes:
        """Send what is refused; the connection ends."""
        served = Served(answering(_ok, 4), **options)
        answer = served.send(data)
        self.assertEqual(served.wire.ended, "closed")
        self.assertIn(b"Connection: close", answer)
        self.assertEqual(served.send(GET), b"")
        served.wire.lose()
        self.assertEqual(served.clock.getDelayedCalls(), [])
        return answer

    def test_malformed(self) -> None:
        """The status says what it was."""
        self.assertIn(b"HTTP/1.1 400 ", self.refused(b"GET / HTTP/1.1\r\n\r\n"))
        self.assertIn(b"HTTP/1.1 431 ", self.refused(GET[:-2] + b"A: b\r\n" * 200 + b"\r\n"))
        self.assertIn(b"HTTP/1.1 413 ", self.refused(PUT + b"hello"))
        chunks = b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertIn(b"HTTP/1.1 400 ", self.refused(chunks + b"0x1\r\na\r\n"))

    def test_what_came_before_is_answered(self) -> None:
        """A good request before a bad one is."""
        answer = Served(echo).send(GET + b"get /\r\n\r\n")
        self.assertEqual(answer.count(b"HTTP/1.1 200"), 1)
        self.assertEqual(answer.count(b"HTTP/1.1 400"), 1)

    def test_errors_of_handlers(self) -> None:
        """Ours are 500 and logged, the target's what they are; the connection goes on."""
        errors: list[Exception] = [UpstreamTimeoutError("late"), RuntimeError("secret")]

        async def handle(exchange: Exchange) -> None:
            raise errors.pop(0)

        served = Served(handle)
        self.assertIn(b"504", served.send(GET))
        answer = served.send(GET)
        self.assertIn(b"500", answer)
        self.assertNotIn(b"secret", answer)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertTrue(served.server.is_idle)

    def test_a_handler_that_does_not_answer(self) -> None:
        """It is answered for."""

        async def handle(exchange: Exchange) -> None:
            return None

        self.assertIn(b"500", Served(handle).send(GET))

    def test_an_answer_that_is_cut_short(self) -> None:
        """The client must see it: the connection is cut, without an end of the body."""

        async def handle(exchange: Exchange) -> None:
            exchange.start(ResponseHead(200)).write(b"abc")
            raise UpstreamTimeoutError("late")

        served = Served(handle)
        self.assertNotIn(b"0\r\n\r\n", served.send(GET)[-5:])
        self.assertEqual(served.wire.ended, "aborted")

    def test_an_answer_that_was_not_sent_gives_way(self) -> None:
        """A head that only waits for its body can be replaced; one that was sent cannot."""

        async def failing(exchange: Exchange) -> None:
            exchange.start(ResponseHead(200), later=True)
            self.assertFalse(exchange.started)
            raise UpstreamTimeoutError("late")

        async def refusing(exchange: Exchange) -> None:
            exchange.start(ResponseHead(200), later=True)
            exchange.respond(Response.of(403))

        async def late(exchange: Exchange) -> None:
            exchange.start(ResponseHead(200))
            exchange.respond(Response.of(403))

        for handle, status in ((failing, b"504"), (refusing, b"403")):
            served = Served(handle)
            answer = served.send(GET)
            self.assertTrue(answer.startswith(b"HTTP/1.1 " + status), answer)
            self.assertEqual(answer.count(b"HTTP/1.1"), 1)
            self.assertTrue(served.server.is_idle)
        served = Served(late)
        self.assertNotIn(b"403", served.send(GET))
        self.assertEqual(served.wire.ended, "aborted")
        self.assertEqual(len(self.flushLoggedErrors(AssertionError)), 1)

    def test_lengths_are_kept(self) -> None:
        """A body is exactly as long as was said."""

        async def longer(exchange: Exchange) -> None:
            exchange.start(ResponseHead(200), 2).write(b"abc")

        async def shorter(exchange: Exchange) -> None:
            exchange.start(ResponseHead(200), 2).finish()

        for handle in (longer, shorter):
            served = Served(handle)
            served.send(GET)
            self.assertEqual(served.wire.ended, "aborted")
            self.assertEqual(len(self.flushLoggedErrors(AssertionError)), 1)

    def test_a_client_that_goes_away(self) -> None:
        """Its handler is cancelled, or its read fails, and no timer is left."""
        ends: list[type[BaseException]] = []

        async def waiting(exchange: Exchange) -> None:
            try:
                await Deferred()
            except CancelledError as error:
                ends.append(type(error))
                raise

        async def reading(exchange: Exchange) -> None:
            try:
                await exchange.body.read()
            except ClientGoneError as error:
                ends.append(type(error))
                raise

        for handle in (waiting, reading):
            served = Served(handle)
            served.send(PUT)
            served.wire.lose()
            served.clock.advance(0)
            self.assertEqual(served.clock.getDelayedCalls(), [])
        self.assertEqual(ends, [CancelledError, ClientGoneError])


class BodyTests(SynchronousTestCase):
    """Bodies of requests."""

    def test_continue(self) -> None:
        """The client is told to go on when somebody wants the body, and not otherwise."""
        expecting = PUT[:-2] + b"Expect: 100-continue\r\n\r\n"
        served = Served(echo)
        self.assertEqual(served.send(expecting), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertIn(b"/a hello", served.send(b"hello"))
        self.assertNotIn(b"100 Continue", Served(echo).send(expecting + b"hello"))

        async def refuse(exchange: Exchange) -> None:
            exchange.respond(Response.of(403))

        served = Served(refuse)
        answer = served.send(expecting)
        self.assertTrue(answer.startswith(b"HTTP/1.1 403 "))
        self.assertIn(b"Connection: close", answer)
        self.assertEqual(served.wire.ended, "closed")

    def test_a_body_that_nobody_reads(self) -> None:
        """If all of it is here it is read over; the connection ends if not."""

        async def refuse(exchange: Exchange) -> None:
            exchange.respond(Response.of(403))

        served = Served(refuse)
        self.assertNotIn(b"Connection", served.send(PUT + b"hello"))
        self.assertIn(b"Connection: close", served.send(PUT + b"he"))
        self.assertEqual(served.wire.ended, "closed")

    def test_read_in_pieces(self) -> None:
        """Each piece is given once, and between them nothing is read from the connection."""
        pieces: list[bytes | None] = []
        go_on: list[Deferred[None]] = []

        async def handle(exchange: Exchange) -> None:
            while True:
                pieces.append(await exchange.body.read())
                if pieces[-1] is None:
                    break
                go_on.append(Deferred())
                await go_on[-1]
            exchange.respond(Response.of(200))

        served = Served(handle)
        served.send(PUT + b"he")
        self.assertEqual(pieces, [b"he"])
        served.send(b"ll")
        self.assertEqual((pieces, served.wire.reading), ([b"he"], False))
        go_on[-1].callback(None)
        self.assertEqual(pieces, [b"he", b"ll"])
        go_on[-1].callback(None)
        self.assertTrue(served.wire.reading)
        served.send(b"o" + GET)
        self.assertEqual(pieces, [b"he", b"ll", b"o"])
        go_on[-1].callback(None)
        self.assertIsNone(pieces[3])

    def test_back_pressure(self) -> None:
        """While the client does not read, what is sent to it is not read either."""

        async def handle(exchange: Exchange) -> None:
            out = exchange.start(ResponseHead(200))
            await relay(exchange.body, out)
            out.finish()

        served = Served(handle)
        served.wire.stuck = True
        served.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n" + b"a" * 2_000)
        self.assertFalse(served.wire.reading)
        served.send(b"a" * 500)  # what was under way is stored
        self.assertEqual(served.wire.take(), b"")
        served.wire.drain()
        self.assertTrue(served.wire.reading)
        self.assertEqual(served.wire.take().count(b"a"), 500)
        self.assertTrue(served.send(b"a" * 500).endswith(b"\r\n0\r\n\r\n"))

    def test_what_a_reader_raises_ends_the_body(self) -> None:
        """Its error comes out where the body is awaited."""

        async def handle(exchange: Exchange) -> None:
            def fail(data: object) -> None:
                raise MalformedError("no such thing")

            await exchange.body.pipe(fail)

        served = Served(handle)
        self.assertIn(b"400", served.send(PUT + b"hello"))
        self.assertEqual(served.wire.ended, "closed")


async def _ok(request: Request) -> Response:
    return Response.of(200, request.body)
