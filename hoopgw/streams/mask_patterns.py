"""Patterns of secrets in streams: regular expressions taken apart, and put together again.

A stream is searched while it comes. For that a pattern must say more than whether it matches: how
long a match can be, which fixed text is in each one and how far behind its beginning (`Anchor`),
and whether what stands at the end of the text may become a match with what comes next (`partial`).
All three follow from the expression's parts.

The language is Python's, on bytes, of ASCII, without what cannot be bounded or told from a part of
the text: no repetition without an end, no back references, no ``^``, ``$`` and the like. A pattern
that could try too many ways is refused (`WAYS`), so no text takes long.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from attrs import field, frozen

from hoopgw.errors import PolicyError
from hoopgw.streams.mask_shapes import (
    Alternatives,
    Boundary,
    Bytes,
    Group,
    Look,
    Node,
    Repeat,
    Sequence,
    parse,
)

LONGEST: Final = 16 * 2**10
"""Bytes of the longest match that a pattern may have."""
BEHIND: Final = 16
"""Bytes before or behind a match at which a pattern may look."""
WAYS: Final = 2000
"""Ways in which a pattern may try to match at one place."""
ANCHORS: Final = 48
"""Fixed texts that are looked for, for one pattern."""
_ANCHOR_BYTES: Final = 16
"""Of a fixed text that are looked for."""
_LONG_ENOUGH: Final = 6
_FAR: Final = 512
"""Bytes that an anchor may stand behind the beginning of its match."""

FOLD: Final = bytes(
    byte | 32 if 65 <= byte <= 90 else 48 if 48 <= byte <= 57 else byte for byte in range(256)
)
"""What anchors are looked for in: small letters, and 0 for each digit."""

_Exact: TypeAlias = frozenset[bytes]


@frozen
class Anchor:
    """A text, folded, of which one is in each match of a pattern."""

    text: bytes
    back: int
    """Bytes by which it may stand behind the beginning, at most."""


@frozen(eq=False)
class Pattern:
    """A bounded regular expression on bytes.

    Args:
        source: as for `re`; its named groups are the secret, where it has some.

    Raises:
        PolicyError: it is none, or none that can be searched for in a stream.

    """

    source: str
    full: re.Pattern[bytes] = field(init=False, repr=False)
    partial: re.Pattern[bytes] = field(init=False, repr=False)
    """Matches, to the end of a text, what may become a match, or a longer one. Its groups hold what
    there is of the secret, where the pattern has named groups."""
    anchors: tuple[Anchor, ...] = field(init=False)
    """None, if there is no such text: then all is searched."""
    longest: int = field(init=False)
    has_group: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        node = parse(self.source)
        shortest, longest = node.length
        if longest > LONGEST:
            raise PolicyError(
                f"pattern {self.source!r} may match {longest} bytes; {LONGEST} is most"
            )
        if shortest == 0:
            raise PolicyError(f"pattern {self.source!r} matches nothing at all, too")
        _check_looks(node, self.source)
        if node.ways(0) > WAYS:
            raise PolicyError(
                f"pattern {self.source!r} could try too many ways to match: write what is repeated "
                "so that it differs from what follows, or possessive ({1,20}+)"
            )
        put = object.__setattr__
        put(self, "longest", longest)
        put(self, "full", re.compile(node.write(groups="named").encode()))
        put(self, "partial", re.compile((_cut(node) or "(?!)").encode()))
        put(self, "anchors", _anchors(node))
        put(self, "has_group", bool(self.full.groupindex))


def literal(text: bytes) -> Pattern:
    """Return the pattern of one fixed text.

    Raises:
        PolicyError: it is empty, or too long.

    """
    return Pattern("".join(f"\\x{byte:02x}" for byte in text))


def _check_looks(node: Node, source: str) -> None:
    for each in node.inside():
        if isinstance(each, Look) and each.node.length[1] > BEHIND:
            where = "ahead" if each.ahead else "back"
            raise PolicyError(f"pattern {source!r} looks {where} at more than {BEHIND} bytes")


def _cut(node: Node) -> str | None:
    """Return an expression for a node that the end of the text cuts off; None if it cannot."""
    match node:
        case Bytes() | Boundary():
            return r"\Z"
        case Sequence(parts):
            return _cut_sequence(parts)
        case Alternatives(branches):
            return _either([_cut(branch) for branch in branches])
        case Group(name, inner):
            cut = _cut(inner)
            return cut if name is None or cut is None else f"({cut})"
        case Look(ahead, _, inner):
            return _cut(inner) if ahead else None
        case Repeat(inner, _, most, _):
            cut = _cut(inner)
            if most == 0 or cut is None:
                return None
            # A run of bytes is read once: it reaches the end, or it does not.
            once = "+" if isinstance(inner, Bytes) else ""
            whole = inner.write(groups="plain")
            return f"(?:{whole}){{0,{most - 1}}}{once}{cut}"
    raise AssertionError(node)


def _cut_sequence(parts: tuple[Node, ...]) -> str | None:
    after: str | None = None
    for part in reversed(parts):
        later = None if after is None else part.write(groups="plain") + after
        after = _either([_cut(part), later])
    return after


def _either(choices: list[str | None]) -> str | None:
    found = [choice for choice in choices if choice is not None]
    if not found:
        return None
    return found[0] if len(found) == 1 else f"(?:{'|'.join(found)})"


def _anchors(node: Node) -> tuple[Anchor, ...]:
    best = _best(node) or ()
    if len(best) > ANCHORS or any(each.back > _FAR for each in best):
        return ()
    return best


def _best(node: Node) -> tuple[Anchor, ...] | None:
    """Return the anchors of a node that are most worth looking for."""
    if isinstance(node, Group):
        return _best(node.node)
    if isinstance(node, Alternatives) and _exact(node) is None:
        found = [_best(branch) for branch in node.branches]
        if any(each is None for each in found):
            return None
        return tuple({anchor: None for each in found for anchor in each or ()})
    parts = _flat(node)
    candidates = list[tuple[Anchor, ...]]()
    before = 0
    for start, part in enumerate(parts):
        texts = _run(parts[start:])
        if texts and b"" not in texts:
            candidates.append(tuple(Anchor(text, before) for text in sorted(texts)))
        inner = _best(part) if isinstance(part, Alternatives) and _exact(part) is None else None
        if inner:
            candidates.append(tuple(Anchor(each.text, each.back + before) for each in inner))
        before += part.length[1]
    return max(candidates, key=_worth, default=None)


def _worth(anchors: tuple[Anchor, ...]) -> tuple[int, int, int]:
    shortest = min(len(anchor.text) for anchor in anchors)
    return min(shortest, _LONG_ENOUGH), -max(anchor.back for anchor in anchors), -len(anchors)


def _flat(node: Node) -> list[Node]:
    match node:
        case Sequence(parts):
            return [each for part in parts for each in _flat(part)]
        case Group(_, inner):
            return _flat(inner)
    return [node]


def _run(parts: list[Node]) -> _Exact:
    """Return the fixed texts with which parts begin, as far as they are fixed."""
    texts: _Exact = frozenset({b""})
    for part in parts:
        exact = _exact(part)
        ends = exact is None
        if exact is None:
            if not isinstance(part, Repeat) or part.least == 0:
                break
            exact = _exact(Repeat(part.node, part.least, part.least, ""))
        longer = None if exact is None else _joined(texts, exact)
        if longer is None or (len(longer) > len(texts) and min(map(len, texts)) >= _LONG_ENOUGH):
            break
        texts = longer
        if ends or min(map(len, texts)) >= _ANCHOR_BYTES:
            break
    return frozenset(text[:_ANCHOR_BYTES] for text in texts)


def _exact(node: Node) -> _Exact | None:
    """Return all texts, folded, that a node matches, if they are few."""
    match node:
        case Bytes(chars):
            found = frozenset(FOLD[byte : byte + 1] for byte in range(256) if chars >> byte & 1)
            return found if len(found) <= 8 else None
        case Group(_, inner):
            return _exact(inner)
        case Look() | Boundary():
            return frozenset({b""})
        case Sequence(parts):
            return _exact_all(parts)
        case Alternatives(branches):
            texts = frozenset[bytes]()
            for branch in branches:
                one = _exact(branch)
                if one is None:
                    return None
                texts |= one
            return texts if len(texts) <= ANCHORS else None
        case Repeat(inner, least, most, _) if most <= _ANCHOR_BYTES:
            if most > 1 and most != least:
                return None
            texts = _exact_all((inner,) * most) or frozenset()
            return (texts | {b""} if least < most else texts) if texts or most == 0 else None
    return None


def _exact_all(parts: tuple[Node, ...]) -> _Exact | None:
    texts: _Exact | None = frozenset({b""})
    for part in parts:
        exact = _exact(part)
        if texts is None or exact is None:
            return None
        texts = _joined(texts, exact)
    return texts


def _joined(texts: _Exact, more: _Exact) -> _Exact | None:
    if len(texts) * len(more) > ANCHORS:
        return None
    return frozenset(one + other for one in texts for other in more)
