"""What records of every protocol say, as lines of a replay: who, decided how, ended why.

A protocol adds what is its own: the text of its intents, and its answers.
"""

from __future__ import annotations

from collections.abc import Iterator

from hoopgw.recording.records import (
    AnyRecord,
    Intent,
    Result,
    ReviewSettled,
    SessionEnded,
    SessionRefused,
    SessionStarted,
    purposes,
    trail,
)
from hoopgw.spi import ReplayLine
from hoopgw.terminal import printable


def told(record: AnyRecord) -> Iterator[ReplayLine]:
    """Tell a record, if all protocols tell it alike."""
    match record:
        case SessionStarted():
            yield ReplayLine(at=record.at, kind="note", text=_started(record))
            if made_for := purposes(record.chain):
                text = printable(f"made for, as their parents say: {made_for}")
                yield ReplayLine(at=record.at, kind="note", text=text)
        case SessionRefused():
            text = printable(
                f"refused {record.account}@{record.target} from {record.address}: {record.reason}"
            )
            yield ReplayLine(at=record.at, kind="error", text=text)
        case ReviewSettled():
            yield ReplayLine(at=record.at, kind="decision", text=_settled(record))
        case SessionEnded():
            text = f"session ended: {printable(record.reason)}"
            yield ReplayLine(at=record.at, kind="note", text=text)


def decision(record: Intent) -> ReplayLine:
    """Tell what was decided."""
    words = {"allow": "allowed", "review": "held for review", "deny": "refused"}
    text = f"{words.get(record.decision, record.decision)}: {record.action}"
    if record.resources:
        text += f" on {', '.join(record.resources)}"
    if record.because:
        text += f" [{', '.join(record.because)}]"
    if record.reason:
        text += f" - {record.reason}"
    return ReplayLine(at=record.at, kind="decision", text=printable(text))


def facts(record: Result, *more: str) -> ReplayLine:
    """Tell in numbers how something came out."""
    said = [printable(record.outcome), *more, f"{record.sent} bytes"]
    if record.masked:
        said.append(f"{record.masked} values masked")
    said.append(f"{record.duration / 1e6:.1f} ms")
    return ReplayLine(at=record.at, kind="note", text=", ".join(said))


def _started(record: SessionStarted) -> str:
    chain = trail(record.chain)
    if record.persons:
        chain += f" (set off by {', '.join(record.persons)})"
    return printable(
        f"{chain} opened {record.target} as {record.account} from {record.address}"
        f" ({record.method}, agent {record.agent})"
    )


def _settled(record: ReviewSettled) -> str:
    by = f" by {', '.join(record.voters)}" if record.voters else ""
    return printable(f"review {record.request} {record.outcome}{by}")
