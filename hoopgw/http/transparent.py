"""A listener for clients that mean others' hosts: a proxy over HTTPS, or their names lead here.

There are two ways in, on one port:

- **CONNECT.** The client speaks TLS to the gateway's own name, asks for a host of the list, and
  shows a gateway token as the proxy's password. Without a credential it may come in plain HTTP,
  too: then nothing but what it shows inside says who it is. A credential outside TLS is refused.
- **Names that lead here** (``direct = true``): the client means a host of the list by SNI.

Either way its TLS to that host ends here, with a certificate of the interception CA, and what it
asks there is served as at any door: same callers, decisions, records. The host that was asked for,
the one of SNI and ``Host`` are the same, or nothing is served. There is no way through to any other
host; nothing is ever connected to by a name that a client has given.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Final, Literal, cast

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import ConfigError
from hoopgw.http.callers import ACCOUNT, Callers, LoggedIn
from hoopgw.http.connect import (
    HEAD_LIMIT,
    LINE_LIMIT,
    Connect,
    Credential,
    Page,
    ProxyRefusedError,
    parse_opening,
)
from hoopgw.http.errors import MessageError
from hoopgw.http.exchange import Exchange
from hoopgw.http.gateway import Connection, HttpsFactory, Sites
from hoopgw.http.intake import Intake
from hoopgw.http.messages import NO_HEADERS, Pair, RequestHead
from hoopgw.http.model import status_of
from hoopgw.http.server import ServerConnection
from hoopgw.http.sessions import Site
from hoopgw.http.wire import encode_response
from hoopgw.identity.rate import RateLimit
from hoopgw.sessions.refusals import Refusal, RefusedError
from hoopgw.spi import GatewayContext
from hoopgw.transport import DataTransport

log = Logger()

OPENING: Final = 20.0
"""Seconds from the connection to the answer to CONNECT, TLS and verification included."""
DOCUMENT: Final = "/.well-known/hoopgw-proxy"
"""Page of the proxy's own name: what clients are to be told."""
REFUSED_BURST: Final = 60.0
"""Bad credentials of one address at once; one more each second."""
LAST: Final = 5.0
"""Seconds before its end at which a credential's tunnel takes no more requests."""
_TLS: Final = 0x16
"""First byte of a TLS record that holds a handshake (RFC 8446, section 5.1)."""
_OPENED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_HTTPS_PORT: Final = ":443"
_WITH_BODY: Final = frozenset({"PUT", "POST", "PATCH"})


class HostSites(Sites, typing.Protocol):
    """What a transparent listener serves."""

    @property
    def hosts(self) -> Collection[str]:
        """Every host that it answers for."""
        ...

    def site_of(self, host: str) -> Site | None:
        """Return the target that a host is; None for a page of the gateway's own."""
        ...

    def asks_first(self, host: str) -> bool:
        """Say whether a host's clients send a request without proof and body first, to be refused.

        They learn from the refusal how to log in, and would take any other answer for the one to
        the whole request.
        """
        ...

    def document(self) -> Mapping[str, Any]:
        """Return what clients are told of the hosts."""
        ...


@define(eq=False)
class TunnelCallers:
    """Who sends a request through the proxy: both credentials, and they must agree.

    Implements what `Connection` asks of `Callers`.
    """

    _callers: Callers
    """Of the connection; it knows what the proxy was shown."""
    _shown: Credential
    _outer: LoggedIn
    _asks_first: bool
    last: None = field(default=None, init=False)
    """No request goes straight: each is compared."""
    _is_new: bool = field(default=True, init=False)

    @property
    def ends(self) -> float:
        """Until when the proxy's credential is good; seconds since the epoch."""
        return self._callers.ends(self._outer)

    async def identify(
        self, head: RequestHead, target: str, account: str, lives: Callable[[LoggedIn], bool]
    ) -> LoggedIn:
        """Return who sends a request; see `Callers.identify`."""
        if head.headers.all(b"authorization"):
            login = await self._callers.identify(head, target, account, lives)
            self._check(login)
            return login
        if self._asks_first and head.method in _WITH_BODY and not _has_body(head):
            text = "a token of hoopgw is needed with a request that has no body yet"
            raise RefusedError(Refusal(kind="unauthenticated", text=text))
        if self._is_new:
            # What is good once was used for CONNECT, and there is no session by it yet.
            self._is_new = False
            return await self._callers.identify(
                as_request(self._shown, head), target, account, lambda _login: True
            )
        return await self._callers.identify(as_request(self._shown, head), target, account, lives)

    def _check(self, login: LoggedIn) -> None:
        inner, outer = login.principal, self._outer.principal
        if (inner.lineage, [hop.id for hop in inner.chain]) != (
            outer.lineage,
            [hop.id for hop in outer.chain],
        ):
            text = "the proxy's credential and the request's are of different callers"
            raise RefusedError(Refusal(kind="denied", text=text))
        if self._shown.account and login.account != self._shown.account:
            text = "the proxy's credential and the request's are for different accounts"
            raise RefusedError(Refusal(kind="denied", text=text))


def as_request(shown: Credential, head: RequestHead) -> RequestHead:
    """Return a request as if it had shown what the proxy was shown. Raises `RefusedError`."""
    fields: list[Pair] = [(b"Authorization", b"Bearer " + shown.token)]
    if shown.account:
        said = head.headers.all(ACCOUNT)
        if any(each != shown.account.encode() for each in said):
            text = "X-Hoopgw-Account names another account than the proxy's user"
            raise RefusedError(Refusal(kind="denied", text=text))
        if not said:
            fields.append((ACCOUNT, shown.account.encode()))
    return RequestHead(head.method, head.target, head.headers.added(*fields), head.version)


class TunnelConnection(Connection):
    """A client's connection to one host of the list; its TLS is begun by who makes it."""

    host: str

    def secure(self) -> None:
        """Do nothing: the certificate of that host is shown already, or is about to be."""


class TransparentFactory(HttpsFactory):
    """Accepts clients that mean others' hosts.

    Args:
        context: of the gateway.
        sites: of the protocol.

    Raises (when made):
        ConfigError: the listener's options make no sense.

    """

    def __init__(self, context: GatewayContext, sites: HostSites) -> None:
        super().__init__(context, sites)
        self.listed = sites
        self.direct = _flag(context.listener, "direct")
        self.demands = _flag(context.listener, "require_credential")
        self.refused = RateLimit(REFUSED_BURST, 1.0)
        self.openings: set[Opening] = set()
        tls: Any = context.tls
        tls.num_tickets = 0  # what is resumed was begun elsewhere, perhaps for another name
        tls.sni_callback = self._choose

    def _choose(self, connection: Any, name: str | None, _context: Any) -> None:
        """Show the certificate of a host of the list, where names lead here."""
        if self.direct and name is not None and (leaf := self.leaf(name.lower())) is not None:
            connection.context = leaf

    def leaf(self, host: str) -> Any:
        """Return the TLS context of a host of the list, or None."""
        return self.context.leaves.context(host) if host in self.listed.hosts else None

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Make a connection's protocol; None if there are too many."""
        address = str(getattr(addr, "host", ""))
        if not self._doors.enter(address):
            log.warn("too many clients are connected", address=address)
            return None
        opening = Opening(self, address)
        self.openings.add(opening)
        return opening

    def tunnel(self, host: str, address: str) -> TunnelConnection:
        """Make the protocol of a client that has been let through to a host."""

        def lost(connection: ServerConnection) -> None:
            self.connections.discard(connection)
            self._doors.leave(address)

        connection = TunnelConnection(
            self._handle,
            self.context.clock,
            self._limits,
            self._timeouts,
            self._refuse_malformed,
            lost,
        )
        connection.own, connection.host = self, host
        self.connections.add(connection)
        return connection

    def left(self, opening: Opening) -> None:
        """Take note that a client has gone before it was let through."""
        self._doors.leave(opening.address)

    async def _handle(self, exchange: Exchange) -> None:
        """Answer a request within a tunnel, if it is for the tunnel's host."""
        connection = cast("TunnelConnection", exchange.connection)
        if exchange.head.host.removesuffix(_HTTPS_PORT) != connection.host:
            text = "Host is not the host that this connection was opened for"
            self._refuse_here(exchange, text, 421)
        elif exchange.head.method == "CONNECT":
            self._refuse_here(exchange, "there is no proxy inside of the proxy", 405)
        else:
            await super()._handle(exchange)

    def _refuse_here(self, exchange: Exchange, text: str, status: int) -> None:
        refusal = Refusal(kind="malformed", text=text, status=status)
        exchange.respond(self.sites.refuse(exchange.head, refusal))
        cast("TunnelConnection", exchange.connection).stop()

    def count(self, name: Literal["opened", "refused"]) -> None:
        """Count a CONNECT, for ``/metrics``."""
        self.context.counters[f"proxy_connections_{name}_total"] += 1


class Opening(Protocol):
    """A client of which it is not known yet which host it wants."""

    def __init__(self, own: TransparentFactory, address: str) -> None:
        self._own = own
        self.address = address
        self._intake = Intake()
        self._is_read = False
        self._is_over = False
        self._task: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Wait for TLS, or for CONNECT."""
        self._wire = cast("DataTransport", self.transport)
        clock = self._own.context.clock
        self._deadline = clock.callLater(OPENING, self._wire.abortConnection)

    def handshakeCompleted(self) -> None:
        """Go on with HTTP at once, if the client means a host of the list."""
        tls: Any = self._wire.tls
        host = getattr(tls.context, "host", None)
        if isinstance(host, str):
            self._hand_over(host)

    def dataReceived(self, data: Any) -> None:
        """Read up to the end of one head."""
        if self._is_read:
            return
        if self._wire.tls is None and not self._intake.unread and data[0] == _TLS:
            tls = self._own.context.tls
            self._wire.startTLS(tls, server_side=True, received=bytes(data))
            return
        try:
            self._intake.receive(data)
            block = self._intake.block(HEAD_LIMIT, LINE_LIMIT)
        except MessageError as error:
            self._refuse(error.status, str(error))
            return
        finally:
            self._intake.keep()
        if block is None:
            return
        self._is_read = True
        self._wire.pauseProducing()
        self._own.context.clock.callLater(0, self._begin, block, bytes(self._intake.take_all()))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget it."""
        self._finish()
        if self._task is not None:
            self._task.cancel()
        self._own.left(self)

    def _finish(self) -> None:
        self._is_over = True
        self._own.openings.discard(self)
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    # What was asked

    def _begin(self, block: bytes, rest: bytes) -> None:
        if self._is_over:
            return
        self._task = Deferred.fromCoroutine(self._answer(block, rest))
        self._task.addErrback(self._failed)

    async def _answer(self, block: bytes, rest: bytes) -> None:
        try:
            asked = parse_opening(block)
            if isinstance(asked, Page):
                self._page(asked)
                return
            await self._connect(asked, rest)
        except MessageError as error:
            self._refuse(error.status, str(error))
        except RefusedError as error:
            self._refuse(status_of(error.refusal), error.refusal.text)

    async def _connect(self, asked: Connect, rest: bytes) -> None:
        """Let a client through. Raises `MessageError`, `RefusedError`."""
        own, host, shown = self._own, asked.host, asked.credential
        if shown is not None and self._wire.tls is None:
            raise ProxyRefusedError(
                "a token was sent in clear: it counts as stolen, so revoke it. Use this proxy by "
                "https:// (HTTPS_PROXY=https://...), or run `hoopgw proxy`"
            )
        if host not in own.listed.hosts:
            raise ProxyRefusedError("this proxy does not connect to that host")
        leaf = own.leaf(host)
        if leaf is None:
            text = "the certificate for this host is not there yet"
            raise RefusedError(Refusal(kind="unavailable", text=text, retry_after=5))
        site = own.listed.site_of(host)
        if shown is None and own.demands and site is not None:
            raise self._unproved("a gateway token is needed as the proxy's password")
        callers = None
        if shown is not None and site is not None:
            callers = await self._identify(shown, site, host)
        if not self._is_over:
            own.count("opened")
            connection = self._hand_over(host, leaf, rest)
            if callers is not None:
                connection.callers = callers
                self._end_with(connection, callers.ends)

    async def _identify(self, shown: Credential, site: Site, host: str) -> TunnelCallers:
        """Return who a credential stands for. Raises `RefusedError`."""
        own = self._own
        now = own.context.clock.seconds()
        if not own.refused.allows(self.address, 1.0, now):
            text = "too many bad credentials from this address: wait a moment"
            raise RefusedError(Refusal(kind="unavailable", text=text, status=429, retry_after=5))
        callers = Callers(own.context, self._wire)
        head = as_request(shown, RequestHead("CONNECT", "/", NO_HEADERS))
        try:
            login = await callers.identify(
                head, site.target.name, site.account, lambda _login: True
            )
        except RefusedError as error:
            if error.refusal.kind != "unauthenticated":
                raise
            own.refused.charge(self.address, 1.0, now)
            raise self._unproved("the proxy's credential is not good for this host") from error
        return TunnelCallers(callers, shown, login, own.listed.asks_first(host))

    def _unproved(self, text: str) -> RefusedError:
        """Return a refusal that asks for a credential, but never for one in clear."""
        status = 403 if self._wire.tls is None else 407
        if status == 403:
            text += ": use the proxy by https://"
        return RefusedError(Refusal(kind="unauthenticated", text=text, status=status))

    def _hand_over(self, host: str, leaf: Any = None, rest: bytes = b"") -> TunnelConnection:
        """Give the transport to the protocol that serves a host."""
        wire = self._wire
        self._finish()
        connection = self._own.tunnel(host, self.address)
        if leaf is not None:
            wire.write(_OPENED)
            wire.protocol = connection
            wire.startTLS(leaf, server_side=True, received=rest)
        wire.protocol = connection
        cast("Any", connection).makeConnection(wire)
        wire.resumeProducing()
        return connection

    def _end_with(self, connection: TunnelConnection, ends: float) -> None:
        """Take no more requests once the credential is over; the client connects again."""
        clock = self._own.context.clock
        clock.callLater(max(0.0, ends - LAST - clock.seconds()), partial(_stop, connection))

    # What is said

    def _page(self, page: Page) -> None:
        own = self._own
        if page.path != DOCUMENT or self._wire.tls is None:
            self._refuse(404, "this is a proxy; its only page is for hoopgw's own commands")
            return
        told = {**own.listed.document(), "ca": own.context.leaves.authorities}
        self._say(200, json.dumps(told).encode(), b"application/json")

    def _refuse(self, status: int, text: str) -> None:
        self._own.count("refused")
        self._say(status, f"hoopgw: {text}\n".encode(), b"text/plain; charset=utf-8")

    def _say(self, status: int, body: bytes, kind: bytes) -> None:
        """Answer, and close."""
        self._is_read = True
        pairs: list[Pair] = [
            (b"Content-Type", kind),
            (b"Content-Length", b"%d" % len(body)),
            (b"Connection", b"close"),
        ]
        if status == 407:
            pairs.append((b"Proxy-Authenticate", b'Basic realm="hoopgw", charset="UTF-8"'))
        self._wire.write(encode_response(status, pairs) + body)
        self._wire.loseConnection()

    def _failed(self, failure: Failure) -> None:
        if not self._is_over:
            log.failure("a connection through the proxy could not be opened", failure)
            self._wire.abortConnection()


def _has_body(head: RequestHead) -> bool:
    return bool(head.content_length) or b"transfer-encoding" in head.headers


def _stop(connection: TunnelConnection) -> None:
    if not connection.is_lost:
        connection.stop()


def _flag(options: Mapping[str, Any], name: str) -> bool:
    value = options.get(name, False)
    if type(value) is not bool:
        raise ConfigError(f"listeners.{name}: expected true or false")
    return value
