"""The shape of a simple text: what it is without the literals that change no fact.

Facts are cached by text, and most texts of the simple protocol differ in literals only. `shape`
puts ``$`` in their place, where that is sound, so that one parse serves all texts of one shape: the
grammar gives the same facts for each, but for `Statement.length` (a test holds it).

Why it is sound:

- The scan keeps in step with PostgreSQL's lexer. Texts in which it could lose step have no shape:
  those with a backslash, a dollar sign (quotes, parameters), a comment, a semicolon, ``U&"``, or
  anything but printable ASCII. In the rest, each single or double quote opens a token that ends at
  the next one, and a doubled quote is two tokens beside each other, in whichever text.
- ``$`` is in no such text, so what stands for a literal is nothing else.
- Facts hold no literal but settings' values and ORDER BY positions. So only SELECT, WITH, INSERT,
  UPDATE and DELETE have a shape, not with ``set_config`` in them; and an integer in a query is
  replaced only behind an operator other than minus (``ORDER BY -1`` is read as a position).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from hoopgw.transport import accelerated

LIMIT: Final = 4096
"""Bytes; longer texts are not worth it."""

_PLAIN: Final = bytes(set(range(32, 127)) - set(b"\\$;") | set(b"\t\n\r"))
_KIND: Final = re.compile(rb"\s*(?:(select|with)|insert|update|delete)\b", re.IGNORECASE)
# Each alternative begins with a quote or a digit, so that the search skips quickly to one of those.
_STRING: Final = rb"'[^']*'"
_REST: Final = rb"[0-9]{0,17}(?![\w.])"
_QUERY: Final = _STRING + rb"|[0-9](?:(?<=[=<>+*/%][0-9])|(?<=[=<>+*/%] [0-9]))" + _REST
_WRITE: Final = _STRING + rb"|[0-9](?<![\w.][0-9])" + _REST
_NAME: Final = rb'"[^"]*"|'
_PATTERNS: Final = {
    # Whether it is a query, and whether it has quoted names.
    (True, False): re.compile(_QUERY),
    (True, True): re.compile(_NAME + _QUERY),
    (False, False): re.compile(_WRITE),
    (False, True): re.compile(_NAME + _WRITE),
}


def plain_shape(text: bytes) -> bytes | None:
    """Return what stands for all texts with the same facts; None if that is not certain.

    A semicolon at the end says nothing, and is left out.
    """
    text = text.removesuffix(b";")
    kind = _KIND.match(text)
    if kind is None or len(text) > LIMIT or text.translate(None, _PLAIN):
        return None
    if b"--" in text or b"/*" in text or b"set_config" in text.lower():
        return None
    query = kind.start(1) >= 0
    if b'"' in text:
        if b'&"' in text:
            return None
        return _PATTERNS[query, True].sub(_keep_names, text)
    return _PATTERNS[query, False].sub(b"$", text)


def _keep_names(token: re.Match[bytes]) -> bytes:
    found = token.group()
    return found if found.startswith(b'"') else b"$"


shape: Callable[[bytes], bytes | None] = plain_shape
"""`plain_shape`, or its compiled twin where that was built (`hoopgw.transport.accelerated`)."""
if accelerated.is_wanted("hoopgw_postgres._shape"):
    from hoopgw_postgres import _shape

    shape = _shape.shape
