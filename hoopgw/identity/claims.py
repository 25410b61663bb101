"""Claims of a token, read strictly: each is of its type and size, or the token is refused. Pure."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from typing import Final

from hoopgw.errors import AuthenticationError
from hoopgw.identity.jose import Claims

LEEWAY: Final = 30.0
"""Seconds that an issuer's clock and ours may differ."""
TEXT_LIMIT: Final = 512
GROUPS_LIMIT: Final = 1000
_LATIN: Final = frozenset("ßæÆøØœŒłŁðÐþÞđĐ")
_LATEST: Final = 1e11  # a moment beyond it is a mistake in the unit, or an attack on arithmetic


def moment(claims: Claims, name: str) -> float:
    """Return a claim that is a moment, in seconds since the epoch.

    Raises:
        AuthenticationError: it is missing, or not a number as it should be.

    """
    value = claims.get(name)
    # bool is an int to Python, and JSON's true is no moment.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AuthenticationError(f"{name} is not a number")
    if not 0 <= value < _LATEST or not math.isfinite(value):
        raise AuthenticationError(f"{name} is out of range")
    return float(value)


def text(claims: Claims, name: str) -> str:
    """Return a claim that is text: printable, not empty, at most `TEXT_LIMIT` characters.

    Raises:
        AuthenticationError: it is missing, or not so.

    """
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_LIMIT or not value.isprintable():
        raise AuthenticationError(f"{name} is not text of 1 to {TEXT_LIMIT} characters")
    return value


def texts(claims: Claims, name: str) -> frozenset[str]:
    """Return a claim that is a list of strings, none if it is missing.

    Raises:
        AuthenticationError: it is something else, or longer than `GROUPS_LIMIT`.

    """
    values = claims.get(name, [])
    if not isinstance(values, list) or len(values) > GROUPS_LIMIT:
        raise AuthenticationError(f"{name} is not a list of at most {GROUPS_LIMIT} strings")
    for value in values:
        if not isinstance(value, str) or not 0 < len(value) <= TEXT_LIMIT:
            raise AuthenticationError(f"{name} is not a list of strings")
    return frozenset(values)


def optional_text(claims: Claims, name: str) -> str | None:
    """Return a claim that is text, or None if it is missing or empty; raises as `text` does."""
    return None if claims.get(name) in (None, "") else text(claims, name)


def member(claims: Claims, name: str) -> Claims:
    """Return a claim that is an object, an empty one if it is missing.

    Raises:
        AuthenticationError: it is something else.

    """
    value = claims.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise AuthenticationError(f"{name} is not an object")
    return value


def kept(claims: Claims, names: Iterable[str]) -> dict[str, str]:
    """Return those of the claims that are there, as texts, for recordings.

    Raises:
        AuthenticationError: one is neither text nor a whole number.

    """
    found: dict[str, str] = {}
    for name in names:
        value = claims.get(name)
        if type(value) is int:
            found[name] = str(value)[:TEXT_LIMIT]
        elif (said := optional_text(claims, name)) is not None:
            found[name] = said
    return found


def display_name(name: object, subject: str) -> str:
    """Return what people read for a principal. It is never compared with anything.

    A name that is missing or has what cannot be seen gives way to the subject. A name with letters
    of other alphabets than the Latin one may look like somebody else's (UTS 39), so the subject is
    shown with it.
    """
    if not isinstance(name, str) or not 0 < len(name) <= TEXT_LIMIT:
        return subject
    normal = unicodedata.normalize("NFKC", name)
    plain = " ".join(normal.split())
    if not plain or not normal.isprintable():
        return subject
    if plain.isascii() or all(_is_familiar(character) for character in plain):
        return plain
    return f"{plain} <{subject}>"


def _is_familiar(character: str) -> bool:
    """Say whether it is a mark of punctuation, or a Latin letter that no other looks like."""
    if character in _LATIN or unicodedata.normalize("NFD", character)[0].isascii():
        return True
    return unicodedata.category(character)[0] not in "LMN"
