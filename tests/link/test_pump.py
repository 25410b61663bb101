"""Tests for `hoopgw.link.pump`, on real sockets: what it promises depends on them."""

from __future__ import annotations

import hashlib
import socket
import tracemalloc
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from hoopgw.link.pump import Pump
from hoopgw.transport import DataTransport, adopt
from hoopgw.transport.stream import BUFFER_SIZE, HIGH_WATER

MEGABYTE = 2**20


class PumpTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.caller, near = socket.socketpair()
        self.target, far = socket.socketpair()
        for end in (self.caller, self.target):
            end.settimeout(60)
            self.addCleanup(end.close)
        self.near, self.far = adopt(reactor, near), adopt(reactor, far)
        self.ended: Deferred[None] = Deferred()
        self.pump = Pump(self.near, self.far, lambda: self.ended.callback(None))
        self.addCleanup(self.pump.stop)

    @staticmethod
    def receive(end: socket.socket, size: int) -> bytes:
        """Read exactly so much, or what there is until the end."""
        data = bytearray()
        while len(data) < size and (piece := end.recv(size - len(data))):
            data += piece
        return bytes(data)

    async def test_bytes_go_both_ways(self) -> None:
        self.pump.start()
        self.caller.sendall(b"select 1")
        self.assertEqual(await deferToThread(self.receive, self.target, 8), b"select 1")
        self.target.sendall(b"1")
        self.assertEqual(await deferToThread(self.receive, self.caller, 1), b"1")

    async def test_a_hundred_megabytes_to_a_slow_reader_stay_outside_our_memory(self) -> None:
        self.pump.start()
        piece = bytes(range(256)) * 4096
        sent = deferToThread(self.send_all, piece, 100)
        queued: list[int] = []
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        digest = hashlib.sha256()
        for _ in range(400):
            data = await deferToThread(self.receive, self.caller, 100 * MEGABYTE // 400)
            queued.append(self.near.queued)
            digest.update(data)
        await sent
        expected = hashlib.sha256()
        for _ in range(100):
            expected.update(piece)
        self.assertEqual(digest.digest(), expected.digest())
        self.assertGreater(max(queued), 0, "the reader was never slow")
        self.assertLessEqual(max(queued), HIGH_WATER + BUFFER_SIZE)
        self.assertLess(tracemalloc.get_traced_memory()[1], 8 * MEGABYTE)

    def send_all(self, piece: bytes, times: int) -> None:
        for _ in range(times):
            self.target.sendall(piece)

    async def test_who_does_not_read_is_not_read_for(self) -> None:
        self.pump.start()
        self.target.setblocking(False)
        sent = 0
        for _ in range(400):
            try:
                sent += self.target.send(bytes(MEGABYTE))
            except BlockingIOError:
                turn: Deferred[None] = Deferred()
                self.reactor.callLater(0.001, turn.callback, None)
                await turn
        self.assertLess(sent, 4 * MEGABYTE)
        self.assertLessEqual(self.near.queued, HIGH_WATER + BUFFER_SIZE)

    async def test_the_end_of_one_side_is_the_end_of_the_other_after_its_last_bytes(self) -> None:
        self.pump.start()
        last = bytes(3 * MEGABYTE)
        sent = deferToThread(self.send_all, last, 1)
        sent.addCallback(lambda _: self.target.close())
        received = await deferToThread(self.receive, self.caller, len(last) + 1)
        self.assertEqual(len(received), len(last))
        self.caller.close()
        await self.ended

    async def test_stop_ends_both_at_once(self) -> None:
        self.pump.start()
        self.pump.stop()
        await self.ended
        self.assertEqual(await deferToThread(self.receive, self.caller, 1), b"")
        self.assertEqual(await deferToThread(self.receive, self.target, 1), b"")

    async def test_a_side_that_went_before_takes_the_other_along(self) -> None:
        for gone in (self.near, self.far):
            with self.subTest(gone=gone is self.near):
                await self.start_without(gone)

    async def start_without(self, gone: DataTransport) -> None:
        gone.abortConnection()
        self.pump.start()
        self.caller.close()
        self.target.close()
        await self.ended
        self.setUp()
