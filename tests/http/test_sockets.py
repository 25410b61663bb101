"""The engine between real clients and real targets: requests, curl, h11, raw sockets."""

from __future__ import annotations

import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import h11
import requests
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from hoopgw.http.timing import Timeouts
from hoopgw.transport.stream import BUFFER_SIZE, HIGH_WATER
from tests.http.proxy import Proxy
from tests.http.raw_target import PATIENCE, Hostile, Serving, Talk, read_head, saying
from tests.support.certificates import Authority

T = TypeVar("T")

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


async def soon(what: Callable[[], T]) -> T:
    """Wait until something is true."""
    for _ in range(int(PATIENCE * 20)):
        found = what()
        if found:
            return found
        await deferLater(reactor, 0.05)
    raise AssertionError("it did not come true")


def blocking(function: Callable[..., T], *args: Any, **options: Any) -> Deferred[T]:
    """Run a client in a thread."""
    return deferToThread(partial(function, *args, **options))


def exchange_raw(port: int, data: bytes) -> bytes:
    """Send bytes and read all that comes until the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        sock.sendall(data)
        received = b""
        try:
            while piece := sock.recv(65_536):
                received += piece
        except ConnectionResetError:
            return received + b"(reset)"
        return received


class ServedCase(TestCase):
    """A proxy before a target that serves."""

    def setUp(self) -> None:
        """Start both."""
        self.target = Serving()
        self.addCleanup(self.target.stop)
        self.proxy = Proxy(reactor, self.target.port)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.proxy.stop()))
        self.url = f"http://127.0.0.1:{self.proxy.port}"


class ClientTests(ServedCase):
    """Clients that people use."""

    async def test_requests(self) -> None:
        """Sizes, chunks both ways, HEAD; one connection to the target serves them all."""

        def talk() -> None:
            with requests.Session() as session:
                for size in (0, 1, 1_000, 300_000):
                    for path in (f"/{size}", f"/{size}/chunks"):
                        answer = session.get(self.url + path, timeout=PATIENCE)
                        assert len(answer.content) == size
                body = b"x" * 300_000
                assert session.put(self.url + "/", body, timeout=PATIENCE).content == body
                assert (
                    session.put(self.url, iter([b"a", b"bc"]), timeout=PATIENCE).content == b"abc"
                )
                head = session.head(self.url + "/9", timeout=PATIENCE)
                assert head.headers["Content-Length"] == "1234"

        await blocking(talk)
        self.assertEqual(len(self.proxy.transports), 1)

    async def test_curl(self) -> None:
        """With 100-continue, which we answer, and a body in chunks."""
        curl = shutil.which("curl")
        if curl is None:
            self.skipTest("there is no curl")
        command = [curl, "-sS", "-m", "60", "-H", "Expect: 100-continue", "-T", "-", self.url + "/"]
        done = await blocking(
            subprocess.run, command, input=b"y" * 100_000, capture_output=True, check=False
        )
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(done.stdout, b"y" * 100_000)

    async def test_h11(self) -> None:
        """Pipelined requests are answered in order, and read by another codec."""

        def talk() -> list[int]:
            ours = h11.Connection(h11.CLIENT)
            sizes: list[int] = []
            with socket.create_connection(("127.0.0.1", self.proxy.port), timeout=PATIENCE) as sock:
                sock.sendall(
                    b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(50))
                )
                for _ in range(50):
                    ours.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
                    ours.send(h11.EndOfMessage())
                    sizes.append(0)
                    while type(event := ours.next_event()) is not h11.EndOfMessage:
                        if event is h11.NEED_DATA:
                            ours.receive_data(sock.recv(65_536))
                        elif isinstance(event, h11.Data):
                            sizes[-1] += len(event.data)
                    ours.start_next_cycle()
            return sizes

        self.assertEqual(await blocking(talk), list(range(50)))

    async def test_large_bodies_both_ways(self) -> None:
        """Tens of megabytes pass unchanged, by length and in chunks."""
        size = 20_000_000

        def pieces() -> Iterator[bytes]:
            for _ in range(200):
                yield b"z" * 100_000

        def talk() -> tuple[str, int]:
            answer = requests.put(self.url + "/", pieces(), timeout=PATIENCE)
            got = requests.get(f"{self.url}/{size}/chunks", timeout=PATIENCE)
            return hashlib.sha256(answer.content).hexdigest(), len(got.content)

        digest, count = await blocking(talk)
        self.assertEqual(digest, hashlib.sha256(b"z" * size).hexdigest())
        self.assertEqual(count, size)


class SlowReaderTests(ServedCase):
    """Clients and targets that do not read."""

    async def test_a_slow_client_costs_little(self) -> None:
        """What it does not read stays in the target; we keep some buffers, whatever the size."""
        size = 200_000_000
        with socket.create_connection(("127.0.0.1", self.proxy.port), timeout=PATIENCE) as sock:
            sock.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % size)
            near = (await soon(lambda: list(self.proxy.factory.connections)))[0].data_transport
            await soon(lambda: near.queued > HIGH_WATER)
            for _ in range(20):
                await deferLater(reactor, 0.01)
                self.assertLessEqual(near.queued, HIGH_WATER + 2 * BUFFER_SIZE)
        await soon(lambda: not self.proxy.factory.connections)
        await soon(lambda: not self.proxy.pool.size)

    async def test_a_slow_target_costs_little(self) -> None:
        """What it does not read is not read from the client either."""

        def talk(connection: socket.socket) -> None:
            read_head(connection)
            over.wait(PATIENCE)  # and nothing more

        over = threading.Event()
        self.addCleanup(over.set)
        hostile = Hostile(talk)
        self.addCleanup(hostile.stop)
        self.proxy.upstream = hostile.port
        with socket.create_connection(("127.0.0.1", self.proxy.port), timeout=PATIENCE) as sock:
            sock.sendall(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\n")
            sock.setblocking(False)
            sent, still = 0, 0
            while still < 10:
                try:
                    sent += sock.send(b"x" * 65_536)
                    still = 0
                except BlockingIOError:
                    still += 1
                await deferLater(reactor, 0.02)
            self.assertLess(sent, 100_000_000)
            self.assertLessEqual(self.proxy.transports[0].queued, HIGH_WATER + 2 * BUFFER_SIZE)


class HostileTargetTests(TestCase):
    """Targets that break the protocol, or our hearts."""

    async def ask(self, talk: Talk, data: bytes = GET, **options: Any) -> bytes:
        """Ask a hostile target through a proxy; the client's connection ends."""
        hostile = Hostile(talk)
        self.addCleanup(hostile.stop)
        proxy = Proxy(reactor, hostile.port, **options)
        self.addCleanup(lambda: Deferred.fromCoroutine(proxy.stop()))
        closing = data.replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n")
        answer = await blocking(exchange_raw, proxy.port, closing)
        await soon(lambda: not proxy.pool.size)
        return answer

    async def test_what_cannot_be_taken_is_502(self) -> None:
        """The client is told, before anything of it was passed on."""
        for answer in (
            b"",
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
            b"HTTP/1.1 102 Wait\r\n\r\n" * 100,
            b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 50_000,
        ):
            with self.subTest(answer[:60]):
                got = await self.ask(saying(answer))
                self.assertTrue(got.startswith(b"HTTP/1.1 502 "), got[:100])

    async def test_what_is_cut_short_is_cut_short_for_the_client(self) -> None:
        """It cannot be taken for whole: its length is not reached, its last chunk never comes."""
        for answer in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n",
        ):
            with self.subTest(answer):
                got = await self.ask(saying(answer))
                if got.startswith(b"HTTP/1.1 200 "):
                    self.assertNotIn(b"0\r\n\r\n", got.partition(b"\r\n\r\n")[2])
                else:  # it was clear before anything was sent
                    self.assertTrue(got.startswith(b"HTTP/1.1 502 "), got)

    async def test_a_body_without_a_length(self) -> None:
        """It ends with the connection, and is passed on in chunks."""
        got = await self.ask(saying(b"HTTP/1.1 200 OK\r\n\r\nabc"))
        self.assertTrue(got.endswith(b"3\r\nabc\r\n0\r\n\r\n"), got)

    async def test_a_second_answer_reaches_nobody(self) -> None:
        """What comes behind an answer is not the next one's: the connection is given up."""
        first = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
        hostile = Hostile(saying(first + poison, close=False))
        self.addCleanup(hostile.stop)
        proxy = Proxy(reactor, hostile.port)
        self.addCleanup(lambda: Deferred.fromCoroutine(proxy.stop()))
        closing = GET.replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n")
        got = await blocking(exchange_raw, proxy.port, GET + GET + closing)
        self.assertEqual(got.count(b"\r\n\r\nok"), 3)
        self.assertNotIn(b"poison", got)
        self.assertEqual(len(proxy.transports), 3)

    async def test_silence(self) -> None:
        """The client is told after a while."""

        def talk(connection: socket.socket) -> None:
            read_head(connection)
            connection.recv(1)

        got = await self.ask(talk, timeouts=Timeouts(answer=0.2))
        self.assertTrue(got.startswith(b"HTTP/1.1 504 "), got)

    async def test_an_answer_while_the_request_comes(self) -> None:
        """A target that sends back at once what it reads keeps nobody waiting."""
        size = 8_000_000

        def talk(connection: socket.socket) -> None:
            read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            left = size
            while left:
                data = connection.recv(65_536)
                connection.sendall(data)
                left -= len(data)

        put = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
        hostile = Hostile(talk)
        self.addCleanup(hostile.stop)
        proxy = Proxy(reactor, hostile.port)
        self.addCleanup(lambda: Deferred.fromCoroutine(proxy.stop()))
        sock = await blocking(socket.create_connection, ("127.0.0.1", proxy.port), timeout=PATIENCE)
        self.addCleanup(sock.close)
        sending = blocking(sock.sendall, put + b"q" * size)

        def receive() -> int:
            read_head(sock)
            got = 0
            while got < size:
                got += len(sock.recv(262_144))
            return got

        self.assertEqual(await blocking(receive), size)
        await sending

    async def test_an_answer_before_the_end_of_the_request(self) -> None:
        """It is passed on, and nobody waits for the rest."""

        def talk(connection: socket.socket) -> None:
            read_head(connection)
            connection.sendall(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
            connection.recv(1)

        put = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc"
        got = await self.ask(talk, put)
        self.assertTrue(got.startswith(b"HTTP/1.1 413 "), got)
        self.assertIn(b"\r\n\r\nno", got)


class TunnelTests(TestCase):
    """Other protocols inside."""

    async def test_websocket_like(self) -> None:
        """Bytes go both ways until one side ends."""

        def talk(connection: socket.socket) -> None:
            head = read_head(connection)
            assert b"Upgrade: websocket" in head
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                b"Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhi"
            )
            while data := connection.recv(65_536):
                connection.sendall(data.upper())

        hostile = Hostile(talk)
        self.addCleanup(hostile.stop)
        proxy = Proxy(reactor, hostile.port)
        self.addCleanup(lambda: Deferred.fromCoroutine(proxy.stop()))

        def client() -> bytes:
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE) as sock:
                sock.sendall(GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                head = read_head(sock)
                sock.sendall(b"abc" * 100_000)
                got = b""
                while len(got) < 300_002:
                    got += sock.recv(65_536)
                return head + got

        got = await blocking(client)
        self.assertIn(b"HTTP/1.1 101 ", got)
        self.assertIn(b"Sec-WebSocket-Accept: x\r\n", got)
        self.assertTrue(got.endswith(b"hi" + b"ABC" * 100_000))
        await soon(lambda: not proxy.pool.size)

    async def test_watching(self) -> None:
        """Each piece of an answer goes on at once, though more may come for hours."""

        def talk(connection: socket.socket) -> None:
            read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while connection.recv(1):
                connection.sendall(b"5\r\nevent\r\n")

        hostile = Hostile(talk)
        self.addCleanup(hostile.stop)
        proxy = Proxy(reactor, hostile.port)
        self.addCleanup(lambda: Deferred.fromCoroutine(proxy.stop()))
        sock = await blocking(socket.create_connection, ("127.0.0.1", proxy.port), timeout=PATIENCE)
        self.addCleanup(sock.close)
        sock.sendall(GET)
        await blocking(read_head, sock)
        for _ in range(3):
            await soon(lambda: hostile.connections)
            proxy.transports[0].write(b"!")  # as if the target had something to tell
            self.assertEqual(await blocking(sock.recv, 100), b"5\r\nevent\r\n")


class TlsTests(TestCase):
    """TLS on both sides."""

    async def test_tls(self) -> None:
        """The same exchanges, encrypted."""
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        authority = Authority.make()
        pair = authority.issue(folder, "target")
        target = Serving()
        self.addCleanup(target.stop)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        proxy = Proxy(reactor, target.port, tls=context)
        self.addCleanup(lambda: Deferred.fromCoroutine(proxy.stop()))
        url = f"https://127.0.0.1:{proxy.port}"

        def talk() -> None:
            with requests.Session() as session:
                session.trust_env = False  # nor what names other authorities
                session.verify = str(authority.write(folder / "ca.crt"))
                for size in (0, 1_000, 5_000_000):
                    answer = session.get(f"{url}/{size}", timeout=PATIENCE)
                    assert len(answer.content) == size
                body = b"x" * 3_000_000
                assert session.put(url + "/", body, timeout=PATIENCE).content == body

        await blocking(talk)
