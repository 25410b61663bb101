"""The codec: any cut, garbage, round trips, limits, and the same reading as h11's."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http import wire
from hoopgw.http.errors import MessageError, UpstreamError
from hoopgw.http.messages import Headers, Limits, Pair, RequestHead, ResponseHead
from hoopgw.http.wire import RequestReader, ResponseReader
from tests.http.reading import Told, read_requests, read_response, read_with_h11

_PRINTED = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
names = st.text("abcXYZ-0_!", min_size=1, max_size=8).map(lambda text: f"X-{text}".encode())
values = st.one_of(
    st.text(_PRINTED, max_size=12).map(str.encode), st.just(b"a  b\tc"), st.just(b"\xe9\xff")
)
fields = st.lists(st.tuples(names, values), max_size=5)
bodies = st.one_of(st.none(), st.binary(max_size=60), st.lists(st.binary(min_size=1, max_size=20)))
targets = st.sampled_from(["/", "/a/b?c=d%20e", "http://gw.test:1/x", "/a|b{c}?$filter=x'y'"])


def framed(body: bytes | list[bytes] | None) -> tuple[list[Pair], bytes]:
    """Return the fields and the bytes of a body: none, by length, or in chunks."""
    if body is None:
        return [], b""
    if isinstance(body, bytes):
        return [(b"Content-Length", str(len(body)).encode())], body
    chunks = b"".join(wire.encode_chunk(piece) for piece in body)
    trailers = Headers.of([(b"X-Sum", b"1")]) if len(body) % 2 else None
    return [(b"Transfer-Encoding", b"chunked")], chunks + wire.encode_last_chunk(trailers)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request on the wire."""
    pairs, body = framed(draw(bodies))
    method = draw(st.sampled_from(["GET", "POST", "DELETE"]))
    host = (b"Host", b"gw.test:1")
    return wire.encode_request(method, draw(targets), [host, *draw(fields), *pairs]) + body


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """One answer on the wire, perhaps after some of status 1xx."""
    pairs, body = framed(draw(bodies))
    first = b"HTTP/1.1 102 Wait\r\nX: y\r\n\r\n" * draw(st.integers(0, 2))
    status = draw(st.sampled_from([200, 404, 500]))
    return first + wire.encode_response(status, [*draw(fields), *pairs]) + body


def near(messages: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Messages with a few bytes changed."""

    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        data = bytearray(b"".join(draw(st.lists(messages, min_size=1, max_size=2))))
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, len(data)))
            piece = draw(
                st.sampled_from(
                    [b"\r\n", b"\n", b"\r", b" ", b"\0", b":", b"0", b"5\r\n", b";", b"\t"]
                )
            )
            data[at : at + draw(st.integers(0, 2))] = piece
        return bytes(data)

    return changed()


def cuts(data: bytes, draw: st.DataObject) -> list[bytes]:
    """Cut anywhere."""
    places = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[a:b] for a, b in itertools.pairwise([0, *places, len(data)])]


def each_byte(data: bytes) -> list[bytes]:
    """Cut everywhere."""
    return [data[at : at + 1] for at in range(len(data))]


class RequestTests(SynchronousTestCase):
    """Tests for `RequestReader`."""

    @given(st.lists(requests(), max_size=3), st.data())
    def test_any_cut_reads_the_same(self, sent: list[bytes], draw: st.DataObject) -> None:
        """All at once, in any pieces, and byte by byte."""
        data = b"".join(sent)
        told = read_requests([data], Limits())
        self.assertIsNone(told.error)
        self.assertEqual(len(told.messages), len(sent))
        self.assertEqual(read_requests(cuts(data, draw), Limits()), told)
        self.assertEqual(read_requests(each_byte(data), Limits()), told)

    @given(st.lists(requests(), min_size=1, max_size=3))
    def test_h11_reads_the_same(self, sent: list[bytes]) -> None:
        """What is well made is read alike."""
        self.assertEqual(read_requests([b"".join(sent)], Limits()), read_with_h11(b"".join(sent)))

    @given(near(requests()), st.data())
    def test_what_is_taken_h11_takes_too(self, data: bytes, draw: st.DataObject) -> None:
        """Of changed messages we take fewer than h11, and read none of them otherwise."""
        told = read_requests([data])
        self.assertEqual(read_requests(each_byte(data)), told)
        self.assertEqual(read_requests(cuts(data, draw)), told)
        if told.error is None:
            other = read_with_h11(data)
            assert other is not None, data
            # h11 stops where the client says that it will close; we leave that to the server.
            self.assertEqual(told.messages[: len(other.messages)], other.messages)

    @given(st.binary(max_size=300), st.data())
    def test_garbage_only_ever_breaks_the_protocol(self, data: bytes, draw: st.DataObject) -> None:
        """No bytes raise anything else, and an error stays."""
        reader = RequestReader(Limits(start_line=50, head=100))
        try:
            for piece in cuts(data, draw):
                reader.receive(piece)
                while reader.next_event() is not None:
                    pass
            reader.end()
        except MessageError as error:
            self.assertIs(self.assertRaises(type(error), reader.next_event), error)

    def test_it_waits_between_requests(self) -> None:
        """The next request is not read before `proceed`, and what waits is counted."""
        reader = RequestReader()
        one = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        self.assertTrue(reader.between)
        reader.receive(one + one)
        self.assertIsInstance(reader.next_event(), RequestHead)
        self.assertEqual(reader.next_event(), wire.END)
        self.assertIsNone(reader.next_event())
        self.assertEqual((reader.is_whole, reader.unread), (True, len(one)))
        reader.proceed()
        self.assertIsInstance(reader.next_event(), RequestHead)
        self.assertFalse(reader.between)

    def test_tunnel(self) -> None:
        """After a change of protocol, bytes come as they are, also those that were there."""
        reader = RequestReader()
        reader.receive(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: y\r\n\r\n\0\1")
        reader.next_event()
        reader.next_event()
        reader.tunnel()
        self.assertEqual(bytes(reader.next_event() or b""), b"\0\1")  # type: ignore[arg-type]  # is data
        reader.receive(b"GET")
        self.assertEqual(bytes(reader.next_event() or b""), b"GET")  # type: ignore[arg-type]  # is data
        reader.end()

    def test_body_is_not_copied(self) -> None:
        """Data of a body by length is the memory that was received."""
        reader = RequestReader()
        reader.receive(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        reader.next_event()
        shared = memoryview(bytearray(b"abcdefghi"))
        reader.receive(shared)
        self.assertIs(reader.next_event(), shared)

    def test_chunks_come_in_runs(self) -> None:
        """Many chunks of one piece are one event."""
        reader = RequestReader()
        reader.receive(
            b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"1\r\na\r\n" * 500
            + b"0\r\n\r\n"
        )
        reader.next_event()
        self.assertEqual(reader.next_event(), b"a" * 500)
        self.assertEqual(reader.next_event(), wire.END)

    def test_keep_alive(self) -> None:
        """HTTP/1.0, and who says so, closes."""
        for text, expected in (
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", True),
            (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: TE, Close\r\n\r\n", False),
            (b"GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", False),
        ):
            reader = RequestReader()
            reader.receive(text)
            reader.next_event()
            self.assertEqual(reader.keep_alive, expected, text)


class ResponseTests(SynchronousTestCase):
    """Tests for `ResponseReader`."""

    @given(responses(), st.data())
    def test_any_cut_reads_the_same(self, data: bytes, draw: st.DataObject) -> None:
        """All at once, in any pieces, and byte by byte; and as h11 does."""
        told = read_response([data], limits=Limits())
        self.assertIsNone(told.error)
        self.assertEqual(read_response(cuts(data, draw), limits=Limits()), told)
        self.assertEqual(read_response(each_byte(data), limits=Limits()), told)
        self.assertEqual(read_with_h11(data, "GET"), told)

    @given(near(responses()), st.sampled_from(["GET", "HEAD"]))
    def test_what_is_taken_h11_takes_too(self, data: bytes, method: str) -> None:
        """Of changed answers we take fewer than h11, and read none of them otherwise."""
        told = read_response([data], method)
        self.assertEqual(read_response(each_byte(data), method), told)
        if told.error is None:
            self.assertEqual(read_with_h11(data, method), told)

    @given(st.binary(max_size=300), st.data())
    def test_garbage_only_ever_breaks_the_protocol(self, data: bytes, draw: st.DataObject) -> None:
        """No bytes raise anything else, and an error stays."""
        reader = ResponseReader(Limits(start_line=50, head=100))
        reader.expect("GET")
        try:
            for piece in cuts(data, draw):
                reader.receive(piece)
                while reader.next_event() is not None:
                    pass
            reader.end()
        except UpstreamError as error:
            self.assertIs(self.assertRaises(type(error), reader.next_event), error)

    def test_no_body(self) -> None:
        """HEAD, 204 and 304 have none, whatever they say of lengths where they may."""
        for method, text in (
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ("GET", b"HTTP/1.1 204 No\r\n\r\n"),
            ("GET", b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n"),
            ("GET", b"HTTP/1.1 304 Not\r\nContent-Length: 5\r\n\r\n"),
        ):
            told = read_response([text], method)
            self.assertIsNone(told.error, text)
            self.assertEqual((told.messages[0].body, len(told.messages)), (b"", 1), text)

    def test_until_the_end_of_the_connection(self) -> None:
        """Without a length the end of the connection is the end, and it is not used again."""
        reader = ResponseReader()
        reader.expect("GET")
        reader.receive(b"HTTP/1.1 200 OK\r\n\r\nabc")
        head = reader.next_event()
        assert isinstance(head, ResponseHead)
        self.assertEqual(reader.framing, wire.UNTIL_CLOSE)
        self.assertFalse(reader.keep_alive)
        self.assertEqual(bytes(reader.next_event() or b""), b"abc")  # type: ignore[arg-type]  # is data
        self.assertEqual(reader.end(), wire.END)

    def test_tunnel(self) -> None:
        """101 is taken where it was asked for; what follows comes as it is."""
        text = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n"
        told = read_response([text + b"\1\2", b"\3"], upgrade=True)
        self.assertEqual((told.error, told.messages[0].body), (None, b"\1\2\3"))
        told = read_response([b"HTTP/1.1 200 Made\r\n\r\nHTTP/1.1"], "CONNECT")
        self.assertEqual((told.error, told.messages[0].body), (None, b"HTTP/1.1"))

    def test_idle(self) -> None:
        """What nobody asked for makes a connection unfit."""
        reader = ResponseReader()
        self.assertTrue(reader.is_idle)
        reader.receive(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertFalse(reader.is_idle)
        reader.expect("GET")
        self.assertRaises(UpstreamError, reader.next_event)


class EncodingTests(SynchronousTestCase):
    """What is written."""

    @given(fields, targets, st.sampled_from(["GET", "PUT"]))
    def test_round_trip(self, pairs: list[Pair], target: str, method: str) -> None:
        """What was written is what is read."""
        sent = [(b"Host", b"gw.test:1"), *pairs]
        told = read_requests([wire.encode_request(method, target, sent)], Limits())
        self.assertEqual(
            told.messages[0].head, RequestHead(method, target, Headers.of(sent), "1.1")
        )
        data = wire.encode_response(204, pairs, b"Fine")
        answer: Told = read_response([data], limits=Limits())
        self.assertEqual(
            answer.messages[0].head, ResponseHead(204, Headers.of(pairs), b"Fine", "1.1")
        )

    def test_nothing_begins_a_line_of_its_own(self) -> None:
        """Values that hold a line's end, or NUL, are our mistake."""
        for bad in (b"a\r\nX: y", b"a\nb", b"a\rb", b"a\0b"):
            self.assertRaises(ValueError, wire.encode_request, "GET", "/", [(b"X", bad)])
            self.assertRaises(ValueError, wire.encode_response, 200, [(bad, b"x")])
        self.assertRaises(ValueError, wire.encode_response, 200, [], b"a\r\nb")
        for target in ("/ x", "/\r\n", "", "/é"):
            self.assertRaises(ValueError, wire.encode_request, "GET", target, [])
        self.assertRaises(ValueError, wire.encode_chunk, b"")
