"""Seals: HMAC-SHA-256 over a row's values, with a key that is not in the store.

The encoding is canonical and domain-separated: each value carries its type and length, so no two
different rows of one kind, and no rows of two kinds, encode alike.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Final, TypeAlias

from attrs import field, frozen
from attrs.validators import min_len

Value: TypeAlias = str | bytes | int | float | None

_DOMAIN: Final = b"hoopgw/store/v1\0"


@frozen
class SealKey:
    """Seals rows and checks seals."""

    _key: bytes = field(repr=False, validator=min_len(32))
    _others: tuple[bytes, ...] = field(default=(), repr=False)
    """Keys whose seals hold too, while the key is replaced."""

    def seal(self, kind: str, *values: Value) -> bytes:
        """Return the seal of a row of one kind."""
        return _seal(self._key, kind, values)

    def each(self) -> tuple[SealKey, ...]:
        """Return one for each of its keys, first the one that seals."""
        return tuple(map(SealKey, (self._key, *self._others)))

    def holds(self, seal: bytes, kind: str, *values: Value) -> bool:
        """Whether this is the seal of that row. Takes the same time either way."""
        held = False
        for key in (self._key, *self._others):
            held |= hmac.compare_digest(seal, _seal(key, kind, values))
        return held


def _seal(key: bytes, kind: str, values: tuple[Value, ...]) -> bytes:
    state = hmac.new(key, _DOMAIN, hashlib.sha256)
    for value in (kind, *values):
        tag, encoded = _encode(value)
        state.update(tag + len(encoded).to_bytes(8, "big") + encoded)
    return state.digest()


def _encode(value: Value) -> tuple[bytes, bytes]:
    match value:
        case None:
            return b"n", b""
        case str():
            return b"s", value.encode()
        case bytes():
            return b"b", value
        case float():
            return b"f", struct.pack(">d", value)
        case int():
            return b"i", str(value).encode()
