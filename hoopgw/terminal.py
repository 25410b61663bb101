r"""Text from elsewhere, made safe to show on a terminal.

What a caller sent or a target answered may hold escape sequences that repaint the screen, set the
clipboard or answer as if typed, and characters that reorder or hide what stands beside them
(CVE-2021-42574). Everything that is not plainly visible is shown as an escape (``\x1b``,
``\u202e``); nothing is dropped, so that two different texts never look alike by this.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories: controls, formats, surrogates, private use, unassigned, separators."""


def printable(text: str, *, keep: str = "") -> str:
    r"""Return ``text`` with every invisible character escaped.

    A backslash is doubled only where it would make an escape ambiguous, which is everywhere that
    something was escaped at all.

    Args:
        text: any text.
        keep: control characters that the caller lays out itself, such as a line feed.

    """
    if text.isascii() and text.isprintable():
        return text
    hidden = {c for c in set(text) if c not in keep and unicodedata.category(c) in _HIDDEN}
    if not hidden:
        return text
    table = {ord(character): _escape(character) for character in hidden}
    table[ord("\\")] = "\\\\"
    return text.translate(table)


def printable_bytes(data: bytes, *, keep: str = "") -> str:
    r"""Return bytes as text where they are UTF-8, and as ``\xhh`` where not, made printable."""
    try:
        return printable(data.decode(), keep=keep)
    except UnicodeDecodeError:
        return printable(data.decode(errors="backslashreplace"), keep=keep)


def clip(text: str, width: int) -> str:
    """Return at most ``width`` characters, with an ellipsis where some were left out."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _escape(character: str) -> str:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    if short is not None:
        return short
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
