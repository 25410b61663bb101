"""COPY FROM STDIN in a session: what a client sends ahead is what the target takes it for."""

from __future__ import annotations

import hashlib

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.records import Result
from hoopgw_postgres import wire
from tests.postgres.conversation import SYNC, Conversation, complete, error
from tests.postgres.test_session import READY, kinds

TAKES = wire.message(b"G", b"\0\0\0")
DATA, MORE = wire.message(b"d", b"1\n"), wire.message(b"d", b"2\n")
DONE, FAIL = wire.message(b"c"), wire.message(b"f", b"no\0")
TWO = wire.query(b"COPY t FROM STDIN; COPY u FROM STDIN")


class TwoCopiesTests(SynchronousTestCase):
    """Of one text, and a client that waits for nothing."""

    def setUp(self) -> None:
        self.talk = Conversation()

    def test_the_second_waits_for_the_target(self) -> None:
        """Its data go when the target takes them, and what follows is what follows them."""
        self.assertEqual(
            kinds(self.talk.say(TWO, DATA, DONE, MORE, FAIL, wire.query(b"SELECT 1"))), "Q"
        )
        self.talk.answer(TAKES)
        self.assertEqual(kinds(self.talk.target.take()), "dc")
        self.talk.answer(complete("COPY 1"))
        self.assertEqual(kinds(self.talk.target.take()), "")
        self.talk.answer(TAKES)
        self.assertEqual(kinds(self.talk.target.take()), "dfQ")
        answer = self.talk.answer(error("57014"), READY, complete("SELECT 1"), READY)
        self.assertEqual(kinds(answer), "EZCZ")
        self.assertEqual(self.talk.over, [])

    def test_data_of_both_are_recorded(self) -> None:
        self.talk.say(TWO)
        self.talk.answer(TAKES)
        self.talk.say(DATA, DONE)
        self.talk.answer(complete("COPY 1"), TAKES)
        self.talk.say(MORE, DONE)
        self.talk.answer(complete("COPY 1"), READY)
        [result] = self.talk.recorder.of(Result)
        self.assertEqual(result.received, 4)
        self.assertEqual(result.received_digest, hashlib.sha256(b"1\n2\n").digest())

    def test_the_first_fails(self) -> None:
        """Nothing is waited for then: what is left over is dropped by the target."""
        self.talk.say(TWO)
        self.talk.answer(TAKES, error("22P02"), READY)
        sent = self.talk.say(DATA, DONE, MORE, DONE, SYNC, wire.query(b"SELECT 1"))
        self.assertEqual(kinds(sent), "dcdcSQ")
        answer = self.talk.answer(READY, complete("SELECT 1"), READY)
        self.assertEqual(kinds(answer), "ZCZ")
