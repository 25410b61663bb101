"""Tests for `hoopgw.control.budgets`: leased to workers in pieces, charged to all above."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from hoopgw.control.budgets import Account, ControlBudgets
from hoopgw.errors import UnavailableError
from hoopgw.events import Budget, Hop, Node, Principal
from hoopgw.sessions.purses import Listing
from tests.control.world import WorldCase
from tests.store.values import ALICE, CAROL

OPERATIONS = ("operations",)


def acting(*hops: tuple[str, Budget | None]) -> Principal:
    """Return Alice's agent's agent, each with a budget or none."""
    return Principal(
        chain=(ALICE.root, *(Hop(id=name, name=name, kind="agent") for name, _ in hops)),
        nodes=tuple(Node(id=f"node-{name}", budget=budget) for name, budget in hops),
        session=ALICE.session,
        expires=ALICE.expires,
    )


class BudgetsCase(WorldCase):
    """Two workers' sessions, and control."""

    def setUp(self) -> None:
        super().setUp()
        self.here, self.there = (
            ControlBudgets(self.worker(name).client, self.clock.seconds) for name in ("w1", "w2")
        )

    def open(self, who: Principal, at: ControlBudgets | None = None) -> Account:
        """Begin a session that has a budget."""
        purse = (at or self.here).open(who)
        assert purse is not None
        return purse

    def fund(self, purse: Account, *names: str) -> str:
        """Ask for more, and return what is said."""
        asked = purse.fund(names or OPERATIONS)
        self.carry()
        return self.successResultOf(asked)

    def spend_all(self, purse: Account, *names: str) -> tuple[int, str]:
        """Use one after the other; return how many there were, and what was said at the end."""
        count = 0
        while True:
            if not purse.spend(names or OPERATIONS):
                said = self.fund(purse, *names)
                if said:
                    return count, said
            count += 1
            self.carry()

    def more(self, purse: Account, **amounts: int) -> str:
        """Have so much at hand, and return what is said."""
        asked = purse.more(amounts)
        self.carry()
        return self.successResultOf(asked)


class BudgetsTests(BudgetsCase):
    """Budgets of delegations."""

    def test_without_a_budget_there_is_nothing_to_do(self) -> None:
        """No account, no call."""
        self.assertIsNone(self.here.open(ALICE))
        self.assertIsNone(self.here.open(acting(("planner", None))))

    def test_exactly_as_many(self) -> None:
        """However the pieces fall; and it says whose it was."""
        for limit in (0, 1, 7, 100, 1001):
            who = acting((f"a{limit}", Budget(operations=limit)))
            purse = self.open(who)
            count, said = self.spend_all(purse)
            self.assertEqual(count, limit)
            whose = f"the budget of a{limit} is used up: {limit} operations"
            self.assertEqual(said, f"{whose}, with all that it started")

    def test_several_at_once(self) -> None:
        """All or none, however big the pieces are."""
        purse = self.open(acting(("planner", Budget(operations=50))))
        self.assertEqual(self.fund(purse, *["operations"] * 30), "")
        self.assertIn("used up", self.fund(purse, *["operations"] * 21))
        self.assertEqual(self.spend_all(purse)[0], 20)

    def test_children_are_charged_to_their_parents(self) -> None:
        """Whoever starts many has no more; the tightest is named."""
        parent = ("planner", Budget(operations=10))
        one = self.open(acting(parent, ("one", Budget(operations=4))))
        two = self.open(acting(parent, ("two", None)), self.there)
        count, said = self.spend_all(one)
        self.assertEqual(count, 4)
        self.assertIn("of one", said)
        count, said = self.spend_all(two)
        self.assertEqual(count, 6)
        self.assertIn("of planner", said)
        count, said = self.spend_all(self.open(acting(parent)))
        self.assertEqual(count, 0)

    def test_it_survives_restarts_and_new_log_ins(self) -> None:
        """What was used is kept by delegation, and durable."""
        who = acting(("planner", Budget(operations=5)))
        purse = self.open(who)
        for _ in range(3):
            self.assertEqual(purse.spend(OPERATIONS) or self.fund(purse) == "", True)
        purse.close()
        self.carry()
        self.kill()
        self.begin()
        self.wait(10)
        again = self.open(evolve(who, expires=who.expires - 1), self.there)
        self.assertEqual(self.spend_all(again)[0], 2)

    def test_what_was_not_used_goes_back(self) -> None:
        """When the last session of a lineage ends, so that another worker has it."""
        who = acting(("planner", Budget(operations=4000)))
        first, second = self.open(who), self.open(who)
        self.assertIs(first, second)
        self.assertEqual(self.fund(first), "")
        self.assertGreater(self.store.nodes.spent("node-planner")["operations"], 100)
        first.close()
        self.carry()
        self.assertGreater(self.store.nodes.spent("node-planner")["operations"], 100)
        second.close()
        self.carry()
        self.assertEqual(self.store.nodes.spent("node-planner")["operations"], 1)

    def test_rows_and_bytes_before_they_go(self) -> None:
        """What is at hand is charged already; what is not there cannot be had."""
        purse = self.open(acting(("planner", Budget(rows=100))))
        self.assertEqual(self.fund(purse), "")
        self.assertEqual(purse.room("rows"), 5)
        self.assertIsNone(purse.room("bytes"))
        self.assertEqual(self.more(purse, rows=60, bytes=5000), "")
        self.assertGreaterEqual(purse.room("rows") or 0, 60)
        self.assertGreaterEqual(self.store.nodes.spent("node-planner")["rows"], 60)
        purse.used({"rows": 60, "bytes": 5000})
        self.carry()
        said = "the budget of planner is used up: 100 rows, with all that it started"
        self.assertEqual(self.more(purse, rows=45), said)
        self.assertEqual(purse.room("rows"), 40)
        purse.used({"rows": 40, "bytes": 0})
        self.carry()
        self.assertFalse(purse.spend(OPERATIONS))
        self.assertEqual(self.fund(purse), said)
        self.assertEqual(self.store.nodes.spent("node-planner")["rows"], 100)

    def test_sessions_of_one_worker_and_of_others_share(self) -> None:
        """Nobody has what another has at hand, however much they ask for at once."""
        who = acting(("planner", Budget(bytes=10_000)))
        purses = [self.open(who), self.open(who), self.open(who, self.there)]
        used = 0
        while True:
            asked = [purse.more({"bytes": 300}) for purse in purses]
            self.carry()
            if all(self.successResultOf(each) for each in asked):
                break
            for purse in purses:
                took = min(300, purse.room("bytes") or 0)
                purse.used({"bytes": took})
                used += took
            self.carry()
        self.assertLessEqual(used, 10_000)
        self.assertGreater(used, 10_000 - 3 * 500)

    def test_what_a_dead_worker_has_used_is_charged(self) -> None:
        """At any moment: what went to clients is in the store, and a lease with it."""
        purse = self.open(acting(("planner", Budget(bytes=100_000))))
        used = 0
        for amount in (10, 4000, 1, 60_000, 7000, 5000, 20_000):
            self.more(purse, bytes=amount)
            used += amount
            purse.used({"bytes": amount})  # and now it dies: nothing more is said to control
            spent = self.store.nodes.spent("node-planner")["bytes"]
            self.assertGreaterEqual(spent, used)
            self.assertLessEqual(spent, max(used, 0) + 2 * 5000)
            self.carry()

    def test_reviews_count_only_where_people_are_asked(self) -> None:
        """Who may ask nobody can still do what needs nobody."""
        purse = self.open(acting(("planner", Budget(reviews=1, operations=50))))
        self.assertEqual(self.fund(purse, "operations", "reviews"), "")
        self.assertIn("1 reviews", self.fund(purse, "operations", "reviews"))
        self.assertEqual(self.fund(purse), "")

    def test_more_is_taken_before_it_is_needed(self) -> None:
        """Nobody waits as long as control answers in time."""
        purse = self.open(acting(("planner", Budget(operations=100_000))))
        self.assertEqual(self.fund(purse), "")
        for _ in range(1000):
            self.assertTrue(purse.spend(OPERATIONS))
            self.carry()

    def test_all_that_is_left_is_at_hand(self) -> None:
        """Though the question that was under way when more was wanted was a smaller one."""
        purse = self.open(acting(("planner", Budget(bytes=1_000))))
        self.assertEqual(self.fund(purse, "operations"), "")
        purse.used({"bytes": 30})  # asks for a little more, and nothing is carried yet
        asked = purse.more({"bytes": 5_000})
        self.carry()
        self.assertIn("used up", self.successResultOf(asked))
        self.assertEqual(purse.room("bytes"), 970)

    def test_without_control_what_is_at_hand_can_be_used(self) -> None:
        """And then nothing."""
        purse = self.open(acting(("planner", Budget(operations=100))))
        self.assertEqual(self.fund(purse), "")
        self.kill()
        while purse.spend(OPERATIONS):
            pass
        self.failureResultOf(purse.fund(OPERATIONS), UnavailableError)

    def test_who_waits_together(self) -> None:
        """One question, and each gets one or is refused."""
        purse = self.open(acting(("planner", Budget(operations=3))))
        asked = [purse.fund(OPERATIONS) for _ in range(5)]
        self.carry()
        said = [self.successResultOf(each) for each in asked]
        self.assertEqual(sorted(bool(each) for each in said), [False] * 3 + [True] * 2)

    def test_an_answer_after_the_last_session(self) -> None:
        """It goes back at once."""
        purse = self.open(acting(("planner", Budget(operations=100))))
        asked: Deferred[str] = purse.fund(OPERATIONS)
        purse.close()
        self.carry()
        self.successResultOf(asked)
        self.carry()
        self.assertLessEqual(self.store.nodes.spent("node-planner")["operations"], 1)

    def test_a_tampered_count_is_all_used(self) -> None:
        """Who can write to the file gets nothing for it."""
        who = acting(("planner", Budget(operations=3)))
        self.assertEqual(self.spend_all(self.open(who))[0], 3)
        self.store._db.write("UPDATE spent SET operations = 0")
        self.assertEqual(self.spend_all(self.open(who, self.there))[0], 0)

    @given(
        st.integers(0, 60),
        st.none() | st.integers(0, 60),
        st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 9)), max_size=12),
    )
    def test_never_more(
        self, limit: int, own: int | None, sessions: list[tuple[bool, bool, int]]
    ) -> None:
        """Whatever sessions come and go, on either worker, of parent or child."""
        self.store._db.write("DELETE FROM spent")
        parent = ("planner", Budget(operations=limit))
        chains = [
            acting(parent),
            acting(parent, ("child", None if own is None else Budget(operations=own))),
        ]
        used = {False: 0, True: 0}
        for child, here, count in sessions:
            purse = self.open(chains[child], self.here if here else self.there)
            for _ in range(count):
                if purse.spend(OPERATIONS) or not self.fund(purse):
                    used[child] += 1
            purse.close()
            self.carry()
        self.assertLessEqual(sum(used.values()), limit)
        self.assertLessEqual(used[True], limit if own is None else own)
        wanted = sum(count for _, _, count in sessions)
        if own is None:
            self.assertEqual(sum(used.values()), min(limit, wanted))


class ListingTests(BudgetsCase):
    """What may be shown of a list in a while, whoever asks at which worker."""

    def show(
        self, who: Principal, rows: int, at: ControlBudgets | None = None, **other: str
    ) -> int:
        """Ask for a page of so many rows; return how many may be shown."""
        name, target = other.get("name", "/groups"), other.get("target", "arm")
        listing = Listing(target=target, name=name, rows=100, window=60.0)
        purse = (at or self.here).listing(who, listing)
        said = self.more(purse, rows=rows, bytes=10_000)
        if not said:
            purse.used({"rows": rows, "bytes": 10_000})
        purse.close()
        self.carry()
        return 0 if said else rows

    def test_no_more_than_that_by_pages(self) -> None:
        """On whatever worker, in whatever sizes; what was not shown goes back."""
        shown = [self.show(ALICE, 30, at) for at in (self.here, self.there, self.here, self.there)]
        self.assertEqual(shown, [30, 30, 30, 0])
        self.assertEqual([self.show(ALICE, each) for each in (11, 9, 1, 1)], [0, 9, 1, 0])

    def test_of_one_root_whatever_stands_between(self) -> None:
        """Another log-in, and agents that it starts, have the same; somebody else has not."""
        self.assertEqual(self.show(ALICE, 60), 60)
        self.assertEqual(self.show(evolve(ALICE, session="another"), 30), 30)
        self.assertEqual(self.show(acting(("planner", None), ("a", Budget(rows=9999))), 30), 0)
        self.assertEqual(self.show(acting(("planner", None)), 10), 10)
        self.assertEqual(self.show(CAROL, 100), 100)

    def test_lists_are_apart(self) -> None:
        self.assertEqual(self.show(ALICE, 100), 100)
        self.assertEqual(self.show(ALICE, 100, name="/subscriptions"), 100)
        self.assertEqual(self.show(ALICE, 100, target="other"), 100)
        self.assertEqual(self.show(ALICE, 1), 0)

    @given(
        st.floats(0, 500), st.lists(st.tuples(st.floats(0, 90), st.integers(1, 100)), max_size=9)
    )
    def test_in_any_window(self, start: float, asked: list[tuple[float, int]]) -> None:
        """No moment is one to begin anew at; and at last there is some again."""
        self.store._db.write("DELETE FROM spent")
        self.clock.advance(start)
        given: list[tuple[float, int]] = []
        for pause, rows in asked:
            self.clock.advance(pause)
            given.append((self.clock.seconds(), self.show(ALICE, rows)))
        for first, _ in given:
            self.assertLessEqual(sum(n for at, n in given if first <= at < first + 60.0), 100)
        self.clock.advance(121.0)
        self.assertEqual(self.show(ALICE, 100), 100)

    def test_control_forgets_it_in_time(self) -> None:
        """It is kept for as long as it counts, and not for as long as delegations live."""
        self.show(ALICE, 1)
        self.assertEqual(len(self.store._db.rows("SELECT node FROM spent")), 2)
        self.assertEqual(
            self.store._db.rows(
                "SELECT 1 FROM spent WHERE expires > ?", self.clock.seconds() + 121
            ),
            [],
        )

    def test_it_survives_restarts(self) -> None:
        self.show(ALICE, 100)
        self.kill()
        self.begin()
        self.wait(10)
        self.assertEqual(self.show(ALICE, 1), 0)
