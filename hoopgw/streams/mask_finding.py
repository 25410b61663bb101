"""Where in a text something is that may belong to a secret: the fixed texts of patterns.

Most of what programs print has none of them, so to find out quickly that there is nothing is what
masking mostly does. All finders find the same; what is a secret is decided by one reader.

=================  ============================================================================
`PlainFinder`      with what Python has: the reference
`compiled`         ``hoopgw.streams._anchors``, built at install where there is a C compiler
`HyperscanFinder`  Intel's Hyperscan, where ``hoopgw[fast]`` was installed
=================  ============================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import define, field, frozen

from hoopgw.streams.mask_patterns import FOLD
from hoopgw.transport import accelerated

if TYPE_CHECKING:
    import hyperscan


class Finder(Protocol):
    """Looks for several fixed texts, folded, at once."""

    def find(self, text: bytes) -> list[tuple[int, int]]:
        """Return where they are, in order: the place, and the number of the text."""
        ...


@frozen
class PlainFinder:
    """Finds with what Python has. The reference."""

    anchors: tuple[bytes, ...]

    def find(self, text: bytes) -> list[tuple[int, int]]:
        """See `Finder`."""
        folded = text.translate(FOLD)
        found = list[tuple[int, int]]()
        for number, anchor in enumerate(self.anchors):
            place = folded.find(anchor)
            while place >= 0:
                found.append((place, number))
                place = folded.find(anchor, place + 1)
        found.sort()
        return found


@define(eq=False)
class HyperscanFinder:
    """Finds with Hyperscan. Not for empty texts, nor for none at all."""

    anchors: tuple[bytes, ...]
    _database: hyperscan.Database = field(init=False, repr=False)
    _scratch: hyperscan.Scratch = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        import hyperscan

        self._database = hyperscan.Database()
        self._database.compile(
            expressions=[_expression(anchor) for anchor in self.anchors],
            ids=list(range(len(self.anchors))),
            elements=len(self.anchors),
            flags=hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_DOTALL,
        )
        self._scratch = hyperscan.Scratch(self._database)

    def find(self, text: bytes) -> list[tuple[int, int]]:
        """See `Finder`."""
        found = list[tuple[int, int]]()
        anchors = self.anchors

        def take(number: int, _start: int, end: int, _flags: int, _context: object) -> None:
            found.append((end - len(anchors[number]), number))

        self._database.scan(text, match_event_handler=take, scratch=self._scratch)
        found.sort()
        return found


def _expression(anchor: bytes) -> bytes:
    """Return the expression of a fixed text: its digits are any, its letters small or large."""
    return b"".join(b"[0-9]" if byte == 48 else b"\\x%02x" % byte for byte in anchor)


def compiled(anchors: tuple[bytes, ...]) -> Finder:
    """Return the compiled finder, or the plain one, if it is not there, or not for so much."""
    if accelerated.is_wanted("hoopgw.streams._anchors"):
        from hoopgw.streams._anchors import Anchors

        try:
            return Anchors(anchors)
        except ValueError:
            pass  # they have more different bytes than it has codes for
    return PlainFinder(anchors)


def quickest(anchors: tuple[bytes, ...]) -> Finder:
    """Return what finds these fixed texts, the quickest way there is."""
    if anchors and accelerated.is_wanted("hyperscan"):
        import hyperscan

        try:
            return HyperscanFinder(anchors)
        except hyperscan.error:
            pass  # not for this processor
    return compiled(anchors)
