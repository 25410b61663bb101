"""What a Bind bound, shown to people: in replays, and to who reviews the statement.

Nothing here trusts a length, and all that is shown is escaped (`hoopgw.terminal`). What is cut says
how much is missing, so that nobody takes the beginning of a value for all of it.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from hoopgw.terminal import printable_bytes

WIDTH: Final = 200
"""Bytes of one value that are shown, if nothing else is asked."""
COUNT: Final = 50
"""Values that are shown, if nothing else is asked; the protocol allows 65,535."""
_TYPES_LIMIT: Final = 1000
"""Types that are looked past; with more, the values are shown as bytes."""
_NUMBERS: Final = (2, 4, 8)
"""Bytes of int2, int4 and int8."""

_Value: TypeAlias = tuple[bytes | None, int]
"""As sent, and its format: 0 is text, 1 is binary."""


def bound_values(
    parameters: bytes, size: int = 0, *, width: int = WIDTH, count: int = COUNT
) -> list[str]:
    """Show what was bound, value by value: ``$1 = '42'``.

    Args:
        parameters: the types that Parse named, then the Bind's body after its two names.
        size: how many bytes were sent, if ``parameters`` are not all of them.
        width: bytes of one value that are shown.
        count: values that are shown.

    """
    if not parameters:
        return []
    values = None if size else _bind_values(parameters)
    if values is None:
        return [f"\\x{parameters[:width].hex()} ({size or len(parameters)} bytes)"]
    shown = [
        f"${number} = {_value(value, code, width)}"
        for number, (value, code) in enumerate(values[:count], 1)
    ]
    if len(values) > count:
        shown.append(f"and {len(values) - count} more")
    return shown


def _value(value: bytes | None, code: int, width: int) -> str:
    if value is None:
        return "NULL"
    cut = value[:width]
    more = f"… ({len(value)} bytes)" if len(value) > width else ""
    if not code:
        return f"'{printable_bytes(cut)}{more}'"
    number = int.from_bytes(value, "big", signed=True) if len(value) in _NUMBERS else None
    may_be = "" if number is None else f" ({number}, if it is a number)"
    if value and _is_text(cut):
        return f"'{cut.decode()}{more}'{may_be}"
    return f"\\x{cut.hex()}{more}{may_be}"


def _is_text(value: bytes) -> bool:
    try:
        return value.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _bind_values(parameters: bytes) -> list[_Value] | None:
    """Read the bound values with their format codes, or None if this cannot be read.

    The types that Parse named stand in front, without their count: the start of the Bind's body is
    where its lengths come out even to the last byte.
    """
    for types in range(min(len(parameters) // 4, _TYPES_LIMIT) + 1):
        values = _bind_body(parameters, 4 * types)
        if values is not None and types <= len(values):
            return values
    return None


def _bind_body(parameters: bytes, at: int) -> list[_Value] | None:
    """Read a Bind's body after the names, from ``at`` to the very end."""
    try:
        (count,) = struct.unpack_from("!H", parameters, at)
        codes = struct.unpack_from(f"!{count}h", parameters, at + 2)
        at += 2 + 2 * count
        (number,) = struct.unpack_from("!H", parameters, at)
        at += 2
        values: list[_Value] = []
        for index in range(number):
            (size,) = struct.unpack_from("!i", parameters, at)
            at += 4
            code = codes[index] if len(codes) > 1 else codes[0] if codes else 0
            values.append((None if size < 0 else parameters[at : at + size], code))
            at += max(size, 0)
        (results,) = struct.unpack_from("!H", parameters, at)
    except (struct.error, IndexError):
        return None
    return values if at + 2 + 2 * results == len(parameters) else None
