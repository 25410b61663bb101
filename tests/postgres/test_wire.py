"""The codec: round trips, garbage, and messages whose inner lengths lie."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ProtocolViolationError
from hoopgw_postgres import wire

names = st.binary(max_size=20).map(lambda raw: raw.replace(b"\0", b"n"))
texts = st.text(max_size=20).filter(lambda text: "\0" not in text)
values = st.none() | st.binary(max_size=30)
PARSERS = (
    wire.parse_query,
    wire.parse_parse,
    wire.parse_bind,
    wire.parse_named,
    wire.parse_execute,
    wire.parse_opening,
)


def bind_body(portal: bytes, name: bytes, bound: list[bytes | None], results: list[int]) -> bytes:
    """Encode a Bind's body."""
    body = portal + b"\0" + name + b"\0" + struct.pack(">HH", 0, len(bound))
    for value in bound:
        body += struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value
    return body + struct.pack(f">H{len(results)}H", len(results), *results)


class FrontendTests(SynchronousTestCase):
    """What the client sends."""

    @given(names, names, st.lists(values, max_size=5), st.lists(st.integers(0, 1), max_size=4))
    def test_bind(
        self, portal: bytes, name: bytes, bound: list[bytes | None], results: list[int]
    ) -> None:
        """Names and formats come out as they went in."""
        parsed = wire.parse_bind(bind_body(portal, name, bound, results))
        self.assertEqual(parsed, wire.Bind(portal, name, tuple(results)))

    @given(names, st.lists(values, max_size=3), st.integers(0, 200), st.binary(max_size=3))
    def test_bind_accounts_for_every_byte(
        self, name: bytes, bound: list[bytes | None], cut: int, extra: bytes
    ) -> None:
        """A byte more or less is an error: nothing rides along unseen."""
        body = bind_body(b"", name, bound, [])
        if extra:
            self.assertRaises(ProtocolViolationError, wire.parse_bind, body + extra)
        if cut < len(body):
            self.assertRaises(ProtocolViolationError, wire.parse_bind, body[:cut])

    @given(names, names, st.lists(st.integers(0, 2**32 - 1), max_size=4))
    def test_parse(self, name: bytes, text: bytes, types: list[int]) -> None:
        """Name, text and types come out as they went in."""
        body = name + b"\0" + text + b"\0" + struct.pack(f">H{len(types)}I", len(types), *types)
        self.assertEqual(wire.parse_parse(body), wire.Parse(name, text, tuple(types)))
        self.assertRaises(ProtocolViolationError, wire.parse_parse, body + b"\0")

    def test_a_nul_inside_a_query(self) -> None:
        """The server would stop at it, and we would judge what is behind."""
        for body in (b"", b"SELECT 1", b"SELECT 1\0; DROP TABLE t\0"):
            self.assertRaises(ProtocolViolationError, wire.parse_query, body)
        self.assertEqual(wire.parse_query(b"SELECT 1\0"), b"SELECT 1")

    def test_format_codes(self) -> None:
        """Only text and binary."""
        self.assertRaises(ProtocolViolationError, wire.parse_bind, bind_body(b"", b"", [], [2]))

    @given(st.binary(max_size=60))
    def test_garbage_only_ever_violates_the_protocol(self, garbage: bytes) -> None:
        """No bytes make a parser raise anything else."""
        for parse in PARSERS:
            try:
                parse(garbage)
            except ProtocolViolationError:
                continue


class OpeningTests(SynchronousTestCase):
    """The packets that open a connection."""

    @given(st.dictionaries(texts.filter(bool), texts, max_size=5))
    def test_startup(self, parameters: dict[str, str]) -> None:
        """Parameters come out as they went in."""
        body = struct.pack(">I", wire.PROTOCOL_3_2)
        for name, value in parameters.items():
            body += name.encode() + b"\0" + value.encode() + b"\0"
        parsed = wire.parse_opening(body + b"\0")
        self.assertEqual(parsed, wire.Startup(wire.PROTOCOL_3_2, parameters))

    def test_a_doubled_parameter(self) -> None:
        """Two values for one name could be read as either."""
        body = struct.pack(">I", wire.PROTOCOL_3_0) + b"user\0a\0user\0b\0\0"
        self.assertRaises(ProtocolViolationError, wire.parse_opening, body)

    def test_requests(self) -> None:
        """Encryption requests have no body; cancel keys have a length."""
        self.assertEqual(
            wire.parse_opening(struct.pack(">I", wire.SSL_REQUEST)), wire.EncryptionRequest(False)
        )
        cancel = struct.pack(">II", wire.CANCEL_REQUEST, 7)
        self.assertEqual(wire.parse_opening(cancel + b"key!"), wire.CancelRequest(7, b"key!"))
        for body in (
            struct.pack(">I", wire.GSS_REQUEST) + b"x",
            cancel,
            cancel + b"k" * 257,
            b"",
        ):
            self.assertRaises(ProtocolViolationError, wire.parse_opening, body)


class BackendTests(SynchronousTestCase):
    """What the gateway sends."""

    @given(texts, texts, st.integers(0, 9))
    def test_reports(self, text: str, hint: str, position: int) -> None:
        """Fields come out as they went in; a NUL cannot end one early."""
        report = wire.report(b"E", "ERROR", "42501", text + "\0", hint=hint, position=position)
        self.assertEqual(int.from_bytes(report[1:5], "big"), len(report) - 1)
        fields = wire.parse_report(report[5:])
        self.assertEqual((fields["S"], fields["C"]), ("ERROR", "42501"))
        self.assertEqual((fields["M"], fields["H"]), (text, hint))
        self.assertEqual(fields.get("P", "0"), str(position))
