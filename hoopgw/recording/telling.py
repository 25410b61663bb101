"""What records of every protocol say, as lines of a replay: who, decided how, ended why.

A protocol adds what is its own: the text of its intents, and its answers.
"""

from __future__ import annotations

from collections.abc import Iterator

from hoopgw.recording.records import (
    AnyRecord,
    ContentEnded,
    ContentOpened,
    ContentRemoved,
    Intent,
    Result,
    ReviewSettled,
    SessionEnded,
    SessionFrozen,
    SessionRefused,
    SessionStarted,
    SessionThawed,
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
        case ContentOpened():
            yield ReplayLine(at=record.at, kind="note", text=_opened(record))
        case ContentEnded():
            yield ReplayLine(at=record.at, kind="note", text=_content_ended(record))
        case ContentRemoved():
            text = f"content {record.number} of session {record.of} was removed: {record.why}"
            yield ReplayLine(at=record.at, kind="note", text=printable(text))
        case SessionEnded():
            text = f"session ended: {printable(record.reason)}"
            yield ReplayLine(at=record.at, kind="note", text=text)
        case SessionFrozen() | SessionThawed():
            word = "frozen" if isinstance(record, SessionFrozen) else "thawed"
            why = f": {record.reason}" if record.reason else ""
            text = printable(f"session {word} by {record.by}{why}")
            yield ReplayLine(at=record.at, kind="note", text=text)


def decision(record: Intent) -> ReplayLine:
    """Tell what was decided."""
    words = {"allow": "allowed", "review": "held for review", "deny": "refused"}
    text = f"{words.get(record.decision, record.decision)}: {record.action}"
    if record.resources:
        text += f" on {', '.join(dict.fromkeys(record.resources))}"
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


def _opened(record: ContentOpened) -> str:
    size = f", {record.columns}x{record.rows}" if record.term else ""
    kept = " and ".join(record.holds)
    return printable(f"content {record.number} begins: {record.kind}{size}; {kept} is recorded")


def _content_ended(record: ContentEnded) -> str:
    shown = f"{record.output + record.stderr} bytes shown, {record.input} bytes of input"
    kept = f"{record.size} bytes recorded, SHA-256 {record.digest.hex()}"
    return printable(f"content {record.number} ended: {record.outcome}; {shown}; {kept}")


def _settled(record: ReviewSettled) -> str:
    by = f" by {', '.join(record.voters)}" if record.voters else ""
    return printable(f"review {record.request} {record.outcome}{by}")
