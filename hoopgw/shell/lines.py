"""A line editor for a terminal far away: what is typed goes in, lines and what is drawn come out.

Pure: no I/O, no clock. The terminal is in raw mode, as SSH clients leave it, and takes the common
escape sequences (ECMA-48). Characters that nobody would see are not taken, so the line that is
shown is the line that is submitted.

What is typed ahead waits for `LineEditor.begin`, once and in order: a paste of several lines gives
one line after the other. A terminal that brackets pastes (xterm's mode 2004) gives the whole paste
as one text, which waits for Enter.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import deque
from typing import Final, Literal, TypeAlias

from attrs import define, field, frozen

from hoopgw.terminal import printable

TEXT_LIMIT: Final = 8_192
"""Characters of a line, or of a paste."""
AHEAD_LIMIT: Final = 65_536
"""Characters that are typed ahead, or bytes that wait without a terminal."""
HISTORY_LIMIT: Final = 100
COLUMNS_LEAST: Final = 20
BELL: Final = b"\x07"
_SEQUENCE_LIMIT: Final = 32
_PASTE: Final = ("\x1b[200~", "\x1b[201~")
_BRACKETS_ON: Final = "\x1b[?2004h"
_BRACKETS_OFF: Final = "\x1b[?2004l"
_WHOLE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[^\[O])", re.DOTALL)
_LINE_END: Final = "\u2424"
"""Stands for a line end within a text."""
_KEYS: Final = {
    **dict.fromkeys(("\x01", "\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~"), "home"),
    **dict.fromkeys(("\x05", "\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~"), "end"),
    **dict.fromkeys(("\x02", "\x1b[D", "\x1bOD"), "left"),
    **dict.fromkeys(("\x06", "\x1b[C", "\x1bOC"), "right"),
    **dict.fromkeys(("\x10", "\x1b[A", "\x1bOA"), "up"),
    **dict.fromkeys(("\x0e", "\x1b[B", "\x1bOB"), "down"),
    **dict.fromkeys(("\x1bb", "\x1b[1;5D", "\x1b[1;3D"), "word left"),
    **dict.fromkeys(("\x1bf", "\x1b[1;5C", "\x1b[1;3C"), "word right"),
    **dict.fromkeys(("\x7f", "\x08"), "rub out"),
    "\x1b[3~": "delete",
    "\x0b": "cut right",
    "\x15": "cut left",
    "\x17": "cut word",
    "\x0c": "clear",
}

Kind: TypeAlias = Literal["line", "interrupt", "end", "flood"]


@frozen
class Typed:
    """What somebody has done: submitted a line, pressed Ctrl-C, or Ctrl-D on an empty line.

    ``flood``: a line without end, which cannot be gone on from.
    """

    kind: Kind
    text: str = ""


def width(text: str) -> int:
    """Return how many columns a text takes."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


@define(eq=False)
class LineEditor:
    """Edits one line after the other."""

    columns: int = 80
    prompt: str = field(default="", init=False)
    text: str = field(default="", init=False)
    cursor: int = field(default=0, init=False)
    _ahead: deque[str] = field(factory=deque, init=False, repr=False)
    _decoder: codecs.IncrementalDecoder = field(init=False, repr=False)
    _sequence: str = field(default="", init=False)
    """The beginning of an escape sequence."""
    _pasted: list[str] | None = field(default=None, init=False, repr=False)
    _after_return: bool = field(default=False, init=False)
    is_spoiled: bool = field(default=False, init=False)
    """Whether too much came: all is dropped until Ctrl-C, as half of a line is another line."""
    _rings: bool = field(default=False, init=False)
    _clears: bool = field(default=False, init=False)
    _edits: bool = field(default=False, init=False)
    """Whether a line is edited now."""
    _history: list[str] = field(factory=list, init=False, repr=False)
    _at: int = field(default=0, init=False)
    """Where in the history; its length is the new line."""
    _new: str = field(default="", init=False)
    """The new line, while an older one is shown."""

    def __attrs_post_init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> None:
        """Take what was typed; it waits until `step`."""
        for character in self._decoder.decode(data):
            if len(self._ahead) >= AHEAD_LIMIT:
                self._spoil()
            if self.is_spoiled:
                if character != "\x03":
                    continue
                self.is_spoiled = False
            self._ahead.append(character)

    def forget(self) -> None:
        """Drop what was typed ahead."""
        self._ahead.clear()
        self._sequence, self._pasted, self.is_spoiled = "", None, False

    def _spoil(self) -> None:
        self.forget()
        self.text, self.cursor = "", 0
        self.is_spoiled = self._rings = True

    def begin(self, prompt: str) -> bytes:
        """Begin a line; return what is drawn."""
        self.prompt, self.text, self.cursor, self._edits = prompt, "", 0, True
        self._at, self._new = len(self._history), ""
        return _BRACKETS_ON.encode() + self._draw()

    def remember(self, text: str) -> None:
        """Keep a text for the history."""
        if text.strip() and (not self._history or self._history[-1] != text):
            self._history.append(text)
            del self._history[:-HISTORY_LIMIT]

    def step(self) -> tuple[bytes, Typed | None]:
        """Take what was typed, up to the end of a line; return what is drawn, and what was done."""
        if not self._edits:
            return b"", None
        before = (self.text, self.cursor)
        done = None
        while self._ahead and done is None:
            done = self._take(self._ahead.popleft())
        drawn = b""
        if (self.text, self.cursor) != before or self._clears:
            drawn = self._draw()
        if self._rings:
            self._rings, drawn = False, drawn + BELL
        if done is not None:
            self._edits = False
            mark = "^C" if done.kind == "interrupt" else ""
            drawn += f"{mark}{_BRACKETS_OFF}\r\n".encode()
        return drawn, done

    # Characters

    def _take(self, character: str) -> Typed | None:
        if self._sequence:
            self._continue(character)
            return None
        if character == "\x1b":
            self._sequence = character
            return None
        if self._pasted is not None:
            self._paste(character)
            return None
        was_return, self._after_return = self._after_return, character == "\r"
        match character:
            case "\r":
                return Typed("line", self.text)
            case "\n":
                return None if was_return else Typed("line", self.text)
            case "\x03":
                return Typed("interrupt")
            case "\x04" if not self.text:
                return Typed("end")
            case "\x04":
                self._press("delete")
            case _ if character in _KEYS:
                self._press(_KEYS[character])
            case _:
                self._insert(character)
        return None

    def _continue(self, character: str) -> None:
        """Take one more character of an escape sequence."""
        if character == "\x1b":
            self._sequence = character  # the other one was the key of that name
            return
        self._sequence += character
        if not _WHOLE.fullmatch(self._sequence):
            if len(self._sequence) >= _SEQUENCE_LIMIT:
                self._sequence = ""
            return
        sequence, self._sequence = self._sequence, ""
        if sequence == _PASTE[0]:
            self._pasted = []
        elif sequence == _PASTE[1] and self._pasted is not None:
            pasted, self._pasted = "".join(self._pasted), None
            self._insert(pasted.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n"))
        elif self._pasted is None and sequence in _KEYS:
            self._press(_KEYS[sequence])

    def _paste(self, character: str) -> None:
        assert self._pasted is not None
        self._pasted.append(character)
        if len(self._pasted) > TEXT_LIMIT:
            self._spoil()

    def _insert(self, text: str) -> None:
        shown = "".join(c for c in text if c == "\n" or _is_shown(c))
        if len(self.text) + len(shown) > TEXT_LIMIT:
            self._spoil()
            return
        if len(shown) != len(text):
            self._rings = True
        self.text = self.text[: self.cursor] + shown + self.text[self.cursor :]
        self.cursor += len(shown)

    # Keys

    def _press(self, key: str) -> None:
        text, at = self.text, self.cursor
        match key:
            case "home":
                self.cursor = 0
            case "end":
                self.cursor = len(text)
            case "left":
                self.cursor = max(at - 1, 0)
            case "right":
                self.cursor = min(at + 1, len(text))
            case "word left":
                self.cursor = self._word_start()
            case "word right":
                rest = re.match(r"\W*\w*", text[at:])
                self.cursor = at + (rest.end() if rest is not None else 0)
            case "up" | "down":
                self._walk(-1 if key == "up" else 1)
            case "clear":
                self._clears = True
            case _:
                self._cut(key)

    def _cut(self, key: str) -> None:
        text, at = self.text, self.cursor
        start, end = {
            "rub out": (max(at - 1, 0), at),
            "delete": (at, min(at + 1, len(text))),
            "cut right": (at, len(text)),
            "cut left": (0, at),
            "cut word": (self._word_start(), at),
        }[key]
        self.text, self.cursor = text[:start] + text[end:], start

    def _word_start(self) -> int:
        before = re.search(r"\S+\s*$", self.text[: self.cursor])
        return before.start() if before is not None else 0

    def _walk(self, by: int) -> None:
        at = self._at + by
        if not 0 <= at <= len(self._history):
            self._rings = True
            return
        if self._at == len(self._history):
            self._new = self.text
        self._at = at
        self.text = self._new if at == len(self._history) else self._history[at]
        self.cursor = len(self.text)

    # Drawing

    def _draw(self) -> bytes:
        """Draw the line anew, on one row: as much of it as there is room for."""
        columns = max(self.columns, COLUMNS_LEAST)
        prompt = self.prompt if width(self.prompt) <= columns // 2 else "> "
        room = columns - width(prompt) - 1
        shown = self.text.replace("\n", _LINE_END)
        start, used = self.cursor, 0
        while start > 0 and used + _columns(shown[start - 1]) <= room:
            start -= 1
            used += _columns(shown[start])
        end, total = self.cursor, used
        while end < len(shown) and total + _columns(shown[end]) <= room:
            total += _columns(shown[end])
            end += 1
        clear = "\x1b[H\x1b[2J" if self._clears else ""
        self._clears = False
        back = f"\x1b[{total - used}D" if total > used else ""
        return f"{clear}\r{prompt}{shown[start:end]}\x1b[K{back}".encode()


def _is_shown(character: str) -> bool:
    return printable(character) == character


@define(eq=False)
class PlainLines:
    """Lines that come without a terminal, from a pipe: nothing is edited, and nothing is drawn."""

    _waiting: bytearray = field(factory=bytearray, init=False, repr=False)
    has_ended: bool = False
    """Whether no more comes."""

    @property
    def is_full(self) -> bool:
        """Whether enough waits, so that no more should come."""
        return len(self._waiting) >= AHEAD_LIMIT

    def feed(self, data: bytes) -> None:
        """Take input."""
        self._waiting += data

    def step(self) -> Typed | None:
        """Return the next line, or the end; None if neither has come."""
        line, end, rest = self._waiting.partition(b"\n")
        if len(line) > TEXT_LIMIT:
            return Typed("flood")
        if not end and not self.has_ended:
            return None
        if not end and not line:
            return Typed("end")
        self._waiting = rest
        return Typed("line", line.removesuffix(b"\r").decode("utf-8", "surrogateescape"))
