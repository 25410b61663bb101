"""PostgreSQL messages of a client.

Invariant: whatever the bytes, each parser returns or raises `ProtocolViolationError`, and what it
accepts it has read to the last byte: one byte more is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hoopgw.errors import ProtocolViolationError
from hoopgw_postgres import wire

_OPENING: Final = b"\0\3\0\0user\0alice\0database\0orders\0\0"
PARSERS: Final[tuple[Callable[[bytes], object], ...]] = (
    wire.parse_opening,
    wire.parse_query,
    wire.parse_parse,
    wire.parse_bind,
    wire.parse_named,
    wire.parse_execute,
)
SEEDS: Final = (
    b"\0" + _OPENING,
    b"\0\x04\xd2\x16\x2f",
    b"\0\x04\xd2\x16\x2e\0\0\0\1\0\0\0\2",
    b"\1select 1\0",
    b"\2s\0select $1\0\0\1\0\0\0\x17",
    b"\3p\0s\0\0\1\0\1\0\1\0\0\0\4\0\0\0\5\0\1\0\1",
    b"\4Sname\0",
    b"\5p\0\0\0\0\1",
)


def fuzz(data: bytes) -> None:
    """Parse the rest with the parser that the first byte chooses."""
    if not data:
        return
    parse = PARSERS[data[0] % len(PARSERS)]
    try:
        parse(data[1:])
    except ProtocolViolationError:
        return
    if parse is wire.parse_opening:
        return  # a cancel key has no end of its own: the packet's length says it
    try:
        more = parse(data[1:] + b"\1")
    except ProtocolViolationError:
        return
    raise AssertionError(f"{parse.__name__} took a byte too many: {more!r}")
