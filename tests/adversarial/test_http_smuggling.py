"""Requests and answers that two readers read differently: a corpus, refused with the right status.

Where it can be shown, it is: the column ``lax`` names readers of others that take the bytes, so
that each vector would get past a gateway that reads like them.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http import errors
from hoopgw.http.messages import Headers, Limits, RequestHead
from hoopgw.http.wire import RequestReader
from tests.http.reading import read_requests, read_response, read_with_h11

_GET: Final = b"GET / HTTP/1.1\r\nHost: x\r\n"
_POST: Final = b"POST / HTTP/1.1\r\nHost: x\r\n"
_CHUNKED: Final = _POST + b"Transfer-Encoding: chunked\r\n\r\n"
_OK: Final = b"HTTP/1.1 200 OK\r\n"
_INNER: Final = b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"
_ADMIN: Final = RequestHead("GET", "/admin", Headers.of([(b"Host", b"x")]))
_CL: Final = b"Content-Length: "
_TE: Final = b"Transfer-Encoding: "


@frozen
class Vector:
    """Bytes that must not be taken."""

    name: str
    data: bytes
    status: int = 400
    lax: bool = False
    """h11 takes it."""


REQUESTS: Final = (
    # Two lengths
    Vector("CL.TE", _POST + _CL + b"4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", lax=True),
    Vector("TE.CL", _POST + _TE + b"chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", lax=True),
    Vector("two lengths", _POST + _CL + b"5\r\nContent-Length: 6\r\n\r\nhello!"),
    Vector("the same length twice", _POST + _CL + b"5\r\nContent-Length: 5\r\n\r\nhello", lax=True),
    Vector("a list of lengths", _POST + _CL + b"5, 5\r\n\r\nhello", lax=True),
    Vector("a signed length", _POST + _CL + b"+4\r\n\r\nabcd"),
    Vector("a negative length", _POST + _CL + b"-1\r\n\r\n"),
    Vector("a length in hex", _POST + _CL + b"0x4\r\n\r\nabcd"),
    Vector("a length with an underscore", _POST + _CL + b"1_0\r\n\r\n0123456789"),
    Vector("a length with a zero before", _POST + _CL + b"04\r\n\r\nabcd", lax=True),
    Vector("an empty length", _POST + b"Content-Length:\r\n\r\n"),
    Vector("a length with space inside", _POST + _CL + b"1 0\r\n\r\n0123456789"),
    Vector("a length beyond all", _POST + _CL + b"9" * 30 + b"\r\n\r\n"),
    Vector("a length in other digits", _POST + _CL + b"\xb2\r\n\r\nab"),
    Vector("Content_Length", _POST + b"Content_Length: 4\r\n\r\n" + _INNER, lax=True),
    # Odd transfer codings
    Vector("identity", _POST + _TE + b"identity\r\nContent-Length: 1\r\n\r\na"),
    Vector("identity alone", _POST + _TE + b"identity\r\n\r\n", 501),
    Vector("chunked, identity", _POST + _TE + b"chunked, identity\r\n\r\n", 501),
    Vector("gzip, chunked", _POST + _TE + b"gzip, chunked\r\n\r\n", 501),
    Vector("xchunked", _POST + _TE + b"xchunked\r\n\r\n", 501),
    Vector(
        "chunked twice", _POST + _TE + b"chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    Vector("chunked, chunked", _POST + _TE + b"chunked, chunked\r\n\r\n0\r\n\r\n", 501),
    Vector("a quoted coding", _POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 501),
    Vector("a vertical tab before the coding", _POST + _TE + b"\x0bchunked\r\n\r\n0\r\n\r\n"),
    Vector("an empty coding", _POST + b"Transfer-Encoding:\r\n\r\n", 501),
    Vector("Transfer_Encoding", _POST + b"Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n"),
    Vector(
        "chunks in HTTP/1.0",
        b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        lax=True,
    ),
    # Lines
    Vector("bare LF", b"GET / HTTP/1.1\nHost: x\n\n", lax=True),
    Vector("bare LF after a field", _GET + b"A: b\nTransfer-Encoding: chunked\r\n\r\n"),
    Vector("bare LF before the blank line", b"GET / HTTP/1.1\r\nHost: x\n\r\n", lax=True),
    Vector("bare CR", _GET + b"A: b\rTransfer-Encoding: chunked\r\n\r\n"),
    Vector("CR CR LF", _GET + b"A: b\r\r\n\r\n"),
    Vector("a folded line", _GET + b"A: b\r\n c\r\n\r\n", lax=True),
    Vector("a folded coding", _POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", lax=True),
    Vector("a fold in the first field", b"GET / HTTP/1.1\r\n Host: x\r\n\r\n"),
    Vector("NUL in a value", _GET + b"A: b\0c\r\n\r\n"),
    Vector("a control character", _GET + b"A: b\x07c\r\n\r\n", lax=True),
    Vector("DEL in a value", _GET + b"A: b\x7fc\r\n\r\n", lax=True),
    Vector("space before the colon", _POST + b"Content-Length : 4\r\n\r\nabcd"),
    Vector("tab before the colon", _POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    Vector("no colon", _GET + b"Authorization\r\n\r\n"),
    Vector("no name", _GET + b": b\r\n\r\n"),
    Vector("a name in other letters", _GET + "Höst: y\r\n\r\n".encode()),
    Vector("a blank line first", b"\r\n" + _GET + b"\r\n"),
    # The first line
    Vector("a method in small letters", b"get / HTTP/1.1\r\nHost: x\r\n\r\n", lax=True),
    Vector("a method with a digit", b"G3T / HTTP/1.1\r\nHost: x\r\n\r\n", lax=True),
    Vector("two spaces", b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n"),
    Vector("a tab", b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    Vector("space at the end", b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n"),
    Vector("a space in the target", b"GET /a HTTP/1.1 HTTP/1.1\r\nHost: x\r\n\r\n"),
    Vector("a fragment", b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", lax=True),
    Vector("a backslash", b"GET /a\\..\\b HTTP/1.1\r\nHost: x\r\n\r\n", lax=True),
    Vector("other letters", "GET /é HTTP/1.1\r\nHost: x\r\n\r\n".encode()),
    Vector("HTTP/0.9", b"GET /\r\n\r\n"),
    Vector("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Vector("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505, lax=True),
    Vector("http/1.1", b"GET / http/1.1\r\nHost: x\r\n\r\n"),
    Vector("a path without a slash", b"GET admin HTTP/1.1\r\nHost: x\r\n\r\n", lax=True),
    Vector("* for another method", b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", lax=True),
    # The host
    Vector("no host", b"GET / HTTP/1.1\r\nA: b\r\n\r\n"),
    Vector("no host in HTTP/1.0", b"GET / HTTP/1.0\r\nA: b\r\n\r\n", lax=True),
    Vector("two hosts", b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
    Vector("the same host twice", b"GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n"),
    Vector("an empty host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", lax=True),
    Vector("a list of hosts", b"GET / HTTP/1.1\r\nHost: x, y\r\n\r\n", lax=True),
    Vector("a host with a user", b"GET / HTTP/1.1\r\nHost: x@y\r\n\r\n", lax=True),
    Vector("a host with a path", b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", lax=True),
    Vector("a host with a dot at the end", b"GET / HTTP/1.1\r\nHost: x.\r\n\r\n", lax=True),
    Vector("another host in the target", b"GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n", lax=True),
    Vector("another port in the target", b"GET http://x:1/ HTTP/1.1\r\nHost: x\r\n\r\n", lax=True),
    Vector("a user in the target", b"GET http://x@x/ HTTP/1.1\r\nHost: x\r\n\r\n", lax=True),
    Vector("another scheme", b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", lax=True),
    Vector("CONNECT elsewhere", b"CONNECT y:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", lax=True),
    Vector("CONNECT to a path", b"CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n", lax=True),
    Vector(
        "CONNECT with a body",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\nContent-Length: 1\r\n\r\na",
        lax=True,
    ),
    # Fields that contradict each other, or are taken out
    Vector(
        "two authorizations",
        _GET + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
        lax=True,
    ),
    Vector("two types", _POST + b"Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n", lax=True),
    Vector("Connection takes Host out", _GET + b"Connection: close, host\r\n\r\n", lax=True),
    Vector(
        "Connection takes a field out", _GET + b"X-Ms-A: b\r\nConnection: x-ms-a\r\n\r\n", lax=True
    ),
    Vector("another expectation", _POST + b"Expect: 200-ok\r\n\r\n", 417, lax=True),
    # Chunks
    Vector("0x1", _CHUNKED + b"0x1\r\na\r\n0\r\n\r\n"),
    Vector("a signed chunk", _CHUNKED + b"+1\r\na\r\n0\r\n\r\n"),
    Vector("no size", _CHUNKED + b"\r\na\r\n0\r\n\r\n"),
    Vector("space before the size", _CHUNKED + b" 1\r\na\r\n0\r\n\r\n"),
    Vector("space after the size", _CHUNKED + b"1 \r\na\r\n0\r\n\r\n", lax=True),
    Vector("a size beyond all", _CHUNKED + b"f" * 17 + b"\r\n"),
    Vector("a size that wraps", _CHUNKED + b"f" * 16 + b"\r\n", 413),
    Vector("a chunk line with bare LF", _CHUNKED + b"1\na\r\n0\r\n\r\n"),
    Vector("a chunk with bare LF", _CHUNKED + b"1\r\na\n0\r\n\r\n"),
    Vector("a chunk that is longer", _CHUNKED + b"1\r\naXX0\r\n\r\n"),
    Vector("a bare LF in an extension", _CHUNKED + b"1;a\nb\r\na\r\n0\r\n\r\n"),
    Vector("a bare CR in an extension", _CHUNKED + b"1;a\rb\r\na\r\n0\r\n\r\n", lax=True),
    Vector("a long extension", _CHUNKED + b"1;" + b"a" * 300 + b"\r\na\r\n0\r\n\r\n", lax=True),
    Vector(
        "extensions without end",
        _CHUNKED + (b"1;" + b"a" * 200 + b"\r\na\r\n") * 100 + b"0\r\n\r\n",
        lax=True,
    ),
    Vector("a bare LF at the end", _CHUNKED + b"0\r\n\n", lax=True),
    Vector("a length in the trailers", _CHUNKED + b"0\r\nContent-Length: 1\r\n\r\n", lax=True),
    Vector("a host in the trailers", _CHUNKED + b"0\r\nHost: y\r\n\r\n", lax=True),
    Vector("a malformed trailer", _CHUNKED + b"0\r\nA b\r\n\r\n"),
    Vector("endless trailers", _CHUNKED + b"0\r\n" + b"A: b\r\n" * 2_000, 431),
    Vector("a trailer without end", _CHUNKED + b"0\r\nA: " + b"b" * 9_000, 431),
    # Sizes
    Vector("too many fields", _GET + b"A: b\r\n" * 200 + b"\r\n", 431, lax=True),
    Vector("a head of 70 KB", _GET + b"A: " + b"b" * 70_000 + b"\r\n\r\n", 431, lax=True),
    Vector("a head without end", _GET + b"A: b\r\n" * 20_000, 431),
    Vector(
        "a target of 20 KB",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        414,
        lax=True,
    ),
    Vector("a first line without end", b"GET /" + b"a" * 20_000, 414),
    Vector("a body that is too long", _POST + _CL + b"2000000000\r\n\r\n", 413),
)

ANSWERS: Final = (
    Vector("two lengths", _OK + _CL + b"1\r\nContent-Length: 2\r\n\r\nab"),
    Vector(
        "a length beside chunks",
        _OK + _CL + b"1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        lax=True,
    ),
    Vector("a signed length", _OK + _CL + b"+1\r\n\r\na"),
    Vector("another coding", _OK + _TE + b"gzip\r\n\r\n"),
    Vector("a body that is cut off", _OK + _CL + b"10\r\n\r\nabc"),
    Vector("chunks that are cut off", _OK + _TE + b"chunked\r\n\r\n5\r\nabc"),
    Vector("chunks without their end", _OK + _TE + b"chunked\r\n\r\n1\r\na\r\n"),
    Vector("a body that is longer", _OK + _CL + b"1\r\n\r\nab", lax=True),
    Vector("a second answer", (_OK + _CL + b"0\r\n\r\n") * 2, lax=True),
    Vector("a length for 204", b"HTTP/1.1 204 No\r\nContent-Length: 1\r\n\r\na", lax=True),
    Vector(
        "chunks for 204",
        b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        lax=True,
    ),
    Vector("a tunnel that nobody asked for", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"),
    Vector(
        "a flood of 1xx", b"HTTP/1.1 102 Wait\r\n\r\n" * 50 + _OK + _CL + b"0\r\n\r\n", lax=True
    ),
    Vector(
        "a length for 1xx",
        b"HTTP/1.1 102 Wait\r\nContent-Length: 1\r\n\r\n" + _OK + b"\r\n",
        lax=True,
    ),
    Vector("endless fields", _OK + b"A: b\r\n" * 20_000),
    Vector("a folded line", _OK + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n", lax=True),
    Vector("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", lax=True),
    Vector("NUL", _OK + b"A: \0\r\n\r\n"),
    Vector("a status of two digits", b"HTTP/1.1 20 OK\r\n\r\n"),
    Vector("a status of four digits", b"HTTP/1.1 2000 OK\r\n\r\n"),
    Vector("status 000", b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n"),
    Vector("HTTP/2", b"HTTP/2.0 200 OK\r\n\r\n", lax=True),
    Vector("no HTTP", b"SSH-2.0-OpenSSH\r\n\r\n"),
    Vector(
        "two types",
        _OK + b"Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 0\r\n\r\n",
        lax=True,
    ),
    Vector(
        "two locations",
        _OK + b"Location: /a\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
        lax=True,
    ),
    Vector("nothing", b""),
)


def each_byte(data: bytes) -> list[bytes]:
    """Cut everywhere."""
    return [data[at : at + 1] for at in range(len(data))]


class RequestTests(SynchronousTestCase):
    """What a client may not send."""

    def test_it_is_refused(self) -> None:
        """With the right status, at once or byte by byte; nothing after it is read."""
        for vector in REQUESTS:
            with self.subTest(vector.name):
                told = read_requests([vector.data + _INNER], Limits())
                assert told.error is not None
                self.assertEqual(told.error.status, vector.status)
                self.assertNotIn(_ADMIN, [m.head for m in told.messages])
                if len(vector.data) < 3_000:
                    self.assertEqual(read_requests(each_byte(vector.data + _INNER), Limits()), told)

    def test_others_take_it(self) -> None:
        """Without these checks much of it goes through: a common reader takes it."""
        for vector in REQUESTS:
            with self.subTest(vector.name):
                self.assertEqual(read_with_h11(vector.data) is not None, vector.lax)

    def test_what_is_allowed_is_taken(self) -> None:
        """What only looks like it."""
        for data in (
            _POST + b"content-length: 4\r\n\r\nabcd",
            _POST + b"Transfer-Encoding: Chunked\r\n\r\n1;a=b\r\na\r\n000\r\n\r\n",
            b"GET http://X/a HTTP/1.1\r\nHost: x\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
            b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
            _GET + b"Connection: keep-alive, TE\r\nTE: trailers\r\n\r\n",
            _GET + b"A:\tb\t\r\nA:\r\nB_c: d\r\n\r\n",
        ):
            with self.subTest(data):
                self.assertIsNone(read_requests([data], Limits()).error)

    def test_nothing_is_stored_beyond_the_limits(self) -> None:
        """A head that never ends costs what a head may, whatever comes."""
        reader = RequestReader(Limits())
        with self.assertRaises(errors.MessageError):
            for _ in range(10_000):
                reader.receive(b"A: bcdefgh\r\n" if reader.unread else _GET)
                reader.next_event()
                self.assertLess(reader.unread, 2 * reader.limits.head)


class AnswerTests(SynchronousTestCase):
    """What a target may not answer."""

    def test_it_is_refused(self) -> None:
        """At once or byte by byte, or its connection is not used again."""
        for vector in ANSWERS:
            with self.subTest(vector.name):
                told = read_response([vector.data], limits=Limits())
                assert told.error is not None
                self.assertGreaterEqual(told.error.status, 502)
                if len(vector.data) < 3_000:
                    again = read_response(each_byte(vector.data), limits=Limits())
                    self.assertEqual(again.error, told.error)

    def test_others_take_it(self) -> None:
        """A common reader takes these."""
        for vector in ANSWERS:
            with self.subTest(vector.name):
                self.assertEqual(read_with_h11(vector.data, "GET") is not None, vector.lax)
