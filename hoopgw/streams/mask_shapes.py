"""The parts of a regular expression on bytes, as `hoopgw.streams.mask_patterns` looks at them.

Python's own parser reads the expression; what it gives is made into few kinds of nodes, and all
that cannot be searched for in a stream is refused. A set of bytes is an integer, a bit for each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import Any, Final, Protocol

from attrs import frozen

from hoopgw.errors import PolicyError

ANY: Final = (1 << 256) - 1
"""The set of all bytes."""
_MANY: Final = 10**9
"""Ways beyond which nothing is counted."""
# The parser of `re`, which has no other door: `sre_parse`, its old name, is deprecated.
_PARSER: Final[Any] = re._parser  # type: ignore[attr-defined]  # not in the stubs


class Node(Protocol):
    """A part of an expression."""

    @property
    def length(self) -> tuple[int, int]:
        """Bytes that it matches, at least and at most."""
        ...

    @property
    def first(self) -> int:
        """The bytes with which it may begin."""
        ...

    def ways(self, follow: int) -> int:
        """Return in how many ways it may match at one place; ``follow`` may come behind it."""
        ...

    def write(self, *, groups: str = "") -> str:
        """Return it as an expression; with its named groups ``named``, ``plain``, or without."""
        ...

    def inside(self) -> Iterator[Node]:
        """Give it, and all nodes in it."""
        ...


@frozen
class Bytes:
    """One byte of a set."""

    chars: int
    length = (1, 1)

    @property
    def first(self) -> int:
        """The set."""
        return self.chars

    def ways(self, follow: int) -> int:
        """One."""
        del follow
        return 1

    def write(self, *, groups: str = "") -> str:
        """As a class."""
        del groups
        if self.chars == ANY:
            return r"[\x00-\xff]"
        found, start = list[str](), -1
        for byte in range(257):
            inside = byte < 256 and self.chars >> byte & 1
            if inside and start < 0:
                start = byte
            elif not inside and start >= 0:
                last = f"-\\x{byte - 1:02x}" if byte - 1 > start else ""
                found.append(f"\\x{start:02x}{last}")
                start = -1
        return f"[{''.join(found)}]" if found else "(?!)"

    def inside(self) -> Iterator[Node]:
        """Itself."""
        yield self


@frozen
class Sequence:
    """One part after the other."""

    parts: tuple[Node, ...]

    @property
    def length(self) -> tuple[int, int]:
        """The sum."""
        return sum(part.length[0] for part in self.parts), sum(
            part.length[1] for part in self.parts
        )

    @property
    def first(self) -> int:
        """Of the parts up to one that is never empty."""
        return _firsts(self.parts, 0)

    def ways(self, follow: int) -> int:
        """Each of one with each of the others."""
        total = 1
        for at, part in enumerate(self.parts):
            total *= part.ways(_firsts(self.parts[at + 1 :], follow))
        return min(total, _MANY)

    def write(self, *, groups: str = "") -> str:
        """One behind the other."""
        return "".join(part.write(groups=groups) for part in self.parts)

    def inside(self) -> Iterator[Node]:
        """Itself and its parts."""
        yield self
        for part in self.parts:
            yield from part.inside()


@frozen
class Alternatives:
    """One of several."""

    branches: tuple[Node, ...]

    @property
    def length(self) -> tuple[int, int]:
        """Of the shortest and of the longest."""
        return (
            min(branch.length[0] for branch in self.branches),
            max(branch.length[1] for branch in self.branches),
        )

    @property
    def first(self) -> int:
        """Of each."""
        return reduce(or_, (branch.first for branch in self.branches))

    def ways(self, follow: int) -> int:
        """Those of all; of the worst, if the first byte says which it is."""
        counts = [branch.ways(follow) for branch in self.branches]
        seen = 0
        for branch in self.branches:
            if branch.first & seen or branch.length[0] == 0:
                return min(sum(counts), _MANY)
            seen |= branch.first
        return max(counts)

    def write(self, *, groups: str = "") -> str:
        """In a group."""
        return f"(?:{'|'.join(branch.write(groups=groups) for branch in self.branches)})"

    def inside(self) -> Iterator[Node]:
        """Itself and its branches."""
        yield self
        for branch in self.branches:
            yield from branch.inside()


@frozen
class Group:
    """What a name is for, or what is tried in one way only."""

    name: str | None
    node: Node
    atomic: bool = False

    @property
    def length(self) -> tuple[int, int]:
        """Of what is in it."""
        return self.node.length

    @property
    def first(self) -> int:
        """Of what is in it."""
        return self.node.first

    def ways(self, follow: int) -> int:
        """Of what is in it."""
        return self.node.ways(follow)

    def write(self, *, groups: str = "") -> str:
        """With its name, or as a group, if that is wanted."""
        if self.atomic:
            return f"(?>{self.node.write(groups=groups)})"
        if groups and self.name is not None:
            name = f"?P<{self.name}>" if groups == "named" else ""
            return f"({name}{self.node.write(groups=groups)})"
        return f"(?:{self.node.write(groups=groups)})"

    def inside(self) -> Iterator[Node]:
        """Itself and what is in it."""
        yield self
        yield from self.node.inside()


@frozen
class Look:
    """What must, or must not, stand there."""

    ahead: bool
    negative: bool
    node: Node
    length = (0, 0)

    @property
    def first(self) -> int:
        """What it looks at, since what is before it may be tried again for that."""
        return self.node.first if self.ahead else 0

    def ways(self, follow: int) -> int:
        """Of what it looks at."""
        del follow
        return self.node.ways(0)

    def write(self, *, groups: str = "") -> str:
        """As it was; names in it are no secrets."""
        del groups
        sign = ("" if self.ahead else "<") + ("!" if self.negative else "=")
        return f"(?{sign}{self.node.write()})"

    def inside(self) -> Iterator[Node]:
        """Itself and what it looks at."""
        yield self
        yield from self.node.inside()


@frozen
class Boundary:
    """Where a word begins or ends, or not."""

    sign: str
    length = (0, 0)
    first = ANY

    def ways(self, follow: int) -> int:
        """One."""
        del follow
        return 1

    def write(self, *, groups: str = "") -> str:
        """Its sign."""
        del groups
        return self.sign

    def inside(self) -> Iterator[Node]:
        """Itself."""
        yield self


@frozen
class Repeat:
    """Something several times."""

    node: Node
    least: int
    most: int
    mode: str
    """As it is written behind: nothing, ``?`` or ``+``."""

    @property
    def length(self) -> tuple[int, int]:
        """Of all times."""
        return self.node.length[0] * self.least, self.node.length[1] * self.most

    @property
    def first(self) -> int:
        """Of one time."""
        return self.node.first

    def ways(self, follow: int) -> int:
        """One, if it is clear where it ends."""
        once = self.node.ways(self.node.first | follow)
        if self.mode == "+":
            return once
        clear = self.node.length[0] > 0 and not self.node.first & follow
        if once == 1 and (clear or self.least == self.most):
            return 1
        if once == 1 and isinstance(self.node, Bytes):
            return self.most - self.least + 1
        return _MANY if self.most > 1 and once > 1 else (self.most - self.least + 1) * once

    def write(self, *, groups: str = "") -> str:
        """With its bounds."""
        inner = self.node.write(groups=groups)
        if not isinstance(self.node, Bytes):
            inner = f"(?:{inner})"
        return f"{inner}{{{self.least},{self.most}}}{self.mode}"

    def inside(self) -> Iterator[Node]:
        """Itself and what is repeated."""
        yield self
        yield from self.node.inside()


def _firsts(parts: tuple[Node, ...], follow: int) -> int:
    """Return the bytes with which parts may begin, or what follows them if all may be empty."""
    found = 0
    for part in parts:
        found |= part.first
        if part.length[0] > 0:
            return found
    return found | follow


def parse(source: str) -> Node:
    """Take an expression apart.

    Raises:
        PolicyError: it is none, or has what cannot be searched for in a stream.

    """
    if not source.isascii():
        raise PolicyError(f"pattern {source!r} has more than ASCII: write bytes, as \\xc3\\xbc")
    try:
        re.compile(source.encode())
        tree = _PARSER.parse(source.encode())
    except (re.error, OverflowError, RecursionError) as error:
        raise PolicyError(f"pattern {source!r} is no regular expression: {error}") from None
    if tree.state.flags & re.LOCALE:
        raise PolicyError(f"pattern {source!r} depends on the locale")
    names = {number: name for name, number in tree.state.groupdict.items()}
    return _Reader(source, names).sequence(tree, tree.state.flags)


_IGNORE_CASE: Final = int(re.IGNORECASE)
_DOT_ALL: Final = int(re.DOTALL)


@frozen
class _Reader:
    """Makes nodes of what Python's parser gives: pairs of an operation's name and its arguments."""

    source: str
    names: dict[int, str]

    def sequence(self, tree: Any, flags: int) -> Node:
        parts = tuple(self._node(str(name), argument, flags) for name, argument in tree)
        return parts[0] if len(parts) == 1 else Sequence(parts)

    def _node(self, name: str, argument: Any, flags: int) -> Node:
        match name:
            case "LITERAL":
                return Bytes(_cased(1 << argument, flags))
            case "NOT_LITERAL":
                return Bytes(ANY & ~_cased(1 << argument, flags))
            case "ANY":
                return Bytes(ANY if flags & _DOT_ALL else ANY & ~(1 << 10))
            case "IN":
                return self._set(argument, flags)
            case "BRANCH":
                return Alternatives(tuple(self.sequence(each, flags) for each in argument[1]))
            case "SUBPATTERN":
                number, added, removed, tree = argument
                inner = self.sequence(tree, (flags | added) & ~removed)
                return Group(self.names.get(number), inner)
            case "ATOMIC_GROUP":
                return Group(None, self.sequence(argument, flags), atomic=True)
            case "ASSERT" | "ASSERT_NOT":
                inner = self.sequence(argument[1], flags)
                return Look(argument[0] > 0, name == "ASSERT_NOT", inner)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                return self._repeat(name, argument, flags)
            case "AT" if str(argument) in _BOUNDARIES:
                return Boundary(_BOUNDARIES[str(argument)])
        raise PolicyError(f"pattern {self.source!r} has what no stream can be searched for: {name}")

    def _repeat(self, name: str, argument: Any, flags: int) -> Node:
        least, most, tree = argument
        if most == _PARSER.MAXREPEAT:
            raise PolicyError(
                f"pattern {self.source!r} repeats without an end: write {{{least},200}} for * and +"
            )
        mode = {"MAX_REPEAT": "", "MIN_REPEAT": "?", "POSSESSIVE_REPEAT": "+"}[name]
        return Repeat(self.sequence(tree, flags), int(least), int(most), mode)

    def _set(self, members: Any, flags: int) -> Node:
        found, negated = 0, False
        for name, argument in members:
            match str(name):
                case "NEGATE":
                    negated = True
                case "LITERAL":
                    found |= 1 << argument
                case "RANGE":
                    found |= (1 << argument[1] + 1) - (1 << argument[0])
                case _:
                    found |= _CATEGORIES[str(argument)]
        found = _cased(found, flags)
        return Bytes(ANY & ~found if negated else found)


def _cased(chars: int, flags: int) -> int:
    """Return a set with both letters of each, where case is ignored."""
    if not flags & _IGNORE_CASE:
        return chars
    upper, lower = chars & _UPPER, chars & _UPPER << 32
    return chars | upper << 32 | lower >> 32


def _set_of(pattern: bytes) -> int:
    """Return the bytes that a pattern of one byte matches."""
    one = re.compile(pattern)
    return sum(1 << byte for byte in range(256) if one.match(bytes([byte])))


_UPPER: Final = _set_of(rb"[A-Z]")
_BOUNDARIES: Final = {"AT_BOUNDARY": r"\b", "AT_NON_BOUNDARY": r"\B"}
_CATEGORIES: Final = {
    f"CATEGORY_{name}": _set_of(pattern)
    for name, pattern in (
        ("DIGIT", rb"\d"),
        ("NOT_DIGIT", rb"\D"),
        ("SPACE", rb"\s"),
        ("NOT_SPACE", rb"\S"),
        ("WORD", rb"\w"),
        ("NOT_WORD", rb"\W"),
    )
}
