"""Peers that ask on and on, or in the smallest pieces: what they make us keep has a bound."""

from __future__ import annotations

from struct import pack

from twisted.internet.defer import Deferred

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh import transport, wire
from hoopgw_ssh.answers import REQUESTS_LIMIT
from hoopgw_ssh.behind import ASKING_LIMIT
from hoopgw_ssh.channels import (
    EXTRA_LIMIT,
    LESSER_WINDOW,
    PACKET_LEAST,
    STDERR,
    WINDOW,
)
from hoopgw_ssh.connection import WIDE_CHANNELS
from hoopgw_ssh.rulings import Ruling
from hoopgw_ssh.transport import SERVICE_TIMEOUT
from hoopgw_ssh.wire import string
from tests.ssh.ends import Taker
from tests.ssh.pairs import Notes, Pair
from tests.ssh.test_relay import YES, Judging, RelayCase, Upper

BIG = bytes(100_000)


class ChannelTests(RelayCase):
    """What waits on a channel whose other end takes nothing."""

    def stuck(self, name: bytes = b"window-change") -> int:
        """Ask something without end; return how many bytes wait at the gateway."""
        channel, _ = self.session()
        pair = next(iter(self.relay.pairs))
        assert pair.target is not None
        self.relay.target.pause()
        for _ in range(3 * ASKING_LIMIT // len(BIG)):
            channel.request(name, BIG)
            self.run_all()
        return pair.target.waiting

    def test_requests_behind_a_target_that_does_not_read(self) -> None:
        self.assertLessEqual(self.stuck(), ASKING_LIMIT)

    def test_a_target_that_asks_a_client_who_does_not_read(self) -> None:
        """The worker is many clients': no target fills its memory."""
        self.session()
        pair = next(iter(self.relay.pairs))
        self.relay.client.pause()
        for _ in range(3 * ASKING_LIMIT // len(BIG)):
            self.far[0].request(b"xon-xoff", BIG)
            self.run_all()
        assert pair.client is not None
        self.assertLessEqual(pair.client.waiting, ASKING_LIMIT)

    def test_requests_behind_a_held_one(self) -> None:
        self.judging.answers[b"exec"] = Deferred()
        channel, _ = self.session()
        channel.request(b"exec", b"")
        with self.assertRaises(ProtocolViolationError):
            for _ in range(3 * ASKING_LIMIT // len(BIG)):
                channel.request(b"env", BIG)
                self.run_all()

    def test_many_small_requests_behind_a_held_one(self) -> None:
        """All are handed on when it is let go: however many, on a stack that does not grow."""
        held = self.judging.answers[b"exec"] = Deferred()
        channel, _ = self.session()
        channel.request(b"exec", b"")
        for _ in range(1_500):
            channel.request(b"env", b"")
        self.run_all()
        held.callback(YES)
        self.run_all()
        self.assertEqual(len(self.far[1].requests), 1_501)

    def test_single_bytes(self) -> None:
        """A piece costs hundreds of bytes of memory: a window full of them must not."""
        channel, _ = self.session()
        pair = next(iter(self.relay.pairs))
        assert pair.target is not None
        self.relay.target.pause()
        for number in range(20_000):
            channel.write(bytes([number & 255]))
        self.run_all()
        self.assertEqual(pair.target.waiting, 20_000)
        self.assertLess(len(pair.target._queue), 100)
        self.relay.target.resume()
        self.run_all()
        self.assertEqual(self.far[1].text, bytes(n & 255 for n in range(20_000)))

    def test_single_bytes_of_two_streams(self) -> None:
        """A target that alternates between its outputs, and a client that does not read."""
        _, taker = self.session()
        pair = next(iter(self.relay.pairs))
        assert pair.target is not None
        assert pair.client is not None
        self.relay.client.pause()
        for number in range(20_000):
            pair.target.took(bytes([number & 255]), STDERR if number % 2 else None)
        self.assertEqual(pair.client.waiting, 20_000)
        self.assertLess(len(pair.client._queue), 1_100)
        self.relay.client.resume()
        self.run_all()
        self.assertEqual(taker.text, bytes(n & 255 for n in range(0, 20_000, 2)))
        self.assertEqual(taker.stream(STDERR), bytes(n & 255 for n in range(1, 20_000, 2)))

    def test_streams_that_nobody_knows(self) -> None:
        """What stands in a channel keeps something for each of its streams."""
        _, taker = self.session()
        pair = next(iter(self.relay.pairs))
        pair.inspector = Upper()
        for code in range(100):
            self.far[0].write_extended(code, b"a")
        self.run_all()
        self.assertEqual(pair.inspector.codes, [STDERR])
        self.assertEqual(taker.events[1:], [(STDERR, b"a")])

    def test_single_bytes_behind_a_held_request(self) -> None:
        """Pieces that cannot be put together are counted."""
        self.judging.answers[b"exec"] = Deferred()
        channel, _ = self.session()
        channel.request(b"exec", b"")
        self.run_all()
        with self.assertRaises(ProtocolViolationError):
            for _ in range(10_000):
                channel.write(b"a")
                channel.write_extended(STDERR, b"b")
                self.run_all()

    def test_the_smallest_packets(self) -> None:
        head = string(b"session") + pack(">III", 7, WINDOW, PACKET_LEAST - 1)
        self.relay.client.received(wire.CHANNEL_OPEN, head)
        self.assertEqual(self.down[-1][0], wire.OPEN_FAILURE)
        self.relay.target.open(b"x11", b"", Taker())
        with self.assertRaises(ProtocolViolationError):
            self.relay.target.received(
                wire.OPEN_CONFIRMATION, pack(">IIII", 0, 7, WINDOW, PACKET_LEAST - 1)
            )
        self.relay.lost()

    def test_many_channels(self) -> None:
        """All windows of a connection may be full at once: those of many channels are smaller."""
        more, data = 8, bytes(WINDOW)
        channels = [self.session()[0] for _ in range(WIDE_CHANNELS + more)]
        for channel in channels:
            channel.write(data)
        self.relay.target.pause()
        self.run_all()
        waiting = sum(pair.target.waiting for pair in self.relay.pairs if pair.target is not None)
        self.assertEqual(waiting, WIDE_CHANNELS * WINDOW + more * LESSER_WINDOW)
        self.relay.target.resume()
        self.run_all()
        self.assertEqual({len(taker.text) for taker in self.target.takers}, {WINDOW})

    def test_a_long_opening(self) -> None:
        """What a channel is opened with is kept while it lives."""
        head = string(b"session") + pack(">III", 7, WINDOW, 32_768)
        self.relay.client.received(wire.CHANNEL_OPEN, head + bytes(EXTRA_LIMIT))
        self.assertEqual(self.down[-1][0], wire.OPEN_FAILURE)
        self.assertEqual(self.judging.asked, [])

    def test_who_wants_a_channel_does_not_confirm_it(self) -> None:
        """Nor refuse it: the answer is ours, when the judge has spoken."""
        self.judging.answers[b"session"] = Deferred()
        self.session()
        for number, body in (
            (wire.OPEN_CONFIRMATION, pack(">IIII", 0, 0, WINDOW, 32_768)),
            (wire.OPEN_FAILURE, pack(">II", 0, 1) + string(b"") + string(b"")),
        ):
            with self.assertRaises(ProtocolViolationError):
                self.relay.client.received(number, body)

    def test_requests_for_the_connection_that_wait(self) -> None:
        self.patch(Judging, "for_connection", lambda _judging, _request: Deferred[Ruling]())
        with self.assertRaises(ProtocolViolationError):
            for _ in range(REQUESTS_LIMIT + 1):
                self.client.connection.request(b"tcpip-forward", b"")
                self.run_all()


class TransportTests(RelayCase):
    """Before anybody has logged in."""

    def test_a_peer_that_never_reads(self) -> None:
        """Whatever is answered to what it asks, without a window to bound it."""
        for limit in ("ANSWERS_LIMIT", "UNREAD_LIMIT"):
            self.patch(transport, limit, 2**16)
        pair = Pair().logged_in()
        for _ in range(10_000):
            pair.client.sendPacket(wire.SERVICE_ACCEPT, b"")  # no message for a server
            pair.server.dataReceived(pair.client.transport.take())
            if pair.server.transport.closed:
                break
        self.assertTrue(pair.server.transport.closed)
        self.assertLess(pair.server.transport.queued, 2**17)

    def test_nobody_asks_to_log_in(self) -> None:
        pair = Pair().begin().run()
        for _ in range(3):
            pair.clock.advance(SERVICE_TIMEOUT / 4)
            pair.client.sendKexInit()
            pair.run()
        self.assertFalse(pair.server.transport.closed)
        pair.clock.advance(SERVICE_TIMEOUT / 4)
        self.assertTrue(pair.server.transport.closed)

    def test_nothing_is_left_behind(self) -> None:
        pair = Pair().logged_in()
        for side in (pair.server, pair.client):
            side.connectionLost()
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_extensions_without_end(self) -> None:
        pair = Pair().logged_in()
        for _ in range(3):
            pair.client.sendPacket(wire.EXT_INFO, pack(">I", 0))
            pair.run()
        self.assertTrue(pair.server.transport.closed)

    def test_very_many_extensions(self) -> None:
        pair = Pair().logged_in()
        pair.client.sendPacket(wire.EXT_INFO, pack(">I", 4_000) + bytes(32_000))
        pair.run()
        self.assertTrue(pair.server.transport.closed)

    def test_a_host_that_accepts_twice(self) -> None:
        """The agent would log in again each time, with a fresh signature."""
        pair = Pair().logged_in()
        pair.server.sendPacket(wire.SERVICE_ACCEPT, string(Notes.name))
        pair.run()
        self.assertTrue(pair.client.transport.closed)

    def test_what_comes_behind_the_end(self) -> None:
        pair = Pair().logged_in()
        with pair.client.batch():
            pair.client.sendPacket(wire.DISCONNECT, pack(">I", 11) + string(b"done") + string(b""))
            pair.client.sendPacket(60, b"one more")
        pair.run()
        self.assertEqual(pair.server.service.messages, [])
