"""One session: what the client asks is judged, and only then goes to the target.

The client's messages are taken one by one, in order. Each that would run something becomes an
operation: allowed, it is recorded and forwarded; held, nothing behind it moves until people have
decided; refused, a message that the target cannot but refuse goes in its place, and the client gets
our error instead of the target's. So the target's own state machine does the rest exactly as ever:
it aborts the transaction, skips to the next Sync, and says what state it is in.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import HoopgwError, ProtocolViolationError, RecorderError, UnavailableError
from hoopgw.policy.decision import Allow, Deny, Review
from hoopgw.sessions.gates import Hold, ReadGate
from hoopgw.spi import OpenTarget, PendingReview, ReviewOutcome
from hoopgw.transport import DataTransport
from hoopgw_postgres import refusals, wire
from hoopgw_postgres.answers import Answers, Masks
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
        self._reviews = reviews
        self._masked = masks is not None
        self._on_over = on_over
        self._flow = Flow()
        self._answers = Answers(self._flow, client.write, masks, journal.finished, opened.cancel)
        self._client_gate = ReadGate(client)
        self._target_gate = ReadGate(self._target)
        self._buffer = bytearray()
        self._out: list[bytes | memoryview] = []
        self._undecided: Deferred[None] | None = None
        self._asked: PendingReview | None = None
        self._answered: Deferred[ReviewOutcome] | None = None
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
        if self._undecided is not None or self._buffer:
            self._buffer += data
            if self._undecided is not None:
                if len(self._buffer) > WAITING_LIMIT:
                    self._client_gate.hold(Hold.UNDECIDED)
                return
            data = memoryview(bytes(self._buffer))
            self._buffer.clear()
        self._take(data)

    def _take(self, data: memoryview) -> None:
        at, size = 0, len(data)
        try:
            if self._quick and size > 5 and data[0] == _BIND:
                at = self._run_whole(data)
            if self._flow.failed:
                self._skipping = True
            while size - at >= 5 and self._undecided is None and not self._over:
                length = int.from_bytes(data[at + 1 : at + 5], "big")
                if not 4 <= length <= MESSAGE_LIMIT:
                    raise ProtocolViolationError("invalid message length")
                end = at + 1 + length
                if end > size:
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
        prepared = flow.statements.get(bound.statement)
        if prepared is None or bound.portal:
            return 0
        judged = self._judge.known(prepared.text, False)
        if judged is None or judged.executes or not isinstance(judged.decision, Allow):
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
            if len(self._flow.pending) >= WORK_LIMIT:
                raise ProtocolViolationError("too many messages without reading answers")
            self._flow.pending.append(work)
        self._out.append(frame)

    def _skip(self, work: Work) -> None:
        """Leave out what the target would skip: it would not be answered."""
        self._flow.dropped(work)
        if work.running is not None:
            work.running.outcome = "SKIPPED"
            self._journal.finished(work.running)

    def _query(self, frame: memoryview) -> None:
        text = wire.parse_query(frame[5:])
        if self._skipping:
            return  # PostgreSQL too reads over a Query before the Sync
        self._if_copying()
        if len(text) > refusals.STATEMENT_LIMIT:
            self._refuse_query(refusals.too_long())
            return
        asked = Asked(Step.QUERY, text, b"")
        self._decide(text, frame, lambda frame, judged: self._run(asked, frame, judged))

    def _parse(self, frame: memoryview) -> None:
        parsed = wire.parse_parse(frame[5:])
        if self._skipping:
            return
        self._if_copying()
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
        prepared = Prepared(
            parsed.text, judged, b"".join(kind.to_bytes(4, "big") for kind in parsed.types)
        )
        self._flow.parsing[parsed.name] = prepared
        self._forward(frame, Work.naming(Step.PARSE, parsed.name, prepared))
        if self._masked:
            self._describe_for_us(prepared, parsed.name)

    def _describe_for_us(self, prepared: Prepared, name: bytes) -> None:
        """Learn where the columns come from, though the client may not ask."""
        work = Work.naming(Step.DESCRIBE, prepared=prepared)
        work.own = True
        self._forward(wire.describe(b"S", name), work)

    def _bind(self, frame: memoryview) -> None:
        bound = wire.parse_bind(frame[5:])
        if self._skipping:
            return
        self._if_copying()
        prepared = self._flow.statement(bound.statement)
        if prepared is None:
            name = bound.statement.decode("utf-8", "replace")
            self._refuse(refusals.error("26000", f'prepared statement "{name}" does not exist'))
            return
        if len(self._flow.portals) >= NAMES_LIMIT:
            raise ProtocolViolationError("too many portals")
        if self._masked and not prepared.protocol_made:
            self._describe_for_us(prepared, bound.statement)
        names = len(bound.portal) + len(bound.statement) + 2
        portal = Portal(prepared, bytes(frame[5 + names :]), bound.result_formats)
        self._flow.binding[bound.portal] = portal
        self._forward(frame, Work.naming(Step.BIND, bound.portal, portal=portal))

    def _describe(self, frame: memoryview) -> None:
        named = wire.parse_named(frame[5:])
        if self._skipping:
            return
        self._if_copying()
        prepared = self._flow.statement(named.name) if named.kind == b"S" else None
        self._forward(frame, Work.naming(Step.DESCRIBE, prepared=prepared))

    def _execute(self, frame: memoryview) -> None:
        execute = wire.parse_execute(frame[5:])
        if self._skipping:
            return
        self._if_copying()
        portal = self._flow.portal(execute.portal)
        if portal is None:
            name = execute.portal.decode("utf-8", "replace")
            self._refuse(refusals.error("34000", f'portal "{name}" does not exist'))
            return
        prepared = portal.prepared
        asked = Asked(
            Step.EXECUTE, prepared.text, prepared.types + portal.parameters, portal, prepared
        )
        self._decide(prepared.text, frame, lambda frame, judged: self._run(asked, frame, judged))

    def _close(self, frame: memoryview) -> None:
        named = wire.parse_named(frame[5:])
        if self._skipping:
            return
        self._if_copying()
        if named.kind == b"S":
            prepared = self._flow.statement(named.name)
            self._flow.statements.pop(named.name, None)
            self._flow.parsing.pop(named.name, None)
            self._forward(frame, Work.naming(Step.CLOSE, named.name, prepared))
        else:
            self._flow.portals.pop(named.name, None)
            self._flow.binding.pop(named.name, None)
            self._forward(frame, Work(Step.CLOSE))

    def _sync(self, frame: memoryview) -> None:
        if len(frame) != 5:
            raise ProtocolViolationError("invalid message format")
        self._skipping = self._flow.failed = False
        if self._flow.copying_in:
            self._out.append(frame)  # the server ignores it
        else:
            self._forward(frame, Work(Step.SYNC))

    def _flush_message(self, frame: memoryview) -> None:
        if len(frame) != 5:
            raise ProtocolViolationError("invalid message format")
        if not self._skipping:
            self._out.append(frame)

    def _copy_data(self, frame: memoryview) -> None:
        # Outside a copy the server drops these: they are left over from one that failed.
        self._out.append(frame)

    def _copy_end(self, frame: memoryview) -> None:
        self._flow.copying_in = False
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

    def _if_copying(self) -> None:
        if self._flow.copying_in:
            raise ProtocolViolationError("unexpected message type during COPY from stdin")

    # Deciding

    def _decide(
        self,
        text: bytes,
        frame: memoryview,
        then: Callable[[bytes | memoryview, Judged], None],
    ) -> None:
        """Judge a text; nothing behind it moves meanwhile."""
        judged = self._judge.known(text, self._flow.in_transaction)
        if judged is not None and not judged.executes:
            then(frame, judged)
            return
        self._flush()
        self._wait(self._decide_slowly(text, bytes(frame), then))

    async def _decide_slowly(
        self, text: bytes, frame: bytes, then: Callable[[bytes | memoryview, Judged], None]
    ) -> None:
        judged = await self._judge.judge(text, self._flow.in_transaction)
        for name in judged.executes:
            prepared = self._flow.statement(name.encode())
            if prepared is None:
                reason = f'prepared statement "{name}" does not exist'
                judged = judged.together(self._judge.refused("26000", reason))
                continue
            # What SQL's EXECUTE runs is judged, and digested, by the text that was prepared.
            inner = await self._judge.judge(prepared.text, self._flow.in_transaction)
            together = judged.together(inner)
            judged = evolve(together, executed=judged.executed + prepared.text + b"\0")
        self._undecided = None  # `then` may start to wait for people
        then(frame, judged)

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
            data = memoryview(bytes(self._buffer))
            self._buffer.clear()
            self._take(data)

    def _run(self, asked: Asked, frame: bytes | memoryview, judged: Judged) -> None:
        """Record the decision on what would run, then do what it says."""
        try:
            self._carry_out(asked, frame, judged)
        except RecorderError as error:
            text = f"not run, because it cannot be recorded: {error}"
            hint = "The operators must make room or start the recorder; then try again."
            self._refuse_step(asked.step, refusals.error("58030", text, hint=hint))

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
        decision = judged.decision
        limit = None if isinstance(decision, Deny) else decision.max_rows
        running = Running(judged, intent, self._journal.now(), limit)
        work = Work(asked.step, running)
        work.portal = asked.portal
        self._forward(frame, work)
        if judged.names:
            self._note_names(judged, asked.text)

    async def _hold(self, asked: Asked, frame: bytes, judged: Judged, review: Review) -> None:
        """Ask people, and wait for them."""
        operation = self._journal.operation(judged, asked)
        try:
            intent = self._journal.held(judged, asked, operation.digest)
        except RecorderError as error:
            text = f"not run, because it cannot be recorded: {error}"
            self._refuse_step(asked.step, refusals.error("58030", text))
            return
        outcome = await self._ask(review, operation)
        self._journal.settled(intent, outcome)
        if self._over:
            return
        if outcome.approved:
            again = await self._judge_again(asked, review)
            if isinstance(again.decision, Deny):
                self._refuse_step(asked.step, refusals.refusal(again))
            else:
                await self._go_synced(asked, frame, judged, intent)
            return
        code = "57014" if outcome.outcome == "withdrawn" else "42501"
        self._refuse_step(
            asked.step,
            refusals.error(code, refusals.not_approved(outcome), hint=refusals.how(outcome)),
        )

    async def _judge_again(self, asked: Asked, review: Review) -> Judged:
        """Judge once more when an approval is used: policy may have changed meanwhile."""
        judged = await self._judge.judge(asked.text, self._flow.in_transaction)
        if isinstance(judged.decision, Review):
            wanted = {remedy.rule for remedy in judged.decision.remedies}
            if not wanted <= {remedy.rule for remedy in review.remedies}:
                return self._judge.refused("42501", "the policy asks for more approvals by now")
        return judged

    async def _ask(self, review: Review, operation: Any) -> ReviewOutcome:
        try:
            asked: PendingReview = await self._reviews.ask(
                self._judge.principal, self._journal.session, operation, review
            )
        except UnavailableError as error:
            return ReviewOutcome(
                approved=False, request="", outcome="denied", reason=f"nobody can be asked: {error}"
            )
        if self._over:
            asked.withdraw()
            return refusals.withdrawn(asked.request)
        self._asked = asked
        self._answered = Deferred()
        asked.settled.addCallbacks(self._review_settled, self._review_settled)
        self._answers.inject(refusals.notice(asked.request, review))
        try:
            return await self._answered
        finally:
            self._asked = self._answered = None

    def _review_settled(self, outcome: ReviewOutcome | Failure) -> None:
        answered = self._answered
        if answered is None or answered.called:
            return
        if isinstance(outcome, Failure):
            reason = "the review was lost"
            outcome = ReviewOutcome(approved=False, request="", outcome="denied", reason=reason)
        answered.callback(outcome)

    def cancel(self) -> None:
        """Do what a CancelRequest asks: withdraw what is held, or cancel what runs."""
        if self._asked is not None:
            self._withdraw()
        elif self._flow.pending:
            self._cancel_target()

    def _withdraw(self) -> None:
        asked, answered = self._asked, self._answered
        if asked is not None and answered is not None and not answered.called:
            answered.callback(
                refusals.withdrawn(asked.request)
            )  # first: to withdraw settles at once
            asked.withdraw()

    # Refusing

    def _refuse_query(self, error: bytes) -> None:
        """Refuse a simple query: the target gets one that fails, and is ready again."""
        text = b'EXECUTE "' + self._impossible + b'"'
        self._forward(wire.query(text), Work.refused(Step.QUERY, error))

    def _refuse(self, error: bytes) -> None:
        """Refuse a message of the extended protocol: the target skips to Sync, and so do we."""
        self._skipping = True
        self._forward(wire.describe(b"S", self._impossible), Work.refused(Step.REFUSED, error))

    def _note_names(self, judged: Judged, text: bytes) -> None:
        """Keep in step what SQL changes: settings, prepared statements, cursors."""
        for statement in judged.facts.statements:
            name = statement.name.encode()
            if statement.kind == "prepare":
                prepared = Prepared(text, judged, protocol_made=False)
                self._flow.statements[name] = prepared
            elif statement.kind == "deallocate":
                if name:
                    self._flow.statements.pop(name, None)
                else:
                    self._flow.statements.clear()
            elif statement.kind == "discard":
                self._flow.statements.clear()
                self._flow.portals.clear()
            elif statement.kind == "declare":
                self._flow.portals.pop(name, None)
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
        self._withdraw()
        for work in self._flow.pending:
            if work.running is not None:
                work.running.outcome = work.running.outcome or "LOST"
                self._journal.finished(work.running)
        self._flow.pending.clear()
        self._journal.ended(reason)
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
