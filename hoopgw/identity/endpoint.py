"""The token endpoint and what describes it, as resources for `twisted.web`.

`token_resource` gives ``/sts/token`` and ``/sts/jwks.json``, and in ``/.well-known/`` the documents
``oauth-authorization-server`` and ``hoopgw``. Nothing that comes in or goes out is logged, and no
cache may keep a token. What one address may get is limited, and so are its refusals, each by
itself: who is refused again and again keeps nobody out at the same address, as behind a proxy.

References: RFC 6749 section 5, RFC 8414, RFC 8693, RFC 9449 section 5.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from hoopgw.errors import AuthenticationError
from hoopgw.identity.dpop import ALGORITHMS, ProvedKey, check_proof
from hoopgw.identity.exchange import Exchange
from hoopgw.identity.rate import RateLimit
from hoopgw.identity.refusals import ExchangeError
from hoopgw.identity.urns import GRANT

log = Logger()

BODY_LIMIT: Final = 64 * 1024
TOKEN_PATH: Final = "/sts/token"  # noqa: S105  # a path
KEYS_PATH: Final = "/sts/jwks.json"
_FIELDS_LIMIT: Final = 20
_WAITING_LIMIT: Final = 64
"""Requests that may wait for an issuer's keys at once."""
_STATUS: Final = {"temporarily_unavailable": 503, "slow_down": 429}
_FORM: Final = b"application/x-www-form-urlencoded"


def token_resource(exchange: Exchange, url: str, root: Resource | None = None) -> Resource:
    """Put the endpoint's resources into a tree.

    Args:
        exchange: what decides.
        url: of the gateway, as callers write it, without a slash at the end: the tokens' issuer.
        root: where to put them; without it a new resource is made.

    Returns:
        The root, which has the children ``sts`` and ``.well-known``.

    """
    root = Resource() if root is None else root
    sts, known = Resource(), Resource()
    sts.putChild(b"token", TokenEndpoint(exchange, url + TOKEN_PATH))
    sts.putChild(b"jwks.json", Document(lambda: exchange.parts.signer.jwks))
    known.putChild(b"oauth-authorization-server", Document(lambda: _metadata(url)))
    known.putChild(b"hoopgw", Document(lambda: _description(exchange, url)))
    root.putChild(b"sts", sts)
    root.putChild(b".well-known", known)
    return root


def _metadata(url: str) -> dict[str, Any]:
    return {
        "issuer": url,
        "token_endpoint": url + TOKEN_PATH,
        "jwks_uri": url + KEYS_PATH,
        "grant_types_supported": [GRANT],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["none"],
        "dpop_signing_alg_values_supported": list(ALGORITHMS),
    }


def _description(exchange: Exchange, url: str) -> dict[str, Any]:
    """Say how to log in. It is public: only what a caller needs."""
    return {
        "gateway": url,
        "token_endpoint": url + TOKEN_PATH,
        "issuers": [
            {
                "alias": settings.alias,
                "issuer": settings.issuer,
                "client_id": settings.client_id,
                "audiences": sorted(settings.audiences),
            }
            for settings in exchange.parts.issuers.settings
        ],
    }


class Document(Resource):
    """A public JSON document, as it is now."""

    isLeaf = True

    def __init__(self, document: Callable[[], Mapping[str, Any]]) -> None:
        Resource.__init__(self)
        self._document = document

    def render_GET(self, request: Request) -> bytes:
        """Give it."""
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"max-age=60")
        return json.dumps(self._document()).encode()


@frozen
class _Form:
    """A request that was read."""

    values: dict[str, str] = field(repr=False)
    proved: ProvedKey | None


class TokenEndpoint(Resource):
    """``POST /sts/token``."""

    isLeaf = True

    def __init__(self, exchange: Exchange, url: str) -> None:
        Resource.__init__(self)
        self._exchange = exchange
        self._url = url
        self._given = RateLimit(burst=300.0, per_second=5.0)
        self._refused = RateLimit(burst=30.0, per_second=0.5)
        self._waiting = 0

    def render_POST(self, request: Request) -> int:
        """Answer an exchange."""
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"pragma", b"no-cache")
        request.setHeader(b"content-type", b"application/json")
        address = str(getattr(request.getClientAddress(), "host", ""))
        answer = Deferred.fromCoroutine(self._answer(request, address))
        request.notifyFinish().addErrback(lambda _failure: answer.cancel())
        answer.addCallbacks(
            lambda body: _finish(request, 200, body),
            lambda failure: self._refuse(request, address, failure),
        )
        answer.addErrback(lambda failure: log.failure("answering an exchange failed", failure))
        return NOT_DONE_YET

    async def _answer(self, request: Request, address: str) -> dict[str, Any]:
        if not self._given.allows(address, 1.0, self._exchange.parts.now()):
            raise ExchangeError("slow_down", "too many tokens were given to this address")
        if self._waiting >= _WAITING_LIMIT:
            raise ExchangeError("temporarily_unavailable", "too many requests wait")
        form = self._read(request)
        self._waiting += 1
        try:
            answer = await self._exchange.exchange(form.values, form.proved)
        finally:
            self._waiting -= 1
        self._given.charge(address, 1.0, self._exchange.parts.now())
        return answer

    def _read(self, request: Request) -> _Form:
        kind = (request.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower()
        if kind != _FORM:
            raise ExchangeError("invalid_request", "the body must be a form")
        content = request.content
        assert content is not None  # twisted.web has read it before it calls us
        content.seek(0)
        body = content.read(BODY_LIMIT + 1)
        if len(body) > BODY_LIMIT:
            raise ExchangeError("invalid_request", f"the body is longer than {BODY_LIMIT} bytes")
        try:
            pairs = parse_qsl(
                body.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=_FIELDS_LIMIT,
            )
        except ValueError as error:
            raise ExchangeError("invalid_request", "the body is no form as it should be") from error
        values = dict(pairs)
        if len(values) != len(pairs):
            raise ExchangeError("invalid_request", "a parameter is there twice")
        return _Form(values, self._proved(request))

    def _proved(self, request: Request) -> ProvedKey | None:
        proofs = request.requestHeaders.getRawHeaders(b"dpop", [])
        if not proofs:
            return None
        try:
            if len(proofs) > 1:
                raise AuthenticationError("more than one DPoP proof")
            proof = proofs[0].decode("ascii", "replace")
            return check_proof(proof, "POST", self._url, self._exchange.parts.now())
        except AuthenticationError as error:
            log.info("a DPoP proof was refused: {why}", why=str(error))
            raise ExchangeError("invalid_dpop_proof", "the DPoP proof is not good") from error

    def _refuse(self, request: Request, address: str, failure: Failure) -> None:
        if failure.check(CancelledError) is not None:
            return  # the caller is gone
        error = failure.value
        if not isinstance(error, ExchangeError):
            log.failure("an exchange broke", failure)
            _finish(request, 500, {"error": "server_error"})
            return
        if not self._refused.charge(address, 1.0, self._exchange.parts.now()):
            error = ExchangeError("slow_down", "too many bad requests from this address")
        status = _STATUS.get(error.code, 400)
        if status != 400:
            request.setHeader(b"retry-after", b"5")
        _finish(request, status, {"error": error.code, "error_description": error.text})


def _finish(request: Request, status: int, body: Mapping[str, Any]) -> None:
    request.setResponseCode(status)
    request.write(json.dumps(body).encode())
    request.finish()
