"""Reviews end to end between a worker and control: `hoopgw.control.desk`, `calls`, `attendance`."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import CancelledError

from hoopgw.control.attendance import SILENCE
from hoopgw.control.desk import GRACE, FiledReview
from hoopgw.errors import UnavailableError
from hoopgw.ipc import RemoteError
from hoopgw.policy.decision import Review
from hoopgw.reviews.docket import TEXT_LIMIT, USABLE
from hoopgw.spi import ReviewOutcome
from tests.control.world import WorkerEnd, WorldCase, operation
from tests.store.values import ALICE, CAROL, DAVE, DBA, digest


class AnswerTests(WorldCase):
    """Somebody answers."""

    def test_approved_is_told_after_the_approval_was_used(self) -> None:
        worker = self.worker()
        review, outcomes = self.ask(worker)
        self.assertEqual((review.groups, review.expires), (("dba",), 1900.0))
        self.docket.vote(review.request, CAROL, approve=True, comment="go")
        self.assertEqual(outcomes, [])
        self.carry()
        (outcome,) = outcomes
        self.assertTrue(outcome.approved)
        self.assertEqual((outcome.voters, outcome.reason), (("corp|carol",), "approved by carol"))
        self.assertEqual(self.state(review.request), "consumed")
        self.assertFalse(self.docket.consume(review.request, digest("delete from orders")))
        self.assertEqual(worker.desk.waiting, 0)

    def test_denied_is_told_with_the_comment(self) -> None:
        review, outcomes = self.ask(self.worker())
        self.docket.vote(review.request, DAVE, approve=False, comment="not today")
        self.carry()
        self.assertFalse(outcomes[0].approved)
        self.assertEqual(outcomes[0].outcome, "denied")
        self.assertEqual(outcomes[0].reason, "denied by dave: not today")

    def test_the_reason_in_the_context_reaches_the_approver(self) -> None:
        worker = self.worker()
        asked = worker.desk.ask(
            ALICE, "s-1", operation(reason="INC-7", rows=3), Review(remedies=(DBA,))
        )
        self.carry()
        stored = self.store.request(self.successResultOf(asked).request)
        assert stored is not None
        self.assertEqual((stored.reason, stored.context["rows"]), ("INC-7", 3))

    def test_no_timer_is_left_behind(self) -> None:
        worker = self.worker()
        review, _ = self.ask(worker)
        self.docket.vote(review.request, CAROL, approve=True)
        self.carry()
        worker.desk.stop()
        worker.client.stop()
        self.carry()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_cannot_be_reviewed_is_refused(self) -> None:
        worker = self.worker()
        long = operation("x" * (TEXT_LIMIT + 1))
        asked = worker.desk.ask(ALICE, "s-1", long, Review(remedies=(DBA,)))
        self.carry()
        error = self.failureResultOf(asked, RemoteError).value
        self.assertIn("cannot be reviewed", str(error))


class SilenceTests(WorldCase):
    """Nobody answers."""

    def test_silence_is_no(self) -> None:
        review, outcomes = self.ask(self.worker())
        self.wait(DBA.patience - 1)
        self.assertEqual((outcomes, self.state(review.request)), ([], "requested"))
        self.wait(1)
        self.assertEqual([o.outcome for o in outcomes], ["expired"])
        self.assertEqual(self.state(review.request), "expired")

    def test_silence_of_control_is_no_too(self) -> None:
        review, outcomes = self.ask(self.worker())
        self.kill()
        self.clock.pump([1.0] * int(DBA.patience + GRACE))
        self.assertEqual([(o.approved, o.outcome) for o in outcomes], [(False, "expired")])
        self.assertEqual(review.request, outcomes[0].request)

    def test_asking_without_control_fails_at_once(self) -> None:
        worker = self.worker()
        self.kill()
        asked = worker.desk.ask(ALICE, "s-1", operation(), Review(remedies=(DBA,)))
        self.failureResultOf(asked, UnavailableError)


class WithdrawTests(WorldCase):
    """Nobody waits any more."""

    def test_withdrawing(self) -> None:
        review, outcomes = self.ask(self.worker())
        review.withdraw()
        self.carry()
        self.assertEqual(outcomes[0].outcome, "withdrawn")
        self.assertEqual(self.state(review.request), "withdrawn")
        review.withdraw()

    def test_cancelling_raises_where_it_is_awaited(self) -> None:
        review, _ = self.ask(self.worker())
        settled = review.settled
        failures: list[object] = []
        settled.addErrback(lambda failure: failures.append(failure.trap(CancelledError)))
        again, _ = self.ask(self.workers[0], "select 2")
        again.settled.addErrback(lambda failure: failure.trap(CancelledError))
        again.settled.cancel()
        self.carry()
        self.assertEqual(self.state(again.request), "withdrawn")
        self.assertEqual(self.state(review.request), "requested")

    def test_the_loss_of_the_workers_connection_withdraws(self) -> None:
        review, outcomes = self.ask(self.worker())
        self.endpoint.cut()
        self.assertEqual(self.state(review.request), "withdrawn")
        self.wait(3)  # it reconnects, and asks how things stand
        self.assertEqual([o.outcome for o in outcomes], ["withdrawn"])

    def test_a_worker_that_hangs_withdraws(self) -> None:
        """Its connection stands, but its heartbeat stops."""
        worker = self.worker()
        review, _ = self.ask(worker)
        self.wait(60)
        self.assertEqual(self.state(review.request), "requested")
        worker.desk._heartbeat.stop()
        self.wait(SILENCE - 6)
        self.assertEqual(self.state(review.request), "requested")
        self.wait(7)
        self.assertEqual(self.state(review.request), "withdrawn")
        worker.desk._heartbeat.start(5.0)

    def test_an_approval_after_the_wait_is_not_used(self) -> None:
        """The session went while the vote was under way."""
        review, outcomes = self.ask(self.worker())
        self.docket.vote(review.request, CAROL, approve=True)
        review.withdraw()  # before the news arrived
        self.carry()
        self.assertEqual([o.outcome for o in outcomes], ["withdrawn"])
        self.assertEqual(self.state(review.request), "approved")  # and ends unused


class JoinTests(WorldCase):
    """Several wait for the same operation."""

    def test_two_sessions_share_a_request_and_one_goes_on(self) -> None:
        worker = self.worker()
        first, one = self.ask(worker, session="s-1")
        second, two = self.ask(worker, session="s-2")
        self.assertEqual(first.request, second.request)
        self.docket.vote(first.request, CAROL, approve=True)
        self.carry()
        self.assertEqual([o.approved for o in (*one, *two)], [True, False])
        self.assertIn("covers one use", two[0].reason)

    def test_two_workers_too(self) -> None:
        first, one = self.ask(self.worker("w1"))
        _, two = self.ask(self.worker("w2"))
        self.docket.vote(first.request, CAROL, approve=True)
        self.carry()
        self.assertEqual(sorted(o.approved for o in (*one, *two)), [False, True])

    def test_it_waits_as_long_as_anybody_does(self) -> None:
        worker = self.worker()
        first, _ = self.ask(worker, session="s-1")
        second, two = self.ask(worker, session="s-2")
        third, _ = self.ask(self.worker("w2"), session="s-3")
        first.withdraw()
        self.carry()
        self.assertEqual(self.state(first.request), "requested")
        second.withdraw()
        self.carry()
        self.assertEqual(self.state(first.request), "requested")
        third.withdraw()
        self.carry()
        self.assertEqual(self.state(first.request), "withdrawn")
        self.assertEqual(len(two), 1)


class LaterTests(WorldCase):
    """Who asks may go and come again, to any worker: an approval waits until it is used."""

    def file(self, worker: WorkerEnd) -> tuple[FiledReview, list[ReviewOutcome]]:
        """File a request whose approval is to wait."""
        asked = worker.desk.ask(ALICE, "s-1", operation(), Review(remedies=(DBA,)), later=True)
        self.carry()
        review = self.successResultOf(asked)
        assert isinstance(review, FiledReview)
        outcomes: list[ReviewOutcome] = []
        review.settled.addCallback(outcomes.append)
        return review, outcomes

    def used(self, review: FiledReview) -> bool:
        """Use an approval."""
        using = review.use()
        self.carry()
        return bool(self.successResultOf(using))

    def test_an_approval_waits_until_it_is_used_and_is_used_once(self) -> None:
        review, outcomes = self.file(self.worker())
        self.docket.vote(review.request, CAROL, approve=True)
        self.carry()
        self.assertEqual([o.approved for o in outcomes], [True])
        self.assertEqual(self.state(review.request), "approved")
        self.assertEqual([self.used(review), self.used(review)], [True, False])
        self.assertEqual(self.state(review.request), "consumed")

    def test_what_was_approved_is_joined_at_another_worker(self) -> None:
        first, _ = self.file(self.worker("w1"))
        self.docket.vote(first.request, CAROL, approve=True)
        self.carry()
        second, outcomes = self.file(self.worker("w2"))
        self.assertEqual(second.request, first.request)
        self.assertEqual([(o.approved, o.voters) for o in outcomes], [(True, ("corp|carol",))])
        self.assertEqual([self.used(second), self.used(first)], [True, False])
        third, _ = self.file(self.workers[0])
        self.assertNotEqual(third.request, first.request)

    def test_also_after_the_worker_that_asked_has_gone(self) -> None:
        worker = self.worker("w1")
        first, _ = self.file(worker)
        self.docket.vote(first.request, CAROL, approve=True)
        self.carry()
        self.endpoint.cut()
        worker.client.stop()
        second, outcomes = self.file(self.worker("w2"))
        self.assertEqual((second.request, outcomes[0].approved), (first.request, True))
        self.assertTrue(self.used(second))

    def test_who_does_not_come_again_does_not_join(self) -> None:
        """A session that is not asked for by a client again asks people anew."""
        first, _ = self.file(self.worker("w1"))
        self.docket.vote(first.request, CAROL, approve=True)
        self.carry()
        second, outcomes = self.ask(self.worker("w2"))
        self.assertNotEqual(second.request, first.request)
        self.assertEqual(outcomes, [])

    def test_an_approval_that_has_ended_is_not_joined(self) -> None:
        first, _ = self.file(self.worker("w1"))
        self.docket.vote(first.request, CAROL, approve=True)
        self.carry()
        self.wait(USABLE)
        second, outcomes = self.file(self.worker("w2"))
        self.assertNotEqual(second.request, first.request)
        self.assertEqual(outcomes, [])

    def test_using_one_without_control_fails(self) -> None:
        review, _ = self.file(self.worker())
        self.docket.vote(review.request, CAROL, approve=True)
        self.carry()
        self.kill()
        self.failureResultOf(review.use(), UnavailableError)


class RestartTests(WorldCase):
    """Control is killed and comes back."""

    def test_a_held_operation_survives(self) -> None:
        review, outcomes = self.ask(self.worker())
        self.kill()
        self.clock.advance(2.0)
        self.begin()
        self.wait(SILENCE + 10)
        self.assertEqual((self.state(review.request), outcomes), ("requested", []))
        self.docket.vote(review.request, CAROL, approve=True)
        self.carry()
        self.assertEqual([o.approved for o in outcomes], [True])

    def test_what_was_approved_just_before_is_told_afterwards(self) -> None:
        review, outcomes = self.ask(self.worker())
        self.docket.vote(review.request, CAROL, approve=True)
        self.kill()  # before the news went out
        self.begin()
        self.wait(10)
        self.assertEqual([o.approved for o in outcomes], [True])
        self.assertEqual(self.state(review.request), "consumed")

    def test_what_nobody_comes_back_for_is_withdrawn(self) -> None:
        worker = self.worker()
        review, _ = self.ask(worker)
        self.kill()
        worker.client.stop()
        self.begin()
        self.wait(SILENCE - 1)
        self.assertEqual(self.state(review.request), "requested")
        self.wait(2)
        self.assertEqual(self.state(review.request), "withdrawn")

    def test_a_request_that_is_not_in_the_store_is_over(self) -> None:
        """The store was lost: the session is told, and nothing runs."""
        _, outcomes = self.ask(self.worker())
        self.kill()
        self.store._db.connection.execute("DELETE FROM requests")
        self.begin()
        self.wait(10)
        self.assertEqual([o.outcome for o in outcomes], ["withdrawn"])

    def test_an_approval_that_cannot_be_confirmed_is_none(self) -> None:
        """The connection goes between the news and the use of it."""
        review, outcomes = self.ask(self.worker())
        self.docket.vote(review.request, CAROL, approve=True)
        for wire in self.endpoint.wires:
            wire.carry()  # the news arrives; the call to use it is not carried
        self.kill()
        self.assertEqual([o.approved for o in outcomes], [False])
        self.assertIn("could not be confirmed", outcomes[0].reason)


class HostileTests(WorldCase):
    """Calls that are not as they should be change nothing."""

    def call(self, name: str, /, **body: object) -> str:
        """Call, and return the error's text."""
        answer = self.workers[0].client.call(name, **body)
        self.carry()
        return str(self.failureResultOf(answer, RemoteError).value)

    def test_malformed_calls(self) -> None:
        self.worker()
        for name, body in (
            ("review_ask", {}),
            ("review_ask", {"principal": {"chain": []}}),
            ("review_consume", {"request": "r"}),
            ("review_alive", {"requests": 7}),
            ("session_opened", {"session": "s", "principal": 3}),
            ("agent_status", {"agents": [1]}),
            ("metrics", {}),
            ("agent_certificate", {"name": "a"}),
        ):
            self.assertIn("malformed", self.call(name, **body), name)
        self.assertIn("no such session password", self.call("session_password", handle="x"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_nothing_before_the_greeting(self) -> None:
        calls = self.board.make_calls()
        for name, handler in calls.handlers().items():
            if name != "hello":
                self.assertRaises(UnavailableError, handler, {})

    def test_a_wrong_digest_consumes_nothing(self) -> None:
        worker = self.worker()
        review, outcomes = self.ask(worker)
        review.digest = digest("drop table orders")
        self.docket.vote(review.request, CAROL, approve=True)
        self.carry()
        self.assertEqual([o.approved for o in outcomes], [False])
        self.assertEqual(self.state(review.request), "approved")

    def test_two_persons_are_needed(self) -> None:
        review, outcomes = self.ask(self.worker(), remedy=evolve(DBA, needed=2))
        self.docket.vote(review.request, CAROL, approve=True)
        self.carry()
        self.assertEqual(outcomes, [])
        self.docket.vote(review.request, DAVE, approve=True)
        self.carry()
        self.assertEqual(outcomes[0].voters, ("corp|carol", "corp|dave"))
