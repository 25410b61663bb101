"""HTTP of the control process: requests within limits, JSON in and out, errors that say why.

Knows no store and no policy. A failure of ours answers 500 with nothing of its inside, is logged,
and ends nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

import msgspec
from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from hoopgw.errors import HoopgwError, UnavailableError
from hoopgw.identity.rate import network_of

log = Logger()

BODY_LIMIT: Final = 256 * 1024
"""Bytes of a request's body; the largest is a form with two tokens in it."""
IDLE_TIMEOUT: Final = 30.0
"""Seconds that a connection may be without a request, that a request may take to arrive as a whole
once its first line has, and that the last answer may take to be read."""
CONNECTIONS_LIMIT: Final = 500
CONNECTIONS_LIMIT_ADDRESS: Final = 100
"""Connections from one address: whoever has many there cannot keep others out."""
_FIELDS_LIMIT: Final = 20

Json: TypeAlias = Mapping[str, Any]


class ApiError(HoopgwError):
    """An answer other than 200. The detail is for the caller."""

    def __init__(self, status: int, error: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.error = error
        self.detail = detail


class BoundedChannel(http.HTTPChannel):
    """One connection, whose peer has a fixed time for each request, however it spreads its bytes.

    Twisted's own timeout begins anew with each byte, so that a byte now and then holds a connection
    for ever; and there is none once the last answer was written.
    """

    _too_long = False

    def resetTimeout(self) -> None:
        """Do not begin anew: more bytes are no new request."""

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a header that is too long: Twisted would close without a word."""
        if self._too_long:
            return  # more of the same line
        self._too_long = True
        body = b'{"error":"too_large","detail":"a header of the request is too long"}'
        transport: Any = self.transport
        transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        self.timeoutConnection()  # type: ignore[no-untyped-call]  # closes, and aborts if need be

    def requestDone(self, request: http.Request) -> None:
        """Bound how long the peer may take to read the last answer."""
        super().requestDone(request)  # type: ignore[no-untyped-call]  # Twisted's is not typed
        if not self.persistent:
            self.setTimeout(IDLE_TIMEOUT)  # type: ignore[no-untyped-call]  # as above


class BoundedRequest(Request):
    """A request whose body is no longer than `BODY_LIMIT`, however it is sent."""

    _size = 0
    _refused = False

    def __init__(self, channel: http.HTTPChannel, queued: Any = None) -> None:
        super().__init__(channel, queued)  # type: ignore[no-untyped-call]  # as above
        channel.setTimeout(IDLE_TIMEOUT)

    def gotLength(self, length: int | None) -> None:
        """Refuse what says that it is too long; keep the rest in memory, not in a file."""
        super().gotLength(0)  # type: ignore[no-untyped-call]  # as above
        if length is not None and length > BODY_LIMIT:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """Refuse what turns out to be too long."""
        self._size += len(data)
        if self._size > BODY_LIMIT and not self._refused:
            self._refuse()
        if not self._refused:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]  # as above

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Process the request, unless it was answered already."""
        if not self._refused:
            super().requestReceived(  # type: ignore[no-untyped-call]  # as above
                command, path, version
            )

    def _refuse(self) -> None:
        self._refused = True
        body = b'{"error":"too_large","detail":"the request is too long"}'
        channel: Any = self.channel  # an HTTPChannel, whose transport is there
        channel.transport.write(
            b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        channel.timeoutConnection()  # closes, and aborts if the peer goes on sending


class ControlSite(Site):
    """The site: HTTP/1.1 only, and a log line without queries."""

    protocol = BoundedChannel  # type: ignore[assignment]  # HTTP/2's upgrade is not wanted
    requestFactory = BoundedRequest  # type: ignore[assignment]  # it is what Site says it is
    noisy = False

    def __init__(self, root: IResource, reactor: Any) -> None:
        super().__init__(  # type: ignore[no-untyped-call]  # Twisted's is not typed
            root, timeout=IDLE_TIMEOUT, reactor=reactor, parsePOSTFormSubmission=False
        )

    def acceptableProtocols(self) -> list[bytes]:
        """Offer no HTTP/2: its limits are others."""
        return [b"http/1.1"]

    def log(self, request: http.Request) -> None:
        """Say what was asked; `request.path` has no query."""
        log.info(
            "{method} {path} {code}",
            method=request.method.decode("ascii", "replace")[:16],
            path=request.path.decode("ascii", "replace")[:200],
            code=request.code,
            address=client_address(request),
        )


class BoundedConnections(WrappingFactory):
    """Takes no more than `CONNECTIONS_LIMIT` connections, handshakes included."""

    noisy = False
    _drained: Deferred[None] | None = None

    def __init__(self, wrapped: Any) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]  # as above
        self._from: dict[Any, str] = {}

    def buildProtocol(self, addr: Any) -> Any:
        """Refuse a connection that is one too many, by closing it."""
        source = network_of(str(getattr(addr, "host", "")))
        same = sum(other == source for other in self._from.values())
        if len(self._from) >= CONNECTIONS_LIMIT or same >= CONNECTIONS_LIMIT_ADDRESS:
            log.warn("too many connections, {same} from {source}", same=same, source=source)
            return None
        connection = super().buildProtocol(addr)
        self._from[connection] = source
        return connection

    def unregisterProtocol(self, p: Any) -> None:
        """Note that a connection is gone."""
        super().unregisterProtocol(p)  # type: ignore[no-untyped-call]  # as above
        self._from.pop(p, None)
        if not self.protocols and self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def close_all(self) -> Deferred[None]:
        """Close every connection at once; fires when they are gone."""
        if not self.protocols:
            return succeed(None)
        self._drained = Deferred()
        drained = self._drained
        for connection in list(self.protocols):
            connection.abortConnection()
        return drained


def over_tls(site: Site, tls: Any) -> BoundedConnections:
    """Return what serves a site over TLS, from a connection creator."""
    secured = TLSMemoryBIOFactory(tls, False, site)
    secured.noisy = False
    return BoundedConnections(secured)


def client_address(request: http.Request) -> str:
    """Return the address that a request came from."""
    return str(getattr(request.getClientAddress(), "host", ""))


@frozen(kw_only=True)
class Call:
    """A request, read and checked."""

    method: str
    path: tuple[str, ...]
    """What the stars of the route stood for."""
    query: Mapping[str, str]
    body: Mapping[str, Any] = field(repr=False)
    address: str
    header: Callable[[str], str | None] = field(repr=False)
    """Gives a header; raises `ApiError` if it is there more than once."""
    url_path: str
    """The whole path, for proofs that name it."""


Answer: TypeAlias = Json | Awaitable[Json]
Explain: TypeAlias = Callable[[Exception], ApiError | None]


@frozen
class Route:
    """One thing that can be asked for."""

    method: str
    path: str
    """As ``requests/*/approve``: a star is one segment that is not empty."""
    answer: Callable[[Call], Answer]
    status: int = 200

    def match(self, segments: Sequence[str]) -> tuple[str, ...] | None:
        """Return what the stars stand for, if the path is this route's."""
        wanted = self.path.split("/")
        if len(wanted) != len(segments):
            return None
        pairs = list(zip(wanted, segments, strict=True))
        if any(segment != want and (want != "*" or not segment) for want, segment in pairs):
            return None
        return tuple(segment for want, segment in pairs if want == "*")


class JsonRoutes(Resource):
    """Serves routes below one path.

    Args:
        routes: in any order; no two match the same.
        explain: turns exceptions of the routes into answers.

    """

    isLeaf = True

    def __init__(self, routes: Sequence[Route], explain: Explain = lambda _error: None) -> None:
        Resource.__init__(self)
        self._routes = routes
        self._explain = explain

    def render(self, request: Request) -> int:
        """Answer, now or later."""
        answer = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(lambda _failure: answer.cancel())
        answer.addErrback(lambda failure: self._failed(request, failure))
        answer.addErrback(lambda failure: log.failure("answering a request failed", failure))
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        segments = [segment.decode("utf-8", "replace") for segment in request.postpath or []]
        route, stars = self._find(request.method.decode("ascii", "replace"), segments)
        answer = route.answer(read_call(request, stars))
        body = answer if isinstance(answer, Mapping) else await answer
        send_json(request, route.status, body)

    def _find(self, method: str, segments: Sequence[str]) -> tuple[Route, tuple[str, ...]]:
        there = [(route, route.match(segments)) for route in self._routes]
        matching = [(route, stars) for route, stars in there if stars is not None]
        if not matching:
            raise ApiError(404, "not_found", "there is nothing at this path")
        for route, stars in matching:
            if route.method == method:
                return route, stars
        allowed = ", ".join(sorted(route.method for route, _ in matching))
        raise ApiError(405, "method_not_allowed", f"this path takes: {allowed}")

    def _failed(self, request: Request, failure: Failure) -> None:
        if failure.check(CancelledError) is not None:
            return  # the caller is gone
        error = failure.value
        known = error if isinstance(error, ApiError) else None
        if known is None and isinstance(error, Exception):
            known = self._explain(error)
        if known is None and isinstance(error, UnavailableError):
            known = ApiError(503, "unavailable", str(error))
        if known is None:
            log.failure("a request broke", failure)
            known = ApiError(500, "internal", "the gateway failed; its log says why")
        if known.status == 401:
            request.setHeader(b"www-authenticate", b'Bearer error="invalid_token"')
        send_json(request, known.status, {"error": known.error, "detail": known.detail})


def send_json(request: Request, status: int, body: Json) -> None:
    """Answer with JSON that no cache keeps."""
    data = msgspec.json.encode(body)
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"content-length", b"%d" % len(data))
    request.setHeader(b"cache-control", b"no-store")
    request.setHeader(b"x-content-type-options", b"nosniff")
    request.write(data)
    request.finish()


def read_call(request: Request, stars: tuple[str, ...]) -> Call:
    """Read a request.

    Raises:
        ApiError: it is malformed.

    """

    def header(name: str) -> str | None:
        values = request.requestHeaders.getRawHeaders(name.encode("ascii"), [])
        if len(values) > 1:
            raise ApiError(400, "invalid_request", f"the header {name} is there twice")
        return values[0].decode("utf-8", "replace") if values else None

    return Call(
        method=request.method.decode("ascii", "replace"),
        path=stars,
        query=_query(request.uri.partition(b"?")[2]),
        body=_body(request) if request.method in (b"POST", b"PUT", b"PATCH") else {},
        address=client_address(request),
        header=header,
        url_path=request.path.decode("ascii", "replace"),
    )


def read_body(request: Request) -> bytes:
    """Return a request's body, which `BoundedRequest` has bounded."""
    assert request.content is not None  # read before a resource is called
    request.content.seek(0)
    data: bytes = request.content.read(BODY_LIMIT)
    return data


def _query(text: bytes) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(
            text.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_FIELDS_LIMIT,
        )
    except ValueError as error:
        raise ApiError(400, "invalid_request", "the query cannot be read") from error
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ApiError(400, "invalid_request", "a parameter is there twice")
    return values


def _body(request: Request) -> Mapping[str, Any]:
    data = read_body(request)
    if not data:
        return {}
    kind = (request.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise ApiError(415, "invalid_request", "the body must be application/json")
    try:
        body = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, "invalid_request", "the body is no JSON") from error
    if not isinstance(body, dict):
        raise ApiError(400, "invalid_request", "the body must be a JSON object")
    return body
