"""The link as a whole, over real sockets: unix and TCP with mutual TLS."""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.link.world import World


class LinkTestCase(TestCase):
    tcp = False
    timeout = 30

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor = reactor
        self.world = World(reactor, tcp=self.tcp)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.world.stop()))


class UnixTests(LinkTestCase):
    async def test_bytes_go_to_the_target_and_back(self) -> None:
        self.world.agent()
        leg, collector = await self.world.open(wishes={"database": "shop"})
        leg.write(b"ping")
        self.assertEqual(await collector.until(4), b"ping")
        self.assertEqual(
            self.world.leg.asked, [("reader", {"database": "shop", "read_only": True})]
        )

    async def test_many_sessions_at_once(self) -> None:
        self.world.agent()
        opened = await gatherResults(
            [Deferred.fromCoroutine(self.world.open()) for _ in range(200)]
        )
        for number, (leg, _) in enumerate(opened):
            leg.write(f"{number:04}".encode())
        for number, (_, collector) in enumerate(opened):
            self.assertEqual(await collector.until(4), f"{number:04}".encode())


class TcpTests(UnixTests):
    tcp = True
