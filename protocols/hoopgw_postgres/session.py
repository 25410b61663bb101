"""One session: what the client asks is judged, and only then goes to the target.

The client's messages are taken one by one, in order. Each that would run something becomes an
operation: allowed, it is recorded and forwarded; held, nothing behind it moves until people have
decided; refused, a message that the target cannot but refuse goes in its place, and the client gets
our error instead of the target's. So the target's own state machine does the rest exactly as ever:
it aborts the transaction, skips to the next Sync, and says what state it is in.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import HoopgwError, ProtocolViolationError, RecorderError
from hoopgw.policy.decision import Allow, Deny, Review
from hoopgw.sessions.gates import Hold, ReadGate
from hoopgw.spi import OpenTarget
from hoopgw.transport import DataTransport
from hoopgw_postgres import refusals, wire
from hoopgw_postgres.answers import Answers, Masks
from hoopgw_postgres.asking import Asking
from hoopgw_postgres.flow import (
    NAMES_LIMIT,
    WORK_LIMIT,
    Asked,
    Flow,
    Portal,
    Prepared,
    Running,
    Step,
    Work,
)
from hoopgw_postgres.journal import Journal
from hoopgw_postgres.judge import Judge, Judged, schemas_of
from hoopgw_postgres.names import Names

log = Logger()

MESSAGE_LIMIT: Final = 16 * 2**20
"""Bytes of one message from the client; longer ones end the session."""
NAME_LIMIT: Final = 63
"""Bytes of a statement's or portal's name; the server's hash reads no more."""
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
        masks: how answers are masked; None if nothing is.
        on_over: called once, with the reason, when both legs are closed.

    """

    def __init__(
        self,
        client: DataTransport,
        opened: OpenTarget,
        judge: Judge,
        journal: Journal,
        reviews: Any,
        masks: Masks | None,
        on_over: Callable[[str], None],
    ) -> None:
        self._client = client
        self._target: DataTransport = opened.leg
        self._cancel_target = opened.cancel
        self._judge = judge
        self._journal = journal
        self._asking = Asking(reviews, judge.principal, journal.session, self._tell)
        self._masked = masks is not None
        self._on_over = on_over
        self._flow = Flow()
        self._answers = Answers(self._flow, client.write, masks, journal.finished, opened.cancel)
        self._client_gate = ReadGate(client)
        self._target_gate = ReadGate(self._target)
        self._buffer = bytearray()
        self._out: list[bytes | memoryview] = []
        self._need = 0
        """Bytes that the buffer must have before it is worth a look."""
        self._undecided: Deferred[None] | None = None
        self._copying: Running | None = None
        """The COPY FROM STDIN that was forwarded last."""
        self._skipping = False
        self._quick = masks is None and not journal.strict
        """Whether a whole run may go in one piece: nothing of it is looked at later."""
        self._leaving = False
        self._over = False
        self._impossible = b"hoopgw_refused_" + secrets.token_hex(8).encode()

    def start(self, first: bytes) -> None:
        """Join the legs. ``first`` is what the client sent already."""
        self._target.protocol = _TargetEnd(self)
        self._target.registerProducer(self._client_gate, True)
        self._client.registerProducer(self._target_gate, True)
        self._target.resumeProducing()
        if first:
            self.from_client(memoryview(first))

    # From the client

    def from_client(self, data: memoryview) -> None:
        """Take what the client sent."""
        if self._over:
            return
        if self._undecided is not None or self._stalled or self._buffer:
            self._buffer += data
            if self._undecided is not None or self._stalled:
                self._read_ahead()
            elif len(self._buffer) >= self._need:
                self._take_buffer()
            return
        self._take(data)

    def _read_ahead(self) -> None:
        """Bound what a client sends while it has to wait."""
        if len(self._buffer) > WAITING_LIMIT:
            if self._asking.is_waiting:
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
            if self._quick and size > 5 and data[0] == _BIND:
                at = self._run_whole(data)
            if self._flow.failed:
                self._skipping = True
            while size - at >= 5 and self._undecided is None and not self._over:
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
        if at < size and not self._over:
            self._buffer += data[at:]
            if self._undecided is not None:
                self._read_ahead()
        self._flush()

    def _run_whole(self, data: memoryview) -> int:
        """Run Bind, Describe, Execute and Sync that came in one piece, as drivers send them.

        Returns:
            How many bytes were taken: all, or none where the usual way must look.

        """
        flow = self._flow
        size = 1 + int.from_bytes(data[1:5], "big")
        if flow.in_transaction or flow.pending or flow.failed or data[size:] not in _RUN_REST:
            return 0
        bound = wire.parse_bind(data[5:size])
        prepared = flow.statements.find(bound.statement)
        if prepared is None or bound.portal:
            return 0
        judged = self._judge.known(prepared.text, False)
        if judged is None or judged.names or judged.refers or judged.copies_in:
            return 0
        if not isinstance(judged.decision, Allow):
            return 0
        parameters = prepared.types + bytes(data[7 + len(bound.statement) : size])
        self._run(Asked(Step.RUN, prepared.text, parameters, None, prepared), data, judged)
        return len(data)

    def _flush(self) -> None:
        """Send to the target what was let through."""
        out = self._out
        if out:
            self._target.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()

    def _forward(self, frame: bytes | memoryview, work: Work | None) -> None:
        if work is not None:
            if self._flow.failed:
                self._skip(work)
                return
            self._flow.pending.append(work)
        self._out.append(frame)

    def _skip(self, work: Work) -> None:
        """Leave out what the target would skip: it would not be answered."""
        if work.running is not None:
            work.running.outcome = "SKIPPED"
            self._journal.finished(work.running)

    def _query(self, frame: memoryview) -> None:
        text = wire.parse_query(frame[5:])
        if self._skipping or self._breaks_copy():
            return  # PostgreSQL too reads over a Query before the Sync
        if len(text) > refusals.STATEMENT_LIMIT:
            self._refuse_query(refusals.too_long())
            return
        asked = Asked(Step.QUERY, text, b"")
        self._decide(text, frame, lambda frame, judged: self._run(asked, frame, judged))

    def _parse(self, frame: memoryview) -> None:
        parsed = wire.parse_parse(frame[5:])
        if self._skipping or self._is_long(parsed.name):
            return
        if self._breaks_copy():
            return
        if len(parsed.text) > refusals.STATEMENT_LIMIT:
            self._refuse(refusals.too_long())
            return
        self._decide(
            parsed.text, frame, lambda frame, judged: self._parse_judged(parsed, frame, judged)
        )

    def _parse_judged(self, parsed: wire.Parse, frame: bytes | memoryview, judged: Judged) -> None:
        if isinstance(judged.decision, Deny):
            self._refuse_asked(Asked(Step.PARSE, parsed.text, b""), judged)
            return
        if len(self._flow.statements) >= NAMES_LIMIT:
            raise ProtocolViolationError("too many prepared statements")
        types = b"".join(kind.to_bytes(4, "big") for kind in parsed.types)
        prepared = Prepared(parsed.text, judged, types)
        self._flow.statements.say(parsed.name, prepared)
        self._forward(frame, Work.naming(Step.PARSE, parsed.name, prepared=prepared))
        if self._masked:
            self._describe_for_us(prepared, parsed.name)

    def _describe_for_us(self, prepared: Prepared, name: bytes) -> None:
        """Learn where the columns come from, though the client may not ask."""
        work = Work.naming(Step.DESCRIBE, name, prepared=prepared, own=True)
        self._forward(wire.describe(b"S", name), work)

    def _bind(self, frame: memoryview) -> None:
        bound = wire.parse_bind(frame[5:])
        if self._skipping or self._is_long(bound.portal) or self._is_long(bound.statement):
            return
        if self._breaks_copy():
            return
        if self._flow.statements.is_certain(bound.statement):
            self._bind_certain(bound, frame)
        else:
            self._when_certain(frame, lambda frame: self._bind_certain(bound, frame))

    def _bind_certain(self, bound: wire.Bind, frame: bytes | memoryview) -> None:
        prepared = self._flow.statements.find(bound.statement)
        if prepared is None:
            self._refuse(refusals.unknown_statement(bound.statement))
            return
        if len(self._flow.portals) >= NAMES_LIMIT:
            raise ProtocolViolationError("too many portals")
        if self._masked and prepared.by_sql:
            self._describe_for_us(prepared, bound.statement)
        names = len(bound.portal) + len(bound.statement) + 2
        kept = bytes(frame)
        portal = Portal(prepared, kept, kept[5 + names :], bound.result_formats)
        self._flow.portals.say(bound.portal, portal)
        self._forward(frame, Work.naming(Step.BIND, bound.portal, portal=portal))

    def _describe(self, frame: memoryview) -> None:
        named = wire.parse_named(frame[5:])
        if self._skipping or self._is_long(named.name):
            return
        if self._breaks_copy():
            return
        self._forward(frame, Work(Step.DESCRIBE))

    def _execute(self, frame: memoryview) -> None:
        execute = wire.parse_execute(frame[5:])
        if self._skipping or self._is_long(execute.portal):
            return
        if self._breaks_copy():
            return
        if self._flow.portals.is_certain(execute.portal):
            self._execute_certain(execute, frame)
        else:
            self._when_certain(frame, lambda frame: self._execute_certain(execute, frame))

    def _execute_certain(self, execute: wire.Execute, frame: bytes | memoryview) -> None:
        portal = self._flow.portals.find(execute.portal)
        if portal is None:
            self._refuse(refusals.unknown_portal(execute.portal))
            return
        prepared = portal.prepared
        if self._masked and prepared.by_sql and not portal.frame:
            text = "a cursor of SQL is not run by Execute where columns are masked: use FETCH"
            self._refuse(refusals.error("0A000", text))
            return
        parameters = prepared.types + portal.parameters
        asked = Asked(Step.EXECUTE, prepared.text, parameters, portal, prepared)
        self._decide(prepared.text, frame, lambda frame, judged: self._run(asked, frame, judged))

    def _close(self, frame: memoryview) -> None:
        named = wire.parse_named(frame[5:])
        if self._skipping or self._is_long(named.name):
            return
        if self._breaks_copy():
            return
        work = Work.naming(Step.CLOSE, named.name)
        work.of_portal = named.kind == b"P"
        names: Names[Any] = self._flow.portals if work.of_portal else self._flow.statements
        names.say(named.name, None)
        self._forward(frame, work)

    def _is_long(self, name: bytes) -> bool:
        """Refuse a name that is not the same to the server as to us: it reads 63 bytes."""
        if len(name) > NAME_LIMIT:
            self._refuse(refusals.error("42622", f"a name is longer than {NAME_LIMIT} bytes"))
        return len(name) > NAME_LIMIT

    def _sync(self, frame: memoryview) -> None:
        if len(frame) != 5:
            raise ProtocolViolationError("invalid message format")
        self._skipping = self._flow.failed = False
        if self._flow.copying_in:
            # The server ignores it, unless it has found an error in the data meanwhile.
            self._flow.sync_in_copy = self._copying is not None and self._copying.received > 0
        else:
            self._forward(frame, Work(Step.SYNC))
            self._flow.end_segment()

    def _flush_message(self, frame: memoryview) -> None:
        if len(frame) != 5:
            raise ProtocolViolationError("invalid message format")
        if not self._skipping:
            self._out.append(frame)

    def _copy_data(self, frame: memoryview) -> None:
        # Outside a copy the server drops these: they are left over from one that failed.
        if self._copying is not None:
            self._copying.received += len(frame) - 5
            self._copying.copied.update(frame[5:])
        self._out.append(frame)

    def _copy_end(self, frame: memoryview) -> None:
        flow = self._flow
        flow.copying_in = flow.sync_in_copy = False
        self._copying = None
        self._out.append(frame)

    def _terminate(self, frame: memoryview) -> None:
        # What was sent before still runs; then the target closes, or the client does.
        self._leaving = True
        self._out.append(wire.message(b"X"))

    def _function_call(self, frame: memoryview) -> None:
        """Refuse FunctionCall: it names a function by number, past every statement."""
        if self._skipping:
            return
        error = refusals.error("0A000", "hoopgw does not pass the FunctionCall message")
        self._refuse_query(error)

    def _breaks_copy(self) -> bool:
        """End a COPY FROM STDIN that a message of another kind breaks off.

        The server fails then, or has failed already over the data. Either way it reads over what
        follows up to Sync, if the COPY was run by Execute; then this returns True.
        """
        flow = self._flow
        if not flow.copying_in:
            return False
        flow.copying_in = flow.sync_in_copy = False
        self._copying = None
        flow.copy_broken = True
        self._out.append(wire.message(b"f", b"unexpected message\0"))
        self._skipping = bool(flow.pending) and flow.pending[0].step is Step.EXECUTE
        return self._skipping

    # Deciding

    def _decide(
        self,
        text: bytes,
        frame: bytes | memoryview,
        then: Callable[[bytes | memoryview, Judged], None],
    ) -> None:
        """Judge a text; nothing behind it moves meanwhile."""
        judged = self._judge.known(text, self._flow.in_transaction)
        if judged is not None and not judged.refers:
            then(frame, judged)
            return
        self._flush()
        self._wait(self._decide_slowly(text, bytes(frame), then))

    async def _decide_slowly(
        self, text: bytes, frame: bytes, then: Callable[[bytes | memoryview, Judged], None]
    ) -> None:
        judged = await self._judge.judge(text, self._flow.in_transaction)
        if judged.refers:
            judged = await self._resolve(judged, text)
        if self._over:
            return
        self._undecided = None  # `then` may start to wait for people
        then(frame, judged)

    async def _resolve(self, judged: Judged, text: bytes) -> Judged:
        """Judge EXECUTE and FETCH of SQL by what the names in them mean."""
        await self._certain()
        meant: list[Prepared] = []
        for name in judged.executes:
            prepared = self._flow.statements.find(name.encode())
            if prepared is None:
                return self._judge.refused("26000", refusals.no_statement(name))
            meant.append(prepared)
        for name in judged.fetches:
            portal = self._flow.portals.find(name.encode())
            if portal is None:
                return self._judge.refused("34000", f'cursor "{name}" does not exist')
            meant.append(portal.prepared)
        judgements = [prepared.judged for prepared in meant]
        found = self._judge.resolved(judged, text, judgements, self._flow.in_transaction)
        return evolve(found, executed=b"\0".join(prepared.text for prepared in meant))

    def _when_certain(self, frame: memoryview, then: Callable[[bytes | memoryview], None]) -> None:
        """Go on when the target has said what a name means."""
        self._flush()
        self._wait(self._then_certain(bytes(frame), then))

    async def _then_certain(self, frame: bytes, then: Callable[[bytes | memoryview], None]) -> None:
        await self._certain()
        if self._over or self._skipping or self._flow.failed:
            return
        self._undecided = None
        then(frame)

    async def _certain(self) -> None:
        """Wait until the target has answered everything."""
        flow = self._flow
        self._flush()
        if flow.pending:
            if flow.pending[-1].step not in (Step.SYNC, Step.QUERY, Step.RUN):
                self._target.write(wire.message(b"H"))
            await flow.until(lambda: not flow.pending)

    async def _copy_begins(self, running: Running) -> None:
        """Wait until the target takes COPY data, or does not; what follows means either."""
        flow = self._flow
        self._flush()
        if flow.pending[-1].step is Step.EXECUTE:
            self._target.write(wire.message(b"H"))
        await flow.until(lambda: flow.copying_in or bool(running.outcome))

    def _wait(self, coroutine: Any) -> None:
        waiting = Deferred.fromCoroutine(coroutine)
        if waiting.called:
            waiting.addErrback(self._broken)
            return
        self._undecided = waiting
        waiting.addErrback(self._broken).addCallback(self._decided, waiting)

    def _broken(self, failure: Failure) -> None:
        if self._over or failure.check(CancelledError):
            return
        if failure.check(HoopgwError) is None:
            log.failure("deciding on an operation failed", failure)
        self.end("58000", "hoopgw could not decide on the operation", "deciding failed")

    def _decided(self, _result: None, waiting: Deferred[None]) -> None:
        """Go on with what the client sent meanwhile."""
        if self._undecided is waiting:
            self._undecided = None
        if self._over or self._undecided is not None:
            return
        self._flush()
        self._client_gate.release(Hold.UNDECIDED)
        if self._buffer:
            self._take_buffer()

    def _run(self, asked: Asked, frame: bytes | memoryview, judged: Judged) -> None:
        """Record the decision on what would run, then do what it says."""
        try:
            self._carry_out(asked, frame, judged)
        except RecorderError as error:
            self._refuse_step(asked.step, refusals.not_recorded(error))

    def _carry_out(self, asked: Asked, frame: bytes | memoryview, judged: Judged) -> None:
        match judged.decision:
            case Allow() if not self._journal.strict:
                self._go(asked, frame, judged, self._journal.allowed(judged, asked))
            case Allow():
                self._flush()
                intent = self._journal.allowed(judged, asked)
                self._wait(self._go_synced(asked, bytes(frame), judged, intent))
            case Deny():
                self._refuse_asked(asked, judged)
            case Review() as review if self._flow.in_transaction:
                denied = refusals.not_in_transaction(review)
                self._refuse_asked(asked, evolve(judged, decision=denied, code="42501"))
            case Review() if judged.copies_in:
                denied = Deny(reason="COPY FROM STDIN cannot be held: its data come later")
                self._refuse_asked(asked, evolve(judged, decision=denied, code="42501"))
            case Review() as review:
                self._flush()
                self._wait(self._hold(asked, bytes(frame), judged, review))

    def _refuse_asked(self, asked: Asked, judged: Judged) -> None:
        self._journal.denied(judged, asked)
        self._refuse_step(asked.step, refusals.refusal(judged))

    def _refuse_step(self, step: Step, error: bytes) -> None:
        if step in (Step.QUERY, Step.RUN):
            self._refuse_query(error)
        else:
            self._refuse(error)

    async def _go_synced(self, asked: Asked, frame: bytes, judged: Judged, intent: int) -> None:
        await self._journal.sync()
        if not self._over:
            self._go(asked, frame, judged, intent)

    def _go(self, asked: Asked, frame: bytes | memoryview, judged: Judged, intent: int) -> None:
        """Forward what was decided and recorded."""
        flow = self._flow
        flow.touched = True
        if judged.touches:
            flow.tainted = True
        running = Running(judged, asked.text, intent, self._journal.now(), None)
        if judged.max_rows is not None:
            self._limit(running, asked, judged)
        work = Work(asked.step, running)
        work.portal = asked.portal
        self._forward(frame, work)
        if asked.step is Step.QUERY:
            flow.end_segment()
        if judged.names:
            self._note_names(judged)
        if judged.copies_in and not flow.failed:
            running.copied = hashlib.sha256()
            self._copying = running
            self._wait(self._copy_begins(running))

    def _limit(self, running: Running, asked: Asked, judged: Judged) -> None:
        """Count rows against the policy's limit over all that one cursor or portal shows."""
        limit = judged.max_rows
        assert limit is not None
        portal = asked.portal
        for statement in judged.facts.statements:
            if statement.kind == "fetch":
                portal = self._flow.portals.find(statement.name.encode())
        running.portal = portal
        running.max_rows = limit if portal is None else max(0, limit - portal.shown)

    async def _hold(self, asked: Asked, frame: bytes, judged: Judged, review: Review) -> None:
        """Ask people, and wait for them."""
        operation = self._journal.operation(judged, asked)
        try:
            intent = self._journal.held(judged, asked, operation.digest)
        except RecorderError as error:
            self._refuse_step(asked.step, refusals.not_recorded(error))
            return
        if asked.step is Step.EXECUTE and not await self._let_go():
            return
        outcome = await self._asking.ask(review, operation)
        self._journal.settled(intent, outcome)
        if self._over:
            return
        if outcome.approved:
            again = await self._judge_again(asked, review)
            if isinstance(again.decision, Deny):
                self._refuse_step(asked.step, refusals.refusal(again))
                return
            self._bind_again(asked)
            await self._go_synced(asked, frame, judged, intent)
            return
        self._refuse_step(asked.step, refusals.of_outcome(outcome))

    async def _let_go(self) -> bool:
        """Give up the locks that Parse and Bind took, before people are asked.

        Returns:
            Whether the segment is sound; if not, the client has got the target's error.

        """
        work = Work(Step.SYNC)
        work.own = True
        self._forward(wire.message(b"S"), work)
        await self._certain()
        return not (self._over or self._flow.failed)

    def _bind_again(self, asked: Asked) -> None:
        portal = asked.portal
        if portal is not None:
            name = portal.frame[5 : portal.frame.index(0, 5)]
            self._forward(portal.frame, Work.naming(Step.BIND, name, portal=portal, own=True))

    async def _judge_again(self, asked: Asked, review: Review) -> Judged:
        """Judge once more when an approval is used: policy may have changed meanwhile."""
        judged = await self._judge.judge(asked.text, self._flow.in_transaction)
        if isinstance(judged.decision, Review):
            wanted = {remedy.rule for remedy in judged.decision.remedies}
            if not wanted <= {remedy.rule for remedy in review.remedies}:
                return self._judge.refused("42501", "the policy asks for more approvals by now")
        return judged

    def _tell(self, notice: bytes) -> None:
        self._answers.inject(notice)

    def cancel(self) -> None:
        """Do what a CancelRequest asks: withdraw what is held, or cancel what runs."""
        if self._asking.is_waiting:
            self._asking.withdraw()
        elif self._flow.pending:
            self._cancel_target()

    # Refusing

    def _refuse_query(self, error: bytes) -> None:
        """Refuse a simple query: the target gets one that fails, and is ready again."""
        text = b'EXECUTE "' + self._impossible + b'"'
        self._forward(wire.query(text), Work.refused(Step.QUERY, error))

    def _refuse(self, error: bytes) -> None:
        """Refuse a message of the extended protocol: the target skips to Sync, and so do we."""
        self._skipping = True
        self._forward(wire.describe(b"S", self._impossible), Work.refused(Step.REFUSED, error))

    def _note_names(self, judged: Judged) -> None:
        """Keep in step with what SQL changes: settings, prepared statements, cursors."""
        self._flow.doubt(judged)
        for statement in judged.facts.statements:
            for setting in statement.settings:
                self._journal.changed(setting.name, setting.value)
                if setting.name == "search_path":
                    self._judge.search_path_changed(schemas_of(setting.value or ""))

    # From the target, and the end

    def from_target(self, data: memoryview) -> None:
        """Take what the target sent."""
        try:
            self._answers.received(data)
        except ProtocolViolationError as error:
            log.warn("ending a session: {error}", error=error)
            self.end("08P01", f"hoopgw ends the session: {error}", str(error))
        except RecorderError as error:
            self.end("58030", f"hoopgw cannot record: {error}", "recorder failed")
        if self._flow.sync_in_copy and self._flow.failed and not self._over:
            self._flow.sync_in_copy = self._flow.failed = self._skipping = False
            self._forward(wire.message(b"S"), Work(Step.SYNC))
            self._flush()
        if len(self._flow.pending) < WORK_LIMIT // 2 and not self._over:
            self._client_gate.release(Hold.PIPELINE)
            if self._buffer and self._undecided is None and len(self._buffer) >= self._need:
                self._take_buffer()

    def client_lost(self) -> None:
        """End: nobody is left to answer."""
        self._finish("the client left" if self._leaving else "the client's connection was lost")

    def target_lost(self) -> None:
        """End, and tell the client, unless the target has said why itself."""
        if self._leaving or self._answers.told_fatal:
            self._finish("the target ended the session")
        else:
            self.end("08006", "the connection to the target was lost", "target lost")

    def cut(self, reason: str) -> None:
        """End from outside (expiry, revocation, shutdown), with what the target is doing for it."""
        if self._flow.pending and not self._over:
            self._cancel_target()
        self.end("57P01", f"terminating connection: {reason}", reason)

    def end(self, code: str, text: str, reason: str) -> None:
        """End with a FATAL error to the client."""
        if not self._over:
            self._answers.inject(wire.report(b"E", "FATAL", code, text))
            self._finish(reason)

    def _finish(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        self._asking.close()
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


class _TargetEnd:
    """What the target's transport delivers to."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def dataReceived(self, data: memoryview) -> None:
        self._session.from_target(data)

    def connectionLost(self, reason: Failure) -> None:
        self._session.target_lost()


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


_BIND: Final = ord("B")
_EXECUTE_SYNC: Final = wire.message(b"E", bytes(5)) + wire.message(b"S")
_RUN_REST: Final = (wire.describe(b"P", b"") + _EXECUTE_SYNC, _EXECUTE_SYNC)
"""What follows a Bind of the unnamed portal when all of it runs at once."""
