"""What a request's target names: the path's segments, decoded once, and the query in order.

What two readers could read differently is refused: encoded slashes and letters, empty segments,
``.`` and ``..``, ``;`` parameters, dots or spaces at the end of a segment, control characters, what
is not UTF-8, letters that pass for a slash or a dot. So a decision on the segments is one on
what the target will read, if it is sent as `Locator.canonical`.

The query is taken less strictly in its names: SDKs send ``?api%2Dversion=...``. What is there
twice is kept twice, and refused where somebody asks for it.

Pure. Reference: RFC 3986; WHATWG URL, section 5 (``+`` in queries).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from attrs import field, frozen

from hoopgw.http.errors import MalformedError

SEGMENTS_LIMIT: Final = 256
PARAMETERS_LIMIT: Final = 256

_ABSOLUTE: Final = re.compile(r"[hH][tT][tT][pP][sS]?://[^/?]*")
_PLAIN: Final = re.compile(r"/[A-Za-z0-9_~-][A-Za-z0-9._~!$&'()*+,=:@/-]*")
_PATH: Final = re.compile(r"/[A-Za-z0-9._~!$&'()*+,=:@%/-]*")
_BROKEN: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Of what need not be encoded only ~ ever was: by libraries made before RFC 3986.
_NEEDLESS: Final = re.compile(r"%(?:[46][1-9A-Fa-f]|[57][0-9Aa]|3[0-9]|2[DdEe]|5[Ff])")
_KEPT: Final = "!$&'()*+,=:@~"
_MEANINGFUL: Final = "/\\.;%?#"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class LocatorError(MalformedError):
    """A target's path or query could be read in more than one way."""


@frozen
class Locator:
    """Where a request goes, below its host."""

    segments: tuple[str, ...]
    """Of the path, decoded, without an empty one at its end."""
    slash: bool
    """Whether a slash ends the path, besides the root's own."""
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Names and values, decoded, in order. May hold secrets."""
    raw_query: str = field(default="", repr=False)
    """As it was sent, without the ``?``."""

    @property
    def canonical(self) -> str:
        """The path, encoded in the one way that is ours."""
        path = "/" + "/".join(quote(segment, safe=_KEPT) for segment in self.segments)
        return path + "/" if self.slash else path

    @property
    def target(self) -> str:
        """What to send: the canonical path, and the query as it came."""
        return f"{self.canonical}?{self.raw_query}" if self.raw_query else self.canonical

    @property
    def repeated(self) -> frozenset[str]:
        """Names of the query that are there more than once, in any case; in lower case."""
        counted = Counter(name.lower() for name, _value in self.query)
        return frozenset(name for name, count in counted.items() if count > 1)

    def parameter(self, name: str) -> str | None:
        """Return the value of a parameter, in any case; None if it is not there.

        Raises:
            LocatorError: it is there more than once.

        """
        wanted = name.lower()
        found = [value for key, value in self.query if key.lower() == wanted]
        if len(found) > 1:
            raise LocatorError(f"the query has {name} more than once")
        return found[0] if found else None


def locate(target: str) -> Locator:
    """Read a request's target: a path, or a URL whose host was checked already.

    Raises:
        LocatorError: it could be read in more than one way; the text says what to mend.

    """
    absolute = _ABSOLUTE.match(target)
    rest = target[absolute.end() :] if absolute else target
    path, _, query = rest.partition("?")
    segments, slash = read_path(path or "/") if absolute else read_path(path)
    return Locator(segments, slash, read_query(query) if query else (), query)


def read_path(path: str) -> tuple[tuple[str, ...], bool]:
    """Return a path's segments, and whether a slash ends it.

    Raises:
        LocatorError: it could be read in more than one way.

    """
    if path == "/":
        return (), False
    slash = path.endswith("/")
    words = path[1:-1].split("/") if slash else path[1:].split("/")
    if len(words) > SEGMENTS_LIMIT:
        raise LocatorError(f"a path has {SEGMENTS_LIMIT} segments at most")
    if _PLAIN.fullmatch(path) is None:
        if _PATH.fullmatch(path) is None:
            raise LocatorError("the path has characters that must be encoded, or are not taken")
        if _BROKEN.search(path) is not None:
            raise LocatorError("the path has a % without two hexadecimal digits")
        if _NEEDLESS.search(path) is not None:
            raise LocatorError("the path has letters, digits or dots that are encoded")
        words = [_decoded(word, "path") if "%" in word else word for word in words]
    for word in words:
        if not word or word[-1] in ". " or word[0] == " ":
            raise LocatorError("the path has a segment that is empty, or ends in a dot or space")
    return tuple(words), slash


def read_query(query: str) -> tuple[tuple[str, str], ...]:
    """Return a query's names and values, in order.

    Raises:
        LocatorError: something in it cannot be decoded, or there is too much.

    """
    pieces = [piece for piece in query.split("&") if piece]
    if len(pieces) > PARAMETERS_LIMIT:
        raise LocatorError(f"a query has {PARAMETERS_LIMIT} parameters at most")
    found: list[tuple[str, str]] = []
    for piece in pieces:
        name, _, value = piece.partition("=")
        name, value = _form_decoded(name), _form_decoded(value)
        if not name or _CONTROL.search(name) is not None or "\0" in value:
            raise LocatorError("the query has a name that is empty, or control characters")
        found.append((name, value))
    return tuple(found)


def _form_decoded(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    if _BROKEN.search(text) is not None:
        raise LocatorError("the query has a % without two hexadecimal digits")
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise LocatorError("the query is not UTF-8") from error


def _decoded(word: str, where: str) -> str:
    try:
        text = unquote_to_bytes(word).decode("utf-8")
    except UnicodeDecodeError as error:
        raise LocatorError(f"the {where} is not UTF-8") from error
    if not text.isprintable() or any(mark in text for mark in "/\\;%"):
        raise LocatorError(
            f"the {where} has an encoded slash, backslash, semicolon, % or control character"
        )
    if not text.isascii():
        plain = unicodedata.normalize("NFKC", text)
        if any(plain.count(mark) != text.count(mark) for mark in _MEANINGFUL):
            raise LocatorError(f"the {where} has letters that pass for a slash or a dot")
    return text
