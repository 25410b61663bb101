"""Real sockets on the reactor that the data worker uses."""

from __future__ import annotations

import ctypes
import os
import socket
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from hoopgw.transport import Address, DataTransport, connect, listen


class Collector(Protocol):
    """Keeps what it gets, and says when something happens."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.changed: Deferred[None] = Deferred()
        self.lost: Failure | None = None
        self.shaken = False

    def handshakeCompleted(self) -> None:
        self.shaken = True

    def dataReceived(self, data: Any) -> None:
        self.got += data
        self._tell()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason
        self._tell()

    def _tell(self) -> None:
        changed, self.changed = self.changed, Deferred()
        changed.callback(None)

    async def until(self, size: int) -> bytes:
        """Wait for so many bytes."""
        while len(self.got) < size:
            if self.lost is not None:
                raise AssertionError(f"lost after {len(self.got)} bytes: {self.lost}")
            await self.changed.addTimeout(60, reactor)
        return bytes(self.got)

    async def until_lost(self) -> Failure:
        """Wait for the end."""
        while self.lost is None:
            await self.changed.addTimeout(60, reactor)
        return self.lost


class Pair(TestCase):
    """A client and a server end."""

    tls_server: ssl.SSLContext | None = None
    tls_client: ssl.SSLContext | None = None

    async def make(self) -> tuple[Collector, Collector]:
        """Connect two collectors."""
        accepted: Deferred[Collector] = Deferred()

        class Ends(Factory):
            def buildProtocol(self, addr: Any) -> Collector:
                end = Collector()
                accepted.callback(end)
                return end

        port = listen(reactor, Address("127.0.0.1", 0), Ends(), tls=self.tls_server)
        self.addCleanup(port.stopListening)
        client = Collector()
        where = Address("127.0.0.1", port.getHost().port)
        await connect(reactor, where, client, tls=self.tls_client, server_hostname="localhost")
        server = await accepted
        self.addCleanup(transport(client).abortConnection)
        self.addCleanup(transport(server).abortConnection)
        return client, server


def transport(end: Collector) -> DataTransport:
    """Return its transport."""
    assert isinstance(end.transport, DataTransport)
    return end.transport


class PlainTests(Pair):
    """Without TLS, and, in a subclass, with it."""

    async def test_bytes_go_both_ways(self) -> None:
        """What is written arrives."""
        client, server = await self.make()
        transport(client).write(b"hello")
        self.assertEqual(await server.until(5), b"hello")
        transport(server).writeSequence([b"good", b"bye"])
        self.assertEqual(await client.until(7), b"goodbye")

    async def test_nothing_waits_for_an_acknowledgement(self) -> None:
        """Both ends send at once: with Nagle's algorithm a delayed one costs 40 ms (RFC 896)."""
        for end in await self.make():
            transport: Any = end.transport
            with socket.socket(fileno=os.dup(transport.fileno())) as sock:
                self.assertTrue(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                self.assertTrue(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    async def test_last_words_arrive(self) -> None:
        """What was written before loseConnection arrives, though the peer sent on."""
        client, server = await self.make()
        transport(client).write(b"x")
        await server.until(1)
        transport(client).write(b"y" * 50_000)  # unread when the server closes
        transport(server).write(b"fatal")
        transport(server).loseConnection()
        self.assertEqual(await client.until(5), b"fatal")
        await client.until_lost()

    async def test_pieces_are_one_write(self) -> None:
        """In order: few, many, more than the kernel takes, and none."""
        client, server = await self.make()
        big = os.urandom(3_000_000)
        lots = [bytes([number % 251]) * 7 for number in range(3_000)]
        sent: list[list[Any]] = [
            [b"a", memoryview(b"bc"), bytearray(b"d")],
            [],
            [b"x", big, b"y"],
            [b"z"],
            lots,
        ]
        for pieces in sent:
            transport(client).writeSequence(pieces)
        whole = b"".join(bytes(piece) for pieces in sent for piece in pieces)
        self.assertEqual(await server.until(len(whole)), whole)

    async def test_pieces_may_change_behind_a_write(self) -> None:
        """What the kernel does not take at once was copied."""
        client, server = await self.make()
        piece = bytearray(b"x" * 9_000_000)
        pieces: list[Any] = [b"1", memoryview(piece)]
        transport(client).writeSequence(pieces)
        piece[:] = bytes(len(piece))
        self.assertEqual(await server.until(len(piece) + 1), b"1" + b"x" * len(piece))

    async def test_slow_reader_pauses_the_producer(self) -> None:
        """A full queue pauses; draining resumes; nothing is lost; the queue stays bounded."""
        client, server = await self.make()
        steps: list[str] = []
        chunk, total = b"z" * 65_536, 16 * 2**20
        left = total

        class Producer:
            def pauseProducing(self) -> None:
                steps.append("pause")

            def resumeProducing(self) -> None:
                steps.append("resume")
                pump()

            def stopProducing(self) -> None:
                steps.append("stop")

        def pump() -> None:
            nonlocal left
            while left and (not steps or steps[-1] != "pause"):
                transport(server).write(chunk)
                left -= len(chunk)

        transport(client).pauseProducing()
        transport(server).registerProducer(Producer(), True)
        pump()
        self.assertEqual(steps, ["pause"])
        self.assertLess(transport(server).queued, 2**19)
        transport(client).resumeProducing()
        await client.until(total)
        self.assertEqual(len(client.got), total)
        self.assertIn("resume", steps)

    async def test_the_end_of_a_full_queue(self) -> None:
        """A reactor that writes once more after the end does no harm."""

        class Producer:
            def pauseProducing(self) -> None:
                steps.append("pause")

            def stopProducing(self) -> None:
                steps.append("stop")

        steps: list[str] = []
        client, server = await self.make()
        transport(client).pauseProducing()
        leg = transport(server)
        leg.registerProducer(Producer(), True)
        while not steps:
            leg.write(b"z" * 65_536)
        leg.abortConnection()
        leg.doWrite()
        self.assertEqual(steps, ["pause", "stop"])

    async def test_pause_is_immediate(self) -> None:
        """Nothing is delivered while paused; all of it afterwards."""
        client, server = await self.make()
        transport(server).pauseProducing()
        transport(client).write(b"a" * 100_000)
        transport(client).write(b"b")
        waited: Deferred[None] = Deferred()
        reactor.callLater(0.05, waited.callback, None)
        await waited
        self.assertEqual(server.got, b"")
        transport(server).resumeProducing()
        self.assertEqual(len(await server.until(100_001)), 100_001)

    async def test_loss_is_told_once(self) -> None:
        """An abort is seen by both ends."""
        client, server = await self.make()
        transport(client).write(b"x")
        await server.until(1)
        transport(client).abortConnection()
        await client.until_lost()
        await server.until_lost()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a throw-away certificate for localhost."""
    key, crt = folder / "s.key", folder / "s.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", str(key), "-out", str(crt), "-days", "1"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    return key, crt


class TlsTests(PlainTests):
    """The same with TLS."""

    def setUp(self) -> None:
        """Make contexts."""
        with tempfile.TemporaryDirectory() as name:
            key, crt = certificate(Path(name))
            self.tls_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls_server.load_cert_chain(crt, key)
            self.tls_client = ssl.create_default_context(cafile=str(crt))

    async def test_handshake_is_told(self) -> None:
        """Both ends hear of it before the first data."""
        client, server = await self.make()
        transport(client).write(b"x")
        await server.until(1)
        self.assertTrue(client.shaken)
        self.assertTrue(server.shaken)

    async def test_key_updates_that_are_never_read(self) -> None:
        """A peer that asks for new keys on and on, and takes no answer, is cut off."""
        client, server = await self.make()
        transport(client).write(b"x")
        await server.until(1)
        stream = transport(client)._tls
        assert stream is not None
        transport(client).pauseProducing()
        for end, size in ((client, socket.SO_RCVBUF), (server, socket.SO_SNDBUF)):
            transport(end)._sock.setsockopt(socket.SOL_SOCKET, size, 4096)
        while server.lost is None:
            update_keys(stream.object, 1000)
            self.assertLess(transport(server).queued, 2 * 2**20)
            transport(client)._send(stream.ciphertext())
            turn: Deferred[None] = Deferred()
            reactor.callLater(0, turn.callback, None)
            await turn

    async def test_wrong_name_is_refused(self) -> None:
        """A certificate for another name fails the handshake with its error."""
        assert self.tls_client is not None
        client, _server = Collector(), None
        made: list[Collector] = []

        class Ends(Factory):
            def buildProtocol(self, addr: Any) -> Collector:
                made.append(Collector())
                return made[0]

        port = listen(reactor, Address("127.0.0.1", 0), Ends(), tls=self.tls_server)
        self.addCleanup(port.stopListening)
        where = Address("127.0.0.1", port.getHost().port)
        await connect(reactor, where, client, tls=self.tls_client, server_hostname="elsewhere")
        reason = await client.until_lost()
        self.assertIsInstance(reason.value, ssl.SSLCertVerificationError)
        await made[0].until_lost()


def update_keys(tls: ssl.SSLObject, times: int) -> None:
    """Ask for new keys in both directions (RFC 8446, section 4.6.3)."""
    library = ctypes.CDLL(None if hasattr(ctypes.CDLL(None), "SSL_key_update") else "libssl.so.3")
    library.SSL_key_update.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.SSL_do_handshake.argtypes = [ctypes.c_void_p]
    # CPython's object: its head, the socket, OpenSSL's object.
    where = id(tls._sslobj) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)  # type: ignore[attr-defined]
    connection = ctypes.c_void_p.from_address(where)
    for _ in range(times):
        library.SSL_key_update(connection, 1)
        library.SSL_do_handshake(connection)
