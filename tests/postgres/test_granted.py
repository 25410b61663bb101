"""Tests for what grants do in a PostgreSQL session."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Operation, Principal
from hoopgw.policy.decision import Allow, Deny, Remedy, Review, Use, Verdict
from hoopgw.recording.records import Intent
from hoopgw_postgres import wire
from tests.postgres.conversation import Conversation, FakePolicy, complete, fields
from tests.postgres.test_budgets import FakePurse

READY = wire.ready(b"I")
USE = Use(grant="g-1", digest=None, because=("t-read/g-1",))


class FakeGrants:
    """Keeps what is asked, and answers when told to."""

    url = "https://gateway.example/v1/grants"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self.answers: list[Deferred[bool]] = []
        self.were_used: list[tuple[tuple[str, ...], str]] = []
        self.were_refused: list[Operation] = []

    def use(self, use: Use, session: str, digest: bytes) -> Deferred[bool]:
        self.asked.append((use.grant, session, digest))
        self.answers.append(Deferred())
        return self.answers[-1]

    def used(self, grants: Collection[str], session: str) -> None:
        self.were_used.append((tuple(grants), session))

    def refused(self, principal: Principal, operation: Operation) -> None:
        self.were_refused.append(operation)


class GrantingPolicy(FakePolicy):
    """Says of every select what it is told to."""

    verdict = Verdict(decision=Allow())

    def decide(self, principal: Principal, operation: Operation, session: str = "") -> Verdict:
        if operation.action in ("select", "copy_in"):
            return evolve(self.verdict, policy=self.version)
        return super().decide(principal, operation, session)


class GrantedCase(SynchronousTestCase):
    """A session whose selects hang on a grant."""

    def setUp(self) -> None:
        self.policy, self.grants = GrantingPolicy(), FakeGrants()
        self.talk = Conversation(policy=self.policy)
        judge: Any = self.talk.session._judge
        judge.grants, judge._session = self.grants, "s1"

    def say(self, **verdict: Any) -> None:
        """Have the policy say something else from now on."""
        self.policy.verdict = Verdict(**verdict)
        self.policy.epoch += "+"

    def intents(self) -> list[tuple[str, list[str]]]:
        """Return what was recorded."""
        return [(i.decision, i.because) for i in self.talk.recorder.of(Intent)]


class RefusalTests(GrantedCase):
    """What a refusal says."""

    def test_what_would_help(self) -> None:
        """A command in the hint, JSON of one line in the detail; control hears of the call."""
        self.say(decision=Deny(reason="no"), cures=("read",), breakglass=("now",))
        (query, _ready) = self.refusal(wire.query(b"SELECT 1"))
        self.assertEqual(
            query["H"],
            "hoopgw request --target orders --grant read --for 15m --reason ...\n"
            "in an emergency: hoopgw grants breakglass --target orders --grant now --reason ...",
        )
        told = json.loads(query["D"])
        self.assertNotIn("\n", query["D"])
        (operation,) = self.grants.were_refused
        self.assertEqual(
            told,
            {
                "code": "grant_required",
                "grants": ["read"],
                "target": "orders",
                "request": self.grants.url,
                "breakglass": ["now"],
                "digest": operation.digest.hex(),
            },
        )
        (intent,) = self.talk.recorder.of(Intent)
        self.assertEqual(intent.digest, operation.digest)

    def test_nothing_would_help(self) -> None:
        """Then it says so by saying nothing of grants."""
        self.say(decision=Deny(reason="no"), because=("never",))
        (query, _ready) = self.refusal(wire.query(b"SELECT 1"))
        self.assertEqual((query["D"], query.get("H")), ("Decided by policy: never.", None))
        self.assertEqual(self.grants.were_refused, [])

    def test_a_parse_is_no_call(self) -> None:
        """What will be bound is not known then, so there is nothing to ask for as one call."""
        self.say(decision=Deny(reason="no"), cures=("read",))
        self.talk.say(wire.parse_message(b"", b"SELECT 1"), wire.message(b"S"))
        self.assertEqual(self.grants.were_refused, [])

    def refusal(self, *messages: bytes) -> list[Any]:
        """Be refused; return the error's fields and what follows."""
        self.talk.say(*messages)
        answered = self.talk.answer(wire.report(b"E", "ERROR", "26000", "none"), READY)
        return [fields(body) if kind == "E" else body for kind, body in answered]


class HeldTests(GrantedCase):
    """What a grant permits once people approve it."""

    REMEDY = Remedy(rule="ask", groups=frozenset({"dba"}))

    def hold(self) -> None:
        """Have a statement held that only a grant permits."""
        self.say(decision=Review(remedies=(self.REMEDY,)), grants=("g-1",))
        self.assertEqual(self.talk.say(wire.query(b"SELECT 1")), [])
        self.assertEqual(self.grants.were_used, [])

    def test_its_grant_is_used_when_it_runs(self) -> None:
        """And not when it is put before people, who may deny it."""
        self.hold()
        self.talk.reviews.asked[0].settle("approved")
        self.assertEqual(self.grants.were_used, [(("g-1",), "s1")])

    def test_its_grant_ends_while_it_runs(self) -> None:
        """So it has to end, too; not as long as it would still only have to be approved."""
        self.hold()
        self.talk.reviews.asked[0].settle("approved")
        self.assertIsNone(self.talk.session.reconsider())
        self.say(decision=Deny(reason="no"))
        self.assertIsNotNone(self.talk.session.reconsider())

    def test_its_grant_ends_before_its_record_is_on_the_disk(self) -> None:
        """Nobody who looked at what runs has seen it, so it does not begin to."""
        self.hold()
        self.talk.recorder.hold_syncs = True
        self.talk.reviews.asked[0].settle("approved")
        self.say(decision=Deny(reason="no"))
        self.assertIsNone(self.talk.session.reconsider())
        self.talk.recorder.syncs[0].callback(None)
        self.assertNotIn(b"SELECT", bytes(self.talk.target.written))
        self.assertNotEqual(self.talk.target.written, b"")

    def test_policy_that_asks_more_meanwhile(self) -> None:
        """One approval is not two, nor that of another group."""
        for more in (evolve(self.REMEDY, needed=2), evolve(self.REMEDY, groups=frozenset("x"))):
            self.setUp()
            self.hold()
            self.talk.client.take()
            self.say(decision=Review(remedies=(more,)))
            self.talk.reviews.asked[0].settle("approved")
            self.assertNotIn(b"SELECT", bytes(self.talk.target.written))
            self.assertEqual(self.grants.were_used, [])


class UseTests(GrantedCase):
    """Grants that are used up, or claimed."""

    def setUp(self) -> None:
        super().setUp()
        self.say(decision=Deny(reason="no", uses=(USE,)))

    def test_used(self) -> None:
        """It runs when control says so, recorded as what allowed it, synced before."""
        self.assertEqual(self.talk.say(wire.query(b"SELECT 1")), [])
        self.assertEqual(self.intents(), [])
        self.talk.recorder.hold_syncs = True
        self.grants.answers[0].callback(True)
        self.assertEqual(self.intents(), [("allow", ["t-read/g-1"])])
        self.assertEqual(self.talk.target.take(), [])
        self.talk.recorder.syncs[0].callback(None)
        self.assertEqual(self.talk.target.take(), [("Q", b"SELECT 1\0")])
        self.talk.answer(complete("SELECT 1"), READY)
        # The next one asks again: what was used up is used up.
        self.assertEqual(self.talk.say(wire.query(b"SELECT 1")), [])
        self.assertEqual([asked[0] for asked in self.grants.asked], ["g-1", "g-1"])

    def test_not_to_be_used(self) -> None:
        """It is refused as without a grant."""
        self.talk.say(wire.query(b"SELECT 1"))
        self.grants.answers[0].callback(False)
        self.assertEqual(self.intents(), [("deny", [])])
        ((kind, body),) = self.talk.target.take()
        self.assertEqual(kind, "Q")
        self.assertIn(b"hoopgw_refused", body)

    def test_executed(self) -> None:
        """A Parse passes, because nothing runs by it; the Execute asks, with what was bound."""
        bind = wire.message(b"B", b"\0\0\0\0\0\1\0\0\0\1x\0\0")
        sent = self.talk.say(
            wire.parse_message(b"", b"SELECT $1"), bind, wire.message(b"E", b"\0" + bytes(4))
        )
        self.assertEqual([kind for kind, _ in sent], ["P", "B"])
        self.assertEqual(len(self.grants.asked), 1)
        self.grants.answers[0].callback(True)
        self.assertEqual([kind for kind, _ in self.talk.target.take()], ["E"])

    def test_what_is_sent_behind_it(self) -> None:
        """Waits."""
        self.talk.say(wire.query(b"SELECT 1"))
        self.assertEqual(self.talk.say(wire.query(b"UPDATE t SET a = 1 WHERE b = 2")), [])
        self.grants.answers[0].callback(True)
        self.assertEqual([kind for kind, _ in self.talk.target.take()], ["Q", "Q"])

    def test_the_client_leaves(self) -> None:
        """Nothing runs then, though the grant is used."""
        self.talk.say(wire.query(b"SELECT 1"))
        self.talk.session.client_lost()
        self.talk.target.take()
        self.grants.answers[0].callback(True)
        self.assertEqual((self.talk.target.take(), self.intents()), ([], []))

    def test_one_call_with_data_behind_it(self) -> None:
        """A digest does not cover what comes later, so there is no such use."""
        call = evolve(USE, digest=bytes(32))
        self.say(decision=Deny(reason="no", uses=(call,)))
        self.talk.say(wire.query(b"COPY t FROM STDIN"))
        self.assertEqual(self.grants.asked, [])

    def test_a_recorder_that_does_not_take_it(self) -> None:
        self.talk.say(wire.query(b"SELECT 1"))
        self.talk.recorder.full = True
        self.grants.answers[0].callback(True)
        ((_kind, body),) = self.talk.target.take()
        self.assertIn(b"hoopgw_refused", body)


class GlassTests(GrantedCase):
    """Broken glass."""

    def test_on_the_disk_first(self) -> None:
        """Each intent is synced before it runs, though the target does not ask for that."""
        self.say(decision=Allow(), strict=True, grants=("g-9",), because=("t-glass/g-9",))
        self.talk.recorder.hold_syncs = True
        for _ in range(2):
            self.assertEqual(self.talk.say(wire.query(b"SELECT 1")), [])
            self.talk.recorder.syncs.pop().callback(None)
            self.assertEqual(self.talk.target.take(), [("Q", b"SELECT 1\0")])
            self.talk.answer(complete("SELECT 1"), READY)
        self.assertEqual(self.intents(), [("allow", ["t-glass/g-9"])] * 2)
        self.assertEqual(set(self.grants.were_used), {(("g-9",), "s1")})


class ReconsiderTests(GrantedCase):
    """Looking at a session whose grants have changed."""

    def test_nothing_under_way(self) -> None:
        """It goes on as long as it may be there."""
        self.assertIsNone(self.talk.session.reconsider())
        self.policy.refuses.add("Postgres::connect")
        self.assertIn("is over", str(self.talk.session.reconsider()))

    def test_what_runs(self) -> None:
        """What only a grant allowed must still be allowed; what needed none goes on."""
        for grants, ends in (((), False), (("g-1",), True)):
            self.say(decision=Allow(), grants=grants)
            self.talk.say(wire.query(b"SELECT 1"))
            self.say(decision=Deny(reason="no"))
            self.assertEqual(self.talk.session.reconsider() is not None, ends)
            self.talk.answer(complete("SELECT 1"), READY)
            self.assertIsNone(self.talk.session.reconsider())

    def test_a_call_that_was_used_up(self) -> None:
        """Its own end does not end it."""
        call = evolve(USE, digest=bytes(32))
        self.say(decision=Deny(reason="no", uses=(call,)))
        self.talk.say(wire.query(b"SELECT 1"))
        self.grants.answers[0].callback(True)
        self.say(decision=Deny(reason="no"))
        self.assertIsNone(self.talk.session.reconsider())


class PaidTests(GrantedCase):
    """A grant to a chain that has a budget, too."""

    def test_it_ends_while_it_is_paid_for(self) -> None:
        """Control was asked for more of the budget; who looked at what runs did not see it."""
        purse = FakePurse(operations=0)
        self.talk = Conversation(policy=self.policy, purse=purse)
        self.say(decision=Allow(), grants=("g-1",))
        self.assertEqual(self.talk.say(wire.query(b"SELECT a FROM t")), [])
        self.say(decision=Deny(reason="no"))
        purse.funding[0].callback("")
        [(_kind, body)] = self.talk.target.take()
        self.assertNotIn(b"SELECT", body)
        answer = self.talk.answer(wire.report(b"E", "ERROR", "26000", "none"), READY)
        self.assertEqual(fields(answer[0][1])["C"], "42501")
        self.assertEqual(self.intents(), [("deny", [])])
