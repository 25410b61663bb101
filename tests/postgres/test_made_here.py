"""What a text prepares or opens, and runs itself: judged by what it says of it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hoopgw_postgres import wire
from hoopgw_postgres.statements import executed, fetched
from tests.postgres.conversation import ANALYSER, Conversation, complete, error, fields, row
from tests.postgres.test_session import READY, kinds

PREPARED = b"PREPARE p AS SELECT a FROM t; EXECUTE p"
OPENED = b"BEGIN; DECLARE c CURSOR FOR SELECT a FROM t; FETCH 2 FROM c"


class NameTests(SynchronousTestCase):
    """Which names are found elsewhere."""

    def test_statements(self) -> None:
        for text, names in {
            PREPARED: (),
            b"EXECUTE p": ("p",),
            b"EXECUTE p; PREPARE p AS SELECT 1; EXECUTE p": ("p",),
            b"PREPARE p AS SELECT 1; DEALLOCATE p; EXECUTE p": ("p",),
            b"PREPARE p AS SELECT 1; DEALLOCATE ALL; EXECUTE p": ("p",),
            b"PREPARE p AS SELECT 1; DISCARD ALL; EXECUTE p": ("p",),
            b"PREPARE p AS SELECT 1; DEALLOCATE q; EXECUTE p; EXECUTE q": ("q",),
            b'PREPARE p AS SELECT 1; EXECUTE "P"': ("P",),
            b"PREPARE P AS SELECT 1; EXECUTE p": (),
        }.items():
            self.assertEqual(executed(ANALYSER.facts(text).statements), names, text)

    def test_cursors(self) -> None:
        for text, names in {
            OPENED: (),
            b"FETCH c": ("c",),
            b"DECLARE c CURSOR FOR SELECT 1; MOVE c; CLOSE c; FETCH c": ("c",),
            b"DECLARE c CURSOR FOR SELECT 1; CLOSE ALL; FETCH c": ("c",),
            b"DECLARE c CURSOR FOR SELECT 1; FETCH d": ("d",),
        }.items():
            self.assertEqual(fetched(ANALYSER.facts(text).statements), names, text)


class MadeHereTests(SynchronousTestCase):
    """In a session."""

    def setUp(self) -> None:
        self.talk = Conversation()

    def test_it_runs(self) -> None:
        """As what it is: no more is asked than what it prepares or opens, and what runs it."""
        for text in (PREPARED, OPENED):
            self.assertEqual(kinds(self.talk.say(wire.query(text))), "Q")
            self.talk.answer(complete("PREPARE"), row(b"1"), complete("SELECT 1"), READY)
            actions = {access.action for access in self.talk.policy.asked[-1].accesses}
            self.assertIn("Postgres::select", actions)
            self.assertNotIn("Postgres::other", actions)

    def test_what_may_not_be_prepared_may_not_be_run_so(self) -> None:
        self.talk.policy.refuses = {"Postgres::select"}
        for text in (PREPARED, OPENED):
            [(_, body)] = self.talk.say(wire.query(text))
            self.assertNotIn(b"SELECT", body)
            answer = self.talk.answer(error("26000"), READY)
            self.assertEqual(fields(answer[0][1])["C"], "42501")

    def test_what_was_prepared_before_is_judged_by_that(self) -> None:
        """Though a text prepares the same name behind it."""
        self.talk.say(wire.query(b"PREPARE p AS SELECT a FROM t"))
        self.talk.answer(complete("PREPARE"), READY)
        self.talk.policy.refuses = {"Postgres::select"}
        text = b"EXECUTE p; DEALLOCATE p; PREPARE p AS INSERT INTO t VALUES (1); EXECUTE p"
        [(_, body)] = self.talk.say(wire.query(text))
        self.assertNotIn(b"EXECUTE p", body)
        answer = self.talk.answer(error("26000"), READY)
        self.assertEqual(fields(answer[0][1])["C"], "42501")

    def test_rows_that_the_text_has_fetched_count(self) -> None:
        """Against the policy's limit of what one cursor shows."""
        self.talk.policy.max_rows = 3
        self.talk.say(wire.query(OPENED))
        in_transaction = wire.ready(b"T")
        self.talk.answer(row(b"1"), row(b"2"), complete("FETCH 2"), in_transaction)
        self.talk.say(wire.query(b"FETCH 5 FROM c"))
        answer = self.talk.answer(*[row(b"3")] * 3, complete("FETCH 3"), in_transaction)
        self.assertEqual(kinds(answer), "DEZ")
