"""Tests for `hoopgw_postgres.copy`: a masked COPY reads back as the masked values."""

from __future__ import annotations

import csv
import io
import struct
from typing import Any

import psycopg
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ProtocolViolationError
from hoopgw_postgres.copy import CopyMasker, _escape, _quote, _split_csv, _unescape
from hoopgw_postgres.values import Mask, compile_mask
from tests.support import postgres

KEY = b"k" * 32
ODD = (
    "plain",
    "",
    "tab\there",
    "line\nbreak",
    'quo"te',
    "back\\slash",
    "\\N",
    "a,b",
    "é",
    "\\.",
    "\r",
)


def message(row: bytes) -> bytes:
    """Return a CopyData message."""
    return b"d" + struct.pack(">I", len(row) + 4) + row


def bodies(data: bytes) -> list[bytes]:
    """Return what CopyData messages hold."""
    rows, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from(">xI", data, at)
        rows.append(data[at + 5 : at + 1 + length])
        at += 1 + length
    return rows


def echo(value: bytes | None) -> bytes | None:
    """Mask, for tests: nothing changes but that it was read and written."""
    return value


class ServerTests(SynchronousTestCase):
    """What a real server sends."""

    def setUp(self) -> None:
        """Make a table of odd texts."""
        self.connection: psycopg.Connection[Any] = postgres.shared.get(18).connect()
        self.addCleanup(self.connection.close)
        self.connection.execute("CREATE TEMP TABLE t (id int, a text, b text)")
        for number, text in enumerate(ODD):
            self.connection.execute(
                "INSERT INTO t VALUES (%s, %s, %s)", [number, text, text + "secret"]
            )
        self.connection.execute("INSERT INTO t VALUES (99, NULL, NULL)")

    def rows(self, options: str) -> list[bytes]:
        """Let the server copy; each item is one CopyData."""
        with self.connection.cursor().copy(f"COPY t TO STDOUT ({options})".encode()) as copy:
            return [bytes(row) for row in copy]

    def restored(self, rows: list[bytes], options: str) -> list[tuple[Any, ...]]:
        """Let the server read rows."""
        self.connection.execute("CREATE TEMP TABLE IF NOT EXISTS u (id int, a text, b text)")
        self.connection.execute("TRUNCATE u")
        with self.connection.cursor().copy(f"COPY u FROM STDIN ({options})".encode()) as copy:
            for row in rows:
                copy.write(row)
        return self.connection.execute("SELECT a, b FROM u ORDER BY id").fetchall()

    def test_masked(self) -> None:
        for options, form in (
            ("FORMAT text", "text"),
            ("FORMAT text, HEADER", "text"),
            ("FORMAT csv", "csv"),
            ("FORMAT csv, HEADER", "csv"),
            ("FORMAT binary", "binary"),
        ):
            for mask, expected in (
                (echo, [(text, text + "secret") for text in ODD]),
                (compile_mask("redact", 25, 0, KEY), [(text, "***") for text in ODD]),
                (compile_mask("null", 25, 0, KEY), [(text, None) for text in ODD]),
            ):
                masks: dict[int, Mask] = {1: echo, 2: mask}
                masker = CopyMasker(form, "HEADER" in options, 3, masks)
                sent = b"".join(map(message, self.rows(options)))
                got, rows, masked = masker.mask_rows(memoryview(sent))
                self.assertEqual(
                    rows - (form == "binary"), len(ODD) + 1 if form != "binary" else rows - 1
                )
                self.assertEqual(masked, 2 * len(ODD))
                self.assertEqual(
                    self.restored(bodies(got), options), [*expected, (None, None)], options
                )

    def test_nothing_in_it(self) -> None:
        self.connection.execute("TRUNCATE t")
        sent = b"".join(map(message, self.rows("FORMAT binary")))
        got, _, masked = CopyMasker("binary", False, 3, {1: echo}).mask_rows(sent)
        self.assertEqual((got, masked), (sent, 0))


class TextTests(SynchronousTestCase):
    """The text format, which has a loop of its own."""

    @given(st.lists(st.text(max_size=12), min_size=1, max_size=4), st.integers(0, 200))
    def test_last4(self, texts: list[str], cut: int) -> None:
        """Fields are masked as the mask says, however they are written; cut rows wait."""
        texts = [text.replace("\0", "") for text in texts]
        mask = compile_mask("last4", 25, 0, KEY)
        rows = [message(b"x\t" + _escape(text.encode()) + b"\n") for text in texts]
        sent = b"".join(rows)[: cut or None]
        got, count, masked, taken = CopyMasker("text", False, 2, {1: mask}).mask_some(sent)
        expected = [b"x\t" + _escape(mask(text.encode()) or b"") + b"\n" for text in texts[:count]]
        self.assertEqual((bodies(got), masked), (expected, count))
        self.assertEqual(taken, len(b"".join(rows[:count])))
        self.assertTrue(count == len(rows) or len(sent) < len(b"".join(rows[: count + 1])))


class MalformedTests(SynchronousTestCase):
    """Rows that do not fit end the session."""

    def test_what_is_refused(self) -> None:
        for form, rows in {
            "text": (b"a\tb", b"a\n", b"a\tb\tc\n", b"", b"\\.\n"),
            "csv": (b"a,b", b"a\n", b"a,b,c\n", b'"a,b\n', b'a,"b"c\n', b'"a"",b\n'),
            "binary": (b"\0\2\0\0\0\1a", b"\0\1\0\0\0\1a", b"x", b""),
        }.items():
            for row in rows:
                masker = CopyMasker(form, False, 2, {1: echo})
                if form == "binary":
                    header = b"PGCOPY\n\xff\r\n\0" + bytes(8)
                    self.assertEqual(masker.mask_rows(message(header))[1:], (1, 0))
                self.assertRaises(ProtocolViolationError, masker.mask_rows, message(row))
        masker = CopyMasker("binary", False, 2, {1: echo})
        self.assertRaises(ProtocolViolationError, masker.mask_rows, message(b"no signature"))
        masker = CopyMasker("text", False, 1, {0: echo})
        for data in (b"d\0\0\0\3", b"d\0\0\0\7a\n", b"D\0\0\0\6a\n", b"d"):
            self.assertRaises(ProtocolViolationError, masker.mask_rows, data)

    @given(st.sampled_from(("text", "csv", "binary")), st.binary(max_size=40))
    def test_garbage(self, form: str, row: bytes) -> None:
        masker = CopyMasker(form, False, 2, {0: echo})
        try:
            masker.mask_rows(message(row))
        except ProtocolViolationError as error:
            self.assertTrue(str(error))


class QuotingTests(SynchronousTestCase):
    """Escapes of the text format, and quotes of csv."""

    @given(st.binary(max_size=30))
    def test_escapes(self, value: bytes) -> None:
        escaped = _escape(value)
        self.assertEqual(_unescape(escaped), value)
        self.assertNotIn(b"\t", escaped)
        self.assertNotIn(b"\n", escaped)
        self.assertNotEqual(escaped, b"\\N")

    @given(st.lists(st.text(alphabet='ab,"\n\r\\é', max_size=8), min_size=1, max_size=4))
    def test_fields(self, values: list[str]) -> None:
        row = b",".join(_quote(value.encode()) for value in values)
        fields = _split_csv(row)
        assert fields is not None
        self.assertEqual(len(fields), len(values))
        read = next(csv.reader(io.StringIO(row.decode(), newline="")))
        self.assertEqual(read, values)
