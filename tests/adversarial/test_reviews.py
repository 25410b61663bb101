"""Attacks on approvals, over HTTP: one's own, twice, too late, somebody else's."""

from __future__ import annotations

import time
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults

from hoopgw.control import api_requests
from hoopgw.errors import UnavailableError
from hoopgw.events import Principal
from hoopgw.policy.decision import Remedy
from hoopgw.reviews import docket
from hoopgw.store.rows import Request, SessionHead
from tests.control.gateway_case import (
    AGENT,
    ALICE,
    CAROL,
    DAVE,
    ROOT,
    GatewayCase,
    Reply,
    keeping,
    soon,
)
from tests.store.values import DBA, SECURITY, ask, hop, person, principal

MALLORY = soon(person("mallory", "dev"))
BOT = hop("bot", "dba", "security", "admins", kind="agent")
TWO = evolve(DBA, needed=2)


def through(who: Principal) -> Principal:
    """Return an agent of somebody, with all groups that there are."""
    return soon(evolve(principal(who.root, BOT), session=who.session))


class ReviewCase(GatewayCase):
    """Requests, and who votes on them."""

    def file(self, by: Principal = ALICE, *remedies: Remedy, text: str = "delete 1") -> Request:
        """File a request."""
        return self.docket.file(ask(text, by, *(remedies or (DBA,))))

    async def vote(self, request: Request, who: Principal, verb: str = "approve") -> Reply:
        """Vote."""
        return await self.call("POST", f"/v1/requests/{request.id}/{verb}", who, {})

    async def at_once(self, *calls: Any) -> list[Reply]:
        """Let calls run at the same time."""
        started = [Deferred.fromCoroutine(call) for call in calls]
        answers: list[Reply] = await gatherResults(started, consumeErrors=True)
        return answers

    def state(self, request: Request) -> str:
        """Return how a request stands."""
        found = self.store.request(request.id)
        assert found is not None
        return found.state


class OwnTests(ReviewCase):
    """Approving what oneself has asked for."""

    async def test_in_no_disguise(self) -> None:
        """With another group, another log-in, a spare agent, or as what one is asked through."""
        everything = ("dba", "security", "admins", "auditors")
        for by in (ALICE, AGENT, through(ALICE)):
            filed = self.file(by, DBA, text=f"delete {by.path}")
            alice = soon(person("alice", *everything))
            for who in (
                alice,
                evolve(alice, session="another log-in"),
                through(alice),
                through(ALICE),
                soon(principal(BOT)),
                soon(principal(BOT, *alice.chain)),
                soon(principal(*alice.chain, *alice.chain)),
            ):
                answer = await self.vote(filed, who)
                self.assertIn(answer.status, (403, 404), who)
            self.assertEqual(self.store.votes(filed.id), [])
            self.assertFalse(self.docket.consume(filed.id, filed.digest))

    async def test_through_a_colleagues_agent(self) -> None:
        """An approver's agent, which the requester may have talked into it, is no person."""
        filed = self.file()
        for who in (through(CAROL), soon(Principal(chain=(BOT,), session="b", expires=0.0))):
            self.assertIn((await self.vote(filed, who)).status, (403, 404))
            self.assertIn((await self.vote(filed, who, "deny")).status, (403, 404))
        self.assertEqual(self.state(filed), "requested")

    async def test_a_workload_with_the_group(self) -> None:
        """A pipeline does not approve."""
        pipeline = hop("pipeline", "dba", kind="workload")
        who = soon(Principal(chain=(pipeline,), session="ci", expires=0.0))
        self.assertIn((await self.vote(self.file(), who)).status, (403, 404))

    async def test_administrators_have_no_vote_by_that(self) -> None:
        filed = self.file()
        self.assertEqual((await self.vote(filed, ROOT)).status, 403)
        self.assertEqual((await self.vote(filed, ROOT, "deny")).status, 403)


class TwiceTests(ReviewCase):
    """One person as several."""

    async def test_in_a_race(self) -> None:
        """Ten votes at once, from several log-ins, are one."""
        filed = self.file(ALICE, TWO)
        logins = [evolve(CAROL, session=f"login-{n}") for n in range(10)]
        answers = await self.at_once(*(self.vote(filed, who) for who in logins))
        self.assertEqual(sorted(a.status for a in answers), [200] + [409] * 9)
        self.assertEqual(self.state(filed), "requested")
        self.assertEqual((await self.vote(filed, DAVE)).body["state"], "approved")

    async def test_in_two_groups(self) -> None:
        """Who is in both groups that are asked fills one place."""
        filed = self.file(ALICE, DBA, SECURITY)
        both = soon(person("erin", "dba", "security"))
        answers = await self.at_once(*(self.vote(filed, both) for _ in range(4)))
        self.assertEqual(sum(a.status == 200 for a in answers), 1)
        self.assertEqual(self.state(filed), "requested")

    async def test_with_a_group_that_came_later(self) -> None:
        """A second log-in with more groups is no second person."""
        filed = self.file(ALICE, DBA, SECURITY)
        self.assertEqual((await self.vote(filed, CAROL)).status, 200)
        later = soon(person("carol", "dba", "security"))
        self.assertEqual((await self.vote(filed, later)).status, 409)
        self.assertEqual(self.state(filed), "requested")

    async def test_approving_and_denying_at_once(self) -> None:
        """Whatever comes first, a denial is never overruled, and one use is one use."""
        for number in range(5):
            filed = self.file(text=f"delete {number}")
            await self.at_once(self.vote(filed, CAROL), self.vote(filed, DAVE, "deny"))
            used = [self.docket.consume(filed.id, filed.digest) for _ in range(3)]
            self.assertLessEqual(sum(used), 1)
            self.assertEqual(any(used), self.state(filed) == "consumed")


class LateTests(ReviewCase):
    """Approving what is over."""

    async def test_after_its_end(self) -> None:
        for end in ("withdrawn", "denied", "expired", "used"):
            filed = self.file(text=f"delete {end}")
            if end == "withdrawn":
                await self.call("POST", f"/v1/requests/{filed.id}/withdraw", ALICE, {})
            elif end == "denied":
                await self.vote(filed, DAVE, "deny")
            elif end == "expired":
                now = time.time() + 901
                self.patch(self.docket, "_now", lambda now=now: now)
            else:
                await self.vote(filed, DAVE)
                self.assertTrue(self.docket.consume(filed.id, filed.digest))
            answer = await self.vote(filed, CAROL)
            self.assertEqual((answer.status, answer.body["error"]), (409, "too_late"), end)
            self.assertFalse(self.docket.consume(filed.id, filed.digest), end)

    async def test_when_the_requester_was_put_out(self) -> None:
        """What was approved, and not used yet, is of no use to a log-in that was revoked."""
        filed = self.file()
        await self.vote(filed, CAROL)
        self.assertEqual(self.state(filed), "approved")
        await self.call("POST", f"/v1/logins/{ALICE.session}/revoke", ROOT)
        self.assertFalse(self.docket.consume(filed.id, filed.digest))

    async def test_when_the_approver_was_put_out(self) -> None:
        await self.call("POST", f"/v1/logins/{CAROL.session}/revoke", ROOT)
        filed = self.file()
        self.assertEqual((await self.vote(filed, CAROL)).status, 401)


class ForeignTests(ReviewCase):
    """What belongs to somebody else is as if it were not there."""

    async def test_requests(self) -> None:
        filed = self.file(AGENT, evolve(DBA, prompt="why?"))
        strangers = (
            MALLORY,
            through(MALLORY),
            through(CAROL),
            # An agent with the name of alice's, and a person whose id begins like hers.
            soon(principal(MALLORY.root, AGENT.chain[1])),
            soon(principal(hop("alic"))),
            soon(principal(AGENT.chain[1])),
        )
        verbs = ("", "/approve", "/deny", "/withdraw", "/reason")
        for who in strangers:
            for verb in verbs:
                method = "POST" if verb else "GET"
                body = {"reason": "because"} if verb == "/reason" else {} if verb else None
                answer = await self.call(method, f"/v1/requests/{filed.id}{verb}", who, body)
                self.assertEqual(answer.status, 404, f"{who.path} {verb}")
            listed = await self.call("GET", "/v1/requests", who)
            self.assertEqual(listed.body["requests"], [])
        self.assertEqual(self.state(filed), "requested")

    async def test_an_approver_changes_nothing_but_its_vote(self) -> None:
        """Neither the reason, which another approver reads, nor the request's being there."""
        filed = self.file(AGENT, evolve(DBA, prompt="why?"))
        given = await self.call(
            "POST", f"/v1/requests/{filed.id}/reason", CAROL, {"reason": "trust me"}
        )
        self.assertEqual(given.status, 403)
        gone = await self.call("POST", f"/v1/requests/{filed.id}/withdraw", CAROL, {})
        self.assertEqual(gone.status, 403)

    async def test_live_sessions(self) -> None:
        head = SessionHead(
            id="s-alice",
            worker="w1",
            principal=ALICE,
            target="orders",
            protocol="postgres",
            account="app",
            address="127.0.0.1",
            opened=time.time(),
        )
        told: list[Any] = []
        peer = await self.peer(cut=keeping(told))
        await peer.call("hello", worker="w1")
        self.store.open_session(head)
        for who in (MALLORY, through(MALLORY), CAROL, through(ALICE), through(ROOT)):
            for method, path in (
                ("GET", "/v1/sessions/s-alice"),
                ("GET", "/v1/sessions/s-alice/records"),
                ("GET", "/v1/sessions/s-alice/replay"),
                ("POST", "/v1/sessions/s-alice/cut"),
            ):
                answer = await self.call(method, path, who, {} if method == "POST" else None)
                self.assertEqual(answer.status, 404, f"{who.path} {path}")
            listed = await self.call("GET", "/v1/sessions", who)
            self.assertEqual(listed.body["sessions"], [], who.path)
        self.assertEqual(told, [])
        self.assertEqual(
            (await self.call("POST", "/v1/sessions/s-alice/cut", ROOT, {})).status, 200
        )

    async def test_the_gateway_itself(self) -> None:
        """Agents, join tokens and others' log-ins are for administrators, in person."""
        for who in (MALLORY, CAROL, through(ROOT)):
            for method, path, body in (
                ("GET", "/v1/agents", None),
                ("POST", "/v1/agents/local/revoke", {}),
                ("POST", "/v1/join-tokens", {"agent": "local"}),
                ("POST", f"/v1/logins/{DAVE.session}/revoke", {}),
            ):
                self.assertEqual((await self.call(method, path, who, body)).status, 403, path)


class BurialTests(ReviewCase):
    """Many requests, or long ones."""

    async def test_one_root_asks_and_withdraws_without_end(self) -> None:
        """Its agents count as it, and others are not hindered."""
        self.patch(docket, "_FILED_BURST", 20.0)
        desk = docket.Docket(self.store, time.time)
        with self.assertRaises(UnavailableError) as caught:
            for number in range(100):
                by = ALICE if number % 2 else AGENT
                desk.withdraw(desk.file(ask(f"delete {number}", by, DBA)).id, "gone")
        self.assertIn("too often", str(caught.exception))
        desk.file(ask("delete", MALLORY, DBA))

    async def test_long_texts(self) -> None:
        """A list reads no more than so many bytes, and says that there is more."""
        self.patch(api_requests, "_SCAN_BYTES", 300_000)
        for number in range(8):
            self.file(text=f"delete {number} " + "x" * 100_000)
        listed = await self.call("GET", "/v1/requests", CAROL)
        self.assertEqual((len(listed.body["requests"]), listed.body["complete"]), (3, False))
        self.assertLess(len(listed.body["requests"][0]["text"]), 400)
        with self.assertRaises(UnavailableError):
            self.file(text="x" * (docket.TEXT_LIMIT + 1))
