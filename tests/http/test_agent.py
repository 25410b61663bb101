"""Tests for `hoopgw.http.agent`: how long a credential counts after its source has changed."""

from __future__ import annotations

import base64
import os
import socket
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from hoopgw.credentials.sources import FileSource
from hoopgw.errors import LinkError
from hoopgw.http.agent import KEPT, AccountFields, Auth, HttpsTargetLeg
from hoopgw.link.pump import Pump
from hoopgw.spi import AgentContext, AgentTarget
from hoopgw.transport import Address, adopt, listen
from hoopgw.transport.stream import BUFFER_SIZE, HIGH_WATER
from tests.http.test_outbound import ASK, CHANGED, GET, REFUSED
from tests.support.waiting import eventually


class AccountFieldsTests(SynchronousTestCase):
    """Tests for `AccountFields`, with a real file."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1e9)
        self.path = Path(self.mktemp())
        self.write(b"one")
        self.fields = self.make()

    def write(self, secret: bytes, mode: int = 0o600) -> None:
        """Put another file there, as whoever rotates a secret does."""
        new = self.path.with_suffix(".new")
        new.write_bytes(secret)
        new.chmod(mode)
        new.replace(self.path)

    def make(self, kind: Auth = "bearer", header: str = "") -> AccountFields:
        """Make what carries the file's secret."""
        source = FileSource(self.path).fetch
        target = AgentTarget(name="t", protocol="p", address="x:1", accounts={"reader": source})
        return AccountFields(
            target=target,
            account="reader",
            source=source,
            kind=kind,
            header=header,
            clock=self.clock,
        )

    def fetch(self) -> bytes:
        """Ask the source, and return the value."""
        ((_name, value),) = self.successResultOf(Deferred.fromCoroutine(self.fields.fetch()))
        return value

    def test_it_is_kept_for_a_moment(self) -> None:
        """The same value, so that what follows from it need not be made anew."""
        self.assertIsNone(self.fields.kept())
        self.assertEqual(self.fetch(), b"Bearer one")
        kept = self.fields.kept()
        self.assertEqual(kept, ((b"Authorization", b"Bearer one"),))
        self.clock.advance(KEPT * 0.99)
        self.assertIs(self.fields.kept(), kept)
        self.clock.advance(KEPT * 0.02)
        self.assertIsNone(self.fields.kept())

    def test_a_changed_file_counts_within_a_second(self) -> None:
        self.fetch()
        self.write(b"two")
        self.clock.advance(1.0)
        self.assertIsNone(self.fields.kept())
        self.assertEqual(self.fetch(), b"Bearer two")

    def test_a_file_that_is_gone_or_open_to_others_is_no_credential(self) -> None:
        """Within a second, and what was read before does not come back."""
        for spoil in (self.path.unlink, lambda: self.write(b"one", 0o644)):
            self.write(b"one")
            self.fields = self.make()
            self.fetch()
            spoil()
            self.clock.advance(1.0)
            self.assertIsNone(self.fields.kept())
            self.failureResultOf(Deferred.fromCoroutine(self.fields.fetch()), LinkError)
            self.assertIsNone(self.fields.kept())

    def test_a_clock_that_is_set_back_keeps_nothing(self) -> None:
        self.fetch()
        self.clock.rightNow -= 3600
        self.assertIsNone(self.fields.kept())

    def test_the_time_that_its_source_takes_counts(self) -> None:
        """What it gave may be as old as the question."""
        given: Deferred[bytes] = Deferred()

        async def source() -> bytes:
            return await given

        self.fields.source = source
        fetching = Deferred.fromCoroutine(self.fields.fetch())
        self.clock.advance(KEPT)
        given.callback(b"late")
        self.assertEqual(self.successResultOf(fetching), ((b"Authorization", b"Bearer late"),))
        self.assertIsNone(self.fields.kept())

    def test_kinds(self) -> None:
        self.write(b"user:pass")
        self.fields = self.make("basic")
        self.assertEqual(self.fetch(), b"Basic " + base64.b64encode(b"user:pass"))
        self.fields = self.make("header", "X-Key")
        self.fetch()
        self.assertEqual(self.fields.kept(), ((b"X-Key", b"user:pass"),))
        self.write(b"two words")
        for kind in ("bearer", "token", "header"):
            self.fields = self.make(kind, "X-Key")
            self.failureResultOf(Deferred.fromCoroutine(self.fields.fetch()), LinkError)
        self.fields = self.make("peer")
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.fields.fetch())), ())
        self.assertEqual(self.fields.kept(), ())


@define(eq=False)
class End(Protocol):
    """One end of a connection, which keeps what it gets."""

    got: bytearray = field(factory=bytearray)
    lost: bool = False

    def dataReceived(self, data: Any) -> None:
        """Keep it."""
        self.got += data

    def connectionLost(self, _reason: object = None) -> None:
        """Take note."""
        self.lost = True


class LegTests(TestCase):
    """A leg that is open, between real sockets; time is the test's."""

    timeout = 120

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.clock = Clock()
        self.far: Any = None  # the leg's side of the connection to the target
        self.path = Path(self.mktemp())
        self.write(b"one")

    def write(self, secret: bytes) -> None:
        """Put another secret there."""
        self.path.touch(mode=0o600)
        self.path.write_bytes(secret)

    async def open(self, *, upgrades: bool = False) -> tuple[End, End]:
        """Open a target; return the gateway's end, and the target's."""
        ends: list[End] = []

        class Ends(Factory):
            noisy = False

            def buildProtocol(self, _address: Any) -> Any:
                ends.append(End())
                return ends[-1]

        port = listen(self.reactor, Address("127.0.0.1", 0), Ends())
        self.addCleanup(port.stopListening)
        leg = HttpsTargetLeg(
            AgentContext(reactor=self.reactor, clock=self.clock), upgrades=upgrades
        )
        target = AgentTarget(
            name="t",
            protocol="p",
            address=f"127.0.0.1:{port.getHost().port}",
            accounts={"reader": FileSource(self.path).fetch},
            options={"tls": "disable", "auth": {"reader": "bearer"}},
        )
        opened = await leg.open(target, "reader", {})
        ours, near = socket.socketpair()
        link = adopt(self.reactor, near)
        assert opened.outbound is not None
        ended: Deferred[None] = Deferred()
        self.far = opened.transport
        outbound = opened.outbound(link, opened.transport)
        pump = Pump(link, opened.transport, lambda: ended.callback(None), outbound)
        pump.start()
        gateway = End()
        transport = adopt(self.reactor, ours, gateway)
        gateway.makeConnection(transport)
        transport.resumeProducing()
        await eventually(self.reactor, lambda: ends)

        async def stop() -> None:
            pump.stop()
            await ended
            await eventually(self.reactor, lambda: gateway.lost and ends[0].lost)

        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))
        return gateway, ends[0]

    async def exchange(self, sender: End, data: bytes, receiver: End, wanted: bytes) -> None:
        """Send, and wait until it, or what is made of it, has come."""
        transport: Any = sender.transport
        transport.write(data)
        await eventually(self.reactor, lambda: wanted in receiver.got)
        receiver.got.clear()

    async def test_a_secret_that_is_changed_and_then_gone(self) -> None:
        """The next request after a second has the new one; without one there is none."""
        gateway, target = await self.open()
        await self.exchange(gateway, GET, target, b"Authorization: Bearer one\r\n")
        self.write(b"two")
        await self.exchange(gateway, GET, target, b"Authorization: Bearer one\r\n")
        self.clock.advance(1.0)
        await self.exchange(gateway, GET, target, b"Authorization: Bearer two\r\n")
        self.path.unlink()
        self.clock.advance(1.0)
        await self.exchange(gateway, GET, gateway, b"no credential for reader")
        await eventually(self.reactor, lambda: target.lost)
        self.assertEqual(bytes(target.got), b"")

    async def test_another_protocol(self) -> None:
        """Once the target agrees, bytes go both ways as they are; until then they are HTTP."""
        gateway, target = await self.open(upgrades=True)
        await self.exchange(gateway, ASK, target, b"Upgrade: websocket\r\n")
        await self.exchange(target, REFUSED, gateway, REFUSED)
        await self.exchange(gateway, ASK, target, b"Authorization: Bearer one\r\n")
        await self.exchange(target, CHANGED + b"\x81", gateway, CHANGED + b"\x81")
        await self.exchange(gateway, b"\x01\x00 no http", target, b"\x01\x00 no http")
        await self.exchange(target, b"\xff nor this", gateway, b"\xff nor this")

    async def test_a_target_that_does_not_read(self) -> None:
        """Nothing of a large body is kept for it; it gets all of it when it reads on."""
        gateway, target = await self.open()
        pieces = 320
        piece = bytes(range(256)) * 256
        head = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (pieces * len(piece))
        await self.exchange(gateway, head, target, b"\r\n\r\n")
        reading: Any = target.transport
        reading.pauseProducing()
        for end, option in ((reading, socket.SO_RCVBUF), (self.far, socket.SO_SNDBUF)):
            with socket.socket(fileno=os.dup(end.fileno())) as sock:
                sock.setsockopt(socket.SOL_SOCKET, option, 65_536)  # whatever the system grants
        writing: Any = gateway.transport
        for _ in range(pieces):
            writing.write(piece)  # what nobody takes is kept by the test itself
        await eventually(self.reactor, lambda: self.far.queued > HIGH_WATER)
        left = writing.queued
        for _ in range(20):
            await deferLater(self.reactor, 0.0)
            self.assertLess(self.far.queued, HIGH_WATER + BUFFER_SIZE)
        self.assertGreater(left, len(piece) * pieces // 2)
        reading.resumeProducing()
        await eventually(self.reactor, lambda: len(target.got) == pieces * len(piece))
        self.assertEqual(bytes(target.got), piece * pieces)
