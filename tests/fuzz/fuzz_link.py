"""Frames that open a connection of the link.

Invariant: the frames do not depend on how the bytes are cut, and the only exception is
`ProtocolViolationError`, which then comes again and again.
"""

from __future__ import annotations

from typing import Final

from hoopgw.errors import ProtocolViolationError
from hoopgw.link.frames import Challenge, Frame, FrameReader, Go, Hello, Open, Opened, encode
from tests.fuzz.pieces import cut

SEEDS: Final = (
    b"\2\x03\x09"
    + encode(Challenge(version=1, nonce=b"n" * 32))
    + encode(Hello(1, "data", "local", b"n" * 32, b"certificate", b"signature")),
    b"\0" + encode(Open("ticket", {"database": "orders"})) + encode(Opened({})) + encode(Go()),
)


def _read(pieces: list[bytes]) -> tuple[list[Frame], bool]:
    reader, frames = FrameReader(limit=1024), list[Frame]()
    for piece in pieces:
        reader.receive_data(piece)
        try:
            while (frame := reader.next_frame()) is not None:
                frames.append(frame)
        except ProtocolViolationError:
            try:
                reader.next_frame()
            except ProtocolViolationError:
                return frames, True
            raise AssertionError("a broken connection goes on") from None
    return frames, False


def fuzz(data: bytes) -> None:
    """Read the frames in pieces, and byte by byte."""
    body, pieces = cut(data)
    if len(body) <= 1024:  # above it a reader stops to take bytes before all frames are read
        assert _read(pieces) == _read([body[i : i + 1] for i in range(len(body))])
