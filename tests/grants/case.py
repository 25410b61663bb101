"""A control process whose policy offers grants, and the people who ask and decide."""

from __future__ import annotations

import time
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults

from hoopgw.events import Node, Principal
from hoopgw.grants.held import HeldGrant
from hoopgw.grants.ledger import Ledger
from hoopgw.ipc import Peer
from hoopgw.policy.offers import digest_of
from hoopgw.recording.records import GrantStep
from hoopgw.store.grant_rows import GrantRow
from tests.control.gateway_case import ALICE, POLICY, GatewayCase, Reply, keeping, soon
from tests.store.values import hop, person, principal

READ = """@id("t-read") @grant("read-orders") @grant_approval("dba") @grant_limit("4h")
@grant_scopes("window,session,call")
permit (principal == ?principal, action in Postgres::Action::"read", resource in ?resource);"""
PAIR = """@id("t-pair") @grant("write-orders") @grant_approval("dba,security")
@grant_approvals("2") @grant_for("dev")
permit (principal == ?principal, action in Postgres::Action::"write",
  resource in Hoopgw::Target::"orders");"""
GLASS = """@id("t-glass") @breakglass("oncall") @grant_approval("security") @grant_limit("30m")
permit (principal == ?principal, action, resource in ?resource) when { context.breakglass };"""
OFFERS = f"{POLICY}\n{READ}\n{PAIR}\n{GLASS}\n"

EVE = soon(person("eve", "sales"))
OLGA = soon(person("olga", "oncall"))
SAM = soon(person("sam", "security"))
PLANNER = soon(principal(EVE.root, hop("planner", kind="agent")))
TESTER = soon(principal(EVE.root, hop("tester", kind="agent")))
DIGEST = bytes(range(32))


def child(who: Principal, name: str, node: str = "") -> Principal:
    """Return what somebody started."""
    return evolve(
        who,
        chain=(*who.chain, hop(name, kind="agent")),
        nodes=(*who.nodes, Node(id=node or f"node-{name}", purpose="to look")),
    )


class GrantCase(GatewayCase):
    """One control process."""

    policy = OFFERS

    @property
    def ledger(self) -> Ledger:
        return self.service.board.granting.ledger

    async def ask(self, who: Principal = EVE, **body: Any) -> Reply:
        """Ask for a grant."""
        usual = {"target": "orders", "grant": "read-orders", "seconds": 900, "reason": "look"}
        asked = {k: v for k, v in {**usual, **body}.items() if v is not None}
        return await self.call("POST", "/v1/grants", who, asked)

    async def act(self, grant: str, verb: str, who: Principal, **body: Any) -> Reply:
        """Do something with a grant."""
        return await self.call("POST", f"/v1/grants/{grant}/{verb}", who, body)

    async def granted(self, by: Principal, who: Principal = EVE, **body: Any) -> str:
        """Ask for a grant and have it approved; return its id."""
        asked = await self.ask(who, **body)
        self.assertEqual(asked.status, 200, asked.body)
        voted = await self.act(asked.body["id"], "approve", by)
        self.assertEqual((voted.status, voted.body.get("state")), (200, "active"), voted.body)
        return str(asked.body["id"])

    async def broken(self, who: Principal = OLGA, **body: Any) -> Reply:
        """Break glass."""
        return await self.ask(who, **{"grant": "t-glass", "reason": "outage 7", **body})

    def row(self, grant: str) -> GrantRow:
        """Return a grant as the store has it."""
        return self.ledger.find(grant)

    def held(self) -> list[HeldGrant]:
        """Return what is in force."""
        return self.ledger.in_force()

    def steps(self, grant: str | None = None) -> list[str]:
        """Return the steps that were recorded."""
        steps = self.recorder.of(GrantStep)
        return [step.step for step in steps if grant in (None, step.grant)]

    async def worker(self, told: list[Any], ended: list[Any] | None = None) -> Peer:
        """Connect as a worker that keeps what it is told."""
        peer = await self.peer(
            grant=keeping(told), grant_ended=keeping([] if ended is None else ended)
        )
        await peer.call("hello", worker="w1")
        return peer

    async def at_once(self, *calls: Any) -> list[Any]:
        """Let calls run at the same time."""
        started = [Deferred.fromCoroutine(call) for call in calls]
        answers: list[Any] = await gatherResults(started, consumeErrors=True)
        return answers

    def pass_time(self, seconds: float) -> None:
        """Let time pass for grants and requests."""
        now = time.time() + seconds
        self.patch(self.service.board.granting.clock, "_wall", lambda: now)
        self.patch(self.docket, "_now", lambda: now)


TERMS = {name: digest_of(text) for name, text in (("t-read", READ), ("t-glass", GLASS))}
__all__ = ["ALICE", "DIGEST", "EVE", "OLGA", "PLANNER", "SAM", "TERMS", "TESTER", "GrantCase"]
