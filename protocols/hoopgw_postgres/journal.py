"""The records of one PostgreSQL session, in order and without a gap.

What is written for an operation says all that was sent: text, bound values, and, through the
digest, who asked, where, and under which settings.
"""

from __future__ import annotations

import hashlib
import struct
import time
from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred

from hoopgw.events import DIGEST_DOMAIN, Operation, Principal, encode_part
from hoopgw.policy.decision import Deny
from hoopgw.recording.records import (
    HopRecord,
    Intent,
    Result,
    ReviewSettled,
    SessionEnded,
    SessionStarted,
    TextDefined,
)
from hoopgw.spi import Recorder, ReviewOutcome
from hoopgw.wire_values import attributes_to_dict
from hoopgw_postgres.flow import Asked, Prepared, Running
from hoopgw_postgres.judge import Judged

PARAMETERS_LIMIT: Final = 65_536
"""Bytes of bound values that are kept; the digest covers all."""
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


class Journal:
    """Writes one session's records.

    Args:
        recorder: of the worker.
        opening: the session.
        strict: whether the target asks that intents survive a power loss before they run.
        settings: that the session started with.

    """

    def __init__(
        self, recorder: Recorder, opening: Opening, strict: bool, settings: dict[str, str]
    ) -> None:
        self.session = opening.session
        self.strict = strict
        self._recorder = recorder
        self._opening = opening
        self._settings: dict[str, str | None] = dict(settings)
        self._sequence = 0
        self._texts = 0
        self._fixed = self._fixed_part()
        self._state = self._begin()
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
        hops = [
            HopRecord(
                hop.id, hop.name, hop.kind, sorted(hop.groups), attributes_to_dict(hop.attributes)
            )
            for hop in opening.principal.chain
        ]
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
            )
        )

    def changed(self, name: str, value: str | None) -> None:
        """Note a setting that the session changed; it is a part of every later digest."""
        self._settings[name] = value
        self._state = self._begin()

    def plain(
        self, judged: Judged, text: bytes, parameters: bytes, prepared: Prepared | None
    ) -> tuple[int, int]:
        """Write the intent of a small operation that runs at once, as `allowed` does.

        ``parameters`` fit into `PARAMETERS_LIMIT`. Returns its sequence and time.
        """
        named: bytes | int = text
        if prepared is not None:
            named = prepared.number or self._text_number(prepared)
        state = self._state.copy()
        state.update(_LENGTH(len(text)) + text + _LENGTH(len(parameters)) + parameters)
        sequence, now = self._sequence, time.time_ns()
        self._recorder.write(
            Intent(
                self.session,
                sequence,
                now,
                judged.action,
                judged.resources,
                named,
                parameters,
                state.digest(),
                "allow",
                judged.because,
                judged.policy,
            )
        )
        self._sequence = sequence + 1
        return sequence, now

    def allowed(self, judged: Judged, asked: Asked) -> int:
        """Write the intent of an operation that runs at once; return its sequence."""
        return self._intent(judged, asked, "allow")

    def denied(self, judged: Judged, asked: Asked) -> int:
        """Write a refusal."""
        decision = judged.decision
        reason = decision.reason if isinstance(decision, Deny) else ""
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
        sequence = self._sequence
        self._sequence = sequence + 1
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
        """Describe what would run, for reviewers."""
        return Operation(
            protocol="postgres",
            target=self._opening.target,
            action=judged.action,
            accesses=judged.accesses,
            text=asked.text.decode("utf-8", "replace"),
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
            text = self._text_number(asked.prepared)
        parameters = asked.parameters
        size = len(parameters)
        sequence = self._sequence
        self._recorder.write(
            Intent(
                self.session,
                sequence,
                time.time_ns(),
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
            )
        )
        self._sequence = sequence + 1  # not before it is kept: a refused record leaves no gap
        return sequence

    def _text_number(self, prepared: Prepared) -> int:
        if prepared.number is None:
            self._texts += 1
            prepared.number = self._texts
            self._recorder.put_off(
                TextDefined(self.session, self._next(), self.now(), self._texts, prepared.text)
            )
        return prepared.number

    def _digest(self, judged: Judged, asked: Asked) -> bytes:
        state = self._state.copy()
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
        sequence = self._sequence
        self._sequence = sequence + 1
        return sequence
