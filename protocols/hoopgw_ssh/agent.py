"""The leg that faces an SSH server, in the agent: it alone has the key, and checks the host's.

It speaks SSH's transport and logs in; the messages of the connection protocol it passes on as they
are (`hoopgw_ssh.framing`). Credentials never leave it, and the gateway never sees a session's keys.

A target's options, in the agent's own configuration:

``host_keys``    list of pinned keys: ``ssh-ed25519 AAAA...``
``host_ca``      list of keys of CAs whose certificates the host may show instead
``known_hosts``  a file of that format
``host``         the name to look up in it, and in certificates, if it is not the address's
``auth``         account to ``key`` (a private key, perhaps with its certificate below),
                 ``password``, ``interactive`` (a password, as the answer to the one question), or
                 ``ca`` (the private key of a CA that the host trusts: each session gets a key and a
                 certificate of its own, for minutes)
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

from attrs import define, field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_private_key,
)
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectError
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import ConfigError, LinkError, ProtocolViolationError, UnavailableError
from hoopgw.sessions.gates import Hold, ReadGate
from hoopgw.spi import AgentContext, AgentTarget, Divert, Opened
from hoopgw.transport import Address, DataTransport, connect
from hoopgw_ssh.ciphers import PACKET_LIMIT
from hoopgw_ssh.client import ClientTransport
from hoopgw_ssh.framing import FrameReader, encode_frame, frame_head
from hoopgw_ssh.host_keys import KnownHost, make_known_host
from hoopgw_ssh.target_login import KeyLogin, Login, PasswordLogin, TargetLogin, read_key
from hoopgw_ssh.wire import GLOBAL_REQUEST, Bytes

log = Logger()

Auth: TypeAlias = Literal["key", "password", "interactive", "ca"]

LOGIN_TIMEOUT: Final = 20.0
"""Seconds from connecting to being logged in, the credential's source included."""
CERTIFICATE_LIFETIME: Final = 300.0
"""Seconds for which a session's own certificate may be used to log in."""
_SKEW: Final = 60.0
_AUTHS: Final = ("key", "password", "interactive", "ca")
_OPTIONS: Final = frozenset({"host_keys", "host_ca", "known_hosts", "host", "auth"})
_KEY_BEGINS: Final = b"-----BEGIN "
_EARLY_LIMIT: Final = 64
"""Messages that a target may send before anybody uses it."""


@frozen(kw_only=True)
class Options:
    """A target's options, checked."""

    address: Address
    known: KnownHost
    auth: Mapping[str, Auth]

    @classmethod
    def of(cls, target: AgentTarget, now: Any) -> Options:
        """Read a target's options. Raises `ConfigError`."""
        where, options = f"targets.{target.name}", target.options
        try:
            address = Address.parse(target.address)
        except ValueError as error:
            raise ConfigError(f"{where}.address: {error}") from error
        if unknown := sorted(options.keys() - _OPTIONS):
            raise ConfigError(f"{where}.{unknown[0]}: no such option; these are {sorted(_OPTIONS)}")
        for name, kind in options.get("auth", {}).items():
            if kind not in _AUTHS:
                raise ConfigError(f"{where}.auth.{name}: expected one of {', '.join(_AUTHS)}")
        file = options.get("known_hosts")
        try:
            known = make_known_host(
                str(options.get("host", "")) or address.host or "localhost",
                address.port or 22,
                options.get("host_keys", ()),
                options.get("host_ca", ()),
                Path(file) if file else None,
                now,
            )
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
        return cls(address=address, known=known, auth=cast("Any", options.get("auth", {})))


class _Target(ClientTransport):
    """Logs in, then hands messages on."""

    def __init__(self, known: KnownHost, clock: Any, user: bytes, login: Login) -> None:
        self.host_keys, self.clock = known, clock
        self.ready: Deferred[None] = Deferred()
        """Fires when the target is open; fails with `LinkError`."""
        self._is_settled = False
        self.early: list[bytes] = []
        """Messages that came before anybody took them, as frames."""
        self.take: Callable[[int, Bytes], None] = self._keep
        """Takes messages; a payload is valid until the batch ends."""
        self.gate: ReadGate | None = None
        self._login = TargetLogin(user, login, self._logged_in)

    def secured(self) -> None:
        """Log in."""
        self.requestService(self._login)

    def _logged_in(self, error: LinkError | None) -> None:
        if self._is_settled:
            return
        if error is not None:
            self._fail(error)
            return
        self.packet_limit = PACKET_LIMIT
        self.service = self
        self.transport.pauseProducing()
        self._is_settled = True
        self.ready.callback(None)

    def packetReceived(self, messageNum: int, payload: Bytes) -> None:
        """Take a message of the connection protocol, in place of a service."""
        if messageNum < GLOBAL_REQUEST:
            raise ProtocolViolationError(f"message {messageNum} may not come now")
        self.take(messageNum, payload)

    def _keep(self, number: int, payload: Bytes) -> None:
        if len(self.early) >= _EARLY_LIMIT:
            raise ProtocolViolationError("too much came before anybody asked")
        self.early.append(encode_frame(number, payload))

    def serviceStopped(self) -> None:
        """Do nothing: this is its own service."""

    def sendKexInit(self, theirs: Any = None) -> None:
        """Take nothing from the gateway while keys are exchanged."""
        super().sendKexInit(theirs)
        if self.gate is not None and self.is_exchanging:
            self.gate.hold(Hold.UNDECIDED)

    def exchanged(self) -> None:
        """Take more again."""
        if self.gate is not None:
            self.gate.release(Hold.UNDECIDED)

    def sendDisconnect(self, reason: int, desc: bytes | str) -> None:
        """Say why, and fail what waits."""
        super().sendDisconnect(reason, desc)
        text = desc if isinstance(desc, str) else desc.decode("utf-8", "replace")
        self._fail(LinkError(f"the agent ended the connection to the target: {text}"))

    def connectionLost(self, reason: Failure | None = None) -> None:
        """End."""
        super().connectionLost(reason)
        self._fail(LinkError("the target closed the connection before it was open"))

    def _fail(self, error: LinkError) -> None:
        if not self._is_settled:
            self._is_settled = True
            self.transport.loseConnection()
            self.ready.errback(error)


class _Gate(ReadGate):
    """Ends with the target's connection, which has no protocol of its own any more."""

    def __init__(self, near: DataTransport, target: _Target) -> None:
        super().__init__(near)
        self._near, self._target = near, target

    def stopProducing(self) -> None:
        """End both, after what was written to the gateway has been sent."""
        self._target.connectionLost()
        self._near.loseConnection()


@define(eq=False)
class _Carrier:
    """Passes messages on, both ways. Implements `hoopgw.spi.Outbound`."""

    near: DataTransport
    far: DataTransport
    target: _Target
    gate: ReadGate = field(init=False)
    _frames: FrameReader = field(init=False, repr=False)
    _outgoing: list[Bytes] = field(factory=list, init=False, repr=False)
    """Pieces of frames that leave when all that was read from the target has been looked at."""

    def __attrs_post_init__(self) -> None:
        self.gate = self.target.gate = _Gate(self.near, self.target)
        self._frames = FrameReader(self.target.sendPacket)

    def begin(self, divert: Divert) -> None:
        """Read what comes from the target here."""
        self.target.take = self._gather
        self.target.afterwards = self._flush
        divert(self.target.dataReceived)

    def _gather(self, number: int, payload: Bytes) -> None:
        self._outgoing += (frame_head(number, len(payload)), payload)

    def _flush(self) -> None:
        if self._outgoing:
            pieces, self._outgoing = self._outgoing, []
            self.near.writeSequence(pieces)

    def received(self, data: Bytes) -> None:
        """Take frames from the gateway."""
        try:
            with self.target.batch():
                self._frames.receive(data)
        except ProtocolViolationError as error:
            log.warn("messages from the gateway are not taken: {error}", error=error)
            self.near.abortConnection()


@define(eq=False)
class SshTargetLeg:
    """Opens SSH servers. Implements `hoopgw.spi.TargetLeg`."""

    context: AgentContext

    def check(self, target: AgentTarget) -> None:
        """Check a target's options before anything is opened. Raises `ConfigError`."""
        Options.of(target, self.context.clock.seconds)

    async def open(self, target: AgentTarget, account: str, wishes: Mapping[str, Any]) -> Opened:
        """Connect, check the host's key, and log in.

        Args:
            target: what to open.
            account: the user to log in as.
            wishes: the agent's own ``read_only``, which no SSH server can be asked for.

        Raises:
            LinkError: the text is for the caller; the log has more.

        """
        if wishes.get("read_only"):
            raise LinkError("the agent's floor lets this account only read: SSH has no such log-in")
        opening = Deferred.fromCoroutine(self._open(target, account))
        opening.addTimeout(LOGIN_TIMEOUT, self.context.clock)
        try:
            return await opening
        except DeferredTimeoutError as error:
            raise LinkError(f"{target.name} did not answer the agent in time") from error

    async def _open(self, target: AgentTarget, account: str) -> Opened:
        try:
            options = Options.of(target, self.context.clock.seconds)
        except ConfigError as error:
            log.error("{error}", error=error)
            raise LinkError(f"the agent's configuration of {target.name} is wrong") from error
        login = await self._login(target, account, options.auth.get(account, "key"))
        ssh = _Target(options.known, self.context.clock, account.encode(), login)
        try:
            transport = await connect(
                self.context.reactor, options.address, ssh, timeout=LOGIN_TIMEOUT
            )
        except (ConnectError, OSError) as error:
            log.warn("{target} cannot be reached: {error}", target=target.name, error=error)
            raise LinkError(f"the agent cannot reach {target.name}") from error
        try:
            await ssh.ready
        except BaseException:
            transport.loseConnection()
            raise
        return Opened(
            transport=transport,
            rest=b"".join(ssh.early),
            facts={"server": ssh.otherVersionString.decode("ascii", "replace")},
            cancel=_nothing_to_cancel,
            outbound=lambda near, far: _Carrier(near, far, ssh),
        )

    async def _login(self, target: AgentTarget, account: str, kind: Auth) -> Login:
        try:
            secret = await target.accounts[account]()
        except UnavailableError as error:
            log.error("no credential for {account}: {error}", account=account, error=error)
            raise LinkError(f"the agent has no credential for {account} at the moment") from error
        if kind in ("password", "interactive"):
            if secret.lstrip().startswith(_KEY_BEGINS):
                # It would be shown to the target, and to whoever has taken its place.
                where = f"targets.{target.name}.accounts.{account}"
                log.error('{where}: its credential is a private key: say auth = "key"', where=where)
                raise LinkError(f"the agent's configuration of {target.name} is wrong")
            return PasswordLogin(secret.rstrip(b"\r\n"), interactive=kind == "interactive")
        if kind == "ca":
            return self._certified(account, secret)
        key, certificate = read_key(secret)
        return KeyLogin(account.encode(), key, certificate)

    def _certified(self, account: str, secret: bytes) -> Login:
        """Make a key for this session, and have it certified by the CA whose key we hold."""
        try:
            authority = load_ssh_private_key(secret, None)
        except ValueError:
            raise LinkError("the agent's CA for the account cannot be read") from None
        now, key = self.context.clock.seconds(), Ed25519PrivateKey.generate()
        builder = (
            SSHCertificateBuilder()
            .public_key(key.public_key())
            .type(SSHCertificateType.USER)
            .key_id(f"hoopgw {account}".encode())
            .valid_principals([account.encode()])
            .valid_after(int(now - _SKEW))
            .valid_before(int(now + CERTIFICATE_LIFETIME))
        )
        for name in (b"permit-pty", b"permit-port-forwarding", b"permit-agent-forwarding"):
            builder = builder.add_extension(name, b"")
        certificate = builder.sign(cast("Any", authority))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        own, _ = read_key(pem)
        blob = base64.b64decode(certificate.public_bytes().split()[1])
        return KeyLogin(account.encode(), own, blob)


async def _nothing_to_cancel() -> None:
    """Do nothing: closing the connection ends all that it started."""


def make_target_leg(context: AgentContext) -> SshTargetLeg:
    """Make the leg; for `hoopgw.spi.ProtocolSpec`."""
    return SshTargetLeg(context)
