"""HTTP for `hoopgw.identity.keys` and `hoopgw.identity.graph`: an edge without decisions.

No redirect is followed, no compression asked for, no connection kept, no proxy of the environment
used, and a body over the limit ends the connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    FileBodyProducer,
    HTTPConnectionPool,
    ResponseDone,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS, IResponse
from zope.interface import implementer

from hoopgw.errors import ConfigError, UnavailableError
from hoopgw.identity.graph import Reply
from hoopgw.identity.keys import DEADLINE, DOCUMENT_LIMIT
from hoopgw.identity.settings import GraphSettings, IssuerSettings

_HEADERS: Final = {b"accept": [b"application/json"], b"user-agent": [b"hoopgw"]}


class _Body(Protocol):
    """Collects a body, up to the limit. Cancelling ``done`` closes the connection."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _done: self.close())
        self._data = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > DOCUMENT_LIMIT:
            self._fail(f"the document is longer than {DOCUMENT_LIMIT} bytes")
            self.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ResponseDone) is None:
            self._fail("the document ended early")
        elif not self.done.called:
            self.done.callback(bytes(self._data))

    def close(self) -> None:
        if self.transport is not None:  # a `TransportProxyProducer`, which cannot abort
            self.transport.loseConnection()

    def _fail(self, why: str) -> None:
        if not self.done.called:
            self.done.errback(UnavailableError(why))


@implementer(IPolicyForHTTPS)
@define(eq=False)
class _OwnRoots:
    """Trusts the certificates of one file, and none of the system's."""

    _roots: list[Certificate] = field(repr=False)

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        """Return the TLS options for a host."""
        return optionsForClientTLS(
            hostname.decode("ascii"), trustRoot=trustRootFromCertificates(self._roots)
        )


def make_fetch(settings: IssuerSettings, reactor: IReactorTCP) -> HttpFetch:
    """Return what fetches the documents of an issuer.

    Raises:
        ConfigError: its ``ca`` file cannot be read.

    """
    return HttpFetch(_agent(settings.ca, reactor))


def make_ask(settings: GraphSettings | IssuerSettings, reactor: IReactorTCP) -> HttpAsk:
    """Return what asks Microsoft Graph, or an issuer; see `make_fetch`."""
    return HttpAsk(_agent(settings.ca, reactor))


def _agent(ca: Path | None, reactor: IReactorTCP) -> Agent:
    policy = BrowserLikePolicyForHTTPS() if ca is None else _OwnRoots(_roots(ca))
    pool = HTTPConnectionPool(reactor, persistent=False)
    return Agent(reactor, policy, connectTimeout=DEADLINE, pool=pool)


def _roots(path: Path) -> list[Certificate]:
    try:
        blocks = path.read_bytes().split(b"-----BEGIN CERTIFICATE-----")[1:]
        roots = [Certificate.loadPEM(b"-----BEGIN CERTIFICATE-----" + block) for block in blocks]
    except Exception as error:  # pyOpenSSL's own error type is no part of its promise
        raise ConfigError(f"{path}: cannot be read as PEM certificates: {error}") from error
    if not roots:
        raise ConfigError(f"{path}: no certificate in it")
    return roots


@define(eq=False)
class HttpFetch:
    """Implements `hoopgw.identity.keys.Fetch`."""

    _agent: Agent

    def __call__(self, url: str, /) -> Deferred[bytes]:
        """Return the body of a 200 answer; fails with `UnavailableError` otherwise."""
        return Deferred.fromCoroutine(self._get(url))

    async def _get(self, url: str) -> bytes:
        response = await _request(self._agent, "GET", url, Headers(_HEADERS), None)
        body = _Body()
        response.deliverBody(body)
        if response.code != 200:
            body.done.addErrback(lambda _failure: None)  # nobody wants this body
            body.close()
            raise UnavailableError(f"{url} answered {response.code}, and not 200")
        return await body.done


@define(eq=False)
class HttpAsk:
    """Implements `hoopgw.identity.graph.Ask`."""

    _agent: Agent

    def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, /
    ) -> Deferred[Reply]:
        """Return the answer, whatever its status; fails with `UnavailableError`."""
        return Deferred.fromCoroutine(self._send(method, url, headers, body))

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Reply:
        sent = Headers(_HEADERS)
        for name, value in headers.items():
            sent.setRawHeaders(name, [value])
        response = await _request(self._agent, method, url, sent, body)
        received = _Body()
        response.deliverBody(received)
        wait = response.headers.getRawHeaders(b"retry-after", [b""])[0]
        seconds = float(wait) if wait.isdigit() and len(wait) < 8 else None
        return Reply(response.code, await received.done, seconds)


async def _request(
    agent: Agent, method: str, url: str, headers: Headers, body: bytes | None
) -> IResponse:
    producer = None if body is None else FileBodyProducer(BytesIO(body))
    try:
        return await agent.request(method.encode(), url.encode("ascii"), headers, producer)
    except CancelledError:
        raise
    except Exception as error:  # of the network, DNS, TLS or HTTP: Twisted has many
        place = url.partition("?")[0]
        raise UnavailableError(f"no answer from {place}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return what happened, out of Twisted's lists of failures."""
    reasons = getattr(error, "reasons", None)
    return str(reasons[0].value if reasons else error)[:200]
