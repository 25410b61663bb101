"""Tests for `hoopgw_azure.local_proxy`: whom it serves, and what it shows to the gateway."""

from __future__ import annotations

import base64
import socket
import ssl
import tempfile
import threading
from pathlib import Path
from typing import Final

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import UnavailableError
from hoopgw_azure.local_proxy import (
    STRANGERS_LIMIT,
    TUNNELS_LIMIT,
    USER,
    Gateway,
    LocalProxy,
)
from tests.support.certificates import Authority

HOST: Final = "management.azure.com"
LOGIN: Final = "login.microsoftonline.com"
PATIENCE: Final = 60.0
OPENED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"


@define(eq=False)
class FakeGateway:
    """Takes one head on each connection, answers, and sends back what comes then."""

    context: ssl.SSLContext
    answer: bytes = OPENED
    heads: list[bytes] = field(factory=list)
    _socket: socket.socket = field(factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def __attrs_post_init__(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._socket.getsockname()[1]
        return port

    def _accept(self) -> None:
        while True:
            try:
                plain, _address = self._socket.accept()
            except OSError:
                return  # it is closed
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(PATIENCE)
        try:
            with self.context.wrap_socket(plain, server_side=True) as tls:
                self.heads.append(head_of(tls))
                tls.sendall(self.answer)
                while self.answer == OPENED and (data := tls.recv(65_536)):
                    tls.sendall(data)
        except OSError:
            return  # the client is gone

    def close(self) -> None:
        """End it."""
        self._socket.close()


def head_of(connection: socket.socket) -> bytes:
    """Read up to a blank line."""
    data = b""
    while not data.endswith(b"\r\n\r\n") and (more := connection.recv(1)):
        data += more
    return data


class LocalProxyTests(SynchronousTestCase):
    """One proxy before a gateway that says what a test wants."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="hoopgw-")
        self.addCleanup(scratch.cleanup)
        folder = Path(scratch.name)
        authority = Authority.make()
        pair = authority.issue(folder, "gateway")
        served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        served.load_cert_chain(pair.certificate, pair.key)
        self.gateway = FakeGateway(served)
        self.addCleanup(self.gateway.close)
        self.asked: list[str] = []
        self.trusted = ssl.create_default_context(cafile=str(authority.write(folder / "ca.crt")))
        self.proxy = self.start(self.trusted)

    def start(self, tls: ssl.SSLContext) -> LocalProxy:
        """Start a proxy."""
        proxy = LocalProxy(
            Gateway(
                host="127.0.0.1",
                port=self.gateway.port,
                tls=tls,
                hosts=(HOST, LOGIN),
                prove=self.prove,
            )
        )
        self.addCleanup(proxy.stop)
        return proxy

    def prove(self, host: str) -> tuple[str, str]:
        """Give a token."""
        self.asked.append(host)
        if host == LOGIN:
            return "", ""
        if self.gateway.answer == b"":
            raise UnavailableError("the log-in is over: run `hoopgw login`")
        return "deployer", "t.o.k"

    def connect(self, target: str = f"{HOST}:443", password: str | None = None) -> socket.socket:
        """Ask for a host."""
        client = socket.create_connection(("127.0.0.1", self.proxy.port), PATIENCE)
        self.addCleanup(client.close)
        shown = self.proxy.secret if password is None else password
        text = base64.b64encode(f"{USER}:{shown}".encode()).decode()
        client.sendall(
            f"CONNECT {target} HTTP/1.1\r\nProxy-Authorization: Basic {text}\r\n\r\n".encode()
        )
        return client

    def test_what_is_sent_comes_back(self) -> None:
        """Through the gateway, to which it is said who asks."""
        client = self.connect()
        self.assertEqual(head_of(client), OPENED)
        client.sendall(b"x" * 300_000)
        got = 0
        while got < 300_000:
            got += len(client.recv(65_536))
        (head,) = self.gateway.heads
        shown = base64.b64encode(b"deployer:t.o.k")
        self.assertIn(b"Proxy-Authorization: Basic " + shown, head)
        self.assertNotIn(self.proxy.secret.encode(), head)

    def test_the_log_in_needs_no_proof(self) -> None:
        self.assertEqual(head_of(self.connect(f"{LOGIN}:443")), OPENED)
        self.assertNotIn(b"Authorization", self.gateway.heads[0])

    def test_other_users_of_the_machine(self) -> None:
        """Loopback is open to all of them; the secret is not."""
        for password in ("guess", "", self.proxy.secret[:-1], self.proxy.secret + "x"):
            with self.subTest(password=password):
                head = head_of(self.connect(password=password))
                self.assertIn(b" 407 " if password else b" 400 ", head)
        client = socket.create_connection(("127.0.0.1", self.proxy.port), PATIENCE)
        client.sendall(f"CONNECT {HOST}:443 HTTP/1.1\r\n\r\n".encode())
        self.assertIn(b" 407 ", head_of(client))
        client.close()
        self.assertEqual((self.asked, self.gateway.heads), ([], []))
        self.assertNotIn(self.proxy.secret, repr(self.proxy))

    def test_other_users_do_not_keep_it_busy(self) -> None:
        """Who says nothing gives way to who comes later; the owner's connections stay."""
        client = self.connect()
        self.assertEqual(head_of(client), OPENED)
        strangers = [
            socket.create_connection(("127.0.0.1", self.proxy.port), PATIENCE)
            for _ in range(STRANGERS_LIMIT + TUNNELS_LIMIT)
        ]
        for each in strangers:
            self.addCleanup(each.close)
        self.assertEqual(head_of(self.connect()), OPENED)
        client.sendall(b"still here")
        self.assertEqual(client.recv(10), b"still here")
        self.assertEqual(strangers[0].recv(1), b"")

    def test_other_hosts(self) -> None:
        for target, status in (
            ("example.com:443", b" 403 "),
            ("127.0.0.1:443", b" 403 "),
            (f"{HOST}:22", b" 403 "),
            ("nonsense", b" 400 "),
        ):
            with self.subTest(target=target):
                self.assertIn(status, head_of(self.connect(target)))
        self.assertEqual(self.gateway.heads, [])

    def test_a_gateway_of_another_ca(self) -> None:
        """Whoever stands in for the gateway gets no token."""
        self.proxy = self.start(ssl.create_default_context())
        self.assertIn(b" 502 ", head_of(self.connect()))
        self.assertEqual(self.gateway.heads, [])

    def test_what_the_gateway_says(self) -> None:
        """Its sentence is passed on; that our credential is bad is not the program's to mend."""
        for said, status in (
            (b"HTTP/1.1 403 Forbidden\r\n\r\nhoopgw: no such host\n", b" 403 "),
            (b"HTTP/1.1 407 Who\r\n\r\nhoopgw: no such host\n", b" 502 "),
            (b"HTTP/1.1 200", b" 502 "),
        ):
            with self.subTest(said=said):
                self.gateway.answer = said
                client = self.connect()
                self.assertIn(status, head_of(client))
                if b"such" in said:
                    self.assertIn(b"no such host", client.recv(1_000))

    def test_a_log_in_that_is_over(self) -> None:
        self.gateway.answer = b""
        client = self.connect()
        self.assertIn(b" 502 ", head_of(client))
        self.assertIn(b"run `hoopgw login`", client.recv(1_000))

    def test_the_end(self) -> None:
        """Takes what is open with it."""
        client = self.connect()
        head_of(client)
        proxy = self.start(self.trusted)
        proxy.stop()
        self.proxy.stop()
        self.assertEqual(client.recv(1), b"")
        self.assertRaises(OSError, self.connect)
        # The clean-up ends both once more, which changes nothing.
