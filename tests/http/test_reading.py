"""Tests for `hoopgw.http.reading`: who reads a request, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http.messages import RequestHead
from hoopgw.http.model import Caller, Model, Plan
from hoopgw.http.reading import AT_ONCE, QUEUE_LIMIT, Reading
from hoopgw.sessions.refusals import Refusal, RefusedError

CALLER = Caller(account="a", chain=("corp|alice",), session="s", authority="x", seal=b"s" * 32)
LONG = b"x" * (AT_ONCE + 1)


class ReadingTests(SynchronousTestCase):
    """A model that says what it was given, and threads that the test runs."""

    def setUp(self) -> None:
        self.started: list[tuple[Callable[[], Plan], Deferred[Plan]]] = []
        self.reading = Reading(self.in_thread)
        self.read: list[bytes | None] = []

    def in_thread(self, work: Callable[[], Plan]) -> Deferred[Plan]:
        """Note what is to be run."""
        self.started.append((work, Deferred()))
        return self.started[-1][1]

    def finish(self) -> None:
        """Run what was started first, to its end."""
        work, result = self.started.pop(0)
        execute(work).chainDeferred(result)

    def plan(self, head: RequestHead, body: bytes | None, _caller: Caller) -> Plan:
        """Read a request, as a model."""
        self.read.append(body)
        if head.method == "BAD":
            raise RefusedError(Refusal(kind="malformed", text="no"))
        return cast("Plan", len(body or b""))

    def ask(self, body: bytes | None, method: str = "PUT") -> Deferred[Any]:
        """Have a request read."""
        model, head = cast("Model", self), RequestHead(method, "/")
        return Deferred.fromCoroutine(self.reading.plan(model, head, body, CALLER))

    def test_short_ones_at_once(self) -> None:
        for body in (None, b"", LONG[1:]):
            self.assertEqual(self.successResultOf(self.ask(body)), len(body or b""))
        self.assertEqual(self.started, [])

    def test_long_ones_in_a_thread_one_after_the_other(self) -> None:
        first, second = self.ask(LONG), self.ask(LONG)
        self.assertEqual((self.read, len(self.started)), ([], 1))
        self.assertEqual(self.successResultOf(self.ask(b"short")), 5)
        self.finish()
        self.assertEqual(self.successResultOf(first), len(LONG))
        self.assertNoResult(second)
        self.finish()
        self.assertEqual(self.successResultOf(second), len(LONG))

    def test_one_that_cannot_be_taken(self) -> None:
        """The turn goes on to the next."""
        bad, good = self.ask(LONG, "BAD"), self.ask(LONG)
        self.finish()
        self.failureResultOf(bad, RefusedError)
        self.finish()
        self.successResultOf(good)

    def test_who_leaves_does_not_end_the_turn_of_its_thread(self) -> None:
        """Else clients that come and go fill the pool."""
        running, waiting, last = self.ask(LONG), self.ask(LONG), self.ask(LONG)
        for each in (running, waiting):
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.assertEqual(len(self.started), 1)
        self.finish()
        self.assertEqual(len(self.started), 1)
        self.finish()
        self.successResultOf(last)
        self.assertEqual(len(self.read), 2)

    def test_not_without_end(self) -> None:
        waiting = [self.ask(LONG) for _ in range(QUEUE_LIMIT + 1)]
        error = self.failureResultOf(self.ask(LONG), RefusedError).value
        assert isinstance(error, RefusedError)
        self.assertEqual((error.refusal.kind, error.refusal.retry_after), ("unavailable", 5))
        for each in waiting:
            self.finish()
            self.successResultOf(each)
