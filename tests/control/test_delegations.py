"""Tests for `hoopgw.control.delegations` and for chains at `hoopgw.control.logins`."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred

from hoopgw.control import delegations
from hoopgw.control.delegations import TooManyError
from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.hops import node_id, prove
from hoopgw.identity.passwords import make_password
from hoopgw.identity.tokens import target_audience
from hoopgw.store.rows import LINEAGE_KEPT, LoginRow, PasswordRow
from tests.control.world import URL, WorkerEnd, WorldCase
from tests.identity.lineage import SESSION, Family, key
from tests.store.values import ALICES_AGENT, CAROL

ORDERS = target_audience("orders")


class ChainCase(WorldCase):
    """A world whose gateway signs the roots of a family, at the world's time."""

    def setUp(self) -> None:
        super().setUp()
        self.family = Family(self.signer, url=URL, now=self.clock.seconds())

    def shown(self, *names: str) -> str:
        """Return a chain of these names, with a new pop."""
        chain = self.family.chain(*names)
        return prove(chain, key(names[-1]), ORDERS, self.clock.seconds())

    def begin_login(self, worker: WorkerEnd, chain: str) -> Deferred[Principal]:
        """Show a chain to a worker; let it be heard."""
        asked = worker.logins.chain(chain, "orders")
        self.carry()
        return asked

    def log_in(self, worker: WorkerEnd, *names: str) -> Principal:
        """Log in with a chain, which must be good."""
        return self.successResultOf(self.begin_login(worker, self.shown(*names)))

    def refused(self, worker: WorkerEnd, chain: str) -> str:
        """Log in with a chain that must be refused, and return why."""
        failure = self.failureResultOf(self.begin_login(worker, chain), AuthenticationError)
        return str(failure.getErrorMessage())


class MadeUpTests(ChainCase):
    """Delegations that nobody has seen can be ended, too; but not without end."""

    def test_what_is_made_up_is_bounded(self) -> None:
        """What control knows can be ended all the same, and anything by administrators."""
        self.patch(delegations, "UNKNOWN_LIMIT", 3)
        who = self.log_in(self.worker(), "alice", "planner")
        board = self.board.delegations
        for number in range(3):
            board.revoke(f"{number:022}", "made up", who)
        self.assertRaises(TooManyError, board.revoke, f"{3:022}", "made up", who)
        self.assertFalse(self.store.is_revoked([f"{3:022}"]))
        board.revoke(f"{4:022}", "by an administrator")
        board.revoke(who.lineage[-1], "known", who)
        self.assertTrue(self.store.is_revoked(who.lineage))

    def test_what_is_made_and_ended_again_and_again_is_bounded(self) -> None:
        """By one root's agents; their root, others and administrators are not hindered by it."""
        self.patch(delegations, "REVOKED_BURST", 4.0)
        self.kill()
        self.begin()
        worker, board = self.worker(), self.board.delegations
        for number in range(3):
            who = self.log_in(worker, "alice", f"child-{number}")
            for _ in range(2):
                board.revoke(who.lineage[-1], "ended", who)
        who = self.log_in(worker, "alice", "another")
        self.assertRaises(TooManyError, board.revoke, who.lineage[-1], "ended", who)
        self.assertRaises(TooManyError, board.revoke, "cert:5", "ended", who)
        self.assertFalse(self.store.is_revoked(who.lineage))
        board.revoke("node-of-carol", "ended", CAROL)
        board.revoke(who.lineage[-1], "by its root", evolve(who, chain=who.chain[:1], nodes=()))
        board.revoke("cert:5", "by an administrator")
        self.assertTrue(self.store.is_revoked(who.lineage))

    def test_it_is_kept_no_longer_than_it_is_of_use(self) -> None:
        """Until some time after the end of its log-in, where that is known, or of a certificate."""
        board, now = self.board.delegations, self.clock.seconds()
        who = self.log_in(self.worker(), "alice", "planner")
        self.assertEqual(board.revoke(who.lineage[-1], "x"), now + LINEAGE_KEPT)
        self.assertEqual(board.revoke("cert:5", "x"), now + 2 * 3600)
        self.store.logins.keep(
            LoginRow(
                id=who.session,
                principal=evolve(who, chain=who.chain[:1], nodes=()),
                thumbprint="t",
                refresh=bytes(32),
                began=now,
                groups_at=now,
                expires=now + 28_800,
            )
        )
        other = self.log_in(self.worker("w2"), "alice", "other")
        self.assertEqual(board.revoke(other.lineage[-1], "x"), now + 28_800 + 3600)
        self.assertEqual(board.revoke(who.session, "x"), now + 28_800 + 3600)


class LogInTests(ChainCase):
    """A chain is shown to a worker."""

    def test_nodes_are_kept_at_first_use(self) -> None:
        """With their parents, the root and the parent's word on the purpose."""
        who = self.log_in(self.worker(), "alice", "planner", "migrator")
        self.assertEqual(who.path, "Alice / planner / migrator")
        first = node_id(SESSION, key("planner").thumbprint())
        second = node_id(first, key("migrator").thumbprint())
        self.assertEqual(who.lineage, (SESSION, first, second))
        rows = {row.id: row for row in self.store.nodes.list(None, self.clock.seconds(), 10)}
        self.assertEqual(
            {row.id: row.parent for row in rows.values()}, {first: SESSION, second: first}
        )
        self.assertEqual(rows[second].hop, "corp|alice-1~planner~migrator")
        self.assertEqual(rows[second].root, "corp|alice-1")
        self.assertEqual(rows[second].expires, who.expires)

    def test_a_parent_outlives_its_child(self) -> None:
        """It is known for as long as it lasts, though only its child was ever shown."""
        now = self.clock.seconds()
        chain = self.family.hop(self.family.root(), "alice", "planner", expires=now + 3000)
        chain = self.family.hop(chain, "planner", "migrator", expires=now + 60)
        shown = prove(chain, key("migrator"), ORDERS, now)
        self.successResultOf(self.begin_login(self.worker(), shown))
        ends = {row.name: row.expires for row in self.store.nodes.list(None, now, 10)}
        self.assertEqual(ends, {"planner": now + 3000, "migrator": now + 60})

    def test_a_pop_is_good_once_for_all_workers(self) -> None:
        """And after a restart of control."""
        chain = self.shown("alice", "planner")
        one, two = self.worker("w1"), self.worker("w2")
        self.successResultOf(self.begin_login(one, chain))
        for worker in (one, two):
            self.assertIn("used before", self.refused(worker, chain))
        self.kill()
        self.begin()
        self.wait(10)
        self.assertIn("used before", self.refused(two, chain))

    def test_without_control_nobody_logs_in(self) -> None:
        """Nobody can know whether the pop was used."""
        worker = self.worker()
        self.kill()
        asked = worker.logins.chain(self.shown("alice", "planner"), "orders")
        self.failureResultOf(asked, UnavailableError)

    def test_known_nodes_are_not_written_again(self) -> None:
        """They keep when they were first seen, and live longer when they are shown for longer."""
        worker = self.worker()
        self.log_in(worker, "alice", "planner")
        [first] = self.store.nodes.list("corp|alice-1", 0.0, 10)
        self.wait(3)
        self.log_in(worker, "alice", "planner")
        self.assertEqual(self.store.nodes.list("corp|alice-1", 0.0, 10), [first])
        self.family = evolve(self.family, now=self.clock.seconds())
        self.log_in(worker, "alice", "planner")
        [again] = self.store.nodes.list("corp|alice-1", 0.0, 10)
        self.assertEqual(again, evolve(first, expires=first.expires + 3))

    def test_a_root_has_a_limit(self) -> None:
        """Who makes agents without end is refused, and told so; others are not."""
        self.patch(delegations, "NODES_LIMIT", 2)
        worker = self.worker()
        self.log_in(worker, "alice", "a")
        self.log_in(worker, "alice", "b")
        asked = self.begin_login(worker, self.shown("alice", "c"))
        self.assertIn("limit", self.failureResultOf(asked, UnavailableError).getErrorMessage())
        self.log_in(worker, "alice", "a")
        self.clock.advance(700)
        self.store.purge(self.clock.seconds(), 0.0)
        self.assertEqual(self.store.nodes.count("corp|alice-1", 0.0), {})

    def test_what_was_ended_does_not_count(self) -> None:
        """Whoever ends a child that has made agents without end can delegate again."""
        self.patch(delegations, "NODES_LIMIT", 3)
        worker = self.worker()
        mallory = self.log_in(worker, "alice", "mallory")
        for name in ("x", "y"):
            self.log_in(worker, "alice", "mallory", name)
        asked = self.begin_login(worker, self.shown("alice", "planner"))
        self.assertIn("limit", self.failureResultOf(asked, UnavailableError).getErrorMessage())
        self.board.delegations.revoke(mallory.lineage[-1], "mallory was revoked")
        self.log_in(worker, "alice", "planner")

    def test_a_child_does_not_use_up_what_its_parent_needs(self) -> None:
        """Below one child there is room for some; its parent can still delegate, and it act."""
        self.patch(delegations, "BRANCH_LIMIT", 2)
        worker = self.worker()
        for name in ("x", "y"):
            self.log_in(worker, "alice", "mallory", name)
        for names in (("z",), ("x", "z")):
            asked = self.begin_login(worker, self.shown("alice", "mallory", *names))
            self.assertIn("limit", self.failureResultOf(asked, UnavailableError).getErrorMessage())
        self.log_in(worker, "alice", "mallory")
        self.log_in(worker, "alice", "mallory", "x")
        self.log_in(worker, "alice", "planner", "z")

    def test_a_tampered_node_is_none(self) -> None:
        """Its seal does not hold."""
        self.log_in(self.worker(), "alice", "planner")
        self.store._db.write("UPDATE nodes SET root = 'corp|mallory'")
        self.assertEqual(self.store.nodes.list("corp|mallory", 0.0, 10), [])


class RevocationTests(ChainCase):
    """A delegation is ended."""

    def setUp(self) -> None:
        super().setUp()
        self.here, self.there = self.worker("w1"), self.worker("w2")
        self.planner = self.log_in(self.here, "alice", "planner")
        self.migrator = self.log_in(self.here, "alice", "planner", "migrator")
        self.sibling = self.log_in(self.here, "alice", "other")

    def revoke(self, node: str) -> None:
        """End one, and let it be heard."""
        self.board.delegations.revoke(node, "planner was revoked")
        self.carry()

    def test_live_sessions_of_the_subtree_are_cut_on_every_worker(self) -> None:
        """At once, and no others."""
        cut: list[tuple[str, str]] = []
        for number, (worker, who) in enumerate(
            [(self.here, self.migrator), (self.there, self.planner), (self.there, self.sibling)]
        ):

            def ended(why: str, name: str = f"s{number}") -> None:
                cut.append((name, why))

            worker.sessions.opened(f"s{number}", who, "orders", ended)
        self.revoke(self.planner.lineage[-1])
        self.assertEqual(
            sorted(cut), [("s0", "planner was revoked"), ("s1", "planner was revoked")]
        )

    def test_descendants_do_not_log_in_again(self) -> None:
        """On any worker, with a new pop, a new hop or a new root; siblings and the root do."""
        self.revoke(self.planner.lineage[-1])
        for names in (("alice", "planner"), ("alice", "planner", "migrator")):
            for worker in (self.here, self.there):
                self.assertIn("revoked", self.refused(worker, self.shown(*names)))
        self.log_in(self.there, "alice", "other")

    def test_control_refuses_by_itself(self) -> None:
        """A worker that was not told yet asks, and control knows."""
        self.revoke(self.planner.lineage[-1])
        self.here.client._revoked.clear()
        self.assertIn(
            "revoked", self.refused(self.here, self.shown("alice", "planner", "migrator"))
        )

    def test_a_leaf_does_not_take_its_parent_along(self) -> None:
        """Only what descends ends."""
        self.revoke(self.migrator.lineage[-1])
        self.log_in(self.here, "alice", "planner")
        self.refused(self.here, self.shown("alice", "planner", "migrator"))

    def test_requests_are_withdrawn_with_the_reason(self) -> None:
        """Those that wait, and those that were approved and not used yet."""
        _, outcomes = self.ask(self.here, by=self.migrator)
        _, others = self.ask(self.here, by=self.sibling)
        self.revoke(self.planner.lineage[-1])
        self.assertEqual(
            [(each.outcome, each.reason) for each in outcomes],
            [("withdrawn", "planner was revoked")],
        )
        self.assertEqual(others, [])
        self.assertEqual(self.store.count_states(), {"withdrawn": 1, "requested": 1})

    def test_twins_do_not_share_requests(self) -> None:
        """Two delegations under one name ask apart: each ends with its own."""
        twin = evolve(
            self.migrator,
            nodes=(self.planner.nodes[0], evolve(self.migrator.nodes[1], id="another")),
        )
        first, _ = self.ask(self.here, by=self.migrator)
        second, outcomes = self.ask(self.there, by=twin)
        self.assertNotEqual(first.request, second.request)
        self.revoke(self.migrator.lineage[-1])
        self.assertEqual(outcomes, [])

    def test_passwords_of_the_subtree_are_deleted(self) -> None:
        """And no others."""
        for who in (self.migrator, self.sibling, ALICES_AGENT):
            made = make_password(who, "orders", "app")
            stored = made.stored
            self.store.keep_password(
                PasswordRow(
                    handle=f"handle-{who.chain[-1].name}",
                    target="orders",
                    account="app",
                    principal=who,
                    salt=stored.salt,
                    iterations=stored.iterations,
                    stored_key=stored.stored_key,
                    server_key=stored.server_key,
                    expires=who.expires,
                )
            )
        self.revoke(self.planner.lineage[-1])
        self.assertIsNone(self.store.password("handle-migrator"))
        self.assertIsNotNone(self.store.password("handle-other"))
        self.assertIsNotNone(self.store.password("handle-planner"))
