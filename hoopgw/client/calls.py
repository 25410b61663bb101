"""The gateway's HTTP interface, called as whoever a `Signer` speaks for.

Each call shows a chain with a proof of its own, good once; redirects are not followed, and no
``.netrc`` is read. Reference: the routes below ``/v1`` of `hoopgw.control`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import requests
from attrs import frozen
from requests.auth import AuthBase

from hoopgw.client.errors import REFUSED, UNREACHABLE, Refused
from hoopgw.client.signers import Signer
from hoopgw.identity.tokens import GATEWAY

TIMEOUT: Final = (10.0, 60.0)
"""Seconds to connect, and to wait for an answer."""
_BODY_LIMIT: Final = 4 * 2**20
_PIECE: Final = 64 * 1024


@frozen
class _Shown(AuthBase):
    """Shows a token; as ``auth``, so that no ``.netrc`` entry replaces it."""

    token: str

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def call(signer: Signer, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Call the gateway and return the JSON of its answer.

    Args:
        signer: who calls.
        method: of HTTP.
        path: with its query: ``/v1/me``.
        body: sent as JSON; None sends none.

    Raises:
        Refused: with the gateway's own word for it as code; ``unreachable`` if it does not answer.

    """
    standing = signer.standing()
    token = signer.prove(GATEWAY)
    if standing.ca is not None and not Path(standing.ca).is_file():
        raise Refused(UNREACHABLE, f"there is no CA file {standing.ca}")
    try:
        with requests.request(
            method,
            standing.gateway.rstrip("/") + path,
            json=None if body is None else dict(body),
            auth=_Shown(token.value),
            timeout=TIMEOUT,
            verify=True if standing.ca is None else standing.ca,
            allow_redirects=False,
            headers={"Accept": "application/json"},
            stream=True,
        ) as answer:
            return _read(answer)
    except requests.RequestException as error:
        raise Refused(
            UNREACHABLE, f"the gateway does not answer ({type(error).__name__})"
        ) from error


def _read(answer: requests.Response) -> Any:
    content = bytearray()
    for piece in answer.iter_content(_PIECE):
        content += piece
        if len(content) > _BODY_LIMIT:
            raise Refused(REFUSED, f"the gateway's answer is longer than {_BODY_LIMIT} bytes")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Refused(UNREACHABLE, "this is no gateway: it answered with no JSON") from error
    if answer.status_code == 200:
        return body
    values = body if isinstance(body, dict) else {}
    raise Refused.from_dict({"detail": f"the gateway answered {answer.status_code}", **values})
