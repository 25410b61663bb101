"""Connections that are used again: by whom, how many, how long."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import LinkError
from hoopgw.http.client import UpstreamConnection
from hoopgw.http.errors import UpstreamBusyError, UpstreamLostError, UpstreamTimeoutError
from hoopgw.http.pool import Key, Pool, PoolLimits
from tests.http.fakes import FakeTransport
from tests.http.test_client import OK, asking

ALICE = Key("arm", "reader", "s-alice")
BOB = Key("arm", "reader", "s-bob")


@define(eq=False)
class Target:
    """Opens transports, at once or when told."""

    at_once: bool = True
    opened: list[FakeTransport] = field(factory=list)
    opening: list[Deferred[Any]] = field(factory=list)

    async def open(self) -> Any:
        """Open one."""
        if not self.at_once:
            self.opening.append(Deferred())
            await self.opening[-1]
        self.opened.append(FakeTransport())
        return self.opened[-1]


class PoolTests(SynchronousTestCase):
    """Tests for `Pool`."""

    limits = PoolLimits(of_key=2, total=3, waiting=1, patience=30, idle=60, age=600)

    def setUp(self) -> None:
        """Make a pool."""
        self.clock, self.target = Clock(), Target()
        self.pool = Pool(clock=self.clock, limits=self.limits)

    def taking(self, key: Key = ALICE) -> Deferred[UpstreamConnection]:
        """Begin to take a connection."""
        return Deferred.fromCoroutine(self.pool.take(key, self.target.open))

    def use(self, connection: UpstreamConnection, answer: bytes = OK) -> None:
        """Exchange something over it."""
        call = connection.begin(asking())
        got = Deferred.fromCoroutine(call.body.collect(99))
        connection.dataReceived(answer)
        self.successResultOf(got)

    def took(self, key: Key = ALICE) -> UpstreamConnection:
        """Take one that is to be had at once."""
        return self.successResultOf(self.taking(key))

    def test_used_again_by_the_same_principal_only(self) -> None:
        """Another principal, account or target gets another connection."""
        first = self.took()
        self.use(first)
        self.assertIs(self.took(), first)
        self.use(first)
        self.assertIsNot(self.took(BOB), first)
        self.assertIsNot(self.took(Key("arm", "writer", "s-alice")), first)
        self.assertEqual(len(self.target.opened), 3)

    def test_in_doubt_it_is_not_used_again(self) -> None:
        """After an answer that says so, or bytes that nobody asked for."""
        first = self.took()
        self.use(first, OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))
        second = self.took()
        self.assertIsNot(second, first)
        self.use(second)
        second.dataReceived(b"x")
        self.assertEqual(self.target.opened[1].ended, "aborted")
        self.assertIsNot(self.took(), second)

    def test_busy_ones_are_not_shared(self) -> None:
        """One exchange at a time; beyond the limit others wait for their turn, first come first."""
        first, second = self.took(), self.took()
        self.assertIsNot(first, second)
        third = self.taking()
        self.assertNoResult(third)
        self.failureResultOf(self.taking(), UpstreamBusyError)
        self.use(first)
        self.assertIs(self.successResultOf(third), first)

    def test_a_lost_connection_makes_room(self) -> None:
        """Who waits then opens another one, also one of another key."""
        self.took()
        self.took()
        waiting = self.taking()
        self.target.opened[0].abortConnection()
        self.successResultOf(waiting)
        self.assertEqual((len(self.target.opened), self.pool.size), (3, 2))
        self.took(BOB)
        other = self.taking(BOB)
        self.assertNoResult(other)
        self.target.opened[1].abortConnection()
        self.successResultOf(other)

    def test_idle_ones_give_way(self) -> None:
        """Where there are too many together, an idle one of somebody else is closed."""
        self.use(self.took())
        self.took(BOB)
        self.took(BOB)
        self.took(Key("kv", "reader", "s-alice"))
        self.assertEqual(self.target.opened[0].ended, "aborted")
        self.assertEqual(self.pool.size, 3)

    def test_times(self) -> None:
        """Idle for too long, and too old."""
        first = self.took()
        self.use(first)
        self.clock.advance(59)
        self.assertIs(self.took(), first)
        self.use(first)
        self.clock.advance(60)
        self.assertEqual(self.target.opened[0].ended, "closed")
        second = self.took()
        self.assertIsNot(second, first)
        for _ in range(11):
            self.use(second)
            self.clock.advance(55)
            if self.took() is not second:
                break
        self.assertNotEqual(self.target.opened[1].ended, "")
        self.assertEqual(len(self.target.opened), 3)

    def test_waiting_has_an_end(self) -> None:
        """For a free one, and for one that is being opened."""
        self.took()
        self.took()
        waiting = self.taking()
        self.target.at_once = False
        opening = self.taking(BOB)
        self.clock.advance(30)
        self.failureResultOf(waiting, UpstreamBusyError)
        self.failureResultOf(opening, UpstreamTimeoutError)

    def test_a_target_that_cannot_be_opened(self) -> None:
        """The reason is passed on, and nothing is left."""
        self.target.at_once = False
        opening = self.taking()
        self.target.opening[0].errback(LinkError("no agent"))
        self.failureResultOf(opening, LinkError)
        self.assertEqual(self.pool.size, 0)

    def test_dropping_a_principal(self) -> None:
        """Its connections end, free or not or just being opened; others stay."""
        kept, idle = self.took(BOB), self.took()
        self.use(idle)
        self.took()
        self.target.at_once = False
        opening = self.taking()
        self.pool.drop(lambda key: key.principal == "s-alice")
        self.assertEqual([t.ended for t in self.target.opened], ["", "aborted"])
        self.target.opening[0].callback(None)
        self.failureResultOf(opening, UpstreamLostError)
        self.assertEqual(self.target.opened[2].ended, "aborted")
        self.assertTrue(kept.is_usable)
        self.assertEqual(self.pool.size, 1)

    def test_stop(self) -> None:
        """Nothing is left, and nothing is opened any more."""
        self.use(self.took(BOB))
        self.took()
        self.took()
        waiting = self.taking()
        self.pool.stop()
        self.failureResultOf(waiting, UpstreamLostError)
        self.failureResultOf(self.taking(), UpstreamBusyError)
        self.assertEqual(self.pool.size, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_given_back_unused(self) -> None:
        """It is free again."""
        first = self.took()
        self.pool.give_back(first)
        self.assertIs(self.took(), first)
