"""Mask kinds on plain values: text, integers, and tokens of anything.

Pure, and the same for every protocol; what a kind means for a type of a target, and how the result
is encoded, is that protocol's. A kind that does not fit a type falls back to hiding all of the
value, never to showing it.

=========  ====================================================================================
``null``   no value; ``hide`` is the same
``redact`` a fixed value that says nothing
``last4``  the last four characters, if there are more than eight; ``partial`` is the same
``email``  the domain of an address
``hash``   a token: the same for the same value under one key, so that it can be joined
``year``   the year of a date
=========  ====================================================================================
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

_SYNONYMS: Final = {"hide": "null", "partial": "last4"}
KINDS: Final = frozenset({"null", "redact", "last4", "email", "hash", "year", *_SYNONYMS})

REDACTED: Final = "***"
HIDDEN: Final = "****"
"""What ``last4`` puts before what it shows."""
SHOWN: Final = 4
"""Characters that ``last4`` shows."""
SHORT: Final = 2 * SHOWN
"""Characters of a text of which ``last4`` shows nothing."""
_DOMAIN: Final = b"hoopgw/mask/v1\0"
_TOKEN_CHARACTERS: Final = 32
_BLOCK: Final = 64
"""Bytes that SHA-256 takes at once."""
_KEYS: Final = 4
"""Keys whose states are kept: the one in use, and those that it replaced."""


def plain_kind(kind: str) -> str:
    """Return the first name of a kind; ``null`` for one that is not known."""
    kind = _SYNONYMS.get(kind, kind)
    return kind if kind in KINDS else "null"


def mask_text(kind: str, text: str, key: bytes) -> str | None:
    """Return what stands for a text; None is no value.

    A kind that is not known gives no value.
    """
    match plain_kind(kind):
        case "redact" | "year":
            return REDACTED
        case "last4":
            return last4(text)
        case "email":
            return email(text)
        case "hash":
            return token_text(key, text.encode("utf-8", "surrogatepass"))
    return None


def last4(text: str) -> str:
    """Show the last four characters; of eight or fewer, none. The length does not show."""
    return HIDDEN + text[-SHOWN:] if len(text) > SHORT else HIDDEN


def email(text: str) -> str:
    """Show the domain of an address; of anything else, nothing."""
    local, at, domain = text.rpartition("@")
    plain = domain.replace(".", "").replace("-", "")
    if not (local and at and plain.isalnum()):
        return REDACTED
    return f"{REDACTED}@{domain}"


def token(key: bytes, value: bytes) -> bytes:
    """Return 32 bytes that stand for a value: HMAC-SHA256 under a key of masks only."""
    return _hashed(key, value).digest()


def token_text(key: bytes, value: bytes) -> str:
    """Return a token as 32 hexadecimal digits."""
    return _hashed(key, value).hexdigest()[:_TOKEN_CHARACTERS]


def token_integer(key: bytes, value: bytes, limit: int) -> int:
    """Return a token as an integer from 0 up to, but without, ``limit``.

    Few possible values mean that different values may get the same token.
    """
    return int.from_bytes(token(key, value)[:16], "big") % limit


def _hashed(key: bytes, value: bytes) -> hashlib._Hash:
    """Return the hash of HMAC (RFC 2104), from the states after its two padded keys.

    `hmac.digest` begins with the key for each value, and takes three times as long.
    """
    inner, outer = keyed(key)
    inside, outside = inner.copy(), outer.copy()
    inside.update(value)
    outside.update(inside.digest())
    return outside


@lru_cache(_KEYS)
def keyed(key: bytes) -> tuple[hashlib._Hash, hashlib._Hash]:
    """Return the states of the hash after the inner key, with the domain behind it, and the outer.

    Of a token's inner and outer hash: copy them, and go on with the value and the inner digest.
    """
    padded = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    inner = hashlib.sha256(bytes(each ^ 0x36 for each in padded) + _DOMAIN)
    return inner, hashlib.sha256(bytes(each ^ 0x5C for each in padded))
