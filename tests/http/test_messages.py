"""Messages as values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ProtocolViolationError, UnavailableError
from hoopgw.http import errors
from hoopgw.http.messages import (
    HOP_BY_HOP,
    Headers,
    Limits,
    Request,
    RequestHead,
    Response,
    ResponseHead,
)

names = st.sampled_from([b"Host", b"HOST", b"X-One", b"x-one", b"X-Two", b"Connection"])
pairs = st.lists(st.tuples(names, st.sampled_from([b"", b"a", b"a, b", b"x-one"]))).map(tuple)


class HeadersTests(SynchronousTestCase):
    """Tests for `Headers`."""

    @given(pairs, names)
    def test_names_are_looked_up_in_any_case(
        self, sent: tuple[tuple[bytes, bytes], ...], name: bytes
    ) -> None:
        """Every value is found, in order, and nothing else."""
        headers = Headers(sent)
        expected = tuple(value for key, value in sent if key.lower() == name.lower())
        self.assertEqual(headers.all(name), expected)
        self.assertEqual(name in headers, bool(expected))
        self.assertEqual(headers.get(name), b", ".join(expected) if expected else None)
        self.assertEqual(tuple(headers), sent)
        self.assertEqual(len(headers), len(sent))

    @given(pairs, names)
    def test_changes_leave_the_rest(
        self, sent: tuple[tuple[bytes, bytes], ...], name: bytes
    ) -> None:
        """A replaced field has one value; the others are as they were."""
        headers = Headers(sent)
        changed = headers.replaced(name, b"new")
        self.assertEqual(changed.all(name), (b"new",))
        self.assertEqual(changed.without((name.lower(),)), headers.without((name.lower(),)))
        self.assertEqual(headers.added((b"A", b"b")).pairs, (*sent, (b"A", b"b")))
        self.assertEqual(headers.pairs, sent)

    @given(pairs)
    def test_end_to_end(self, sent: tuple[tuple[bytes, bytes], ...]) -> None:
        """What concerns one connection is dropped, and what ``Connection`` names."""
        kept = Headers(sent).end_to_end()
        for name in HOP_BY_HOP:
            self.assertNotIn(name, kept)
        named = Headers(sent).members(b"connection")
        for name, value in sent:
            if name.lower() != b"connection":
                self.assertEqual((name, value) in kept.pairs, name.lower() not in named)

    def test_members(self) -> None:
        """A list may be in several fields, with empty members."""
        headers = Headers.of([(b"Connection", b"Keep-Alive,, "), (b"connection", b"\tUpgrade ")])
        self.assertEqual(headers.members(b"Connection"), (b"keep-alive", b"upgrade"))
        self.assertEqual(headers.members(b"upgrade"), ())

    def test_no_value_is_shown(self) -> None:
        """Tokens and targets do not get into logs by ``repr``."""
        headers = Headers.of([(b"Authorization", b"Bearer s3cret")])
        head = RequestHead("GET", "/?sig=s3cret", headers)
        for value in (headers, head, Request(head, b"s3cret"), ResponseHead(200, headers)):
            self.assertNotIn("s3cret", repr(value))
        self.assertIn("Authorization", repr(headers))


class HeadTests(SynchronousTestCase):
    """Tests for `RequestHead`."""

    def test_what_a_request_says(self) -> None:
        """Host, length, expectation and upgrade are read from the fields."""
        fields = [
            (b"HOST", b"Arm.Gw:9443"),
            (b"Content-Length", b"12"),
            (b"Expect", b"100-Continue"),
            (b"Upgrade", b"WebSocket"),
        ]
        head = RequestHead("GET", "/", Headers.of(fields))
        self.assertEqual(head.host, "arm.gw:9443")
        self.assertEqual(head.content_length, 12)
        self.assertTrue(head.expects_continue)
        self.assertEqual(head.upgrade, ())
        asking = RequestHead("GET", "/", Headers.of([*fields, (b"Connection", b"Upgrade")]))
        self.assertEqual(asking.upgrade, (b"websocket",))
        self.assertFalse(RequestHead("GET", "/", Headers.of(fields), "1.0").expects_continue)
        self.assertIsNone(RequestHead("GET", "/").content_length)


class ResponseTests(SynchronousTestCase):
    """Tests for `Response`."""

    def test_made_of_json(self) -> None:
        """The type is said, and other fields are kept."""
        answer = Response.of_json(403, {"error": "no"}, [(b"X-A", b"b")])
        self.assertEqual((answer.status, answer.body), (403, b'{"error":"no"}'))
        self.assertEqual(answer.headers.get(b"content-type"), b"application/json; charset=utf-8")
        self.assertEqual(answer.headers.get(b"x-a"), b"b")


class ErrorsTests(SynchronousTestCase):
    """Each fault has a status, and a side that bears it."""

    def test_statuses(self) -> None:
        """The caller's faults are 4xx or what it asks for is not done; the target's are 502 on."""
        self.assertEqual(errors.MalformedError("x").status, 400)
        self.assertEqual(errors.HeadTooLargeError("x").status, 431)
        self.assertIsInstance(errors.BodyTooLargeError("x"), ProtocolViolationError)
        self.assertEqual(errors.UpstreamTimeoutError("x").status, 504)
        self.assertIsInstance(errors.UpstreamMalformedError("x"), UnavailableError)

    def test_limits_are_checked(self) -> None:
        """A limit that lets nothing through is a mistake."""
        self.assertRaises(ValueError, Limits, head=0)
