"""Tests for `hoopgw.identity.graph`, with a Graph that answers at once or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.identity.graph import KEPT, PATIENCE, GraphDirectory, Reply
from hoopgw.identity.settings import GraphSettings

ALICE = "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb"
BASE = "https://graph.microsoft.com/v1.0"
ENABLED = f"{BASE}/users/{ALICE}?$select=accountEnabled"
MEMBER = f"{BASE}/users/{ALICE}/getMemberObjects"


def said(status: int = 200, **body: Any) -> Reply:
    """Return an answer in JSON."""
    return Reply(status, json.dumps(body).encode())


def groups(*names: str, **more: Any) -> Reply:
    """Return a page of groups."""
    return said(value=list(names), **more)


@define(eq=False)
class Tokens:
    """Implements `hoopgw.identity.graph.AccessTokens`."""

    forgotten: int = 0

    async def token(self) -> str:
        """Return one."""
        return f"token-{self.forgotten}"

    def forget(self) -> None:
        """Count."""
        self.forgotten += 1


@define(eq=False)
class Graph:
    """Implements `hoopgw.identity.graph.Ask`: answers by URL, one after the other."""

    answers: dict[str, list[Reply | Deferred[Reply]]]
    asked: list[tuple[str, str]] = field(factory=list)
    sent: list[tuple[Mapping[str, str], bytes | None]] = field(factory=list)

    def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, /
    ) -> Deferred[Reply]:
        """Answer; the last answer stays."""
        self.asked.append((method, url))
        self.sent.append((headers, body))
        answers = self.answers[url]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return succeed(answer) if isinstance(answer, Reply) else answer


class GraphCase(SynchronousTestCase):
    """A directory over a Graph."""

    def setUp(self) -> None:
        self.clock, self.tokens = Clock(), Tokens()
        self.clock.advance(1000.0)
        self.graph = Graph({ENABLED: [said(accountEnabled=True)], MEMBER: [groups("g1", "g2")]})
        settings = GraphSettings(credential="managed-identity:")
        self.directory = GraphDirectory(settings, self.tokens, self.graph, self.clock)

    def begin(self, subject: str = ALICE) -> Deferred[frozenset[str]]:
        """Ask."""
        return Deferred.fromCoroutine(self.directory.groups(subject))

    def found(self) -> frozenset[str]:
        """Ask, and return what comes at once."""
        return self.successResultOf(self.begin())

    def refused(self, *kinds: type[Exception]) -> Failure:
        """Ask, and return why there is nothing."""
        failure = self.failureResultOf(self.begin(), *(kinds or (UnavailableError,)))
        assert isinstance(failure, Failure)
        return failure


class AnswerTests(GraphCase):
    """What Graph may say."""

    def test_groups(self) -> None:
        """They come of two questions, with the gateway's own token."""
        self.assertEqual(self.found(), frozenset({"g1", "g2"}))
        self.assertEqual(self.graph.asked, [("GET", ENABLED), ("POST", MEMBER)])
        headers, body = self.graph.sent[1]
        self.assertEqual(headers["Authorization"], "Bearer token-0")
        self.assertEqual(json.loads(body or b""), {"securityEnabledOnly": True})

    def test_kept_for_five_minutes(self) -> None:
        """And not for longer; a clock that was set back makes nothing last."""
        self.found()
        self.graph.answers[MEMBER] = [groups("g1")]
        self.clock.advance(KEPT - 1)
        self.assertEqual(self.found(), frozenset({"g1", "g2"}))
        self.clock.advance(1)
        self.assertEqual(self.found(), frozenset({"g1"}))
        self.assertEqual(len(self.graph.asked), 4)
        self.clock.rightNow -= 500.0
        self.found()
        self.assertEqual(len(self.graph.asked), 6)

    def test_pages(self) -> None:
        """All of them."""
        second = f"{BASE}/users/{ALICE}/getMemberObjects?$skiptoken=x"
        self.graph.answers[MEMBER] = [groups("g1", **{"@odata.nextLink": second})]
        self.graph.answers[second] = [groups("g2")]
        self.assertEqual(self.found(), frozenset({"g1", "g2"}))

    def test_pages_elsewhere(self) -> None:
        """Our token goes to the configured Graph and nowhere else."""
        for url in (
            "https://evil.example/v1.0/x",
            "https://graph.microsoft.com.evil.example/v1.0/x",
            "https://graph.microsoft.com/v1.0",
            "http://graph.microsoft.com/v1.0/x",
            ["x"],
        ):
            self.graph.answers[MEMBER] = [groups("g1", **{"@odata.nextLink": url})]
            self.assertIn("elsewhere", str(self.refused().value))
        self.assertNotIn("evil", str(self.graph.asked))

    def test_pages_without_end(self) -> None:
        """They are not read for ever."""
        again = MEMBER + "?again"
        self.graph.answers[MEMBER] = [groups("g1", **{"@odata.nextLink": again})]
        self.graph.answers[again] = [groups("g1", **{"@odata.nextLink": again})]
        self.assertIn("more groups", str(self.refused().value))
        self.assertLess(len(self.graph.asked), 30)

    def test_who_is_not_there(self) -> None:
        """Deleted or disabled: refused for good, and not for now."""
        for gone in (said(404, error={"code": "Request_ResourceNotFound"}), said(404)):
            self.graph.answers[ENABLED] = [gone]
            self.refused(AuthenticationError)
        for disabled in (said(accountEnabled=False), said(), said(accountEnabled="true")):
            self.graph.answers[ENABLED] = [disabled]
            self.refused(AuthenticationError)

    def test_nonsense(self) -> None:
        """It is no list of groups, so nobody is let in."""
        for nonsense in (
            Reply(200, b"<html>"),
            Reply(200, b""),
            said(),
            said(value="g1"),
            said(value=["g1", 2]),
            said(value=[""]),
            said(value=None),
        ):
            self.graph.answers[MEMBER] = [nonsense]
            self.refused()

    def test_too_many(self) -> None:
        """Graph itself refuses beyond its limit."""
        self.graph.answers[MEMBER] = [
            said(400, error={"code": "Directory_ResultSizeLimitExceeded"})
        ]
        self.assertIn("Directory_ResultSizeLimitExceeded", str(self.refused().value))

    def test_not_permitted(self) -> None:
        """The operator is told what is missing; of the answer only its code is repeated."""
        secret = "eyJ0.secret"
        self.graph.answers[MEMBER] = [
            said(403, error={"code": "Authorization_RequestDenied", "message": secret})
        ]
        failure = self.refused()
        self.assertIn("403", str(failure.value))
        self.assertNotIn(secret, str(failure.value))

    def test_an_old_token(self) -> None:
        """Another is got, once."""
        self.graph.answers[ENABLED] = [said(401), said(accountEnabled=True)]
        self.found()
        self.assertEqual(self.graph.sent[1][0]["Authorization"], "Bearer token-1")
        self.clock.advance(KEPT)
        self.graph.answers[ENABLED] = [said(401)]
        self.refused()
        self.assertEqual(self.tokens.forgotten, 2)

    def test_not_an_id(self) -> None:
        """No path is made of what is none."""
        for subject in ("me", "../groups", "", ALICE + "/x", "alice@example.com"):
            self.failureResultOf(self.begin(subject), AuthenticationError)
        self.assertEqual(self.graph.asked, [])


class TroubleTests(GraphCase):
    """Graph is busy, broken, slow or gone."""

    def test_busy(self) -> None:
        """It is asked again when it says so."""
        self.graph.answers[MEMBER] = [Reply(429, b"", 4.0), groups("g1")]
        asking = self.begin()
        self.clock.advance(3.9)
        self.assertNoResult(asking)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(asking), frozenset({"g1"}))

    def test_busy_for_long(self) -> None:
        """Then nobody waits, and nobody asks meanwhile."""
        self.graph.answers[MEMBER] = [Reply(429, b"", 60.0)]
        self.refused()
        asked = len(self.graph.asked)
        self.refused()
        self.assertEqual(len(self.graph.asked), asked)
        self.graph.answers[MEMBER] = [groups("g1")]
        self.clock.advance(60.0)
        self.assertEqual(self.found(), frozenset({"g1"}))

    def test_faults(self) -> None:
        """Some more attempts, with a pause; then a refusal."""
        for status in (500, 502, 503, 504):
            self.graph.answers[MEMBER] = [Reply(status, b"", None), groups("g1")]
            asking = self.begin()
            self.clock.advance(0.5)
            self.assertEqual(self.successResultOf(asking), frozenset({"g1"}))
            self.clock.advance(KEPT)
        self.graph.answers[MEMBER] = [Reply(500, b"", None)]
        asking = self.begin()
        self.clock.pump([0.5] * 4)
        self.failureResultOf(asking, UnavailableError)

    def test_silence(self) -> None:
        """Nobody waits longer than `PATIENCE`, and nothing is left behind."""
        cancelled: list[object] = []
        self.graph.answers[MEMBER] = [Deferred(cancelled.append)]
        asking = self.begin()
        self.clock.advance(PATIENCE - 0.1)
        self.assertNoResult(asking)
        self.clock.advance(0.1)
        self.failureResultOf(asking, UnavailableError)
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_ask_for_one(self) -> None:
        """There is one request, and all have its answer, or its failure."""
        for ends, kind in ((groups("g1"), None), (said(400), UnavailableError)):
            waiting: Deferred[Reply] = Deferred()
            self.graph.answers[MEMBER] = [waiting]
            before = len(self.graph.asked)
            asking = [self.begin() for _ in range(5)]
            asking[3].cancel()
            waiting.callback(ends)
            self.assertEqual(len(self.graph.asked) - before, 2)
            self.failureResultOf(asking.pop(3))
            for each in asking:
                if kind is None:
                    self.assertEqual(self.successResultOf(each), frozenset({"g1"}))
                else:
                    self.failureResultOf(each, kind)
            self.clock.advance(KEPT)

    def test_who_asked_first_goes_away(self) -> None:
        """The others are told, and the next asks anew."""
        waiting: Deferred[Reply] = Deferred()
        self.graph.answers[MEMBER] = [waiting, groups("g1")]
        first, second = self.begin(), self.begin()
        first.cancel()
        self.failureResultOf(first)
        self.failureResultOf(second, UnavailableError)
        self.assertEqual(self.found(), frozenset({"g1"}))

    def test_a_storm(self) -> None:
        """Of log-ins of different people: no more than so many requests wait."""
        stuck: Callable[[], Deferred[Reply]] = Deferred
        refused = 0
        for number in range(80):
            person = f"{number:08x}-0000-1111-2222-bbbbbbbbbbbb"
            self.graph.answers[f"{BASE}/users/{person}?$select=accountEnabled"] = [stuck()]
            asking = self.begin(person)
            asking.addErrback(lambda failure: failure.trap(UnavailableError))
            refused += asking.called
        self.assertEqual(refused, 16)
