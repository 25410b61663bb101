"""Tests for `hoopgw_postgres.watch`, and for how a session asks again what is masked."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.records import Intent, Result
from hoopgw_postgres import catalog, wire
from hoopgw_postgres.watch import PATIENCE, PERIOD
from tests.postgres.conversation import (
    QUESTIONS,
    SYNC,
    Conversation,
    complete,
    error,
    fields,
    row,
    row_description,
)
from tests.postgres.test_session import FAILED, IN_TRANSACTION, READY, bind, execute, kinds, parse

Row = tuple[bytes | None, ...]
TABLE: Sequence[Row] = [(b"7", b"2", b"public", b"t", b"b", b"f")]
COLUMNS: Sequence[Row] = [
    (b"7", b"public", b"t", b"1", b"a", b"23", b"-1", b"f", b"f"),
    (b"7", b"public", b"t", b"2", b"b", b"25", b"-1", b"t", b"f"),
]
PARTITION: Sequence[Row] = [(b"8", b"1", b"public", b"t", b"b", b"f")]
PARTS: Sequence[Row] = [(b"8", b"%s", b"t_1", b"1", b"b", b"25", b"-1", b"t", b"f")]
CLOSED, PARSED, BOUND = (wire.message(kind) for kind in (b"3", b"1", b"2"))
ROW = row(b"1", b"4111111111111111")
SEGMENT = "CPBEC" * len(QUESTIONS) + "S"


def results(*, schema: bytes = b"", gone: bool = False) -> list[list[Row]]:
    """Return what the catalogue says: with a partition in a schema, or without the column."""
    found: list[Row] = [(b"public", b"t", b"b", b"7", None if gone else b"2")]
    more = [(relation, schema, *rest) for relation, _, *rest in PARTS] if schema else []
    columns = [*TABLE, *(PARTITION if schema else [])]
    return [[(b"off",)], found, columns, [*COLUMNS, *more], [], [], [(b"UTF8",)]]


class WatchTests(SynchronousTestCase):
    """With a target that the test plays."""

    def setUp(self) -> None:
        self.talk = Conversation(classified=catalog.answer(results()))
        self.says = results()

    def answer(self) -> list[tuple[str, bytes]]:
        """Answer the questions."""
        messages: list[bytes] = []
        for rows in self.says:
            messages += [CLOSED, PARSED, BOUND, *(row(*values) for values in rows)]
            messages += [complete(f"SELECT {len(rows)}"), CLOSED]
        return self.talk.answer(*messages, READY)

    def test_not_before_its_time(self) -> None:
        self.talk.clock.advance(PERIOD - 1)
        self.assertEqual(kinds(self.talk.say(wire.query(b"SELECT 1"))), "Q")

    def test_asked_before_the_statement_runs(self) -> None:
        """The client sees nothing of it, nothing is recorded, and its statement goes on."""
        self.talk.clock.advance(PERIOD)
        sent = self.talk.say(wire.query(b"SELECT 1"), wire.query(b"SELECT 2"))
        self.assertEqual(kinds(sent), SEGMENT)
        self.assertEqual(self.answer(), [])
        self.assertEqual(kinds(self.talk.target.take()), "QQ")
        answer = self.talk.answer(row_description("a") + row(b"1") + complete("SELECT 1") + READY)
        self.assertEqual(kinds(answer), "TDCZ")
        self.assertEqual(len(self.talk.recorder.of(Intent)), 2)
        self.assertEqual(len(self.talk.recorder.of(Result)), 1)
        self.assertEqual(kinds(self.talk.say(wire.query(b"SELECT 3"))), "Q")

    def test_before_a_parse(self) -> None:
        """As the first of a segment; not in its middle."""
        self.talk.say(parse(b"SELECT a FROM t"))
        self.talk.answer(PARSED)
        self.talk.clock.advance(PERIOD)
        self.assertEqual(kinds(self.talk.say(bind(), execute(), SYNC)), "BDES")
        self.talk.answer(BOUND, row_description("a"), row(b"1"), complete("SELECT 1"), READY)
        self.assertEqual(kinds(self.talk.say(parse(b"SELECT b FROM t"), bind(), SYNC)), SEGMENT)
        self.answer()
        self.assertEqual(kinds(self.talk.target.take()), "PBS")

    def test_not_in_a_transaction(self) -> None:
        self.talk.say(wire.query(b"BEGIN"))
        self.talk.answer(complete("BEGIN"), IN_TRANSACTION)
        self.talk.clock.advance(PERIOD)
        self.assertEqual(kinds(self.talk.say(wire.query(b"SELECT 1"))), "Q")
        self.talk.answer(error("22012"), FAILED)
        self.assertEqual(kinds(self.talk.say(wire.query(b"ROLLBACK"))), "Q")
        self.talk.answer(complete("ROLLBACK"), READY)
        self.assertEqual(kinds(self.talk.say(wire.query(b"SELECT 1"))), SEGMENT)

    def assert_ends(self) -> None:
        """Find the session over before its statement has run."""
        self.talk.clock.advance(PERIOD)
        self.talk.say(wire.query(b"SELECT * FROM t_1"))
        answer = self.answer()
        self.assertEqual(kinds(answer), "E")
        found = fields(answer[0][1])
        self.assertEqual((found["S"], found["C"]), ("FATAL", "57P01"))
        self.assertEqual(kinds(self.talk.target.take()), "X")
        self.assertEqual(self.talk.over, ["what may be seen has changed"])

    def test_a_partition_was_made(self) -> None:
        self.says = results(schema=b"public")
        self.assert_ends()

    def test_the_column_is_gone(self) -> None:
        self.says = results(gone=True)
        self.assert_ends()

    def test_what_others_have_made_for_themselves(self) -> None:
        """A temporary relation of another session cannot be read by anybody else."""
        self.says = results(schema=b"pg_temp_3")
        self.talk.clock.advance(PERIOD)
        self.talk.say(wire.query(b"SELECT 1"))
        self.answer()
        self.assertEqual(kinds(self.talk.target.take()), "Q")

    def test_a_target_that_does_not_say(self) -> None:
        """The statement is refused, and the next asks again."""
        self.talk.clock.advance(PERIOD)
        self.talk.say(wire.query(b"SELECT 1"))
        self.assertEqual(self.talk.answer(CLOSED, error("57014", "a user asked")), [])
        self.talk.answer(READY)
        self.assertNotIn(b"SELECT 1", self.talk.target.take()[0][1])
        answer = self.talk.answer(error("26000"), READY)
        self.assertEqual(fields(answer[0][1])["C"], "57P03")
        self.assertEqual(kinds(self.talk.say(wire.query(b"SELECT 1"))), SEGMENT)
        self.answer()
        self.assertEqual(self.talk.target.take(), [("Q", b"SELECT 1\0")])

    def test_a_target_that_is_silent(self) -> None:
        """The wait has an end, and so has the session."""
        self.talk.clock.advance(PERIOD)
        self.talk.say(wire.query(b"SELECT 1"))
        self.talk.clock.advance(PATIENCE)
        self.assertEqual(self.talk.over, ["deciding failed"])


class MaskedTests(SynchronousTestCase):
    """What a session does where something is masked."""

    def setUp(self) -> None:
        self.talk = Conversation(classified=catalog.answer(results()))

    def test_rows_are_masked_by_what_runs(self) -> None:
        """The target is asked right before, whatever was described earlier."""
        description = row_description("a", "x", table=7)
        self.talk.say(parse(b"SELECT a, b FROM t"), SYNC)
        self.talk.answer(PARSED, READY)
        self.assertEqual(kinds(self.talk.say(bind(), execute(), SYNC)), "BDES")
        answer = self.talk.answer(BOUND, description, ROW, complete("SELECT 1"), READY)
        self.assertEqual(kinds(answer), "2DCZ")
        self.assertIn(b"****1111", answer[1][1])

    def test_rows_without_a_description(self) -> None:
        """They end the session."""
        self.talk.say(parse(b"SELECT a FROM t"), bind(), execute(), SYNC)
        self.talk.answer(PARSED, BOUND, wire.message(b"n"), ROW)
        self.assertEqual(self.talk.over, ["rows came without their description"])

    def test_a_pipeline_of_transactions(self) -> None:
        """The end of one does not clear the other, and the recording has what was sent."""
        self.talk.say(wire.query(b"SELECT 1"), wire.query(b"UPDATE t SET a = NULL"))
        self.talk.answer(complete("SELECT 1"), READY)
        answer = self.talk.answer(error("23502", "4111111111111111"), READY)
        self.assertEqual(kinds(answer), "EZ")
        self.assertNotIn(b"4111", answer[0][1])
        [_, result] = self.talk.recorder.of(Result)
        self.assertNotIn(b"4111", result.output)
        self.assertIn(b"withholds", result.output)

    def test_a_copy_by_execute(self) -> None:
        """What a name stands for is not copied out by it."""
        self.talk.say(parse(b"COPY t TO STDOUT", b"s"), SYNC)
        self.talk.answer(PARSED, READY)
        self.talk.say(wire.query(b"EXECUTE s"))
        answer = self.talk.answer(error("26000"), READY)
        self.assertEqual(fields(answer[0][1])["C"], "0A000")

    def test_a_copy_that_nothing_asked_for(self) -> None:
        self.talk.say(wire.query(b"SELECT a FROM t"))
        self.talk.answer(wire.message(b"H", bytes(3)))
        self.assertEqual(self.talk.over, ["rows of a COPY that no statement asked for"])


class RowLimitTests(SynchronousTestCase):
    """A limit counts over all that a portal shows."""

    def test_pipelined_executes(self) -> None:
        """Those that are sent before the first is answered count, too."""
        talk = Conversation()
        talk.policy.max_rows = 3
        talk.say(parse(b"SELECT a FROM t"), bind(), *[execute()] * 2, SYNC)
        two = row(b"1") * 2
        answer = talk.answer(PARSED, BOUND, two, wire.message(b"s"), two, wire.message(b"s"), READY)
        self.assertEqual(kinds(answer), "12DDsDEZ")
