"""Tests for `hoopgw.sessions.deciding`: policy, grants, budgets, people, then what was asked."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import RecorderError, UnavailableError
from hoopgw.events import Access, Hop, Operation, Principal, Resource
from hoopgw.http.messages import RequestHead
from hoopgw.http.model import Plan, status_of
from hoopgw.policy.decision import Allow, Deny, Remedy, Review, Use, Verdict
from hoopgw.recording.inputs import InputBook
from hoopgw.recording.records import Intent, Result, ReviewSettled
from hoopgw.sessions.deciding import APPROVAL_KEPT, OVER, WAITING_LIMIT, Decider, Permission
from hoopgw.sessions.journal import NOT_SENT, Opening, SessionJournal
from hoopgw.sessions.refusals import Refusal, RefusedError
from hoopgw.spi import GatewayContext, ReviewOutcome
from tests.fakes import FakeRecorder

ALICE = Principal(
    chain=(Hop(id="corp|alice", name="alice", kind="person"),), session="login-1", expires=1e9
)
REVIEW = Review(remedies=(Remedy(rule="four-eyes", groups=frozenset({"dba"})),))


def plan(number: int = 0) -> Plan:
    """Return a request; those of different numbers are different."""
    resource = Resource(type="Web::Target", id="api")
    return Plan(
        operation=Operation(
            protocol="web",
            target="api",
            action="delete",
            accesses=(Access(action="Web::delete", resource=resource),),
            text=f"DELETE /things/{number}",
            digest=number.to_bytes(32, "big"),
        ),
        send=RequestHead("DELETE", f"/things/{number}"),
    )


@define(eq=False)
class Pending:
    """A request for approval that a test settles."""

    request: str
    settled: Deferred[ReviewOutcome] = field(factory=Deferred)
    uses: int = 1
    """How often an approval can still be used."""

    def use(self) -> Deferred[bool]:
        """As the desk does."""
        self.uses -= 1
        return succeed(self.uses >= 0)

    def withdraw(self) -> None:
        """As the desk does."""
        if not self.settled.called:
            self.settle("withdrawn")

    def settle(self, outcome: str) -> None:
        """End it."""
        self.settled.callback(
            ReviewOutcome(
                approved=outcome == "approved",
                request=self.request,
                outcome=outcome,
                reason=f"it was {outcome}",
            )
        )


class DeciderCase(SynchronousTestCase):
    """A session's decider among fakes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.recorder = FakeRecorder()
        self.verdict = Verdict(decision=Allow(), because=("p",), policy="v1")
        self.asked: list[Pending] = []
        self.unanswered = False
        self.used: list[str] = []
        self.usable = True
        self.said: list[Any] = []
        context = SimpleNamespace(
            clock=self.clock,
            policy=SimpleNamespace(decide=lambda *_: self.verdict),
            reviews=SimpleNamespace(ask=self.ask),
            grants=SimpleNamespace(
                url="https://gw.example",
                use=lambda use, _session, _digest: succeed(self.usable),
                used=lambda grants, _session: self.used.extend(grants),
                refused=lambda _principal, operation: self.said.append(operation),
            ),
        )
        opening = Opening(
            session="s-1",
            protocol="web",
            target="api",
            account="a",
            principal=ALICE,
            method="token",
            address="127.0.0.1",
            agent="local",
        )
        self.decider = Decider(
            context=cast("GatewayContext", context),
            principal=ALICE,
            session="s-1",
            journal=SessionJournal(self.recorder, opening, InputBook()),
            purse=None,
            strict=False,
            patience=60.0,
        )

    def ask(self, *_arguments: object, later: bool) -> Deferred[Any]:
        """File a request."""
        if self.unanswered:
            return fail(UnavailableError("control is away"))
        self.asked.append(Pending(f"r-{len(self.asked)}"))
        return succeed(self.asked[-1])

    def decide(self, number: int = 0, patience: float | None = None) -> Deferred[Permission]:
        """Ask for a request."""
        return Deferred.fromCoroutine(self.decider.decide(plan(number), patience))

    def refused(self, deciding: Deferred[Permission]) -> Refusal:
        """Return why it was refused."""
        error = self.failureResultOf(deciding, RefusedError).value
        assert isinstance(error, RefusedError)
        return error.refusal

    def decisions(self) -> list[str]:
        """Return what the intents say."""
        return [each.decision for each in self.recorder.of(Intent)]


class VerdictTests(DeciderCase):
    """What policy says, is done, and recorded before it is done."""

    def test_allowed(self) -> None:
        permission = self.successResultOf(self.decide())
        (intent,) = self.recorder.of(Intent)
        self.assertEqual((intent.decision, intent.sequence), ("allow", permission.intent))
        self.assertEqual(intent.text, b"DELETE /things/0")

    def test_strict_waits_until_it_is_on_disk(self) -> None:
        self.decider.strict = True
        synced: Deferred[None] = Deferred()
        self.patch(self.recorder, "sync", lambda: synced)
        deciding = self.decide()
        self.assertNoResult(deciding)
        synced.callback(None)
        self.successResultOf(deciding)

    def test_what_ended_while_it_was_synced_is_not_sent(self) -> None:
        """A grant, a log-in, or a policy that asks people by now; the record says it."""
        self.decider.strict = True
        granted = Verdict(decision=Allow(), policy="v1", grants=("g-1",))
        over = Verdict(decision=Deny(reason="not any more"), policy="v1")
        for now in (over, Verdict(decision=REVIEW, policy="v1")):
            self.verdict = granted
            synced: Deferred[None] = Deferred()
            self.patch(self.recorder, "sync", lambda synced=synced: synced)
            deciding = self.decide()
            self.verdict = now
            synced.callback(None)
            self.assertEqual(self.refused(deciding).text, OVER)
            self.assertEqual(self.recorder.of(Result)[-1].outcome, NOT_SENT)
        self.assertEqual(self.used, [])

    def test_a_session_that_ended_while_it_was_synced_sends_nothing(self) -> None:
        self.decider.strict = True
        synced: Deferred[None] = Deferred()
        self.patch(self.recorder, "sync", lambda: synced)
        deciding = self.decide()
        self.decider.close()
        synced.callback(None)
        self.assertEqual(self.refused(deciding).text, OVER)

    def test_a_grant_for_one_call_is_used_up_by_it(self) -> None:
        """Policy does not know of it any more when it is asked again: that is no end of it."""
        self.decider.strict = True
        use = Use(grant="g-1", digest=plan().operation.digest)
        self.verdict = Verdict(decision=Deny(reason="no", uses=(use,)), policy="v1")
        self.successResultOf(self.decide())
        self.assertEqual(self.used, ["g-1"])

    def test_denied(self) -> None:
        self.verdict = Verdict(decision=Deny(reason="not here"), because=("p",), policy="v1")
        refusal = self.refused(self.decide())
        self.assertEqual(
            (refusal.kind, refusal.text, status_of(refusal)), ("denied", "not here", 403)
        )
        self.assertIn("p", refusal.hint)
        self.assertEqual(self.decisions(), ["deny"])

    def test_what_would_cure_it_is_told(self) -> None:
        denied = Verdict(decision=Deny(reason="no"), policy="v1", cures=("deployer",))
        self.verdict = denied
        refusal = self.refused(self.decide(3))
        self.assertIn("hoopgw request --target api --grant deployer", refusal.hint)
        self.assertEqual(refusal.detail["digest"], plan(3).operation.digest.hex())
        self.assertEqual([each.digest for each in self.said], [plan(3).operation.digest])

    def test_a_grant_that_can_be_used(self) -> None:
        use = Use(grant="g-1", because=("granted",))
        self.verdict = Verdict(decision=Deny(reason="no", uses=(use,)), policy="v1")
        self.successResultOf(self.decide())
        self.assertEqual(self.used, ["g-1"])
        self.usable = False
        self.assertEqual(self.refused(self.decide()).kind, "denied")
        self.assertEqual(self.decisions(), ["allow", "deny"])

    def test_what_cannot_be_recorded_is_not_done(self) -> None:
        def full(_record: object) -> None:
            raise RecorderError("the disk is full")

        self.patch(self.recorder, "write", full)
        for decision in (Allow(), Deny(reason="no"), REVIEW):
            self.verdict = Verdict(decision=decision, policy="v1")
            refusal = self.refused(self.decide())
            self.assertEqual(refusal.kind, "unavailable")
            self.assertIn("cannot be recorded", refusal.text)
        self.assertEqual(self.asked, [])


class HoldTests(DeciderCase):
    """What waits for people."""

    def setUp(self) -> None:
        super().setUp()
        self.verdict = Verdict(decision=REVIEW, because=("four-eyes",), policy="v1")

    def outcomes(self) -> list[str]:
        """Return what was recorded of reviews."""
        return [each.outcome for each in self.recorder.of(ReviewSettled)]

    def test_approved_while_the_client_waits(self) -> None:
        deciding = self.decide()
        self.assertNoResult(deciding)
        self.asked[0].settle("approved")
        permission = self.successResultOf(deciding)
        self.assertEqual(self.decisions(), ["review"])
        (settled,) = self.recorder.of(ReviewSettled)
        self.assertEqual((settled.intent, settled.outcome), (permission.intent, "approved"))

    def test_denied_and_expired(self) -> None:
        for outcome in ("denied", "expired"):
            deciding = self.decide()
            self.asked[-1].settle(outcome)
            refusal = self.refused(deciding)
            self.assertEqual((refusal.kind, refusal.text), ("denied", f"it was {outcome}"))

    def test_the_client_comes_again(self) -> None:
        """Told so after a while; then the same request joins, and an approval is used once."""
        first = self.decide()
        self.clock.advance(60.0)
        refusal = self.refused(first)
        self.assertEqual((refusal.kind, refusal.request, status_of(refusal)), ("held", "r-0", 403))
        self.assertIn("dba", refusal.text)
        second = self.decide()
        self.assertEqual(len(self.asked), 1)
        self.asked[0].settle("approved")
        self.successResultOf(second)
        self.decide()
        self.assertEqual(len(self.asked), 2)

    def test_approved_while_the_client_is_away(self) -> None:
        self.refused(self.decide(patience=0))
        self.asked[0].settle("approved")
        self.successResultOf(self.decide())
        self.assertEqual(len(self.asked), 1)

    def test_an_approval_that_another_worker_has_used(self) -> None:
        """The client went there first: here it is asked for anew, and not refused."""
        self.refused(self.decide(patience=0))
        self.asked[0].settle("approved")
        self.asked[0].uses = 0
        deciding = self.decide()
        self.assertEqual(len(self.asked), 2)
        self.asked[1].settle("approved")
        self.successResultOf(deciding)
        self.assertEqual([each.outcome for each in self.recorder.of(Result)], [NOT_SENT])

    def test_of_two_workers_that_wait_one_goes(self) -> None:
        deciding = self.decide()
        self.asked[0].uses = 0
        self.asked[0].settle("approved")
        self.assertIn("one use", self.refused(deciding).text)

    def test_an_approval_that_cannot_be_used_now(self) -> None:
        deciding = self.decide()
        self.patch(Pending, "use", lambda _self: fail(UnavailableError("control is away")))
        self.asked[0].settle("approved")
        self.assertEqual(self.refused(deciding).kind, "unavailable")

    def test_an_approval_does_not_wait_for_ever(self) -> None:
        self.refused(self.decide(patience=0))
        self.asked[0].settle("approved")
        self.clock.advance(APPROVAL_KEPT)
        self.refused(self.decide(patience=0))
        self.assertEqual(len(self.asked), 2)

    def test_of_two_that_wait_one_goes(self) -> None:
        first, second = self.decide(), self.decide()
        self.asked[0].settle("approved")
        self.successResultOf(first)
        self.assertIn("one use", self.refused(second).text)

    def test_other_requests_do_not_join(self) -> None:
        self.decide(1)
        self.decide(2)
        self.assertEqual(len(self.asked), 2)
        self.asked[0].settle("approved")
        self.assertEqual(self.asked[1].settled.called, False)

    def test_a_client_that_leaves_withdraws(self) -> None:
        deciding = self.decide()
        deciding.cancel()
        self.failureResultOf(deciding, CancelledError)
        self.assertEqual(self.outcomes(), ["withdrawn"])

    def test_a_client_that_leaves_later_does_not(self) -> None:
        """It was told to come again, so its request waits whether or not it is there."""
        self.refused(self.decide(patience=0))
        deciding = self.decide()
        deciding.cancel()
        self.failureResultOf(deciding, CancelledError)
        self.asked[0].settle("approved")
        self.successResultOf(self.decide())

    def test_the_policy_changes_meanwhile(self) -> None:
        more = Review(remedies=(*REVIEW.remedies, Remedy(rule="two", groups=frozenset({"x"}))))
        for decision in (Deny(reason="not any more"), more):
            self.verdict = Verdict(decision=REVIEW, policy="v1")
            deciding = self.decide()
            self.verdict = Verdict(decision=decision, policy="v2")
            self.asked[-1].settle("approved")
            self.assertEqual(self.refused(deciding).kind, "denied")

    def test_the_policy_changes_while_an_approved_one_is_synced(self) -> None:
        synced: Deferred[None] = Deferred()
        self.patch(self.recorder, "sync", lambda: synced)
        deciding = self.decide()
        self.asked[0].settle("approved")
        self.assertNoResult(deciding)
        self.verdict = Verdict(decision=Deny(reason="not any more"), policy="v2")
        synced.callback(None)
        self.assertEqual(self.refused(deciding).text, OVER)
        self.assertEqual(self.recorder.of(Result)[-1].outcome, NOT_SENT)

    def test_a_request_that_needs_other_approvals_is_asked_anew(self) -> None:
        self.refused(self.decide(patience=0))
        other = evolve(REVIEW, remedies=(Remedy(rule="two", groups=frozenset({"x"})),))
        self.verdict = Verdict(decision=other, policy="v2")
        self.refused(self.decide(patience=0))
        self.assertEqual(self.outcomes(), ["withdrawn"])
        self.assertEqual(len(self.asked), 2)

    def test_an_approval_that_cannot_be_recorded_is_none(self) -> None:
        deciding = self.decide()

        def full(_record: object) -> None:
            raise RecorderError("the disk is full")

        self.patch(self.recorder, "write", full)
        self.asked[0].settle("approved")
        self.assertIn("cannot be recorded", self.refused(deciding).text)

    def test_nobody_can_be_asked(self) -> None:
        self.unanswered = True
        self.assertEqual(self.refused(self.decide()).kind, "unavailable")

    def test_not_without_end(self) -> None:
        for number in range(WAITING_LIMIT):
            self.decide(number)
        refusal = self.refused(self.decide(WAITING_LIMIT))
        self.assertEqual((refusal.kind, refusal.retry_after), ("unavailable", 60))

    def test_the_session_ends(self) -> None:
        deciding = self.decide()
        self.refused(self.decide(1, patience=0))
        self.decider.close()
        self.assertEqual(self.outcomes(), ["withdrawn", "withdrawn"])
        self.assertEqual(self.refused(deciding).kind, "denied")


@define(eq=False)
class FakePurse:
    """A budget of some operations."""

    left: dict[str, int]
    spent: list[str] = field(factory=list)

    def spend(self, names: Sequence[str]) -> bool:
        """Use some, if they are at hand."""
        if any(self.left.get(name, 0) < 1 for name in names) or self.left.get("bytes", 1) < 1:
            return False
        for name in names:
            self.left[name] -= 1
            self.spent.append(name)
        return True

    def fund(self, names: Sequence[str]) -> Deferred[str]:
        """There is no more."""
        return succeed("the budget of planner is used up")


class BudgetTests(DeciderCase):
    """What a chain pays."""

    def setUp(self) -> None:
        super().setUp()
        self.purse = FakePurse({"operations": 2, "reviews": 1})
        self.decider.purse = cast("Any", self.purse)

    def test_each_request_is_paid_for(self) -> None:
        for _ in range(2):
            self.successResultOf(self.decide())
        refusal = self.refused(self.decide())
        self.assertEqual(refusal.text, "the budget of planner is used up")
        self.assertEqual(status_of(refusal), 429)
        self.assertEqual(self.decisions(), ["allow", "allow"])

    def test_a_held_one_too(self) -> None:
        self.verdict = Verdict(decision=REVIEW, policy="v1")
        self.decide()
        self.assertEqual(self.purse.spent, ["operations", "reviews"])

    def test_a_refused_one_not(self) -> None:
        self.verdict = Verdict(decision=Deny(reason="no"), policy="v1")
        self.refused(self.decide())
        self.assertEqual(self.purse.spent, [])

    def test_what_ended_while_it_was_paid_for_is_not_sent(self) -> None:
        """A grant, a policy, a log-in: who looked at what runs did not see it."""
        granted = Verdict(decision=Allow(), policy="v1", grants=("g-1",))
        over = Verdict(decision=Deny(reason="not any more"), policy="v1")
        for now in (over, Verdict(decision=REVIEW, policy="v1"), None):
            self.verdict, paid = granted, Deferred[str]()
            purse = SimpleNamespace(spend=lambda _names: False, fund=lambda _names, paid=paid: paid)
            self.decider.purse = cast("Any", purse)
            deciding = self.decide()
            if now is None:
                self.decider.close()
            else:
                self.verdict = now
            paid.callback("")
            self.assertEqual(self.refused(deciding).text, OVER)
            self.assertEqual(self.recorder.of(Result)[-1].outcome, NOT_SENT)
        self.assertEqual(self.used, [])

    def test_no_bytes_left(self) -> None:
        self.purse.left["bytes"] = 0
        self.assertEqual(self.refused(self.decide()).text, "the budget of planner is used up")
