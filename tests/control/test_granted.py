"""Tests for grants between control and its workers: told, claimed, ended, not known any more."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from hoopgw.control.granted import WorkerGrants
from hoopgw.control.live import SessionRegistry
from hoopgw.grants.ledger import GrantAsk
from hoopgw.grants.view import GrantView
from hoopgw.policy.decision import Use
from hoopgw.policy.offers import Offer
from hoopgw.store.grant_rows import GrantRow
from tests.control.world import WorkerEnd, WorldCase, operation
from tests.store.values import ALICE, CAROL, DAVE, digest

OFFER = Offer(
    name="read",
    template="t-read",
    terms="terms",
    approvers=frozenset({"dba"}),
    scopes=frozenset({"window", "session", "call"}),
    limit=3600.0,
    slots=frozenset({"?principal", "?resource"}),
)


class GrantedCase(WorldCase):
    """A worker that knows of grants."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(self.board.granting.clock, "_steady", self.clock.seconds)
        self.end, self.grants, self.looked = self.granted()

    def granted(self, name: str = "w1") -> tuple[WorkerEnd, WorkerGrants, list[set[str]]]:
        """Connect a worker."""
        end, looked = self.worker(name), list[set[str]]()

        def look(roots: Collection[str]) -> None:
            looked.append(set(roots))

        view = GrantView(self.clock.seconds, lambda: end.client.is_current)
        grants = WorkerGrants(end.client, self.clock, view, "https://gateway.example", look)
        self.addCleanup(grants.stop)
        return end, grants, looked

    def grant(self, **asked: Any) -> GrantRow:
        """Ask for a grant of alice's, and approve it."""
        usual = {
            "principal": ALICE,
            "offer": OFFER,
            "target": "orders",
            "seconds": 600.0,
            "reason": "why",
        }
        ledger = self.board.granting.ledger
        row = ledger.ask(GrantAsk(**{**usual, **asked}))
        self.docket.vote(row.id, CAROL, approve=True)
        self.carry()
        return ledger.find(row.id)

    def held(self, grants: WorkerGrants | None = None, session: str = "") -> list[str]:
        """Return what alice holds, as a worker knows it."""
        view = (grants or self.grants).view
        return [each.id for each in view.held(ALICE, session)]


class ToldTests(GrantedCase):
    """What a worker is told."""

    def test_begun_and_ended(self) -> None:
        row = self.grant()
        self.assertEqual((row.state, self.held()), ("active", [row.id]))
        self.board.granting.ledger.revoke(row.id, DAVE)
        self.carry()
        self.assertEqual(self.held(), [])
        self.assertEqual(self.looked, [{ALICE.root.id}] * 2)

    def test_when_it_connects(self) -> None:
        """A worker that comes later, or comes back, is told all that is in force."""
        row = self.grant()
        _, later, _ = self.granted("w2")
        self.assertEqual(self.held(later), [row.id])
        self.kill()
        self.begin()
        self.wait(5)
        self.assertEqual(self.held(), [row.id])

    def test_what_ended_meanwhile(self) -> None:
        """A worker that was away has its sessions looked at."""
        row = self.grant()
        self.kill()
        self.begin()
        self.board.granting.ledger.revoke(row.id, DAVE)
        self.looked.clear()
        self.wait(5)
        self.assertEqual((self.held(), self.looked), ([], [{ALICE.root.id}]))

    def test_time(self) -> None:
        """It ends by the worker's own timer as well, and sessions are looked at."""
        self.grant(seconds=60.0)
        self.looked.clear()
        self.wait(59)
        self.assertEqual(self.looked, [])
        self.clock.advance(1.1)
        self.assertEqual(self.looked, [{ALICE.root.id}])

    def test_silence(self) -> None:
        """Two seconds without control, and nothing counts as granted."""
        row = self.grant()
        self.wait(1)
        self.assertEqual(self.held(), [row.id])
        self.kill()
        self.clock.advance(1.0)
        self.clock.advance(1.5)
        self.assertEqual(self.held(), [])

    def test_an_end_in_silence(self) -> None:
        """Sessions are not ended for what is not known; they are looked at when control is back."""
        self.grant(seconds=60.0)
        self.looked.clear()
        self.kill()
        for _ in range(62):
            self.clock.advance(1.0)
        self.assertEqual(self.looked, [])
        self.begin()
        self.wait(5)
        self.assertEqual(self.looked, [{ALICE.root.id}])


class UseTests(GrantedCase):
    """What a worker asks."""

    def use(self, use: Use, session: str = "s-1", text: str = "select 7") -> bool:
        asked = self.grants.use(use, session, digest(text))
        self.carry()
        return bool(self.successResultOf(asked))

    def test_a_call(self) -> None:
        """What was refused is asked for, and used once, for that alone."""
        refused = evolve(operation("select 7"), digest=digest("select 7"))
        self.grants.refused(ALICE, refused)
        self.carry()
        calls = self.board.granting.calls
        call = calls.find(ALICE, "orders", digest("select 7"), self.clock.seconds())
        row = self.grant(scope="call", call=call)
        use = Use(grant=row.id, digest=digest("select 7"))
        self.assertFalse(self.use(use, text="select 8"))
        self.assertTrue(self.use(use))
        self.assertFalse(self.use(use))
        self.assertEqual(self.held(), [])

    def test_a_session(self) -> None:
        """The claim is known before it is answered, so what follows is judged by it."""
        row = self.grant(scope="session")
        asked = self.grants.use(Use(grant=row.id), "s-1", digest("x"))
        known: list[list[str]] = []
        asked.addCallback(lambda _ok: known.append(self.held(session="s-1")))
        self.carry()
        self.assertEqual(known, [[row.id]])
        self.assertEqual(self.held(session="s-2"), [])
        self.assertFalse(self.use(Use(grant=row.id), "s-2"))

    def test_without_control(self) -> None:
        """Nobody can say that it is not used already."""
        row = self.grant(scope="session")
        self.kill()
        asked: Deferred[bool] = self.grants.use(Use(grant=row.id), "s-1", digest("x"))
        self.assertFalse(self.successResultOf(asked))

    def test_refused_without_end(self) -> None:
        """Who is refused a thousand times a second does not bury control."""
        for number in range(1000):
            text = f"select {number}"
            self.grants.refused(ALICE, evolve(operation(text), digest=digest(text)))
        self.grants.refused(CAROL, evolve(operation("hers"), digest=digest("hers")))
        self.carry()
        calls, now = self.board.granting.calls, self.clock.seconds()
        kept = [calls.find(ALICE, "orders", digest(f"select {n}"), now) for n in range(1000)]
        self.assertEqual(sum(call is not None for call in kept), 20)
        self.assertIsNone(kept[999])
        self.assertIsNotNone(calls.find(CAROL, "orders", digest("hers"), now))

    def test_said_once(self) -> None:
        """Control hears of a use once a session."""
        row = self.grant()
        for session in ("s-1", "s-1", "s-2"):
            self.grants.used([row.id], session)
        self.carry()
        steps = [getattr(record, "step", "") for record in self.recorder.records]
        self.assertEqual(steps.count("used"), 2)


class ReconsiderTests(GrantedCase):
    """`SessionRegistry.reconsider`."""

    def test_what_ends(self) -> None:
        """Sessions of these roots that say why; and one that cannot say."""
        cut: list[tuple[str, str]] = []
        sessions = SessionRegistry(self.end.client, self.clock, {}, 10, 10)

        def fail() -> str | None:
            raise ValueError("broken")

        def open_(session: str, who: Any, reconsider: Any) -> None:
            def end(reason: str) -> None:
                cut.append((session, reason))

            sessions.opened(session, who, "orders", end, reconsider=reconsider)

        open_("stays", ALICE, lambda: None)
        open_("goes", ALICE, lambda: "over")
        open_("breaks", ALICE, fail)
        open_("says nothing", ALICE, None)
        open_("another's", CAROL, lambda: "over")
        sessions.reconsider({ALICE.root.id})
        self.assertEqual([session for session, _ in cut], ["goes", "breaks"])
        self.assertEqual(cut[0][1], "over")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
