"""Endpoints that take a form and answer with JSON, as OAuth has them, for `twisted.web`.

Nothing that comes in or goes out is logged, and no cache may keep an answer. What one address may
get is limited, and so are its refusals, each by itself: who is refused again and again keeps
nobody out at the same address, as behind a proxy. What all addresses together get is limited too,
as each answer is written to the disk: the rest of control must have its turn.

References: RFC 6749 section 5, RFC 9449 section 5.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from hoopgw.errors import AuthenticationError
from hoopgw.identity.dpop import ProvedKey, check_proof
from hoopgw.identity.rate import RateLimit
from hoopgw.identity.refusals import ExchangeError

log = Logger()

BODY_LIMIT: Final = 64 * 1024
_FIELDS_LIMIT: Final = 24
_WAITING_LIMIT: Final = 64
"""Requests that may wait for an issuer at once."""
_STATUS: Final = {
    "access_denied": 403,
    "invalid_client": 401,
    "slow_down": 429,
    "temporarily_unavailable": 503,
}
_LATER: Final = ("slow_down", "temporarily_unavailable")
_FORM: Final = b"application/x-www-form-urlencoded"


@define(eq=False)
class FormLimits:
    """What the endpoints of one gateway give and refuse; they share it."""

    given: RateLimit = field(factory=lambda: RateLimit(burst=300.0, per_second=5.0))
    """To one address."""
    given_to_all: RateLimit = field(factory=lambda: RateLimit(burst=1000.0, per_second=100.0))
    refused: RateLimit = field(factory=lambda: RateLimit(burst=30.0, per_second=0.5))
    """For one address."""
    waiting: int = field(default=0, init=False)

    def check(self, address: str, now: float) -> None:
        """See that an address may be given something. Raises `ExchangeError`."""
        if not self.given.allows(address, 1.0, now):
            raise ExchangeError("slow_down", "too many tokens were given to this address")
        if not self.given_to_all.allows("", 1.0, now):
            raise ExchangeError("temporarily_unavailable", "too many tokens are asked for")
        if self.waiting >= _WAITING_LIMIT:
            raise ExchangeError("temporarily_unavailable", "too many requests wait")

    def charge(self, address: str, now: float) -> None:
        """Note that an address was given something."""
        self.given.charge(address, 1.0, now)
        self.given_to_all.charge("", 1.0, now)


@frozen(kw_only=True)
class FormCall:
    """A request that was read."""

    values: Mapping[str, str] = field(repr=False)
    """The parameters, each once."""
    address: str
    path: str
    header: Callable[[str], str | None] = field(repr=False)
    """Gives a header; raises `ExchangeError` if it is there more than once."""
    proved: ProvedKey | None = None
    """The key that the request has proved, with no token; None if a token is shown with it."""


class Nothing(dict[str, Any]):
    """An answer by which nothing was given or done: it costs its address what a refusal does."""


Answer: TypeAlias = Callable[[FormCall], Awaitable[Mapping[str, Any]]]


class FormEndpoint(Resource):
    """One endpoint, ``POST`` only.

    Args:
        answer: answers a call; raises `ExchangeError`.
        url: of the endpoint, as callers write it: proofs name it.
        now: seconds since the epoch.
        limits: shared with other endpoints.

    """

    isLeaf = True

    def __init__(
        self, answer: Answer, url: str, now: Callable[[], float], limits: FormLimits
    ) -> None:
        Resource.__init__(self)
        self._ask = answer
        self._url = url
        self._now = now
        self._limits = limits

    def render_POST(self, request: Request) -> int:
        """Answer, now or later."""
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
        answer.addErrback(lambda failure: log.failure("answering a form failed", failure))
        return NOT_DONE_YET

    async def _answer(self, request: Request, address: str) -> Mapping[str, Any]:
        limits = self._limits
        limits.check(address, self._now())
        call = self._read(request, address)
        limits.waiting += 1
        try:
            answer = await self._ask(call)
        finally:
            limits.waiting -= 1
        if not isinstance(answer, Nothing):
            limits.charge(address, self._now())
        elif not limits.refused.charge(address, 1.0, self._now()):
            raise ExchangeError("slow_down", "too many requests for nothing from this address")
        return answer

    def _read(self, request: Request, address: str) -> FormCall:
        def header(name: str) -> str | None:
            values = request.requestHeaders.getRawHeaders(name.encode("ascii"), [])
            if len(values) > 1:
                raise ExchangeError("invalid_request", f"the header {name} is there twice")
            return values[0].decode("ascii", "replace") if values else None

        values = _values(request)
        shown = header("authorization") is not None
        return FormCall(
            values=values,
            address=address,
            path=request.path.decode("ascii", "replace"),
            header=header,
            proved=None if shown else self._proved(request),
        )

    def _proved(self, request: Request) -> ProvedKey | None:
        proofs = request.requestHeaders.getRawHeaders(b"dpop", [])
        if not proofs:
            return None
        try:
            if len(proofs) > 1:
                raise AuthenticationError("more than one DPoP proof")
            proof = proofs[0].decode("ascii", "replace")
            return check_proof(proof, "POST", self._url, self._now())
        except AuthenticationError as error:
            log.info("a DPoP proof was refused: {why}", why=str(error))
            raise ExchangeError("invalid_dpop_proof", "the DPoP proof is not good") from error

    def _refuse(self, request: Request, address: str, failure: Failure) -> None:
        if failure.check(CancelledError) is not None:
            return  # the caller is gone
        error = failure.value
        if not isinstance(error, ExchangeError):
            log.failure("answering a form broke", failure)
            _finish(request, 500, {"error": "server_error"})
            return
        if not self._limits.refused.charge(address, 1.0, self._now()):
            error = ExchangeError("slow_down", "too many bad requests from this address")
        if error.code in _LATER:
            request.setHeader(b"retry-after", b"5")
        if error.code == "invalid_client":
            request.setHeader(b"www-authenticate", b'DPoP error="invalid_token"')
        status = _STATUS.get(error.code, 400)
        _finish(request, status, {"error": error.code, "error_description": error.text})


def _values(request: Request) -> dict[str, str]:
    """Return the parameters of a form, each once."""
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
    return values


def _finish(request: Request, status: int, body: Mapping[str, Any]) -> None:
    request.setResponseCode(status)
    request.write(json.dumps(body).encode())
    request.finish()
