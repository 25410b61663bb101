"""Masking COPY ... TO STDOUT: CopyData to masked CopyData.

A server sends one row in each CopyData message; in binary, the first also begins with the file's
header. There is no description of columns, so masks go by the index that the statement itself gives
(`masking_rules`). Only the default delimiter, quote, escape and NULL are understood; statements
with others are refused before they run.

Source: ``src/backend/commands/copyto.c``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from hoopgw.errors import ProtocolViolationError
from hoopgw_postgres.values import Constant, Last4, Mask, frame

OPTIONS: Final = frozenset({"format", "header"})
"""Options of a COPY whose rows can be masked."""
_COPY_DATA: Final = 0x64
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0"
_TRAILER: Final = b"\xff\xff"
_NEWLINE: Final = 10
_HEAD: Final = struct.Struct(">BI").unpack_from
_PUT_HEAD: Final = struct.Struct(">BI").pack

_Row: TypeAlias = Callable[[bytes], tuple[bytes, int]]
"""From a row to the masked row, and how many values were masked."""
_OnText: TypeAlias = bytes | Callable[[bytes], bytes]
"""From a field to the masked field, both as they are written; or the same for all."""


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
        self._texts: list[tuple[int, _OnText]] | None = None
        if form == "text":
            self._texts = [(index, _on_text(mask)) for index, mask in self._masks.items()]

    def mask_rows(self, chunk: bytes | bytearray | memoryview) -> tuple[bytes, int, int]:
        """Mask whole CopyData messages.

        Returns:
            The messages masked, how many rows they hold, and how many values were masked.

        Raises:
            ProtocolViolationError: a row is malformed or has another number of columns.

        """
        masked, rows, values, taken = self.mask_some(chunk)
        if taken != len(chunk):
            raise ProtocolViolationError("a malformed CopyData")
        return masked, rows, values

    def mask_some(self, chunk: bytes | bytearray | memoryview) -> tuple[bytes, int, int, int]:
        """Mask the whole CopyData messages at the start, as `mask_rows` does.

        Returns:
            Also how many bytes were taken: up to another message, or one that is not whole.

        """
        if self._texts is not None and not self._header:
            return self._mask_texts(bytes(chunk), self._texts)
        data = bytes(chunk)
        out: list[bytes] = []
        at = rows = masked = 0
        while len(data) - at >= 5:
            end = at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
            if data[at] != _COPY_DATA or end > len(data):
                break
            if end < at + 5:
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
        return b"".join(out), rows, masked, at

    def _mask_texts(
        self, data: bytes, masks: list[tuple[int, _OnText]]
    ) -> tuple[bytes, int, int, int]:
        """Mask rows in text format: most of a COPY's time, so it is one loop."""
        out: list[bytes] = []
        add, count, last = out.append, self._count, len(data) - 5
        at = rows = masked = 0
        while at <= last:
            kind, length = _HEAD(data, at)
            end = at + length  # of the row's newline
            if kind != _COPY_DATA or end > last + 4:
                break
            fields = data[at + 5 : end].split(b"\t")
            if len(fields) != count or data[end] != _NEWLINE:
                raise self._fail()
            for index, mask in masks:
                field = fields[index]
                if field != b"\\N":
                    fields[index] = mask if isinstance(mask, bytes) else mask(field)
                    masked += 1
            row = b"\t".join(fields)
            add(_PUT_HEAD(_COPY_DATA, len(row) + 5))
            add(row)
            add(b"\n")
            at = end + 1
            rows += 1
        return b"".join(out), rows, masked, at

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
                fields[index] = _text_of(mask(_unescape(fields[index])))
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


def _on_text(mask: Mask) -> _OnText:
    """Return what masks fields of the text format that are not NULL; or what stands for all."""
    if isinstance(mask, Constant):
        return _text_of(mask.value)
    shows_part = isinstance(mask, Last4)

    def on_text(field: bytes) -> bytes:
        if b"\\" in field:
            return _text_of(mask(_unescape(field)))
        masked = mask(field)
        # Part of a field in which nothing was escaped has nothing to escape.
        return masked if shows_part and masked is not None else _text_of(masked)

    return on_text


def _text_of(value: bytes | None) -> bytes:
    return b"\\N" if value is None else _escape(value)


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
