"""The recorded beginning of an answer, laid out as psql would.

The bytes are backend messages, cut anywhere. Rows become a table; errors, notices and completion
tags become lines. Values in binary format, or that are no UTF-8, are shown in hexadecimal.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from rich.cells import cell_len, set_cell_size

from hoopgw.terminal import clip, printable, printable_bytes

_CELL_WIDTH: Final = 60
_ROWS_SHOWN: Final = 200
_COLUMNS_SHOWN: Final = 100
_LINE_WIDTH: Final = 2000
_COPY_LINES: Final = 200

Column: TypeAlias = tuple[str, int]
"""Name and format code."""


def answer_lines(output: bytes, *, complete: bool) -> list[str]:
    """Lay an answer out, line by line; every line is safe for a terminal.

    Args:
        output: backend messages, possibly cut in the middle of one.
        complete: whether nothing was left out of the recording.

    """
    lines = list(_Answer().lines(output))
    if not complete:
        lines.append("(the recording keeps no more of this answer)")
    return lines


class _Answer:
    """Collects rows until what follows them closes their table."""

    def __init__(self) -> None:
        self._columns: list[Column] = []
        self._rows: list[list[str]] = []
        self._left_out = 0
        self._copied = 0

    def lines(self, output: bytes) -> Iterator[str]:
        for kind, body in _messages(output):
            if kind == b"D":
                self._row(body)
                continue
            if kind == b"T":
                yield from self._table()
                self._columns = list(_description(body))
            elif kind == b"C":
                yield from self._table()
                yield _text(body)
                self._columns = []
            elif kind in (b"E", b"N"):
                yield from self._table()
                yield from _report(body)
            elif kind == b"d":
                yield from self._copy(body)
        yield from self._table()

    def _row(self, body: bytes) -> None:
        if len(self._rows) >= _ROWS_SHOWN:
            self._left_out += 1
            return
        self._rows.append([_cell(value, self._code(i)) for i, value in enumerate(_fields(body))])

    def _code(self, index: int) -> int:
        return self._columns[index][1] if index < len(self._columns) else 0

    def _table(self) -> Iterator[str]:
        rows, self._rows = self._rows, []
        left_out, self._left_out = self._left_out, 0
        if not rows and not self._columns:
            return
        width = max([len(self._columns), *(len(row) for row in rows)])
        names = [clip(name, _CELL_WIDTH) for name, _code in self._columns]
        names += [f"column {number}" for number in range(len(names) + 1, width + 1)]
        yield from _layout(names, rows)
        if left_out:
            yield f"(and {left_out} more rows)"
        self._columns = []

    def _copy(self, body: bytes) -> Iterator[str]:
        self._copied += 1
        if self._copied <= _COPY_LINES:
            yield clip(printable_bytes(body.rstrip(b"\n"), keep="\t"), _LINE_WIDTH)


def _messages(output: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Cut messages; the last one may be short, and rows are shown as far as they go."""
    at = 0
    while len(output) - at >= 5:
        (length,) = struct.unpack_from("!I", output, at + 1)
        if length < 4:
            return
        yield output[at : at + 1], output[at + 5 : at + 1 + length]
        at += 1 + length


def _description(body: bytes) -> Iterator[Column]:
    at = 2
    for _ in range(_COLUMNS_SHOWN):
        end = body.find(b"\0", at)
        if end < 0 or len(body) < end + 19:
            return
        (code,) = struct.unpack_from("!h", body, end + 17)
        yield printable_bytes(body[at:end]), code
        at = end + 19


def _fields(body: bytes) -> Iterator[bytes | None]:
    at = 2
    for _ in range(_COLUMNS_SHOWN):
        if len(body) < at + 4:
            return
        (size,) = struct.unpack_from("!i", body, at)
        at += 4
        if size < 0:
            yield None
            continue
        yield body[at : at + size]
        at += size


def _cell(value: bytes | None, code: int) -> str:
    if value is None:
        return "∅"
    if code:
        return clip(f"\\x{value[:_CELL_WIDTH].hex()}", _CELL_WIDTH)
    return clip(printable_bytes(value[: 4 * _CELL_WIDTH]), _CELL_WIDTH)


def _layout(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [cell_len(name) for name in names]
    for row in rows:
        for index, cell in enumerate(row):
            widths[index] = max(widths[index], cell_len(cell))
    yield " | ".join(map(set_cell_size, names, widths)).rstrip()
    yield "-+-".join("-" * width for width in widths)
    for row in rows:
        yield " | ".join(map(set_cell_size, row, widths)).rstrip()


def _text(body: bytes) -> str:
    return clip(printable_bytes(body.split(b"\0", 1)[0]), _LINE_WIDTH)


def _report(body: bytes) -> Iterator[str]:
    """Show an ErrorResponse or NoticeResponse: ``ERROR 42501: text``, DETAIL, HINT."""
    found = {
        part[:1]: clip(printable(part[1:].decode(errors="backslashreplace")), _LINE_WIDTH)
        for part in body.split(b"\0")
        if part
    }
    severity = found.get(b"S") or found.get(b"V", "ERROR")
    yield f"{severity} {found.get(b'C', '')}: {found.get(b'M', '')}"
    for code, word in ((b"D", "DETAIL"), (b"H", "HINT")):
        if code in found:
            yield f"{word}: {found[code]}"
