"""Masking COPY ... TO STDOUT: CopyData to masked CopyData.

A server sends one row in each CopyData message; in binary, the first also begins with the file's
header. There is no description of columns, so masks go by the index that the statement itself gives
(`masking_rules`). Only the default delimiter, quote, escape and NULL are understood; statements
with others are refused before they run.

Source: ``src/backend/commands/copyto.c``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from hoopgw.errors import ProtocolViolationError
from hoopgw_postgres.values import Mask, frame

OPTIONS: Final = frozenset({"format", "header"})
"""Options of a COPY whose rows can be masked."""
_COPY_DATA: Final = 0x64
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0"
_TRAILER: Final = b"\xff\xff"

_Row: TypeAlias = Callable[[bytes], tuple[bytes, int]]
"""From a row to the masked row, and how many values were masked."""


class CopyMasker:
    """Masks the CopyData messages of one COPY.

    Args:
        form: ``text``, ``csv`` or ``binary``.
        header: whether the first row names the columns.
        count: columns of each row.
        masks: by index of the column; not empty; for binary values where ``form`` is ``binary``.

    """

    def __init__(self, form: str, header: bool, count: int, masks: Mapping[int, Mask]) -> None:
        self._count = count
        self._masks = dict(sorted(masks.items()))
        self._last = max(masks)
        self._row: _Row = {"text": self._text, "csv": self._csv, "binary": self._binary}[form]
        self._header = header and form != "binary"
        self._signature = form == "binary"

    def mask_rows(self, chunk: bytes | bytearray | memoryview) -> tuple[bytes, int, int]:
        """Mask whole CopyData messages.

        Returns:
            The messages masked, how many rows they hold, and how many values were masked.

        Raises:
            ProtocolViolationError: a row is malformed or has another number of columns.

        """
        data = bytes(chunk)
        out: list[bytes] = []
        at = rows = masked = 0
        while at < len(data):
            end = at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
            if data[at] != _COPY_DATA or not at + 5 <= end <= len(data):
                raise ProtocolViolationError("a malformed CopyData")
            row, at = data[at + 5 : end], end
            if self._header:
                self._header = False
                count = 0
            else:
                row, count = self._row(row)
                rows += 1
            masked += count
            out.append(b"d" + (len(row) + 4).to_bytes(4, "big"))
            out.append(row)
        return b"".join(out), rows, masked

    def _fail(self) -> ProtocolViolationError:
        return ProtocolViolationError("a row of COPY that does not fit its columns")

    def _text(self, row: bytes) -> tuple[bytes, int]:
        # A tab within a value is escaped, so each one ends a field.
        if row.count(b"\t") != self._count - 1 or row[-1:] != b"\n":
            raise self._fail()
        fields = row[:-1].split(b"\t", self._last + 1)
        masked = 0
        for index, mask in self._masks.items():
            if fields[index] != b"\\N":
                value = mask(_unescape(fields[index]))
                fields[index] = b"\\N" if value is None else _escape(value)
                masked += 1
        return b"\t".join(fields) + b"\n", masked

    def _csv(self, row: bytes) -> tuple[bytes, int]:
        if not row.endswith(b"\n"):
            raise self._fail()
        fields = _split_csv(row[:-1])
        if fields is None or len(fields) != self._count:
            raise self._fail()
        masked = 0
        for index, mask in self._masks.items():
            field = fields[index]
            if field:  # an empty field without quotes is NULL
                quoted = field.startswith(b'"')
                value = mask(field[1:-1].replace(b'""', b'"') if quoted else field)
                fields[index] = b"" if value is None else _quote(value)
                masked += 1
        return b",".join(fields) + b"\n", masked

    def _binary(self, row: bytes) -> tuple[bytes, int]:
        at = 0
        if self._signature:
            self._signature = False
            if not row.startswith(_SIGNATURE) or len(row) < len(_SIGNATURE) + 8:
                raise self._fail()
            at = len(_SIGNATURE) + 8 + int.from_bytes(row[15:19], "big")
            if at == len(row):
                return row, 0  # the header in a message of its own
        if row[at:] == _TRAILER:
            return row, 0
        if int.from_bytes(row[at : at + 2], "big") != self._count:
            raise self._fail()
        out, at, masked = [row[: at + 2]], at + 2, 0
        for index in range(self._count):
            size = int.from_bytes(row[at : at + 4], "big", signed=True)
            end = at + 4 + max(size, 0)
            if size < -1 or end > len(row) or at + 4 > len(row):
                raise self._fail()
            mask = self._masks.get(index)
            if mask is None or size < 0:
                out.append(row[at:end])
            else:
                out.append(frame(mask(row[at + 4 : end])))
                masked += 1
            at = end
        if at != len(row):
            raise self._fail()
        return b"".join(out), masked


_ESCAPES: Final = {
    ord("b"): b"\b",
    ord("f"): b"\f",
    ord("n"): b"\n",
    ord("r"): b"\r",
    ord("t"): b"\t",
    ord("v"): b"\v",
}
_TO_ESCAPE: Final = re.compile(rb"[\b\f\n\r\t\v\\]")
_ESCAPED: Final = {value[0]: bytes((92, letter)) for letter, value in _ESCAPES.items()}


def _unescape(field: bytes) -> bytes:
    if b"\\" not in field:
        return field
    out, at = bytearray(), 0
    while at < len(field):
        byte = field[at]
        if byte == 92 and at + 1 < len(field):
            at += 1
            out += _ESCAPES.get(field[at], field[at : at + 1])
        else:
            out.append(byte)
        at += 1
    return bytes(out)


def _escape(value: bytes) -> bytes:
    if _TO_ESCAPE.search(value) is None:
        return value
    value = value.replace(b"\\", b"\\\\")
    for byte, escaped in _ESCAPED.items():
        value = value.replace(bytes((byte,)), escaped)
    return value


def _split_csv(row: bytes) -> list[bytes] | None:
    """Split a row into fields, with their quotes; None if it is malformed."""
    if b'"' not in row:
        return row.split(b",")
    fields: list[bytes] = []
    at = 0
    while True:
        end = at
        if row[at : at + 1] == b'"':
            end += 1
            while True:
                end = row.find(b'"', end)
                if end < 0:
                    return None
                end += 1
                if row[end : end + 1] != b'"':
                    break
                end += 1
            if row[end : end + 1] not in (b"", b","):
                return None
        else:
            end = row.find(b",", at)
            end = len(row) if end < 0 else end
        fields.append(row[at:end])
        if end == len(row):
            return fields
        at = end + 1


def _quote(value: bytes) -> bytes:
    if value and not any(byte in value for byte in (b",", b'"', b"\n", b"\r", b"\\")):
        return value
    return b'"' + value.replace(b'"', b'""') + b'"'
