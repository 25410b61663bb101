"""What is done with a client's message: judged, recorded, then forwarded, held or refused.

Nothing is forwarded before its decision is recorded, and nothing behind an operation moves while
it is undecided: by the parser, by people, or by a target that has yet to say what a name means.
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

from hoopgw.errors import HoopgwError, RecorderError, UnavailableError
from hoopgw.policy.cures import Cure
from hoopgw.policy.decision import Allow, Deny, Review
from hoopgw.sessions.purses import Purse
from hoopgw.transport import DataTransport
from hoopgw_postgres import refusals, wire
from hoopgw_postgres.asking import Asking
from hoopgw_postgres.flow import Asked, Flow, Prepared, Running, Step, Work
from hoopgw_postgres.funding import price
from hoopgw_postgres.journal import Journal
from hoopgw_postgres.judge import GRANT_OVER, OUTDATED, Judge, Judged, schemas_of
from hoopgw_postgres.watch import PATIENCE, Watch

log = Logger()

_ENDING: Final = (Step.QUERY, Step.SYNC, Step.RUN)


def _too_slow(_result: object, patience: float) -> object:
    raise UnavailableError(f"the target did not answer in {patience:.0f} s")


class Dispatch:
    """One session's way from message to target.

    Args:
        flow: shared with the answers' side.
        target: what is forwarded goes here.
        judge: decides what may run.
        journal: writes the session's records.
        asking: the way to reviewers.
        resume: called when what was undecided is decided.
        end: ends the session with a FATAL error: SQLSTATE, text, reason for the record.
        watch: over what is masked; None if nothing is.
        purse: what operations are paid from; None if there is no budget.

    """

    def __init__(
        self,
        flow: Flow,
        target: DataTransport,
        judge: Judge,
        journal: Journal,
        asking: Asking,
        resume: Callable[[], None],
        end: Callable[[str, str, str], None],
        watch: Watch | None,
        purse: Purse | None,
    ) -> None:
        self._flow = flow
        self._target = target
        self._judge = judge
        self._journal = journal
        self.asking = asking
        self._resume = resume
        self._end = end
        self.out: list[bytes | memoryview] = []
        """What `flush` sends to the target."""
        self.undecided: Deferred[None] | None = None
        """While it is there, nothing more is taken from the client."""
        self.copying: Running | None = None
        """The COPY FROM STDIN that was forwarded last."""
        self._watch = watch
        self._purse = purse
        self._impossible = b"hoopgw_refused_" + secrets.token_hex(8).encode()

    def flush(self) -> None:
        """Send to the target what was let through."""
        out = self.out
        if out:
            self._target.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()

    def forward(self, frame: bytes | memoryview, work: Work) -> None:
        """Let a message through with the next `flush`."""
        if self._flow.failed:
            self._skip(work)
            return
        self._flow.pending.append(work)
        if work.step not in _ENDING:
            self._flow.in_segment = True
        self.out.append(frame)

    def _skip(self, work: Work) -> None:
        """Leave out what the target would skip: it would not be answered."""
        if work.running is not None:
            work.running.outcome = "SKIPPED"
            self._journal.finished(work.running)

    # Deciding

    def decide(
        self,
        text: bytes,
        frame: bytes | memoryview,
        then: Callable[[bytes | memoryview, Judged], None],
    ) -> None:
        """Judge a text; nothing behind it moves meanwhile."""
        looks = self._watch is not None and self._watch.is_due and self._flow.is_quiet
        if not looks:
            judged = self._judge.known(text, self._flow.in_transaction)
            if judged is not None and not judged.refers:
                if not self._ends(judged):
                    then(frame, judged)
                return
        self.flush()
        self._wait(self._decide_slowly(text, bytes(frame), then, looks))

    async def _decide_slowly(
        self,
        text: bytes,
        frame: bytes,
        then: Callable[[bytes | memoryview, Judged], None],
        looks: bool,
    ) -> None:
        judged = await self._look_again() if looks else None
        if judged is None:
            judged = await self._judge.judge(text, self._flow.in_transaction)
        if judged.refers:
            judged = await self._resolve(judged, text)
        if self._flow.over or self._ends(judged):
            return
        self.undecided = None  # `then` may start to wait for people
        then(frame, judged)

    def _ends(self, judged: Judged) -> bool:
        """End the session, with its cursors and portals, if it shows what it may not any more."""
        if judged.code != OUTDATED:
            return False
        assert isinstance(judged.decision, Deny)
        self._end(OUTDATED, judged.decision.reason, "what may be seen has changed")
        return True

    async def _look_again(self) -> Judged | None:
        """Ask whether what is masked is still what it was; return a refusal if nobody knows."""
        watch = self._watch
        assert watch is not None
        for frame, work in watch.messages(self._judge.refused("00000", "nothing")):
            self.forward(frame, work)
        self._flow.end_segment()
        self.flush()
        answered = self._flow.until(lambda: not self._flow.pending)
        await answered.addTimeout(PATIENCE, watch.clock, _too_slow)
        try:
            if not watch.holds():
                self._judge.outdate()
        except UnavailableError as error:
            return self._judge.refused("57P03", str(error))
        return None

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

    def when_certain(self, frame: memoryview, then: Callable[[bytes | memoryview], None]) -> None:
        """Go on when the target has said what a name means."""
        self.flush()
        self._wait(self._then_certain(bytes(frame), then))

    async def _then_certain(self, frame: bytes, then: Callable[[bytes | memoryview], None]) -> None:
        await self._certain()
        if self._flow.over or self._flow.skipping or self._flow.failed:
            return
        self.undecided = None
        then(frame)

    async def _certain(self) -> None:
        """Wait until the target has answered everything."""
        flow = self._flow
        self.flush()
        if flow.pending:
            if flow.pending[-1].step not in (Step.SYNC, Step.QUERY, Step.RUN):
                self._target.write(wire.message(b"H"))
            await flow.until(lambda: not flow.pending)

    async def _copy_begins(self, running: Running) -> None:
        """Wait until the target takes COPY data, or does not; what follows means either."""
        flow, pending = self._flow, self._flow.pending
        self.flush()
        if pending and pending[-1].step is Step.EXECUTE:
            self._target.write(wire.message(b"H"))

        def begun() -> bool:
            return flow.copying_in or all(work.running is not running for work in pending)

        if not begun():
            await flow.until(begun)

    def copy_ended(self) -> None:
        """Note the end of COPY data; of more in the same text it is waited until they are taken."""
        running, self.copying = self.copying, None
        if running is not None and running.copies > 1:
            running.copies -= 1
            self.copying = running
            self._wait(self._copy_begins(running))

    def _wait(self, coroutine: Any) -> None:
        waiting = Deferred.fromCoroutine(coroutine)
        if waiting.called:
            waiting.addErrback(self._broken)
            return
        self.undecided = waiting
        waiting.addErrback(self._broken).addCallback(self._decided, waiting)

    def _broken(self, failure: Failure) -> None:
        if self._flow.over or failure.check(CancelledError):
            return
        if failure.check(HoopgwError) is None:
            log.failure("deciding on an operation failed", failure)
        self._end("58000", "hoopgw could not decide on the operation", "deciding failed")

    def _decided(self, _result: None, waiting: Deferred[None]) -> None:
        """Go on with what the client sent meanwhile."""
        if self.undecided is waiting:
            self.undecided = None
        if self._flow.over or self.undecided is not None:
            return
        self.flush()
        self._resume()

    def run(self, asked: Asked, frame: bytes | memoryview, judged: Judged) -> None:
        """Pay for what would run, record the decision on it, then do what that says."""
        purse = self._purse
        if purse is not None:
            wanted = price(judged, self._flow)
            if wanted and not purse.spend(wanted):
                self.flush()
                self._wait(self._fund(purse.fund(wanted), asked, bytes(frame), judged))
                return
        self._paid(asked, frame, judged)

    async def _fund(
        self, funded: Deferred[str], asked: Asked, frame: bytes, judged: Judged
    ) -> None:
        """Go on when more of a budget was taken, or refuse."""
        epoch = self._judge.epoch
        try:
            short = await funded
            refused = refusals.used_up(short)
        except UnavailableError as error:
            short, refused = str(error), refusals.not_charged(error)
        if self._flow.over:
            return
        self.undecided = None  # it may have to wait for people
        if not short and self._has_ended(judged, epoch):
            short, refused = GRANT_OVER, self._grant_over()
        if not short:
            self._paid(asked, frame, judged)
            return
        self._journal.denied_by_gateway(judged, asked, short)
        self._refuse_step(asked.step, refused)

    def _paid(self, asked: Asked, frame: bytes | memoryview, judged: Judged) -> None:
        try:
            self._carry_out(asked, frame, judged)
        except RecorderError as error:
            self._refuse_step(asked.step, refusals.not_recorded(error))

    def _carry_out(self, asked: Asked, frame: bytes | memoryview, judged: Judged) -> None:
        match judged.decision:
            case Allow() if not (self._journal.strict or judged.strict):
                self._go(asked, frame, judged, self._journal.allowed(judged, asked))
            case Allow():
                self.flush()
                intent = self._journal.allowed(judged, asked)
                self._wait(self._go_synced(asked, bytes(frame), judged, intent))
            case Deny() if judged.is_refused:
                self.refuse_asked(asked, judged)
            case Deny():
                self.flush()
                self._wait(self._use_grant(asked, bytes(frame), judged))
            case Review() as review if self._flow.in_transaction:
                self._refuse_held(asked, judged, refusals.not_in_transaction(review))
            case Review() if judged.copies_in:
                denied = Deny(reason="COPY FROM STDIN cannot be held: its data come later")
                self._refuse_held(asked, judged, denied)
            case Review() as review:
                self.flush()
                self._wait(self._hold(asked, bytes(frame), judged, review))

    async def _use_grant(self, asked: Asked, frame: bytes, judged: Judged) -> None:
        """Run what a grant allows once it is used up, or claimed for this session."""
        found = await self._judge.use(judged, self._journal.operation(judged, asked).digest)
        if self._flow.over:
            return
        try:
            if isinstance(found.decision, Deny):
                self.refuse_asked(asked, found)
                return
            intent = self._journal.allowed(found, asked)
        except RecorderError as error:
            self._refuse_step(asked.step, refusals.not_recorded(error))
            return
        await self._go_synced(asked, frame, found, intent)

    def refuse_asked(self, asked: Asked, judged: Judged) -> None:
        """Record a refusal, and give the client its error."""
        self._journal.denied(judged, asked)
        digest = b""
        if judged.cures and asked.step is not Step.PARSE:
            # A Parse is not the whole call: what is bound to it comes later.
            operation = self._journal.operation(judged, asked)
            self._judge.grants.refused(self._judge.principal, operation)
            digest = operation.digest
        cure = Cure.of(judged, self._journal.target, self._judge.grants.url, digest)
        self._refuse_step(asked.step, refusals.refusal(judged, cure))

    def _refuse_held(self, asked: Asked, judged: Judged, denied: Deny) -> None:
        """Refuse what policy would put before people, where nobody can be asked."""
        self._journal.denied_by_gateway(judged, asked, denied.reason)
        refused = evolve(judged, decision=denied, code="42501")
        self._refuse_step(asked.step, refusals.refusal(refused))

    def _refuse_step(self, step: Step, error: bytes) -> None:
        if step in (Step.QUERY, Step.RUN):
            self.refuse_query(error)
        else:
            self.refuse(error)

    async def _go_synced(self, asked: Asked, frame: bytes, judged: Judged, intent: int) -> None:
        epoch = self._judge.epoch
        try:
            await self._journal.sync()
        except RecorderError as error:
            if not self._flow.over:
                self._refuse_step(asked.step, refusals.not_recorded(error))
            return
        if self._flow.over:
            return
        if self._has_ended(judged, epoch):
            self._refuse_step(asked.step, self._grant_over())
            return
        self._go(asked, frame, judged, intent)

    def _has_ended(self, judged: Judged, epoch: str) -> bool:
        """Whether a grant has ended since; who looked then at what runs did not see it."""
        return self._judge.epoch != epoch and self._judge.is_over(judged)

    def _grant_over(self) -> bytes:
        return refusals.refusal(self._judge.refused("42501", GRANT_OVER))

    def _go(self, asked: Asked, frame: bytes | memoryview, judged: Judged, intent: int) -> None:
        """Forward what was decided and recorded."""
        flow = self._flow
        flow.touched = True
        running = Running(judged, asked.text, intent, self._journal.now(), None)
        if judged.max_rows is not None:
            self._limit(running, asked, judged)
        work = Work(asked.step, running)
        work.portal = asked.portal
        if self._watch is not None and asked.step is Step.EXECUTE:
            self._describe(bytes(frame), running)
        self.forward(frame, work)
        if asked.step is Step.QUERY:
            flow.end_segment()
        if judged.names:
            self._note_names(judged)
        if judged.copies_in and not flow.failed:
            copies = (each.copy for each in judged.facts.statements)
            running.copies = sum(copy is not None and copy.into for copy in copies)
            running.copied = hashlib.sha256()
            self.copying = running
            self._wait(self._copy_begins(running))

    def _describe(self, frame: bytes, running: Running) -> None:
        """Ask where the columns come from, so close before they come that it cannot change."""
        work = Work(Step.DESCRIBE)
        work.own, work.describes = True, running
        self.forward(wire.describe(b"P", frame[5 : frame.index(0, 5)]), work)

    def _limit(self, running: Running, asked: Asked, judged: Judged) -> None:
        """Count rows against the policy's limit over all that one cursor or portal shows."""
        portal = asked.portal
        for statement in judged.facts.statements:
            if statement.kind == "fetch":
                portal = self._flow.portals.find(statement.name.encode())
        running.portal, running.max_rows = portal, judged.max_rows

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
        outcome = await self.asking.ask(review, operation)
        self._journal.settled(intent, outcome)
        if self._flow.over:
            return
        if outcome.approved:
            again = await self._judge_again(asked, review)
            if isinstance(again.decision, Deny):
                self._refuse_step(asked.step, refusals.refusal(again))
                return
            self._judge.note_use(again)
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
        self.forward(wire.message(b"S"), work)
        await self._certain()
        return not (self._flow.over or self._flow.failed)

    def _bind_again(self, asked: Asked) -> None:
        portal = asked.portal
        if portal is not None:
            name = portal.frame[5 : portal.frame.index(0, 5)]
            self.forward(portal.frame, Work.naming(Step.BIND, name, portal=portal, own=True))

    async def _judge_again(self, asked: Asked, review: Review) -> Judged:
        """Judge once more when an approval is used: policy may have changed meanwhile."""
        judged = await self._judge.judge(asked.text, self._flow.in_transaction)
        if isinstance(judged.decision, Review) and not review.covers(judged.decision):
            return self._judge.refused("42501", "the policy asks for more approvals by now")
        return judged

    # Refusing

    def refuse_query(self, error: bytes) -> None:
        """Refuse a simple query: the target gets one that fails, and is ready again."""
        text = b'EXECUTE "' + self._impossible + b'"'
        self.forward(wire.query(text), Work.refused(Step.QUERY, error))

    def refuse(self, error: bytes) -> None:
        """Refuse a message of the extended protocol: the target skips to Sync, and so do we."""
        self._flow.skipping = True
        self.forward(wire.describe(b"S", self._impossible), Work.refused(Step.REFUSED, error))

    def _note_names(self, judged: Judged) -> None:
        """Keep in step with what SQL changes: settings, prepared statements, cursors."""
        self._flow.doubt(judged)
        for statement in judged.facts.statements:
            for setting in statement.settings:
                self._journal.changed(setting.name, setting.value)
                if setting.name == "search_path":
                    self._judge.search_path_changed(schemas_of(setting.value or ""))
