"""Refusals as an API server says its own, so that kubectl shows them as it shows those. Pure.

What is held is answered with 429 and ``Retry-After``: client-go asks again by itself, up to ten
times, and then shows the message.

Reference: Kubernetes API Conventions, "Response Status Kind".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hoopgw.http.messages import Pair, Response
from hoopgw.http.model import status_of
from hoopgw.sessions.refusals import Refusal, RefusalKind

_REASONS: Final[Mapping[int, str]] = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    413: "RequestEntityTooLarge",
    429: "TooManyRequests",
    503: "ServiceUnavailable",
}
_HELD: Final = 429
_AGAIN: Final = 1
"""Seconds after which a client asks again: it is then waited with for longer."""


def refused(refusal: Refusal) -> Response:
    """Return a refusal as a Status."""
    status, fields = status_of(refusal), list(_fields(refusal))
    if refusal.kind == "held":
        status = _HELD
    if status == _HELD or refusal.retry_after is not None:
        seconds = _AGAIN if refusal.kind == "held" else refusal.retry_after or _AGAIN
        fields.append((b"Retry-After", b"%d" % seconds))
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": _message(refusal),
        "reason": _REASONS.get(status, "InternalError"),
        "code": status,
    }
    return Response.of_json(status, body, tuple(fields))


def _fields(refusal: Refusal) -> tuple[Pair, ...]:
    kind: RefusalKind = refusal.kind
    found: list[Pair] = [(b"X-Hoopgw-Refused", kind.encode())]
    if refusal.request:
        found.append((b"X-Hoopgw-Request", refusal.request.encode()))
    return tuple(found)


def _message(refusal: Refusal) -> str:
    """Return what kubectl shows behind "Error from server (Forbidden):"."""
    text = f"hoopgw: {refusal.text}"
    return f"{text}\n{refusal.hint}" if refusal.hint else text
