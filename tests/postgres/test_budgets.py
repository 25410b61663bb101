"""Sessions with a budget: paid before, charged after, and refused clearly when it is used up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import UnavailableError
from hoopgw.recording.records import Intent, Result
from hoopgw_postgres import wire
from tests.postgres.conversation import (
    SYNC,
    Conversation,
    complete,
    error,
    fields,
    row,
    row_description,
)
from tests.postgres.test_session import bind, execute, kinds, parse

READY = wire.ready(b"I")


@define(eq=False)
class FakePurse:
    """Has so much at hand; of rows and bytes, if they are limited. Implements `Purse`."""

    operations: int = 0
    rows: int | None = None
    bytes: int | None = None
    spent: list[tuple[str, ...]] = field(factory=list)
    charged: Counter[str] = field(factory=Counter)
    funding: list[Deferred[str]] = field(factory=list)
    asked: list[dict[str, int]] = field(factory=list)
    waiting: list[Deferred[str]] | None = None
    """Who waits for more, if they have to."""
    closed: bool = False

    def spend(self, names: Sequence[str]) -> bool:
        if self.operations < 1 or self.rows == 0 or (self.bytes is not None and self.bytes < 1):
            return False
        self.operations -= 1
        self.spent.append(tuple(names))
        return True

    def fund(self, names: Sequence[str]) -> Deferred[str]:
        self.funding.append(Deferred())
        return self.funding[-1]

    def room(self, name: str) -> int | None:
        left = self.rows if name == "rows" else self.bytes
        return None if left is None else max(0, left)

    def more(self, amounts: Mapping[str, int]) -> Deferred[str]:
        self.asked.append(dict(amounts))
        if self.waiting is None:
            return succeed(self.exhausted("rows" if self.rows == 0 else "bytes"))
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def used(self, amounts: Mapping[str, int]) -> None:
        self.charged.update(amounts)
        if self.rows is not None:
            self.rows -= amounts["rows"]
        if self.bytes is not None:
            self.bytes -= amounts["bytes"]

    def exhausted(self, name: str) -> str:
        return f"the budget of planner is used up: 9 {name}"

    def close(self) -> None:
        self.closed = True


class BudgetTests(SynchronousTestCase):
    """One session, and its purse."""

    def setUp(self) -> None:
        self.purse = FakePurse(operations=100)
        self.talk = Conversation(purse=self.purse)

    def select(self, *rows: bytes) -> list[tuple[str, bytes]]:
        """Ask, let the target answer, and return what the client gets."""
        self.talk.say(wire.query(b"SELECT a FROM t"))
        answer = (row_description("a"), *map(row, rows), complete(f"SELECT {len(rows)}"), READY)
        return self.talk.answer(*answer)

    def records(self, kind: type[Any]) -> list[Any]:
        return [record for record in self.talk.recorder.records if isinstance(record, kind)]

    def test_paid_and_charged(self) -> None:
        """One operation each, and what went to the client."""
        self.select(b"1", b"2")
        self.select()
        self.assertEqual(self.purse.spent, [("operations",)] * 2)
        self.assertEqual(len(self.records(Result)), 2)

    def test_each_execute_is_one(self) -> None:
        """Parse and Bind alone run nothing."""
        self.talk.say(parse(b"SELECT a FROM t WHERE a = $1", b"s"), SYNC)
        self.talk.answer(wire.message(b"1"), READY)
        self.assertEqual(self.purse.spent, [])
        for value in (b"7", b"8"):
            self.talk.say(bind(b"s", value), execute(), SYNC)
            self.talk.answer(wire.message(b"2"), row(value), complete("SELECT 1"), READY)
        self.assertEqual(len(self.purse.spent), 2)

    def test_each_statement_of_a_text_is_one(self) -> None:
        """Sending many at once is no way around."""
        self.talk.say(wire.query(b"SELECT 1; SELECT 2; SELECT 3"))
        self.assertEqual(self.purse.spent, [("operations",) * 3])

    def test_what_is_refused_costs_nothing(self) -> None:
        """Nothing of it runs."""
        self.talk.say(wire.query(b"CREATE TABLE x (a int)"))
        self.assertEqual(self.purse.spent, [])

    def test_used_up(self) -> None:
        """53400, with whose it was and what to do; recorded as a refusal; nothing ran."""
        self.purse.operations = 0
        sent = self.talk.say(wire.query(b"SELECT a FROM t"))
        self.assertEqual(sent, [])
        self.purse.funding[0].callback("the budget of planner is used up: 9 operations")
        [(kind, body)] = self.talk.target.take()
        self.assertNotIn(b"SELECT", body)
        answer = self.talk.answer(error("26000"), READY)
        self.assertEqual(kinds(answer), "EZ")
        said = fields(answer[0][1])
        self.assertEqual(said["C"], "53400")
        self.assertIn("of planner is used up", said["M"])
        self.assertIn("new delegation", said["H"])
        [intent] = self.records(Intent)
        self.assertEqual((intent.decision, kind), ("deny", "Q"))
        self.assertIn("used up", intent.reason)

    def test_more_is_taken_meanwhile(self) -> None:
        """The operation waits, and what comes behind it too; in order."""
        self.purse.operations = 0
        self.assertEqual(self.talk.say(wire.query(b"SELECT 1 FROM t")), [])
        self.purse.operations = 5
        self.assertEqual(self.talk.say(wire.query(b"SELECT 2 FROM t")), [])
        self.purse.funding[0].callback("")
        sent = self.talk.target.take()
        self.assertEqual([body for _, body in sent], [b"SELECT 1 FROM t\0", b"SELECT 2 FROM t\0"])

    def test_nobody_can_be_asked(self) -> None:
        """Refused, to be tried again: 57P03."""
        self.purse.operations = 0
        self.talk.say(wire.query(b"SELECT a FROM t"))
        self.purse.funding[0].errback(UnavailableError("control is away"))
        answer = self.talk.answer(error("26000"), READY)
        self.assertEqual(fields(answer[0][1])["C"], "57P03")

    def test_the_client_leaves_meanwhile(self) -> None:
        """Nothing runs, whatever comes then."""
        self.purse.operations = 0
        self.talk.say(wire.query(b"SELECT a FROM t"))
        self.talk.session.client_lost()
        self.talk.target.take()
        self.purse.funding[0].callback("")
        self.assertEqual(self.talk.target.take(), [])

    def test_asking_people_costs_a_review(self) -> None:
        """Where people are asked, and only there."""
        self.talk.say(wire.query(b"DELETE FROM t"))
        self.assertEqual(self.purse.spent, [("operations", "reviews")])
        self.assertEqual(len(self.talk.reviews.asked), 1)
