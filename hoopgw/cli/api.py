"""The gateway's HTTP interface, as the command line uses it.

Every answer that is not what was asked for becomes one error with the fix. The token goes to the
configured gateway only: redirects are not followed, ``~/.netrc`` is not read, and the CA that was
given for the gateway is the only one trusted for it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from attrs import evolve, field, frozen
from joserfc.jwk import OKPKey
from requests.auth import AuthBase

from hoopgw.cli.failure import CommandError, NotLoggedInError, RefusedError, UnreachableError
from hoopgw.identity.dpop import make_proof
from hoopgw.terminal import clip

TIMEOUT: Final = (10.0, 60.0)
"""Seconds to connect, and to wait for an answer."""
_BODY_LIMIT: Final = 64 * 2**20
_PIECE: Final = 64 * 1024
_DETAIL_LIMIT: Final = 500


class Proved(AuthBase):
    """Shows a token, and proves the key that it is bound to (RFC 9449).

    As ``auth``, so that no ``.netrc`` entry replaces it.

    Args:
        key: the caller's key; without one nothing is proved.
        token: the token to show; without one only the key is proved.
        origin: of the URLs in proofs: the gateway's own name for itself.

    """

    def __init__(self, key: OKPKey | None, token: str | None, origin: str) -> None:
        self._key = key
        self._token = token
        self._origin = origin

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the headers."""
        if self._token is not None:
            scheme = "Bearer" if self._key is None else "DPoP"
            request.headers["Authorization"] = f"{scheme} {self._token}"
        if self._key is not None:
            url = self._origin + urlsplit(str(request.url)).path
            method = str(request.method)
            proof = make_proof(self._key, method, url, time.time(), self._token)
            request.headers["DPoP"] = proof
        return request


@frozen(kw_only=True)
class GatewayApi:
    """One gateway, and who asks it."""

    url: str
    ca: Path | None = None
    """PEM file to trust for it, instead of the system's."""
    token: str | None = field(default=None, repr=False)
    key: OKPKey | None = field(default=None, repr=False)
    """What the token is bound to, or will be."""
    origin: str | None = None
    """What the gateway calls itself, if that is not ``url``: proofs name it."""
    shown: Callable[[], str] | None = field(default=None, repr=False)
    """Gives the token for one request, instead of ``token``: one that is good once."""

    def get(self, path: str, **query: Any) -> Any:
        """Ask for something, and return its JSON."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._call("GET", path, params=given)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send JSON, and return the JSON that answers."""
        return self._call("POST", path, json=dict(body or {}))

    def form(self, path: str, values: Mapping[str, str]) -> Any:
        """Send a form, as the token endpoint wants it, and return the JSON that answers.

        The token endpoint takes the token inside the form, and with it only the key's proof.
        """
        return evolve(self, token=None, shown=None)._call("POST", path, data=dict(values))

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        if self.ca is not None and not self.ca.is_file():
            raise UnreachableError(
                f"there is no CA file {self.ca}; give the gateway's with --ca FILE"
            )
        token = self.token if self.shown is None else self.shown()
        try:
            answer = requests.request(
                method,
                self.url.rstrip("/") + path,
                timeout=TIMEOUT,
                verify=True if self.ca is None else str(self.ca),
                auth=Proved(self.key, token, (self.origin or self.url).rstrip("/")),
                allow_redirects=False,
                headers={"Accept": "application/json"},
                stream=True,
                **arguments,
            )
            with answer:
                content = _content(answer)
        except requests.exceptions.SSLError as error:
            raise UnreachableError(
                f"the certificate of {self.url} is not trusted: "
                "give the CA of the gateway (keys/ca.crt of its state folder) with --ca FILE"
            ) from error
        except requests.RequestException as error:
            raise UnreachableError(
                f"the gateway at {self.url} does not answer ({cause_of(error)}): "
                "is it running, and is --gateway right?"
            ) from error
        return self._answered(answer, content)

    def _answered(self, answer: requests.Response, content: bytes) -> Any:
        body = _json(content)
        if answer.ok and not answer.is_redirect:
            if body is None:
                raise UnreachableError(
                    f"{self.url} answered with something that is no hoopgw answer: "
                    "is --gateway right?"
                )
            return body
        error = str(body.get("error", "")) if isinstance(body, dict) else ""
        raise _refused(answer.status_code, error, _detail(body, answer))


def _refused(status: int, error: str, detail: str) -> CommandError:
    if status == 401:
        return NotLoggedInError(
            f"the gateway does not accept the log-in ({detail}): run `hoopgw login`"
        )
    if status in (502, 503, 504):
        return UnreachableError(f"the gateway is not ready: {detail}")
    return RefusedError(f"the gateway refused: {detail}", error)


def _detail(body: Any, answer: requests.Response) -> str:
    if isinstance(body, dict):
        for name in ("detail", "error_description", "error"):
            if body.get(name):
                return clip(str(body[name]), _DETAIL_LIMIT)
    return f"{answer.status_code} {answer.reason}"


def _content(answer: requests.Response) -> bytes:
    """Read an answer's body, and no more of it than fits."""
    content = bytearray()
    for piece in answer.iter_content(_PIECE):
        content += piece
        if len(content) > _BODY_LIMIT:
            raise CommandError(f"the gateway's answer is longer than {_BODY_LIMIT} bytes")
    return bytes(content)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def cause_of(error: requests.RequestException) -> str:
    """Name what went wrong below requests and urllib3, whose own texts are reprs."""
    if error.response is not None:
        return f"status {error.response.status_code}"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.exceptions.ReadTimeout):
        return "no answer in time"
    inner: BaseException | None = error
    for _ in range(8):
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        reason = getattr(inner, "reason", None)
        following = reason if isinstance(reason, BaseException) else None
        inner = (
            following or getattr(inner, "__cause__", None) or getattr(inner, "__context__", None)
        )
        if inner is None:
            break
    return type(error).__name__
