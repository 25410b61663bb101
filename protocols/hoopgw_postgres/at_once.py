"""The short way of a statement that comes in one piece, alone, and is simply allowed.

Drivers send a small statement as one Query, or as Bind (with a Parse before it, or not), Describe,
Execute and Sync of the unnamed portal, and wait for its answer, which comes in one piece as well.
If nothing else is under way, and what it is known to be is plainly allowed, nothing of it needs to
be looked at message by message. This decides, records and forwards as `session`, `dispatch` and
`answers` do; what is not so simple is left to them before anything was done.

Every function here is a part of each small statement's cost: a call costs more than what it does.
So this has a compiled twin, ``_at_once``, where it was built (`hoopgw.transport.accelerated`); the
tests hold both to the same.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from hoopgw.errors import ProtocolViolationError, RecorderError
from hoopgw.transport import DataTransport, accelerated
from hoopgw_postgres import wire
from hoopgw_postgres.answers import Answers
from hoopgw_postgres.flow import NAMES_LIMIT, Flow, Prepared, Running, Step, Work
from hoopgw_postgres.journal import Journal
from hoopgw_postgres.judge import Judge

LIMIT: Final = 16_384
"""Bytes of statements that are looked at as one piece."""
ANSWER_LIMIT: Final = 4096
"""Bytes of answers that are; less than what is kept of each in the recording."""

_QUERY, _BIND, _PARSE = b"QBP"
_EXECUTE_SYNC: Final = wire.message(b"E", bytes(5)) + wire.message(b"S")
_RUN_REST: Final = frozenset({_EXECUTE_SYNC, wire.describe(b"P", b"") + _EXECUTE_SYNC})
"""What follows a Bind of the unnamed portal when all of it runs at once."""

_HEAD: Final = struct.Struct(">BI").unpack_from
_ROW, _COMPLETE, _DESCRIPTION = b"DCT"
_RUN_ONLY: Final = b"12"
"""ParseComplete, BindComplete."""
_READY: Final = b"Z\0\0\0\5"

_Asked: TypeAlias = tuple[Step, bytes, bytes, Prepared | None, bytes | None]
"""Step, text, parameters, the prepared statement, and the types of one that is prepared now."""


class AtOnce:
    """One session's short way. Not for sessions with masks, or whose intents must be synced.

    Args:
        flow: shared with all that a session is.
        answers: the usual way of answers.
        client: what the target answers goes here.
        target: what is allowed goes here.
        judge: decides what may run.
        journal: writes the session's records.

    """

    def __init__(
        self,
        flow: Flow,
        answers: Answers,
        client: DataTransport,
        target: DataTransport,
        judge: Judge,
        journal: Journal,
    ) -> None:
        self._flow = flow
        self._answers = answers
        self._client = client
        self._target = target
        self._judge = judge
        self._journal = journal
        self._sent: Work | None = None
        """What went this way, until the target answers."""

    def take(self, data: memoryview) -> bool:
        """Take all that the client sent. Nothing else may be under way.

        Returns:
            False where the usual way must look: nothing is done then.

        """
        flow = self._flow
        if not 5 < len(data) <= LIMIT or flow.failed or flow.skipping or flow.in_segment:
            return False
        if self._answers.tail:
            return False  # the target is in the middle of a message that nobody asked for
        piece = bytes(data)
        try:
            asked = self._ask(piece)
        except ProtocolViolationError:
            return False
        if asked is None:
            return False
        step, text, parameters, prepared, parsed = asked
        judged = self._judge.known(text, flow.touched or flow.status != b"I")
        if judged is None or not judged.is_plain:
            return False
        try:
            intent, now = self._journal.plain(judged, text, parameters, prepared)
        except RecorderError:
            return False  # the usual way tells the client
        flow.touched = True
        self._sent = work = Work(step, Running(judged, text, intent, now, None))
        if parsed is not None:
            # The target forgets the unnamed statement before it parses another.
            flow.statements.known.pop(b"", None)
            work.prepared = Prepared(text, judged, parsed)
        work.piece = piece
        flow.pending.append(work)
        self._target.write(piece)
        return True

    def _ask(self, piece: bytes) -> _Asked | None:
        """Return what a piece would run: step, text, parameters, and where the text is from."""
        kind = piece[0]
        flow = self._flow
        if kind == _QUERY:
            last = len(piece) - 1
            if int.from_bytes(piece[1:5], "big") != last or piece.find(b"\0", 5) != last:
                return None
            return Step.QUERY, piece[5:last], b"", None, None
        if flow.touched or flow.status != b"I":
            return None  # what is bound in a transaction lives on
        end = 1 + int.from_bytes(piece[1:5], "big")
        if kind == _BIND and piece[end:] in _RUN_REST:
            bound = wire.parse_bind(piece[5:end])
            prepared = flow.statements.known.get(bound.statement)
            if prepared is None or bound.portal or len(prepared.types) > LIMIT:
                return None  # the types were not in this piece, but are recorded with it
            parameters = prepared.types + piece[7 + len(bound.statement) : end]
            return Step.RUN, prepared.text, parameters, prepared, None
        if kind == _PARSE and piece[end : end + 1] == b"B":
            return self._parsed(piece, end)
        return None

    def _parsed(self, piece: bytes, begin: int) -> _Asked | None:
        """Return what a Parse, and a Bind behind it, would run."""
        end = begin + 1 + int.from_bytes(piece[begin + 1 : begin + 5], "big")
        if piece[end:] not in _RUN_REST or len(self._flow.statements) >= NAMES_LIMIT:
            return None
        parsed = wire.parse_parse(piece[5:begin])
        bound = wire.parse_bind(piece[begin + 5 : end])
        if parsed.name or bound.statement or bound.portal:
            return None
        types = b"".join(kind.to_bytes(4, "big") for kind in parsed.types)
        return Step.RUN, parsed.text, types + piece[begin + 7 : end], None, types

    def answered(self, data: memoryview) -> bool:
        """Pass the target's answer on, if it is whole.

        Returns:
            False where the usual way must look: nothing is done then.

        Raises:
            RecorderError: the result cannot be kept.

        """
        work, self._sent = self._sent, None
        flow = self._flow
        if work is None or len(data) > ANSWER_LIMIT or len(flow.pending) != 1:
            return False
        answer = bytes(data)
        last = len(answer) - 6
        if answer[last:-1] != _READY:
            return False
        at = rows = 0
        tag = b""
        while at < last:
            kind, length = _HEAD(answer, at)
            end = at + 1 + length
            if kind == _ROW:
                rows += 1
            elif kind == _COMPLETE:
                tag = answer[at + 5 : end - 1]
            elif kind != _DESCRIPTION and (work.step is Step.QUERY or kind not in _RUN_ONLY):
                return False
            if length < 4:
                return False
            at = end
        if at != last or not tag:
            return False
        self._finish(work, answer, rows, tag)
        return True

    def _finish(self, work: Work, answer: bytes, rows: int, tag: bytes) -> None:
        flow, running = self._flow, work.running
        assert running is not None
        flow.pending.clear()
        if work.prepared is not None:
            flow.statements.known[b""] = work.prepared
        running.rows = rows
        running.outcome = tag.decode("utf-8", "replace")
        running.sent = len(answer)
        running.output.append(answer)
        if work.step is Step.RUN:
            flow.ran_at_once(work.piece, answer[-1:])
        flow.ready(answer[-1:])
        self._journal.finished(running)
        self._client.write(answer)
        flow.answered()


def at_once_class() -> type[AtOnce]:
    """Return this module's `AtOnce`, or its compiled twin."""
    if accelerated.is_wanted("hoopgw_postgres._at_once"):
        from hoopgw_postgres import _at_once

        return _at_once.AtOnce
    return AtOnce
