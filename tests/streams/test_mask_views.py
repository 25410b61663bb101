"""Tests for `hoopgw.streams.mask_views`."""

from __future__ import annotations

from unittest import SkipTest

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.streams.mask_views import (
    STRING_LIMIT,
    Text,
    column_after,
    escapes,
    part,
    quickest_parter,
    read,
    without_escapes,
)
from hoopgw.transport import accelerated
from tests.streams.masking import COLOURS, MOVES, ODD, streams

ALPHABET = b"\x1b\x1b\x1b[[]P^_X\\(8MDm;01 ?!\x07\x08\x00\x18\nab\xc3\xbc"
BYTES = st.lists(st.sampled_from(ALPHABET), max_size=40).map(bytes)


def texts(raw: bytes) -> list[bytes]:
    """Return the texts of a stretch."""
    return [view.text for view in read(raw, part).views]


class ViewTests(SynchronousTestCase):
    """Tests for `read`."""

    def test_as_printed(self) -> None:
        """Without what is invisible; where the cursor moves, a line ends."""
        cases = {
            b"a\x1b[1;31mb\x1b[0mc": [b"abc"],
            b"a\x1b]0;title\x07b\x1b]8;;x\x1b\\c": [b"abc"],
            b"a\x1b(Bb\x1b=c\x00\x7f\x07": [b"abc"],
            b"a\x1b[5Cb": [b"a\nb", b"ab"],
            b"a\x1b8b\x1b7c": [b"a\nbc", b"abc"],
            b"p\x08pa\x08a": [b"p\x08pa\x08a", b"pa"],
            b"\xc3\xbc\x08x": [b"\xc3\xbc\x08x", b"x"],
            b"a\n\x08b": [b"a\n\x08b", b"a\nb"],
            b"a\x1b\x1b[mb": [b"a\x1bb"],
            b"a\x1b[\nb": [b"a\x1b[\nb"],
            b"a\x1b]0;x\nb": [b"a"],
            b"a\x1b]" + b"x" * STRING_LIMIT + b"y\x07": [b"a\x1b]" + b"x" * STRING_LIMIT + b"y"],
        }
        for raw, expected in cases.items():
            self.assertEqual(texts(raw), expected, raw)

    def test_wraps(self) -> None:
        """A line end behind a full line is none, in the joined text; characters are counted."""
        for raw in (b"abcd\r\nef", b"ab\x1b[mcd\nef", b"\xc3\xbcbcd\r\nef"):
            printed, joined = read(raw, part, 4).views
            self.assertNotIn(b"\n", joined.text)
            self.assertIn(b"\n", printed.text)
        self.assertEqual(len(read(b"abc\r\nef", part, 4).views), 1)
        self.assertEqual(len(read(b"bcd\r\nef", part, 4, 1).views), 2)

    @given(BYTES | streams(*COLOURS, *MOVES, *ODD, b"\x08"))
    @example(b"\x1b]\x07a\x1b[1")
    def test_places(self, raw: bytes) -> None:
        """Each byte of a text is where the view says, and nowhere else."""
        for view in read(raw, part).views:
            places = [view.start(place) for place in range(len(view.text))]
            self.assertEqual(places, sorted(set(places)))
            for place, at in enumerate(places):
                self.assertEqual(view.place(at), place)
                self.assertEqual(view.end(place + 1), at + 1)
                if view.text[place : place + 1] != b"\n":
                    self.assertEqual(view.text[place], raw[at])

    @given(BYTES | streams(*COLOURS, *MOVES, *ODD, b"\x08"), st.booleans())
    def test_compiled(self, raw: bytes, is_all: bool) -> None:
        """The compiled twin reads the same."""
        if not accelerated.is_built("hoopgw.streams._views"):
            raise SkipTest("it was not built")
        plain = read(raw, part, is_all=is_all)
        fast = read(raw, quickest_parter(), is_all=is_all)
        self.assertEqual(fast.unfinished, plain.unfinished)
        texts = [each for each in plain.strings if each[0] < each[1]]
        self.assertEqual([each for each in fast.strings if each[0] < each[1]], texts)
        self.assertEqual(fast.views[0].text, plain.views[0].text)
        self.assertEqual(fast.views[-1].text, plain.views[-1].text)
        for one, other in zip(fast.views, plain.views, strict=False):
            self.compare(one, other, len(raw))

    def compare(self, one: Text, other: Text, size: int) -> None:
        """Compare all that two texts say of places."""
        for place in range(len(one.text) + 1):
            self.assertEqual(one.start(place), other.start(place))
            self.assertEqual(one.end(place), other.end(place))
        for raw in range(size + 1):
            self.assertEqual(one.place(raw), other.place(raw))


class SequenceTests(SynchronousTestCase):
    """Tests for what goes by sequences alone."""

    def test_what_a_terminal_needs(self) -> None:
        """Colours and moves are kept, texts and titles are not."""
        raw = b"a\x1b[1mb\x1b]0;t\x07\x1b[2Cc\x1b(B\x08"
        self.assertEqual(escapes(raw), b"\x1b[1m\x1b[2C\x1b(B")
        self.assertEqual(without_escapes(raw), b"abc\x08")

    def test_columns(self) -> None:
        """From the last line end, or from where it began."""
        for text, column, after in (
            (b"ab", 3, 5),
            (b"x\nab", 3, 2),
            (b"x\rab\xc3\xbc", 0, 3),
            (b"", 7, 7),
        ):
            self.assertEqual(column_after(text, column), after)
