"""What stands in a document for a value that is masked: always a value of JSON.

=========  =====================  ===================  ==============  ===================
kind       string                 number               true, false     object, array
=========  =====================  ===================  ==============  ===================
``null``   ``null``               ``null``             ``null``        ``null``
``redact`` ``"***"``              ``0``                ``false``       ``{}``, ``[]``
``year``   as ``redact``: a document does not say what is a date
``last4``  the last four          ``null``             ``null``        ``{}``, ``[]``
``email``  the domain             ``null``             ``null``        ``{}``, ``[]``
``hash``   a token, 32 digits     a token below 2^53,  ``null``        ``{}``, ``[]``
                                  of an integer
=========  =====================  ===================  ==============  ===================

The type of a value stays where it can, because clients read into typed objects. What is ``null``
stays so.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from hoopgw.documents.automaton import Effect
from hoopgw.documents.detectors import search
from hoopgw.masking import mask_text, token_integer, token_text

NULL: Final = b"null"
_CONSTANT_STRINGS: Final = {"null": NULL, "redact": b'"***"', "year": b'"***"'}
_REDACTED: Final = {"redact", "year"}
_INTEGERS: Final = 2**53
"""What every reader takes as it is written (RFC 8259, section 6)."""


def constant_string(kind: str) -> bytes | None:
    """Return what stands for a string whatever it says; None if that depends."""
    return _CONSTANT_STRINGS.get(kind)


def encode(text: str) -> bytes:
    """Return a text as a string of JSON, in ASCII."""
    return json.dumps(text).encode("ascii")


def decode(raw: bytes) -> str:
    """Return what a string of JSON says; it was checked to be one."""
    if b"\\" in raw:
        return str(json.loads(raw))
    return raw[1:-1].decode("utf-8")


def string(
    effect: Effect, raw: bytes, key: bytes, rewrite: Callable[[str, str], str] | None
) -> bytes:
    """Return what stands for a string, which may be itself.

    Raises:
        DocumentError: the caller's function refused it.

    """
    if effect.strings is not None:
        constant = constant_string(effect.strings)
        if constant is not None:
            return constant
        if effect.strings == "hash":
            return hashed(raw, key)
        shown = mask_text(effect.strings, decode(raw), key)
        return NULL if shown is None else encode(shown)
    before = decode(raw)
    text = search(effect.detectors, before, key)
    if rewrite is not None:
        for path in effect.rewrites:
            text = rewrite(path, text)
    return raw if text == before else encode(text)


def hashed(raw: bytes, key: bytes) -> bytes:
    """Return the token of a string, as one."""
    value = raw[1:-1]
    if b"\\" in value:
        value = decode(raw).encode(
            "utf-8", "surrogatepass"
        )  # what is escaped and what is not is the same text
    return b'"%b"' % token_text(key, value).encode("ascii")


def number(effect: Effect, raw: bytes, key: bytes) -> bytes:
    """Return what stands for a number, which may be itself."""
    kind = effect.numbers
    if kind is None:
        kind = next(
            (kind for detector, kind in effect.detectors if _finds(detector.replace, raw)), None
        )
    if kind is None:
        return raw
    constant = constant_number(kind)
    if constant is not None:
        return constant
    if raw.lstrip(b"-").isdigit():
        return b"%d" % token_integer(key, raw, _INTEGERS)
    return NULL


def constant_number(kind: str) -> bytes | None:
    """Return what stands for a number whatever it is; None if that depends."""
    if kind == "hash":
        return None
    return b"0" if kind in _REDACTED else NULL


def _finds(replace: Callable[[str, str, bytes], str], raw: bytes) -> bool:
    text = raw.decode("ascii")
    return replace(text, "redact", b"") != text


def literal(effect: Effect, raw: bytes) -> bytes:
    """Return what stands for ``true``, ``false`` or ``null``."""
    if effect.numbers is None or raw == NULL:
        return raw
    return b"false" if effect.numbers in _REDACTED else NULL


def container(kind: str, *, is_object: bool) -> bytes:
    """Return what stands for all of an object or array."""
    if kind == "null":
        return NULL
    return b"{}" if is_object else b"[]"
