"""Tests for grants over HTTP, from the asking to the end, against a real control process."""

from __future__ import annotations

import time
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from hoopgw.control import granting
from hoopgw.grants.journal import replay
from hoopgw.recording.records import GrantStep
from hoopgw.wire_values import principal_to_dict
from tests.control.gateway_case import ALICE, AUDITOR, CAROL, DAVE, ROOT
from tests.grants.case import (
    DIGEST,
    EVE,
    GLASS,
    OLGA,
    PLANNER,
    SAM,
    TERMS,
    GrantCase,
    child,
)
from tests.support.processes import SOON


class AskTests(GrantCase):
    """Asking, and being granted."""

    async def test_asked_approved_used(self) -> None:
        """Whoever approves sees all; workers are told; every step is recorded."""
        told: list[Any] = []
        ended: list[Any] = []
        peer = await self.worker(told, ended)
        asked = await self.ask(seconds=600, reason="ticket 7")
        view = asked.body
        self.assertEqual((asked.status, view["state"], view["scope"]), (200, "requested", "window"))
        self.assertEqual((view["groups"], view["own"]), (["dba"], True))
        seen = (await self.call("GET", f"/v1/grants/{view['id']}", CAROL)).body
        self.assertEqual((seen["reason"], seen["may_approve"]), ("ticket 7", True))
        request = (await self.call("GET", f"/v1/requests/{view['id']}", CAROL)).body
        self.assertIn("grant read-orders on orders to eve", request["text"])
        self.assertEqual(self.held(), [])
        before = time.time()
        given = await self.act(view["id"], "approve", CAROL, comment="fine")
        self.assertEqual((given.status, given.body["state"]), (200, "active"))
        self.assertLess(abs(given.body["until"] - before - 600), 5)
        await peer.call("ping")  # what was told before has arrived with the answer
        (held,) = self.held()
        self.assertEqual((held.template, held.terms), ("t-read", TERMS["t-read"]))
        self.assertEqual((held.chain, held.target), ((("person", "corp|eve"),), "orders"))
        self.assertEqual([body["id"] for body in told], [view["id"]])
        self.assertEqual(ended, [])
        self.ledger.was_used(view["id"], "s-1")
        self.assertEqual(self.steps(), ["requested", "approved", "used"])
        lines = [line.text for line in replay(self.recorder.of(GrantStep))]
        self.assertIn("ticket 7", lines[0])
        self.assertIn("by corp|carol", lines[1])

    async def test_through_requests_as_well(self) -> None:
        """A grant is voted on like everything else."""
        asked = (await self.ask()).body
        voted = await self.call("POST", f"/v1/requests/{asked['id']}/approve", CAROL, {})
        self.assertEqual(voted.status, 200)
        self.assertEqual(self.row(asked["id"]).state, "active")

    async def test_by_action(self) -> None:
        """What allows an action, if it is one thing."""
        found = await self.ask(grant=None, action="select")
        self.assertEqual((found.status, found.body["grant"]), (200, "read-orders"))
        for action in ("delete", "see", "nonsense"):
            self.assertEqual((await self.ask(grant=None, action=action)).status, 404, action)
        found = await self.ask(ALICE, grant=None, action="delete")
        self.assertEqual(found.body["grant"], "write-orders")

    async def test_asked_again(self) -> None:
        """The same asked while it waits is the same request."""
        first, second = await self.ask(), await self.ask(reason="again")
        self.assertEqual(first.body["id"], second.body["id"])
        self.assertEqual(self.steps(), ["requested"])
        third = await self.ask(seconds=901)
        self.assertNotEqual(first.body["id"], third.body["id"])

    async def test_two_persons(self) -> None:
        asked = (await self.ask(ALICE, grant="write-orders")).body
        first = await self.act(asked["id"], "approve", CAROL)
        self.assertEqual(first.body["state"], "requested")
        self.assertEqual((await self.act(asked["id"], "approve", SAM)).body["state"], "active")

    async def test_denied_and_withdrawn(self) -> None:
        denied, gone = (await self.ask()).body["id"], (await self.ask(seconds=60)).body["id"]
        self.assertEqual((await self.act(denied, "deny", CAROL)).body["state"], "denied")
        self.assertEqual((await self.act(gone, "revoke", EVE)).body["state"], "withdrawn")
        self.assertEqual(self.held(), [])
        self.assertEqual(self.steps(), ["requested", "requested", "denied", "withdrawn"])

    async def test_an_agent(self) -> None:
        """Its whole chain is named, with what it was made for, and shown to who approves."""
        agent = child(EVE, "planner")
        asked = (await self.ask(agent)).body
        seen = (await self.call("GET", f"/v1/grants/{asked['id']}", CAROL)).body
        self.assertEqual(seen["principal"]["path"], agent.trail)
        self.assertEqual(seen["purposes"], ["to look"])
        self.assertEqual((await self.act(asked["id"], "approve", CAROL)).status, 200)
        (held,) = self.held()
        self.assertEqual(held.nodes, ("node-planner",))
        self.assertLessEqual(held.until, agent.expires)

    async def test_not_to_be_had(self) -> None:
        """What is malformed, too long, or not offered."""
        for body, status in (
            ({"seconds": 59}, 403),
            ({"seconds": 4 * 3600 + 1}, 403),
            ({"seconds": "900"}, 400),
            ({"seconds": True}, 400),
            ({"seconds": None}, 400),
            ({"reason": ""}, 403),
            ({"reason": " \n"}, 403),
            ({"reason": "x" * 4001}, 400),
            ({"target": "nowhere"}, 404),
            ({"grant": "nothing"}, 404),
            ({"grant": None}, 400),
            ({"action": "read"}, 400),
            ({"scope": "always"}, 400),
            ({"scope": "call"}, 403),
            ({"digest": "12"}, 400),
            ({"wait": 51}, 400),
            ({"until": 2e9}, 400),
            ({"grant": "write-orders"}, 403),
            ({"grant": "t-glass"}, 403),
        ):
            answer = await self.ask(**body)
            self.assertEqual(answer.status, status, body)
        self.assertEqual(self.steps(), [])

    async def test_offers(self) -> None:
        answer = await self.call("GET", "/v1/grants/offers?target=orders", EVE)
        self.assertEqual([offer["grant"] for offer in answer.body["offers"]], ["read-orders"])
        answer = await self.call("GET", "/v1/grants/offers?target=orders", OLGA)
        names = [offer["grant"] for offer in answer.body["offers"]]
        self.assertEqual(names, ["read-orders", "t-glass"])

    async def test_who_sees_what(self) -> None:
        grant = (await self.ask()).body["id"]
        for who, sees in ((EVE, 1), (CAROL, 1), (AUDITOR, 1), (SAM, 0), (ALICE, 0), (PLANNER, 0)):
            listed = await self.call("GET", "/v1/grants?state=requested", who)
            self.assertEqual(len(listed.body["grants"]), sees, who.path)
            one = await self.call("GET", f"/v1/grants/{grant}", who)
            self.assertEqual(one.status, 200 if sees else 404, who.path)

    async def test_a_recorder_that_does_not_take_it(self) -> None:
        """What cannot be recorded is not granted."""
        grant = (await self.ask()).body["id"]
        self.recorder.full = True
        self.assertEqual((await self.ask(seconds=60)).status, 503)
        self.assertEqual((await self.broken()).status, 503)
        await self.act(grant, "approve", CAROL)
        self.assertEqual((self.row(grant).state, self.held()), ("requested", []))
        self.flushLoggedErrors()
        self.recorder.full = False
        self.ledger.sweep()
        self.assertEqual(self.row(grant).state, "active")


class WaitTests(GrantCase):
    """Waiting for people."""

    async def test_until_it_is_decided(self) -> None:
        grant = (await self.ask()).body["id"]
        waiting = Deferred.fromCoroutine(self.call("GET", f"/v1/grants/{grant}?wait=20", EVE))
        await deferLater(reactor, 0.3)
        self.assertFalse(waiting.called)
        await self.act(grant, "approve", CAROL)
        self.assertEqual((await waiting).body["state"], "active")

    async def test_no_longer_than_asked(self) -> None:
        grant = (await self.ask()).body["id"]
        begun = time.monotonic()
        answer = await self.call("GET", f"/v1/grants/{grant}?wait=1", EVE)
        self.assertEqual(answer.body["state"], "requested")
        self.assertLess(time.monotonic() - begun, SOON)
        self.assertEqual(self.service.board.granting._waiters, {})

    async def test_not_too_many(self) -> None:
        """Whoever waits with many calls is told so."""
        self.patch(granting, "WAITERS_LIMIT_GRANT", 3)
        grant = (await self.ask()).body["id"]
        path = f"/v1/grants/{grant}?wait=2"
        answers = await self.at_once(*(self.call("GET", path, EVE) for _ in range(8)))
        self.assertEqual(sorted({answer.status for answer in answers}), [200, 503])


class EndTests(GrantCase):
    """Every end, and what goes on from it."""

    async def test_time(self) -> None:
        told: list[Any] = []
        grant = await self.granted(CAROL)
        peer = await self.worker([], told)
        self.pass_time(901)
        self.ledger.sweep()
        await peer.call("ping")
        self.assertEqual((self.row(grant).state, self.held()), ("expired", []))
        self.assertEqual(told, [{"grant": grant}])
        self.assertEqual(self.steps()[-1], "expired")

    async def test_revoked(self) -> None:
        """By who has it, who decides on it, or an administrator; and only once."""
        for who, status in ((EVE, 200), (CAROL, 200), (ROOT, 200), (AUDITOR, 403), (SAM, 404)):
            grant = await self.granted(CAROL)
            answer = await self.act(grant, "revoke", who, comment="enough")
            self.assertEqual(answer.status, status, who.path)
            if status == 200:
                self.assertIn("enough", self.row(grant).note)
                self.assertEqual((await self.act(grant, "revoke", who)).status, 409)
            else:
                await self.act(grant, "revoke", ROOT)
        self.assertEqual(self.held(), [])

    async def test_nobody_answers(self) -> None:
        grant = (await self.ask()).body["id"]
        self.pass_time(8 * 3600 + 1)
        self.service.board.sweep()
        self.assertEqual(self.row(grant).state, "expired")

    async def test_the_log_in_it_was_asked_from(self) -> None:
        """Its end is the end of what it asked for, waiting or in force."""
        grant, waits = await self.granted(CAROL), (await self.ask(seconds=60)).body["id"]
        await self.call("POST", f"/v1/logins/{EVE.session}/revoke", ROOT, {})
        self.ledger.sweep()
        self.assertEqual(self.row(grant).state, "revoked")
        self.assertEqual(self.row(waits).state, "withdrawn")

    async def test_a_template_that_goes(self) -> None:
        """Gone or changed, it grants nothing any more."""
        grants = [await self.granted(CAROL), (await self.broken()).body["id"]]
        path = self.folder / "policies" / "test.cedar"
        path.write_text(self.policy.replace(GLASS, "").replace('@grant_limit("4h")', ""))
        policies = await self.service.files.current()
        self.service.board.granting.look_at_policy(policies)
        self.assertEqual([self.row(grant).state for grant in grants], ["revoked"] * 2)
        self.assertEqual(self.held(), [])

    async def test_extended(self) -> None:
        """By a request that names it, and for as long again."""
        grant = await self.granted(CAROL, seconds=600)
        asked = await self.act(grant, "extend", EVE, seconds=1200, reason="more")
        self.assertEqual((asked.status, asked.body["extends"]), (200, grant))
        self.assertNotEqual(asked.body["id"], grant)
        longer = await self.act(asked.body["id"], "approve", DAVE)
        self.assertLess(abs(longer.body["until"] - time.time() - 1200), 5)
        self.pass_time(601)
        self.ledger.sweep()
        self.assertEqual([held.id for held in self.held()], [asked.body["id"]])
        late = await self.act(grant, "extend", EVE, seconds=600, reason="more")
        self.assertEqual(late.status, 409)

    async def test_after_a_restart(self) -> None:
        """What is in force is; what waits still does, though nobody waits for it."""
        grant, waits = await self.granted(CAROL), (await self.ask(seconds=60)).body["id"]
        self.ledger._active.clear()
        self.service.board.take_up()
        self.assertEqual([held.id for held in self.held()], [grant])
        self.service.board.attendance._now = lambda: time.time() + 100
        self.service.board.sweep()
        self.assertEqual(self.row(waits).state, "requested")
        peer = await self.peer()
        greeting = await peer.call("hello", worker="w1")
        self.assertEqual([body["id"] for body in greeting["grants"]], [grant])


class UseTests(GrantCase):
    """Grants that are counted."""

    async def refuse(self, who: Any = EVE, digest: bytes = DIGEST) -> None:
        """Tell control of a refused statement, as a worker does."""
        peer = await self.worker([])
        await peer.call(
            "call_refused",
            principal=principal_to_dict(who),
            target="orders",
            action="select",
            digest=digest,
            text=b"select 7",
        )

    async def test_one_call(self) -> None:
        """Approved with the bytes that the gateway saw; good for them, once."""
        await self.refuse()
        grant = await self.granted(CAROL, scope="call", digest=DIGEST.hex())
        seen = (await self.call("GET", f"/v1/grants/{grant}", CAROL)).body
        self.assertEqual(seen["text"], "select 7")
        self.assertFalse(self.ledger.use(grant, "s-1", bytes(32)))
        self.assertTrue(self.ledger.use(grant, "s-1", DIGEST))
        self.assertFalse(self.ledger.use(grant, "s-1", DIGEST))
        self.assertEqual(self.row(grant).state, "consumed")
        self.assertEqual(self.steps(), ["requested", "approved", "used"])

    async def test_one_session(self) -> None:
        """The first that needs it has it."""
        grant = await self.granted(CAROL, scope="session")
        self.assertTrue(self.ledger.use(grant, "s-1", DIGEST))
        self.assertTrue(self.ledger.use(grant, "s-1", bytes(32)))
        self.assertFalse(self.ledger.use(grant, "s-2", DIGEST))
        self.assertEqual(self.held()[0].session, "s-1")
        asked = await self.act(grant, "extend", EVE, seconds=900, reason="more")
        await self.act(asked.body["id"], "approve", CAROL)
        self.assertEqual([held.session for held in self.held()], ["s-1", "s-1"])

    async def test_one_session_is_not_extended_to_two(self) -> None:
        """What goes on is the session that used it, whatever became of the grant meanwhile."""
        grant = await self.granted(CAROL, scope="session")
        early = await self.act(grant, "extend", EVE, seconds=900, reason="more")
        self.assertEqual(early.status, 409)
        self.assertTrue(self.ledger.use(grant, "s-1", DIGEST))
        asked = (await self.act(grant, "extend", EVE, seconds=900, reason="more")).body["id"]
        await self.act(grant, "revoke", EVE)
        await self.act(asked, "approve", CAROL)
        self.assertEqual([held.session for held in self.held()], ["s-1"])
        self.assertFalse(self.ledger.use(asked, "s-2", DIGEST))
        self.assertTrue(self.ledger.use(asked, "s-1", DIGEST))

    async def test_a_call_that_the_gateway_never_saw(self) -> None:
        """Nobody is shown a text that only the requester has said."""
        for who, digest in ((EVE, bytes(32)), (ALICE, DIGEST), (child(EVE, "x"), DIGEST)):
            await self.refuse()
            answer = await self.ask(who, scope="call", digest=digest.hex())
            self.assertEqual(answer.status, 403)
        answer = await self.ask(scope="window", digest=DIGEST.hex())
        self.assertEqual(answer.status, 403)


class GlassTests(GrantCase):
    """Breaking glass."""

    async def test_taken_alarmed_looked_at(self) -> None:
        heard: list[Any] = []
        self.service.board.granting.alarms.channels.append(heard.append)
        taken = await self.broken(seconds=1200)
        grant = taken.body["id"]
        self.assertEqual((taken.status, taken.body["state"]), (200, "active"))
        self.assertEqual([(e.person, e.reason) for e in heard], [("corp|olga", "outage 7")])
        self.assertEqual([held.breakglass for held in self.held()], [True])
        self.assertEqual(self.steps(), ["requested", "break-glass"])
        metrics = (await self.call("GET", "/metrics")).body
        self.assertIn("hoopgw_breakglass_total 1.0", metrics)
        self.assertIn("hoopgw_breakglass_unreviewed 1.0", metrics)
        listed = (await self.call("GET", "/v1/grants/reviews", SAM)).body["grants"]
        self.assertEqual([each["id"] for each in listed], [grant])
        await self.act(grant, "revoke", OLGA)
        self.assertEqual((await self.act(grant, "close", SAM, comment="")).status, 403)
        closed = await self.act(grant, "close", SAM, comment="all as it should be")
        self.assertEqual((closed.status, closed.body["review"]), (200, "closed"))
        self.assertEqual((await self.act(grant, "close", SAM, comment="again")).status, 409)
        listed = (await self.call("GET", "/v1/grants/reviews", SAM)).body["grants"]
        self.assertEqual(listed, [])
        self.assertEqual(self.steps()[2:], ["revoked", "after-review"])
        events = self.flushLoggedErrors()
        self.assertEqual(events, [])

    async def test_a_channel_that_fails(self) -> None:
        """Others hear of it all the same."""

        def fail(_event: Any) -> None:
            raise ValueError("no connection")

        heard: list[Any] = []
        self.service.board.granting.alarms.channels += [fail, heard.append]
        self.assertEqual((await self.broken()).status, 200)
        self.assertEqual(len(heard), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_no_vote_on_it(self) -> None:
        """What is taken is not approved afterwards, but looked at."""
        grant = (await self.broken()).body["id"]
        self.assertEqual((await self.act(grant, "approve", SAM)).status, 409)
        extended = await self.act(grant, "extend", OLGA, seconds=600, reason="more")
        self.assertEqual(extended.status, 409)

    async def test_often(self) -> None:
        """Nobody lives behind broken glass."""
        answers = [(await self.broken(seconds=60)).status for _ in range(12)]
        self.assertEqual(answers, [200] * 10 + [503] * 2)
        other = evolve(OLGA, chain=(evolve(OLGA.root, id="corp|oscar", name="oscar"),))
        self.assertEqual((await self.broken(other)).status, 200)
