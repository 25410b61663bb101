"""Held requests that go on without their client: sent as approved, once, recorded, or not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import UnavailableError
from hoopgw.events import Operation
from hoopgw.http.lasting import ANSWER_KEPT, ANSWER_LIMIT, KEPT_LIMIT
from hoopgw.policy.decision import Deny, Sight, Verdict
from hoopgw.recording.records import Intent, Result, ReviewSettled
from hoopgw.sessions.journal import NOT_SENT
from tests.adversarial.azure_gateway import ALLOW, ARM_HOST, Client, Gateway
from tests.adversarial.test_azure_gateway import held
from tests.azure.world import COMPUTE, GROUP, SUBSCRIPTION

GROUPS = f"{GROUP}?api-version=2021-04-01"
ACCESS = f"{COMPUTE}/disks/d/beginGetAccess?api-version=2023-04-02"
RESULTS = f"https://management.azure.com/subscriptions/{SUBSCRIPTION}/operationresults/o?t=1"


def address(answer: bytes, name: str) -> str:
    """Return path and query of an address in an answer's head."""
    found = re.search(rf"(?i)\r\n{name}: https://{ARM_HOST}(\S+)".encode(), answer)
    assert found, answer
    return found[1].decode()


def body(answer: bytes) -> Any:
    """Return an answer's JSON."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def once_held(operation: Operation) -> Verdict:
    """Let people be asked, but not for the state of what was allowed."""
    return ALLOW if "(state)" in operation.action else held(operation)


class LastingCase(SynchronousTestCase):
    """A client whose deletions wait for people."""

    def setUp(self) -> None:
        self.begin()

    def begin(self, **options: Any) -> None:
        """Start a gateway."""
        self.decide: Callable[[Operation], Verdict] = once_held
        self.world = Gateway(lambda operation: self.decide(operation), **options)
        self.client = self.world.connect()

    def hold(self, path: str = GROUPS, method: str = "DELETE", **more: Any) -> bytes:
        """Ask for what is held."""
        answer = self.client.ask(method, path, **more)
        self.assertTrue(answer.startswith(b"HTTP/1.1 202 "), answer)
        self.state = address(answer, "Azure-AsyncOperation")
        self.result = address(answer, "Location")
        return answer

    def settle(self, outcome: str = "approved", number: int = -1) -> None:
        """Let people say."""
        self.world.asked[number].settle(outcome)
        self.world.clock.advance(0)

    def poll(self, path: str | None = None, client: Client | None = None, **more: Any) -> bytes:
        """Ask how it stands."""
        return (client or self.client).ask("GET", path or self.state, **more)

    def status(self) -> str:
        """Return how it is said to stand."""
        return str(body(self.poll())["status"])

    def count(self, method: str = "DELETE") -> int:
        """Count what reached the target."""
        return self.world.sent().count(f"{method} /".encode())

    def outcomes(self) -> list[str]:
        """Return how requests came out."""
        return [each.outcome for each in self.world.recorder.of(Result)]


class SendingTests(LastingCase):
    """What is sent, and when."""

    def test_once_it_is_approved(self) -> None:
        """The client need not be there; the record is written before."""
        answer = self.hold()
        self.assertIn(b"held for approval by ops", answer)
        self.assertEqual((self.status(), self.count()), ("InProgress", 0))
        self.client.leave()
        self.world.clock.advance(59.0)
        self.settle()
        self.assertEqual(self.count(), 1)
        self.assertEqual([each.decision for each in self.world.recorder.of(Intent)], ["review"])
        self.assertEqual(len(self.world.recorder.of(ReviewSettled)), 1)
        self.world.target.answer("200 OK")
        self.client = self.world.connect()
        self.assertEqual(self.status(), "Succeeded")
        self.assertIn(b"200 OK", self.poll(self.result))
        self.assertEqual(self.count(), 1)
        self.assertEqual(self.outcomes(), ["200 OK"])

    def test_not_if_it_is_denied_or_nobody_answers(self) -> None:
        for outcome, status in (("denied", "Failed"), ("expired", "Canceled")):
            self.hold()
            self.settle(outcome)
            self.assertEqual(self.status(), status)
            self.assertIn(b" 403 ", self.poll(self.result))
        self.assertEqual(self.world.sent(), b"")

    def test_the_same_again_is_the_same(self) -> None:
        """Also while it is held; it is sent once, and each is told where to ask."""
        first = self.hold()
        for client in (self.client, self.world.connect()):
            again = client.ask("DELETE", GROUPS)
            self.assertEqual(address(again, "Location"), address(first, "Location"))
        self.assertEqual(len(self.world.asked), 1)
        self.settle()
        self.assertEqual(self.count(), 1)

    def test_not_if_another_worker_has_used_the_approval(self) -> None:
        self.hold()
        self.world.asked[0].uses = 0
        self.settle()
        self.assertEqual((self.status(), self.count()), ("Failed", 0))
        # It was approved, and the same was sent for somebody: nobody may take it for denied.
        self.assertEqual(body(self.poll())["error"]["code"], "OutcomeUnknown")
        self.assertEqual(self.outcomes(), [NOT_SENT])

    def test_not_if_policy_has_changed(self) -> None:
        self.hold()
        self.decide = lambda operation: (
            ALLOW
            if operation.action == "connect"
            else Verdict(decision=Deny(reason="not any more"))
        )
        self.settle()
        self.decide = once_held
        self.assertIn("not any more", body(self.poll())["error"]["message"])
        self.assertEqual(self.count(), 0)

    def test_not_if_it_cannot_be_recorded(self) -> None:
        self.hold()
        self.world.recorder.full = True
        self.settle()
        self.world.recorder.full = False
        self.assertEqual((self.status(), self.count()), ("Canceled", 0))

    def test_not_before_it_is_on_disk(self) -> None:
        self.hold()
        self.world.recorder.hold_syncs = True
        self.settle()
        self.assertEqual(self.count(), 0)
        self.world.recorder.syncs[0].callback(None)
        self.world.clock.advance(0)
        self.assertEqual(self.count(), 1)

    def test_not_once_the_session_is_over(self) -> None:
        """Revoked, or at its end: nobody is asked any more, and nothing is sent."""
        self.hold()
        (session,) = self.client.connection.sessions.values()
        session.cut("the log-in was revoked")
        self.world.clock.advance(0)
        self.assertTrue(self.world.asked[0].settled.called)
        self.assertEqual(self.count(), 0)
        self.client = self.world.connect()
        found = body(self.poll())
        self.assertEqual(found["status"], "Canceled")
        self.assertIn("revoked", found["error"]["message"])

    def test_what_is_cut_while_it_is_sent(self) -> None:
        """Whether it was done nobody knows, and it is not said to be done."""
        self.hold()
        self.settle()
        (session,) = self.client.connection.sessions.values()
        session.cut("the log-in was revoked")
        self.world.clock.advance(0)
        self.assertTrue(self.outcomes()[0].startswith("LOST"), self.outcomes())
        self.client = self.world.connect()
        self.assertEqual(body(self.poll())["error"]["code"], "OutcomeUnknown")

    def test_a_target_that_breaks_off(self) -> None:
        self.hold()
        self.settle()
        self.world.target.wire.lose()
        self.world.clock.advance(0)
        self.assertEqual(body(self.poll())["error"]["code"], "OutcomeUnknown")
        self.assertEqual(self.count(), 1)

    def test_who_waits_by_itself_is_answered_at_once_if_approved(self) -> None:
        """With a number of seconds of its own."""
        self.client.ask("DELETE", GROUPS, X_Hoopgw_Wait="30")
        self.settle()
        self.assertEqual(self.count(), 1)
        self.world.target.answer("200 OK")
        self.assertTrue(self.client.wire.take().startswith(b"HTTP/1.1 200 "))


class AskingTests(LastingCase):
    """Who may ask, and what is said."""

    def test_it_is_the_callers_own(self) -> None:
        self.hold()
        for path in (self.state, self.result):
            self.assertIn(b" 404 ", self.poll(path, token="bob"))  # names who asks
        self.assertIn(b" 401 ", self.poll(token="nobody"))

    def test_a_question_has_no_body(self) -> None:
        """It would go on to the target, and nobody has judged it."""
        self.hold(ACCESS, "POST", body=b"{}", Content_Type="application/json")
        self.settle()
        self.world.target.answer(f"202 Accepted\r\nLocation: {RESULTS}")
        before = self.world.sent()
        self.assertIn(b" 400 ", self.poll(self.result, body=b'{"evil":1}'))
        self.assertEqual(self.world.sent(), before)

    def test_the_result_is_asked_for_under_the_operations_masks(self) -> None:
        """Azure gives the address of a disk's content with the result, not with the answer."""
        self.hold(ACCESS, "POST", body=b'{"access":"Read"}', Content_Type="application/json")
        self.settle()
        self.world.target.answer(f"202 Accepted\r\nLocation: {RESULTS}")
        self.poll(self.result)
        asked = bytes(self.world.target.wire.written).rpartition(b"GET ")[2]
        self.assertTrue(asked.startswith(b"/subscriptions/"), asked)
        self.assertNotIn(b"hoopgw-", asked.partition(b"\r\n")[0])
        self.world.target.answer_json({"accessSAS": "https://x?sig=secret"})
        got = self.client.wire.take()
        self.assertNotIn(b"sig=secret", got)
        self.assertIn(b"***", got)

    def test_its_state_is_what_the_target_says_at_its_address(self) -> None:
        self.hold()
        self.settle()
        self.world.target.answer(f"202 Accepted\r\nLocation: {RESULTS}")
        for head, status in (("202 Accepted", "InProgress"), ("200 OK", "Succeeded")):
            self.poll()
            self.world.target.answer(head)
            self.assertEqual(body(self.client.wire.take())["status"], status)
        self.assertEqual(self.count(), 1)

    def test_an_answer_that_leads_elsewhere_is_not_followed(self) -> None:
        self.hold()
        self.settle()
        self.world.target.answer("202 Accepted\r\nLocation: https://evil.example/x")
        found = body(self.poll())
        self.assertEqual(found["error"]["code"], "OutcomeUnknown")
        self.assertNotIn("evil.example", json.dumps(found))

    def test_an_answer_is_kept_for_a_while(self) -> None:
        self.hold()
        self.settle()
        self.world.target.answer("200 OK")
        self.world.clock.advance(ANSWER_KEPT)
        self.assertEqual(len(self.world.factory.lasting), 0)


class Neighbour:
    """Another worker, and what is asked of it. Implements `hoopgw.sessions.elsewhere.Elsewhere`."""

    worker = "worker2"

    def __init__(self) -> None:
        self.find: Callable[[str], Mapping[str, Any] | None] = lambda _request: None
        self.answer: Mapping[str, Any] | None = None
        self.asked: list[tuple[str, str]] = []

    def serve(self, find: Callable[[str], Mapping[str, Any] | None]) -> None:
        """Remember how this worker answers."""
        self.find = find

    def ask(self, worker: str, request: str) -> Deferred[Mapping[str, Any]]:
        """Answer as the other one does."""
        self.asked.append((worker, request))
        return fail(UnavailableError("away")) if self.answer is None else succeed(self.answer)


class ElsewhereTests(LastingCase):
    """What other workers keep, and what they are told."""

    def setUp(self) -> None:
        self.neighbour = Neighbour()
        self.begin(elsewhere=self.neighbour)

    def lose(self) -> None:
        """Let this worker begin anew."""
        self.begin(elsewhere=self.neighbour)

    def test_the_one_that_keeps_it_is_asked(self) -> None:
        self.hold()
        told = self.neighbour.find("r-0")
        assert told is not None
        self.lose()
        self.neighbour.answer = {"standing": told}
        self.assertEqual(self.status(), "InProgress")
        self.assertEqual(self.neighbour.asked, [("worker2", "r-0")])
        self.assertIsNone(self.neighbour.find("r-0"))

    def test_what_nobody_keeps_any_more(self) -> None:
        """How its review stands says what may have been done."""
        self.hold()
        self.lose()
        for state, status, words in (
            ("withdrawn", "Canceled", "nothing was done"),
            ("denied", "Failed", "denied by dora"),
            ("expired", "Canceled", "denied by dora"),
            ("approved", "Canceled", "before it was sent"),
            ("consumed", "Failed", "look at what it was about"),
        ):
            self.neighbour.answer = {"state": state, "note": "denied by dora"}
            found = body(self.poll())
            self.assertEqual(found["status"], status)
            self.assertIn(words, found["error"]["message"])

    def test_who_cannot_be_asked_now(self) -> None:
        """The client asks again; it is not told that anything is over."""
        self.hold()
        self.lose()
        for answer in (None, {}, {"standing": {"state": "odd"}}, {"standing": 7}):
            self.neighbour.answer = answer
            self.assertIn(b" 503 ", self.poll())

    def test_what_the_caller_sees_in_clear_stays_here(self) -> None:
        self.world.sights = lambda _field: Sight(mask=None)
        self.hold(ACCESS, "POST", body=b"{}", Content_Type="application/json")
        self.settle()
        self.world.target.answer_json({"accessSAS": "https://x?sig=secret"})
        self.assertIn(b"sig=secret", self.poll(self.result))
        self.assertRaises(UnavailableError, self.neighbour.find, "r-0")


class BoundTests(LastingCase):
    """Nothing is kept without an end."""

    def test_requests_of_one_caller(self) -> None:
        """The next one has to come again, as one that is short."""
        for number in range(KEPT_LIMIT + 1):
            self.decide = once_held
            answer = self.client.ask("DELETE", f"{GROUP}{number}?api-version=2021-04-01")
            if b" 202 " not in answer.partition(b"\r\n")[0]:
                break
        self.assertIn(b" 503 ", answer)  # a session has fewer that wait
        self.assertLessEqual(len(self.world.factory.lasting), KEPT_LIMIT)

    def test_old_answers_give_way(self) -> None:
        for number in range(KEPT_LIMIT + 5):
            self.hold(f"{GROUP}{number}?api-version=2021-04-01")
            self.settle("denied")
        self.assertEqual(len(self.world.factory.lasting), KEPT_LIMIT)
        self.assertEqual(self.status(), "Failed")

    def test_long_bodies(self) -> None:
        long = b'{"a":"' + b"x" * 3_000_000 + b'"}'
        statuses = []
        for number in range(12):
            path = f"{COMPUTE}/disks/d{number}/beginGetAccess?api-version=2023-04-02"
            answer = self.client.ask("POST", path, body=long, Content_Type="application/json")
            statuses.append(answer[9:12])
        self.assertEqual(statuses, [b"202"] * 11 + [b"403"])
        (session,) = self.client.connection.sessions.values()
        self.assertEqual(session.stored, 11 * len(long))
        session.cut("over")
        self.world.clock.advance(0)
        self.assertEqual((session.stored, self.world.factory.lasting._bytes.total()), (0, 0))

    def test_a_long_answer_is_not_kept(self) -> None:
        self.hold()
        self.settle()
        self.world.target.answer("200 OK\r\nContent-Type: text/plain", b"x" * (ANSWER_LIMIT + 1))
        self.assertEqual(self.status(), "Succeeded")
        self.assertIn(b"was done", self.poll(self.result))

    def test_a_session_lives_as_long_as_what_it_keeps(self) -> None:
        self.hold()
        (session,) = self.client.connection.sessions.values()
        self.client.leave()
        self.world.clock.advance(600.0)
        self.assertEqual(session.over, "")
        self.settle("denied")
        for _ in range(10):
            self.world.clock.advance(60.0)
        self.assertNotEqual(session.over, "")
