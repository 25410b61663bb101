"""The client leg until the principal is known: TLS, startup, certificate, token or password.

Nothing is believed outside TLS: there a client may only ask for TLS, or cancel. Until log-in, all
limits are tight. The order of phases is fixed, and each request is taken at most once, so bytes
smuggled before the handshake (CVE-2021-23214) or a second startup have no place to go.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from attrs import field, frozen
from cryptography import x509
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import AuthenticationError, ProtocolViolationError, UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.hops import is_chain
from hoopgw.identity.passwords import ITERATIONS
from hoopgw.identity.shown import (
    SessionPassword,
)
from hoopgw.spi import (
    GatewayContext,
)
from hoopgw.transport import DataTransport
from hoopgw_postgres import wire
from hoopgw_postgres.scram import PLAIN, PLUS, ScramError, ScramServer
from hoopgw_postgres.startup import StartupRefusedError, Wanted, wanted

log = Logger()

LOGIN_TIMEOUT: Final = 30.0
"""Seconds from the connection to the end of the log-in."""


@frozen(kw_only=True)
class LoggedIn:
    """A principal who may open its target now."""

    wanted: Wanted
    principal: Principal
    method: str
    credential: str
    """What may be revoked besides the principal's lineage, if there is anything."""
    version: int
    rest: bytes = field(repr=False)
    """What the client sent after its last password message."""


class Phase(enum.Enum):
    """What is expected next."""

    OPENING = enum.auto()
    TLS = enum.auto()
    PASSWORD = enum.auto()
    SASL_FIRST = enum.auto()
    SASL_FINAL = enum.auto()
    WAITING = enum.auto()
    OVER = enum.auto()


@frozen
class LoginRefusedError(Exception):
    """The log-in ends with a FATAL error."""

    code: str
    text: str
    hint: str | None = None
    why: str = ""
    """For the record only."""


class Login:
    """One client's log-in. Fed by the connection's protocol.

    Args:
        context: of the gateway.
        transport: the client's.
        certificate_hash: gives the hash of the certificate that a handshake which begins now
            shows, for channel binding (RFC 5929).
        decoy_key: makes the verifiers of handles that do not exist look real.
        on_cancel: called with a `wire.CancelRequest`.
        on_done: called once, with `LoggedIn`.
        on_refused: called once instead, with what the client wanted, if known, and the reason.

    """

    def __init__(
        self,
        context: GatewayContext,
        transport: DataTransport,
        certificate_hash: Callable[[], bytes],
        decoy_key: bytes,
        on_cancel: Callable[[wire.CancelRequest], None],
        on_done: Callable[[LoggedIn], None],
        on_refused: Callable[[Wanted | None, str], None],
    ) -> None:
        self._context = context
        self._transport = transport
        self._certificate_hash = certificate_hash
        self._shown = b""
        self._decoy_key = decoy_key
        self._on_cancel = on_cancel
        self._on_done = on_done
        self._on_refused = on_refused
        self._buffer = bytearray()
        self._phase = Phase.OPENING
        self._encrypted = False
        self._gss_asked = False
        self._direct = False
        self._version = 0
        self._wanted: Wanted | None = None
        self._scram: ScramServer | None = None
        self._found: SessionPassword | None = None
        self._lookup: Deferred[None] | None = None
        self._deadline = context.clock.callLater(LOGIN_TIMEOUT, self._too_slow)

    def received(self, data: bytes | memoryview) -> None:
        """Take what the client sent."""
        self._buffer += data
        try:
            self._advance()
        except ProtocolViolationError as error:
            self._refuse(LoginRefusedError("08P01", str(error), why=str(error)))
        except StartupRefusedError as error:
            self._refuse(LoginRefusedError(error.code, error.text, error.hint, error.text))
        except LoginRefusedError as error:
            self._refuse(error)

    def handshake_completed(self) -> None:
        """TLS is up."""
        self._encrypted = True
        self._phase = Phase.OPENING
        tls = self._transport.tls
        if self._direct and (tls is None or tls.selected_alpn_protocol() != "postgresql"):
            self._refuse(
                LoginRefusedError("08P01", "direct TLS needs ALPN postgresql", why="no ALPN")
            )

    def lost(self) -> None:
        """Stop: the client is gone."""
        self._finish()

    def _advance(self) -> None:
        while self._phase is Phase.OPENING and self._buffer:
            if not self._opening():
                return
        if self._phase in (Phase.PASSWORD, Phase.SASL_FIRST, Phase.SASL_FINAL):
            body = self._password_message()
            if body is None:
                return
            if self._phase is Phase.PASSWORD:
                self._token(body)
            elif self._phase is Phase.SASL_FIRST:
                self._sasl_first(body)
                self._advance()
            else:
                self._sasl_final(body)
        elif len(self._buffer) > wire.PASSWORD_LIMIT:
            raise ProtocolViolationError("too much was sent before the log-in")

    # Opening

    def _opening(self) -> bool:
        """Take one opening packet; False when more bytes are needed."""
        buffer = self._buffer
        if buffer[0] == 0x16 and not self._encrypted:  # a TLS record: handshake
            self._direct = True
            self._start_tls(bytes(buffer))
            return False
        if len(buffer) < 4:
            return False
        length = int.from_bytes(buffer[:4], "big")
        if not 8 <= length <= wire.OPENING_LIMIT:
            raise ProtocolViolationError("invalid length of startup packet")
        if len(buffer) < length:
            return False
        body = bytes(buffer[4:length])
        del buffer[:length]
        match wire.parse_opening(body):
            case wire.EncryptionRequest(gss=gss):
                self._encryption(gss)
            case wire.CancelRequest() as cancel:
                self._finish()
                self._on_cancel(cancel)
                self._transport.loseConnection()
            case wire.Startup() as startup:
                self._startup(startup)
        return True

    def _encryption(self, gss: bool) -> None:
        if self._buffer:
            raise ProtocolViolationError("received unencrypted data after encryption request")
        if self._encrypted or (gss and self._gss_asked):
            raise ProtocolViolationError("encryption was asked for twice")
        if gss:
            self._gss_asked = True
            self._transport.write(b"N")
            return
        self._transport.write(b"S")
        self._start_tls(b"")

    def _start_tls(self, received: bytes) -> None:
        self._phase = Phase.TLS
        self._buffer.clear()
        self._shown = self._certificate_hash()
        self._transport.startTLS(self._context.tls, server_side=True, received=received)

    def _startup(self, startup: wire.Startup) -> None:
        self._version = startup.version
        if startup.version >> 16 != 3:
            major, minor = divmod(startup.version, 1 << 16)
            raise StartupRefusedError(
                "0A000",
                f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2",
            )
        if not self._encrypted:
            raise StartupRefusedError(
                "28000",
                "hoopgw takes no log-in without TLS",
                "Use sslmode=verify-full with sslrootcert set to the gateway's CA certificate.",
            )
        if startup.version > wire.PROTOCOL_3_0 or startup.options:
            self._negotiate(startup)
        self._wanted = wanted(startup, self._context.targets)
        tls = self._transport.tls
        shown = None if tls is None else tls.getpeercert(binary_form=True)
        if self._wanted.handle:
            self._ask_sasl()
        elif shown is not None:
            self._certificate(shown)
        else:
            self._phase = Phase.PASSWORD
            self._transport.write(wire.AUTHENTICATION_CLEARTEXT)

    def _negotiate(self, startup: wire.Startup) -> None:
        """Answer a version or options that we do not have, as PostgreSQL 18 does."""
        if startup.version not in (wire.PROTOCOL_3_0, wire.PROTOCOL_3_2) or startup.options:
            newest = min(startup.version, wire.PROTOCOL_3_2)
            if newest == wire.PROTOCOL_3_0 | 1:  # 3.1 was never made
                newest = wire.PROTOCOL_3_0
            self._version = newest
            self._transport.write(wire.negotiate_version(newest, startup.options))

    def _password_message(self) -> bytes | None:
        buffer = self._buffer
        if len(buffer) < 5:
            return None
        length = int.from_bytes(buffer[1:5], "big")
        if buffer[0] != 0x70 or not 4 <= length <= wire.PASSWORD_LIMIT:
            raise ProtocolViolationError("expected password response")
        if len(buffer) < length + 1:
            return None
        body = bytes(buffer[5 : length + 1])
        del buffer[: length + 1]
        return body

    # Certificate

    def _certificate(self, der: bytes) -> None:
        """Log in whom TLS has proved. Whoever shows a certificate that is not good is refused."""
        want = self._want()
        try:
            shown = self._context.logins.certificate(der, want.target, want.account)
        except AuthenticationError as error:
            why = str(error)
            raise LoginRefusedError(
                "28000",
                f'certificate authentication failed for user "{want.account}": {why}',
                f"Get another with: hoopgw certificate {want.target}",
                why,
            ) from error
        self._done(shown.principal, "certificate", shown.node)

    # Token

    def _token(self, body: bytes) -> None:
        if not body or body.find(b"\0") != len(body) - 1:
            raise ProtocolViolationError("invalid password packet size")
        want = self._want()
        try:
            shown = body[:-1].decode("ascii")
            if is_chain(shown):
                self._ask_chain(shown)
                return
            principal = self._context.logins.token(shown, want.target, want.account)
        except (AuthenticationError, UnicodeDecodeError) as error:
            raise _failed(want, str(error)) from error
        except UnavailableError as error:
            raise LoginRefusedError("57P03", str(error), why=str(error)) from error
        self._done(principal, "token")

    def _ask_chain(self, chain: str) -> None:
        self._phase = Phase.WAITING
        shown = self._context.logins.chain(chain, self._want().target)
        self._lookup = shown.addCallbacks(self._chain_good, self._chain_refused)
        self._lookup.addErrback(self._lookup_failed)

    def _chain_good(self, principal: Principal) -> None:
        if self._phase is not Phase.OVER:
            self._done(principal, "chain")

    def _chain_refused(self, failure: Failure) -> None:
        why = failure.getErrorMessage()
        if failure.check(AuthenticationError) is not None:
            self._refuse(_failed(self._want(), why, _CHAIN_HINT))
            return
        failure.trap(UnavailableError)
        self._refuse(LoginRefusedError("57P03", f"hoopgw: {why}", "Try again.", why))

    # Session password

    def _ask_sasl(self) -> None:
        self._phase = Phase.WAITING
        want = self._want()
        looked_up = self._context.logins.session_password(want.handle)
        self._lookup = looked_up.addCallbacks(self._found_password, self._no_password)
        self._lookup.addErrback(self._lookup_failed)

    def _found_password(self, found: SessionPassword) -> None:
        want = self._want()
        if found.target == want.target and found.account == want.account:
            self._found = found
        self._offer()

    def _no_password(self, failure: Failure) -> None:
        if failure.check(AuthenticationError) is None:
            failure.trap(UnavailableError)
            why = failure.getErrorMessage()
            self._refuse(LoginRefusedError("57P03", "hoopgw cannot check passwords now", why=why))
            return
        self._offer()  # it must not show that the handle does not exist

    def _lookup_failed(self, failure: Failure) -> None:
        if self._phase is not Phase.OVER:
            log.failure("looking up a session password failed", failure)
            self._refuse(LoginRefusedError("XX000", "hoopgw failed", why="internal error"))

    def _offer(self) -> None:
        if self._phase is Phase.OVER:
            return
        self._phase = Phase.SASL_FIRST
        self._transport.write(wire.authentication_sasl([PLUS, PLAIN]))
        self.received(b"")

    def _make_scram(self, mechanism: str) -> ScramServer:
        """Make the exchange; with no password found it looks the same and cannot succeed."""
        found = self._found
        if found is not None:
            return ScramServer(
                mechanism,
                self._shown,
                found.salt,
                found.iterations,
                found.stored_key,
                found.server_key,
            )
        # Not from the handle alone: the same salt for two accounts would show that neither is its.
        want = self._want()
        about = f"{want.handle}\0{want.target}\0{want.account}".encode()
        salt = hmac.digest(self._decoy_key, b"salt" + about, "sha256")[:16]
        unknown = hmac.digest(self._decoy_key, b"keys" + about, "sha256")
        return ScramServer(mechanism, self._shown, salt, ITERATIONS, unknown, unknown)

    def _sasl_first(self, body: bytes) -> None:
        end = body.find(b"\0")
        name = body[:end].decode("ascii", "replace")
        if end < 0 or name not in (PLUS, PLAIN) or len(body) < end + 5:
            raise ProtocolViolationError("client selected an invalid SASL authentication mechanism")
        if int.from_bytes(body[end + 1 : end + 5], "big") != len(body) - end - 5:
            raise ProtocolViolationError("invalid SASL response")
        self._scram = self._make_scram(name)
        try:
            answer = self._scram.begin(body[end + 5 :])
        except ScramError as error:
            raise _failed(self._want(), f"SCRAM: {error}") from error
        self._transport.write(wire.authentication_sasl_continue(answer))
        self._phase = Phase.SASL_FINAL

    def _sasl_final(self, body: bytes) -> None:
        assert self._scram is not None  # made by `_sasl_first`, in whose phase we are
        try:
            answer = self._scram.finish(body)
        except ScramError as error:
            raise _failed(self._want(), f"SCRAM: {error}") from error
        if self._found is None:
            raise _failed(self._want(), "no such session password")
        if self._found.principal.expires <= self._context.clock.seconds():
            raise _failed(self._want(), "the session password has expired")
        self._transport.write(wire.authentication_sasl_final(answer))
        self._done(self._found.principal, "session-password")

    # The end

    def _want(self) -> Wanted:
        assert self._wanted is not None
        return self._wanted

    def _done(self, principal: Principal, method: str, credential: str = "") -> None:
        self._finish()
        self._on_done(
            LoggedIn(
                wanted=self._want(),
                principal=principal,
                method=method,
                credential=credential,
                version=self._version,
                rest=bytes(self._buffer),
            )
        )

    def _too_slow(self) -> None:
        self._refuse(LoginRefusedError("57014", "the log-in took too long", why="timeout"))

    def _refuse(self, error: LoginRefusedError) -> None:
        if self._phase is Phase.OVER:
            return
        if self._phase is not Phase.TLS:
            self._transport.write(
                wire.report(b"E", "FATAL", error.code, error.text, hint=error.hint)
            )
        self._finish()
        self._on_refused(self._wanted, error.why)
        self._transport.loseConnection()

    def _finish(self) -> None:
        self._phase = Phase.OVER
        if self._deadline.active():
            self._deadline.cancel()


_CHAIN_HINT: Final = (
    "The password is a chain of delegation. Its last part is good once, for two minutes and for one"
    " target; make a new password for each connection. It is refused, too, when a part of the chain"
    " has ended or was revoked. See hoopgw-delegation(7)."
)


def _failed(want: Wanted, why: str, hint: str | None = None) -> LoginRefusedError:
    user = f"{want.account}~{want.handle}" if want.handle else want.account
    return LoginRefusedError(
        "28P01",
        f'password authentication failed for user "{user}"',
        hint or f"Get a new token or session password with: hoopgw token {want.target}",
        why,
    )


def certificate_hash(der: bytes) -> bytes:
    """Return the hash of a certificate for tls-server-end-point (RFC 5929, section 4.1).

    The gateway's own CA signs with SHA-256; a certificate signed with another hash must be hashed
    with that one.
    """
    algorithm = x509.load_der_x509_certificate(der).signature_hash_algorithm
    name = "sha256" if algorithm is None or algorithm.name in ("md5", "sha1") else algorithm.name
    return hashlib.new(name, der).digest()
