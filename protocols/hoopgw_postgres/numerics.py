"""PostgreSQL's binary numeric: base-10000 digits (``numeric_send`` in ``numeric.c``)."""

from __future__ import annotations

import struct
from typing import Final

_NEGATIVE: Final = 0x4000
_SPECIAL: Final = 0xC000


def decode_numeric(data: bytes) -> str:
    """Return the value in decimal notation, as the text format spells it.

    Raises:
        ValueError: it is NaN or infinite, or not a numeric.

    """
    if len(data) < 8:
        raise ValueError("too short for a numeric")
    count, weight, sign, scale = struct.unpack_from(">HhHH", data)
    if sign & _SPECIAL not in (0, _NEGATIVE):
        raise ValueError("NaN or infinity")
    if len(data) != 8 + 2 * count:
        raise ValueError("a numeric of another length")
    digits = struct.unpack_from(f">{count}H", data, 8)
    words = "".join(f"{digit:04d}" for digit in digits)
    whole = (weight + 1) * 4
    if whole >= 0:
        words = words.ljust(whole, "0")
        left, right = words[:whole], words[whole:]
    else:
        left, right = "", "0" * -whole + words
    text = left.lstrip("0") or "0"
    if scale:
        text += "." + right[:scale].ljust(scale, "0")
    return "-" + text if sign == _NEGATIVE else text


def encode_numeric(value: int) -> bytes:
    """Return a whole number that is not negative as a binary numeric."""
    digits: list[int] = []
    rest = value
    while rest:
        rest, digit = divmod(rest, 10_000)
        digits.append(digit)
    digits.reverse()
    weight = len(digits) - 1 if digits else 0
    while digits and not digits[-1]:
        digits.pop()
    return struct.pack(f">HhHH{len(digits)}H", len(digits), weight, 0, 0, *digits)
