"""The leg that faces a PostgreSQL server, in the agent: it adds the credential.

It connects, speaks TLS, logs in (`hoopgw_postgres.target_login`), and gives the transport away at
a message boundary: the server is ready and nothing is under way. The server's cancel key stays
here; whoever may cancel asks the agent.

A target's options, in the agent's own configuration:

``tls``              ``verify-full`` (the default on TCP), ``verify-ca``, ``require`` or ``disable``
``ca``               PEM file of the certificate authorities to trust, instead of the system's
``database``         which to connect to when the caller names none; else the account's name
``md5``              true lets a server ask for MD5 authentication; SCRAM is the only other
``channel_binding``  ``prefer`` or ``require``; ``require`` where TLS does not verify in full
``auth``             account to ``password``, ``token``, ``cert`` or ``peer``
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final, cast

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectError
from twisted.logger import Logger

from hoopgw.errors import ConfigError, LinkError, UnavailableError
from hoopgw.link.target_tls import MODES, Contexts, Mode
from hoopgw.spi import AgentContext, AgentTarget, Opened
from hoopgw.transport import Address, DataTransport, connect
from hoopgw_postgres.target_connection import CancelTalk, Talk, TargetConnection
from hoopgw_postgres.target_login import Auth, LoginPlan, TargetLogin

log = Logger()

DATABASE_SCOPE: Final = "https://ossrdbms-aad.database.windows.net/.default"
"""Of Azure Database for PostgreSQL, in the public cloud."""
LOGIN_TIMEOUT: Final = 10.0
"""Seconds from connecting to ReadyForQuery, the credential's source included."""
CANCEL_TIMEOUT: Final = 5.0
_AUTHS: Final = ("password", "token", "cert", "peer")
_OPTIONS: Final = frozenset({"tls", "ca", "database", "md5", "channel_binding", "auth"})


@frozen(kw_only=True)
class Options:
    """A target's options, checked."""

    address: Address
    tls: Mode
    ca: str | None
    database: str
    allow_md5: bool
    require_binding: bool
    auth: Mapping[str, Auth]

    @classmethod
    def of(cls, target: AgentTarget) -> Options:
        """Read a target's options.

        Raises:
            ConfigError: one of them makes no sense; the text says which, and what would.

        """
        where, options = f"targets.{target.name}", target.options
        try:
            address = Address.parse(target.address)
        except ValueError as error:
            raise ConfigError(f"{where}.address: {error}") from error
        if unknown := sorted(options.keys() - _OPTIONS):
            raise ConfigError(f"{where}.{unknown[0]}: no such option; these are {sorted(_OPTIONS)}")
        tls = _choice(where, options, "tls", MODES, "disable" if address.path else "verify-full")
        if address.path and tls != "disable":
            raise ConfigError(f"{where}.tls: PostgreSQL has no TLS on unix sockets; use 'disable'")
        binding = _choice(
            where,
            options,
            "channel_binding",
            ("prefer", "require"),
            "require" if tls in ("verify-ca", "require") else "prefer",
        )
        if binding == "require" and tls == "disable":
            raise ConfigError(f"{where}.channel_binding: there is none without TLS")
        auth = _auth(where, options.get("auth", {}), target, address, tls)
        return cls(
            address=address,
            tls=cast("Mode", tls),
            ca=str(options["ca"]) if options.get("ca") else None,
            database=str(options.get("database", "")),
            allow_md5=options.get("md5", False) is True,
            require_binding=binding == "require",
            auth=auth,
        )


@define(eq=False)
class PostgresTargetLeg:
    """Opens PostgreSQL servers. Implements `hoopgw.spi.TargetLeg` and `UsualPlace`."""

    context: AgentContext
    _contexts: Contexts = field(factory=Contexts, init=False, repr=False)

    def check(self, target: AgentTarget) -> None:
        """Check a target's options before anything is opened. Raises `ConfigError`."""
        Options.of(target)

    def token_scope(self, options: Mapping[str, Any]) -> str:
        """Return what tokens of Entra are for: Azure Database for PostgreSQL."""
        return DATABASE_SCOPE

    def usual_place(self, target: AgentTarget, account: str) -> str:
        """Return the database that an account is connected to when the caller names none."""
        return _options(target).database or account

    async def open(self, target: AgentTarget, account: str, wishes: Mapping[str, Any]) -> Opened:
        """Connect and log in.

        Args:
            target: what to open.
            account: the role to log in as.
            wishes: ``database``, ``settings``, and the agent's own ``read_only``.

        Raises:
            LinkError: the text is for the caller; the log has more.

        """
        opening = Deferred.fromCoroutine(self._open(target, account, wishes))
        opening.addTimeout(LOGIN_TIMEOUT, self.context.clock)
        try:
            return await opening
        except DeferredTimeoutError as error:
            raise LinkError(f"{target.name} did not answer the agent in time") from error

    async def _open(self, target: AgentTarget, account: str, wishes: Mapping[str, Any]) -> Opened:
        options = _options(target)
        auth = options.auth.get(account, "password")
        secret = await _secret(target, account, auth)
        context = self._context(options, secret if auth == "cert" else None)
        login = TargetLogin(_plan(options, account, auth, secret, wishes))
        try:
            transport = await self._talk(target, options, context, login)
        except LinkError as error:
            log.warn(
                "{target} as {account}: {error} {reason}",
                target=target.name,
                account=account,
                error=error,
                reason=login.reason,
            )
            raise
        return Opened(
            transport=transport,
            rest=login.rest(),
            facts={"parameters": dict(login.parameters)},
            cancel=lambda: self._cancel(target, options, login),
        )

    async def _talk(
        self,
        target: AgentTarget,
        options: Options,
        context: ssl.SSLContext | None,
        talk: Talk,
    ) -> DataTransport:
        """Connect, and talk until that is done; the transport is then paused."""
        connection = TargetConnection(talk, options.tls, context, options.address.host)
        try:
            transport = await connect(
                self.context.reactor, options.address, connection, timeout=LOGIN_TIMEOUT
            )
        except (ConnectError, OSError) as error:
            log.warn("{target} cannot be reached: {error}", target=target.name, error=error)
            raise LinkError(f"the agent cannot reach {target.name}") from error
        await connection.done
        return transport

    def _context(self, options: Options, client: bytes | None) -> ssl.SSLContext | None:
        if options.tls == "disable":
            return None
        return self._contexts.get(options.tls, options.ca, client)

    async def _cancel(self, target: AgentTarget, options: Options, login: TargetLogin) -> None:
        """Send a CancelRequest on a connection of its own, encrypted as the session is."""
        if login.cancel_key is None:
            raise LinkError(f"{target.name} gave no key to cancel with")
        # Without a client's certificate: the server has no use for it here, and we let it go.
        talk, context = CancelTalk(login.cancel_key), self._context(options, None)
        cancelling = Deferred.fromCoroutine(self._talk(target, options, context, talk))
        await cancelling.addTimeout(CANCEL_TIMEOUT, self.context.clock)


def make_target_leg(context: AgentContext) -> PostgresTargetLeg:
    """Make the leg; for `hoopgw.spi.ProtocolSpec`."""
    return PostgresTargetLeg(context)


def _options(target: AgentTarget) -> Options:
    try:
        return Options.of(target)
    except ConfigError as error:
        log.error("{error}", error=error)
        raise LinkError(f"the agent's configuration of {target.name} is wrong") from error


async def _secret(target: AgentTarget, account: str, auth: Auth) -> bytes:
    if auth == "peer":
        return b""
    try:
        return await target.accounts[account]()
    except LinkError:
        raise  # its text is for the caller
    except UnavailableError as error:
        log.error("no credential for {account}: {error}", account=account, error=error)
        raise LinkError(f"the agent has no credential for {account} at the moment") from error


def _plan(
    options: Options, account: str, auth: Auth, secret: bytes, wishes: Mapping[str, Any]
) -> LoginPlan:
    settings = wishes.get("settings", {})
    database = wishes.get("database", "")
    if not isinstance(settings, dict) or not isinstance(database, str):
        raise LinkError("the session's wishes are malformed")
    found = {str(name).lower(): str(value) for name, value in settings.items()}
    if wishes.get("read_only"):
        found["default_transaction_read_only"] = "on"
    return LoginPlan(
        user=account,
        database=database or options.database or account,
        settings=found,
        auth=auth,
        secret=secret,
        allow_md5=options.allow_md5,
        require_binding=options.require_binding,
    )


def _choice(
    where: str, options: Mapping[str, Any], name: str, choices: tuple[str, ...], default: str
) -> str:
    value = options.get(name, default)
    if value not in choices:
        raise ConfigError(f"{where}.{name}: expected one of {', '.join(choices)}")
    return str(value)


def _auth(
    where: str, values: Any, target: AgentTarget, address: Address, tls: str
) -> dict[str, Auth]:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}.auth: expected a table of accounts")
    found: dict[str, Auth] = {}
    for account in values:
        kind = _choice(f"{where}.auth", values, account, _AUTHS, "password")
        if kind == "peer" and not address.path:
            raise ConfigError(f"{where}.auth.{account}: 'peer' needs a unix socket")
        if kind == "token" and tls != "verify-full":
            raise ConfigError(f"{where}.auth.{account}: an access token needs tls = 'verify-full'")
        if kind == "cert" and tls == "disable":
            raise ConfigError(f"{where}.auth.{account}: a certificate needs TLS")
        found[account] = cast("Auth", kind)
    return found
