"""Recorded decisions: what was asked, read back from a log, and judged again by a set of policies.

A log is read once, from front to back; memory is bounded by the limits below, whatever its size.
What cannot be judged again is named with the reason, and never guessed at: a record that was
changed, an input or a session's beginning that is not in what was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, TypeAlias

import msgspec
from attrs import define, evolve, field, frozen

from hoopgw.events import Access, ContextValue, Hop
from hoopgw.grants.held import HeldGrant
from hoopgw.policy.cache import Recent
from hoopgw.policy.decision import Allow, Deny, Hidden, Review, Sight, Verdict
from hoopgw.policy.granting import judge_granted, judge_sights_granted
from hoopgw.policy.links import grant_of
from hoopgw.policy.questions import Inquiry
from hoopgw.policy.sets import PolicySet
from hoopgw.recording.decisions import Found, Unreadable
from hoopgw.recording.inputs import BadInputError, grants_of, hop_of, question_of
from hoopgw.recording.records import (
    AnyRecord,
    DecisionInput,
    FieldsShown,
    GrantsHeld,
    Intent,
    SessionEnded,
    SessionJudged,
    SessionStarted,
    TextDefined,
    decode,
)

SESSIONS_LIMIT: Final = 20_000
"""Sessions that go on at one time in what is read."""
QUESTIONS_LIMIT: Final = 100_000
"""Distinct questions that are kept; one that was dropped is written again by its worker."""
TEXTS_LIMIT: Final = 200
"""Texts of one session that are kept as examples."""
TEXT_SHOWN: Final = 500
"""Bytes of a text that are kept as an example."""
MEMO_LIMIT: Final = 50_000
"""Answers of one set that are kept for the same question."""

Kind: TypeAlias = Literal["operation", "session", "field"]


@frozen
class Outcome:
    """What came of a question, in the words of reports."""

    word: str
    """``allow``, ``review``, ``deny``; of a field ``clear``, ``masked``, ``hidden``."""
    because: tuple[str, ...] = ()
    detail: str = ""
    """The mask, or the limit on rows: what may change while the word stays."""
    reason: str = ""
    errors: tuple[str, ...] = ()
    policy: str = ""


@frozen(kw_only=True)
class Question:
    """One recorded decision, with all that went into it."""

    leaf: int
    """Number of the record in the log."""
    session: str
    sequence: int
    at: int
    """Nanoseconds since the epoch."""
    kind: Kind
    protocol: str
    target: str
    action: str
    chain: tuple[Hop, ...]
    proved: bool = False
    accesses: tuple[Access, ...]
    """Of a field, its ``see``."""
    context: Mapping[str, ContextValue]
    held: tuple[HeldGrant, ...] = ()
    decided: int
    """The second that policy saw; 0 if no policy read the time then."""
    text: bytes = field(repr=False)
    """The beginning of the exact text, for an example."""
    recorded: Outcome

    @property
    def path(self) -> str:
        """The chain for people: ``alice / planner``."""
        return " / ".join(hop.name for hop in self.chain)

    @property
    def now(self) -> int:
        """The second to judge it in again."""
        return self.decided or self.at // 10**9


@frozen
class Skipped:
    """A record that is not judged again."""

    leaf: int
    why: str
    is_fault: bool = True
    """Whether something is wrong; False for what policy was never asked."""


@define(eq=False)
class _Session:
    protocol: str
    target: str
    chain: tuple[Hop, ...]
    proved: bool
    texts: dict[int, bytes] = field(factory=dict)


@define(eq=False)
class QuestionReader:
    """Makes questions of a log's records, which come in their order."""

    _sessions: Recent[str, _Session] = field(factory=lambda: Recent(SESSIONS_LIMIT), init=False)
    _asked: Recent[bytes, tuple[tuple[Access, ...], dict[str, ContextValue]]] = field(
        factory=lambda: Recent(QUESTIONS_LIMIT), init=False
    )
    _held: Recent[bytes, tuple[HeldGrant, ...]] = field(
        factory=lambda: Recent(QUESTIONS_LIMIT), init=False
    )

    def read(
        self, records: Iterable[Found | Unreadable], since: int = 0
    ) -> Iterator[Question | Skipped]:
        """Yield what was asked, in order.

        Args:
            records: of a log, as `hoopgw.recording.decisions` finds them.
            since: leave out what was asked before (nanoseconds since the epoch).

        """
        for found in records:
            if isinstance(found, Unreadable):
                yield Skipped(found.leaf, found.why)
                continue
            try:
                record = decode(found.data)
            except msgspec.MsgspecError as error:
                yield Skipped(found.leaf, f"it is no record: {error}")
                continue
            if record.at < since and isinstance(record, Intent | SessionJudged | FieldsShown):
                continue
            try:
                yield from self._take(found.leaf, record)
            except BadInputError as error:
                yield Skipped(found.leaf, f"session {record.session}: {error}")

    def _take(self, leaf: int, record: AnyRecord) -> Iterator[Question | Skipped]:
        match record:
            case SessionStarted():
                chain = tuple(hop_of(hop) for hop in record.chain)
                if not chain:
                    raise BadInputError("nobody began it")
                began = _Session(record.protocol, record.target, chain, record.proved)
                self._sessions.put(record.session, began)
            case TextDefined():
                session = self._sessions.get(record.session)
                if session is not None and len(session.texts) < TEXTS_LIMIT:
                    session.texts[record.number] = record.text[:TEXT_SHOWN]
            case DecisionInput():
                self._asked.put(record.id, question_of(record))
            case GrantsHeld():
                self._held.put(record.id, grants_of(record))
            case Intent():
                yield self._intent(leaf, record)
            case SessionJudged():
                recorded = Outcome("allow", tuple(record.because), policy=record.policy)
                yield self._question(leaf, record, record.input, "session", "connect", recorded)
            case FieldsShown():
                yield from self._fields(leaf, record)
            case SessionEnded():
                self._sessions.drop(record.session)

    def _intent(self, leaf: int, record: Intent) -> Question | Skipped:
        if not record.input:
            return Skipped(leaf, "policy was not asked", is_fault=False)
        recorded = Outcome(
            record.judged or record.decision,
            tuple(record.because),
            _limit(record.limit or None),
            record.reason,
            policy=record.policy,
        )
        session = self._sessions.get(record.session)
        text = record.text
        if isinstance(text, int):
            text = b"" if session is None else session.texts.get(text, b"")
        asked = self._question(
            leaf, record, record.input, "operation", record.action, recorded, text
        )
        used = {grant_of(rule) for rule in recorded.because}
        if not any(grant.id in used and not grant.is_ready for grant in asked.held):
            return asked
        # It was used up, or claimed, for this very operation.
        held = (evolve(g, scope="window") if g.id in used else g for g in asked.held)
        return evolve(asked, held=tuple(held))

    def _question(
        self,
        leaf: int,
        record: Intent | SessionJudged,
        input_id: bytes,
        kind: Kind,
        action: str,
        recorded: Outcome,
        text: bytes = b"",
    ) -> Question:
        session, (accesses, context) = self._of(record.session, input_id)
        return Question(
            leaf=leaf,
            session=record.session,
            sequence=record.sequence,
            at=record.at,
            kind=kind,
            protocol=session.protocol,
            target=session.target,
            action=action,
            chain=session.chain,
            proved=session.proved,
            accesses=accesses,
            context=context,
            held=self._grants(record.granted),
            decided=record.decided,
            text=text[:TEXT_SHOWN],
            recorded=recorded,
        )

    def _fields(self, leaf: int, record: FieldsShown) -> Iterator[Question]:
        session, (accesses, context) = self._of(record.session, record.input)
        if len(accesses) != len(record.shown) or not all(
            0 <= number < len(record.outcomes) for number in record.shown
        ):
            raise BadInputError("it does not say how each field was shown")
        held = self._grants(record.granted)
        for access, number in zip(accesses, record.shown, strict=True):
            shown = record.outcomes[number]
            word = "hidden" if shown.hidden else "clear" if shown.mask is None else "masked"
            yield Question(
                leaf=leaf,
                session=record.session,
                sequence=record.sequence,
                at=record.at,
                kind="field",
                protocol=session.protocol,
                target=session.target,
                action="see",
                chain=session.chain,
                proved=session.proved,
                accesses=(access,),
                context=context,
                held=held,
                decided=record.decided,
                text=access.resource.id.encode(),
                recorded=Outcome(
                    word, tuple(shown.because), shown.mask or "", policy=record.policy
                ),
            )

    def _grants(self, granted: bytes) -> tuple[HeldGrant, ...]:
        held = self._held.get(granted) if granted else ()
        if held is None:
            raise BadInputError(f"grants {granted.hex()} are not in what was read")
        return held

    def _of(
        self, name: str, input_id: bytes
    ) -> tuple[_Session, tuple[tuple[Access, ...], dict[str, ContextValue]]]:
        session, asked = self._sessions.get(name), self._asked.get(input_id)
        if session is None:
            raise BadInputError("its beginning is not in what was read")
        if asked is None:
            raise BadInputError(f"input {input_id.hex()} is not in what was read")
        return session, asked


@define(eq=False)
class Retrial:
    """Judges recorded questions by one set, each distinct one once."""

    policies: PolicySet
    _memo: Recent[object, Outcome] = field(factory=lambda: Recent(MEMO_LIMIT), init=False)

    def judge(self, question: Question) -> Outcome:
        """Judge a question as a live gateway with this set would have then."""
        values = tuple(question.context.items())
        key = (
            question.kind,
            question.chain,
            question.proved,
            question.accesses,
            values,
            # To Python True is 1; to Cedar it is not.
            tuple(type(value) for _, value in values),
            question.now if self.policies.reads_now else 0,
            question.held,
        )
        found = self._memo.get(key)
        if found is None:
            found = self._judge(question)
            self._memo.put(key, found)
        return found

    def _judge(self, question: Question) -> Outcome:
        inquiry = inquiry_of(question)
        if question.kind != "field":
            return outcome_of(judge_granted(self.policies, inquiry, question.held))
        (shown,) = judge_sights_granted(self.policies, inquiry, question.held)
        return outcome_of(shown.sight, self.policies.version, shown.errors)


def inquiry_of(question: Question) -> Inquiry:
    """Return what policy is asked."""
    return Inquiry(
        chain=question.chain,
        accesses=question.accesses,
        context=question.context,
        now=question.now,
        proved=question.proved,
    )


def outcome_of(
    found: Verdict | Sight | Hidden, policy: str = "", errors: tuple[str, ...] = ()
) -> Outcome:
    """Return a verdict in the words of reports."""
    match found:
        case Sight(mask=mask, because=because):
            word = "clear" if mask is None else "masked"
            return Outcome(word, because, mask or "", "", errors, policy)
        case Hidden(reason=reason, because=because):
            return Outcome("hidden", because, "", reason, errors, policy)
        case Verdict(decision=decision, because=because):
            word, detail, reason = _decision(decision)
            return Outcome(word, because, detail, reason, found.errors, found.policy)


def _decision(decision: Allow | Review | Deny) -> tuple[str, str, str]:
    match decision:
        case Allow(max_rows=rows):
            return "allow", _limit(rows), ""
        case Review(max_rows=rows):
            return "review", _limit(rows), ""
        case Deny(reason=reason):
            return "deny", "", reason


def _limit(rows: int | None) -> str:
    return "" if rows is None else f"{rows} rows"
