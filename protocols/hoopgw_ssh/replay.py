"""An SSH session's records, shown to a person: commands, files, forwards, and how they came out.

What was recorded came from a client or a target: everything shown is escaped, and cut. What a
terminal showed is in the session's contents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from hoopgw.recording.records import AnyRecord, FileMoved, Intent, Result
from hoopgw.recording.telling import decision, facts, told
from hoopgw.spi import ReplayLine
from hoopgw.terminal import printable, printable_bytes

SHOWN: Final = 20_000
"""Bytes of an output that are shown."""


def replay(records: Iterable[AnyRecord]) -> Iterator[ReplayLine]:
    """Show a session's records, in their order."""
    for record in records:
        match record:
            case Intent():
                yield from _intent(record)
            case Result():
                yield from _result(record)
            case FileMoved():
                yield ReplayLine(at=record.at, kind="note", text=_moved(record))
            case _:
                yield from told(record)


def _intent(record: Intent) -> Iterator[ReplayLine]:
    text = record.text if isinstance(record.text, bytes) else b""
    shown = printable_bytes(text, keep="\n\t").strip("\n")
    action = printable(record.action)
    # What is done with files begins with its name already.
    is_said = action != "exec" and shown.startswith(f"{action} ")
    said = shown if is_said else " ".join(filter(None, (action, shown)))
    yield ReplayLine(at=record.at, kind="input", text=said)
    if record.parameters:
        setting = printable_bytes(record.parameters, keep="\n")
        yield ReplayLine(at=record.at, kind="note", text=setting)
    yield decision(record)


def _result(record: Result) -> Iterator[ReplayLine]:
    text = printable_bytes(record.output[:SHOWN].replace(b"\r\n", b"\n"), keep="\n\t").strip("\n")
    if text:
        failed = record.outcome != "exit 0"
        yield ReplayLine(at=record.at, kind="error" if failed else "output", text=text)
    if record.received:
        size = f"{record.received} bytes received"
        digest = f", SHA-256 {record.received_digest.hex()}" if record.received_digest else ""
        yield ReplayLine(at=record.at, kind="note", text=size + digest)
    yield facts(record)


def _moved(record: FileMoved) -> str:
    """Tell what was moved of a file, as in ``downloaded /srv/a: 3 bytes, SHA-256 ...``."""
    said = f"{record.size} bytes"
    if record.extent == "range":
        said += f" from {record.offset}"
    elif record.extent != "whole":
        said += f" ({record.extent})"
    word = "uploaded" if record.upload else "downloaded"
    kept = "" if record.content < 0 else f", kept as content {record.content}"
    return f"{word} {printable(record.path)}: {said}, SHA-256 {record.digest.hex()}{kept}"
