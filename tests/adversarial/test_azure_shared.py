"""Held requests that several log-ins of one person have asked for: one approval, one sending."""

from __future__ import annotations

from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed

from hoopgw.http.lasting import ANSWER_KEPT
from hoopgw.policy.decision import Hidden, Sight
from hoopgw.sessions.journal import NOT_SENT
from tests.adversarial.azure_gateway import ALICE, Client, Pending
from tests.adversarial.test_azure_lasting import ACCESS, GROUPS, LastingCase, body


@define(eq=False)
class Desk:
    """Joins all who ask to one request, as control does; its approval can be used once."""

    waiting: list[Pending] = field(factory=list)
    uses: int = 1

    def ask(self, *_arguments: object, later: bool) -> Deferred[Pending]:
        """File it, or join."""
        self.waiting.append(_Joined("r-0", desk=self))
        return succeed(self.waiting[-1])

    def approve(self) -> None:
        """Tell all who still wait."""
        for each in self.waiting:
            if not each.settled.called:
                each.settle("approved")


@define(eq=False, kw_only=True)
class _Joined(Pending):
    desk: Desk

    def use(self) -> Deferred[bool]:
        """One of all gets it."""
        self.desk.uses -= 1
        return succeed(self.desk.uses >= 0)


class SharedTests(LastingCase):
    """Two log-ins of one person ask for the very same, at one worker."""

    def setUp(self) -> None:
        self.begin()
        self.world.tokens["again"] = evolve(ALICE, session="login-9")
        self.desk = Desk()
        reviews: Any = self.world.factory.context.reviews
        reviews.ask = self.desk.ask

    def hold_twice(self, path: str = GROUPS, method: str = "DELETE", **more: Any) -> None:
        """Let both ask."""
        self.hold(path, method, **more)
        self.second = self.world.connect()
        answer = self.second.ask(method, path, token="again", **more)
        self.assertTrue(answer.startswith(b"HTTP/1.1 202 "), answer)

    def approve(self) -> None:
        """Let people say yes."""
        self.desk.approve()
        self.world.clock.advance(0)

    def test_both_are_told_what_became_of_it(self) -> None:
        """And not that it was denied, as the other one has used the approval."""
        self.hold_twice()
        self.approve()
        self.assertEqual((self.status(), self.count()), ("InProgress", 1))
        self.world.target.answer("200 OK")
        self.assertEqual(self.status(), "Succeeded")
        found = self.poll(client=self.second, token="again")
        self.assertEqual(body(found)["status"], "Succeeded")
        self.assertEqual(sorted(self.outcomes()), ["200 OK", NOT_SENT])

    def test_the_end_of_one_log_in_is_not_that_of_the_other(self) -> None:
        """What the other one asked for waits on, and is sent."""
        for first in (True, False):
            with self.subTest(first=first):
                self.setUp()
                self.hold_twice()
                ended = self.client if first else self.second
                (session,) = ended.connection.sessions.values()
                session.cut("the log-in was revoked")
                self.world.clock.advance(0)
                client = self.world.connect()
                token = "again" if first else "alice"
                self.assertEqual(
                    body(self.poll(client=client, token=token))["status"], "InProgress"
                )
                self.approve()
                self.assertEqual(self.count(), 1)

    def test_the_answer_is_let_go_of(self) -> None:
        self.hold_twice()
        self.approve()
        self.world.target.answer("200 OK")
        self.assertEqual(len(self.world.factory.lasting), 2)
        self.world.clock.advance(ANSWER_KEPT)
        self.assertEqual(len(self.world.factory.lasting), 0)


class ClearTests(LastingCase):
    """An answer with what few see is kept for a while; what may be seen may change meanwhile."""

    def setUp(self) -> None:
        self.begin()
        self.shown: Any = Sight(mask=None)
        self.world.sights = lambda _field: self.shown
        self.hold(ACCESS, "POST", body=b"{}", Content_Type="application/json")
        self.settle()
        self.world.target.answer_json({"accessSAS": "https://x?sig=secret"})

    def ask(self, client: Client | None = None) -> bytes:
        """Ask for the result."""
        return self.poll(self.result, client)

    def test_it_is_shown_as_long_as_it_may_be_seen(self) -> None:
        self.assertIn(b"sig=secret", self.ask())
        self.assertIn(b"sig=secret", self.ask(self.world.connect()))

    def test_it_is_not_shown_to_who_may_not_see_it_any_more(self) -> None:
        """As after a policy that changed, or by a log-in with fewer groups."""
        self.shown = Hidden(reason="no")
        for client in (self.client, self.world.connect()):
            answer = self.ask(client)
            self.assertNotIn(b"sig=secret", answer)
            self.assertIn(b"has changed", answer)
