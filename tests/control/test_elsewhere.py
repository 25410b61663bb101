"""Tests for `hoopgw.control.elsewhere`: what one worker keeps, asked by another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from hoopgw.control.calls import TAKE_TIMEOUT
from hoopgw.control.elsewhere import ControlElsewhere
from hoopgw.errors import UnavailableError
from hoopgw.ipc import RemoteError
from tests.control.world import WorldCase
from tests.store.values import CAROL


class ElsewhereTests(WorldCase):
    """Two workers, one of which keeps something."""

    def setUp(self) -> None:
        super().setUp()
        self.first, self.second = self.worker("w1"), self.worker("w2")
        self.kept: dict[str, Mapping[str, Any]] = {"r-1": {"state": "waiting", "body": b"\xff"}}
        keeper = ControlElsewhere(self.first.client)
        keeper.serve(lambda _request: None)
        keeper.serve(self.kept.get)
        self.asking = ControlElsewhere(self.second.client)

    def told(self, worker: str, request: str) -> Mapping[str, Any]:
        """Ask, and return the answer."""
        asked = self.asking.ask(worker, request)
        self.carry()
        return self.successResultOf(asked)

    def test_what_is_kept(self) -> None:
        self.assertEqual(self.asking.worker, "w2")
        self.assertEqual(self.told("w1", "r-1"), {"standing": self.kept["r-1"]})

    def test_what_nobody_keeps_is_said_of_its_review(self) -> None:
        filed, _outcomes = self.ask(self.first)
        review = filed.request
        for worker in ("w1", "w2", "w3"):
            self.assertEqual(self.told(worker, review), {"state": "requested", "note": ""})
        self.docket.vote(review, CAROL, approve=False, comment="no")
        self.carry()
        found = self.told("w3", review)
        self.assertEqual((found["state"], found["note"]), ("denied", "denied by carol: no"))
        self.assertEqual(self.told("w1", "r-2"), {"state": "withdrawn", "note": ""})

    def test_what_a_worker_does_not_tell(self) -> None:
        def refuse(_request: str) -> None:
            raise UnavailableError("it stays here")

        ControlElsewhere(self.first.client).serve(refuse)
        asked = self.asking.ask("w1", "r-1")
        self.carry()
        self.assertIn("it stays here", str(self.failureResultOf(asked, RemoteError).value))

    def test_a_worker_that_does_not_answer(self) -> None:
        """Whoever asks is told so, and not that the request is over."""
        self.first.client._handlers["held_standing"] = self.never
        asked = self.asking.ask("w1", "r-1")
        self.carry()
        self.assertNoResult(asked)
        self.wait(TAKE_TIMEOUT + 1)
        self.assertIn("does not answer", str(self.failureResultOf(asked, RemoteError).value))

    async def never(self, _body: Mapping[str, Any]) -> dict[str, Any]:
        """Take longer than anybody waits."""
        answer: Deferred[dict[str, Any]] = Deferred()
        return await answer

    def test_without_control(self) -> None:
        self.kill()
        self.failureResultOf(self.asking.ask("w1", "r-1"), UnavailableError)
