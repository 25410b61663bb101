"""A PostgreSQL session's records, shown to a person.

Statements with what was bound to them, decisions, the ends of reviews, and answers as tables, as
the caller saw them (after masking). The recorded beginning of an answer is cut at any byte, and
what it holds came from a target or a caller: nothing here trusts a length, everything shown is
escaped (`hoopgw.terminal`), and a record that makes no sense becomes a note, never an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hoopgw.recording.records import (
    AnyRecord,
    Intent,
    Result,
    ReviewSettled,
    SessionEnded,
    SessionRefused,
    SessionStarted,
    TextDefined,
    purposes,
    trail,
)
from hoopgw.spi import ReplayLine
from hoopgw.terminal import printable, printable_bytes
from hoopgw_postgres.bound import bound_values
from hoopgw_postgres.replay_answer import answer_lines


def replay(records: Iterable[AnyRecord]) -> Iterator[ReplayLine]:
    """Show a session's records, in their order.

    Records that a later version added, or that are not in order, are shown as far as they are
    understood: a replay must work on a damaged recording, and `hoopgw sessions verify` judges it.
    """
    texts: dict[int, bytes] = {}
    for record in records:
        if isinstance(record, TextDefined):
            texts[record.number] = record.text
        else:
            yield from _lines(record, texts)


def _lines(record: AnyRecord, texts: Mapping[int, bytes]) -> Iterator[ReplayLine]:
    match record:
        case SessionStarted():
            yield ReplayLine(at=record.at, kind="note", text=_started(record))
            if made_for := purposes(record.chain):
                text = printable(f"made for, as their parents say: {made_for}")
                yield ReplayLine(at=record.at, kind="note", text=text)
        case SessionRefused():
            yield ReplayLine(
                at=record.at,
                kind="error",
                text=printable(
                    f"refused {record.account}@{record.target} from {record.address}: "
                    f"{record.reason}"
                ),
            )
        case Intent():
            yield from _intent(record, texts)
        case ReviewSettled():
            yield ReplayLine(at=record.at, kind="decision", text=_settled(record))
        case Result():
            yield from _result(record)
        case SessionEnded():
            yield ReplayLine(
                at=record.at, kind="note", text=f"session ended: {printable(record.reason)}"
            )


def _started(record: SessionStarted) -> str:
    chain = trail(record.chain)
    if record.persons:
        chain += f" (set off by {', '.join(record.persons)})"
    return printable(
        f"{chain} opened {record.target} as {record.account} from {record.address}"
        f" ({record.method}, agent {record.agent})"
    )


def _intent(record: Intent, texts: Mapping[int, bytes]) -> Iterator[ReplayLine]:
    number = record.text if isinstance(record.text, int) else None
    text = record.text if isinstance(record.text, bytes) else texts.get(record.text)
    if text is None:
        shown = f"(text {number} is missing from the recording)"
    else:
        shown = printable_bytes(text, keep="\n\t").strip("\n")
    yield ReplayLine(at=record.at, kind="input", text=shown)
    bound = bound_values(record.parameters, record.parameters_size)
    if bound:
        yield ReplayLine(at=record.at, kind="note", text=f"bound: {', '.join(bound)}")
    yield ReplayLine(at=record.at, kind="decision", text=_decision(record))


def _decision(record: Intent) -> str:
    words = {"allow": "allowed", "review": "held for review", "deny": "refused"}
    text = f"{words.get(record.decision, record.decision)}: {record.action}"
    if record.resources:
        text += f" on {', '.join(record.resources)}"
    if record.because:
        text += f" [{', '.join(record.because)}]"
    if record.reason:
        text += f" - {record.reason}"
    return printable(text)


def _settled(record: ReviewSettled) -> str:
    by = f" by {', '.join(record.voters)}" if record.voters else ""
    return printable(f"review {record.request} {record.outcome}{by}")


def _result(record: Result) -> Iterator[ReplayLine]:
    kind = "error" if record.outcome.startswith("ERROR") else "output"
    shown = answer_lines(record.output, complete=record.sent <= len(record.output))
    text = "\n".join(shown)
    if text:
        yield ReplayLine(at=record.at, kind=kind, text=text)
    facts = [printable(record.outcome), f"{record.rows} rows", f"{record.sent} bytes"]
    if record.masked:
        facts.append(f"{record.masked} values masked")
    facts.append(f"{record.duration / 1e6:.1f} ms")
    yield ReplayLine(at=record.at, kind="note", text=", ".join(facts))
