"""The records of one PostgreSQL session, in order and without a gap.

What is written for an operation says all that was sent: text, bound values, and, through the
digest, who asked, where, and under which settings.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import field, frozen
from twisted.internet.defer import Deferred

from hoopgw.events import (
    DIGEST_DOMAIN,
    Access,
    ContextValue,
    Operation,
    Principal,
    Resource,
    encode_part,
)
from hoopgw.grants.held import HeldGrant
from hoopgw.policy.decision import Allow, Deny, Hidden, Review, Sight, Verdict
from hoopgw.recording.inputs import InputBook, NotedGrants, NotedInput, hop_records
from hoopgw.recording.records import (
    Intent,
    Record,
    Result,
    ReviewSettled,
    SessionEnded,
    SessionStarted,
    TextDefined,
    template,
)
from hoopgw.recording.verdicts import AskedAs
from hoopgw.spi import Recorder, ReviewOutcome
from hoopgw.terminal import printable_bytes
from hoopgw_postgres.bound import bound_values
from hoopgw_postgres.flow import Asked, Prepared, Running
from hoopgw_postgres.judge import Judged

PARAMETERS_LIMIT: Final = 65_536
"""Bytes of bound values that are kept; the digest covers all."""
_NOTED_LIMIT: Final = 2000
"""Judgements whose input is known by name."""
_FORMS_LIMIT: Final = 256
"""Judgements whose intents have a form."""
_DECISIONS: Final = {Allow: "allow", Review: "review", Deny: "deny"}
_WIDTH: Final = 20_000
"""Bytes of one bound value that reviewers see."""
_COUNT: Final = 1_000
"""Bound values that reviewers see."""
_LENGTH: Final = struct.Struct(">Q").pack


@frozen(kw_only=True)
class Opening:
    """What is known of a session when it starts."""

    session: str
    target: str
    database: str
    account: str
    principal: Principal
    method: str
    address: str
    agent: str


@frozen
class IntentForm:
    """The encoding of intents on one judgement, in the parts that are the same for all of them."""

    until: int
    """Nanoseconds since the epoch; then it has to be made anew."""
    head: bytes = field(repr=False)
    """Before sequence and time."""
    middle: bytes = field(repr=False)
    """Before text, parameters and digest."""
    tail: bytes = field(repr=False)


class Journal:
    """Writes one session's records.

    Args:
        recorder: of the worker.
        opening: the session.
        strict: whether the target asks that intents survive a power loss before they run.
        settings: that the session started with.
        inputs: what the worker's sessions were judged by.

    """

    def __init__(
        self,
        recorder: Recorder,
        opening: Opening,
        strict: bool,
        settings: dict[str, str],
        inputs: InputBook,
    ) -> None:
        self.session = opening.session
        self.target = opening.target
        self.strict = strict
        self._recorder = recorder
        self._opening = opening
        self._settings: dict[str, str | None] = dict(settings)
        self.sequence = 0
        """Of the next record."""
        self._texts = 0
        self._inputs = inputs
        self._noted: dict[Judged, tuple[bytes, bytes]] = {}
        self._noted_until = 0
        self._fixed = self._fixed_part()
        self.state = self._begin()
        """Hash of what is the same for all operations under the present settings."""
        self.forms: dict[Judged, IntentForm] = {}
        self._ended = False

    def now(self) -> int:
        """Return nanoseconds since the epoch."""
        return time.time_ns()

    def sync(self) -> Deferred[None]:
        """Fire when what was written survives a power loss."""
        return self._recorder.sync()

    def started(self) -> None:
        """Write that the session begins."""
        opening = self._opening
        hops = hop_records(opening.principal)
        self._recorder.write(
            SessionStarted(
                self.session,
                self._next(),
                self.now(),
                "postgres",
                opening.target,
                opening.account,
                hops,
                opening.principal.session,
                opening.method,
                opening.address,
                opening.agent,
                sorted(opening.principal.origin.persons),
                dict(opening.principal.origin.attributes),
                opening.principal.proved,
            )
        )

    def changed(self, name: str, value: str | None) -> None:
        """Note a setting that the session changed; it is a part of every later digest."""
        self._settings[name] = value
        self.state = self._begin()

    def connected(self, operation: Operation, verdict: Verdict) -> None:
        """Write what policy said of the session itself."""
        asked = self._asked_as(operation.accesses, operation.context, verdict)
        self._put_off(asked.session_judged(verdict))

    def shown(self, sights: Mapping[Resource, Sight | Hidden], verdict: Verdict) -> None:
        """Write how policy shows what is classified, asked together with a verdict."""
        fields = [Access(action="Postgres::see", resource=each) for each in sights]
        self._put_off(self._asked_as(fields, {}, verdict).fields_shown(sights.values(), verdict))

    def plain(
        self, judged: Judged, text: bytes, parameters: bytes, prepared: Prepared | None
    ) -> tuple[int, int]:
        """Write the intent of a small operation that runs at once, as `allowed` does.

        ``parameters`` fit into `PARAMETERS_LIMIT`. Returns its sequence and time.
        """
        named: bytes | int = text
        if prepared is not None:
            named = prepared.number or self.text_number(prepared)
        state = self.state.copy()
        state.update(_LENGTH(len(text)) + text + _LENGTH(len(parameters)) + parameters)
        now = time.time_ns()
        asked = self._noted.get(judged) if now < self._noted_until else None
        if asked is None:
            asked = self._noted_anew(judged, now)
        sequence = self.sequence
        self._recorder.write(
            self._plain_intent(judged, sequence, now, named, parameters, state.digest(), asked)
        )
        self.sequence = sequence + 1
        return sequence, now

    def _plain_intent(
        self,
        judged: Judged,
        sequence: int,
        now: int,
        text: bytes | int,
        parameters: bytes,
        digest: bytes,
        noted: tuple[bytes, bytes],
    ) -> Intent:
        return Intent(
            self.session,
            sequence,
            now,
            judged.action,
            judged.resources,
            text,
            parameters,
            digest,
            "allow",
            judged.because,
            judged.policy,
            "",
            0,
            noted[0],
            judged.decided,
            0,
            "",
            noted[1],
        )

    # For the compiled short way, which packs records by itself

    def form(self, judged: Judged, now: int) -> IntentForm:
        """Return the form of the intents that `plain` writes, after what they refer to."""
        noted, granted = self._noted_anew(judged, now)
        like = self._plain_intent(judged, 0, now, b"", b"", b"", (noted, granted))
        head, between, middle, *others, tail = template(
            like, "sequence", "at", "text", "parameters", "digest"
        )
        assert not any((between, *others))  # they stand next to each other
        form = IntentForm(self._noted_until, head, middle, tail)
        if len(self.forms) >= _FORMS_LIMIT:
            self.forms.clear()
        self.forms[judged] = form
        return form

    def result_form(self) -> tuple[bytes, bytes]:
        """Return what begins and ends the encoding of a plain result.

        Between them are sequence, time, intent, outcome, rows, 0, sent, output and duration.
        """
        like = Result(self.session, 0, 0, 0, "", 0, 0, 0, b"", 0)
        names = "sequence", "at", "intent", "outcome", "rows", "masked", "sent", "output"
        head, *others, tail = template(like, *names, "duration")
        assert not any(others)
        return head, tail

    def writers(self) -> tuple[Callable[[bytes], None], Callable[[bytes], None]]:
        """Return what keeps an encoded intent that is allowed, and what puts off a result."""
        return self._recorder.write_allowed, self._recorder.put_off_encoded

    def allowed(self, judged: Judged, asked: Asked) -> int:
        """Write the intent of an operation that runs at once; return its sequence."""
        return self._intent(judged, asked, "allow")

    def denied(self, judged: Judged, asked: Asked) -> int:
        """Write a refusal."""
        decision = judged.decision
        reason = decision.reason if isinstance(decision, Deny) else ""
        return self._intent(judged, asked, "deny", reason)

    def denied_by_gateway(self, judged: Judged, asked: Asked, reason: str) -> int:
        """Write that what policy would allow, or put before people, is refused all the same."""
        return self._intent(judged, asked, "deny", reason)

    def held(self, judged: Judged, asked: Asked, digest: bytes) -> int:
        """Write that an operation waits for people."""
        return self._intent(judged, asked, "review", digest=digest)

    def settled(self, intent: int, outcome: ReviewOutcome) -> None:
        """Write how a review ended."""
        self._recorder.write(
            ReviewSettled(
                self.session,
                self._next(),
                self.now(),
                intent,
                outcome.request,
                outcome.outcome,
                list(outcome.voters),
            )
        )

    def finished(self, running: Running) -> None:
        """Note an operation's result; it is written with the next intent, or soon."""
        if running.own:
            return
        now = time.time_ns()
        output = running.output
        sequence = self.sequence
        self.sequence = sequence + 1
        self._recorder.put_off(
            Result(
                self.session,
                sequence,
                now,
                running.intent,
                running.outcome,
                running.rows,
                running.masked,
                running.sent,
                output[0] if len(output) == 1 else b"".join(output),
                now - running.started,
                running.received,
                b"" if running.copied is None else running.copied.digest(),
            )
        )

    def ended(self, reason: str) -> None:
        """Write that the session is over."""
        if not self._ended:
            self._ended = True
            self._recorder.put_off(SessionEnded(self.session, self._next(), self.now(), reason))

    def operation(self, judged: Judged, asked: Asked) -> Operation:
        """Describe what would run, for reviewers: with what it names, and what is bound to it."""
        # Before the text: what a client writes there comes after what we say.
        notes = [
            f"bound: {each}" for each in bound_values(asked.parameters, width=_WIDTH, count=_COUNT)
        ]
        named = filter(None, judged.executed.split(b"\0"))
        notes += [f"executes: {printable_bytes(each)}" for each in named]
        text = asked.text.decode("utf-8", "replace")
        return Operation(
            protocol="postgres",
            target=self._opening.target,
            action=judged.action,
            accesses=judged.accesses,
            text="\n".join([*(f"-- {note}" for note in notes), text]),
            context=judged.context,
            digest=self._digest(judged, asked),
        )

    def _intent(
        self,
        judged: Judged,
        asked: Asked,
        decision: str,
        reason: str = "",
        digest: bytes | None = None,
    ) -> int:
        text: bytes | int = asked.text
        if asked.prepared is not None:
            text = self.text_number(asked.prepared)
        parameters = asked.parameters
        size = len(parameters)
        now = time.time_ns()
        noted, granted = self._noted_anew(judged, now)
        policy_said = _DECISIONS[type(judged.decision)]
        sequence = self.sequence
        self._recorder.write(
            Intent(
                self.session,
                sequence,
                now,
                judged.action,
                judged.resources,
                text,
                parameters if size <= PARAMETERS_LIMIT else parameters[:PARAMETERS_LIMIT],
                digest or self._digest(judged, asked),
                decision,
                judged.because,
                judged.policy,
                reason,
                size if size > PARAMETERS_LIMIT else 0,
                noted,
                judged.decided,
                judged.max_rows or 0,
                policy_said if noted and policy_said != decision else "",
                granted,
            )
        )
        self.sequence = sequence + 1  # not before it is kept: a refused record leaves no gap
        return sequence

    def _noted_anew(self, judged: Judged, now: int) -> tuple[bytes, bytes]:
        """Return the names of what policy judged, and of what was held, after writing them."""
        if not judged.is_asked:
            return b"", b""
        inputs = self._inputs
        fresh = now < self._noted_until == inputs.until
        noted = self._noted.get(judged) if fresh else None
        if noted is None:
            asked = self._note(judged.accesses, judged.context, now)
            noted = asked, self._note_grants(judged.held, now)
            if self._noted_until != inputs.until or len(self._noted) >= _NOTED_LIMIT:
                self._noted.clear()
                self._noted_until = inputs.until
            self._noted[judged] = noted
        return noted

    def _asked_as(
        self, accesses: Sequence[Access], context: Mapping[str, ContextValue], verdict: Verdict
    ) -> AskedAs:
        now = self.now()
        noted = self._note(accesses, context, now), self._note_grants(verdict.held, now)
        return AskedAs(self.session, self.sequence, now, *noted)

    def _note(
        self, accesses: Sequence[Access], context: Mapping[str, ContextValue], now: int
    ) -> bytes:
        noted = NotedInput.of(accesses, context)
        if noted is None:
            return b""
        if not self._inputs.is_written(noted.id, now):
            self._put_off(noted.record(self.session, self.sequence, now))
            self._inputs.wrote(noted.id)
        return noted.id

    def _note_grants(self, held: Sequence[HeldGrant], now: int) -> bytes:
        if not held:
            return b""
        noted = NotedGrants.of(held)
        if not self._inputs.is_written(noted.id, now):
            self._put_off(noted.record(self.session, self.sequence, now))
            self._inputs.wrote(noted.id)
        return noted.id

    def _put_off(self, record: Record) -> None:
        """Keep the next record with the one behind it."""
        self._recorder.put_off(record)
        self.sequence += 1

    def text_number(self, prepared: Prepared) -> int:
        """Return by what number records name a statement's text, after defining it."""
        if prepared.number is None:
            number = self._texts + 1
            self._put_off(
                TextDefined(self.session, self.sequence, self.now(), number, prepared.text)
            )
            # Not before it is kept: an intent would name a text that nobody can find.
            self._texts = prepared.number = number
        return prepared.number

    def _digest(self, judged: Judged, asked: Asked) -> bytes:
        state = self.state.copy()
        text, parameters = asked.text, asked.parameters
        if judged.executed:
            parameters += judged.executed
        state.update(_LENGTH(len(text)) + text + _LENGTH(len(parameters)) + parameters)
        return state.digest()

    def _fixed_part(self) -> bytes:
        opening = self._opening
        chain = "\0".join(hop.id for hop in opening.principal.chain)
        return b"".join(
            encode_part(name, value.encode())
            for name, value in (
                ("protocol", "postgres"),
                ("target", opening.target),
                ("database", opening.database),
                ("account", opening.account),
                ("chain", chain),
            )
        )

    def _begin(self) -> hashlib._Hash:
        """Hash what is the same for all operations under these settings."""
        state = hashlib.sha256(DIGEST_DOMAIN + self._fixed)
        for name in sorted(self._settings):
            value = self._settings[name]
            state.update(encode_part("setting", f"{name}={value!r}".encode()))
        state.update(encode_part("text-and-parameters", b""))
        return state

    def _next(self) -> int:
        sequence = self.sequence
        self.sequence = sequence + 1
        return sequence
