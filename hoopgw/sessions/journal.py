"""The records of one session, in order and without a gap.

Requests of one session may run side by side: each record that follows an intent names it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from hoopgw.errors import RecorderError
from hoopgw.events import Access, ContextValue, Operation, Principal, Resource
from hoopgw.grants.held import HeldGrant
from hoopgw.policy.decision import Allow, Decision, Deny, Hidden, Review, Sight, Verdict
from hoopgw.recording.inputs import InputBook, NotedGrants, NotedInput, hop_records
from hoopgw.recording.records import (
    Intent,
    Record,
    Result,
    ReviewSettled,
    SessionEnded,
    SessionStarted,
    encode,
)
from hoopgw.recording.verdicts import AskedAs
from hoopgw.spi import Recorder, ReviewOutcome

BODY_LIMIT: Final = 65_536
"""Bytes of what comes with a request that are kept; the digest covers all."""
OUTPUT_LIMIT: Final = 65_536
"""Bytes of an answer that are kept, as the client got them."""
NOT_SENT: Final = "FAILED: it was not sent"
"""How a request came out that was allowed, and then not passed on."""
_BEFORE: Final = 2
"""Elements of an encoded record before its sequence and time."""
_DECISIONS: Final = {Allow: "allow", Review: "review", Deny: "deny"}


class Asked(Protocol):
    """What is decided and recorded: an operation, and what comes with it."""

    @property
    def operation(self) -> Operation:
        """The operation; its digest covers all that will be sent, if it can be held."""
        ...

    @property
    def kept(self) -> bytes:
        """What the recording keeps besides its text: a request's body, without secrets."""
        ...

    @property
    def shown(self) -> Operation:
        """The operation as people are shown it who are asked about it."""
        ...


@frozen(kw_only=True)
class Opening:
    """What is known of a session when it starts."""

    session: str
    protocol: str
    target: str
    account: str
    principal: Principal
    method: str
    """How the principal proved itself."""
    address: str
    agent: str


@frozen(kw_only=True)
class Answered:
    """How something that was passed on came out."""

    outcome: str
    """In the target's own words, as ``200 OK``; or why there was no whole answer."""
    masked: int = 0
    sent: int = 0
    output: bytes = field(default=b"", repr=False)
    received: int = 0
    """Bytes that were streamed to the target."""
    received_digest: bytes = b""


@frozen
class IntentForm:
    """The encoding of intents that are alike, in the parts that are the same for all of them."""

    asked: bytes
    """Names what policy was asked; must be in the log, and lately."""
    head: bytes = field(repr=False)
    """Before sequence and time."""
    tail: bytes = field(repr=False)


@define(eq=False)
class SessionJournal:
    """Writes one session's records."""

    _recorder: Recorder
    _opening: Opening
    _inputs: InputBook
    """What the worker's sessions were judged by."""
    _sequence: int = field(default=0, init=False)
    _ended: bool = field(default=False, init=False)

    def sync(self) -> Deferred[None]:
        """Fire when what was written survives a power loss."""
        return self._recorder.sync()

    def started(self) -> None:
        """Write that the session begins."""
        opening = self._opening
        principal = opening.principal
        self._write(
            SessionStarted(
                opening.session,
                self._sequence,
                time.time_ns(),
                opening.protocol,
                opening.target,
                opening.account,
                hop_records(principal),
                principal.session,
                opening.method,
                opening.address,
                opening.agent,
                sorted(principal.origin.persons),
                dict(principal.origin.attributes),
                principal.proved,
            )
        )

    def connected(
        self,
        accesses: Sequence[Access],
        context: Mapping[str, ContextValue],
        verdict: Verdict,
    ) -> None:
        """Write what policy said of the session itself."""
        self._put_off(self._asked_as(accesses, context, verdict).session_judged(verdict))

    def shown(self, see: str, sights: Mapping[Resource, Sight | Hidden], verdict: Verdict) -> None:
        """Write how policy shows fields of an answer, asked together with a verdict.

        Args:
            see: the Cedar action: ``Azure::see``.
            sights: of each field.
            verdict: on the request.

        """
        fields = [Access(action=see, resource=each) for each in sights]
        self._put_off(self._asked_as(fields, {}, verdict).fields_shown(sights.values(), verdict))

    def intent(
        self, wanted: Asked, verdict: Verdict, decision: Decision, because: Sequence[str]
    ) -> int:
        """Write what was decided about a request; return its sequence.

        Args:
            wanted: what is asked for.
            verdict: what policy said.
            decision: what was made of it.
            because: which policies decided.

        Raises:
            RecorderError: it cannot be kept.

        """
        operation, now = wanted.operation, time.time_ns()
        asked = self._note(operation.accesses, operation.context, now)
        granted = self._note_grants(verdict.held, now)
        return self._write(self._intent(wanted, verdict, decision, because, now, asked, granted))

    def refused(self, wanted: Asked, reason: str) -> int:
        """Write that something is refused without asking policy; return its sequence.

        Raises:
            RecorderError: it cannot be kept.

        """
        decision = Deny(reason=reason)
        verdict = Verdict(decision=decision)
        now = time.time_ns()
        return self._write(self._intent(wanted, verdict, decision, (), now, b"", b""))

    def form(self, wanted: Asked, verdict: Verdict) -> IntentForm | None:
        """Return the form of intents on a request that policy plainly allows; None: it has none.

        No grant is a part of it.
        """
        operation = wanted.operation
        noted = NotedInput.of(operation.accesses, operation.context)
        if noted is None or verdict.held:
            return None
        decision, because = verdict.decision, verdict.because
        intent = self._intent(wanted, verdict, decision, because, 0, noted.id, b"", 0)
        encoded = encode(intent)
        parts = msgspec.msgpack.decode(encoded)
        tail = b"".join(map(msgspec.msgpack.encode, parts[_BEFORE + 2 :]))
        # Sequence and time are 0 here, which is one byte each.
        return IntentForm(noted.id, encoded[: len(encoded) - len(tail) - 2], tail)

    def intent_like(self, form: IntentForm) -> int | None:
        """Write an intent on another request of the same form; return its sequence.

        None, and nothing is written, if what policy was asked must be written again, too.

        Raises:
            RecorderError: it cannot be kept.

        """
        now, sequence = time.time_ns(), self._sequence
        if not self._inputs.is_written(form.asked, now):
            return None
        pack = msgspec.msgpack.encode
        self._recorder.write_allowed(form.head + pack(sequence) + pack(now) + form.tail)
        self._sequence = sequence + 1
        return sequence

    def _intent(
        self,
        wanted: Asked,
        verdict: Verdict,
        decision: Decision,
        because: Sequence[str],
        now: int,
        asked: bytes,
        granted: bytes,
        sequence: int | None = None,
    ) -> Intent:
        operation = wanted.operation
        word, said = _DECISIONS[type(decision)], _DECISIONS[type(verdict.decision)]
        kept = wanted.kept
        return Intent(
            self._opening.session,
            self._sequence if sequence is None else sequence,
            now,
            operation.action,
            [access.resource.id for access in operation.accesses],
            operation.text.encode("utf-8", "surrogateescape"),
            kept[:BODY_LIMIT],
            operation.digest,
            word,
            list(because),
            verdict.policy,
            decision.reason if isinstance(decision, Deny) else "",
            len(kept) if len(kept) > BODY_LIMIT else 0,
            asked,
            verdict.now,
            0,
            said if asked and said != word else "",
            granted,
        )

    def settled(self, intent: int, outcome: ReviewOutcome) -> None:
        """Write how a review ended."""
        self._write(
            ReviewSettled(
                self._opening.session,
                self._sequence,
                time.time_ns(),
                intent,
                outcome.request,
                outcome.outcome,
                list(outcome.voters),
            )
        )

    def finished(self, intent: int, started: int, answered: Answered) -> None:
        """Note how a request came out; it is written with the next intent, or soon.

        ``started`` is when it was passed on, in nanoseconds since the epoch.
        """
        now = time.time_ns()
        self._put_off(
            Result(
                self._opening.session,
                self._sequence,
                now,
                intent,
                answered.outcome,
                0,
                answered.masked,
                answered.sent,
                answered.output,
                now - started,
                answered.received,
                answered.received_digest,
            )
        )

    def came_out(
        self, intent: int, started: int, outcome: str, masked: int, sent: int, output: bytes
    ) -> None:
        """Note, as `finished`, how a request came out that had no body."""
        now = time.time_ns()
        session, sequence = self._opening.session, self._sequence
        took = now - started
        result = Result(session, sequence, now, intent, outcome, 0, masked, sent, output, took)
        self._recorder.put_off_encoded(encode(result))
        self._sequence = sequence + 1

    @property
    def session(self) -> str:
        """The session's id."""
        return self._opening.session

    def note(self, make: Callable[[int, int], Record]) -> int:
        """Keep a record that ``make`` gives for a sequence and a time; return its sequence.

        It is written with the next one, or soon. What contents of the session are noted by:
        `hoopgw.recording.contents.SessionNotes`.

        Raises:
            RecorderError: it cannot be kept, or the session has ended.

        """
        if self._ended:
            raise RecorderError("the session has ended")
        sequence = self._sequence
        self._put_off(make(sequence, time.time_ns()))
        return sequence

    def ended(self, reason: str) -> None:
        """Write that the session is over."""
        if not self._ended and self._sequence:  # what was cut while it was opened never began
            self._ended = True
            self._put_off(
                SessionEnded(self._opening.session, self._sequence, time.time_ns(), reason)
            )

    def _asked_as(
        self, accesses: Sequence[Access], context: Mapping[str, ContextValue], verdict: Verdict
    ) -> AskedAs:
        now = time.time_ns()
        noted = self._note(accesses, context, now), self._note_grants(verdict.held, now)
        return AskedAs(self._opening.session, self._sequence, now, *noted)

    def _note(
        self, accesses: Sequence[Access], context: Mapping[str, ContextValue], now: int
    ) -> bytes:
        noted = NotedInput.of(accesses, context)
        if noted is None:
            return b""
        if not self._inputs.is_written(noted.id, now):
            self._put_off(noted.record(self._opening.session, self._sequence, now))
            self._inputs.wrote(noted.id)
        return noted.id

    def _note_grants(self, held: Sequence[HeldGrant], now: int) -> bytes:
        if not held:
            return b""
        noted = NotedGrants.of(held)
        if not self._inputs.is_written(noted.id, now):
            self._put_off(noted.record(self._opening.session, self._sequence, now))
            self._inputs.wrote(noted.id)
        return noted.id

    def _write(self, record: Record) -> int:
        """Keep the next record; return its sequence. A refused record leaves no gap."""
        self._recorder.write(record)
        self._sequence += 1
        return record.sequence

    def _put_off(self, record: Record) -> None:
        self._recorder.put_off_encoded(encode(record))
        self._sequence += 1
