"""Targets on real sockets: one that serves, and one that says whatever a test wants."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import define, field

PATIENCE = 60.0


class Handler(BaseHTTPRequestHandler):
    """Echoes bodies; gives as many bytes as the path says, in chunks if it ends so."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Give ``/SIZE`` or ``/SIZE/chunks``."""
        _, size, *rest = self.path.split("/")
        block = b"0123456789abcdef" * 4_096
        self.send_response(200)
        if rest:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", size)
        self.end_headers()
        left = int(size)
        while left > 0:
            piece = block[:left]
            left -= len(piece)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if rest else piece)
        if rest:
            self.wfile.write(b"0\r\n\r\n")

    def do_HEAD(self) -> None:
        """Say a length, and give nothing."""
        self.send_response(200)
        self.send_header("Content-Length", "1234")
        self.end_headers()

    def do_PUT(self) -> None:
        """Echo a body."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        """Talk until the other side is gone."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name upstream
        """Say nothing."""


@define(eq=False)
class Serving:
    """A target that serves, in threads."""

    _server: ThreadingHTTPServer = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()


Talk = Callable[[socket.socket], None]


@define(eq=False)
class Hostile:
    """A target that talks as it likes: one function for each connection, in threads."""

    _talk: Talk
    _listener: socket.socket = field(init=False)
    connections: list[socket.socket] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def stop(self) -> None:
        """Close everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self._listener.accept()
                connection.settimeout(PATIENCE)
                self.connections.append(connection)
                threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        # An error says that the test, or the gateway, is done with it.
        with contextlib.suppress(OSError), connection:
            self._talk(connection)


def read_head(connection: socket.socket) -> bytes:
    """Read up to the blank line."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        if not piece:
            raise OSError("the other side is gone")
        data += piece
    return data


def saying(answer: bytes, *, close: bool = True) -> Talk:
    """Answer each request with the same bytes."""

    def talk(connection: socket.socket) -> None:
        while True:
            read_head(connection)
            connection.sendall(answer)
            if close:
                connection.close()
                return

    return talk
