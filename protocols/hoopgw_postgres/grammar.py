"""PostgreSQL's own grammar, called in C: statement text to raw parse tree.

Only the parser process imports this module: deep nesting can crash the C code, and nested comments
take quadratic time, so it runs under limits of memory, stack and time (see `parser_process`). What
is checked before the C code sees a text keeps hostile ones out early and cheaply.

Source: libpg_query (the raw parser of PostgreSQL 18), from the shared library that postgast ships;
its JSON interface, because the protobuf one refuses legitimate nesting.
"""

from __future__ import annotations

import ctypes
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
from attrs import frozen

from hoopgw.errors import HoopgwError

TEXT_LIMIT: Final = 2**20
"""Bytes of one text; more is refused."""
COMMENT_DEPTH: Final = 64
"""How deep comments may nest: PostgreSQL takes quadratic time over them."""

_COMMENT_EDGES: Final = re.compile(rb"/\*|(?<!/)\*/(?!\*)")


class _Error(ctypes.Structure):
    """``PgQueryError`` of pg_query.h."""

    _fields_ = (
        ("message", ctypes.c_char_p),
        ("funcname", ctypes.c_char_p),
        ("filename", ctypes.c_char_p),
        ("lineno", ctypes.c_int),
        ("cursorpos", ctypes.c_int),
        ("context", ctypes.c_char_p),
    )


class _Result(ctypes.Structure):
    """``PgQueryParseResult`` of pg_query.h."""

    _fields_ = (
        ("parse_tree", ctypes.c_char_p),
        ("stderr_buffer", ctypes.c_char_p),
        ("error", ctypes.POINTER(_Error)),
    )


@frozen
class GrammarError(HoopgwError):
    """The text is not what PostgreSQL's grammar, or a limit of ours, allows."""

    message: str
    """For the client."""
    position: int = 0
    """Character in the text, from 1; 0 is unknown."""


def check(text: bytes) -> None:
    """Refuse what must not reach the C code.

    Raises:
        GrammarError: the text is too long, not UTF-8, holds a NUL, or nests comments too deep.

    """
    if len(text) > TEXT_LIMIT:
        raise GrammarError(f"the statement is longer than {TEXT_LIMIT} bytes")
    if b"\0" in text:
        raise GrammarError("the statement holds a NUL")
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise GrammarError("the statement is not UTF-8") from error
    if text.count(b"/*") > COMMENT_DEPTH and _comment_depth(text) > COMMENT_DEPTH:
        raise GrammarError(f"comments nest deeper than {COMMENT_DEPTH}")


def _comment_depth(text: bytes) -> int:
    """Return a bound on how deep comments nest; never less than the lexer would count.

    Each ``/*`` counts, whatever it stands in. A ``*/`` counts only where the lexer, inside a
    comment, cannot read it otherwise (``/*/`` and ``*/*`` can be cut in two ways).
    """
    depth = deepest = 0
    for edge in _COMMENT_EDGES.finditer(text):
        depth = depth + 1 if edge.group() == b"/*" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    return deepest


def parse(text: bytes) -> list[dict[str, Any]]:
    """Return the raw parse tree of each statement in ``text``.

    Raises:
        GrammarError: see `check`, or the text has a syntax error, or nests too deep.

    """
    check(text)
    result = _parse(text)
    try:
        if result.error:
            error = result.error.contents
            raise GrammarError((error.message or b"").decode(errors="replace"), error.cursorpos)
        tree = result.parse_tree
    finally:
        _free(result)
    try:
        statements: list[dict[str, Any]] = msgspec.json.decode(tree)["stmts"]
    except RecursionError as error:
        raise GrammarError("the statement nests too deep") from error
    except KeyError:
        return []  # nothing but blanks and comments
    return statements


def _load() -> ctypes.CDLL:
    """Load the shared library by its file: importing postgast would load protobuf as well."""
    spec = find_spec("postgast")
    if spec is None or spec.origin is None:
        raise ImportError("postgast is not installed")
    library = ctypes.CDLL(str(Path(spec.origin).with_name("libpg_query.so")))
    library.pg_query_parse.restype, library.pg_query_parse.argtypes = _Result, [ctypes.c_char_p]
    library.pg_query_free_parse_result.restype = None
    library.pg_query_free_parse_result.argtypes = [_Result]
    return library


_library: Final = _load()
_parse: Final = _library.pg_query_parse
_free: Final = _library.pg_query_free_parse_result
