"""From what a request is to whether it may be passed on: policy, grants, budgets, people, records.

An intent is written before anything is sent, and a refusal is written, too. Whoever is told to wait
for people may go and come again: the same request of the same principal then joins what it waited
for, and an approval that came meanwhile is used by it, once.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.python.failure import Failure

from hoopgw.errors import RecorderError, UnavailableError
from hoopgw.events import Operation, Principal
from hoopgw.policy.cures import Cure
from hoopgw.policy.decision import Allow, Deny, Review, Verdict
from hoopgw.sessions.held import Held, denied, not_recorded, used, used_up
from hoopgw.sessions.journal import NOT_SENT, Answered, Asked, SessionJournal
from hoopgw.sessions.purses import Purse
from hoopgw.sessions.refusals import Refusal, RefusedError
from hoopgw.spi import GatewayContext, ReviewOutcome

WAITING_LIMIT: Final = 20
"""Requests of one session that may wait for people at the same time."""
APPROVAL_KEPT: Final = 240.0
"""Seconds for which a session remembers how a request ended whose client may come again; control
keeps an approval for a little longer, and gives it to whichever worker the client comes to."""
OVER: Final = "what allowed this ended before it was sent; nothing was done"
"""Why a request is refused that was allowed, and is not any more once its record is on disk."""


@frozen(kw_only=True)
class Permission:
    """A request may be passed on."""

    verdict: Verdict
    intent: int
    """Sequence of its record."""
    once: bool = False
    """Whether it was granted for this one time."""
    approved: Review | None = None
    """What people have approved, if it was that."""


class _UsedError(Exception):
    """Another request of the same kind has used the approval."""


@define(eq=False, kw_only=True)
class Decider:
    """Decides the requests of one session."""

    context: GatewayContext
    principal: Principal
    session: str
    journal: SessionJournal
    purse: Purse | None
    strict: bool
    """Whether the target asks that intents survive a power loss before they run."""
    patience: float
    """Seconds that a client is let wait for people before it is told to come again."""
    lasts: Callable[[Any], bool] = lambda _asked: False
    """Whether a request's client can be told where to ask after it."""
    _held: OrderedDict[bytes, Held] = field(factory=OrderedDict, init=False)
    _asking: DeferredLock = field(factory=DeferredLock, init=False)
    """One request for approval is filed at a time: the same request must find it, and count it."""
    _closed: bool = field(default=False, init=False)

    def needs_all(self, asked: Asked) -> bool:
        """Say whether all of a request must be here before it can be decided.

        What is approved, or granted for one call, is exactly what is sent.
        """
        match self._judge(asked.operation).decision:
            case Review():
                return True
            case Deny(uses=uses):
                return any(use.digest is not None for use in uses)
            case Allow():
                return False

    async def decide(
        self,
        asked: Asked,
        patience: float | None = None,
        notice: Callable[[Held], None] = lambda _held: None,
    ) -> Permission:
        """Return the permission to pass a request on, after its intent was kept.

        Args:
            asked: the request; its digest covers all of it if it can be held.
            patience: seconds that the client will wait for people; None: as long as we let it, and
                not at all where it can be told where to ask.
            notice: told what is waited for, before it is.

        Raises:
            HeldError: not yet.
            RefusedError: it may not be passed on.

        """
        operation = asked.operation
        verdict, once = await self._use_grant(asked, self._judge(operation))
        try:
            match verdict.decision:
                case Deny():
                    raise self._denied(asked, verdict)
                case Review() as review:
                    return await self._hold(asked, verdict, review, patience, notice)
                case Allow():
                    waited = await self._charge(("operations",))
                    intent = self.journal.intent(asked, verdict, verdict.decision, verdict.because)
                    with self._unless_sent(intent):
                        if self.strict or verdict.strict:
                            await self._sync(operation, once=once)
                        elif waited:
                            self._look_again(operation, once=once)
        except RecorderError as error:
            raise RefusedError(not_recorded(error)) from error
        if verdict.grants:
            self.context.grants.used(verdict.grants, self.session)
        return Permission(verdict=verdict, intent=intent, once=once)

    def look_again(self, asked: Asked, permission: Permission) -> None:
        """See that what was permitted still is, after something else was waited for.

        Raises:
            RefusedError: it is not; that is not recorded.

        """
        self._look_again(asked.operation, permission.approved, once=permission.once)

    @property
    def waits(self) -> bool:
        """Whether something waits for people, or for a client that was told to come again."""
        return bool(self._held)

    def close(self) -> None:
        """Withdraw all that waits, and let nothing pass any more."""
        self._closed = True
        while self._held:
            _digest, held = self._held.popitem()
            if held.outcome is None:
                held.pending.withdraw()

    def _judge(self, operation: Operation) -> Verdict:
        return self.context.policy.decide(self.principal, operation, self.session)

    async def _use_grant(self, asked: Asked, verdict: Verdict) -> tuple[Verdict, bool]:
        """Use a grant that would allow what is refused.

        Returns:
            What the request is then, and whether it is that for this one time.

        """
        uses = verdict.decision.uses if isinstance(verdict.decision, Deny) else ()
        for use in uses:
            if await self.context.grants.use(use, self.session, asked.operation.digest):
                allowed = Verdict(
                    decision=Allow(max_rows=use.max_rows),
                    because=use.because,
                    policy=verdict.policy,
                    held=verdict.held,
                    now=verdict.now,
                    grants=(use.grant,),
                )
                return allowed, use.digest is not None
        return verdict, False

    async def _sync(
        self, operation: Operation, approved: Review | None = None, *, once: bool = False
    ) -> None:
        """Wait until an intent survives a power loss, and judge once more: that takes a while.

        Raises:
            RecorderError: it is not on disk.
            RefusedError: it is not allowed any more.

        """
        await self.journal.sync()
        self._look_again(operation, approved, once=once)

    def _look_again(
        self, operation: Operation, approved: Review | None = None, *, once: bool = False
    ) -> None:
        """Judge once more what was waited with.

        Whoever looked at what runs when a grant or a log-in ended did not see it: it ran not yet.

        Args:
            operation: what is asked for.
            approved: what people have approved.
            once: a grant for this one call was used up by it, so policy does not know it any more.

        Raises:
            RefusedError: it is not allowed any more.

        """
        decision = self._judge(operation).decision
        match decision:
            case Allow():
                allowed = True
            case Review():
                allowed = approved is not None and approved.covers(decision)
            case Deny():
                allowed = once
        if self._closed or not allowed:
            hint = "Send it again to see what it needs now."
            raise RefusedError(Refusal(kind="denied", text=OVER, hint=hint))

    def _denied(self, asked: Asked, verdict: Verdict) -> RefusedError:
        """Record a refusal, and return it."""
        assert isinstance(verdict.decision, Deny)
        self.journal.intent(asked, verdict, verdict.decision, verdict.because)
        operation = asked.operation
        digest = b""
        if verdict.cures:
            self.context.grants.refused(self.principal, asked.shown)
            digest = operation.digest
        cure = Cure.of(verdict, operation.target, self.context.grants.url, digest)
        rules = ", ".join(verdict.because)
        return RefusedError(
            Refusal(
                kind="denied",
                text=verdict.decision.reason,
                hint=cure.hint if cure else f"Decided by policy: {rules}." if rules else "",
                detail=cure.told if cure else {},
            )
        )

    async def _charge(self, names: tuple[str, ...]) -> bool:
        """Pay for a request from the chain's budgets, if it has any; say whether that took time."""
        purse = self.purse
        if purse is None or purse.spend(names):  # not if rows or bytes are used up
            return False
        try:
            short = await purse.fund(names)
        except UnavailableError as error:
            text = f"not passed on, because its budget cannot be charged: {error}"
            raise RefusedError(Refusal(kind="unavailable", text=text)) from error
        if short:
            raise RefusedError(used_up(short))
        return True

    # People

    async def granted(self, asked: Asked, held: Held) -> Permission:
        """Return the permission to pass on what is held, once people gave it.

        For a request that goes on without its client: it waits as long as people are asked.

        Raises:
            RefusedError: it may not be passed on.

        """
        try:
            if held.outcome is None:
                waiter: Deferred[None] = Deferred()
                held.waiters.append(waiter)
                await waiter
            assert held.outcome is not None
            return await self._use(asked, held, held.outcome)
        except _UsedError:
            raise used(held.pending.request) from None
        except RecorderError as error:
            raise RefusedError(not_recorded(error)) from error

    async def _hold(
        self,
        asked: Asked,
        verdict: Verdict,
        review: Review,
        patience: float | None,
        notice: Callable[[Held], None],
    ) -> Permission:
        held = await self._held_for(asked, verdict, review)
        lasts = self.lasts(asked)
        if held.kept:  # it is sent once it is approved, and once only
            raise held.come_again(lasts=lasts)
        came_again = held.outcome is not None
        if not came_again:
            notice(held)
            wait = 0.0 if lasts else self.patience
            wait = wait if patience is None else min(patience, self.patience)
            await self._wait(asked.operation.digest, held, wait)
        if held.outcome is None:
            raise held.come_again(lasts=lasts)
        try:
            return await self._use(asked, held, held.outcome)
        except _UsedError:
            if not came_again:
                raise used(held.outcome.request) from None
        # Another worker has used what was kept here for the client: this one is asked for anew.
        return await self._hold(asked, verdict, review, patience, notice)

    async def _use(self, asked: Asked, held: Held, outcome: ReviewOutcome) -> Permission:
        """Use an approval, once. Raises `RefusedError`, or `_UsedError`: another request has."""
        is_here = self._held.get(asked.operation.digest) is held
        if is_here:
            del self._held[asked.operation.digest]
        if not outcome.approved:
            raise denied(outcome)
        if not is_here:
            raise used(outcome.request)
        with self._unless_sent(held.intent):
            try:
                is_used = await held.pending.use()
            except UnavailableError as error:
                text = f"the approval could not be confirmed; ask again: {error}"
                raise RefusedError(Refusal(kind="unavailable", text=text)) from error
            if not is_used:
                raise _UsedError
            return await self._approved(asked, held)

    @contextmanager
    def _unless_sent(self, intent: int) -> Iterator[None]:
        """Write that what may be sent was not, if the client leaves, or something fails."""
        started = time.time_ns()
        try:
            yield
        except BaseException:
            self.journal.finished(intent, started, Answered(outcome=NOT_SENT))
            raise

    async def _held_for(self, asked: Asked, verdict: Verdict, review: Review) -> Held:
        """Return what a request waits for, or waited for already."""
        acquired: Deferred[DeferredLock] = self._asking.acquire()
        await acquired
        try:
            held = self._held.get(asked.operation.digest)
            if held is not None and held.review != review and held.outcome is None:
                self._held.pop(asked.operation.digest)
                held.pending.withdraw()
                held = None
            return held or await self._ask(asked, verdict, review)
        finally:
            self._asking.release()

    async def _ask(self, asked: Asked, verdict: Verdict, review: Review) -> Held:
        """File a request for approval."""
        if len(self._held) >= WAITING_LIMIT:
            text = f"{WAITING_LIMIT} requests of this session wait for approval already"
            raise RefusedError(Refusal(kind="unavailable", text=text, retry_after=60))
        await self._charge(("operations", "reviews"))
        intent = self.journal.intent(asked, verdict, review, verdict.because)
        try:
            pending = await self.context.reviews.ask(
                self.principal, self.session, asked.shown, review, later=True
            )
        except UnavailableError as error:
            text = f"nobody can be asked to approve it: {error}"
            raise RefusedError(Refusal(kind="unavailable", text=text)) from error
        if self._closed:  # while it was filed: nobody would withdraw it later
            pending.settled.addErrback(lambda failure: None)
            pending.withdraw()
            raise RefusedError(Refusal(kind="denied", text=OVER))
        held = Held(pending, review, intent)
        digest = asked.operation.digest
        self._held[digest] = held
        pending.settled.addBoth(self._settled, digest, held)
        return held

    def _settled(self, outcome: ReviewOutcome | Failure, digest: bytes, held: Held) -> None:
        if isinstance(outcome, Failure):
            outcome = held.lost("the review was lost; ask again")
        try:
            self.journal.settled(held.intent, outcome)
        except RecorderError as error:
            outcome = held.lost(f"the approval cannot be recorded: {error}")
        held.settle(outcome)
        self.context.clock.callLater(APPROVAL_KEPT, self._forget, digest, held)

    def _forget(self, digest: bytes, held: Held) -> None:
        """Let go of an approval for which nobody came again."""
        if self._held.get(digest) is held:
            del self._held[digest]

    async def _wait(self, digest: bytes, held: Held, wait: float) -> None:
        """Wait for people.

        A client that leaves before its time, and was never told to come again, does not want what
        it asked for any more.
        """
        if wait <= 0:
            return
        waiter: Deferred[None] = Deferred()
        held.waiters.append(waiter)
        try:
            await waiter.addTimeout(wait, self.context.clock)
        except DeferredTimeoutError:
            held.told = True
        except CancelledError:
            held.waiters.remove(waiter)
            if not held.waiters and not held.told and self._held.get(digest) is held:
                del self._held[digest]
                held.pending.withdraw()
            raise
        if waiter in held.waiters:
            held.waiters.remove(waiter)

    async def _approved(self, asked: Asked, held: Held) -> Permission:
        """Judge once more: policy may have changed while people thought."""
        verdict = self._judge(asked.operation)
        match verdict.decision:
            case Deny():
                raise self._denied(asked, verdict)
            case Review() as now if not held.review.covers(now):
                text = "the policy asks for more approvals by now"
                raise RefusedError(Refusal(kind="denied", text=text))
            case Review() | Allow():
                pass
        await self._sync(asked.operation, held.review)
        if verdict.grants:
            self.context.grants.used(verdict.grants, self.session)
        return Permission(verdict=verdict, intent=held.intent, approved=held.review)
