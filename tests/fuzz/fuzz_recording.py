"""Spools and log segments as they are found after a crash.

Invariant: whatever the bytes, reading ends with whole records or `DamagedError`; joined, what was
read is what is there, and nothing is read behind it.
"""

from __future__ import annotations

import contextlib
from typing import Final

import msgspec

from hoopgw.recording import framing
from hoopgw.recording.framing import DamagedError
from hoopgw.recording.records import decode

_LOG: Final = framing.frame(b"R", b"record") + framing.position_frame(b"s" * 16, 9)
SEEDS: Final = (
    b"\0\0\0\6record\0\0\0\1x\0\0",
    _LOG + framing.frame(b"R", b"y" * 40),
    framing.log_header(5, b"r" * 32),
    framing.spool_header(framing.SpoolHead(b"i" * 16, 1000)),
    b"hoopgw spool v1\n" + b"i" * 16,
)


def fuzz(data: bytes) -> None:
    """Read the bytes as each of the things that files of the recorder hold."""
    spool = framing.spool_records(data)
    again = b"".join(len(record).to_bytes(4, "big") + record for record in spool.records)
    assert again == data[: spool.taken]
    end, rebuilt = 0, b""
    with contextlib.suppress(DamagedError):
        for frame in framing.frames(data):
            rebuilt += framing.frame(bytes([frame.kind]), frame.payload)
            end = frame.end
    assert rebuilt == data[:end]
    for parse in (framing.parse_log_header, framing.parse_spool_header):
        with contextlib.suppress(DamagedError):
            parse(data)
    with contextlib.suppress(msgspec.MsgspecError):
        decode(data)
