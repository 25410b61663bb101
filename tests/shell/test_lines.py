"""What is typed at a terminal far away becomes lines."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.shell.lines import AHEAD_LIMIT, BELL, TEXT_LIMIT, LineEditor, PlainLines, Typed

_PIECES = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from([b"\x1b[D", b"\x1b[A", b"\x1b[3~", b"\x17", b"\x7f", b"\r", b"\x1b[200~"]),
        st.sampled_from([b"\x1b[201~", b"\x1b[C", b"\x01", b"ls -l", "ü中".encode()]),
    ),
    max_size=30,
)


def typed(data: bytes, editor: LineEditor | None = None) -> list[Typed]:
    """Return what is done by what is typed."""
    editor = editor or LineEditor()
    editor.feed(data)
    found: list[Typed] = []
    while True:
        editor.begin("> ")
        _, done = editor.step()
        if done is None:
            return found
        editor.remember(done.text)
        found.append(done)


def lines(data: bytes) -> list[str]:
    """Return the lines that are submitted."""
    return [each.text for each in typed(data) if each.kind == "line"]


class LineEditorTests(SynchronousTestCase):
    """Keys, pastes, and what is shown."""

    def test_keys(self) -> None:
        """Each does what it does in shells."""
        cases = {
            b"ls\r": "ls",
            b"lss\x7f\r": "ls",
            b"s\x01l\r": "ls",
            b"s\x1b[Hl\x1b[F -l\r": "ls -l",
            b"ls\x1b[D\x1b[D\x1b[3~\r": "s",
            b"ls\x02\x02\x04\r": "s",
            b"echo a\x17b\r": "echo b",
            b"echo a\x15b\r": "b",
            b"echo a\x1bb\x0b\r": "echo ",
            b"ab\x1bOD\x1b[Cc\r": "abc",
            "aü中\x7f\r".encode(): "aü",
            b"a\x1b[99;99Xb\r": "ab",
            b"a\tb\x00\r": "ab",
        }
        for data, text in cases.items():
            with self.subTest(data):
                self.assertEqual(lines(data), [text])

    def test_history(self) -> None:
        """Older lines come back, and the new one after them."""
        self.assertEqual(lines(b"a\rb\r\x1b[A\x1b[A\r"), ["a", "b", "a"])
        self.assertEqual(lines(b"a\rnew\x1b[A\x1b[B\r"), ["a", "new"])

    def test_ends(self) -> None:
        """Ctrl-C drops a line, Ctrl-D on an empty one ends."""
        found = typed(b"rm x\x03ls\r\x04")
        self.assertEqual([each.kind for each in found], ["interrupt", "line", "end"])
        self.assertEqual(found[1].text, "ls")

    def test_paste_of_several_lines(self) -> None:
        """Each comes once, in order."""
        self.assertEqual(lines(b"a\r\nb\nc\rd"), ["a", "b", "c"])

    def test_bracketed_paste(self) -> None:
        """It is one text, which nothing submits but Enter."""
        self.assertEqual(lines(b"\x1b[200~a\r\nb\x03\n\x1b[201~"), [])
        self.assertEqual(lines(b"\x1b[200~a\r\nb\x03\n\x1b[201~\r"), ["a\nb"])

    def test_what_nobody_sees(self) -> None:
        """Is not in the line: what is shown is what runs."""
        self.assertEqual(lines("a\u202eb\u200bc\ufeff\r".encode()), ["abc"])

    def test_half_of_what_is_too_long(self) -> None:
        """Never runs, and neither does what comes behind it."""
        for data in (
            b"a" * (TEXT_LIMIT + 5) + b"\rls\r",
            b"\x1b[200~" + b"b" * (TEXT_LIMIT + 5) + b"\x1b[201~\rls\r",
            b"c\r" * (AHEAD_LIMIT // 2 + 1) + b"ls\r",
        ):
            editor = LineEditor()
            self.assertEqual(typed(data, editor), [])
            self.assertTrue(editor.is_spoiled)
            found = typed(b"rest\r\x03ls\r", editor)
            self.assertEqual([each.text for each in found], ["", "ls"])

    def test_nothing_is_taken_before_a_line_begins(self) -> None:
        """It waits."""
        editor = LineEditor()
        editor.feed(b"ls\r")
        self.assertEqual(editor.step(), (b"", None))
        editor.forget()
        self.assertEqual(typed(b"", editor), [])

    def test_what_is_drawn(self) -> None:
        """The line's part around the cursor, on one row; a bell where a key does nothing."""
        editor = LineEditor(columns=20)
        self.assertTrue(editor.begin("me> ").endswith(b"\rme> \x1b[K"))
        editor.feed(b"0123456789abcdefghij\x1b[D")
        drawn, _ = editor.step()
        self.assertEqual(drawn, b"\rme> 456789abcdefghi\x1b[K")
        editor.feed(b"\x1b[B")
        self.assertEqual(editor.step()[0], BELL)

    @given(_PIECES, st.integers(0, 200))
    def test_anything(self, pieces: list[bytes], columns: int) -> None:
        """However it is cut, the same is done; and one row is enough."""
        whole = typed(b"".join(pieces))
        editor = LineEditor(columns=columns)
        editor.begin("deploy@web1:~> ")
        found = []
        for piece in pieces:
            editor.feed(piece)
            while True:
                drawn, done = editor.step()
                row = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]|[\r\x07]|\^C\x1b\[\?2004l\r\n", b"", drawn)
                self.assertNotIn(b"\n", row.removesuffix(b"\n"))
                self.assertNotIn("\u202e", row.decode())
                if done is None:
                    break
                editor.remember(done.text)
                found.append(done)
                editor.begin("deploy@web1:~> ")
        self.assertEqual(found, whole)


class PlainLinesTests(SynchronousTestCase):
    """Lines of a pipe."""

    def test_lines(self) -> None:
        """The last one needs no end."""
        plain = PlainLines()
        plain.feed(b"a\r\nb")
        self.assertEqual(plain.step(), Typed("line", "a"))
        self.assertIsNone(plain.step())
        plain.has_ended = True
        self.assertEqual(plain.step(), Typed("line", "b"))
        self.assertEqual(plain.step(), Typed("end"))

    def test_without_end(self) -> None:
        """It is a flood."""
        plain = PlainLines()
        plain.feed(b"a" * (TEXT_LIMIT + 1))
        self.assertEqual(plain.step(), Typed("flood"))
        plain.feed(b"a" * AHEAD_LIMIT)
        self.assertTrue(plain.is_full)
