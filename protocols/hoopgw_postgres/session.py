"""One session: what the client asks is judged, and only then goes to the target.

The client's messages are taken one by one, in order. Each that would run something becomes an
operation: allowed, it is recorded and forwarded; held, nothing behind it moves until people have
decided; refused, a message that the target cannot but refuse goes in its place, and the client gets
our error instead of the target's. So the target's own state machine does the rest exactly as ever:
it aborts the transaction, skips to the next Sync, and says what state it is in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.logger import Logger

from hoopgw.errors import ProtocolViolationError, RecorderError
from hoopgw.sessions.ends import EXPIRED, LEEWAY
from hoopgw.sessions.gates import Hold, ReadGate
from hoopgw.sessions.purses import Purse
from hoopgw.spi import OpenTarget
from hoopgw.transport import DataTransport
from hoopgw_postgres import refusals, wire
from hoopgw_postgres.answers import Answers
from hoopgw_postgres.asking import Asking
from hoopgw_postgres.at_once import AtOnce, at_once_class
from hoopgw_postgres.dispatch import Dispatch
from hoopgw_postgres.flow import (
    NAME_LIMIT,
    NAMES_LIMIT,
    WORK_LIMIT,
    Asked,
    Flow,
    Portal,
    Prepared,
    Step,
    Work,
)
from hoopgw_postgres.journal import Journal
from hoopgw_postgres.judge import Judge, Judged
from hoopgw_postgres.metering import Meter
from hoopgw_postgres.names import Names
from hoopgw_postgres.target_end import TargetEnd
from hoopgw_postgres.watch import Watch

log = Logger()

MESSAGE_LIMIT: Final = 16 * 2**20
"""Bytes of one message from the client; longer ones end the session."""
WAITING_LIMIT: Final = 2**20
"""Bytes that are read ahead while an operation is undecided; it shows whether the client lives."""


class Session:
    """The client's side of a logged-in session, with all that it holds.

    Args:
        client: the client's transport.
        opened: the target, from the link.
        judge: decides what may run.
        journal: writes the session's records.
        reviews: where people are asked.
        watch: over how answers are masked; None if nothing is.
        on_over: called once, with the reason, when both legs are closed.
        purse: what operations are paid from; None if there is no budget.

    """

    def __init__(
        self,
        client: DataTransport,
        opened: OpenTarget,
        judge: Judge,
        journal: Journal,
        reviews: Any,
        watch: Watch | None,
        on_over: Callable[[str], None],
        purse: Purse | None = None,
    ) -> None:
        self._client = client
        self._target: DataTransport = opened.leg
        self._cancel_target = opened.cancel
        self._judge = judge
        self._journal = journal
        masks = None if watch is None else watch.masks
        self._masked = watch is not None
        self._on_over = on_over
        self._flow = flow = Flow()
        self._meter = Meter.of(purse, self._unpaid, self._paid)
        self._answers = answers = Answers(
            flow, client.write, masks, journal.finished, opened.cancel, self._meter
        )
        asking = Asking(reviews, judge.principal, journal.session, answers.inject)
        self._dispatch = Dispatch(
            flow, self._target, judge, journal, asking, self._resume, self.end, watch, purse
        )
        self._client_gate = ReadGate(client)
        self._target_gate = ReadGate(self._target)
        self._buffer = bytearray()
        self._need = 0
        """Bytes that the buffer must have before it is worth a look."""
        self._at_once: AtOnce | None = None
        if masks is None and not journal.strict and purse is None:
            self._at_once = at_once_class()(flow, answers, client, self._target, judge, journal)
        self._leaving = False

    def start(self, first: bytes) -> None:
        """Join the legs. ``first`` is what the client sent already."""
        self._target.protocol = TargetEnd(self.from_target, self.target_lost)
        self._target.registerProducer(self._client_gate, True)
        self._client.registerProducer(self._target_gate, True)
        self._target.resumeProducing()
        if first:
            self.from_client(memoryview(first))

    # From the client

    def from_client(self, data: memoryview) -> None:
        """Take what the client sent."""
        flow, waits = self._flow, self._dispatch.undecided is not None
        at_once = self._at_once
        if at_once is not None and not (flow.pending or flow.over or waits or self._buffer):
            if not at_once.take(data):
                self._take(data)
            return
        if flow.over:
            return
        if waits or self._stalled or self._buffer:
            self._buffer += data
            if self._dispatch.undecided is not None or self._stalled:
                self._read_ahead()
            elif len(self._buffer) >= self._need:
                self._take_buffer()
            return
        self._take(data)

    def _read_ahead(self) -> None:
        """Bound what a client sends while it has to wait."""
        if len(self._buffer) > WAITING_LIMIT:
            if self._dispatch.asking.is_waiting:
                # Not read, it could leave unseen, and be run for when it is approved.
                text = "too much was sent while a statement waits for approval"
                self.end("54000", text, "sent too much while held")
            else:
                self._client_gate.hold(Hold.UNDECIDED)

    def _take_buffer(self) -> None:
        buffer, self._buffer = self._buffer, bytearray()
        self._take(memoryview(buffer))

    @property
    def _stalled(self) -> bool:
        """Whether the client is so far ahead of the target that it has to wait."""
        return len(self._flow.pending) >= WORK_LIMIT

    def _take(self, data: memoryview) -> None:
        at, size = 0, len(data)
        self._need = 0
        try:
            if self._flow.failed:
                self._flow.skipping = True
            while size - at >= 5 and self._dispatch.undecided is None and not self._flow.over:
                if self._stalled:
                    self._client_gate.hold(Hold.PIPELINE)
                    break
                length = int.from_bytes(data[at + 1 : at + 5], "big")
                if not 4 <= length <= MESSAGE_LIMIT:
                    raise ProtocolViolationError("invalid message length")
                end = at + 1 + length
                if end > size:
                    self._need = end - at
                    break
                take = _MESSAGES.get(data[at])
                if take is None:
                    raise ProtocolViolationError(f"invalid frontend message type {data[at]}")
                take(self, data[at:end])
                at = end
        except ProtocolViolationError as error:
            self.end("08P01", str(error), "protocol violation by the client")
        except RecorderError as error:
            self.end("58030", f"hoopgw cannot record: {error}", "recorder failed")
        if at < size and not self._flow.over:
            self._buffer += data[at:]
            if self._dispatch.undecided is not None:
                self._read_ahead()
        self._dispatch.flush()

    def _query(self, frame: memoryview) -> None:
        text = wire.parse_query(frame[5:])
        if self._flow.skipping or self._breaks_copy():
            return  # PostgreSQL too reads over a Query before the Sync
        if len(text) > refusals.STATEMENT_LIMIT:
            self._dispatch.refuse_query(refusals.too_long())
            return
        asked = Asked(Step.QUERY, text, b"")
        self._dispatch.decide(
            text, frame, lambda frame, judged: self._dispatch.run(asked, frame, judged)
        )

    def _parse(self, frame: memoryview) -> None:
        parsed = wire.parse_parse(frame[5:])
        if self._flow.skipping or self._is_long(parsed.name):
            return
        if self._breaks_copy():
            return
        if len(parsed.text) > refusals.STATEMENT_LIMIT:
            self._dispatch.refuse(refusals.too_long())
            return
        self._dispatch.decide(
            parsed.text, frame, lambda frame, judged: self._parse_judged(parsed, frame, judged)
        )

    def _parse_judged(self, parsed: wire.Parse, frame: bytes | memoryview, judged: Judged) -> None:
        if judged.is_refused:
            names = self._flow.statements
            if not parsed.name and not (names.is_certain(b"") and names.find(b"") is None):
                # PostgreSQL drops the unnamed statement before it looks at a new one.
                names.say(b"", None)
                work = Work.naming(Step.CLOSE, b"", own=True)
                self._dispatch.forward(wire.message(b"C", b"S\0"), work)
            self._dispatch.refuse_asked(Asked(Step.PARSE, parsed.text, b""), judged)
            return
        if len(self._flow.statements) >= NAMES_LIMIT:
            raise ProtocolViolationError("too many prepared statements")
        types = b"".join(kind.to_bytes(4, "big") for kind in parsed.types)
        prepared = Prepared(parsed.text, judged, types)
        self._flow.statements.say(parsed.name, prepared)
        self._dispatch.forward(frame, Work.naming(Step.PARSE, parsed.name, prepared=prepared))

    def _bind(self, frame: memoryview) -> None:
        bound = wire.parse_bind(frame[5:])
        if self._flow.skipping or self._is_long(bound.portal) or self._is_long(bound.statement):
            return
        if self._breaks_copy():
            return
        if self._flow.statements.is_certain(bound.statement):
            self._bind_certain(bound, frame)
        else:
            self._dispatch.when_certain(frame, lambda frame: self._bind_certain(bound, frame))

    def _bind_certain(self, bound: wire.Bind, frame: bytes | memoryview) -> None:
        prepared = self._flow.statements.find(bound.statement)
        if prepared is None:
            self._dispatch.refuse(refusals.unknown_statement(bound.statement))
            return
        if len(self._flow.portals) >= NAMES_LIMIT:
            raise ProtocolViolationError("too many portals")
        names = len(bound.portal) + len(bound.statement) + 2
        kept = bytes(frame)
        portal = Portal(prepared, kept, kept[5 + names :])
        self._flow.portals.say(bound.portal, portal)
        self._dispatch.forward(frame, Work.naming(Step.BIND, bound.portal, portal=portal))

    def _describe(self, frame: memoryview) -> None:
        named = wire.parse_named(frame[5:])
        if self._flow.skipping or self._is_long(named.name):
            return
        if self._breaks_copy():
            return
        self._dispatch.forward(frame, Work(Step.DESCRIBE))

    def _execute(self, frame: memoryview) -> None:
        execute = wire.parse_execute(frame[5:])
        if self._flow.skipping or self._is_long(execute.portal):
            return
        if self._breaks_copy():
            return
        if self._flow.portals.is_certain(execute.portal):
            self._execute_certain(execute, frame)
        else:
            self._dispatch.when_certain(frame, lambda frame: self._execute_certain(execute, frame))

    def _execute_certain(self, execute: wire.Execute, frame: bytes | memoryview) -> None:
        portal = self._flow.portals.find(execute.portal)
        if portal is None:
            self._dispatch.refuse(refusals.unknown_portal(execute.portal))
            return
        prepared = portal.prepared
        if self._masked and prepared.by_sql and not portal.frame:
            self._dispatch.refuse(refusals.cursor_by_execute())
            return
        parameters = prepared.types + portal.parameters
        asked = Asked(Step.EXECUTE, prepared.text, parameters, portal, prepared)
        self._dispatch.decide(
            prepared.text, frame, lambda frame, judged: self._dispatch.run(asked, frame, judged)
        )

    def _close(self, frame: memoryview) -> None:
        named = wire.parse_named(frame[5:])
        if self._flow.skipping or self._is_long(named.name):
            return
        if self._breaks_copy():
            return
        work = Work.naming(Step.CLOSE, named.name)
        work.of_portal = named.kind == b"P"
        names: Names[Any] = self._flow.portals if work.of_portal else self._flow.statements
        names.say(named.name, None)
        self._dispatch.forward(frame, work)

    def _is_long(self, name: bytes) -> bool:
        """Refuse a name that is not the same to the server as to us: it reads 63 bytes."""
        if len(name) > NAME_LIMIT:
            self._dispatch.refuse(
                refusals.error("42622", f"a name is longer than {NAME_LIMIT} bytes")
            )
        return len(name) > NAME_LIMIT

    def _sync(self, frame: memoryview) -> None:
        if len(frame) != 5:
            raise ProtocolViolationError("invalid message format")
        self._flow.skipping = self._flow.failed = False
        if self._flow.copying_in:
            # The server ignores it, unless it has found an error in the data meanwhile.
            self._flow.sync_in_copy = (
                self._dispatch.copying is not None and self._dispatch.copying.received > 0
            )
        else:
            self._dispatch.forward(frame, Work(Step.SYNC))
            self._flow.end_segment()

    def _flush_message(self, frame: memoryview) -> None:
        if len(frame) != 5:
            raise ProtocolViolationError("invalid message format")
        if not self._flow.skipping:
            self._dispatch.out.append(frame)

    def _copy_data(self, frame: memoryview) -> None:
        # Outside a copy the server drops these: they are left over from one that failed.
        if self._dispatch.copying is not None:
            self._dispatch.copying.received += len(frame) - 5
            self._dispatch.copying.copied.update(frame[5:])
        self._dispatch.out.append(frame)

    def _copy_end(self, frame: memoryview) -> None:
        flow = self._flow
        flow.copying_in = flow.sync_in_copy = False
        self._dispatch.out.append(frame)
        self._dispatch.copy_ended()

    def _terminate(self, frame: memoryview) -> None:
        # What was sent before still runs; then the target closes, or the client does.
        self._leaving = True
        self._dispatch.out.append(wire.message(b"X"))

    def _function_call(self, frame: memoryview) -> None:
        """Refuse FunctionCall: it names a function by number, past every statement."""
        if self._flow.skipping:
            return
        error = refusals.error("0A000", "hoopgw does not pass the FunctionCall message")
        self._dispatch.refuse_query(error)

    def _breaks_copy(self) -> bool:
        """End a COPY FROM STDIN that a message of another kind breaks off.

        The server fails then, or has failed already over the data. Either way it reads over what
        follows up to Sync, if the COPY was run by Execute; then this returns True.
        """
        flow = self._flow
        if not flow.copying_in:
            return False
        flow.copying_in = flow.sync_in_copy = False
        self._dispatch.copying = None
        flow.copy_broken = True
        self._dispatch.out.append(wire.message(b"f", b"unexpected message\0"))
        self._flow.skipping = bool(flow.pending) and flow.pending[0].step is Step.EXECUTE
        return self._flow.skipping

    def _resume(self) -> None:
        """Go on with what the client sent while something was undecided."""
        self._client_gate.release(Hold.UNDECIDED)
        if self._buffer:
            self._take_buffer()

    def cancel(self) -> None:
        """Do what a CancelRequest asks: withdraw what is held, or cancel what runs."""
        if self._dispatch.asking.is_waiting:
            self._dispatch.asking.withdraw()
        elif self._flow.pending:
            self._cancel_target()

    # From the target, and the end

    def from_target(self, data: memoryview) -> None:
        """Take what the target sent."""
        try:
            if self._at_once is not None and self._at_once.answered(data):
                return  # nothing else was under way, so nothing waits for it
            self._answers.received(data)
        except ProtocolViolationError as error:
            log.warn("ending a session: {error}", error=error)
            self.end("08P01", f"hoopgw ends the session: {error}", str(error))
        except RecorderError as error:
            self.end("58030", f"hoopgw cannot record: {error}", "recorder failed")
        if self._flow.sync_in_copy and self._flow.failed and not self._flow.over:
            self._flow.sync_in_copy = self._flow.failed = self._flow.skipping = False
            self._dispatch.forward(wire.message(b"S"), Work(Step.SYNC))
            self._dispatch.flush()
        if len(self._flow.pending) < WORK_LIMIT // 2 and not self._flow.over:
            self._client_gate.release(Hold.PIPELINE)
            if (
                self._buffer
                and self._dispatch.undecided is None
                and len(self._buffer) >= self._need
            ):
                self._take_buffer()

    def _unpaid(self) -> None:
        self._target_gate.hold(Hold.UNPAID)

    def _paid(self) -> None:
        """Go on with answers that waited to be paid for."""
        if not self._flow.over:
            self.from_target(memoryview(b""))
        if self._meter is not None and not (self._meter.waits or self._flow.over):
            self._target_gate.release(Hold.UNPAID)

    def client_lost(self) -> None:
        """End: nobody is left to answer."""
        self._finish("the client left" if self._leaving else "the client's connection was lost")

    def target_lost(self) -> None:
        """End, and tell the client, unless the target has said why itself."""
        if self._leaving or self._answers.told_fatal:
            self._finish("the target ended the session")
        elif self._judge.principal.expires - LEEWAY <= self._journal.now() / 1e9:
            self.cut(EXPIRED)  # by the agent, which counts by itself
        else:
            self.end("08006", "the connection to the target was lost", "target lost")

    def reconsider(self) -> str | None:
        """Say why it must end by what its principal is granted now, or None."""
        if self._flow.over:
            return None
        running = (work.running for work in self._flow.pending)
        return self._judge.reconsider(
            each.judged for each in running if each is not None and not each.own
        )

    def cut(self, reason: str) -> None:
        """End from outside (expiry, revocation, shutdown), with what the target is doing for it."""
        if self._flow.over:
            return
        if self._flow.pending:
            self._cancel_target()
        self._answers.inject(refusals.session_ended(reason))
        self._finish(reason)

    def end(self, code: str, text: str, reason: str) -> None:
        """End with a FATAL error to the client."""
        if not self._flow.over:
            self._answers.inject(wire.report(b"E", "FATAL", code, text))
            self._finish(reason)

    def _finish(self, reason: str) -> None:
        if self._flow.over:
            return
        self._flow.over = True
        self._dispatch.asking.close()
        try:
            for work in self._flow.pending:
                if work.running is not None:
                    work.running.outcome = work.running.outcome or "LOST"
                    self._journal.finished(work.running)
            self._journal.ended(reason)
        except RecorderError as error:
            log.error("the end of a session could not be recorded: {error}", error=error)
        self._flow.pending.clear()
        if not self._leaving:
            self._target.write(wire.message(b"X"))
        for leg in (self._client, self._target):
            leg.unregisterProducer()
            leg.loseConnection()
        self._on_over(reason)


_MESSAGES: Final = {
    ord(letter): take
    for letter, take in {
        "B": Session._bind,
        "C": Session._close,
        "D": Session._describe,
        "E": Session._execute,
        "F": Session._function_call,
        "H": Session._flush_message,
        "P": Session._parse,
        "Q": Session._query,
        "S": Session._sync,
        "X": Session._terminate,
        "c": Session._copy_end,
        "d": Session._copy_data,
        "f": Session._copy_end,
    }.items()
}
