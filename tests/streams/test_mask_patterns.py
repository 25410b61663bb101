"""Tests for `hoopgw.streams.mask_patterns`, and for `hoopgw.streams.mask_shapes`."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.documents.detectors import DETECTORS
from hoopgw.errors import PolicyError
from hoopgw.streams.mask_patterns import FOLD, Anchor, Pattern, literal
from hoopgw.streams.mask_rules import RULES, Rules, detected, of_literal, of_pattern

ATOMS = ("a", "b", "[ab]", "[^a]", "c", ".", r"\w", "(?:a|bc)", "(?:ab|a)", "(?i:A)", "(?P<x>b)")
TIMES = ("", "{1,2}", "{0,1}", "{2}", "{1,3}?", "{1,3}+")
REFUSED = {
    "a+": "repeats without an end",
    "a{2,}": "repeats without an end",
    "a*b": "repeats without an end",
    "(a)\\1": "GROUPREF",
    "(a)?(?(1)b|c)": "GROUPREF",
    "^a": "AT",
    "a$": "AT",
    "(a": "no regular expression",
    "a{0,3}": "matches nothing",
    "": "matches nothing",
    "ü": "more than ASCII",
    "(?L)a": "locale",
    "(?:a{1,9}){1,9}b": "too many ways",
    "(?:a|a|a){1,40}b": "too many ways",
    "a{1,50}a{1,50}a{1,50}b": "too many ways",
    "a{20000}": "may match 20000 bytes",
    "(?<=a{17})b": "looks back at more",
    "a(?!b{17})": "looks ahead at more",
}


class PatternTests(SynchronousTestCase):
    """Tests for `Pattern`."""

    @given(
        st.lists(st.tuples(st.sampled_from(ATOMS), st.sampled_from(TIMES)), min_size=1, max_size=4),
        st.text("abcAB\n", max_size=12),
    )
    def test_it_matches_as_python_says(self, parts: list[tuple[str, str]], text: str) -> None:
        """Taken apart and put together, it is the same; and all that follows from it holds."""
        source, seen = "", False
        for atom, times in parts:
            if atom.startswith("(?P"):
                atom, seen = ("b" if seen else atom), True
            source += atom + times
        try:
            pattern = Pattern(source)
        except PolicyError:
            return
        data = text.encode()
        for match in re.finditer(source.encode(), data):
            found = pattern.full.match(data, match.start())
            self.assertIsNotNone(found)
            assert found is not None
            self.assertEqual(found.span(), match.span())
            self.assertLessEqual(len(match.group()), pattern.longest)
            if pattern.anchors:
                folded = data.translate(FOLD)[match.start() : match.end()]
                places = [(folded.find(anchor.text), anchor.back) for anchor in pattern.anchors]
                self.assertTrue(any(0 <= place <= back for place, back in places), source)
            for size in range(1, len(match.group())):
                begun = data[: match.start() + size]
                self.assertIsNotNone(pattern.partial.match(begun, match.start()), begun)

    def test_what_cannot_be_searched_for_is_refused(self) -> None:
        """And it is said why."""
        for source, why in REFUSED.items():
            with self.assertRaises(PolicyError, msg=source) as caught:
                Pattern(source)
            self.assertIn(why, str(caught.exception))

    def test_fixed_texts(self) -> None:
        """They are found where they are, folded, with what may stand before them."""
        cases = {
            "TICKET-[0-9]{5}": {Anchor(b"ticket-00000", 0)},
            "[a-z]{1,9}@x": {Anchor(b"@x", 9)},
            "(?:AKIA|ASIA)[A-Z]{16}": {Anchor(b"akia", 0), Anchor(b"asia", 0)},
            "(?<!a)(?i:KEY)[_-]?id=": {
                Anchor(b"keyid=", 0),
                Anchor(b"key_id=", 0),
                Anchor(b"key-id=", 0),
            },
            "[a-z]{8}": set(),
        }
        for source, anchors in cases.items():
            self.assertEqual(set(Pattern(source).anchors), anchors, source)

    def test_what_may_go_on(self) -> None:
        """A whole match that cannot become longer is not one that may."""
        pattern = Pattern("ab{1,3}c?(?![0-9])")
        for text, may in ((b"a", True), (b"ab", True), (b"abbbc", True), (b"abx", False)):
            self.assertEqual(pattern.partial.match(text) is not None, may, text)
        self.assertIsNone(Pattern("abc").partial.match(b"abc"))

    def test_the_secret_of_what_has_only_begun(self) -> None:
        """Is known to begin where it begins."""
        partial = Pattern("key=(?P<it>[a-z]{1,9})(?:;|$|!)".replace("|$", "")).partial
        for text, start in ((b"key=", -1), (b"key=ab", 4)):
            found = partial.match(text)
            assert found is not None
            places = [found.start(n) for n in range(1, partial.groups + 1)]
            places = [place for place in places if 0 <= place < found.end()]
            self.assertEqual(min(places, default=-1), start)

    def test_fixed_texts_as_patterns(self) -> None:
        """Of any bytes."""
        text = bytes(range(256))
        self.assertEqual(literal(text).longest, 256)
        self.assertIsNotNone(literal(text).full.fullmatch(text))
        for wrong in (b"", b"x" * 20_000):
            self.assertRaises(PolicyError, literal, wrong)


class RulesTests(SynchronousTestCase):
    """Tests for `Rules`, and for what makes one."""

    def test_every_detector_has_a_form_for_streams(self) -> None:
        """The list is one."""
        for name in DETECTORS:
            self.assertEqual(detected(name).name, name)
        self.assertRaises(PolicyError, detected, "none")

    def test_kinds_are_known(self) -> None:
        """One that is not is a fault."""
        self.assertRaises(ValueError, of_pattern, "x", "abc", "blur")

    def test_rules_are_bounded(self) -> None:
        """So many for a stream."""
        rule = of_literal("x", b"abc")
        Rules((rule,) * RULES)
        self.assertRaises(PolicyError, Rules, (rule,) * (RULES + 1))
