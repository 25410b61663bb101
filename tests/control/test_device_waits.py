"""Tests for `hoopgw.control.logins.ControlDevices`: who leaves before the code is there."""

from __future__ import annotations

from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.control.client import ControlClient
from hoopgw.control.logins import ControlDevices
from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.ipc import Body

GIVEN = {"id": "one", "url": "https://i/", "code": "AB-CD", "complete": "", "lasts": 900.0}


@define
class SlowControl:
    """Answers when it is told to."""

    answer: Deferred[Body] = field(factory=Deferred)
    told: list[tuple[str, dict[str, Any]]] = field(factory=list)

    def call(self, _name: str, **_body: Any) -> Deferred[Body]:
        """Give the answer."""
        return self.answer

    def tell(self, name: str, **body: Any) -> None:
        """Keep it."""
        self.told.append((name, body))


class WaitTests(SynchronousTestCase):
    """A code is asked for."""

    def setUp(self) -> None:
        self.control = SlowControl()
        devices = ControlDevices(cast("ControlClient", self.control))
        self.wanted = devices.begin("corp", "192.0.2.1")

    def test_it_comes(self) -> None:
        self.control.answer.callback(GIVEN)
        self.assertEqual(self.successResultOf(self.wanted).code, "AB-CD")
        self.assertEqual(self.control.told, [])

    def test_who_asked_has_left(self) -> None:
        """It is given back: who comes and leaves would else use up the codes that may wait."""
        self.wanted.cancel()
        self.failureResultOf(self.wanted, CancelledError)
        self.control.answer.callback(GIVEN)
        self.assertEqual(self.control.told, [("device_drop", {"id": "one"})])

    def test_who_asked_has_left_and_there_is_none(self) -> None:
        self.wanted.cancel()
        self.failureResultOf(self.wanted, CancelledError)
        self.control.answer.errback(UnavailableError("control is away"))
        self.assertEqual(self.control.told, [])

    def test_it_is_refused(self) -> None:
        self.control.answer.callback({"error": "slow_down", "description": "later"})
        self.failureResultOf(self.wanted, AuthenticationError)
