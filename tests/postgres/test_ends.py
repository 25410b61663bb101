"""The end of a session from outside: one SQLSTATE, and words that say what to do."""

from __future__ import annotations

import time

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.records import SessionEnded
from hoopgw.sessions.ends import EXPIRED, LEEWAY, REVOKED, WHAT_TO_DO
from hoopgw_postgres import wire
from tests.postgres.conversation import ALICE, Conversation, fields


class EndTests(SynchronousTestCase):
    """What the client is told, and the recording."""

    def ended(self, talk: Conversation) -> tuple[str, str, str, str]:
        """Return what the client was told at last: severity, SQLSTATE, text, hint."""
        [(kind, body)] = talk.client.take()
        self.assertEqual(kind, "E")
        said = fields(body)
        return said["S"], said["C"], said["M"], said.get("H", "")

    def test_cut(self) -> None:
        for reason in (EXPIRED, REVOKED, "bob ended it"):
            talk = Conversation()
            talk.session.cut(reason)
            expected = "FATAL", "57P01", f"terminating connection: {reason}"
            self.assertEqual(self.ended(talk), (*expected, WHAT_TO_DO.get(reason, "")))
            self.assertEqual(talk.recorder.of(SessionEnded)[0].reason, reason)
            talk.session.target_lost()
            self.assertEqual(talk.client.take(), [])

    def test_the_agent_cuts_first(self) -> None:
        """It knows the end of the log-in too, and its clock may be ahead: the same is said."""
        for ahead in (-1.0, 0.0, LEEWAY - 1):
            talk = Conversation(principal=evolve(ALICE, expires=time.time() + ahead))
            talk.say(wire.query(b"SELECT a FROM t"))
            talk.session.target_lost()
            severity, code, text, hint = self.ended(talk)
            self.assertEqual((severity, code), ("FATAL", "57P01"))
            self.assertEqual(text, f"terminating connection: {EXPIRED}")
            self.assertIn("Log in again", hint)
            self.assertEqual(talk.recorder.of(SessionEnded)[0].reason, EXPIRED)

    def test_a_target_that_is_lost_is_another_thing(self) -> None:
        talk = Conversation(principal=evolve(ALICE, expires=time.time() + 60))
        talk.session.target_lost()
        self.assertEqual(self.ended(talk)[1], "08006")
