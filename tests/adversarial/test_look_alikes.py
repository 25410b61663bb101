"""Agents shown by another's name, jobs that are another run: to be taken for what they are not."""

from __future__ import annotations

import time

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.control.api_sessions import owns
from hoopgw.errors import AuthenticationError
from hoopgw.events import Hop, Principal
from hoopgw.grants.calls import KEPT_EACH, KEPT_ROOT, RefusedCall, RefusedCalls
from hoopgw.identity.chains import hop_of
from hoopgw.identity.shares import share
from hoopgw.policy.decision import Allow, Deny
from hoopgw.policy.engine import CedarPolicy
from hoopgw.policy.questions import kind_of
from hoopgw.reviews.docket import VoteRefusedError, join_key
from hoopgw.reviews.rules import is_own, may_see
from tests.control.gateway_case import CAROL, soon
from tests.grants.case import DIGEST, EVE, GrantCase, child
from tests.policy.world import ALICE, hop, operation, policies, principal
from tests.store.values import ask, request

TEXT = """
@id("people") permit (principal is Hoopgw::Person, action, resource);
@id("migrator") permit (principal in Hoopgw::AgentKind::"{}", action, resource)
when {{ context.chain.hop > 0 && principal has attested && principal.attested }};
"""
MIGRATOR = evolve(hop("migrator", kind="agent"), attested=True)
"""As the token endpoint makes it of an actor token: id and name are what its issuer says."""


class KindTests(SynchronousTestCase):
    """A permit goes by the kind of an agent that is attested."""

    def is_allowed(self, kind: str, child: Hop) -> bool:
        policy = CedarPolicy(policies(TEXT.format(kind)), lambda: 0.0)
        verdict = policy.decide(principal(ALICE, child), operation("take"))
        self.assertEqual(verdict.errors, ())
        self.assertIsInstance(verdict.decision, Allow | Deny)
        return isinstance(verdict.decision, Allow)

    def test_shown_by_the_same_name(self) -> None:
        """Another issuer's agent, whatever that issuer shows it by; the right one is permitted."""
        by_id = MIGRATOR.id
        self.assertTrue(self.is_allowed(by_id, MIGRATOR))
        self.assertTrue(self.is_allowed(by_id, evolve(MIGRATOR, name="shown otherwise")))
        stranger = evolve(MIGRATOR, id="lab|42")
        for name in ("migrator", by_id, f"{by_id} ", "corp|*"):
            for kind in (by_id, "migrator"):
                self.assertFalse(self.is_allowed(kind, evolve(stranger, name=name)), (kind, name))
        # What such a permit would have gone by: the name for people, which both have.
        self.assertEqual(stranger.name, MIGRATOR.name)

    def test_named_by_its_parent(self) -> None:
        """No hop can be named like an id, nor is it attested by being named so."""
        claims = {"kind": "agent", "name": MIGRATOR.id}
        self.assertRaises(AuthenticationError, hop_of, claims, ALICE.id)
        made = hop_of(claims | {"name": "migrator"}, ALICE.id)
        self.assertNotEqual(kind_of(made), MIGRATOR.id)
        self.assertFalse(self.is_allowed(MIGRATOR.id, made))


RUN = soon(principal(hop("ci", "sales", kind="workload")))
"""One run of a pipeline."""
NEXT = evolve(RUN, session="the log-in of the next run")
"""Another run of the same repository: somebody else's branch, as may be."""
NEXTS = (NEXT, child(NEXT, "planner"), child(NEXT, "planner", node="another"))


class AnotherRunTests(GrantCase):
    """The next run of a pipeline takes what the one before has."""

    async def test_a_grant(self) -> None:
        """It is neither held, nor seen, ended or extended; within one log-in it is as ever."""
        for who in (RUN, child(RUN, "planner")):
            held = await self.granted(CAROL, who, seconds=600 + len(who.chain))
            (kept,) = (each for each in self.held() if each.id == held)
            self.assertTrue(kept.covers(who))
            self.assertTrue(kept.covers(child(who, "below")))
            for other in NEXTS:
                self.assertFalse(kept.covers(other), other.trail)
                self.assertFalse(kept.covers(child(other, "below")), other.trail)
                for verb in ("approve", "deny", "revoke", "extend"):
                    body = {"seconds": 600, "reason": "more"} if verb == "extend" else {}
                    answer = await self.act(held, verb, other, **body)
                    self.assertEqual(answer.status, 404, f"{other.trail} {verb}")
                self.assertEqual((await self.call("GET", f"/v1/grants/{held}", other)).status, 404)
            self.assertEqual((await self.act(held, "revoke", RUN)).status, 200)

    async def test_after_a_restart(self) -> None:
        """What the store kept says which log-in it is of."""
        held = await self.granted(CAROL, RUN)
        row = self.store.grants.find(held)
        assert row is not None
        self.assertEqual(row.held.login, RUN.session)
        self.assertFalse(row.held.covers(NEXT))

    async def test_a_request(self) -> None:
        """It is not joined, seen, explained or withdrawn."""
        asked = (await self.ask(RUN)).body["id"]
        self.assertNotEqual((await self.ask(NEXT)).body["id"], asked)
        self.assertNotEqual(join_key(ask(by=RUN)), join_key(ask(by=NEXT)))
        held = self.docket.file(ask(by=RUN))
        for other in NEXTS:
            self.assertFalse(is_own(held, other), other.trail)
            self.assertFalse(may_see(held, other, oversees=False), other.trail)
            self.assertRaises(VoteRefusedError, self.docket.withdraw_own, held.id, other)
            self.assertRaises(VoteRefusedError, self.docket.give_reason, held.id, other, "x")
        self.docket.give_reason(held.id, RUN, "the release")
        self.assertEqual(self.docket.withdraw_own(held.id, RUN).state, "withdrawn")

    async def test_a_refused_statement(self) -> None:
        """It is asked for by who was refused; the same of another run does not push it out."""
        calls = self.service.board.granting.calls
        mine, theirs = refused(RUN, b"select 1"), refused(NEXT, b"select 1")
        calls.note(mine)
        answer = await self.ask(NEXT, scope="call", digest=DIGEST.hex())
        self.assertEqual(answer.status, 403, answer.body)
        calls.note(theirs)
        found = [calls.find(who, "orders", DIGEST, time.time()) for who in (RUN, NEXT)]
        self.assertEqual(found, [mine, theirs])

    def test_a_session(self) -> None:
        """It is neither shown nor cut."""
        self.assertTrue(owns(RUN, child(RUN, "planner")))
        for other in NEXTS:
            self.assertFalse(owns(other, RUN), other.trail)
            self.assertFalse(owns(other, child(RUN, "planner")), other.trail)

    def test_a_person_is_the_same_in_each_log_in(self) -> None:
        """So is what a person's agents do, to that person."""
        later = evolve(EVE, session="another")
        held = evolve(request(1, EVE), principal=EVE)
        self.assertTrue(is_own(held, later))
        self.assertTrue(owns(later, child(EVE, "planner")))
        calls = RefusedCalls()
        calls.note(refused(EVE))
        self.assertIsNotNone(calls.find(later, "orders", DIGEST, time.time()))


class NamesakeTests(SynchronousTestCase):
    """An agent that is named like another one of the same person."""

    def test_requests_and_sessions(self) -> None:
        """They are of a delegation, not of a name."""
        first, second = child(EVE, "planner"), child(EVE, "planner", node="a later delegation")
        self.assertFalse(is_own(request(1, first), second))
        self.assertFalse(may_see(request(1, first), second, oversees=False))
        self.assertFalse(owns(second, child(first, "migrator")))
        self.assertTrue(owns(first, child(first, "migrator")))

    def test_many_refused_statements(self) -> None:
        """One agent pushes out its own; all of a root keep so many, and others theirs."""
        calls = RefusedCalls()
        hers = refused(soon(principal(ALICE)))
        calls.note(hers)
        first = refused(child(EVE, "quiet"))
        calls.note(first)
        loud = child(EVE, "loud")
        for number in range(KEPT_EACH * 3):
            calls.note(refused(loud, digest=number.to_bytes(32, "big")))
        self.assertIsNotNone(calls.find(first.principal, "orders", DIGEST, time.time()))
        self.assertEqual(len(calls), KEPT_EACH + 2)
        for number in range(KEPT_ROOT * 3):
            calls.note(refused(child(EVE, "many", node=f"n{number}")))
        self.assertEqual(len(calls), share(KEPT_ROOT, 1) + 1)
        self.assertIsNotNone(calls.find(hers.principal, "orders", DIGEST, time.time()))


def refused(who: Principal, text: bytes = b"select 7", digest: bytes = DIGEST) -> RefusedCall:
    """Return a statement that somebody was refused just now."""
    return RefusedCall(
        principal=who, target="orders", action="select", digest=digest, text=text, at=time.time()
    )
