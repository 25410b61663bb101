"""What a terminal shows of a stream: its text without escape sequences, and where each byte was.

A stream has up to two texts. *As printed*: without what is invisible (colours, modes, erasing,
titles); where the cursor is moved, a line ends. *Joined*: as if the cursor had not been moved, with
what a backspace takes back gone, and without the line ends that a program put where the terminal's
right margin is. A secret in either is one. What else can bring letters together on a screen (a
carriage return, the cursor moved back) is not followed: a stream is no screen.

Reference: ECMA-48; xterm's control sequences.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Final, Protocol, TypeAlias

from attrs import define, field, frozen

from hoopgw.transport import accelerated

STRING_LIMIT: Final = 4096
"""Bytes of a control string (a title, a link): what is longer is taken for text."""
CONTROL_STRINGS: Final = frozenset({b"]", b"P", b"X", b"^", b"_"})
"""What control strings begin with, after the escape."""
_SPECIAL: Final = (b"\x1b", b"\x08", b"\x00", b"\x07", b"\x7f", b"\x0e", b"\x0f")
_TOKEN: Final = re.compile(
    rb"\x1b\[[0-?]{0,60}[ -/]{0,4}(?P<csi>[@-~])"
    rb"|\x1b[\]PX^_](?P<string>[^\x07\x18\x1a\x1b]{0,%d})(?:\x07|\x1b\\)"
    rb"|\x1b(?P<escape>[ -/]{1,4}[0-~]|[0-OQ-WYZ\\`-~])"
    rb"|[\x00\x07\x0e\x0f\x7f]" % STRING_LIMIT
)
_UNFINISHED: Final = re.compile(
    rb"\x1b(?:\[[0-?]{0,60}[ -/]{0,4}|[\]PX^_][^\x07\x18\x1a\x1b]{0,%d}\x1b?|[ -/]{1,4})?\Z"
    % STRING_LIMIT
)
_STAYS: Final = frozenset(b"mKhlnqtgpc")
"""Ends of control sequences that do not move the cursor."""
_MOVES: Final = frozenset({b"8", b"D", b"E", b"M", b"c"})
"""Escapes that do."""
_COLOUR: Final = ord("m")
_WRAPPED: Final = re.compile(rb"\r?\n|\r\Z")
"""A carriage return at the end may be the first half of a line end."""
_CONTINUATION: Final = bytes(range(0x80, 0xC0))


class Text(Protocol):
    """A text of a stream, which knows where each byte of it was."""

    @property
    def text(self) -> bytes:
        """The text."""
        ...

    def start(self, place: int, /) -> int:
        """Return where the byte at a place of the text is in the stream."""
        ...

    def end(self, place: int, /) -> int:
        """Return what follows, in the stream, the byte before a place of the text."""
        ...

    def place(self, raw: int, /) -> int:
        """Return the place of the first byte of the text at, or behind, one of the stream."""
        ...


Parted: TypeAlias = tuple[Text, Text | None, list[tuple[int, int]]]
"""The text as printed, the joined one if it may differ, and where control strings' texts are."""
Parter: TypeAlias = Callable[[bytes, int], Parted]
"""Reads a stretch of a stream up to a place."""


@frozen(eq=False)
class View:
    """A text of a stream. A `Text`."""

    text: bytes = field(repr=False)
    _at: list[int] = field(factory=lambda: [0], repr=False)
    """Where each piece begins in the text ..."""
    _raw: list[int] = field(factory=lambda: [0], repr=False)
    """... and in the stream."""

    def start(self, place: int) -> int:
        """Return where the byte at a place of the text is in the stream."""
        piece = bisect_right(self._at, place) - 1
        return self._raw[piece] + place - self._at[piece]

    def end(self, place: int) -> int:
        """Return what follows, in the stream, the byte before a place of the text."""
        return self.start(place - 1) + 1 if place else 0

    def place(self, raw: int) -> int:
        """Return the place of the first byte of the text at, or behind, one of the stream."""
        piece = bisect_right(self._raw, raw) - 1
        if piece < 0:
            return 0
        end = self._at[piece + 1] if piece + 1 < len(self._at) else len(self.text)
        return min(self._at[piece] + raw - self._raw[piece], end)


@frozen(eq=False)
class Reading:
    """All that there is to search in a stretch of a stream."""

    views: tuple[Text, ...]
    """As printed; and joined, if that is not the same."""
    strings: tuple[tuple[int, int], ...] = ()
    """Where control strings begin and end: titles and links have texts of their own."""
    unfinished: int = -1
    """Where the last sequence begins, if it is not all there."""


def read(
    raw: bytes, part: Parter, columns: int = 0, column: int = 0, *, is_all: bool = False
) -> Reading:
    """Read a stretch.

    Args:
        raw: it begins at no sequence's middle.
        part: reads one that has escape sequences.
        columns: the terminal's width, if there is one.
        column: the characters before it on the same line.
        is_all: nothing follows: a sequence that is not all there is none.

    """
    if not any(byte in raw for byte in _SPECIAL):
        plain = View(raw)
        breaks = wraps(raw, columns, column) if columns else []
        if not breaks:
            return Reading((plain,))
        joined = _Pieces(raw)
        for start, end in breaks:
            joined.skip(start, end)
        return Reading((plain, joined.view()))
    return _read(raw, part, columns, column, is_all)


def _read(raw: bytes, part: Parter, columns: int, column: int, is_all: bool) -> Reading:
    found = None if is_all else _UNFINISHED.search(raw, max(0, len(raw) - STRING_LIMIT - 4))
    unfinished = -1 if found is None else found.start()
    end = len(raw) if found is None else unfinished
    shown, joined, strings = part(raw, end)
    lines = wraps(shown.text, columns, column) if columns else []
    if lines:
        joined = _joined(raw, end, [(shown.start(start), shown.end(stop)) for start, stop in lines])
    return Reading((shown,) if joined is None else (shown, joined), tuple(strings), unfinished)


def part(raw: bytes, end: int) -> Parted:
    """Read a stretch up to a place: the reference, in plain Python."""
    shown, strings, moves = _printed(raw, end)
    return shown, _joined(raw, end, []) if moves else None, strings


def quickest_parter() -> Parter:
    """Return what reads a stretch, the quickest way there is."""
    if not accelerated.is_wanted("hoopgw.streams._views"):
        return part
    from hoopgw.streams import _views

    return _views.read


def _printed(raw: bytes, end: int) -> tuple[View, list[tuple[int, int]], bool]:
    """Return the text as printed, control strings, and whether the joined text differs from it."""
    # Colours come in thousands: this is one loop, without a call for each.
    texts, at, raws, size, done = list[bytes](), list[int](), list[int](), 0, 0
    strings, moves = list[tuple[int, int]](), b"\x08" in raw
    for token in _TOKEN.finditer(raw, 0, end):
        start, stop = token.span()
        if start > done:
            at.append(size)
            raws.append(done)
            texts.append(raw[done:start])
            size += start - done
        done = stop
        kind = token.lastgroup
        if kind == "string":
            strings.append(token.span("string"))
        elif kind is not None and raw[stop - 1] != _COLOUR and _is_move(token):
            moves = True
            at.append(size)
            raws.append(start)
            texts.append(b"\n")
            size += 1
    if end > done or not at:
        at.append(size)
        raws.append(done)
        texts.append(raw[done:end])
    return View(b"".join(texts), at, raws), strings, moves


def _joined(raw: bytes, end: int, breaks: list[tuple[int, int]]) -> View:
    joined = _Pieces(raw, end)
    gone = [token.span() for token in _TOKEN.finditer(raw, 0, end)] + breaks
    gone += [(found.start(), -1) for found in re.finditer(rb"\x08", raw[:end])]
    for start, stop in sorted(gone):
        if start < joined.read:
            continue  # in a control string
        if stop < 0:
            joined.take_back(start)
        else:
            joined.skip(start, stop)
    return joined.view()


def _is_move(token: re.Match[bytes]) -> bool:
    last = token.group("csi")
    if last is not None:
        return last[0] not in _STAYS
    return token.group("escape") in _MOVES


def escapes(raw: bytes) -> bytes:
    """Return the sequences in a stretch that a terminal needs all the same: no titles, no text."""
    return b"".join(
        token.group()
        for token in _TOKEN.finditer(raw)
        if token.group("csi") is not None or token.group("escape") is not None
    )


def without_escapes(raw: bytes) -> bytes:
    """Return the text of a stretch."""
    return _TOKEN.sub(b"", raw)


def wraps(text: bytes, columns: int, column: int) -> list[tuple[int, int]]:
    """Return the line ends that stand exactly where a terminal's line is full."""
    if len(text) + column < columns:
        return []
    found = list[tuple[int, int]]()
    start = 0
    for line in _WRAPPED.finditer(text):
        if line.start() - start + column >= columns and (
            width(text[start : line.start()]) + column == columns
        ):
            found.append(line.span())
        start, column = line.end(), 0
    return found


def width(line: bytes) -> int:
    """Return how many characters a line has: all are taken for one column wide."""
    return len(line.translate(None, _CONTINUATION))


def column_after(text: bytes, column: int) -> int:
    """Return how many characters stand on the last line of a text."""
    last = max(text.rfind(b"\n"), text.rfind(b"\r"))
    return width(text[last + 1 :]) + (column if last < 0 else 0)


@define(eq=False)
class _Pieces:
    """Collects the pieces of a stream that are a text."""

    raw: bytes = field(repr=False)
    end: int = -1
    read: int = 0
    """How far it was read."""
    _pieces: list[tuple[int, int]] = field(factory=list, init=False)
    """Where each begins and ends."""

    def skip(self, start: int, end: int) -> None:
        """Leave something out."""
        if start > self.read:
            self._pieces.append((self.read, start))
        self.read = max(self.read, end)

    def take_back(self, at: int) -> None:
        """Leave a backspace out, and the character before it."""
        self.skip(at, at + 1)
        while self._pieces:
            start, end = self._pieces.pop()
            last = self.raw[end - 1]
            if last in b"\r\n":
                self._pieces.append((start, end))
                return
            if end - 1 > start:
                self._pieces.append((start, end - 1))
            if not 0x80 <= last < 0xC0:
                return

    def _all(self) -> Iterator[tuple[int, int]]:
        yield from self._pieces
        end = len(self.raw) if self.end < 0 else self.end
        if end > self.read:
            yield self.read, end

    def view(self) -> View:
        """Return the text."""
        texts, at, raws, size = list[bytes](), list[int](), list[int](), 0
        for start, end in self._all():
            text = self.raw[start:end]
            texts.append(text)
            at.append(size)
            raws.append(start)
            size += len(text)
        return View(b"".join(texts), at or [0], raws or [self.read])
