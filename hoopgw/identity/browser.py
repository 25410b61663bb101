"""Log in with the browser on this machine: authorization code and PKCE on a loopback port.

The command line's side, blocking. The port is free only for this one log-in, and what comes to it
counts only with the state that we made; anything else is answered and ignored.

References: RFC 6749 section 4.1, RFC 7636, RFC 8252 section 7.3, RFC 9207.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from attrs import define, field

from hoopgw.identity.jose import encode_part
from hoopgw.identity.login import (
    SCOPES,
    IssuerToken,
    LoginError,
    Provider,
    oauth_error,
    shown,
    subject_token,
)

PATIENCE: Final = 300.0
"""Seconds that a person has."""
PATH: Final = "/callback"
_CONNECTION_PATIENCE: Final = 5.0
_DONE: Final = b"<!doctype html><title>hoopgw</title><p>Done. You may close this page."


@define(eq=False)
class _Expected:
    """What the browser must bring, and what it brought."""

    state: str
    issuer: str
    answer: dict[str, str] | None = field(default=None, init=False, repr=False)

    def take(self, path: str) -> bool:
        """Take the answer out of a request's path; say whether it was one."""
        parts = urlsplit(path)
        pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=20)
        values = dict(pairs)
        if parts.path != PATH or len(values) != len(pairs):
            return False
        if not secrets.compare_digest(values.get("state", "").encode(), self.state.encode()):
            return False
        if values.get("iss", self.issuer) != self.issuer:
            return False
        self.answer = values
        return True


def log_in_with_browser(
    provider: Provider,
    open_url: Callable[[str], object],
    scopes: Sequence[str] = SCOPES,
    patience: float = PATIENCE,
) -> IssuerToken:
    """Log in with the browser.

    Args:
        provider: the issuer.
        open_url: shows the person a page, as `webbrowser.open` does.
        scopes: to ask for.
        patience: seconds that the person has.

    Raises:
        LoginError: refused, or not in time.

    """
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    expected = _Expected(state, provider.issuer.issuer)
    with _listen(expected) as server:
        redirect = f"http://127.0.0.1:{server.server_port}{PATH}"
        query = {
            "response_type": "code",
            "client_id": provider.issuer.client_id,
            "redirect_uri": redirect,
            "scope": " ".join(scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": encode_part(hashlib.sha256(verifier.encode()).digest()).decode(),
            "code_challenge_method": "S256",
        }
        open_url(provider.endpoint("authorization_endpoint") + "?" + urlencode(query))
        answer = _wait(server, expected, patience)
    if "code" not in answer:
        raise LoginError(f"the issuer refused: {oauth_error(answer)}")
    status, given = provider.redeem(
        {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": redirect,
            "code_verifier": verifier,
        }
    )
    if status != 200:
        raise LoginError(f"the issuer gave no token: {oauth_error(given)}")
    return subject_token(given, provider.issuer, nonce)


def _listen(expected: _Expected) -> HTTPServer:
    class Callback(BaseHTTPRequestHandler):
        timeout = _CONNECTION_PATIENCE

        def do_GET(self) -> None:
            """Answer the browser."""
            try:
                good = expected.take(self.path)
            except ValueError:
                good = False
            self.send_response(200 if good else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Referrer-Policy", "no-referrer")
            self.end_headers()
            if good:
                self.wfile.write(_DONE)

        def log_message(self, *_: object) -> None:
            """Say nothing: the path holds the code."""

    try:
        return HTTPServer(("127.0.0.1", 0), Callback)
    except OSError as error:
        raise LoginError(f"no port on 127.0.0.1 is free: {shown(error)}") from error


def _wait(server: HTTPServer, expected: _Expected, patience: float) -> dict[str, str]:
    end = time.monotonic() + patience
    while expected.answer is None:
        rest = end - time.monotonic()
        if rest <= 0:
            raise LoginError("nobody logged in in time; try again")
        server.timeout = rest
        server.handle_request()
    return expected.answer
