"""Tests for `hoopgw.documents.paths`, `rules` and `automaton`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.documents.automaton import DEAD, STRONGEST_FIRST, stronger
from hoopgw.documents.paths import Wild, parse_path
from hoopgw.documents.rules import Count, Detect, Drop, Mask, MaskStrings, Rule, compile_rules
from hoopgw.errors import PolicyError
from hoopgw.masking import KINDS, plain_kind


class PathTests(SynchronousTestCase):
    """Tests for `parse_path`."""

    def test_paths(self) -> None:
        """Each form of a step."""
        for text, steps in (
            ("$", ()),
            ("a", ("a",)),
            ("$.a", ("a",)),
            ("$[*]", (Wild.ELEMENT,)),
            ("[*].a", (Wild.ELEMENT, "a")),
            ("a[*][*].b-c", ("a", Wild.ELEMENT, Wild.ELEMENT, "b-c")),
            ("**.@odata", (Wild.DEEP, "@odata")),
            ("*.**", (Wild.MEMBER, Wild.DEEP)),
            ("metadata.annotations['a.b/c d']", ("metadata", "annotations", "a.b/c d")),
            ("$schema", ("$schema",)),
        ):
            with self.subTest(text):
                self.assertEqual(parse_path(text), steps)

    def test_what_is_no_path(self) -> None:
        """Anything else is an error, and not a path that means nothing."""
        for text in (
            *("", ".", "a.", ".a", "a..b", "a b", "$a.", "$$.", "a.[*]", "[0]", "[a]", "['']"),
            *("['a", "a*", "***", "a[*]b", "$.", 'a["b"]', "a" * 2000, "a/b"),
        ):
            with self.subTest(text):
                self.assertRaises(PolicyError, parse_path, text)


class CompileTests(SynchronousTestCase):
    """Tests for `compile_rules`."""

    def test_nothing_is_looked_at_without_a_rule(self) -> None:
        """Below what no path can reach, the automaton says so."""
        start = compile_rules([Rule("a.b", Mask())]).start
        self.assertIs(start.other, DEAD)
        self.assertIs(start.element, DEAD)
        self.assertIs(start.member("a")[1].member("c")[1], DEAD)
        self.assertIs(start.member("a")[1].member("b")[1].member("b")[1], DEAD)
        self.assertIs(compile_rules([]).start, DEAD)
        self.assertIs(compile_rules([Rule("$", MaskStrings(), keep=("$",))]).start, DEAD)

    def test_states_are_limited(self) -> None:
        """Paths that multiply are refused at once, and not when an answer comes."""
        path = "**.a" + ".*" * 14
        self.assertRaises(PolicyError, compile_rules, [Rule(path, Mask())])

    def test_the_document_cannot_be_left_out(self) -> None:
        """There would be no document."""
        for path in ("$", "**"):
            self.assertRaises(PolicyError, compile_rules, [Rule(path, Drop())])

    def test_treatments_are_checked(self) -> None:
        """A kind or a detector that is not known is an error of who writes the rule."""
        self.assertRaises(ValueError, Mask, "blur")
        self.assertRaises(ValueError, MaskStrings, "")
        self.assertRaises(ValueError, Detect, ("jwt", "secrets"))
        self.assertRaises(ValueError, Detect, ())

    def test_plain_text_is_shown_only_to_detectors(self) -> None:
        """A rule that goes by a path cannot say what a text is."""
        self.assertTrue(compile_rules([Rule("$", Detect(("jwt",)))]).shows_plain)
        self.assertTrue(compile_rules([Rule("value[*]", Count("items"))]).shows_plain)
        self.assertFalse(
            compile_rules([Rule("$", Detect(("jwt",))), Rule("a", Mask())]).shows_plain
        )

    def test_the_kind_that_shows_less_counts(self) -> None:
        """Every kind has its place in the order, and the order of rules is none."""
        self.assertEqual({plain_kind(kind) for kind in KINDS}, set(STRONGEST_FIRST))
        self.assertEqual(stronger("last4", "hash"), "hash")
        self.assertEqual(stronger("null", "redact"), "null")
        self.assertEqual(stronger(None, "email"), "email")
        self.assertIsNone(stronger(None, None))
