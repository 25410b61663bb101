"""asciicast, versions 2 and 3: what was shown on a terminal, as files that asciinema plays. Pure.

A writer takes the frames of a content and gives lines; a reader gives them back, for tests and for
whoever converts. Bytes are decoded as UTF-8 over the borders of frames, and what is none is shown
as U+FFFD. Where no terminal was, lines end in a line feed alone: a player's terminal needs the
carriage return, too.

References: docs.asciinema.org/manual/asciicast/v2 and /v3: version 2 has the seconds since the
start, version 3 the seconds since the event before, and an event for the exit status.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from attrs import define, field, frozen

from hoopgw.errors import HoopgwError
from hoopgw.recording.content_frames import (
    ContentFormatError,
    ContentFrame,
    ContentHead,
    FrameKind,
    size_of,
)
from hoopgw.streams.display import DisplayFilter
from hoopgw.terminal import printable

Version: TypeAlias = Literal[2, 3]
COLUMNS: Final = 80
ROWS: Final = 24
"""Of who has no terminal."""
_ALONE: Final = re.compile(r"(?<!\r)\n")
_CODES: Final[Mapping[int, str]] = {
    FrameKind.INPUT: "i",
    FrameKind.OUTPUT: "o",
    FrameKind.STDERR: "o",
}
_MICRO: Final = 1e6


class CastError(HoopgwError):
    """What was given is no asciicast."""


@define
class Transcript:
    """Bytes of one stream as text, however they were cut.

    Args:
        has_terminal: whether lines end as terminals want it.
        filter_: what may be shown; None is all.

    """

    has_terminal: bool = True
    filter_: DisplayFilter | None = field(factory=DisplayFilter)
    _decoder: codecs.IncrementalDecoder = field(
        factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"), init=False, repr=False
    )
    _after_return: bool = field(default=False, init=False)
    """Whether the last character was a carriage return."""

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """Take bytes; return the text that is whole. ``final`` ends the last character."""
        text = self._decoder.decode(data, final)
        if not self.has_terminal and text:
            ends = text.endswith("\r")
            # A line feed right behind the carriage return of the piece before is not alone.
            joined = ("\r" if self._after_return else "") + text
            text = _ALONE.sub("\r\n", joined)[1 if self._after_return else 0 :]
            self._after_return = ends
        return text if self.filter_ is None else self.filter_.feed(text)


def header(head: ContentHead, version: Version) -> str:
    """Return the first line of a file."""
    columns, rows = head.columns or COLUMNS, head.rows or ROWS
    title, term = printable(head.title), printable(head.term)
    said: dict[str, Any] = {"version": version}
    if version == 2:
        said |= {"width": columns, "height": rows}
    else:
        said["term"] = {"cols": columns, "rows": rows, **({"type": term} if term else {})}
    said["timestamp"] = head.started // 10**9
    if title:
        said["title"] = title
    if version == 2 and term:
        said["env"] = {"TERM": term}
    return _line(said)


def asciicast(
    head: ContentHead,
    frames: Iterable[ContentFrame],
    version: Version = 2,
    *,
    filtered: bool = True,
) -> Iterator[str]:
    """Give the lines of a file, without line ends.

    Args:
        head: of the content.
        frames: of the content, in order.
        version: of the format.
        filtered: leave out what does more than draw; see `DisplayFilter`.

    """
    yield header(head, version)
    writer = _Writer(version, bool(head.term), filtered)
    at = 0
    for frame in frames:
        at = frame.at
        yield from writer.event(frame)
    yield from writer.rest(at)


@define
class _Writer:
    version: Version
    has_terminal: bool
    filtered: bool
    _streams: dict[int, Transcript] = field(factory=dict, init=False)
    _last: int = field(default=0, init=False)

    def event(self, frame: ContentFrame) -> Iterator[str]:
        """Give the lines of a frame."""
        match frame.kind:
            case FrameKind.INPUT | FrameKind.OUTPUT | FrameKind.STDERR:
                text = self._stream(frame.kind).feed(frame.data)
                if text:
                    yield self._event(frame.at, _CODES[frame.kind], text)
            case FrameKind.RESIZE:
                try:
                    columns, rows = size_of(frame.data)
                except ContentFormatError:
                    return
                yield self._event(frame.at, "r", f"{columns or COLUMNS}x{rows or ROWS}")
            case FrameKind.MARK:
                yield self._event(frame.at, "m", _said(frame.data))
            case FrameKind.EXIT:
                yield from self.rest(frame.at)
                if self.version == 3 and frame.data:
                    yield self._event(frame.at, "x", _said(frame.data))
            case _:
                return  # of a later version

    def rest(self, at: int) -> Iterator[str]:
        """Give what was kept back of characters that are not whole."""
        for kind, stream in self._streams.items():
            if text := stream.feed(b"", final=True):
                yield self._event(at, _CODES[kind], text)

    def _stream(self, kind: int) -> Transcript:
        if kind not in self._streams:
            is_input = kind == FrameKind.INPUT
            filter_ = DisplayFilter() if self.filtered and not is_input else None
            self._streams[kind] = Transcript(self.has_terminal or is_input, filter_)
        return self._streams[kind]

    def _event(self, at: int, code: str, data: str) -> str:
        at = max(at, self._last)
        since = at - self._last if self.version == 3 else at
        self._last = at
        return _line([round(since / _MICRO, 6), code, data])


@frozen
class CastEvent:
    """One event of a file."""

    at: float
    """Seconds since the start, in both versions."""
    code: str
    data: str


@frozen
class Cast:
    """A file that was read."""

    version: int
    columns: int
    rows: int
    header: Mapping[str, Any]
    events: tuple[CastEvent, ...]


def read_cast(text: str) -> Cast:
    """Read a file of version 2 or 3.

    Raises:
        CastError: it is none.

    """
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    try:
        head = json.loads(lines[0])
        version = head["version"]
        size = head if version == 2 else head["term"]
        names = ("width", "height") if version == 2 else ("cols", "rows")
        columns, rows = (int(size[name]) for name in names)
        events, at = [], 0.0
        for line in lines[1:]:
            moment, code, data = json.loads(line)
            at = at + moment if version == 3 else float(moment)
            events.append(CastEvent(at, str(code), str(data)))
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise CastError(f"this is no asciicast: {error}") from error
    if version not in (2, 3):
        raise CastError(f"this is an asciicast of version {version}")
    return Cast(version, columns, rows, head, tuple(events))


def _said(data: bytes) -> str:
    return printable(data.decode("utf-8", "replace"))


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
