"""Long bodies, which are read in a thread: others do not wait, and what ended meanwhile is over."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http.reading import AT_ONCE
from hoopgw.recording.records import Intent
from tests.adversarial.azure_gateway import Client, Gateway
from tests.azure.world import GROUP

GROUPS = f"{GROUP}?api-version=2021-04-01"
BODY = b'{"tags":{"a":"' + b"x" * AT_ONCE + b'"}}'


class LongTests(SynchronousTestCase):
    """One long request, while its thread takes its time."""

    def setUp(self) -> None:
        self.world = Gateway()
        self.world.threads.slow = True

    def begun(self) -> Client:
        """Send it."""
        client = self.world.connect()
        client.ask("PUT", GROUPS, body=BODY, Content_Type="application/json")
        self.assertEqual((self.world.sent(), len(self.world.threads.waiting)), (b"", 1))
        return client

    def read(self) -> None:
        """Let the thread end."""
        self.world.threads.waiting.pop()()
        self.world.clock.advance(0)

    def test_others_do_not_wait(self) -> None:
        self.begun()
        self.world.connect().ask("GET", GROUPS)
        self.assertEqual(self.world.sent().count(b"GET "), 1)
        self.read()
        self.assertEqual(self.world.sent().count(b"PUT "), 1)

    def test_a_session_that_ended_meanwhile(self) -> None:
        """Nothing is decided for it, and nothing sent."""
        client = self.begun()
        (session,) = client.connection.sessions.values()
        session.cut("the log-in was ended")
        self.read()
        self.assertEqual((self.world.sent(), self.world.recorder.of(Intent)), (b"", []))

    def test_a_client_that_left_meanwhile(self) -> None:
        self.begun().leave()
        self.read()
        self.assertEqual((self.world.sent(), self.world.recorder.of(Intent)), (b"", []))
        self.assertEqual(self.flushLoggedErrors(), [])
