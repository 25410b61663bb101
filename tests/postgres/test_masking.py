"""Tests for `hoopgw_postgres.masking`: descriptions, plans and rows."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ProtocolViolationError
from hoopgw_postgres.masking import ColumnMask, MaskPlan, RowMasker, parse_description
from hoopgw_postgres.values import NULL, Constant, Email, Last4, Mask

KEY = b"k" * 32
TABLE = 16_400
Row = Sequence[bytes | None]


def description(*columns: tuple[int, int, int, int]) -> bytes:
    """Return a RowDescription's body of (relation, attribute, type, format) columns."""
    parts = [struct.pack(">H", len(columns))]
    for relation, attribute, kind, code in columns:
        parts.append(b"name\0" + struct.pack(">IhIhih", relation, attribute, kind, -1, -1, code))
    return b"".join(parts)


def data_row(values: Row) -> bytes:
    """Return a DataRow message."""
    body = struct.pack(">H", len(values)) + b"".join(
        b"\xff\xff\xff\xff" if value is None else struct.pack(">I", len(value)) + value
        for value in values
    )
    return b"D" + struct.pack(">I", len(body) + 4) + body


def headers(data: bytes) -> Iterator[int]:
    """Yield where each message begins."""
    at = 0
    while at < len(data):
        yield at
        at += 1 + int.from_bytes(data[at + 1 : at + 5], "big")
    assert at == len(data)


def values_of(data: bytes) -> list[list[bytes | None]]:
    """Return the values of DataRow messages."""
    rows = []
    at = 0
    while at < len(data):
        length, count = struct.unpack_from(">xIH", data, at)
        end, at, row = at + 1 + length, at + 7, list[bytes | None]()
        for _ in range(count):
            (size,) = struct.unpack_from(">i", data, at)
            row.append(None if size < 0 else data[at + 4 : at + 4 + size])
            at += 4 + max(size, 0)
        assert at == end
        rows.append(row)
    return rows


def upper(value: bytes | None) -> bytes | None:
    """Mask, for tests: of the same length."""
    return None if value is None else value.upper()


def twice(value: bytes | None) -> bytes | None:
    """Mask, for tests: longer; NULL for some."""
    return None if value is None or value.startswith(b"n") else value * 2


MASKS: list[Mask] = [upper, twice, NULL, Constant(b"***"), Constant(b""), Last4(), Email()]
CELLS = st.one_of(
    st.none(),
    st.binary(max_size=12),
    st.text(max_size=12).map(str.encode),
    st.sampled_from([b"x" * 300, b"n", b"12345678", b"123456789", b"ann@example.com"]),
)


class PlanTests(SynchronousTestCase):
    """From a description to a masker."""

    def setUp(self) -> None:
        """Mask one column of a table, as text."""
        self.plan = MaskPlan({(TABLE, 3): ColumnMask("redact")}, KEY)

    def test_only_origin_counts(self) -> None:
        for columns in (
            [(TABLE, 2, 25, 0)],
            [(TABLE + 1, 3, 25, 0)],
            [(0, 0, 25, 0)],
            [(TABLE, 0, 25, 0)],
            [],
        ):
            self.assertIsNone(self.plan.for_row_description(description(*columns)))

    def test_rows_are_masked(self) -> None:
        masker = self.plan.for_row_description(description((0, 0, 23, 0), (TABLE, 3, 25, 0)))
        assert masker is not None
        rows = data_row([b"1", b"secret"]) + data_row([b"2", None]) + data_row([None, b""])
        data, count, masked = masker.mask_rows(memoryview(rows))
        self.assertEqual(values_of(data), [[b"1", b"***"], [b"2", None], [None, b"***"]])
        self.assertEqual((count, masked), (3, 2))

    def test_formats(self) -> None:
        columns = description((TABLE, 3, 23, 0), (TABLE, 3, 23, 1))
        for formats, expected in (
            (None, [b"0", bytes(4)]),
            ((), [b"0", b"0"]),
            ((0,), [b"0", b"0"]),
            ((1,), [bytes(4), bytes(4)]),
            ((1, 0), [bytes(4), b"0"]),
            ((7,), [None, None]),
        ):
            masker = self.plan.for_row_description(columns, formats)
            assert masker is not None
            data, _, _ = masker.mask_rows(data_row([b"abcd", b"abcd"]))
            self.assertEqual(values_of(data), [expected], formats)
        self.assertRaises(ProtocolViolationError, self.plan.for_row_description, columns, (0, 0, 0))

    def test_string_types_of_extensions(self) -> None:
        plan = MaskPlan({(TABLE, 1): ColumnMask("email", text=True)}, KEY)
        for code, expected in ((0, b"***@example.com"), (1, None)):
            masker = plan.for_row_description(description((TABLE, 1, 99_999, code)))
            assert masker is not None
            data, _, _ = masker.mask_rows(data_row([b"ann@example.com"]))
            self.assertEqual(values_of(data), [[expected]])

    def test_the_same_description_gives_the_same_masker(self) -> None:
        body = description((TABLE, 3, 25, 0))
        first = self.plan.for_row_description(body)
        self.assertIs(self.plan.for_row_description(body), first)
        for number in range(2_000):
            self.plan.for_row_description(description((number, 1, 25, 0)))
        again = self.plan.for_row_description(body)
        assert again is not None
        self.assertEqual(values_of(again.mask_rows(data_row([b"x"]))[0]), [[b"***"]])

    @given(st.binary(max_size=60))
    def test_garbage(self, body: bytes) -> None:
        try:
            parse_description(body)
        except ProtocolViolationError as error:
            self.assertIn("RowDescription", str(error))

    def test_trailing_bytes(self) -> None:
        body = description((TABLE, 3, 25, 0)) + b"x"
        self.assertRaises(ProtocolViolationError, parse_description, body)


class RowTests(SynchronousTestCase):
    """The walk over rows, against a plain one."""

    @given(st.data(), st.integers(1, 6))
    def test_as_a_plain_loop_would(self, data: st.DataObject, count: int) -> None:
        indexes = data.draw(
            st.lists(st.integers(0, count - 1), min_size=1, unique=True), label="indexes"
        )
        masks = {index: data.draw(st.sampled_from(MASKS)) for index in indexes}
        rows = data.draw(st.lists(st.lists(CELLS, min_size=count, max_size=count), max_size=5))
        masker = RowMasker(count, masks)
        got, seen, masked = masker.mask_rows(b"".join(map(data_row, rows)))
        expected = [
            [masks[i](value) if i in masks else value for i, value in enumerate(row)]
            for row in rows
        ]
        self.assertEqual(values_of(got), expected)
        self.assertEqual(seen, len(rows))
        self.assertEqual(masked, sum(row[i] is not None for row in rows for i in masks))

    @given(st.data())
    def test_what_is_not_whole_waits(self, data: st.DataObject) -> None:
        """Of rows that are cut, or followed by another message, the whole ones are masked."""
        rows = [data_row([b"a", b"secret" * number, b"b"]) for number in range(4)]
        whole = b"".join(rows)
        cut = data.draw(st.integers(0, len(whole)))
        for masks in ({1: Constant(b"*")}, {1: upper}, {0: upper, 1: upper}):
            masker = RowMasker(3, masks)
            for end, behind in ((cut, b""), (len(whole), b"C" + rows[1][1:])):
                got, count, _, taken = masker.mask_some(whole[:end] + behind)
                ends = [len(b"".join(rows[:number])) for number in range(5)]
                self.assertEqual(taken, max(each for each in ends if each <= end))
                self.assertEqual(count, ends.index(taken))
                self.assertEqual(got, masker.mask_rows(whole[:taken])[0])

    @given(st.data())
    def test_damaged_rows_are_never_passed_on(self, data: st.DataObject) -> None:
        """Whatever bytes come: an error, or rows in which no more than asked is shown."""
        whole = bytearray(data_row([b"a", b"secret", b"b"]) * 2)
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(whole)))
        for mask in (Constant(b"***"), upper):
            try:
                got, rows, _ = RowMasker(3, {1: mask}).mask_rows(bytes(whole[:cut]))
            except ProtocolViolationError:
                continue
            self.assertEqual(sum(1 for _ in headers(got)), rows)

    def test_what_is_refused(self) -> None:
        row = data_row([b"a", b"secret", b"b"])
        for wrong in (
            row[:-1],
            row + b"D",
            b"C" + row[1:],
            data_row([b"a", b"secret"]),
            data_row([b"a", b"secret", b"b", b"c"]),
            b"D\0\0\0\4",
            b"D\0\0\0\0" + row[5:],
            row[:7] + b"\0\0\1\0" + row[11:],
            b"D" + struct.pack(">I", 12) + row[5:],
        ):
            for masks in ({1: Constant(b"*")}, {1: upper}, {0: upper, 1: upper}):
                masker = RowMasker(3, masks)
                self.assertRaises(ProtocolViolationError, masker.mask_rows, wrong)
                self.assertRaises(ProtocolViolationError, masker.mask_rows, row + wrong)
