"""What of a program's output may be shown on somebody else's terminal."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.streams.display import RESET, DisplayFilter

ESC = "\x1b"
SHOWN = re.compile(
    r"(?:[^\x00-\x1f\x7f-\x9f]|[\b\t\n\v\f\r\x0e\x0f]"
    r"|\x1b[78DEMHc]|\x1b[()*+][AB012]|\x1b#8"
    r"|\x1b\[[0-9:;]*[@A-HIJKLMPSXZ`abdefgjkrsum]|\x1b\[[0-9:]*T"
    r"|\x1b\[\?[0-9:;]*[JK]|\x1b\[!p|\x1b\[[0-9:;]* q"
    r"|\x1b\[4(?:;4)*[hl]|\x1b\[\?(?:(?:3|5|6|7|12|25|45|47|1047|1048|1049|2026);?)+[hl])*"
)
pieces = st.lists(
    st.one_of(
        st.text(max_size=5),
        st.sampled_from(
            (
                *(ESC, "[", "]", "P", "?", ";", "52;c;aGk=", "\x07", "\x9b", "\x9c", ESC + "\\"),
                *("h", "l", "m", "n", "c", "t", "q", "p", " ", "!", "$", ">", "=", "1049", "1000"),
                *("6", "0", "\x18", "\x05", "_", "^", "X", "(", "#", "8", "\n", "\r", "99999"),
                *("T", "b"),
            )
        ),
    ),
    max_size=30,
)


def shown(text: str, *, plain: bool = False) -> str:
    """Return what is shown of a text."""
    return DisplayFilter(plain).feed(text)


class DisplayFilterTests(SynchronousTestCase):
    """Pictures pass, and nothing else."""

    @given(pieces, st.data())
    def test_any_cut_shows_the_same(self, sent: list[str], data: st.DataObject) -> None:
        text = "".join(sent)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
        ends = zip([0, *cuts], [*cuts, len(text)], strict=True)
        whole = DisplayFilter()
        self.assertEqual("".join(whole.feed(text[a:b]) for a, b in ends), shown(text))

    @given(pieces)
    def test_nothing_but_pictures(self, sent: list[str]) -> None:
        """By a grammar that is written down once more."""
        found = shown("".join(sent))
        self.assertIsNotNone(SHOWN.fullmatch(found), repr(found))

    @given(pieces)
    def test_what_was_shown_is_shown_again(self, sent: list[str]) -> None:
        once = shown("".join(sent))
        self.assertEqual(shown(once), once)

    @given(pieces)
    def test_plain(self, sent: list[str]) -> None:
        found = shown("".join(sent), plain=True)
        self.assertIsNone(re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", found), repr(found))

    def test_pictures(self) -> None:
        for text in (
            "plain \N{SNOWMAN} text\r\n\ttabs\b",
            f"{ESC}[1;31mred{ESC}[0m{ESC}[38;2;1;2;3m{ESC}[38:5:1m",
            f"{ESC}[2J{ESC}[H{ESC}[10;20H{ESC}[K{ESC}[?1049h{ESC}[?25l{ESC}[5;20r",
            f"{ESC}7{ESC}8{ESC}(0lqk{ESC}(B{ESC}M{ESC}D{ESC}E{ESC}c{ESC}#8",
            f"{ESC}[3 q{ESC}[!p{ESC}[4h{ESC}[2T{ESC}[3S{ESC}[10b",
        ):
            self.assertEqual(shown(text), text)

    def test_what_attacks(self) -> None:
        for text in (
            f"{ESC}]52;c;cm0gLXJmIC8K\x07",  # the clipboard
            f"{ESC}]52;c;cm0gLXJmIC8K{ESC}\\",
            f"{ESC}]0;rm -rf /\x07{ESC}[21t",  # a title, and its report
            f"{ESC}[6n{ESC}[c{ESC}[>c{ESC}[>q{ESC}[?6n{ESC}Z\x05",  # device queries
            f"{ESC}[x{ESC}[?1$p{ESC}P+q544e{ESC}\\{ESC}]11;?\x07",
            f"{ESC}P1000p%begin{ESC}\\{ESC}_Gi=1;aaaa{ESC}\\{ESC}^x{ESC}\\{ESC}Xx{ESC}\\",
            f"{ESC}[?1000h{ESC}[?1006h{ESC}[?1004h{ESC}[?2004h{ESC}[?1h{ESC}=",  # how input is sent
            f"{ESC}[20h{ESC}[2h{ESC}[>4;2m{ESC}[=1;1u{ESC}[?1u{ESC}[>1u",
            f"{ESC}[i{ESC}[4i{ESC}[?5i",  # printing
            f"{ESC}]8;;http://evil\x07{ESC}]8;;\x07",  # links
            f"{ESC}[8;1000;1000t{ESC}[1;2;3;4;5T{ESC}[99999b{ESC}[99999A",
            "\x9b6n\x9d52;c;x\x9c\x90x\x9c",  # the same in one byte
            f"{ESC}[{'1;' * 200}m",
            "\x07\x11\x13\x00\x7f",
        ):
            self.assertEqual(re.sub("[a-z0-9;,]", "", shown(text)), "", repr(text))

    def test_a_mode_among_others(self) -> None:
        self.assertEqual(shown(f"{ESC}[?1;25;1000h"), f"{ESC}[?25h")

    def test_a_string_without_an_end_hides_what_follows(self) -> None:
        """As it does in a terminal; a cancel brings it back."""
        self.assertEqual(shown(f"a{ESC}]0;title b"), "a")
        self.assertEqual(shown(f"a{ESC}]0;title \x18b"), "ab")
        self.assertEqual(shown(f"a{ESC}]0;title {ESC}[1mb"), f"a{ESC}[1mb")

    def test_controls_in_the_middle(self) -> None:
        """Terminals do them at once."""
        self.assertEqual(shown(f"{ESC}[1\n;31mx"), f"\n{ESC}[1;31mx")

    def test_reset_is_a_picture(self) -> None:
        self.assertEqual(shown(RESET), RESET)
