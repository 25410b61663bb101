"""Content files, and what of them is shown: a file is of the gateway, what it holds is of a host.

Invariants: whatever the bytes and however they come, the only exception is `ContentFormatError`;
whole frames encode to what was read; what is shown has no control but those that draw.
"""

from __future__ import annotations

import re
from typing import Final

from hoopgw.recording.content_frames import (
    ContentFormatError,
    ContentFrame,
    ContentHead,
    ContentReader,
    FrameKind,
    resize_data,
)
from hoopgw.streams.asciicast import asciicast, read_cast
from hoopgw.streams.display import DisplayFilter

_HEAD: Final = ContentHead(session="s", number=0, started=1, kind="shell", term="xterm")
_FRAMES: Final = (
    ContentFrame(FrameKind.OUTPUT, 1, b"$ \x1b[31mls\x1b]52;c;cm0=\x07\x1b[6n \xc3"),
    ContentFrame(FrameKind.OUTPUT, 2, b"\xa9\x1bP+q\x1b\\\x1b[?1049;1000h\x9b6n"),
    ContentFrame(FrameKind.STDERR, 3, b"oh\n"),
    ContentFrame(FrameKind.RESIZE, 4, resize_data(80, 24)),
    ContentFrame(FrameKind.MARK, 5, b"signal INT"),
    ContentFrame(FrameKind.EXIT, 6, b"0"),
)
SEEDS: Final = (_HEAD.encode() + b"".join(frame.encode() for frame in _FRAMES),)
_CONTROLS: Final = r"[\x00-\x07\x10-\x1a\x1c-\x1f\x7f-\x9f]"
_STRINGS: Final = r"\x1b[\]P_^X]"
_QUERIES: Final = r"\x1b\[[0-9:;<=>?!$ ]*[ncti]"
_FORBIDDEN: Final = re.compile(f"{_CONTROLS}|{_STRINGS}|{_QUERIES}")


def fuzz(data: bytes) -> None:
    """Read the bytes as a file, in two pieces, and show them."""
    reader, frames = ContentReader(), list[ContentFrame]()
    middle = len(data) // 2
    try:
        for piece in (data[:middle], data[middle:]):
            reader.receive(piece)
            frames += reader.frames()
    except ContentFormatError:
        return
    assert reader.offset + reader.rest == len(data)
    if reader.head is None:
        return
    encoded = b"".join(frame.encode() for frame in frames)
    assert data[: reader.offset].endswith(encoded)
    for version in (2, 3):
        cast = read_cast("\n".join(asciicast(reader.head, frames, version)))
        for event in cast.events:
            assert event.code != "o" or not _FORBIDDEN.search(event.data), event.data
    text = data.decode("utf-8", "replace")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", DisplayFilter(plain=True).feed(text))
