"""Exchanges carried to a target and back, in memory: what is changed, refused, given up."""

from __future__ import annotations

from attrs import define, evolve, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http.client import UpstreamConnection
from hoopgw.http.errors import MessageError, UpstreamError
from hoopgw.http.exchange import Exchange
from hoopgw.http.forwarding import Carried, Hooks, Passing, Show, forward, pass_on
from hoopgw.http.messages import Headers, RequestHead, Response, ResponseHead
from hoopgw.http.timing import Timeouts
from hoopgw.http.wire import Buffer
from tests.http.fakes import FakeTransport, Served, connect

GET = b"GET /a HTTP/1.1\r\nHost: gw\r\n\r\n"
PUT = b"PUT /a HTTP/1.1\r\nHost: gw\r\nContent-Length: 5\r\n\r\n"
ASKING = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class WithheldError(MessageError):
    """The answer may not be shown."""

    status = 403


@define(eq=False)
class Carrying:
    """A client, a gateway, and a target, in memory."""

    show: Show = pass_on
    hooks: Hooks | None = None
    body: bytes | None = None
    clock: Clock = field(factory=Clock)
    carried: list[Carried] = field(factory=list)
    errors: list[Exception] = field(factory=list)
    client: Served = field(init=False)
    upstream: UpstreamConnection = field(init=False)
    target: FakeTransport = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.client = Served(self.handle, clock=self.clock)
        self.upstream = UpstreamConnection(self.clock, timeouts=Timeouts())
        self.target = connect(self.upstream)

    async def handle(self, exchange: Exchange) -> None:
        """Carry an exchange."""
        head = RequestHead(
            exchange.head.method, "/sent", exchange.head.headers.replaced(b"Host", b"target")
        )
        try:
            self.carried.append(
                await forward(
                    exchange,
                    self.upstream,
                    head,
                    body=self.body,
                    show=self.show,
                    hooks=self.hooks,
                )
            )
        except (MessageError, UpstreamError) as error:
            self.errors.append(error)
            raise

    def answer(self, data: bytes) -> bytes:
        """Let the target answer, and return what the client gets."""
        self.upstream.dataReceived(memoryview(bytearray(data)))
        self.clock.advance(0)
        return self.client.wire.take()


class ForwardTests(SynchronousTestCase):
    """Tests for `forward`."""

    def test_there_and_back(self) -> None:
        """Head and body arrive; each side's own fields stay there; both are free again."""
        carrying = Carrying()
        self.assertEqual(carrying.client.send(PUT + b"hel"), b"")
        self.assertEqual(
            carrying.target.take(),
            b"PUT /sent HTTP/1.1\r\nHost: target\r\nContent-Length: 5\r\n\r\nhel",
        )
        carrying.client.send(b"lo")
        self.assertEqual(carrying.target.take(), b"lo")
        got = carrying.answer(b"HTTP/1.1 201 Made\r\nKeep-Alive: 9\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(got, b"HTTP/1.1 201 Made\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(carrying.carried, [Carried(status=201, sent=5, received=2)])
        self.assertTrue(carrying.client.server.is_idle)
        self.assertTrue(carrying.upstream.is_usable)

    def test_heads_go_with_the_first_of_the_body(self) -> None:
        """What came together is sent together; what comes later does not wait for it."""
        carrying = Carrying()
        writes = carrying.client.wire.writes
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        carrying.client.send(GET)
        carrying.answer(head + b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
        self.assertEqual(writes, [head + b"2\r\nab\r\n0\r\n\r\n"])
        carrying.client.send(GET)
        carrying.answer(head)
        self.assertEqual(writes[1:], [head])
        carrying.answer(b"1\r\na\r\n")
        self.assertEqual(writes[2:], [b"1\r\na\r\n"])

    def test_a_collected_body(self) -> None:
        """What was decided on is what is sent."""
        carrying = Carrying(body=b"other")
        carrying.client.send(GET)
        self.assertTrue(carrying.target.take().endswith(b"Content-Length: 5\r\n\r\nother"))

    def test_a_changed_body(self) -> None:
        """It goes in chunks, with what is left at the end, and without the target's trailers."""

        def show(head: ResponseHead) -> Passing:
            kept = evolve(head, headers=head.headers.without((b"etag",)))
            return Passing(head=kept, change=lambda data: bytes(data).upper(), rest=lambda: b"!")

        carrying = Carrying(show)
        carrying.client.send(GET)
        got = carrying.answer(
            b"HTTP/1.1 200 OK\r\nEtag: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
        )
        self.assertEqual(
            got,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nABC\r\n1\r\n!\r\n0\r\n\r\n",
        )

    def test_trailers_are_passed_on(self) -> None:
        """Where the body is as it was."""
        carrying = Carrying()
        carrying.client.send(GET)
        got = carrying.answer(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\n"
        )
        self.assertTrue(got.endswith(b"0\r\nX-Sum: 1\r\n\r\n"), got)

    def test_answers_without_a_body(self) -> None:
        """HEAD, 204 and 304; both connections go on."""
        for request, data, expected in (
            (GET.replace(b"GET", b"HEAD"), b"200 OK\r\nContent-Length: 9", b"Content-Length: 9"),
            (GET, b"204 No\r\nContent-Length: 0", b"204 No\r\n\r\n"),
            (GET, b"304 Same\r\nContent-Length: 9", b"Content-Length: 9"),
        ):
            carrying = Carrying()
            carrying.client.send(request)
            got = carrying.answer(b"HTTP/1.1 " + data + b"\r\n\r\n")
            self.assertIn(expected, got)
            self.assertTrue(got.endswith(b"\r\n\r\n"))
            self.assertTrue(carrying.client.server.is_idle)
            self.assertTrue(carrying.upstream.is_usable)

    def test_an_answer_that_may_not_be_shown(self) -> None:
        """Nothing of it is, and its connection ends."""

        def show(head: ResponseHead) -> Passing:
            raise WithheldError("not shown")

        carrying = Carrying(show)
        carrying.client.send(GET)
        got = carrying.answer(b"HTTP/1.1 200 OK\r\nX-Key: s3cret\r\nContent-Length: 9\r\n\r\ns3cr")
        self.assertTrue(got.startswith(b"HTTP/1.1 403 "), got)
        self.assertNotIn(b"s3cr", got)
        self.assertEqual(carrying.target.ended, "aborted")

    def test_a_body_that_may_not_be_shown(self) -> None:
        """It is cut short where the change raises; before anything was sent, it is refused."""

        def change(data: Buffer) -> Buffer:
            if b"x" in bytes(data):
                raise WithheldError("not shown")
            return data

        head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
        for pieces, status, ended in (
            ([b"abc", b"xyz"], b"200", "aborted"),
            ([b"x"], b"403", "closed"),
        ):
            carrying = Carrying(lambda head: Passing(head=head, change=change))
            carrying.client.send(GET)
            got = carrying.answer(head + pieces[0])
            for piece in pieces[1:]:
                got += carrying.answer(piece)
            self.assertTrue(got.startswith(b"HTTP/1.1 " + status), got)
            self.assertNotIn(b"x", got.partition(b"\r\n\r\n")[2][:3])
            self.assertEqual(carrying.client.wire.ended, ended)
            self.assertEqual(carrying.target.ended, "aborted")

    def test_a_request_that_breaks(self) -> None:
        """The client is told, and the target gets no end of it."""
        carrying = Carrying()
        carrying.client.send(
            b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
        )
        got = carrying.client.send(b"0x1\r\n")
        self.assertTrue(got.startswith(b"HTTP/1.1 400 "), got)
        self.assertEqual(carrying.target.ended, "aborted")
        self.assertNotIn(b"0\r\n\r\n", carrying.target.take())

    def test_a_client_that_goes_away(self) -> None:
        """Its exchange with the target ends, whatever it was about."""
        for sent, data in (
            (GET, b""),
            (PUT, b""),
            (GET, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
        ):
            carrying = Carrying()
            carrying.client.send(sent)
            if data:
                carrying.answer(data)
            carrying.client.wire.lose()
            carrying.clock.advance(0)
            self.assertEqual(carrying.target.ended, "aborted")
            self.assertEqual(carrying.clock.getDelayedCalls(), [])

    def test_an_early_answer(self) -> None:
        """It is passed on, and both connections end: the rest of the request has no place."""
        carrying = Carrying()
        carrying.client.send(PUT + b"he")
        got = carrying.answer(b"HTTP/1.1 409 No\r\nContent-Length: 2\r\n\r\nno")
        self.assertTrue(got.startswith(b"HTTP/1.1 409 "), got)
        self.assertEqual(carrying.client.wire.ended, "closed")
        self.assertEqual(carrying.target.ended, "closed")

    def test_a_tunnel_with_hooks(self) -> None:
        """Each direction is seen, and may be changed; the end of one side is that of the other."""
        seen: list[bytes] = []

        def see(data: Buffer) -> Buffer:
            seen.append(bytes(data))
            return bytes(data).upper()

        carrying = Carrying(hooks=Hooks(to_target=see))
        carrying.client.send(ASKING)
        self.assertIn(b"Connection: Upgrade\r\nUpgrade: websocket\r\n", carrying.target.take())
        got = carrying.answer(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\nhi")
        self.assertTrue(got.startswith(b"HTTP/1.1 101 "), got)
        self.assertTrue(got.endswith(b"\r\n\r\nhi"), got)
        carrying.client.send(b"abc")
        self.assertEqual(carrying.target.take(), b"ABC")
        self.assertEqual(carrying.answer(b"def"), b"def")
        carrying.target.lose()
        self.assertEqual(carrying.client.wire.ended, "closed")
        self.assertEqual(seen, [b"abc"])
        carrying.client.wire.lose()
        carrying.clock.advance(0)
        self.assertEqual(carrying.clock.getDelayedCalls(), [])

    def test_a_hook_that_refuses(self) -> None:
        """The tunnel ends on both sides, and what was refused went nowhere."""

        def refuse(data: Buffer) -> Buffer:
            raise WithheldError("no")

        carrying = Carrying(hooks=Hooks(to_target=refuse))
        carrying.client.send(ASKING)
        carrying.answer(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n")
        carrying.target.take()
        carrying.client.send(b"abc")
        self.assertEqual(carrying.target.take(), b"")
        self.assertNotEqual(carrying.target.ended, "")
        self.assertNotEqual(carrying.client.wire.ended, "")

    def test_no_tunnel_where_none_is_wanted(self) -> None:
        """The wish is not passed on, and a target that changes the protocol is not believed."""
        carrying = Carrying()
        carrying.client.send(ASKING)
        self.assertNotIn(b"pgrade", carrying.target.take())
        got = carrying.answer(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n")
        self.assertTrue(got.startswith(b"HTTP/1.1 502 "), got)

    def test_back_pressure_both_ways(self) -> None:
        """Who does not read is not read from either."""
        carrying = Carrying()
        carrying.client.send(PUT.replace(b"5", b"5000"))
        carrying.target.stuck = True
        carrying.client.send(b"a" * 2_000)
        self.assertFalse(carrying.client.wire.reading)
        carrying.target.drain()
        self.assertTrue(carrying.client.wire.reading)
        carrying.client.send(b"a" * 3_000)
        carrying.client.wire.stuck = True
        carrying.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"b" * 2_000)
        self.assertFalse(carrying.target.reading)
        carrying.client.wire.drain()
        self.assertTrue(carrying.target.reading)
        carrying.answer(b"b" * 3_000)
        self.assertEqual(len(carrying.carried), 1)


class WholeTests(SynchronousTestCase):
    """An answer instead of the target's."""

    def test_trailers_of_a_whole_answer(self) -> None:
        """They go with a body in chunks, in one write."""

        async def handle(exchange: Exchange) -> None:
            trailers = Headers.of([(b"X-Sum", b"1")])
            exchange.respond(Response(ResponseHead(200), b"abc", trailers))

        self.assertEqual(
            Served(handle).send(GET),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
        )
