"""Tests for `hoopgw.http.paying`: what goes to a client is paid for before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Hop, Principal
from hoopgw.http.model import ExceededError, status_of
from hoopgw.http.paying import LISTS_KEPT, Lists, Till
from hoopgw.sessions.purses import Listing
from hoopgw.sessions.refusals import RefusedError

ALICE = Principal(
    chain=(Hop(id="corp|alice", name="alice", kind="person"),), session="l", expires=9e9
)
GROUPS = Listing(target="arm", name="/groups", rows=10, bytes=None, window=60.0)


@define(eq=False)
class FakePurse:
    """Has so much, and nothing more can be had."""

    left: dict[str, int]
    closed: int = 0

    def spend(self, names: Sequence[str]) -> bool:
        """Operations are free."""
        return True

    def fund(self, names: Sequence[str]) -> Deferred[str]:
        """Operations are free."""
        return succeed("")

    def room(self, name: str) -> int | None:
        """Return what is left."""
        return self.left.get(name)

    def more(self, amounts: Mapping[str, int]) -> Deferred[str]:
        """Say whether there is so much."""
        short = [name for name, n in amounts.items() if n > self.left.get(name, n)]
        return succeed(f"no more {short[0]}" if short else "")

    def used(self, amounts: Mapping[str, int]) -> None:
        """Take it away."""
        for name in self.left:
            self.left[name] -= amounts.get(name, 0)

    def close(self) -> None:
        """Count it."""
        self.closed += 1


@define(eq=False)
class FakeBudgets:
    """Gives a purse each time."""

    given: list[tuple[Listing, FakePurse]] = field(factory=list)

    def open(self, principal: Principal) -> None:
        """Nobody has one."""

    def listing(self, principal: Principal, listing: Listing) -> FakePurse:
        """Return another one."""
        self.given.append((listing, FakePurse({"rows": 10})))
        return self.given[-1][1]


class TillTests(SynchronousTestCase):
    """One answer."""

    def pay(self, till: Till, size: int, items: int) -> None:
        """Pay for a piece."""
        self.successResultOf(Deferred.fromCoroutine(till.pay(size, items)))

    def refused(self, till: Till, size: int, items: int) -> Any:
        """Return why a piece is not shown."""
        failed = Deferred.fromCoroutine(till.pay(size, items))
        return self.failureResultOf(failed, RefusedError).value

    def test_items_and_bytes_of_a_budget(self) -> None:
        """Items are said from the beginning, and paid for once."""
        purse = FakePurse({"rows": 10, "bytes": 100})
        till = Till(purse, None, None)
        self.assertTrue(till.is_needed)
        for items in (4, 4, 10):
            self.pay(till, 20, items)
        self.assertEqual(purse.left, {"rows": 0, "bytes": 40})
        self.assertEqual(status_of(self.refused(till, 1, 11).refusal), 429)
        self.pay(Till(purse, None, None), 40, 0)
        self.assertIn("bytes", str(self.refused(Till(purse, None, None), 1, 0)))

    def test_of_a_list(self) -> None:
        """The refusal is the list's own."""
        purse = FakePurse({"rows": 10})
        till = Till(None, GROUPS, purse)
        self.pay(till, 5000, 10)
        error = self.refused(till, 1, 11)
        self.assertIsInstance(error, ExceededError)
        self.assertIn("10 items in 60 seconds", error.refusal.text)
        till.close()
        self.assertEqual(purse.closed, 1)

    def test_nothing_to_pay(self) -> None:
        self.assertFalse(Till(None, None, None).is_needed)
        self.assertFalse(Till(FakePurse({"operations": 1}), None, None).is_needed)
        self.assertTrue(Till(FakePurse({"rows": 1}), None, None).is_needed)


class ListsTests(SynchronousTestCase):
    """Lists of one session."""

    def setUp(self) -> None:
        self.budgets = FakeBudgets()
        self.lists = Lists(cast("Any", self.budgets), ALICE)

    def open_now(self) -> int:
        """Return how many purses are open."""
        return sum(not purse.closed for _listing, purse in self.budgets.given)

    def test_one_is_kept_for_the_next_page(self) -> None:
        for _ in range(3):
            self.lists.open(GROUPS).close()
            self.assertEqual(self.open_now(), 1)

    def test_not_without_end(self) -> None:
        """However many lists there are, and none when the session is over."""
        for number in range(2 * LISTS_KEPT):
            self.lists.open(evolve(GROUPS, name=str(number))).close()
        self.assertEqual(self.open_now(), LISTS_KEPT)
        self.lists.close()
        self.assertEqual(self.open_now(), 0)
        self.lists.open(GROUPS).close()  # of an answer that was under way
        self.assertEqual(self.open_now(), 0)
