"""Attacks on how much an answer over HTTPS may show: as the client and the recording see it."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.policy.decision import Allow
from hoopgw.recording.records import Result
from tests.adversarial.azure_gateway import ALLOW, Gateway
from tests.azure.world import GROUP

GROUPS = f"{GROUP}?api-version=2021-04-01"


class ExportTests(SynchronousTestCase):
    """Whoever may read one may not take all."""

    def listed(self, number: int, size: int) -> tuple[Gateway, bytes]:
        """Answer with a list where policy allows ten; return what the client got."""
        few = evolve(ALLOW, decision=Allow(max_rows=10))
        world = Gateway(lambda operation: ALLOW if operation.action == "connect" else few)
        client = world.connect()
        client.ask("GET", GROUPS)
        world.target.answer_json({"value": [{"tags": "x" * size}] * number})
        for _ in range(20):  # turns of a long answer
            world.clock.advance(0)
        return world, client.wire.take()

    def test_what_may_be(self) -> None:
        world, got = self.listed(10, 10)
        self.assertIn(b" 200 ", got)
        self.assertEqual(got.count(b"tags"), 10)
        self.assertEqual([each.outcome for each in world.recorder.of(Result)], ["200 OK"])

    def test_more_is_refused(self) -> None:
        """Nothing was sent yet, so the client gets a clear error."""
        world, got = self.listed(11, 10)
        self.assertIn(b" 403 ", got)
        self.assertIn(b"more than 10 items", got)
        self.assertNotIn(b"tags", got)
        (result,) = world.recorder.of(Result)
        self.assertTrue(result.outcome.startswith("CUT: "), result.outcome)

    def test_much_more_is_broken_off(self) -> None:
        """Before the eleventh, and without an end: it cannot be taken for whole."""
        world, got = self.listed(20, 30_000)
        self.assertIn(b" 200 ", got)
        self.assertLessEqual(got.count(b"tags"), 11)
        self.assertFalse(got.endswith(b"0\r\n\r\n"))
        (result,) = world.recorder.of(Result)
        self.assertTrue(result.outcome.startswith("CUT: "), result.outcome)
        self.assertIn("200", result.outcome)
