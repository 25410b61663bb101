"""TLS inside of TLS, as a client speaks it through a proxy over HTTPS; on real sockets."""

from __future__ import annotations

import socket
import ssl
import tempfile
from pathlib import Path
from typing import Any, cast

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from hoopgw.transport import Address, DataTransport, listen
from tests.support.certificates import Authority, Pair

PATIENCE = 60.0
LONG = 700_000


@define(eq=False)
class Tunnelled:
    """A client: TLS by hand inside of a TLS socket."""

    outer: ssl.SSLSocket
    context: ssl.SSLContext
    name: str
    incoming: ssl.MemoryBIO = field(factory=ssl.MemoryBIO, init=False)
    outgoing: ssl.MemoryBIO = field(factory=ssl.MemoryBIO, init=False)
    inner: ssl.SSLObject = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.inner = self.context.wrap_bio(self.incoming, self.outgoing, server_hostname=self.name)

    def do(self, step: Any) -> Any:
        """Do something of the inner connection, with what it needs of the outer one."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._send()
                if data := self.outer.recv(65_536):
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()
                continue
            self._send()
            return done

    def _send(self) -> None:
        if data := self.outgoing.read():
            self.outer.sendall(data)


class Proxying(Protocol):
    """Takes one line, says yes, and begins TLS anew; then it sends back what comes."""

    def __init__(self, inner: ssl.SSLContext, lost: list[Failure]) -> None:
        self._inner, self._lost = inner, lost
        self._is_inside = False

    def dataReceived(self, data: Any) -> None:
        wire = cast("DataTransport", self.transport)
        if self._is_inside:
            if bytes(data) == b"bye":
                wire.loseConnection()
            wire.write(bytes(data))
            return
        assert bytes(data) == b"CONNECT\n"
        self._is_inside = True
        wire.pauseProducing()
        reactor.callLater(0, self._begin)

    def _begin(self) -> None:
        wire = cast("DataTransport", self.transport)
        wire.write(b"yes\n")
        wire.startTLS(self._inner, server_side=True)
        wire.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost.append(reason)


class NestedTests(TestCase):
    """One server, whose clients run in threads."""

    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp(dir=self.mktemp_folder()))
        self.authority = Authority.make()
        self.ca = self.authority.write(folder / "ca.crt")
        outer = self.authority.issue(folder, "outer", ("proxy.example",))
        inner = self.authority.issue(folder, "inner", ("vault.example",))
        self.lost: list[Failure] = []
        lost, contexts = self.lost, (served(outer), served(inner))

        class Proxies(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> Proxying:
                return Proxying(contexts[1], lost)

        self.port = listen(reactor, Address("127.0.0.1", 0), Proxies(), tls=contexts[0])
        self.addCleanup(self.port.stopListening)

    def mktemp_folder(self) -> Path:
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        return folder

    def connect(self, name: str = "vault.example") -> Tunnelled:
        """Connect, as far as to the inner handshake. Blocks."""
        context = ssl.create_default_context(cafile=str(self.ca))
        plain = socket.create_connection(("127.0.0.1", self.port.getHost().port), PATIENCE)
        outer = context.wrap_socket(plain, server_hostname="proxy.example")
        outer.sendall(b"CONNECT\n")
        assert outer.recv(4) == b"yes\n"
        return Tunnelled(outer, context, name)

    async def test_what_is_sent_through_both_comes_back(self) -> None:
        """In pieces of all sizes, more than any buffer holds."""
        sent = bytes(range(256)) * (LONG // 256)

        def talk() -> bytes:
            client, got = self.connect(), b""
            client.do(client.inner.do_handshake)
            for start in range(0, len(sent), 70_001):
                client.do(lambda start=start: client.inner.write(sent[start : start + 70_001]))
                while len(got) < min(len(sent), start + 70_001):
                    got += client.do(lambda: client.inner.read(65_536))
            client.outer.close()
            return got

        self.assertEqual(await deferToThread(talk), sent)

    async def test_the_inner_certificate_is_another(self) -> None:
        """Each handshake is its own: the outer name is not good inside."""

        def talk() -> str:
            client = self.connect("proxy.example")
            try:
                client.do(client.inner.do_handshake)
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
            finally:
                client.outer.close()
            return ""

        self.assertIn("not valid for 'proxy.example'", await deferToThread(talk))

    async def test_what_is_no_handshake_ends_the_connection(self) -> None:
        def talk() -> bytes:
            client, got = self.connect(), b""
            client.outer.sendall(b"GET / HTTP/1.1\r\n\r\n")
            while data := client.outer.recv(65_536):
                got += data
            return got

        got = await deferToThread(talk)
        self.assertNotIn(b"HTTP", got)
        self.assertEqual([reason.type for reason in self.lost], [ssl.SSLError])

    async def test_closing_says_so_in_both(self) -> None:
        """The end of the inner connection is seen as one, and not as a cut."""

        def talk() -> bytes:
            client = self.connect()
            client.do(client.inner.do_handshake)
            client.do(lambda: client.inner.write(b"bye"))
            # A cut would raise here: `ssl.SSLEOFError`.
            got: bytes = client.do(lambda: client.inner.read(1))
            assert client.outer.recv(1) == b""
            client.outer.close()
            return got

        self.assertEqual(await deferToThread(talk), b"")


def served(pair: Pair) -> ssl.SSLContext:
    """Return a server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context
