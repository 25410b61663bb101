"""Masking rows: RowDescription to a plan, DataRow to a masked DataRow.

A plan binds masks to the (relation, attribute) that the server says a result column comes from,
never to the column's name. This alone is not sound: an expression over a masked column has no
origin. `masking_rules` sees to it that no such statement runs.

The masker of a plan is code made for its columns: it walks only as far into a row as the last of
them, and touches no more of the row than the masked values and the row's length.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from textwrap import indent
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen

from hoopgw.errors import ProtocolViolationError
from hoopgw.masking.kinds import HIDDEN, SHORT, SHOWN
from hoopgw_postgres.values import TEXT, Constant, Last4, Mask, RowMask, compile_mask, framing

_COLUMN: Final = struct.Struct(">IhIhih")  # relation, attribute, type, type length, typmod, format
_PLANS_LIMIT: Final = 500

_Walk: TypeAlias = Callable[[bytes, tuple[Any, ...]], tuple[bytes, int, int, int]]


@frozen
class ColumnMask:
    """How one column of a relation is shown."""

    kind: str
    text: bool = False
    """The type is one of strings (``typcategory`` S), also if its OID says nothing to us."""


@frozen
class Column:
    """One column of a RowDescription."""

    relation: int
    attribute: int
    type: int
    typmod: int
    format: int


def parse_description(body: bytes) -> list[Column]:
    """Return the columns of a RowDescription (its body).

    Raises:
        ProtocolViolationError: it is malformed.

    """
    try:
        (count,) = struct.unpack_from(">H", body)
        at, columns = 2, []
        for _ in range(count):
            at = body.index(0, at) + 1
            relation, attribute, kind, _, typmod, code = _COLUMN.unpack_from(body, at)
            at += _COLUMN.size
            columns.append(Column(relation, attribute, kind, typmod, code))
    except (struct.error, ValueError) as error:
        raise ProtocolViolationError("a malformed RowDescription") from error
    if at != len(body):
        raise ProtocolViolationError("a RowDescription of another length")
    return columns


@define(eq=False)
class MaskPlan:
    """What is masked in a session.

    Args:
        masks: by relation OID and attribute number.
        key: for tokens.

    """

    masks: Mapping[tuple[int, int], ColumnMask]
    key: bytes = field(repr=False)
    _rows: dict[tuple[bytes, tuple[int, ...] | None], RowMasker | None] = field(
        factory=dict, init=False, repr=False
    )

    def for_row_description(
        self, body: bytes, formats: tuple[int, ...] | None = None
    ) -> RowMasker | None:
        """Return what masks the rows that follow; None if nothing in them is masked.

        Args:
            body: of the RowDescription.
            formats: result formats as in the Bind: none is text, one is for all columns; None
                takes those of the description.

        Raises:
            ProtocolViolationError: the description is malformed, or does not fit the formats.

        """
        try:
            return self._rows[body, formats]
        except KeyError:
            pass
        if len(self._rows) >= _PLANS_LIMIT:
            self._rows.clear()
        found = self._rows[body, formats] = self._compile(parse_description(body), formats)
        return found

    def column_mask(self, column: Column, format_code: int) -> Mask | None:
        """Return what masks the values of a column; None if it is shown as it is."""
        mask = self.masks.get((column.relation, column.attribute))
        return None if mask is None else self.compile(mask, column, format_code)

    def compile(self, mask: ColumnMask, column: Column, format_code: int) -> Mask:
        """Return what masks the values of a column in a way that is given."""
        known = TEXT if mask.text and format_code == 0 else column.type
        compiled = compile_mask(mask.kind, column.type, format_code, self.key, column.typmod)
        if mask.text and isinstance(compiled, Constant) and compiled.value is None:
            # A string type of an extension, as citext: its text format is a text.
            compiled = compile_mask(mask.kind, known, format_code, self.key)
        return compiled

    def _compile(self, columns: list[Column], formats: tuple[int, ...] | None) -> RowMasker | None:
        masks: dict[int, Mask] = {}
        for index, column in enumerate(columns):
            mask = self.column_mask(column, _format(column, index, len(columns), formats))
            if mask is not None:
                masks[index] = mask
        return RowMasker(len(columns), masks) if masks else None


def _format(column: Column, index: int, count: int, formats: tuple[int, ...] | None) -> int:
    if formats is None:
        return column.format
    if not formats:
        return 0
    if len(formats) == 1:
        return formats[0]
    if len(formats) != count:
        raise ProtocolViolationError("a Bind with formats for another number of columns")
    return formats[index]


class RowMasker:
    """Masks DataRow messages. Keeps nothing between calls.

    Args:
        count: columns of each row.
        masks: by index of the column; not empty.

    """

    def __init__(self, count: int, masks: Mapping[int, Mask]) -> None:
        indexes = tuple(sorted(masks))
        framed = [framing(masks[index]) for index in indexes]
        way = _way([masks[index] for index in indexes])
        self._walk = _compile_walk(count, indexes, way)
        self._masks: tuple[bytes | RowMask, ...] = tuple(
            frame if way is Way.CONSTANT or not isinstance(frame, bytes) else _always(frame)
            for frame in framed
        )

    def mask_rows(self, chunk: bytes | bytearray | memoryview) -> tuple[bytes, int, int]:
        """Mask whole DataRow messages.

        Returns:
            The messages masked, how many they are, and how many values were masked.

        Raises:
            ProtocolViolationError: a row is malformed or has another number of columns.

        """
        masked, rows, values, taken = self.mask_some(chunk)
        if taken != len(chunk):
            raise ProtocolViolationError("a malformed DataRow")
        return masked, rows, values

    def mask_some(self, chunk: bytes | bytearray | memoryview) -> tuple[bytes, int, int, int]:
        """Mask the whole DataRow messages at the start, as `mask_rows` does.

        Returns:
            Also how many bytes were taken: up to another message, or one that is not whole.

        """
        try:
            return self._walk(bytes(chunk), self._masks)
        except (struct.error, ValueError) as error:
            raise ProtocolViolationError("a malformed DataRow") from error


class Way(enum.Enum):
    """How the values of a row are masked."""

    CONSTANT = enum.auto()
    """One value, always by the same."""
    TAIL = enum.auto()
    """One value, of which the end is shown, so that it need not be copied."""
    SINGLE = enum.auto()
    """One value."""
    SEVERAL = enum.auto()


def _way(masks: list[Mask]) -> Way:
    if len(masks) > 1:
        return Way.SEVERAL
    if isinstance(masks[0], Constant):
        return Way.CONSTANT
    return Way.TAIL if isinstance(masks[0], Last4) else Way.SINGLE


def _always(frame: bytes) -> RowMask:
    return lambda _value: frame


# The walk as source. `data` is the chunk, `buffer` a copy in which lengths of rows are changed in
# place; `out` gets runs of it up to each masked value. `row` is the start of a row, `at` a place
# in it, `kept` the end of the last masked value. Unrolled, and with the copy, it takes two thirds
# of the time of a loop that builds each row anew.
_BEGIN: Final = """
def walk(data, masks):
    {unpack} = masks
    buffer = bytearray(data)
    {grown}
    out = []
    add = out.append
    row = kept = rows = masked = 0
    end = len(data)
    while row <= end - 11:
        kind, length, count, size = head(data, row)
        if kind != 68 or row + length >= end:
            break
        if count != {count}:
            raise ValueError
        at = row + 7
"""
_SKIP: Final = """
        at += size + 4 if size > 0 else 4
        size, = length_at(data, at)
"""
_CONSTANT: Final = """
        row += 1 + length
        if size >= 0:
            put(buffer, row - length, length + grown - size)
            add(buffer[kept:at])
            kept = at + 4 + size
            if kept > row:
                raise ValueError
        elif at + 4 > row:
            raise ValueError
        rows += 1
    add(buffer[kept:row])
    return mask0.join(out), rows, len(out) - 1, row
"""
_FOUND: Final = """
        row += 1 + length
        if size >= 0:
            stop = at + 4 + size
"""
_REPLACE: Final = """\
            new = mask0(data[at + 4 : stop])
            put(buffer, row - length, length + len(new) - 4 - size)
            add(buffer[kept:at])
            add(new)
            kept = stop
"""
_MASKED: Final = """\
            masked += 1
        if kept > row or at + 4 > row:
            raise ValueError
        rows += 1
    add(buffer[kept:row])
    return b"".join(out), rows, masked, row
"""
_TAIL: Final = f"""{_FOUND}\
            if size > {{short}} and data[at + 4 : stop].isascii():
                put(buffer, row - length, length + {{grown}} - size)
                add(buffer[kept:at])
                add({{head!r}})
                kept = stop - {{shown}}
            else:
{indent(_REPLACE, "    ")}{_MASKED}"""
_SINGLE: Final = _FOUND + _REPLACE + _MASKED
_VALUE: Final = """
        if size >= 0:
            new{n} = mask{n}(data[at + 4 : at + 4 + size])
            grown += len(new{n}) - 4 - size
            masked += 1
        else:
            new{n} = None
        at{n} = at
        size{n} = size
"""
_PUT: Final = """
        if new{n} is not None:
            add(buffer[kept:at{n}])
            add(new{n})
            kept = at{n} + 4 + size{n}
"""
_SEVERAL: Final = """
        row += 1 + length
        if at + 4 > row or size > 0 and at + 4 + size > row:
            raise ValueError
        if grown:
            put(buffer, row - length, length + grown)
"""
_END: Final = """
        rows += 1
    add(buffer[kept:row])
    return b"".join(out), rows, masked, row
"""


@lru_cache(maxsize=256)
def _compile_walk(count: int, indexes: tuple[int, ...], way: Way) -> _Walk:
    """Make the walk over rows of ``count`` columns that masks those at ``indexes``."""
    names = [f"mask{n}" for n in range(len(indexes))]
    grown = "grown = len(mask0) - 4" if way is Way.CONSTANT else "grown = 0"
    parts = [_BEGIN.format(unpack=", ".join(names) + ",", count=count, grown=grown)]
    if way is Way.SEVERAL:
        parts.append("        grown = 0\n")
    before = 0
    for n, index in enumerate(indexes):
        parts.extend([_SKIP] * (index - before))
        before = index
        if way is Way.SEVERAL:
            parts.append(_VALUE.format(n=n))
    parts.extend(_rest(way, len(indexes)))
    names_in: dict[str, Any] = {
        "head": struct.Struct(">BIHi").unpack_from,
        "length_at": struct.Struct(">i").unpack_from,
        "put": struct.Struct(">I").pack_into,
    }
    # Nothing but constants of ours goes into the source.
    exec(compile("".join(parts), "<row walk>", "exec"), names_in)  # noqa: S102
    walk: _Walk = names_in["walk"]
    return walk


def _rest(way: Way, count: int) -> list[str]:
    """Return the source from where the last masked value was found."""
    match way:
        case Way.CONSTANT:
            return [_CONSTANT]
        case Way.TAIL:
            grown = len(HIDDEN) + SHOWN
            head = grown.to_bytes(4, "big") + HIDDEN.encode()
            return [_TAIL.format(short=SHORT, shown=SHOWN, grown=grown, head=head)]
        case Way.SINGLE:
            return [_SINGLE]
        case Way.SEVERAL:
            return [_SEVERAL, *(_PUT.format(n=n) for n in range(count)), _END]
