"""What the words of a shell command stand for, as far as the text tells. Pure.

Reference: POSIX.1-2024, Shell Command Language, 2.2; tree-sitter-bash 0.25 for the names of nodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from tree_sitter import Node

_EXPANDS: Final = re.compile(r"[*?\[\]{}~!^]|=~|(?<!\\)\$")
"""In a word without quotes: patterns, braces, the home folder, history."""
_ESCAPE: Final = re.compile(r"\\(.)")
_IN_QUOTES: Final = re.compile(r"\\([$`\"\\])")


def text_of(node: Node) -> str:
    """Return a node as it was written."""
    found = node.text
    return "" if found is None else found.decode()


def value_of(node: Node) -> str | None:
    """Return what a word stands for; None if the text does not tell."""
    reader = _VALUES.get(node.type)
    return None if reader is None else reader(node)


def _plain(node: Node) -> str | None:
    text = text_of(node)
    bare = _ESCAPE.sub("", text).replace("{}", "")  # with nothing in them they are no pattern
    if _EXPANDS.search(bare) or not text.isprintable():
        return None
    return _ESCAPE.sub(r"\1", text)


def _raw(node: Node) -> str | None:
    return text_of(node)[1:-1]


def _quoted(node: Node) -> str | None:
    """Read what is in double quotes: text, unless something in it is expanded."""
    if any(child.type not in ('"', "string_content") for child in node.children):
        return None
    inner = text_of(node)[1:-1]
    if "`" in inner.replace("\\`", "") or re.search(r"(?<!\\)\$", inner):
        return None
    return _IN_QUOTES.sub(r"\1", inner)


def _joined(node: Node) -> str | None:
    if all(child.type == "word" for child in node.children):
        return _plain(node)
    values = [value_of(child) for child in node.children]
    if any(value is None for value in values):
        return None
    return "".join(value for value in values if value is not None)


_VALUES: Final[dict[str, Callable[[Node], str | None]]] = {
    "word": _plain,
    "number": _plain,
    "test_operator": _plain,
    "raw_string": _raw,
    "string": _quoted,
    "concatenation": _joined,
}
