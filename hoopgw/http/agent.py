"""The leg that faces an HTTPS target, in the agent: it adds the credential to each request.

What comes from the gateway is read as strictly as what comes from a client: the agent believes
neither. Whoever a request says to come from, the agent takes that out, and puts in the credential
that it holds for the account. Host and scope of that are the agent's own configuration.

A target's options, in the agent's own configuration:

``tls``    ``verify-full`` (the default), or ``disable``, for a target on loopback or a unix socket
``ca``     PEM file of the certificate authorities to trust, instead of the system's
``host``   name to ask for and to verify, if it is not the address's
``header`` the field for accounts whose ``auth`` is ``header``: ``X-Api-Key``
``auth``   account to ``token`` (Entra), ``bearer``, ``basic`` (``user:password``), ``header``,
           ``cert`` (certificate and key), ``peer`` (none)
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, cast

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import ConfigError, LinkError, UnavailableError
from hoopgw.http.messages import Pair
from hoopgw.http.outbound import Outbound, Stamp
from hoopgw.link.opening import READ_ONLY
from hoopgw.link.target_tls import Contexts, Mode
from hoopgw.spi import AgentContext, AgentTarget, Opened
from hoopgw.transport import Address, DataTransport, connect

log = Logger()

Auth: TypeAlias = Literal["token", "bearer", "basic", "header", "cert", "peer"]

OPEN_TIMEOUT: Final = 15.0
"""Seconds from connecting to TLS, the credential's source included."""
KEPT: Final = 1.0
"""Seconds for which a connection uses a credential again without asking its source."""
_AUTHS: Final = frozenset({"token", "bearer", "basic", "header", "cert", "peer"})
_OPTIONS: Final = frozenset({"tls", "ca", "host", "header", "auth"})
_TOKEN: Final = re.compile(rb"[!-~]+")
_FIELD: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_LOOPBACK: Final = re.compile(r"127\.\d+\.\d+\.\d+|::1|localhost")


@frozen(kw_only=True)
class Options:
    """A target's options, checked."""

    address: Address
    tls: Mode
    ca: str | None
    host: str
    """With the port, if it is not the usual one; for the ``Host`` field."""
    name: str
    """That the target's certificate must have."""
    header: str
    auth: Mapping[str, Auth]

    @classmethod
    def of(cls, target: AgentTarget, own: frozenset[str] = frozenset()) -> Options:
        """Read a target's options; ``own`` are those that the protocol reads itself.

        Raises:
            ConfigError: one of them makes no sense; the text says which, and what would.

        """
        where, options = f"targets.{target.name}", target.options
        try:
            address = Address.parse(target.address)
        except ValueError as error:
            raise ConfigError(f"{where}.address: {error}") from error
        if unknown := sorted(options.keys() - _OPTIONS - own):
            these = sorted(_OPTIONS | own)
            raise ConfigError(f"{where}.{unknown[0]}: no such option; these are {these}")
        tls = options.get("tls", "verify-full")
        if tls not in ("verify-full", "disable"):
            raise ConfigError(f"{where}.tls: expected verify-full or disable")
        near = bool(address.path) or _LOOPBACK.fullmatch(address.host) is not None
        if tls == "disable" and not near:
            raise ConfigError(f"{where}.tls: a credential goes over TLS, except on this machine")
        host = str(options.get("host", "")) or _host_of(address, tls)
        if not host:
            raise ConfigError(f"{where}.host: a target on a unix socket needs one")
        header = str(options.get("header", ""))
        auth = {name: _auth(where, name, kind) for name, kind in options.get("auth", {}).items()}
        if "header" in auth.values() and _FIELD.fullmatch(header) is None:
            raise ConfigError(f"{where}.header: expected the name of a field, as X-Api-Key")
        if "cert" in auth.values() and tls == "disable":
            raise ConfigError(f"{where}.auth: a certificate needs TLS")
        return cls(
            address=address,
            tls=cast("Mode", tls),
            ca=str(options["ca"]) if options.get("ca") else None,
            host=host,
            name=host.rpartition(":")[0] if host.count(":") == 1 else host.strip("[]"),
            header=header,
            auth=auth,
        )


@define(eq=False)
class HttpsTargetLeg:
    """Opens HTTPS targets. Implements `hoopgw.spi.TargetLeg`.

    Args:
        context: of the agent.
        own: options of targets that the protocol reads itself.
        upgrades: whether a request may ask for another protocol, as a WebSocket.
        strips: fields besides the usual that never reach the target, in lower case.

    """

    context: AgentContext
    own: frozenset[str] = frozenset()
    upgrades: bool = False
    strips: frozenset[bytes] = frozenset()
    _contexts: Contexts = field(factory=Contexts, init=False, repr=False)

    def check(self, target: AgentTarget) -> None:
        """Check a target's options before anything is opened. Raises `ConfigError`."""
        Options.of(target, self.own)

    async def open(self, target: AgentTarget, account: str, wishes: Mapping[str, Any]) -> Opened:
        """Connect, and fetch the account's credential.

        Args:
            target: what to open.
            account: whose credential is added.
            wishes: the agent's own ``read_only``.

        Raises:
            LinkError: the text is for the caller; the log has more.

        """
        opening = Deferred.fromCoroutine(self._open(target, account, wishes))
        opening.addTimeout(OPEN_TIMEOUT, self.context.clock)
        try:
            return await opening
        except DeferredTimeoutError as error:
            raise LinkError(f"{target.name} did not answer the agent in time") from error

    async def _open(self, target: AgentTarget, account: str, wishes: Mapping[str, Any]) -> Opened:
        try:
            options = Options.of(target, self.own)
        except ConfigError as error:
            log.error("{error}", error=error)
            raise LinkError(f"the agent's configuration of {target.name} is wrong") from error
        kind = options.auth.get(account, "peer")
        fetch = target.accounts[account]
        secret = await _secret(target, account, fetch)
        transport = await self._connect(target, options, secret if kind == "cert" else None)
        stamp = Stamp(
            host=options.host,
            strips=self.strips,
            fields=self.said_of(target, account),
            credential=AccountFields(
                target=target,
                account=account,
                source=fetch,
                kind=kind,
                header=options.header,
                clock=self.context.clock,
            ),
            read_only=wishes.get(READ_ONLY) is True,
            upgrades=self.upgrades,
        )
        return Opened(
            transport=transport,
            rest=b"",
            facts={},
            cancel=_nothing_to_cancel,
            outbound=lambda near, far: Outbound(near, far, stamp),
        )

    def said_of(self, target: AgentTarget, account: str) -> tuple[Pair, ...]:
        """Return the fields by which a target is told whom each request is for; usually none.

        Raises:
            LinkError: it may not be told so; the text is for the caller.

        """
        return ()

    async def _connect(
        self, target: AgentTarget, options: Options, client: bytes | None
    ) -> DataTransport:
        context = None
        if options.tls != "disable":
            context = self._contexts.get(options.tls, options.ca, client)
            context.set_alpn_protocols(["http/1.1"])
        connection = _Connection(context is not None)
        try:
            transport = await connect(
                self.context.reactor,
                options.address,
                connection,
                tls=context,
                server_hostname=options.name,
                timeout=OPEN_TIMEOUT,
            )
        except (ConnectError, OSError) as error:
            log.warn("{target} cannot be reached: {error}", target=target.name, error=error)
            raise LinkError(f"the agent cannot reach {target.name}") from error
        await connection.ready
        return transport


class _Connection(Protocol):
    """A connection to a target until TLS is up: then it waits, paused, for who goes on."""

    def __init__(self, tls: bool) -> None:
        self._tls = tls
        self.ready: Deferred[None] = Deferred(lambda _: self._link.abortConnection())

    def connectionMade(self) -> None:
        """Wait for TLS, if there is to be any."""
        self._link = cast("DataTransport", self.transport)
        if not self._tls:
            self._done()

    def handshakeCompleted(self) -> None:
        """TLS is up, and the target's name was verified."""
        self._done()

    def dataReceived(self, data: bytes) -> None:
        """Refuse: the target has been asked nothing."""
        self._fail("the target speaks before it is asked")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Say why, as far as the caller may know."""
        if self.ready.called:
            return
        if reason.check(ssl.SSLCertVerificationError) is not None:
            log.warn("the target's certificate: {why}", why=reason.value)
            self._fail("the agent does not accept the target's certificate")
        else:
            log.warn("a target was lost: {why}", why=reason.value)
            self._fail("the target closed the connection")

    def _done(self) -> None:
        self._link.pauseProducing()
        self._link.protocol = None
        self.ready.callback(None)

    def _fail(self, text: str) -> None:
        if not self.ready.called:
            self.ready.errback(LinkError(text))
        self._link.abortConnection()


@define(eq=False, kw_only=True)
class AccountFields:
    """Makes the field that carries an account's credential. Implements `Credential`.

    What its source gave is used for `KEPT` seconds. Then the source is asked anew, with all that it
    checks: a file that was changed counts from then, and without a file there is no credential.
    """

    target: AgentTarget
    account: str
    source: Callable[[], Awaitable[bytes]] = field(repr=False)
    kind: Auth
    header: str
    clock: IReactorTime = field(repr=False)
    _fields: tuple[Pair, ...] | None = field(default=None, init=False, repr=False)
    _asked: float = field(default=0.0, init=False)
    """When the source was."""

    def kept(self) -> tuple[Pair, ...] | None:
        """Return what was fetched, if that was a moment ago."""
        # A clock that was set back must not keep anything for longer.
        return self._fields if 0.0 <= self.clock.seconds() - self._asked < KEPT else None

    async def fetch(self) -> tuple[Pair, ...]:
        """Ask the source; tokens are fetched anew where they end.

        Raises:
            LinkError: there is none at the moment, or it would not be one field.

        """
        self._fields, asked = None, self.clock.seconds()
        fields = await self._fetch()
        self._fields, self._asked = fields, asked
        return fields

    async def _fetch(self) -> tuple[Pair, ...]:
        if self.kind in ("cert", "peer"):
            return ()
        secret = await _secret(self.target, self.account, self.source)
        if self.kind == "basic":
            return ((b"Authorization", b"Basic " + base64.b64encode(secret)),)
        if _TOKEN.fullmatch(secret) is None:
            log.error("the credential of {account} is not one word", account=self.account)
            raise LinkError(f"the agent's credential for {self.account} cannot be sent")
        if self.kind == "header":
            return ((self.header.encode(), secret),)
        return ((b"Authorization", b"Bearer " + secret),)


async def _secret(
    target: AgentTarget, account: str, fetch: Callable[[], Awaitable[bytes]]
) -> bytes:
    try:
        return await fetch()
    except LinkError:
        raise  # its text is for the caller
    except UnavailableError as error:
        log.error("no credential for {account}: {error}", account=account, error=error)
        raise LinkError(
            f"the agent has no credential for {account} on {target.name} at the moment"
        ) from error


async def _nothing_to_cancel() -> None:
    """Return: a request that is under way ends with its connection."""


def _host_of(address: Address, tls: object) -> str:
    if address.path:
        return ""
    name = f"[{address.host}]" if ":" in address.host else address.host
    return name if address.port == (443 if tls != "disable" else 80) else f"{name}:{address.port}"


def _auth(where: str, account: str, kind: object) -> Auth:
    if kind == "password":  # what the configuration has where it says nothing
        return "bearer"
    if kind not in _AUTHS:
        raise ConfigError(f"{where}.auth.{account}: expected one of {', '.join(sorted(_AUTHS))}")
    return cast("Auth", kind)
