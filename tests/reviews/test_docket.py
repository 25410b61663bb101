"""Tests of `hoopgw.reviews.docket`."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import UnavailableError
from hoopgw.events import Origin, Principal
from hoopgw.reviews.docket import (
    TEXT_LIMIT,
    USABLE,
    WAITING_LIMIT_ROOT,
    Docket,
    NoRequestError,
    TooLateError,
    VoteRefusedError,
)
from hoopgw.store.rows import Request, Vote
from tests.store.values import (
    ALICE,
    ALICES_AGENT,
    CAROL,
    DAVE,
    DBA,
    ERIN,
    SECURITY,
    ask,
    digest,
    hop,
    open_store,
    person,
    principal,
)

TEXT = "delete from orders"


class DocketTestCase(SynchronousTestCase):
    """A docket over a real file, at second 1000."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.path = Path(self.mktemp())
        self.store = open_store(self.path)
        self.addCleanup(self.store.close)
        self.settled: list[tuple[Request, tuple[Vote, ...]]] = []
        self.docket = Docket(
            self.store,
            self.clock.seconds,
            lambda request, votes: self.settled.append((request, votes)),
        )

    def approve(self, request: str, *voters: Principal) -> Request:
        """Let persons approve."""
        return [self.docket.vote(request, voter, approve=True) for voter in voters][-1]

    def state(self, request: str) -> str:
        """Return how a request stands in the store."""
        found = self.store.request(request)
        assert found is not None
        return found.state


class LifeTests(DocketTestCase):
    """The states, one after another."""

    def test_approved_and_used_once(self) -> None:
        filed = self.docket.file(ask(TEXT))
        self.assertFalse(self.docket.consume(filed.id, digest(TEXT)))
        approved = self.approve(filed.id, CAROL)
        self.assertEqual((approved.state, approved.note), ("approved", "approved by carol"))
        self.assertEqual(
            [(r.state, [v.person for v in vs]) for r, vs in self.settled],
            [("approved", ["corp|carol"])],
        )
        self.assertTrue(self.docket.consume(filed.id, digest(TEXT)))
        self.assertFalse(self.docket.consume(filed.id, digest(TEXT)))
        self.assertEqual(self.state(filed.id), "consumed")

    def test_an_approval_is_for_one_digest(self) -> None:
        filed = self.docket.file(ask(TEXT))
        self.approve(filed.id, CAROL)
        self.assertFalse(self.docket.consume(filed.id, digest("drop table orders")))
        self.assertFalse(self.docket.consume(filed.id, b""))
        self.assertFalse(self.docket.consume("r-other", digest(TEXT)))
        self.assertTrue(self.docket.consume(filed.id, digest(TEXT)))

    def test_one_denial_ends_it(self) -> None:
        filed = self.docket.file(ask(TEXT, ALICE, evolve(DBA, needed=2)))
        self.approve(filed.id, CAROL)
        denied = self.docket.vote(filed.id, DAVE, approve=False, comment="not\x1b[2J today")
        self.assertEqual(denied.note, "denied by dave: not [2J today")
        self.assertRaises(TooLateError, self.docket.vote, filed.id, CAROL, approve=True)
        self.assertFalse(self.docket.consume(filed.id, digest(TEXT)))

    def test_who_approved_may_still_deny(self) -> None:
        filed = self.docket.file(ask(TEXT, ALICE, evolve(DBA, needed=2)))
        self.approve(filed.id, CAROL)
        self.assertRaises(TooLateError, self.docket.vote, filed.id, CAROL, approve=True)
        self.assertEqual(self.docket.vote(filed.id, CAROL, approve=False).state, "denied")

    def test_two_demands_need_two_persons(self) -> None:
        filed = self.docket.file(ask(TEXT, ALICE, DBA, SECURITY))
        self.assertEqual(self.approve(filed.id, DAVE).state, "requested")
        self.assertEqual(self.settled, [])
        self.assertEqual(self.approve(filed.id, ERIN).state, "approved")

    def test_silence_is_no(self) -> None:
        """At the end of patience, whether or not the sweep came by."""
        filed = self.docket.file(ask(TEXT))
        self.clock.advance(DBA.patience)
        self.assertRaises(TooLateError, self.docket.vote, filed.id, CAROL, approve=True)
        self.docket.expire()
        self.assertEqual(self.state(filed.id), "expired")
        self.assertEqual(self.settled[0][0].note, "nobody of dba answered in 900 s")

    def test_the_shortest_patience_counts_and_no_login_is_outlived(self) -> None:
        hasty = self.docket.file(ask("a", ALICE, DBA, evolve(SECURITY, patience=60.0)))
        self.assertEqual(hasty.expires, 1060.0)
        short = self.docket.file(ask("b", evolve(ALICE, expires=1010.0)))
        self.assertEqual(short.expires, 1010.0)

    def test_an_unused_approval_ends(self) -> None:
        filed = self.docket.file(ask(TEXT))
        self.approve(filed.id, CAROL)
        self.clock.advance(USABLE)
        self.assertFalse(self.docket.consume(filed.id, digest(TEXT)))
        self.docket.expire()
        self.assertEqual(self.state(filed.id), "expired")
        self.assertEqual(len(self.settled), 1)  # the waiter had its answer already

    def test_an_approval_ends_with_the_login_it_is_for(self) -> None:
        filed = self.docket.file(ask(TEXT, evolve(ALICE, expires=1100.0)))
        self.approve(filed.id, CAROL)
        self.clock.advance(100.0)
        self.assertFalse(self.docket.consume(filed.id, digest(TEXT)))

    def test_withdrawn_when_nobody_waits(self) -> None:
        filed = self.docket.file(ask(TEXT))
        self.assertTrue(self.docket.withdraw(filed.id, "the client went away"))
        self.assertFalse(self.docket.withdraw(filed.id, "again"))
        self.assertRaises(TooLateError, self.docket.vote, filed.id, CAROL, approve=True)
        self.assertEqual([r.note for r, _ in self.settled], ["the client went away"])

    def test_an_approval_is_not_withdrawn(self) -> None:
        """It was answered; it ends unused."""
        filed = self.docket.file(ask(TEXT))
        self.approve(filed.id, CAROL)
        self.assertFalse(self.docket.withdraw(filed.id, "gone"))
        self.assertEqual(self.state(filed.id), "approved")

    def test_the_requester_withdraws(self) -> None:
        filed = self.docket.file(ask(TEXT, ALICES_AGENT))
        self.assertRaises(VoteRefusedError, self.docket.withdraw_own, filed.id, CAROL)
        self.assertEqual(self.docket.withdraw_own(filed.id, ALICE).state, "withdrawn")
        self.assertRaises(TooLateError, self.docket.withdraw_own, filed.id, ALICE)

    def test_a_reason_is_given_once_and_before_votes(self) -> None:
        filed = self.docket.file(ask(TEXT, ALICE, evolve(DBA, needed=2, prompt="why?")))
        self.assertRaises(VoteRefusedError, self.docket.give_reason, filed.id, CAROL, "x")
        self.assertRaises(VoteRefusedError, self.approve, filed.id, CAROL)
        self.docket.give_reason(filed.id, ALICE, "INC-1")
        self.assertRaises(TooLateError, self.docket.give_reason, filed.id, ALICE, "INC-2")
        self.approve(filed.id, CAROL)
        self.assertEqual(
            self.docket.file(ask(TEXT, ALICE, evolve(DBA, needed=2, prompt="why?"))).reason, "INC-1"
        )

    def test_nothing_can_be_done_to_what_is_not_there(self) -> None:
        self.assertRaises(NoRequestError, self.docket.vote, "r-x", CAROL, approve=True)
        self.assertRaises(NoRequestError, self.docket.withdraw_own, "r-x", ALICE)
        self.assertFalse(self.docket.withdraw("r-x", ""))


class JoinTests(DocketTestCase):
    """The same operation asked again while it waits."""

    def test_it_joins_and_is_still_one_use(self) -> None:
        first, second = self.docket.file(ask(TEXT)), self.docket.file(ask(TEXT, session="s-2"))
        self.assertEqual(first, second)
        self.approve(first.id, CAROL)
        used = [self.docket.consume(first.id, digest(TEXT)) for _ in range(2)]
        self.assertEqual(used, [True, False])

    def test_anything_else_does_not(self) -> None:
        asks = [
            ask(TEXT),
            ask("select 1"),
            ask(TEXT, CAROL),
            ask(TEXT, ALICES_AGENT),
            evolve(ask(TEXT), target="billing"),
            ask(TEXT, ALICE, evolve(DBA, needed=2)),  # the policy became stricter
        ]
        self.assertEqual(len({self.docket.file(a).id for a in asks}), len(asks))

    def test_a_job_that_somebody_else_set_off(self) -> None:
        """Who set off a job cannot approve it by joining that of somebody else."""
        job = hop("builder", kind="workload")
        first, second = (
            evolve(principal(job), origin=Origin(persons=frozenset({who.root.id})))
            for who in (ALICE, CAROL)
        )
        self.docket.file(ask(TEXT, first))
        hers = self.docket.file(ask(TEXT, second))
        with self.assertRaises(VoteRefusedError):
            self.docket.vote(hers.id, CAROL, approve=True)

    def test_what_has_ended_is_not_joined(self) -> None:
        first = self.docket.file(ask(TEXT))
        self.approve(first.id, CAROL)
        second = self.docket.file(ask(TEXT))
        self.assertNotEqual(first.id, second.id)
        self.clock.advance(DBA.patience)
        third = self.docket.file(ask(TEXT))
        self.assertNotEqual(second.id, third.id)
        self.assertEqual(self.state(second.id), "expired")
        self.assertEqual([r.id for r, _ in self.settled], [first.id, second.id])


class LimitTests(DocketTestCase):
    """What cannot be put before people is refused."""

    def test_one_root_cannot_bury_the_approvers(self) -> None:
        for number in range(WAITING_LIMIT_ROOT):
            self.docket.file(ask(f"q{number}", (ALICE, ALICES_AGENT)[number % 2]))
        self.assertRaises(UnavailableError, self.docket.file, ask("one more"))
        self.assertRaises(UnavailableError, self.docket.file, ask("one more", ALICES_AGENT))
        self.docket.file(ask("q0"))  # joins
        self.docket.file(ask("one more", ERIN))

    def test_a_text_that_nobody_could_read(self) -> None:
        self.docket.file(ask("x" * TEXT_LIMIT))
        self.assertRaises(UnavailableError, self.docket.file, ask("x" * TEXT_LIMIT + "x"))

    def test_a_digest_that_is_none(self) -> None:
        self.assertRaises(UnavailableError, self.docket.file, evolve(ask(TEXT), digest=b""))


class RaceTests(DocketTestCase):
    """Threads with connections of their own to the same file."""

    def race(self, *steps: Callable[[Docket], object]) -> list[object]:
        """Run each step in a thread, all at once; return what came out, errors too."""
        start, results = threading.Barrier(len(steps)), list[object]()

        def run(step: Callable[[Docket], object]) -> None:
            store = open_store(self.path)
            docket = Docket(store, self.clock.seconds)
            start.wait()
            try:
                results.append(step(docket))
            except VoteRefusedError as error:
                results.append(error)
            finally:
                store.close()

        threads = [threading.Thread(target=run, args=(step,)) for step in steps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def test_twenty_uses_are_one(self) -> None:
        filed = self.docket.file(ask(TEXT))
        self.approve(filed.id, CAROL)
        used = self.race(*[lambda d: d.consume(filed.id, digest(TEXT))] * 20)
        self.assertEqual(used.count(True), 1)
        self.assertEqual(used.count(False), 19)

    def test_eight_votes_with_two_needed_approve_once(self) -> None:
        filed = self.docket.file(ask(TEXT, ALICE, evolve(DBA, needed=2)))
        voters = [person(f"dba{number}", "dba") for number in range(8)]
        steps = [
            partial(Docket.vote, request=filed.id, voter=voter, approve=True) for voter in voters
        ]
        results = self.race(*steps)
        states = [result.state for result in results if isinstance(result, Request)]
        self.assertEqual(sorted(states), ["approved", "requested"])
        self.assertEqual(sum(isinstance(r, TooLateError) for r in results), 6)
        self.assertEqual(len(self.store.votes(filed.id)), 2)

    def test_one_person_eight_times_is_one_person(self) -> None:
        filed = self.docket.file(ask(TEXT, ALICE, evolve(DBA, needed=2)))
        results = self.race(*[lambda d: d.vote(filed.id, CAROL, approve=True).state] * 8)
        self.assertEqual(results.count("requested"), 1)
        self.assertEqual(self.state(filed.id), "requested")

    def test_a_denial_and_an_approval_do_not_both_win(self) -> None:
        for text in "abcde":
            request = self.docket.file(ask(text)).id
            self.race(
                partial(Docket.vote, request=request, voter=CAROL, approve=True),
                partial(Docket.vote, request=request, voter=DAVE, approve=False),
                partial(Docket.withdraw, request=request, note="gone"),
            )
            approved = self.state(request) == "approved"
            self.assertIn(self.state(request), ("approved", "denied", "withdrawn"))
            self.assertEqual(self.docket.consume(request, digest(text)), approved)

    def test_the_same_operation_filed_at_once_is_one_request(self) -> None:
        ids = self.race(*[lambda d: d.file(ask(TEXT)).id] * 10)
        self.assertEqual(len(set(ids)), 1)


class AttackTests(DocketTestCase):
    """Who may write to the file, but has not the key, gets no approval."""

    def alter(self, sql: str) -> None:
        """Change the file behind the store's back."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            self.assertGreater(connection.execute(sql).rowcount, 0)
        finally:
            connection.close()

    def test_a_state_that_was_written_in(self) -> None:
        filed = self.docket.file(ask(TEXT))
        self.alter("UPDATE requests SET state = 'approved', usable_until = 99999.0")
        self.assertFalse(self.docket.consume(filed.id, digest(TEXT)))

    def test_a_vote_that_was_written_in(self) -> None:
        filed = self.docket.file(ask(TEXT, ALICE, evolve(DBA, needed=2)))
        self.alter(
            "INSERT INTO votes SELECT id, 'corp|dave', 'dave', '[\"dba\"]', 1, '', 1.0, seal"
            " FROM requests"
        )
        self.assertEqual(self.approve(filed.id, CAROL).state, "requested")

    def test_votes_that_were_taken_away(self) -> None:
        """An approved row without its votes is no approval."""
        filed = self.docket.file(ask(TEXT))
        self.approve(filed.id, CAROL)
        self.alter("DELETE FROM votes")
        self.assertFalse(self.docket.consume(filed.id, digest(TEXT)))

    def test_a_text_that_was_changed_before_the_approver_reads_it(self) -> None:
        filed = self.docket.file(ask(TEXT))
        self.alter("UPDATE requests SET operation = x'73656c6563742031'")
        self.assertRaises(NoRequestError, self.docket.vote, filed.id, CAROL, approve=True)

    def test_a_row_that_was_put_back(self) -> None:
        """A copy of the approved row has a good seal; that it was used is remembered."""
        filed = self.docket.file(ask(TEXT))
        self.approve(filed.id, CAROL)
        connection = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(connection.close)
        (state, settled, until, note, seal) = connection.execute(
            "SELECT state, settled, usable_until, note, seal FROM requests"
        ).fetchone()
        self.assertTrue(self.docket.consume(filed.id, digest(TEXT)))
        connection.execute(
            "UPDATE requests SET state = ?, settled = ?, usable_until = ?, note = ?, seal = ?",
            (state, settled, until, note, seal),
        )
        self.assertEqual(self.state(filed.id), "approved")
        self.assertFalse(self.docket.consume(filed.id, digest(TEXT)))

    def test_a_spoilt_row_does_not_stop_the_sweep(self) -> None:
        self.docket.file(ask("spoilt"))
        other = self.docket.file(ask("other"))
        self.alter("UPDATE requests SET note = 'x' WHERE operation = x'73706f696c74'")
        self.clock.advance(DBA.patience)
        self.docket.expire()
        self.docket.expire()
        self.assertEqual(self.state(other.id), "expired")
        self.assertEqual(self.store.due(self.clock.seconds(), 9), [])
