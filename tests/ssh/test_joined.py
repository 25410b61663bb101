"""Both transports of the gateway: what one read brings leaves in one piece, late words do not."""

from __future__ import annotations

from struct import pack
from typing import Any

from attrs import define
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_ssh import wire
from hoopgw_ssh.framing import FrameReader, encode_frame
from hoopgw_ssh.joined import Joined
from hoopgw_ssh.pace import LEAST
from hoopgw_ssh.wire import string
from tests.ssh.pairs import Pair, Pipe
from tests.ssh.test_relay import Judging


@define
class Link(Pipe):
    """The link, as far as it is asked; it keeps its producer."""

    protocol: Any = None
    producer: Any = None
    read_limit: int = 0

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Keep it."""
        assert streaming
        self.producer = producer

    def resumeProducing(self) -> None:
        """Do nothing: tests bring what comes."""


@define
class Slow:
    """Takes what comes on a connection, a millisecond each."""

    taker: Any
    clock: Clock

    def request(self, request: Any) -> None:
        """Take it."""
        self.clock.advance(0.001)
        self.taker.request(request)

    def opening(self, opening: Any, channel: Any) -> Any:
        """Take it."""
        return self.taker.opening(opening, channel)


class JoinedTests(SynchronousTestCase):
    """A client with one channel that is open on both sides."""

    def setUp(self) -> None:
        self.pair = Pair().begin()
        self.pair.run()
        self.link = Link()
        self.joined = Joined(self.link, Judging())  # type: ignore[arg-type]  # see `Link`
        self.server = self.pair.server
        self.server.setService(self.joined)
        opening = string(b"session") + pack(">III", 0, 2**21, 32_768)
        self.say((wire.CHANNEL_OPEN, opening))
        self.target_says((wire.OPEN_CONFIRMATION, pack(">IIII", 0, 0, 2**21, 32_768)))
        self.link.take()
        self.server.transport.take()
        self.link.writes = self.server.transport.writes = 0

    def say(self, *messages: tuple[int, bytes]) -> None:
        """Let the client send messages, in one piece."""
        with self.pair.client.batch():
            for number, payload in messages:
                self.pair.client.sendPacket(number, payload)
        self.server.dataReceived(self.pair.client.transport.take())

    def target_says(self, *messages: tuple[int, bytes]) -> None:
        """Let the target send messages, in one piece."""
        self.joined.dataReceived(b"".join(encode_frame(*message) for message in messages))

    def at_target(self) -> list[tuple[int, bytes]]:
        """Return the messages that have gone to the target."""
        found: list[tuple[int, bytes]] = []
        reader = FrameReader(lambda number, payload: found.append((number, bytes(payload))))
        reader.receive(self.link.take())
        return found

    def test_who_takes_long_is_read_less(self) -> None:
        """Thousands of messages of a byte each hold nobody else up for seconds."""
        messages = [data(b"a")] * 1_000
        size = len(b"".join(encode_frame(*message) for message in messages))
        self.target_says(*messages)
        self.assertGreater(self.link.read_limit, size)
        self.joined.relay.target.taker = Slow(self.joined.relay.target.taker, self.pair.clock)
        asking = (wire.GLOBAL_REQUEST, string(b"x") + b"\0")
        self.target_says(*[asking] * 1_000)
        self.assertLess(self.link.read_limit, 2 * LEAST)

    def test_up(self) -> None:
        """All messages of one read, and in order."""
        pieces = [data(bytes([number]) * 1_000) for number in range(5)]
        self.say(*pieces)
        self.assertEqual(self.at_target(), pieces)
        self.assertEqual(self.link.writes, 1)

    def test_down(self) -> None:
        self.target_says(*(data(bytes([number]) * 1_000) for number in range(5)))
        self.assertEqual(self.server.transport.writes, 1)

    def test_what_a_full_link_kept_back(self) -> None:
        """It waits in its channel, and leaves in one piece when the link takes it."""
        self.link.producer.pauseProducing()
        pieces = [data(bytes([number]) * 5_000) for number in range(5)]
        self.say(*pieces)
        self.assertEqual(self.at_target(), [])
        self.link.producer.resumeProducing()
        self.assertEqual(self.link.writes, 1)
        self.assertEqual(self.at_target(), pieces)

    def test_an_end(self) -> None:
        """What came before goes on; and where nothing more may go, it does not."""
        for at_once in (False, True):
            self.setUp()
            with self.server.batch():
                self.say(data(b"rm -r /"))
                self.joined.end("the session was revoked", at_once=at_once)
            self.assertEqual(self.at_target(), [] if at_once else [data(b"rm -r /")])
            self.assertTrue(self.link.closed)


def data(content: bytes) -> tuple[int, bytes]:
    """Return a message with data for channel 0."""
    return wire.CHANNEL_DATA, pack(">II", 0, len(content)) + content
