"""Answers that are paid for: what is beyond a budget of rows or bytes does not go to the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import UnavailableError
from hoopgw.recording.records import Result
from hoopgw_postgres import catalog, wire
from tests.postgres.conversation import (
    SYNC,
    Conversation,
    complete,
    error,
    fields,
    row,
    row_description,
)
from tests.postgres.test_budgets import READY, FakePurse
from tests.postgres.test_session import bind, execute, kinds, parse
from tests.postgres.test_watch import results

SELECT = wire.query(b"SELECT a FROM t")
TABLE = row_description("a")


def size(messages: list[tuple[str, bytes]]) -> int:
    """Return how many bytes messages are."""
    return sum(5 + len(body) for _, body in messages)


class MeteredCase(SynchronousTestCase):
    """One session, and its purse."""

    def begin(
        self, *, rows: int | None = None, space: int | None = None, **more: Any
    ) -> Conversation:
        """Begin a session that has so many rows and bytes."""
        self.purse = FakePurse(operations=100, rows=rows, bytes=space)
        self.talk = Conversation(purse=self.purse, **more)
        return self.talk

    def results(self) -> list[Result]:
        return [each for each in self.talk.recorder.records if isinstance(each, Result)]

    def refused(self, answer: list[tuple[str, bytes]], code: str = "53400") -> Mapping[str, str]:
        """Check that an answer ends with an error, and return that."""
        self.assertEqual(kinds(answer)[-2:], "EZ")
        said = fields(answer[-2][1])
        self.assertEqual(said["C"], code)
        return said


class RowsTests(MeteredCase):
    """A budget of rows."""

    def test_rows_end_with_the_budget(self) -> None:
        """The client gets as many as are left, then an error; the target is cancelled."""
        self.begin(rows=2).say(SELECT)
        answer = self.talk.answer(TABLE, row(b"1"), row(b"2"), row(b"3"))
        self.assertEqual(kinds(answer), "TDD")
        self.assertEqual(self.talk.cancels, ["c"])
        said = self.refused(self.talk.answer(row(b"4"), error("57014"), READY))
        self.assertIn("9 rows", said["M"])
        self.assertEqual(self.purse.rows, 0)
        self.assertEqual(self.results()[0].outcome, "ERROR 53400")

    def test_leaving_in_the_middle_is_no_way_around(self) -> None:
        """What has gone to the client is charged, though the answer was never whole."""
        for leave in (
            lambda: self.talk.session.client_lost(),
            lambda: self.talk.session.cut("it was revoked"),
        ):
            self.begin(rows=10).say(SELECT)
            gone = self.talk.answer(TABLE, row(b"1"), row(b"2"))
            leave()
            self.assertEqual(self.purse.charged, {"rows": 2, "bytes": size(gone)})
            self.assertEqual(self.results()[0].outcome, "LOST")

    def test_charged_at_once(self) -> None:
        """Not when the answer is whole: whoever ends in the middle has paid."""
        self.begin(rows=10).say(SELECT)
        gone = self.talk.answer(TABLE, row(b"1"))
        self.assertEqual(self.purse.charged, {"rows": 1, "bytes": size(gone)})
        gone += self.talk.answer(row(b"2"), complete("SELECT 2"), READY)
        self.assertEqual(self.purse.charged, {"rows": 2, "bytes": size(gone)})

    def test_a_pipeline_shares_the_rows(self) -> None:
        """What was sent at once does not get them twice."""
        self.begin(rows=3)
        one = (bind(b"s"), execute(), SYNC)
        self.talk.say(parse(b"SELECT a FROM t", b"s"), SYNC)
        self.talk.answer(wire.message(b"1"), READY)
        self.talk.say(*one, *one)
        whole = (wire.message(b"2"), row(b"1"), row(b"2"), complete("SELECT 2"), READY)
        self.assertEqual(kinds(self.talk.answer(*whole)), "2DDCZ")
        self.assertEqual(kinds(self.talk.answer(*whole)), "2DEZ")

    def test_behind_the_error_of_a_budget_comes_the_end(self) -> None:
        """As behind any error: what the target still answers up to the Sync is left out."""
        self.begin(rows=1)
        one = (bind(b"s"), execute())
        self.talk.say(parse(b"SELECT a FROM t", b"s"), SYNC)
        self.talk.answer(wire.message(b"1"), READY)
        self.talk.say(*one, *one, SYNC)
        whole = (wire.message(b"2"), row(b"1"), row(b"2"), complete("SELECT 2"))
        answer = self.talk.answer(*whole, *whole, READY)
        self.assertEqual(kinds(answer), "2DEZ")
        self.assertEqual([each.outcome for each in self.results()], ["ERROR 53400", "SELECT 2"])
        self.assertEqual([each.rows for each in self.results()], [1, 0])
        self.purse.rows = 5
        self.talk.say(*one, SYNC)
        self.assertEqual(kinds(self.talk.answer(*whole, READY)), "2DDCZ")

    def test_the_policys_limit_holds_too(self) -> None:
        """The tighter of both, with its own error."""
        self.begin(rows=5).policy.max_rows = 1
        self.talk.say(SELECT)
        self.talk.answer(TABLE, row(b"1"), row(b"2"))
        self.refused(self.talk.answer(error("57014"), READY), "54000")
        self.assertEqual(self.purse.rows, 4)


class BytesTests(MeteredCase):
    """A budget of bytes."""

    def test_one_answer_does_not_pass_it(self) -> None:
        """However long it is: it ends at a row, the target is cancelled, the client is told."""
        self.begin(space=1000).say(SELECT)
        got = self.talk.answer(TABLE)
        for _ in range(100):
            got += self.talk.answer(row(b"x" * 93))
        self.assertLessEqual(size(got), 1000)
        self.assertGreater(size(got), 900 - 104)
        self.assertEqual(self.talk.cancels, ["c"])
        said = self.refused(self.talk.answer(error("57014"), READY))
        self.assertIn("budget of planner is used up: 9 bytes", said["M"])
        self.assertIn("new delegation", said["H"])
        self.assertEqual(self.results()[0].outcome, "ERROR 53400")

    def test_one_row_does_not_pass_it(self) -> None:
        """Not even its beginning goes, though it comes in pieces; the session goes on."""
        whole = TABLE + row(b"1") + row(b"x" * 100_000) + error("57014") + READY
        for cut in (16, 100, 8192, len(whole)):
            self.begin(space=5000).say(SELECT)
            for at in range(0, len(whole), cut):
                self.talk.session.from_target(memoryview(whole)[at : at + cut])
            got = self.talk.client.take()
            self.assertEqual(kinds(got), "TDEZ")
            self.refused(got)
            self.assertEqual(self.talk.cancels, ["c"])

    def test_a_long_row_streams_through(self) -> None:
        """If it can be paid for, it is not kept: paid in advance."""
        long = row(b"x" * 100_000)
        self.begin(space=200_000).say(SELECT)
        self.talk.session.from_target(memoryview(TABLE + long[:1000]))
        self.assertEqual(len(self.talk.client.written), len(TABLE) + 1000)
        self.assertEqual(self.purse.charged["bytes"], len(TABLE) + len(long))
        got = self.talk.answer(long[1000:], complete("SELECT 1"), READY)
        self.assertEqual(kinds(got), "TDCZ")
        self.assertEqual(self.purse.charged, {"rows": 1, "bytes": size(got)})

    def test_copy_out(self) -> None:
        """It is an answer as any other."""
        self.begin(space=500).say(wire.query(b"COPY t TO STDOUT"))
        lines = [wire.message(b"d", b"x" * 95)] * 50
        got = self.talk.answer(wire.message(b"H", b"\0\0\0"), *lines)
        self.assertEqual(kinds(got), "Hdddd")
        self.refused(got + self.talk.answer(error("57014"), READY))

    def test_masked_rows_are_counted_as_they_go_out(self) -> None:
        """Not as they came."""
        self.begin(space=300, classified=catalog.answer(results()))
        self.talk.say(wire.query(b"SELECT a, b FROM t"))
        description = row_description("a", "b", table=7)
        got = self.talk.answer(description, *[row(b"1", b"0123456789" * 4)] * 100)
        self.assertLessEqual(size(got), 300)
        self.assertGreater(kinds(got).count("D"), 0)
        self.assertNotIn(b"012345", b"".join(body for _, body in got))
        self.refused(got + self.talk.answer(error("57014"), READY))

    def test_neither_notices_nor_errors_carry_more(self) -> None:
        """A function can put into them what it likes."""
        self.begin(space=2000).say(SELECT)
        note = wire.report(b"N", "NOTICE", "00000", "x" * 700)
        got = self.talk.answer(*[note] * 100)
        self.assertEqual(kinds(got), "NN")
        got = self.talk.answer(wire.report(b"E", "ERROR", "P0001", "x" * 100_000), READY)
        said = self.refused(got)
        self.assertIn("used up", said["M"])
        self.assertEqual(self.results()[0].outcome, "ERROR 53400")

    def test_what_others_notify_is_no_way_either(self) -> None:
        """Left out, not held."""
        self.begin(space=400).say(SELECT)
        note = wire.message(b"A", bytes(4) + b"c\0" + b"x" * 300 + b"\0")
        got = self.talk.answer(note, note, complete("SELECT 0"), READY)
        self.assertEqual(kinds(got), "ACZ")


class MoreTests(MeteredCase):
    """What is at hand is not all that there is."""

    def wait(self, **limits: Any) -> list[Deferred[str]]:
        """Begin a session whose purse has to ask."""
        self.begin(**limits)
        waiting: list[Deferred[str]] = []
        self.purse.waiting = waiting
        return waiting

    def test_the_target_waits(self) -> None:
        """It is not read meanwhile, and nothing is lost, nor sent twice."""
        waiting = self.wait(rows=2)
        self.talk.say(SELECT)
        got = self.talk.answer(TABLE, *[row(b"%d" % n) for n in range(5)])
        self.assertEqual(kinds(got), "TDD")
        self.assertTrue(self.talk.target.paused)
        self.assertEqual(self.purse.asked[0]["rows"], 3)
        self.purse.rows = 100
        waiting[0].callback("")
        self.assertFalse(self.talk.target.paused)
        got += self.talk.answer(complete("SELECT 5"), READY)
        self.assertEqual(kinds(got), "TDDDDDCZ")
        self.assertEqual(self.talk.cancels, [])
        self.assertEqual(self.results()[0].rows, 5)

    def test_there_is_less(self) -> None:
        """All that there is goes, and then the error."""
        waiting = self.wait(rows=1)
        self.talk.say(SELECT)
        got = self.talk.answer(TABLE, *[row(b"%d" % n) for n in range(5)])
        self.purse.rows = 2
        waiting[0].callback("the budget of planner is used up: 3 rows")
        got += self.talk.answer(error("57014"), READY)
        self.assertEqual(kinds(got), "TDDDEZ")
        self.refused(got)

    def test_nobody_can_be_asked(self) -> None:
        """What cannot be charged does not go: 57P03."""
        waiting = self.wait(rows=1)
        self.talk.say(SELECT)
        got = self.talk.answer(TABLE, row(b"1"), row(b"2"))
        waiting[0].errback(UnavailableError("control is away"))
        got += self.talk.answer(error("57014"), READY)
        self.assertEqual(kinds(got), "TDEZ")
        self.assertIn("control is away", self.refused(got, "57P03")["M"])

    def test_the_end_comes_first(self) -> None:
        """Nothing more is sent then."""
        for leave in (
            lambda: self.talk.session.client_lost(),
            lambda: self.talk.session.target_lost(),
            lambda: self.talk.session.cut("it was revoked"),
        ):
            waiting = self.wait(rows=1)
            self.talk.say(SELECT)
            self.talk.answer(TABLE, row(b"1"), row(b"2"))
            leave()
            self.talk.client.written.clear()
            self.purse.rows = 100
            waiting[0].callback("")
            self.assertEqual(bytes(self.talk.client.written), b"")
            self.assertEqual(self.results()[0].rows, 1)

    @given(
        st.lists(st.integers(0, 300), max_size=12),
        st.lists(st.integers(1, 400), max_size=40),
        st.integers(0, 12),
        st.integers(0, 3000),
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 900)), max_size=6),
    )
    def test_however_it_comes(
        self,
        lengths: list[int],
        cuts: list[int],
        rows: int,
        space: int,
        more: list[tuple[int, int]],
    ) -> None:
        """The client gets the first rows that are paid for, whole, and then the tag or an error."""
        waiting = self.wait(rows=rows + 1, space=space + 200)
        self.talk.say(SELECT)
        sent = [row(b"x" * length) for length in lengths]
        stream = memoryview(b"".join((TABLE, *sent, complete("SELECT"), READY)))
        for cut in [*cuts, len(stream)]:
            self.talk.session.from_target(stream[:cut])
            stream = stream[cut:]
            while waiting:
                asked, given_more = waiting.pop(), more.pop() if more else (0, 0)
                assert self.purse.rows is not None
                assert self.purse.bytes is not None
                self.purse.rows += given_more[0]
                self.purse.bytes += given_more[1]
                wanted = self.purse.asked[-1]
                short = self.purse.rows < wanted["rows"] or self.purse.bytes < wanted["bytes"]
                asked.callback("a budget is used up" if short else "")
        got = self.talk.client.take()
        data = [wire.message(b"D", body) for kind, body in got if kind == "D"]
        self.assertEqual(data, sent[: len(data)])
        self.assertEqual(kinds(got).replace("D", ""), "TCZ" if len(data) == len(sent) else "TEZ")
        self.assertEqual(bool(self.talk.cancels), len(data) < len(sent))
        self.assertEqual(self.purse.charged["rows"], len(data))
        assert self.purse.rows is not None
        assert self.purse.bytes is not None
        self.assertGreaterEqual(self.purse.rows, 0)
        if data:
            self.assertGreaterEqual(self.purse.bytes, -size(got[-2:]))
