"""What callers of the admin API may send, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hoopgw.control.web import ApiError, Call

NAME_LIMIT: Final = 256
LIST_LIMIT: Final = 1_000
"""Items of one answer."""


def text(values: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """Return a text of a body; the default if it is not there.

    Raises:
        ApiError: it is missing, no text, or too long.

    """
    value = values.get(name, default)
    if not isinstance(value, str) or len(value) > 4_000:
        raise ApiError(400, "invalid_request", f"{name}: expected a text")
    return value


def only(values: Mapping[str, Any], *known: str) -> None:
    """Refuse what is not known.

    Raises:
        ApiError: there is more.

    """
    if unknown := values.keys() - set(known):
        raise ApiError(400, "invalid_request", f"unknown: {', '.join(sorted(unknown))[:200]}")


def limit(call: Call, default: int = 100) -> int:
    """Return how many items are wanted.

    Raises:
        ApiError: not a number that makes sense.

    """
    return number(call, "limit", default, 1, LIST_LIMIT)


def number(call: Call, name: str, default: int, least: int, most: int) -> int:
    """Return a number of the query. Raises `ApiError`."""
    given = call.query.get(name, str(default))
    if not (given.isascii() and given.isdigit()) or len(given) > 18:
        raise ApiError(400, "invalid_request", f"{name}: expected a number")
    if not least <= int(given) <= most:
        raise ApiError(400, "invalid_request", f"{name}: expected {least} to {most}")
    return int(given)


def flag(call: Call, name: str) -> bool | None:
    """Return ``true`` or ``false`` of the query, or None. Raises `ApiError`."""
    match call.query.get(name):
        case None:
            return None
        case "true":
            return True
        case "false":
            return False
        case _:
            raise ApiError(400, "invalid_request", f"{name}: expected true or false")
