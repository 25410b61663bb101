"""Tests for the compiled twin of `hoopgw.http.heads`: it takes, refuses and writes the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from unittest import SkipTest

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http import heads
from hoopgw.http.errors import MessageError
from hoopgw.http.messages import Limits, Pair, RequestHead, ResponseHead
from hoopgw.transport import accelerated

SMALL = Limits(start_line=60, head=600, headers=6)
PIECES = st.sampled_from(
    [
        *(b"GET ", b"POST ", b"get ", b"CONNECT ", b"FROB ", b"/", b"/a?b=c", b"*", b"http://h/"),
        *(
            b" HTTP/1.1\r\n",
            b" HTTP/1.0\r\n",
            b"HTTP/1.1 200",
            b"HTTP/1.1 ",
            b"099",
            b"204",
            b" OK",
        ),
        *(
            b"Host: h\r\n",
            b"Host: h.gw:9443\r\n",
            b"host: -h\r\n",
            b"Host: a..b\r\n",
            b"Host: [::1]",
        ),
        *(
            b"Host",
            b"Connection: ",
            b"close",
            b"Keep-Alive, x-a",
            b"X-A",
            b"x_a",
            b"Content_Length",
        ),
        *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n"),
        *(
            b":",
            b": ",
            b" ",
            b"\t",
            b"\r\n",
            b"\n",
            b"\r",
            b"\r\n\r\n",
            b"\0",
            b"\x7f",
            b"\xe9",
            b"a",
        ),
        *(
            b"9" * 70,
            b"a" * 64,
            b"\r\n ",
            b"\x1f",
            b"\xe9",
            b"a",
            b"Content_Length",
            b"204",
            b" OK",
        ),
    ]
)
blocks = st.lists(PIECES, max_size=14).map(b"".join)
pieces = st.one_of(blocks, st.binary(max_size=40))
requests = st.tuples(
    st.sampled_from([b"GET /a HTTP/1.1\r\nHost: h\r\n", b"", b"PUT /%7e?x=%20 HTTP/1.1\r\n"]),
    pieces,
).map(lambda parts: parts[0] + parts[1] + b"\r\n\r\n")
answers = st.tuples(
    st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 404\r\n", b"HTTP/1.1 500 \r\n", b""]),
    pieces,
).map(lambda parts: parts[0] + parts[1] + b"\r\n\r\n")
names = st.one_of(st.just(b"Content-Type"), st.binary(max_size=6))
fields = st.lists(st.tuples(names, st.binary(max_size=8)), max_size=4)


def said(work: Callable[[], object]) -> object:
    """Return what something gives, or what it raises."""
    try:
        found = work()
    except (MessageError, ValueError) as error:
        return type(error), str(error)
    if isinstance(found, RequestHead | ResponseHead):
        headers = found.headers
        return found, dict(headers.by_name), headers.changed(()), headers.end_to_end()
    return found


class TwinTests(SynchronousTestCase):
    """The compiled functions beside the plain ones."""

    def setUp(self) -> None:
        if not accelerated.is_built("hoopgw.http._heads"):
            raise SkipTest("the compiled twin was not built")
        from hoopgw.http import _heads

        self.twin = _heads

    def test_it_is_used(self) -> None:
        """What was built is what runs."""
        if accelerated.is_wanted("hoopgw.http._heads"):
            self.assertIs(heads.parse_request_head, self.twin.request_head)
            self.assertIs(heads.encode_response, self.twin.encode_response)

    @given(requests)
    @example(b"GET /a HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n")
    @example(b"GET /a HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n")
    @example(b"GET /a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n")
    @example(b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: x-a\r\nX-A: 1\r\n\r\n")
    @example(b"GET /a HTTP/1.1\r\nHost: h\r\nA: b\r\nB: c\r\nC: d\r\nD: e\r\nE: f\r\nF: g\r\n\r\n")
    @example(b"GET /" + b"a" * 48 + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    @example(b"GET /" + b"a" * 45 + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    @example(b"GET /a HTTP/1.1\r\nHost: h\r\nA: b\r")
    @example(b"GET /a HTTP/1.1\r\n\r\n")
    @example(b"GET /a HTTP/1.1")
    @example(b"GET /a")
    @example(b"GET ")
    @example(b"")
    def test_requests_are_read_alike(self, data: bytes) -> None:
        """Whatever comes: the same head, or the same fault."""
        for limits in (SMALL, Limits()):
            twin = said(partial(self.twin.request_head, data, limits))
            self.assertEqual(twin, said(partial(heads.plain_request_head, data, limits)))

    @given(answers)
    @example(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n")
    @example(b"HTTP/1.1 200 OK\r\nSet-Cookie: b\r\nSet-Cookie: c\r\n\r\n")
    @example(b"HTTP/1.1 999\r\n\r\n")
    @example(b"HTTP/1.1 200\t\r\n\r\n")
    @example(b"HTTP/1.1 200 OK\r")
    @example(b"HTTP/1.1 2000\r\n\r\n")
    @example(b"HTTP/1.1 20")
    def test_answers_are_read_alike(self, data: bytes) -> None:
        """Whatever comes: the same head, or the same fault."""
        for limits in (SMALL, Limits()):
            twin = said(partial(self.twin.response_head, data, limits))
            self.assertEqual(twin, said(partial(heads.plain_response_head, data, limits)))

    @given(
        st.one_of(st.sampled_from(["GET", "POST", "Get", "É", ""]), st.text(max_size=4)),
        st.one_of(st.sampled_from(["/a", "/a b", "/é", ""]), st.text(max_size=4)),
        fields,
    )
    def test_requests_are_written_alike(self, method: str, target: str, pairs: list[Pair]) -> None:
        """The same bytes, or the same refusal of what would not be one line; of any iterable."""
        makers: list[Callable[[list[Pair]], Iterable[Pair]]] = [list, tuple, iter]
        for make in makers:
            twin = said(partial(self.twin.encode_request, method, target, make(pairs)))
            plain = said(partial(heads.plain_encode_request, method, target, pairs))
            self.assertEqual(twin, plain)

    @given(
        st.integers(0, 1000), fields, st.one_of(st.just(b""), st.just(b"OK"), st.binary(max_size=4))
    )
    def test_answers_are_written_alike(self, status: int, pairs: list[Pair], reason: bytes) -> None:
        """The same bytes, or the same refusal."""
        twin = said(lambda: self.twin.encode_response(status, iter(pairs), reason))
        self.assertEqual(twin, said(lambda: heads.plain_encode_response(status, pairs, reason)))
