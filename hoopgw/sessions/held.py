"""What waits for people: one request, and what its client is told meanwhile."""

from __future__ import annotations

from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred

from hoopgw.policy.cures import BUDGET_HINT, approvers
from hoopgw.policy.decision import Review
from hoopgw.sessions.refusals import Refusal, RefusedError
from hoopgw.spi import PendingReview, ReviewOutcome

USED: Final = "the approval covers one use, and it has been used"
USED_CODE: Final = "approval_used"
"""Tells that refusal from others, for programs."""


@define(eq=False)
class Held:
    """One request that waits for people, whether or not a client waits with it."""

    pending: PendingReview
    review: Review
    intent: int
    outcome: ReviewOutcome | None = None
    """An approval is not used up yet: that is `PendingReview.use`."""
    waiters: list[Deferred[None]] = field(factory=list)
    told: bool = False
    """Whether a client was told to come again: then it goes on waiting without one."""

    kept: bool = False
    """Whether the gateway itself waits, to send it without a client."""

    def settle(self, outcome: ReviewOutcome) -> None:
        """Take note of how it ended, and wake who waits."""
        self.outcome = outcome
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def lost(self, reason: str) -> ReviewOutcome:
        """Return the outcome where nobody can say it."""
        request = self.pending.request
        return ReviewOutcome(approved=False, request=request, outcome="withdrawn", reason=reason)

    def come_again(self, *, lasts: bool = False) -> HeldError:
        """Return what tells a client to come again."""
        self.told = True
        request = self.pending.request
        return HeldError(
            self,
            lasts,
            Refusal(
                kind="held",
                text=self.standing,
                hint=f"To approve: hoopgw requests approve {request}. Then send the same again.",
                detail={
                    "code": "approval_required",
                    "request": request,
                    "rules": [remedy.rule for remedy in self.review.remedies],
                },
                request=request,
                retry_after=10,
            ),
        )

    @property
    def standing(self) -> str:
        """How it stands while nobody has answered."""
        return (
            f"held for approval by {approvers(self.review)}: request {self.pending.request};"
            " nothing was done yet"
        )


class HeldError(RefusedError):
    """A request waits for people, and its client does not."""

    def __init__(self, held: Held, lasts: bool, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.held = held
        self.lasts = lasts
        """Whether its client can be told where to ask after it."""


def denied(outcome: ReviewOutcome) -> RefusedError:
    """Return what says that people, or time, did not approve."""
    text = outcome.reason or f"the request was {outcome.outcome}"
    return RefusedError(Refusal(kind="denied", text=text, request=outcome.request))


def used(request: str) -> RefusedError:
    """Return what says that an approval was used by another one."""
    detail = {"code": USED_CODE, "request": request}
    return RefusedError(Refusal(kind="denied", text=USED, request=request, detail=detail))


def used_up(reason: str) -> Refusal:
    """Return what says that a budget is used up."""
    return Refusal(kind="denied", text=reason, hint=BUDGET_HINT, status=429)


def not_recorded(error: Exception) -> Refusal:
    """Return what says that the recorder does not take it."""
    return Refusal(
        kind="unavailable",
        text=f"not passed on, because it cannot be recorded: {error}",
        hint="The operators must make room or start the recorder; then try again.",
    )
