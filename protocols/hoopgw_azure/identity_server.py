"""A managed identity on loopback: how clients of Azure, unchanged, get a person's tokens.

`hoopgw azure run` starts it, and says where it is in the environment of the command that it runs.
The log-in's key stays here; what goes out are tokens for a few minutes, good at the gateway only.
Whoever asks must show a secret that only that environment has (CWE-918: other programs of the
machine, and pages in a browser, cannot).
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

from attrs import define, field

from hoopgw.errors import HoopgwError

Give: TypeAlias = Callable[[str], Mapping[str, Any] | None]
"""Gives what the token endpoint answers for a resource; None if the resource is none of ours."""

_TIMEOUT: Final = 30.0


@define(eq=False)
class IdentityServer:
    """The server; it listens on loopback from when it is made."""

    give: Give
    secret: str = field(factory=lambda: secrets.token_urlsafe(32), init=False, repr=False)
    _server: ThreadingHTTPServer = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def variables(self) -> dict[str, str]:
        """What clients of a managed identity look for."""
        where = f"http://127.0.0.1:{self._server.server_address[1]}/msi/token"
        return {"IDENTITY_ENDPOINT": where, "IDENTITY_HEADER": self.secret}

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, shown: str, host: str) -> tuple[int, dict[str, Any]]:
        """Return status and body for a request."""
        parts = urlsplit(path)
        # A name that leads here is some page's in a browser (DNS rebinding).
        if not host.startswith("127.0.0.1:") or parts.path != "/msi/token":
            return 404, {"error": "not_found"}
        if not hmac.compare_digest(shown.encode(), self.secret.encode()):
            return 401, {"error": "invalid_client", "error_description": "the header is not good"}
        query = parse_qs(parts.query)
        resource = query.get("resource", [""])[0]
        try:
            given = self.give(resource)
        except HoopgwError as error:
            return 400, {"error": "invalid_grant", "error_description": str(error)}
        if given is None:
            text = "hoopgw has no target for this resource"
            return 400, {"error": "invalid_resource", "error_description": text}
        seconds = int(given["expires_in"])
        return 200, {
            "access_token": given["access_token"],
            "expires_on": str(int(time.time()) + seconds),
            "expires_in": str(seconds),
            "not_before": str(int(time.time())),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": query.get("client_id", [""])[0],
        }


def _handler(server: IdentityServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers one connection."""

        timeout = _TIMEOUT

        def do_GET(self) -> None:
            """Answer."""
            shown = self.headers.get("X-IDENTITY-HEADER", "")
            status, body = server.answer(self.path, shown, self.headers.get("Host", ""))
            data = json.dumps(body).encode()
            self.send_response_only(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing: lines would be among the command's own."""

    return Handler
