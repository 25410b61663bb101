"""A session over HTTP, shown to a person: requests, decisions, and answers as the client got them.

What was recorded came from a target or a caller: everything shown is escaped, and cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from hoopgw.recording.records import AnyRecord, Intent, Result
from hoopgw.recording.telling import decision, facts, told
from hoopgw.spi import ReplayLine
from hoopgw.terminal import printable_bytes

SHOWN: Final = 20_000
"""Bytes of an answer that are shown."""


def replay(records: Iterable[AnyRecord]) -> Iterator[ReplayLine]:
    """Show a session's records, in their order."""
    for record in records:
        match record:
            case Intent():
                text = record.text if isinstance(record.text, bytes) else b""
                shown = printable_bytes(text, keep="\n\t").strip("\n")
                yield ReplayLine(at=record.at, kind="input", text=shown)
                yield decision(record)
            case Result():
                yield from _result(record)
            case _:
                yield from told(record)


def _result(record: Result) -> Iterator[ReplayLine]:
    failed = not record.outcome.startswith(("1", "2", "3"))
    text = printable_bytes(record.output[:SHOWN].replace(b"\r\n", b"\n"), keep="\n\t").strip("\n")
    if text:
        yield ReplayLine(at=record.at, kind="error" if failed else "output", text=text)
    if record.received:
        sent = f"{record.received} bytes sent, SHA-256 {record.received_digest.hex()}"
        yield ReplayLine(at=record.at, kind="note", text=sent)
    yield facts(record)
