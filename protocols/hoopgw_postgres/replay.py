"""A PostgreSQL session's records, shown to a person.

Statements with what was bound to them, decisions, the ends of reviews, and answers as tables, as
the caller saw them (after masking). The recorded beginning of an answer is cut at any byte, and
what it holds came from a target or a caller: nothing here trusts a length, everything shown is
escaped (`hoopgw.terminal`), and a record that makes no sense becomes a note, never an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hoopgw.recording.records import AnyRecord, Intent, Result, TextDefined
from hoopgw.recording.telling import decision, facts, told
from hoopgw.spi import ReplayLine
from hoopgw.terminal import printable_bytes
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
        case Intent():
            yield from _intent(record, texts)
        case Result():
            yield from _result(record)
        case _:
            yield from told(record)


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
    yield decision(record)


def _result(record: Result) -> Iterator[ReplayLine]:
    kind = "error" if record.outcome.startswith("ERROR") else "output"
    shown = answer_lines(record.output, complete=record.sent <= len(record.output))
    text = "\n".join(shown)
    if text:
        yield ReplayLine(at=record.at, kind=kind, text=text)
    yield facts(record, f"{record.rows} rows")
