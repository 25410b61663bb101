"""Tests for `hoopgw.terminal`."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.terminal import clip, printable, printable_bytes


class PrintableTests(SynchronousTestCase):
    """Tests for `printable` and `printable_bytes`."""

    @given(st.text())
    def test_nothing_invisible_is_left(self, text: str) -> None:
        """No control, format or unassigned character reaches the terminal."""
        for character in printable(text):
            self.assertNotIn(unicodedata.category(character), {"Cc", "Cf", "Cs", "Co", "Cn"})

    @given(st.text(), st.text())
    def test_different_texts_stay_different_where_something_is_escaped(
        self, left: str, right: str
    ) -> None:
        """An escape cannot be imitated by text that holds a backslash of its own."""
        left, right = left + "\x1b", right + "\x1b"
        if left != right:
            self.assertNotEqual(printable(left), printable(right))

    def test_known_dangers(self) -> None:
        """Terminal escapes and bidirectional overrides become visible."""
        self.assertEqual(printable("\x1b]52;c;aGk=\x07"), "\\x1b]52;c;aGk=\\x07")
        self.assertEqual(printable("a\u202eb"), "a\\u202eb")
        self.assertEqual(printable("\x9b2J"), "\\x9b2J")

    def test_kept_characters(self) -> None:
        """The caller may keep line feeds; carriage returns still go."""
        self.assertEqual(printable("a\nb\rc", keep="\n"), "a\nb\\rc")

    def test_ordinary_text_is_untouched(self) -> None:
        """Letters of all scripts and single backslashes stay as they are."""
        self.assertEqual(printable("Søren \\d 東京"), "Søren \\d 東京")

    @given(st.binary())
    def test_any_bytes(self, data: bytes) -> None:
        """Bytes that are no UTF-8 are shown too."""
        self.assertNotIn("\x1b", printable_bytes(data))


class ClipTests(SynchronousTestCase):
    """Tests for `clip`."""

    @given(st.text(), st.integers(1, 30))
    def test_never_longer(self, text: str, width: int) -> None:
        """What is cut ends in an ellipsis."""
        cut = clip(text, width)
        self.assertLessEqual(len(cut), width)
        self.assertTrue(cut == text or cut.endswith("…"))
