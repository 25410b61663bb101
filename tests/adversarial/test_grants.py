"""Attacks on grants: one's own, wider, longer, somebody else's, twice, behind our back.

Where it can be shown, an attack is tried on the same parts without the defence, too.
"""

from __future__ import annotations

import json
import time
from typing import Any

from attrs import evolve

from hoopgw.events import Budget, Principal
from hoopgw.grants import ledger as ledgers
from hoopgw.grants.calls import KEPT_EACH, RefusedCall, RefusedCalls
from hoopgw.grants.rules import is_own
from hoopgw.reviews import docket
from hoopgw.store.rows import LOGIN_LIMIT
from hoopgw.terminal import printable
from tests.control.gateway_case import ALICE, CAROL, DAVE, ROOT, soon
from tests.grants.case import (
    DIGEST,
    EVE,
    OLGA,
    PLANNER,
    SAM,
    TESTER,
    GrantCase,
    child,
)
from tests.store.values import hop, person, principal

EVERYTHING = ("dba", "security", "admins", "auditors", "oncall", "sales")


class OwnTests(GrantCase):
    """Approving what oneself has asked for."""

    async def test_in_no_disguise(self) -> None:
        """With more groups, another log-in, one's agent, or as what one is asked through."""
        eve = soon(person("eve", *EVERYTHING))
        for by in (EVE, PLANNER, child(PLANNER, "migrator")):
            asked = (await self.ask(by)).body["id"]
            for who in (
                eve,
                evolve(eve, session="another log-in"),
                child(eve, "approver"),
                soon(principal(eve.root, hop("approver", *EVERYTHING, kind="agent"))),
                soon(principal(hop("approver", *EVERYTHING, kind="agent"))),
                PLANNER,
            ):
                answer = await self.act(asked, "approve", who)
                self.assertIn(answer.status, (403, 404), who.path)
            self.assertEqual((self.row(asked).state, self.held()), ("requested", []))

    async def test_through_a_colleagues_agent(self) -> None:
        """An approver's agent is no person, whatever it was talked into."""
        asked = (await self.ask()).body["id"]
        bot = soon(principal(CAROL.root, hop("bot", *EVERYTHING, kind="agent")))
        pipeline = soon(principal(hop("ci", *EVERYTHING, kind="workload")))
        for who in (bot, pipeline):
            for verb in ("approve", "deny"):
                self.assertIn((await self.act(asked, verb, who)).status, (403, 404))
        self.assertEqual(self.row(asked).state, "requested")

    async def test_who_set_the_pipeline_off(self) -> None:
        """The person behind a workload is not another one."""
        origin = evolve(CAROL.origin, persons=frozenset({CAROL.root.id}))
        pipeline = soon(evolve(principal(hop("ci", "sales", kind="workload")), origin=origin))
        asked = (await self.ask(pipeline)).body["id"]
        self.assertEqual((await self.act(asked, "approve", CAROL)).status, 403)
        self.assertEqual((await self.act(asked, "approve", DAVE)).status, 200)

    async def test_one_person_as_two(self) -> None:
        """Several log-ins, in a race, are one vote."""
        asked = (await self.ask(ALICE, grant="write-orders")).body["id"]
        logins = [evolve(CAROL, session=f"login-{n}") for n in range(8)]
        answers = await self.at_once(*(self.act(asked, "approve", who) for who in logins))
        self.assertEqual(sorted(a.status for a in answers), [200] + [409] * 7)
        self.assertEqual(self.row(asked).state, "requested")

    async def test_administrators_have_no_vote_by_that(self) -> None:
        asked = (await self.ask()).body["id"]
        self.assertEqual((await self.act(asked, "approve", ROOT)).status, 403)

    async def test_the_review_of_ones_own_glass(self) -> None:
        taken = (await self.broken()).body["id"]
        olga = soon(person("olga", *EVERYTHING))
        for who in (olga, evolve(olga, session="other"), child(olga, "a"), child(SAM, "a"), ROOT):
            answer = await self.act(taken, "close", who, comment="nothing to see")
            self.assertIn(answer.status, (403, 404), who.path)
        self.assertEqual(self.row(taken).review, "open")


class RaceTests(GrantCase):
    """All at once."""

    async def test_votes(self) -> None:
        """Approved and denied at the same time, it is one of both, and in force once at most."""
        for number in range(5):
            asked = (await self.ask(seconds=60 + number)).body["id"]
            await self.at_once(
                self.act(asked, "approve", CAROL),
                self.act(asked, "deny", DAVE),
                self.act(asked, "revoke", EVE),
            )
            in_force = [held.id for held in self.held()].count(asked)
            self.assertEqual(in_force, int(self.row(asked).state == "active"))
            self.assertLessEqual(self.steps(asked).count("approved"), 1)

    async def test_twenty_uses_of_one_call(self) -> None:
        self.service.board.granting.calls.note(self.refused())
        held = await self.granted(CAROL, scope="call", digest=DIGEST.hex())
        peers = [await self.worker([]) for _ in range(4)]
        answers = await self.at_once(
            *(
                _called(peer.call("grant_use", grant=held, session=f"s-{n}", digest=DIGEST))
                for n in range(5)
                for peer in peers
            )
        )
        self.assertEqual([answer["ok"] for answer in answers].count(True), 1)

    async def test_twenty_sessions_of_one(self) -> None:
        held = await self.granted(CAROL, scope="session")
        peer = await self.worker([])
        answers = await self.at_once(
            *(
                _called(peer.call("grant_use", grant=held, session=f"s-{n}", digest=DIGEST))
                for n in range(20)
            )
        )
        self.assertEqual([answer["ok"] for answer in answers].count(True), 1)

    async def test_used_while_it_is_revoked(self) -> None:
        """Whichever comes first, a use after the end is none."""
        held = await self.granted(CAROL, scope="session")
        await self.act(held, "revoke", EVE)
        self.assertFalse(self.ledger.use(held, "s-1", DIGEST))

    def refused(self, who: Principal = EVE) -> RefusedCall:
        return RefusedCall(
            principal=who,
            target="orders",
            action="select",
            digest=DIGEST,
            text=b"select 7",
            at=time.time(),
        )


async def _called(call: Any) -> Any:
    return await call


class OverTests(GrantCase):
    """Using what is over."""

    async def test_each_end(self) -> None:
        """Expired, revoked, denied, withdrawn, consumed: it allows nothing, and stays so."""
        ends = {}
        ends["revoked"] = await self.granted(CAROL, scope="session")
        await self.act(ends["revoked"], "revoke", EVE)
        ends["denied"] = (await self.ask(seconds=61)).body["id"]
        await self.act(ends["denied"], "deny", CAROL)
        ends["withdrawn"] = (await self.ask(seconds=62)).body["id"]
        await self.act(ends["withdrawn"], "revoke", EVE)
        ends["expired"] = await self.granted(CAROL, scope="session", seconds=63)
        self.pass_time(64)
        self.assertFalse(self.ledger.use(ends["expired"], "s-1", DIGEST), "before it is swept")
        self.ledger.sweep()
        for state, held in ends.items():
            self.assertEqual(self.row(held).state, state)
            self.assertFalse(self.ledger.use(held, "s-1", DIGEST))
            self.assertIn((await self.act(held, "approve", DAVE)).status, (403, 409))
            late = await self.act(held, "extend", EVE, seconds=600, reason="more")
            self.assertEqual(late.status, 409)
        self.assertEqual(self.held(), [])

    async def test_an_old_approval_again(self) -> None:
        """What was approved is in force once; its request is no way to a second time."""
        held = await self.granted(CAROL)
        await self.act(held, "revoke", EVE)
        request = self.store.request(held)
        assert request is not None
        self.ledger.settled(evolve(request, state="approved"), ())
        self.assertFalse(self.docket.consume(held, request.digest))
        self.assertEqual((self.row(held).state, self.held()), ("revoked", []))

    async def test_without_end(self) -> None:
        """However it is asked, there is an end, and not later than the template says."""
        for seconds in (0, -1, 1e9, 4 * 3600 + 1, None):
            self.assertIn((await self.ask(seconds=seconds)).status, (400, 403), seconds)
        for text in ("Infinity", "NaN", "1e400"):
            raw = json.dumps({"target": "orders", "grant": "read-orders", "reason": "x"})
            body = raw[:-1] + f', "seconds": {text}}}'
            answer = await self.call("POST", "/v1/grants", EVE, None, data=body, headers=_JSON)
            self.assertEqual(answer.status, 400, text)
        taken = await self.broken(seconds=1801)
        self.assertEqual(taken.status, 403)

    async def test_extended_again_and_again(self) -> None:
        """Each time somebody has to approve; nothing grows by itself."""
        held = await self.granted(CAROL, seconds=600)
        for _ in range(3):
            await self.act(held, "extend", EVE, seconds=600, reason="more")
        self.assertEqual([each.id for each in self.held()], [held])
        ends = self.row(held).ends
        assert ends is not None
        self.assertLess(ends, time.time() + 601)


_JSON = {"Content-Type": "application/json"}


class OthersTests(GrantCase):
    """What was granted to somebody else, or is asked for somebody else."""

    async def test_asking_for_another(self) -> None:
        """There is no way to say whom it is for."""
        for name in ("principal", "chain", "for"):
            answer = await self.ask(EVE, **{name: "corp|alice"})
            self.assertEqual(answer.status, 400)

    async def test_a_child_for_its_parent(self) -> None:
        """What a child asks for is its own: neither its parent nor a sibling has it."""
        migrator = child(PLANNER, "migrator")
        await self.granted(CAROL, migrator)
        (held,) = self.held()
        self.assertTrue(held.covers(migrator))
        for who in (EVE, PLANNER, child(PLANNER, "other"), child(EVE, "migrator"), TESTER):
            self.assertFalse(held.covers(who), who.path)

    async def test_a_sibling_and_a_namesake(self) -> None:
        """The same name, delegated anew or by somebody else, is somebody else."""
        await self.granted(CAROL, PLANNER)
        (held,) = self.held()
        for who in (
            TESTER,
            EVE,
            child(EVE, "planner", node="a later delegation"),
            soon(principal(ALICE.root, PLANNER.chain[1])),
            soon(principal(PLANNER.chain[1])),
        ):
            self.assertFalse(held.covers(who), who.path)
        self.assertTrue(held.covers(child(PLANNER, "below")))

    async def test_looking_ending_extending(self) -> None:
        """What is not one's own is as if it were not there."""
        held = await self.granted(CAROL, PLANNER)
        namesake = child(EVE, "planner", node="a later delegation")
        strangers = (ALICE, TESTER, SAM, namesake, soon(principal(PLANNER.chain[1])))
        for who in strangers:
            for verb in ("approve", "deny", "revoke", "close", "extend"):
                body = {"seconds": 600, "reason": "more"} if verb == "extend" else {}
                answer = await self.act(held, verb, who, **body)
                self.assertEqual(answer.status, 404, f"{who.path} {verb}")
            self.assertEqual((await self.call("GET", f"/v1/grants/{held}", who)).status, 404)
        self.assertFalse(is_own(self.row(held), namesake))
        # Who started the agent sees its grant, ends it, and does not extend it in its place.
        for who in (EVE, CAROL):
            answer = await self.act(held, "extend", who, seconds=600, reason="more")
            self.assertIn(answer.status, (403, 404))
        self.assertEqual((await self.act(held, "revoke", EVE)).status, 200)

    async def test_somebody_elses_refused_statement(self) -> None:
        """A digest is asked for by who was refused; others cannot have its text shown."""
        self.service.board.granting.calls.note(
            RefusedCall(
                principal=EVE,
                target="orders",
                action="select",
                digest=DIGEST,
                text=b"select secret",
                at=time.time(),
            )
        )
        for who in (ALICE, child(EVE, "x"), soon(person("mallory", "sales"))):
            self.assertEqual((await self.ask(who, scope="call", digest=DIGEST.hex())).status, 403)
        self.assertEqual((await self.ask(EVE, scope="call", digest=DIGEST.hex())).status, 200)


class GlassTests(GrantCase):
    """Breaking glass without being asked to."""

    async def test_by_whom_it_is_not_for(self) -> None:
        """Not members, agents of members, pipelines in the group."""
        for who in (
            EVE,
            ROOT,
            child(OLGA, "agent"),
            soon(principal(OLGA.root, hop("bot", "oncall", kind="agent"))),
            soon(principal(hop("bot", "oncall", kind="agent"))),
            soon(principal(hop("ci", "oncall", kind="workload"))),
        ):
            self.assertEqual((await self.broken(who)).status, 403, who.path)
        self.assertEqual((self.held(), self.service.board.granting.alarms.raised), ([], 0))

    async def test_quietly(self) -> None:
        """Not without a reason, a record, an alarm; nor is it another scope or longer."""
        self.assertEqual((await self.broken(reason=" ")).status, 403)
        self.assertEqual((await self.broken(scope="session")).status, 403)
        self.assertEqual((await self.broken(seconds=3601)).status, 403)
        self.recorder.full = True
        self.assertEqual((await self.broken()).status, 503)
        self.assertEqual(self.held(), [])
        self.recorder.full = False
        self.assertEqual((await self.broken()).status, 200)
        self.assertEqual(self.service.board.granting.alarms.raised, 1)

    async def test_its_review_does_not_go_away(self) -> None:
        """Neither by its end, nor by time, nor by tidying up."""
        taken = (await self.broken()).body["id"]
        await self.act(taken, "revoke", OLGA)
        self.pass_time(400 * 86_400)
        self.store.purge(time.time() + 400 * 86_400, time.time() + 400 * 86_400)
        listed = (await self.call("GET", "/v1/grants/reviews", ROOT)).body["grants"]
        self.assertEqual([each["id"] for each in listed], [taken])


class FloodTests(GrantCase):
    """Many, or long."""

    async def test_requests(self) -> None:
        """An agent that asks and asks buries nobody, and hinders nobody else."""
        self.patch(docket, "WAITING_LIMIT_ROOT", 5)
        answers = [
            (await self.ask(EVE if n % 2 else PLANNER, seconds=60 + n)).status for n in range(12)
        ]
        self.assertEqual(answers, [200] * 5 + [503] * 7)
        self.assertEqual((await self.ask(ALICE)).status, 200)

    async def test_a_budget_of_reviews(self) -> None:
        """What a delegation may put before people counts here as well, with all below it."""
        budget = Budget(reviews=2)
        agent = evolve(PLANNER, nodes=(evolve(PLANNER.nodes[0], budget=budget),))
        asking = (agent, child(agent, "a"), child(agent, "b"), agent)
        answers = [(await self.ask(who, seconds=60 + n)).status for n, who in enumerate(asking)]
        self.assertEqual(answers, [200, 200, 403, 403])
        self.assertEqual((await self.ask(EVE)).status, 200)

    async def test_a_budget_outlives_who_spent_it(self) -> None:
        """A child that ends soon spends for its parent, whose budget is not forgotten with it."""
        budget = Budget(reviews=2)
        agent = evolve(PLANNER, nodes=(evolve(PLANNER.nodes[0], budget=budget),))
        short = evolve(child(agent, "a"), expires=time.time() + 90)
        self.assertEqual((await self.ask(short)).status, 200)
        self.store.purge(time.time() + LOGIN_LIMIT, 0.0)
        self.assertEqual(self.store.nodes.spent(agent.nodes[0].id)["reviews"], 1)

    async def test_grants_in_force(self) -> None:
        self.patch(ledgers, "ACTIVE_LIMIT_ROOT", 2)
        for number in range(2):
            await self.granted(CAROL, seconds=60 + number)
        self.assertEqual((await self.ask(seconds=70)).status, 503)
        self.assertEqual((await self.ask(ALICE)).status, 200)

    async def test_refused_statements(self) -> None:
        """What is kept of them is bounded, and one's own push out one's own."""
        calls = RefusedCalls()
        shared: dict[str, Any] = {"target": "orders", "action": "x", "at": 0.0}
        theirs = RefusedCall(principal=ALICE, digest=bytes(32), text=b"hers", **shared)
        calls.note(theirs)
        for number in range(KEPT_EACH * 3):
            digest = number.to_bytes(32, "big")
            calls.note(RefusedCall(principal=EVE, digest=digest, text=b"x", **shared))
        self.assertEqual(len(calls._kept), KEPT_EACH + 1)
        self.assertEqual(calls.find(ALICE, "orders", bytes(32), 1.0), theirs)
        calls.note(RefusedCall(principal=EVE, digest=DIGEST, text=b"x" * 70_000, **shared))
        self.assertIsNone(calls.find(EVE, "orders", DIGEST, 1.0))

    async def test_words(self) -> None:
        """A megabyte is refused; escapes for a terminal do not reach one."""
        self.assertEqual((await self.ask(reason="x" * 2**20)).status, 413)
        nasty = "\x1b]0;owned\x07 \x1b[2J\u202e safe\r\nX-Header: 1"
        asked = (await self.ask(reason=nasty)).body
        self.assertTrue(asked["reason"].isprintable())
        self.assertEqual(asked["reason"], printable(asked["reason"]))
        request = (await self.call("GET", f"/v1/requests/{asked['id']}", CAROL)).body
        self.assertNotIn("\x1b", request["text"] + request["reason"])
        voted = await self.act(asked["id"], "approve", CAROL, comment=nasty)
        self.assertNotIn("\x1b", json.dumps(voted.body["note"]))
        ended = await self.act(asked["id"], "revoke", EVE, comment=nasty)
        self.assertNotIn("\\u001b", json.dumps(ended.body))
