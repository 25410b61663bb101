"""What a session says to its client in its own name: refusals, holds, limits. Pure."""

from __future__ import annotations

import json
from typing import Final

from attrs import frozen

from hoopgw.policy.decision import Deny, Review, Verdict
from hoopgw.policy.explain import how_to_ask, how_to_break_glass
from hoopgw.spi import ReviewOutcome
from hoopgw_postgres import wire
from hoopgw_postgres.judge import Judged

STATEMENT_LIMIT: Final = 2**20
"""Bytes of a statement; longer ones are refused."""


def error(code: str, text: str, *, hint: str | None = None) -> bytes:
    """Encode an ERROR."""
    return wire.report(b"E", "ERROR", code, text, hint=hint)


def too_long() -> bytes:
    """Refuse a statement over the limit."""
    return error(
        "54000", f"the statement is longer than the {STATEMENT_LIMIT} bytes that hoopgw judges"
    )


@frozen(kw_only=True)
class Cure:
    """What would help against a refusal: for a person as a command, for a program as JSON."""

    hint: str
    detail: str

    @classmethod
    def of(
        cls, judged: Judged | Verdict, target: str, url: str, digest: bytes = b""
    ) -> Cure | None:
        """Return what would help, if something that can be asked for would.

        Args:
            judged: the refusal.
            target: what it is of.
            url: where grants are asked for.
            digest: of the operation, if it can be asked for as one call.

        """
        if not (judged.cures or judged.breakglass) or not url:
            return None
        asks = [how_to_ask(target, name) for name in judged.cures]
        asks += [f"in an emergency: {how_to_break_glass(target, n)}" for n in judged.breakglass]
        told: dict[str, object] = {
            "code": "grant_required",
            "grants": list(judged.cures),
            "target": target,
            "request": url,
        }
        if judged.breakglass:
            told["breakglass"] = list(judged.breakglass)
        if digest:
            told["digest"] = digest.hex()
        return cls(hint="\n".join(asks), detail=json.dumps(told, separators=(",", ":")))


def refusal(judged: Judged, cure: Cure | None = None) -> bytes:
    """Say why an operation was refused, by which policies, and what would help."""
    decision = judged.decision
    reason = decision.reason if isinstance(decision, Deny) else "not permitted"
    rules = ", ".join(judged.because)
    detail = f"Decided by policy: {rules}." if rules else None
    if cure is not None:
        detail = cure.detail
    return wire.report(
        b"E",
        "ERROR",
        judged.code,
        reason,
        detail=detail,
        hint=judged.hint or (None if cure is None else cure.hint),
        position=judged.position,
    )


def groups(review: Review) -> str:
    """Name who may approve."""
    return " and ".join(
        " or ".join(sorted(remedy.groups))
        + (f" ({remedy.needed} persons)" if remedy.needed > 1 else "")
        for remedy in review.remedies
    )


def not_in_transaction(review: Review) -> Deny:
    """Refuse to hold inside a transaction: its locks would be held, too."""
    return Deny(
        reason=f"this needs approval by {groups(review)}, and nothing is held in a transaction"
    )


def notice(request: str, review: Review) -> bytes:
    """Say that an operation is held, and how it is approved."""
    rules = ", ".join(remedy.rule for remedy in review.remedies)
    return wire.report(
        b"N",
        "NOTICE",
        "00000",
        f"held for approval by {groups(review)}: request {request}",
        detail=f"Required by policy: {rules}. Nothing has run yet.",
        hint=f"To approve: hoopgw requests approve {request}    (Ctrl-C withdraws the request)",
    )


def withdrawn(request: str) -> ReviewOutcome:
    """Return the outcome when the requester does not wait any more."""
    return ReviewOutcome(
        approved=False,
        request=request,
        outcome="withdrawn",
        reason="canceling statement due to user request",
    )


def not_approved(outcome: ReviewOutcome) -> str:
    """Say how a request ended."""
    if outcome.outcome == "withdrawn":
        return "canceling statement due to user request"
    return outcome.reason or f"the request was {outcome.outcome}"


def how(outcome: ReviewOutcome) -> str | None:
    """Name the request."""
    if not outcome.request:
        return None
    return f"The request was {outcome.request}; nothing has run."


def of_outcome(outcome: ReviewOutcome) -> bytes:
    """Encode the error for a request that was not approved."""
    code = "57014" if outcome.outcome == "withdrawn" else "42501"
    return error(code, not_approved(outcome), hint=how(outcome))


def not_recorded(reason: Exception) -> bytes:
    """Encode the error for what did not run, because it could not be recorded."""
    return error(
        "58030",
        f"not run, because it cannot be recorded: {reason}",
        hint="The operators must make room or start the recorder; then try again.",
    )


def used_up(reason: str) -> bytes:
    """Encode the error for what a budget does not hold any more."""
    return error(
        "53400",
        reason,
        hint="Who was given the budget needs a new delegation, with another key and a budget of"
        " its own, from whoever started it. Policies and approvals do not add to a budget.",
    )


def not_charged(reason: Exception) -> bytes:
    """Encode the error for what did not run, because nobody knows what the budget has left."""
    return error("57P03", f"not run, because its budget cannot be charged: {reason}")


def no_statement(name: str) -> str:
    """Say that a statement is not there, as PostgreSQL does."""
    return f'prepared statement "{name}" does not exist'


def unknown_statement(name: bytes) -> bytes:
    """Encode the error for a statement that is not there."""
    return error("26000", no_statement(name.decode("utf-8", "replace")))


def cursor_by_execute() -> bytes:
    """Encode the error for an Execute of what DECLARE opened."""
    text = "a cursor of SQL is not run by Execute where columns are masked: use FETCH"
    return error("0A000", text)


def unknown_portal(name: bytes) -> bytes:
    """Encode the error for a portal that is not there."""
    return error("34000", f'portal "{name.decode("utf-8", "replace")}" does not exist')
