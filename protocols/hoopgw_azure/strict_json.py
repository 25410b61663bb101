"""JSON whose meaning nobody can doubt, and the little more that az sends in templates. Pure.

What is read here is judged here, and then read again by Azure; so whatever two readers might take
differently is refused: members that are there twice (also if only their case differs, which Azure
does not tell apart), NaN, numbers beyond what a double or 64 bits hold, encodings other than UTF-8,
a byte order mark, halves of surrogate pairs, depth and size beyond the limits.

az puts templates into its request as their author wrote them: with comments, with line breaks in
strings, and with one bare name (``template:``). Where that is allowed (``relaxed``), these are made
plain JSON first, and the plain form is what must be forwarded, so that the first reading is the
only one.

Members are found by `json`'s own ``object_pairs_hook``, which gets all of an object, doubles
included.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeAlias

from attrs import field, frozen

from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.ids import has_double

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"

SIZE_LIMIT: Final = 4 * 2**20
"""Bytes; Azure takes no more in a request."""
DEPTH_LIMIT: Final = 64
COUNT_LIMIT: Final = 100_000
"""Members and elements in one text."""
_DIGITS_LIMIT: Final = 40
_INTEGER_LIMIT: Final = 2**64

_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_RELAXED: Final = re.compile(
    r"""(?P<text>"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z))
      | (?P<comment>//[^\n]*|/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z))
      | (?P<name>(?<![A-Za-z0-9_$])[A-Za-z_$][A-Za-z0-9_$]*+)(?=\s*+:)""",
    re.VERBOSE | re.DOTALL,
)
_CONTROL: Final = re.compile(r"[\x00-\x1f]")


@frozen
class Document:
    """A text that was read."""

    value: Json = field(repr=False)
    plain: bytes | None = field(default=None, repr=False)
    """The same as plain JSON, if what came was not: this is what must be sent."""


class _DoubleError(ValueError):
    """A member is there twice."""


def decode(body: bytes, *, relaxed: bool = False) -> Document:
    """Read a text.

    Args:
        body: the bytes.
        relaxed: whether comments, bare names and line breaks in strings may be in it.

    Raises:
        UnclearRequestError: it is not as the module says.

    """
    if len(body) > SIZE_LIMIT:
        raise UnclearRequestError(f"the body is longer than {SIZE_LIMIT} bytes")
    if body.startswith(_MARKS) or b"\0" in body[:4]:
        raise UnclearRequestError("the body must be JSON in UTF-8, without a byte order mark")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnclearRequestError("the body is not UTF-8") from error
    try:
        return Document(_load(text))
    except json.JSONDecodeError as error:
        if not relaxed:
            raise _not_json(error) from error
    made = _RELAXED.sub(_plain, text)
    try:
        value = _load(made)
    except json.JSONDecodeError as error:
        raise _not_json(error) from error
    return Document(value, json.dumps(value, ensure_ascii=False, allow_nan=False).encode())


def member(value: Json, name: str) -> Json:
    """Return a member of an object without regard to case; None if there is none."""
    if not isinstance(value, Mapping):
        return None
    if name in value:
        return value[name]
    wanted = name.lower()
    return next((each for key, each in value.items() if key.lower() == wanted), None)


def has_member(value: Json, name: str) -> bool:
    """Whether an object has a member, without regard to case."""
    wanted = name.lower()
    return isinstance(value, Mapping) and any(key.lower() == wanted for key in value)


def text_of(value: Json, name: str) -> str | None:
    """Return a member that is a text; None if it is not there or is something else."""
    found = member(value, name)
    return found if isinstance(found, str) else None


def texts(value: Json) -> Iterator[str]:
    """Yield every text in a value, names of members included."""
    waiting: list[Json] = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            yield from each
            waiting.extend(each.values())
        elif isinstance(each, Sequence):
            waiting.extend(each)


def _load(text: str) -> Json:
    try:
        value: Json = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
        )
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise UnclearRequestError(f"the body is nested deeper than {DEPTH_LIMIT}") from error
    except _DoubleError as error:
        raise UnclearRequestError(str(error)) from error
    except ValueError as error:  # Python's own limit of digits
        raise _too_big() from error
    _check(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    folded = {name.lower() for name, _ in pairs}
    if len(folded) != len(pairs):
        seen: set[str] = set()
        twice = next(n for n, _ in pairs if n.lower() in seen or seen.add(n.lower()))  # type: ignore[func-returns-value]  # add gives None on purpose
        raise _DoubleError(f"the member {twice[:64]!r} is there twice; say it once")
    for name in found:
        if not name.isascii() and has_double(name):
            raise _DoubleError(f"the member {name[:64]!r} has letters that pass for others")
    return found


def _constant(name: str) -> NoReturn:
    raise UnclearRequestError(f"{name} is no number of JSON")


def _float(text: str) -> float:
    value = float(text) if len(text) <= _DIGITS_LIMIT else math.inf
    if not math.isfinite(value):
        raise _too_big()
    return value


def _too_big() -> UnclearRequestError:
    return UnclearRequestError("the body has a number that is too long or too big")


def _check(value: Json) -> None:
    """Bound depth, count and numbers, and refuse halves of surrogate pairs."""
    waiting: list[tuple[Json, int]] = [([value], 0)]
    count = 0
    while waiting:
        each, depth = waiting.pop()
        if depth > DEPTH_LIMIT:
            raise UnclearRequestError(f"the body is nested deeper than {DEPTH_LIMIT}")
        inside: Iterable[Json] = ()
        if isinstance(each, dict):
            for name in each:
                _check_text(name)
            inside = each.values()
        elif isinstance(each, list):
            inside = each
        for inner in inside:
            count += 1
            if isinstance(inner, str):
                _check_text(inner)
            elif isinstance(inner, dict | list):
                waiting.append((inner, depth + 1))
            elif isinstance(inner, int) and abs(inner) >= _INTEGER_LIMIT:
                raise _too_big()
        if count > COUNT_LIMIT:
            raise UnclearRequestError(f"the body has more than {COUNT_LIMIT} values")


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnclearRequestError("the body has half of a surrogate pair") from error


def _plain(match: re.Match[str]) -> str:
    if match.lastgroup == "comment":
        # One that is not closed stays, and is no JSON.
        return match.group() if _is_open(match.group()) else " "
    if match.lastgroup == "name":
        return f'"{match.group()}"'
    if _CONTROL.search(match.group()) is None:
        return match.group()
    return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", match.group())


def _is_open(comment: str) -> bool:
    return comment.startswith("/*") and (len(comment) < 4 or not comment.endswith("*/"))


def _not_json(error: json.JSONDecodeError) -> UnclearRequestError:
    return UnclearRequestError(
        f"the body is not JSON: {error.msg.lower()} in line {error.lineno}, column {error.colno}"
    )
