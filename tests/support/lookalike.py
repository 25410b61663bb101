"""A small HTTP server on loopback, with TLS or without, that looks like somebody's service."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

from attrs import field, frozen

from tests.support.certificates import Pair


@frozen
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = field(repr=False)


@frozen
class Told:
    """What to answer."""

    status: int = 200
    body: Any = None
    """JSON, or bytes as they are."""
    headers: Mapping[str, str] = field(factory=dict)


Answer: TypeAlias = Callable[[Asked], Told]


class LookAlike:
    """The server. Stop it with `stop`."""

    def __init__(self, answer: Answer, pair: Pair | None = None) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        look_alike = self

        class Requests(BaseHTTPRequestHandler):
            """Gives what the test wants."""

            protocol_version = "HTTP/1.1"
            timeout = 30.0

            def do_GET(self) -> None:
                """Answer."""
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, self._body())
                look_alike.asked.append(asked)
                told = look_alike.answer(asked)
                body = told.body if isinstance(told.body, bytes) else json.dumps(told.body).encode()
                self.send_response_only(told.status)
                for name, value in {"Content-Type": "application/json", **told.headers}.items():
                    self.send_header(name, value)
                if told.status not in (204, 304):
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD" and told.status not in (204, 304):
                    self.wfile.write(body)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
        self.server.daemon_threads = True
        if pair is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.certificate, pair.key)
            context.set_alpn_protocols(["http/1.1"])
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "http" if pair is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Stop it."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
