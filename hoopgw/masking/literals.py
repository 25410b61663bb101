"""Texts without the values in them: for reports, where only what was done matters.

It knows no grammar. Whatever could be a value is replaced, also where it is a name; what is not
closed is replaced to the end. So it may show less than it could, and never a whole literal.
"""

from __future__ import annotations

import re
from typing import Final

_LITERAL: Final = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
      | (?P<dollar>\$(?P<tag>[A-Za-z_\x80-\U0010ffff]*[0-9]*)\$.*?(?:\$(?P=tag)\$|\Z))
      | (?P<text>'(?:\\.|''|[^'\\])*+(?:'|\\?\Z))
      | (?P<name>"(?:\\.|""|[^"\\])*+(?:"|\\?\Z))
      | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$]*)
      | (?P<number>[0-9][0-9A-Za-z_.]*(?:(?<=[eE])[-+][0-9]+)?)""",
    re.VERBOSE | re.DOTALL,
)
_IDENTIFIER: Final = re.compile(r'"[A-Za-z_][A-Za-z0-9_ ]{0,62}"')


def without_literals(text: str) -> str:
    """Return a statement or command with ``?`` for each literal, on one line, without comments.

    A name in double quotes stays if it looks like one: in SQL it is no value, in a shell it may be.
    """
    return " ".join(_LITERAL.sub(_shown, text).split())


def _shown(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind == "tag":  # a named group inside another counts as the last one
        kind = "dollar"
    if kind == "word":
        return match.group()
    if kind == "comment":
        return " "
    if kind == "name" and _IDENTIFIER.fullmatch(match.group()):
        return match.group()
    return "?"
