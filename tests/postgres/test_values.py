"""Tests for masks of PostgreSQL's values: same type and format out, on real servers too."""

from __future__ import annotations

import struct
import uuid
from datetime import date, timedelta
from decimal import Decimal

import psycopg
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.masking import KINDS
from hoopgw_postgres.numerics import decode_numeric, encode_numeric
from hoopgw_postgres.values import TEXT, compile_mask, framing
from tests.support import postgres

KEY = b"k" * 32
TYPES = {
    "text": 25,
    "varchar": 1043,
    "bpchar": 1042,
    "int2": 21,
    "int4": 23,
    "int8": 20,
    "numeric": 1700,
    "float4": 700,
    "float8": 701,
    "bool": 16,
    "date": 1082,
    "timestamp": 1114,
    "timestamptz": 1184,
    "uuid": 2950,
    "json": 114,
    "jsonb": 3802,
    "bytea": 17,
    "inet": 869,
    "int4[]": 1007,
    "point": 600,
}
SAMPLES = {
    "text": ["'ann@example.com'", "'x'", "'4111111111111111'", "''"],
    "varchar": ["'ann@example.com'"],
    "bpchar": ["'abc'"],
    "int2": ["-7", "32767"],
    "int4": ["-2147483648", "5"],
    "int8": ["9223372036854775807"],
    "numeric": ["1.50", "'NaN'", "-12345678901234567890.123", "0.00001", "100000"],
    "float4": ["1.5", "'NaN'", "'Infinity'"],
    "float8": ["1e300", "-0.5", "'-Infinity'"],
    "bool": ["true"],
    "date": ["'1987-06-05'", "'infinity'", "'0044-03-15 BC'", "'294276-01-01'"],
    "timestamp": ["'1987-06-05 01:02:03.4'", "'-infinity'", "'0044-03-15 BC'"],
    "timestamptz": ["'1987-06-05 01:02:03.4+05'"],
    "uuid": ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
    "json": ["'{\"a\": 1}'"],
    "jsonb": ["'[1]'"],
    "bytea": ["'\\xdeadbeef'"],
    "inet": ["'192.168.7.9'", "'10.0.0.0/8'", "'2001:db8::1'"],
    "int4[]": ["'{1,2}'"],
    "point": ["'(1,2)'"],
}


def masked(
    kind: str, name: str, value: bytes | None, form: int = 0, typmod: int = -1
) -> bytes | None:
    """Return the mask of one value."""
    return compile_mask(kind, TYPES[name], form, KEY, typmod)(value)


class ServerTests(SynchronousTestCase):
    """What comes out is a value of the type, as the server itself sees it."""

    def setUp(self) -> None:
        """Connect."""
        self.connection: psycopg.Connection[tuple[object, ...]] = postgres.shared.get(18).connect()
        self.addCleanup(self.connection.close)

    def wire(self, literal: str, name: str, form: int) -> bytes:
        """Let the server write a value."""
        result = self.connection.pgconn.exec_params(
            f"SELECT ({literal})::{name}".encode(), None, result_format=form
        )
        value = result.get_value(0, 0)
        assert value is not None, result.error_message
        return value

    def read(self, value: bytes, name: str, form: int) -> bytes:
        """Let the server read a value, and say what it is."""
        result = self.connection.pgconn.exec_params(
            b"SELECT $1",
            [value],
            param_types=[TYPES[name]],
            param_formats=[form],
        )
        said = result.get_value(0, 0) if result.ntuples else None
        assert said is not None, (name, value, result.error_message)
        return said

    def test_both_formats_mean_the_same(self) -> None:
        """Each kind, each type: valid, and the same in text and in binary."""
        for name, literals in SAMPLES.items():
            for literal in literals:
                for kind in sorted(KINDS):
                    said = []
                    for form in (0, 1):
                        value = masked(kind, name, self.wire(literal, name, form), form)
                        said.append(None if value is None else self.read(value, name, form))
                    self.assertEqual(said[0], said[1], (kind, name, literal))

    def test_what_is_expected(self) -> None:
        for kind, name, literal, expected in (
            ("redact", "text", "'x'", b"***"),
            ("last4", "text", "'4111111111111111'", b"****1111"),
            ("email", "varchar", "'ann@example.com'", b"***@example.com"),
            ("redact", "int4", "5", b"0"),
            ("last4", "int8", "5", b"0"),
            ("redact", "numeric", "1.5", b"0"),
            ("redact", "bool", "true", None),
            ("redact", "date", "'1987-06-05'", b"1970-01-01"),
            ("year", "date", "'1987-06-05'", b"1987-01-01"),
            ("year", "date", "'infinity'", b"1970-01-01"),
            ("year", "timestamp", "'1987-06-05 01:02:03'", b"1987-01-01 00:00:00"),
            (
                "redact",
                "uuid",
                "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
                str(uuid.UUID(int=0)).encode(),
            ),
            ("redact", "jsonb", "'[1]'", b"{}"),
            ("redact", "bytea", "'x'", None),
            ("last4", "inet", "'192.168.7.9'", b"192.168.7.0/24"),
            ("last4", "inet", "'2001:db8::1'", None),
            ("redact", "int4[]", "'{1}'", None),
            ("hash", "point", "'(1,2)'", None),
            ("hash", "bool", "true", None),
        ):
            for form in (0, 1):
                value = masked(kind, name, self.wire(literal, name, form), form)
                said = None if value is None else self.read(value, name, form)
                self.assertEqual(said, expected, (kind, name, literal, form))


class JoinTests(SynchronousTestCase):
    """Tokens can be joined, whatever the type and format."""

    def test_integers_and_numerics(self) -> None:
        expected = masked("hash", "int8", b"42")
        self.assertEqual(masked("hash", "numeric", b"42"), expected)
        self.assertEqual(masked("hash", "numeric", b"42.00"), expected)
        binary = masked("hash", "int8", struct.pack(">q", 42), 1)
        assert binary is not None
        self.assertEqual(b"%d" % struct.unpack(">q", binary)[0], expected)

    def test_widths(self) -> None:
        for name, width in (("int2", 2), ("int4", 4), ("int8", 8)):
            value = masked("hash", name, b"-1")
            assert value is not None
            self.assertIn(int(value), range(2 ** (8 * width - 1)))

    def test_precision(self) -> None:
        typmod = (5 << 16 | 2) + 4  # numeric(5, 2)
        for number in range(50):
            value = masked("hash", "numeric", b"%d" % number, 0, typmod)
            assert value is not None
            self.assertLess(Decimal(value.decode()), 1000)

    def test_padding_does_not_count(self) -> None:
        self.assertEqual(
            masked("hash", "bpchar", b"abc   ", 0, 40 + 4)[:32],  # type: ignore[index]  # not NULL
            masked("hash", "text", b"abc"),
        )


class TextTests(SynchronousTestCase):
    """What fits into the column, and whatever bytes come."""

    def test_limits(self) -> None:
        self.assertEqual(masked("redact", "varchar", b"abcdef", 0, 2 + 4), b"**")
        self.assertEqual(masked("redact", "bpchar", b"abcdef", 0, 6 + 4), b"***   ")
        self.assertEqual(masked("last4", "varchar", b"4111111111111111", 1, 6 + 4), b"****11")

    def test_null_stays_null(self) -> None:
        for kind in KINDS:
            for name in TYPES:
                self.assertIsNone(masked(kind, name, None))

    def test_unknown_formats(self) -> None:
        self.assertIsNone(masked("redact", "text", b"x", 2))

    @given(
        st.sampled_from(sorted(KINDS)),
        st.sampled_from(sorted(TYPES)),
        st.binary(max_size=40),
        st.sampled_from((0, 1)),
        st.sampled_from((-1, 0, 4, 9, 0x50006)),
    )
    def test_nothing_is_raised_and_little_is_shown(
        self, kind: str, name: str, value: bytes, form: int, typmod: int
    ) -> None:
        mask = compile_mask(kind, TYPES[name], form, KEY, typmod)
        shown = mask(value)
        frame = framing(mask)
        framed = frame if isinstance(frame, bytes) else frame(value)
        self.assertEqual(
            framed,
            b"\xff\xff\xff\xff" if shown is None else len(shown).to_bytes(4, "big") + shown,
        )
        if kind not in ("email", "year") and len(value) > 20 and name != "inet":
            self.assertNotIn(value[:16], shown or b"")

    def test_domains_are_kept_within_bounds(self) -> None:
        mask = compile_mask("email", TEXT, 0, KEY)
        for number in range(3000):
            domain = b"@%d.example" % number
            self.assertEqual(mask(b"x" + domain), b"***" + domain)
        self.assertEqual(mask(b"x@" + b"y" * 10_000), b"***@" + b"y" * 10_000)
        self.assertIsNone(mask(b"x@\xff"))


class NumericTests(SynchronousTestCase):
    """The binary form of numerics."""

    @given(st.integers(0, 10**30))
    def test_round_trip(self, value: int) -> None:
        self.assertEqual(decode_numeric(encode_numeric(value)), str(value))

    def test_as_the_server_writes_them(self) -> None:
        with postgres.shared.get(18).connect() as connection:
            for literal in (
                "0",
                "1.50",
                "-0.0001",
                "123456789.000012300",
                "1e-10",
                "1e40",
                "-99.9",
            ):
                result = connection.pgconn.exec_params(
                    f"SELECT ({literal})::numeric, ({literal})::numeric::text".encode(),
                    None,
                    result_format=1,
                )
                binary, text = result.get_value(0, 0), result.get_value(0, 1)
                assert binary is not None
                assert text is not None
                self.assertEqual(decode_numeric(binary), text.decode())

    @given(st.binary(max_size=30))
    def test_garbage(self, data: bytes) -> None:
        try:
            decode_numeric(data)
        except ValueError as error:
            self.assertTrue(str(error))


class YearTests(SynchronousTestCase):
    """Dates in binary count days from 2000."""

    @given(st.dates())
    def test_binary_date(self, day: date) -> None:
        days = (day - date(2000, 1, 1)).days
        value = masked("year", "date", struct.pack(">i", days), 1)
        assert value is not None
        shown = date(2000, 1, 1) + timedelta(struct.unpack(">i", value)[0])
        self.assertEqual(shown, day.replace(month=1, day=1))
