"""Plays what was recorded of a channel: on a terminal as it was shown, elsewhere as text.

What a recorded program printed must not do to this terminal what it could do to the one that it
was printed on: it passes `hoopgw.streams.display.DisplayFilter`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from attrs import define, field, frozen
from rich.console import Console
from rich.text import Text

from hoopgw.recording.content_frames import (
    ContentFormatError,
    ContentFrame,
    FrameKind,
    size_of,
)
from hoopgw.recording.content_reading import ContentRecords
from hoopgw.streams.asciicast import Transcript
from hoopgw.streams.display import RESET, DisplayFilter
from hoopgw.terminal import printable

POLL: Final = 0.25
"""Seconds between two looks at a content that goes on."""
FILTERED: Final = (
    "What does more than draw (clipboard, titles, questions to the terminal) is left out."
)


@frozen(kw_only=True)
class ContentPlayer:
    """Plays contents, one after the other.

    Args:
        console: where to.
        speed: 1 is as it was; None is at once.
        max_pause: seconds that it waits at most, whatever the speed.
        sleep: waits so many seconds.

    """

    console: Console
    speed: float | None = None
    max_pause: float
    sleep: Callable[[float], None] = time.sleep

    def play(self, content: ContentRecords, frames: Iterable[ContentFrame | None]) -> None:
        """Play a content; where there is no frame yet, wait a moment."""
        opened = content.opened
        screen = _Screen(self.console, bool(opened.term))
        self._begin(content)
        before = 0
        try:
            for frame in frames:
                if frame is None:
                    self.sleep(POLL)
                    continue
                if self.speed:
                    since = max(frame.at - before, 0) / 1e6 / self.speed
                    self.sleep(min(since, self.max_pause))
                before = frame.at
                screen.show(frame)
        finally:
            screen.end()

    def _begin(self, content: ContentRecords) -> None:
        opened = content.opened
        if not self.console.is_terminal:
            return
        size = f", {opened.columns}x{opened.rows}" if opened.term else ""
        text = f"content {opened.number}: {opened.title}{size}"
        self.console.print(Text(printable(text), style="bold dim"), soft_wrap=True)
        mine = self.console.size
        if opened.term and (mine.width < opened.columns or mine.height < opened.rows):
            said = f"This terminal has {mine.width}x{mine.height}, which is less."
            self.console.print(Text(said, style="yellow"))
        self.console.print(Text(FILTERED, style="dim"), soft_wrap=True)


@define
class _Screen:
    """Shows frames."""

    console: Console
    has_terminal: bool
    _streams: dict[int, Transcript] = field(factory=dict, init=False)

    def show(self, frame: ContentFrame) -> None:
        """Show what is output; say what is none, where it is text."""
        plain = not self.console.is_terminal
        match frame.kind:
            case FrameKind.OUTPUT | FrameKind.STDERR:
                self._write(self._stream(frame.kind).feed(frame.data))
            case FrameKind.RESIZE if plain:
                try:
                    columns, rows = size_of(frame.data)
                except ContentFormatError:
                    return
                self._write(f"\n[the terminal has {columns}x{rows} now]\n")
            case FrameKind.MARK if plain:
                self._write(f"\n[{frame.data.decode('utf-8', 'replace')}]\n")
            case _:
                return

    def end(self) -> None:
        """Leave the terminal as it should be."""
        for stream in self._streams.values():
            self._write(stream.feed(b"", final=True))
        if self.console.is_terminal:
            self.console.file.write(RESET + "\r\n")
            self.console.file.flush()
        else:
            self._write("\n")

    def _stream(self, kind: int) -> Transcript:
        if kind not in self._streams:
            plain = not self.console.is_terminal
            filter_ = DisplayFilter(plain=plain)
            self._streams[kind] = Transcript(self.has_terminal or plain, filter_)
        return self._streams[kind]

    def _write(self, text: str) -> None:
        if not text:
            return
        if not self.console.is_terminal:
            text = printable(text, keep="\n\t")
        self.console.file.write(text)
        self.console.file.flush()
