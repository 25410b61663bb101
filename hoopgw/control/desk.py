"""The review desk of a data worker: asks through control, and tells whoever waits.

Several sessions may wait for the same request (control joins the same operation of the same
chain); an approval covers one use, so the first of them that consumes it goes on, and the others
are told that it is used. A session is told that it is approved only after the approval has been
consumed for its own digest; one that may wait without its client asks for that itself, when the
client is there. Whatever goes wrong on the way is no approval.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.control.client import ControlClient
from hoopgw.events import Operation, Principal
from hoopgw.ipc import Body
from hoopgw.policy.decision import Review
from hoopgw.spi import PendingReview, ReviewOutcome
from hoopgw.store.coding import remedies_to_list
from hoopgw.wire_values import principal_to_dict

log = Logger()

HEARTBEAT: Final = 5.0
"""Seconds between two signs that somebody still waits."""
GRACE: Final = 10.0
"""Seconds after a request's end in which control may still say how it ended."""
USED: Final = "the approval covers one use, and it has been used"
REASON: Final = "reason"
"""Attribute of an operation's context that carries the requester's reason, if there is one."""


@define(eq=False)
class FiledReview:
    """One session's wait; implements `hoopgw.spi.PendingReview`."""

    request: str
    groups: tuple[str, ...]
    """Who is asked, to show to the requester."""
    expires: float
    """Seconds since the epoch."""
    settled: Deferred[ReviewOutcome]
    _desk: ReviewDesk = field(repr=False)
    digest: bytes = field(repr=False)
    later: bool = False
    """Whether an approval waits until it is used."""
    deadline: IDelayedCall | None = field(default=None, init=False, repr=False)
    _over: bool = field(default=False, init=False)

    def withdraw(self) -> None:
        """Say that nobody waits any more; harmless if it is settled."""
        if not self._over:
            self._desk.leave(self)
            self.finish("withdrawn", "the requester does not wait any more")

    def use(self) -> Deferred[bool]:
        """Use an approval that has waited; see `hoopgw.spi.PendingReview`."""
        return self._desk.use(self)

    def finish(self, outcome: str, reason: str, voters: Iterable[str] = ()) -> None:
        """Say how it ended, once."""
        if self._over:
            return
        self.end()
        self.settled.callback(
            ReviewOutcome(
                approved=outcome == "approved",
                request=self.request,
                outcome=outcome,
                voters=tuple(voters),
                reason=reason,
            )
        )

    def cancelled(self) -> None:
        """Take it that whoever waited has cancelled `settled`."""
        self._desk.leave(self)
        self.end()

    def end(self) -> None:
        """Stop waiting, without a word."""
        self._over = True
        if self.deadline is not None and self.deadline.active():
            self.deadline.cancel()


@define(eq=False)
class ReviewDesk:
    """Implements `hoopgw.spi.Reviews`. `start` it once."""

    _control: ControlClient
    _clock: IReactorTime
    _waiting: dict[str, list[FiledReview]] = field(factory=dict, init=False)
    _heartbeat: LoopingCall = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._heartbeat = LoopingCall(self._say_alive)
        self._heartbeat.clock = self._clock
        self._control.on_tell("review_settled", self._told)
        self._control.on_connected(self._say_alive)

    @property
    def waiting(self) -> int:
        """How many sessions wait."""
        return sum(map(len, self._waiting.values()))

    def start(self) -> None:
        """Begin to say who waits."""
        self._heartbeat.start(HEARTBEAT, now=False).addErrback(
            lambda failure: log.failure("the heartbeat of reviews broke", failure)
        )

    def stop(self) -> None:
        """Withdraw everything."""
        if self._heartbeat.running:
            self._heartbeat.stop()
        for review in [review for reviews in self._waiting.values() for review in reviews]:
            review.withdraw()

    def ask(
        self,
        principal: Principal,
        session: str,
        operation: Operation,
        review: Review,
        *,
        later: bool = False,
    ) -> Deferred[PendingReview]:
        """File a request; see `hoopgw.spi.Reviews`."""
        reason = operation.context.get(REASON, "")
        asked = self._control.call(
            "review_ask",
            principal=principal_to_dict(principal),
            session=session,
            protocol=operation.protocol,
            target=operation.target,
            action=operation.action,
            text=operation.text.encode("utf-8", "surrogateescape"),
            digest=operation.digest,
            context=dict(operation.context),
            remedies=remedies_to_list(review.remedies),
            reason=reason if isinstance(reason, str) else "",
            later=later,
        )
        return asked.addCallback(lambda answer: self._filed(answer, operation.digest, later))

    def use(self, review: FiledReview) -> Deferred[bool]:
        """Use an approval for this one wait: true once, for one of all who have waited."""
        used = self._control.call("review_consume", request=review.request, digest=review.digest)
        return used.addCallback(lambda answer: answer.get("ok") is True)

    def leave(self, review: FiledReview) -> None:
        """Forget one wait; with the last one for a request gone, tell control."""
        reviews = self._waiting.get(review.request, [])
        if review in reviews:
            reviews.remove(review)
            if not reviews:
                del self._waiting[review.request]
                self._control.tell("review_withdraw", request=review.request)

    def _filed(self, answer: Body, digest: bytes, later: bool) -> PendingReview:
        review = FiledReview(
            request=str(answer["request"]),
            groups=tuple(map(str, answer["groups"])),
            expires=float(answer["expires"]),
            settled=Deferred(lambda _settled: review.cancelled()),
            desk=self,
            digest=digest,
            later=later,
        )
        settled = answer.get("settled")
        if settled is not None:  # it was approved before, and nobody has used that
            review.finish(
                str(settled["outcome"]), str(settled["reason"]), map(str, settled["voters"])
            )
            return review
        left = max(0.0, review.expires - self._clock.seconds())
        review.deadline = self._clock.callLater(left + GRACE, self._silent, review)
        self._waiting.setdefault(review.request, []).append(review)
        return review

    def _silent(self, review: FiledReview) -> None:
        self.leave(review)
        review.finish("expired", f"nobody of {', '.join(review.groups)} answered in time")

    def _say_alive(self) -> None:
        if not self._waiting or not self._control.is_connected:
            return
        answer = self._control.call("review_alive", requests=list(self._waiting))
        answer.addCallback(self._catch_up)
        answer.addErrback(
            lambda failure: log.warn(
                "control did not hear who waits: {reason}", reason=failure.getErrorMessage()
            )
        )

    def _catch_up(self, answer: Body) -> None:
        """Take what was settled while the connection was down."""
        for body in answer["settled"]:
            self._told(body)

    def _told(self, body: Body) -> None:
        """Tell everybody who waits for a request how it ended."""
        outcome, reason = str(body["outcome"]), str(body["reason"])
        voters = tuple(map(str, body["voters"]))
        for review in self._waiting.pop(str(body["request"]), []):
            if outcome == "approved" and not review.later:
                self._consume(review, reason, voters)
            elif outcome == "consumed":  # elsewhere, while this worker could not be told
                review.finish("withdrawn", USED)
            else:
                review.finish(outcome, reason, voters)

    def _consume(self, review: FiledReview, reason: str, voters: tuple[str, ...]) -> None:
        """Use the approval for this one wait; only then is it approved."""

        def consumed(used: bool) -> None:
            if used:
                review.finish("approved", reason, voters)
            else:
                review.finish("withdrawn", USED)

        def failed(failure: Failure) -> None:
            log.warn("an approval could not be used: {reason}", reason=failure.getErrorMessage())
            review.finish("withdrawn", "the approval could not be confirmed; ask again")

        used = self.use(review)
        used.addCallbacks(consumed, failed)
        used.addErrback(lambda failure: log.failure("telling a session failed", failure))
