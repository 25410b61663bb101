"""Refusals in Azure's own terms, so that `az` and the SDKs show them as they show Azure's. Pure.

References: Microsoft REST API Guidelines (error responses); Key Vault authentication, requests and
responses; Storage common REST API error codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from xml.sax.saxutils import escape

from hoopgw.http.messages import Pair, Response
from hoopgw.http.model import status_of
from hoopgw.sessions.refusals import Refusal, RefusalKind

CODES: Final[Mapping[RefusalKind, str]] = {
    "unauthenticated": "AuthenticationFailed",
    "denied": "AuthorizationFailed",
    "held": "ApprovalRequired",
    "malformed": "InvalidRequest",
    "too_large": "RequestEntityTooLarge",
    "unavailable": "ServiceUnavailable",
    "withheld": "AnswerWithheld",
}


def fields(refusal: Refusal) -> tuple[Pair, ...]:
    """Return the fields that every refusal has."""
    found: list[Pair] = [(b"X-Hoopgw-Refused", refusal.kind.encode())]
    if refusal.request:
        found.append((b"X-Hoopgw-Request", refusal.request.encode()))
    if refusal.retry_after is not None:
        found.append((b"Retry-After", b"%d" % refusal.retry_after))
    return tuple(found)


def of_arm(refusal: Refusal, more: tuple[Pair, ...] = ()) -> Response:
    """Return it as Resource Manager and Key Vault say theirs."""
    error: dict[str, Any] = {"code": CODES[refusal.kind], "message": message(refusal)}
    if refusal.detail:
        error["additionalInfo"] = [{"type": "hoopgw", "info": dict(refusal.detail)}]
    return Response.of_json(status_of(refusal), {"error": error}, (*fields(refusal), *more))


def of_storage(refusal: Refusal, more: tuple[Pair, ...] = ()) -> Response:
    """Return it as Blob storage says its own."""
    code = CODES[refusal.kind]
    body = (
        '<?xml version="1.0" encoding="utf-8"?>'
        f"<Error><Code>{code}</Code><Message>{escape(message(refusal))}</Message></Error>"
    )
    return Response.of(
        status_of(refusal),
        body.encode(),
        b"application/xml",
        (*fields(refusal), (b"x-ms-error-code", code.encode()), *more),
    )


def of_rest(refusal: Refusal, more: tuple[Pair, ...] = ()) -> Response:
    """Return it as RFC 9457 has it."""
    problem: dict[str, Any] = {
        "type": f"urn:hoopgw:refused:{refusal.kind}",
        "title": refusal.text,
        "status": status_of(refusal),
    }
    if refusal.hint:
        problem["detail"] = refusal.hint
    if refusal.detail:
        problem["hoopgw"] = dict(refusal.detail)
    answer = Response.of_json(status_of(refusal), problem, (*fields(refusal), *more))
    headers = answer.headers.replaced(b"Content-Type", b"application/problem+json")
    return Response.of(answer.status, answer.body, headers=headers.pairs)


def message(refusal: Refusal) -> str:
    """Return what a refusal says, for people."""
    text = f"hoopgw: {refusal.text}"
    return f"{text}\n{refusal.hint}" if refusal.hint else text
