r"""What a program printed, made fit to be shown on somebody else's terminal. Pure.

A terminal takes more from a program than text: it sets the clipboard (OSC 52), answers as if typed
(reports of the title, of colours, of the device), prints to files, sends what the mouse and the
keyboard do in other ways. So a recording that is played could attack whoever watches it.
`DisplayFilter` lets pass what makes up a picture (text, moving the cursor, colours, erasing,
scrolling, the other screen), by a list of what is known, and nothing else. A program that was
recorded can still paint what it likes: a picture is no proof, the log is.

Windows titles, hyperlinks, bells, images and palettes are left out, too: they outlast the play, or
lead elsewhere. References: ECMA-48; XTerm Control Sequences; CVE-2003-0063 (title reports).
"""

from __future__ import annotations

import re
from typing import Final

from attrs import define, field

_PLAIN: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]+")
_CONTROLS: Final = frozenset("\b\t\n\v\f\r\x0e\x0f")
"""C0 controls that move, and the two that switch character sets."""
_ESCAPES: Final = frozenset("78DEMHc")
"""Save and restore the cursor, index, next line, reverse index, set a tab stop, reset."""
_CHARSETS: Final = frozenset("()*+")
_FINALS: Final = frozenset("@ABCDEFGHIJKLMPSXZ`abdefgjkrsum")
"""Of control sequences without a prefix."""
_PRIVATE_FINALS: Final = frozenset("JK")
_MODES: Final = frozenset({"4"})
_PRIVATE_MODES: Final = frozenset(
    {"3", "5", "6", "7", "12", "25", "45", "47", "1047", "1048", "1049", "2026"}
)
"""Columns, reverse, origin, wrap, the cursor and its blinking, the other screen, updates at once;
not how keys, mouse and paste are sent."""
_PARAMETERS: Final = re.compile(r"[0-9:;]{0,256}")
_NUMBERS: Final = re.compile(r"[0-9]{5}")
"""A number as long as this repeats or moves further than any screen."""
_SEQUENCE_LIMIT: Final = 300
"""Characters of a control sequence; a longer one is left out."""
_STRINGS: Final = frozenset("P]^_X")
"""What begins a string for the terminal: DCS, OSC, PM, APC, SOS."""
_CANCEL: Final = frozenset("\x18\x1a")

RESET: Final = "\x1b[?1049l\x1b[!p\x1b[?5l\x1b[?25h\x1b[?7h\x1b[0m\x1b(B\x0f\x1b[0 q"
"""Puts a terminal back where a play may have left it."""


@define
class DisplayFilter:
    """Takes text as it was printed, in pieces, and gives what may be shown.

    Args:
        plain: give text, line feeds and tabs only.

    """

    plain: bool = False
    _state: str = field(default="", init=False)
    """What we are inside of: nothing, ``esc``, ``csi``, ``charset``, ``hash``, ``string``."""
    _kept: str = field(default="", init=False, repr=False)
    """The sequence so far."""

    def feed(self, text: str) -> str:
        """Take text; return what of it may be shown."""
        shown: list[str] = []
        at = 0
        while at < len(text):
            if not self._state:
                run = _PLAIN.match(text, at)
                if run is not None:
                    shown.append(run[0])
                    at = run.end()
                    continue
            shown.append(self._take(text[at]))
            at += 1
        return "".join(shown)

    def _take(self, character: str) -> str:
        if character == "\x1b":
            # It ends a string as ST, or begins anew what it breaks off: in both cases a sequence.
            self._begin("esc")
            return ""
        if character in _CANCEL:
            self._begin("")
            return ""
        match self._state:
            case "esc":
                return self._escape(character)
            case "csi":
                return self._control(character)
            case "charset" | "hash":
                return self._one_more(character)
            case "string":
                if character in "\x07\x9c":
                    self._begin("")
                return ""
            case _:
                return self._single(character)

    def _begin(self, state: str) -> None:
        self._state, self._kept = state, ""

    def _single(self, character: str) -> str:
        if character not in _CONTROLS:
            return ""
        return character if not self.plain or character in "\n\t" else ""

    def _escape(self, character: str) -> str:
        self._begin("")
        if character == "[":
            self._state = "csi"
        elif character in _STRINGS:
            self._state = "string"
        elif character in _CHARSETS:
            self._state, self._kept = "charset", character
        elif character == "#":
            self._state, self._kept = "hash", character
        elif character in _ESCAPES:
            return self._sequence(character)
        elif character < " ":
            self._state = "esc"  # a control inside of a sequence does what it does, at once
            return self._single(character)
        return ""

    def _one_more(self, character: str) -> str:
        state, kept = self._state, self._kept
        self._begin("")
        allowed = "8" if state == "hash" else "AB012"
        return self._sequence(kept + character) if character in allowed else ""

    def _control(self, character: str) -> str:
        if character < " ":
            return self._single(character)
        if "@" <= character <= "~":
            shown = _allowed(self._kept, character)
            self._begin("")
            return self._sequence(f"[{shown}") if shown else ""
        if len(self._kept) > _SEQUENCE_LIMIT or not " " <= character < "\x7f":
            return ""  # it goes on to its end, which does not make it good
        self._kept += character
        return ""

    def _sequence(self, rest: str) -> str:
        return "" if self.plain else f"\x1b{rest}"


def _allowed(kept: str, final: str) -> str:
    """Return a control sequence behind its introducer, if it only draws; else nothing."""
    if len(kept) > _SEQUENCE_LIMIT or _NUMBERS.search(kept):
        return ""
    if final in "hl":
        return _allowed_modes(kept, final)
    if kept.startswith("?"):
        known, numbers = final in _PRIVATE_FINALS, kept[1:]
    elif (kept, final) == ("!", "p") or (kept[-1:] == " " and final == "q"):
        known, numbers = True, kept[:-1]
    elif final == "T":
        known, numbers = ";" not in kept, kept  # with more, it tracks the mouse
    else:
        known, numbers = final in _FINALS, kept
    return kept + final if known and _PARAMETERS.fullmatch(numbers) else ""


def _allowed_modes(kept: str, final: str) -> str:
    """Return a setting of modes without those that do more than draw."""
    private = kept.startswith("?")
    known = _PRIVATE_MODES if private else _MODES
    modes = [mode for mode in kept.removeprefix("?").split(";") if mode in known]
    return f"{'?' * private}{';'.join(modes)}{final}" if modes else ""
