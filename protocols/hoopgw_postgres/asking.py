"""Ask people about one operation of a session, and wait for them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hoopgw.errors import UnavailableError
from hoopgw.events import Operation, Principal
from hoopgw.policy.decision import Review
from hoopgw.spi import PendingReview, ReviewOutcome, Reviews
from hoopgw_postgres import refusals


class Asking:
    """A session's way to reviewers. One request at a time.

    Args:
        reviews: where people are asked.
        principal: who asks.
        session: its id.
        tell: sends a notice to the client.

    """

    def __init__(
        self,
        reviews: Reviews,
        principal: Principal,
        session: str,
        tell: Callable[[bytes], None],
    ) -> None:
        self._reviews = reviews
        self._principal = principal
        self._session = session
        self._tell = tell
        self._pending: PendingReview | None = None
        self._answered: Deferred[ReviewOutcome] | None = None
        self._closed = False

    @property
    def is_waiting(self) -> bool:
        """Whether people have been asked, and have not answered."""
        return self._pending is not None

    async def ask(self, review: Review, operation: Operation) -> ReviewOutcome:
        """File a request, and return how it ends; never fails."""
        try:
            pending = await self._reviews.ask(self._principal, self._session, operation, review)
        except UnavailableError as error:
            reason = f"nobody can be asked: {error}"
            return ReviewOutcome(approved=False, request="", outcome="denied", reason=reason)
        if self._closed:
            pending.withdraw()
            return refusals.withdrawn(pending.request)
        self._pending = pending
        answered: Deferred[ReviewOutcome] = Deferred()
        self._answered = answered
        pending.settled.addCallbacks(self._settled, self._settled)
        self._tell(refusals.notice(pending.request, review))
        try:
            return await answered
        finally:
            self._pending = self._answered = None

    def withdraw(self) -> None:
        """Say that the requester does not wait any more."""
        pending, answered = self._pending, self._answered
        if pending is not None and answered is not None and not answered.called:
            # First the answer: to withdraw settles the request at once.
            answered.callback(refusals.withdrawn(pending.request))
            pending.withdraw()

    def close(self) -> None:
        """Withdraw, and ask no more."""
        self._closed = True
        self.withdraw()

    def _settled(self, outcome: ReviewOutcome | Failure) -> None:
        answered = self._answered
        if answered is None or answered.called:
            return
        if isinstance(outcome, Failure):
            reason = "the review was lost"
            outcome = ReviewOutcome(approved=False, request="", outcome="denied", reason=reason)
        answered.callback(outcome)
