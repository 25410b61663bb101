"""What a session says to its client in its own name: refusals, holds, limits. Pure."""

from __future__ import annotations

from typing import Final

from hoopgw.policy.cures import BUDGET_HINT, Cure, approvers
from hoopgw.policy.decision import Deny, Review
from hoopgw.sessions.ends import WHAT_TO_DO
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


def not_in_transaction(review: Review) -> Deny:
    """Refuse to hold inside a transaction: its locks would be held, too."""
    return Deny(
        reason=f"this needs approval by {approvers(review)}, and nothing is held in a transaction"
    )


def notice(request: str, review: Review) -> bytes:
    """Say that an operation is held, and how it is approved."""
    rules = ", ".join(remedy.rule for remedy in review.remedies)
    return wire.report(
        b"N",
        "NOTICE",
        "00000",
        f"held for approval by {approvers(review)}: request {request}",
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


def session_ended(reason: str) -> bytes:
    """Encode the FATAL error that ends a session from outside, with what helps."""
    text = f"terminating connection: {reason}"
    return wire.report(b"E", "FATAL", "57P01", text, hint=WHAT_TO_DO.get(reason))


def used_up(reason: str) -> bytes:
    """Encode the error for what a budget does not hold any more."""
    return error(
        "53400",
        reason,
        hint=BUDGET_HINT,
    )


def not_charged(reason: object) -> bytes:
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
