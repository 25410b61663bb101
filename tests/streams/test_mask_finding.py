"""Tests for `hoopgw.streams.mask_finding`: all finders find the same."""

from __future__ import annotations

import os
from unittest import SkipTest

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.streams.mask_finding import (
    Finder,
    HyperscanFinder,
    PlainFinder,
    compiled,
    quickest,
)
from hoopgw.streams.mask_rules import Rules, standard
from hoopgw.transport import accelerated
from tests.streams.masking import COLOURS, PIECES, RULES, shown, streams

TEXTS = tuple(dict.fromkeys(a.text for rule in standard() for a in rule.pattern.anchors))
SMALL = (b"@", b"ab", b"aab", b"abcdef", b"000", b"0000000", b"\x00\xff", b"a", b".[0")


def wanted(name: str) -> None:
    """Skip what needs something that is not installed."""
    if not accelerated.is_built(name):
        raise SkipTest(f"{name} is not installed")


class FinderTests(SynchronousTestCase):
    """Tests for finders."""

    def compare(self, finder: Finder, anchors: tuple[bytes, ...], text: bytes) -> None:
        """Compare with the reference."""
        self.assertEqual(finder.find(text), PlainFinder(anchors).find(text))

    @given(st.text("aAbBcdef01290@.[x\x00ÿ", max_size=60), streams())
    def test_the_compiled_one(self, small: str, stream: bytes) -> None:
        """In small texts, and in streams."""
        wanted("hoopgw.streams._anchors")
        self.compare(compiled(SMALL), SMALL, small.encode("latin-1"))
        self.compare(compiled(TEXTS), TEXTS, stream)

    @given(st.text("aAbBcdef01290@.[x\x00ÿ", max_size=60), streams())
    def test_hyperscan(self, small: str, stream: bytes) -> None:
        """In small texts, and in streams."""
        wanted("hyperscan")
        self.compare(_HYPERSCAN[SMALL], SMALL, small.encode("latin-1"))
        self.compare(_HYPERSCAN[TEXTS], TEXTS, stream)

    @given(streams(*COLOURS, b"\x08"), st.lists(st.integers(0, 10_000), max_size=9))
    def test_streams_are_shown_alike(self, stream: bytes, cuts: list[int]) -> None:
        """By rules with Hyperscan as by rules without."""
        wanted("hyperscan")
        self.assertEqual(shown(stream, cuts, _FAST), shown(stream, cuts, _COMPILED))

    def test_many_different_bytes(self) -> None:
        """More than the compiled one has codes for: they are found all the same."""
        anchors = tuple(bytes([byte, byte]) for byte in range(128, 250))
        self.assertEqual(compiled(anchors), PlainFinder(anchors))

    def test_the_plain_one_if_that_is_wanted(self) -> None:
        """By the environment."""
        old = os.environ.get(accelerated.VARIABLE)
        os.environ[accelerated.VARIABLE] = "1"
        try:
            self.assertEqual(quickest(TEXTS), PlainFinder(TEXTS))
        finally:
            del os.environ[accelerated.VARIABLE]
            if old is not None:
                os.environ[accelerated.VARIABLE] = old

    def test_nothing_to_find(self) -> None:
        """No texts, and no text."""
        for finder in (quickest(()), compiled(()), PlainFinder(())):
            self.assertEqual(finder.find(b"abc"), [])
        self.assertEqual(quickest(TEXTS).find(b""), [])

    def test_each_piece_is_found(self) -> None:
        """At the beginning, in the middle and at the end."""
        finder = quickest(TEXTS)
        for piece in PIECES:
            for text in (piece, b"x" * 9 + piece + b"y" * 9):
                self.compare(finder, TEXTS, text)


def _hyperscan() -> dict[tuple[bytes, ...], Finder]:
    if not accelerated.is_built("hyperscan"):
        return {}
    return {anchors: HyperscanFinder(anchors) for anchors in (SMALL, TEXTS)}


_HYPERSCAN = _hyperscan()
_COMPILED = Rules(RULES.rules, finder=compiled)
_FAST = Rules(RULES.rules, finder=HyperscanFinder) if _HYPERSCAN else _COMPILED
