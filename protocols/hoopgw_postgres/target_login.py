"""Log in at a PostgreSQL server, bytes in and bytes out: what the agent says to the target.

The server is not trusted more than it has proved. What it may ask for is settled before the first
byte: a SCRAM log-in stays one, whatever the server offers instead, and the server must show in its
turn that it knows the password (RFC 5802), bound to its certificate wherever there is one. Until it
is ready, everything is limited: the size of a message, their number, their sum, and the work that
it can make us do.

Whatever the bytes, the only exception is `LinkError`, with a text that may be shown to the caller:
it has no address and no credential; what the server said of itself is in `reason`, for the log.

References: PostgreSQL 18 documentation, "Message Flow" and "SASL Authentication"; RFC 7677.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

from attrs import define, evolve, field, frozen
from scramp import ScramClient, ScramException

from hoopgw.errors import LinkError, ProtocolViolationError
from hoopgw_postgres.startup import SETTINGS as STARTABLE
from hoopgw_postgres.wire import PROTOCOL_3_0, message, parse_report

Auth: TypeAlias = Literal["password", "token", "cert", "peer"]
"""How the agent proves itself: a password by SCRAM; an access token in clear, inside TLS to a
server that has been verified in full; a client certificate; the socket's user."""

SETTINGS: Final = STARTABLE | {
    "client_min_messages",
    "debug_pretty_print",
    "debug_print_parse",
    "debug_print_plan",
    "debug_print_rewritten",
    "search_path",
    "standard_conforming_strings",
}
"""Settings that a gateway may wish for at log-in. None of them gives a right that the account does
not have; ``role``, ``session_authorization``, ``options`` and ``replication`` are never sent."""

MESSAGE_LIMIT: Final = 65_536
MESSAGES_LIMIT: Final = 1_000
BYTES_LIMIT: Final = 1_048_576
ITERATIONS: Final = range(4_096, 100_001)
"""Of PBKDF2: fewer would make guessing cheap for whoever poses as the server; more, stop us."""
_VALUE_LIMIT: Final = 1_024
_ITERATIONS: Final = re.compile(r",i=([0-9]{1,9})(?:,|$)")
_PLUS: Final = "SCRAM-SHA-256-PLUS"
_PLAIN: Final = "SCRAM-SHA-256"
_NOBODY: Final = "*"  # PostgreSQL takes the name from the startup packet; scramp wants one here
_OK, _CLEARTEXT, _MD5, _SASL, _CONTINUE, _FINAL = 0, 3, 5, 10, 11, 12


@frozen(kw_only=True)
class Tls:
    """What is known of the TLS connection to the server."""

    is_verified: bool
    """Its certificate is trusted and has the name that was asked for (verify-full)."""
    end_point: bytes | None = field(repr=False)
    """``tls-server-end-point`` (RFC 5929), if the certificate has one."""


@frozen(kw_only=True)
class LoginPlan:
    """Whom to log in, and what the server may ask for."""

    user: str
    database: str
    settings: Mapping[str, str] = field(factory=dict)
    auth: Auth = "password"
    secret: bytes = field(default=b"", repr=False)
    allow_md5: bool = False
    require_binding: bool = False
    """Only take SCRAM that is bound to the server's certificate."""


@define
class TargetLogin:
    """One log-in. Send what `begin` gives, feed `receive_data`, until `is_ready`."""

    plan: LoginPlan
    is_ready: bool = field(default=False, init=False)
    parameters: dict[str, str] = field(factory=dict, init=False)
    """ParameterStatus, as last reported."""
    cancel_key: tuple[int, bytes] | None = field(default=None, init=False, repr=False)
    """Process id and secret; they stay in the agent."""
    reason: str = field(default="", init=False)
    """What the server said when it refused: for the log."""
    _tls: Tls | None = field(default=None, init=False)
    _buffer: bytearray = field(factory=bytearray, init=False, repr=False)
    _received: int = field(default=0, init=False)
    _messages: int = field(default=0, init=False)
    _scram: ScramClient | None = field(default=None, init=False, repr=False)
    _stage: str = field(default="start", init=False)
    """``start``, ``first`` and ``final`` of SCRAM, ``proved``, and ``in`` after the server's OK."""
    _failed: bool = field(default=False, init=False)

    def begin(self, tls: Tls | None) -> bytes:
        """Return the StartupMessage, to be sent on a connection with this TLS or none.

        Raises:
            LinkError: a wish cannot be sent.

        """
        self._tls = tls
        values = {"user": self.plan.user, "database": self.plan.database}
        values["client_encoding"] = "UTF8"
        for name, value in self.plan.settings.items():
            if name.lower() not in SETTINGS:
                raise LinkError(f"the agent does not pass the setting {name[:40]!r} on")
            values[name] = value
        body = bytearray(PROTOCOL_3_0.to_bytes(4, "big"))
        for name, value in values.items():
            if "\0" in value or len(value) > _VALUE_LIMIT:
                raise LinkError(f"the value of {name} is too long or malformed")
            body += name.encode() + b"\0" + value.encode("utf-8", "replace") + b"\0"
        body += b"\0"
        return (len(body) + 4).to_bytes(4, "big") + bytes(body)

    def receive_data(self, data: bytes | memoryview) -> bytes:
        """Take bytes from the server, and return what to send.

        Raises:
            LinkError: it refused us, or we refuse it; every later call raises, too.

        """
        if self._failed:
            raise LinkError("the log-in has failed")
        self._buffer += data
        self._received += len(data)
        answer = b""
        try:
            while not self.is_ready and (found := self._next()) is not None:
                answer += self._take(*found)
        except (LinkError, ProtocolViolationError) as error:
            self._failed = True
            if isinstance(error, LinkError):
                raise
            raise LinkError("the target does not speak PostgreSQL's protocol") from error
        return answer

    def closed(self) -> None:
        """Take note that the server closed the connection.

        Raises:
            LinkError: it did so before the log-in was done.

        """
        raise LinkError("the target closed the connection before the log-in was done")

    def rest(self) -> bytes:
        """Take what came behind ReadyForQuery: it is the caller's."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        return rest

    def _next(self) -> tuple[int, bytes] | None:
        if len(self._buffer) < 5:
            self._check_sum()
            return None
        length = int.from_bytes(self._buffer[1:5], "big")
        if not 4 <= length <= MESSAGE_LIMIT:
            raise ProtocolViolationError(f"message of {length} bytes")
        if len(self._buffer) < 1 + length:
            self._check_sum()
            return None
        kind, body = self._buffer[0], bytes(self._buffer[5 : 1 + length])
        del self._buffer[: 1 + length]
        self._messages += 1
        if self._messages > MESSAGES_LIMIT:
            raise ProtocolViolationError("too many messages before the log-in is done")
        return kind, body

    def _check_sum(self) -> None:
        """Bytes behind ReadyForQuery do not count, and so this is asked when more are wanted."""
        if self._received > BYTES_LIMIT:
            raise ProtocolViolationError("too much before the log-in is done")

    def _take(self, kind: int, body: bytes) -> bytes:
        if kind == ord("E"):
            raise self._refused(parse_report(body))
        if kind == ord("N"):
            return b""
        if kind == ord("R") and self._stage != "in":
            return self._authenticate(body)
        if self._stage != "in":
            raise ProtocolViolationError(f"message {kind} before the log-in is done")
        if kind == ord("S"):
            self._parameter(body)
        elif kind == ord("K") and self.cancel_key is None and 8 <= len(body) <= 260:
            self.cancel_key = int.from_bytes(body[:4], "big"), body[4:]
        elif kind == ord("Z") and body == b"I":
            self._ready()
        else:
            raise ProtocolViolationError(f"message {kind} in place of ReadyForQuery")
        return b""

    def _parameter(self, body: bytes) -> None:
        parts = body.split(b"\0")
        if len(parts) != 3 or parts[2]:
            raise ProtocolViolationError("malformed ParameterStatus")
        name, value = (part.decode("utf-8", "replace") for part in parts[:2])
        self.parameters[name] = value

    def _ready(self) -> None:
        if self.parameters.get("client_encoding", "UTF8") != "UTF8":
            raise LinkError("the target does not speak UTF8")
        wanted = self.plan.settings.get("default_transaction_read_only")
        # Reported since PostgreSQL 14. A pooler in between may drop what we asked for.
        if wanted == "on" and self.parameters.get("default_transaction_read_only", "on") != "on":
            raise LinkError("the target did not make the session read-only")
        self.is_ready = True
        # The log-in lives on for its cancel key; the credential does not.
        self.plan, self._scram = evolve(self.plan, secret=b""), None

    def _authenticate(self, body: bytes) -> bytes:
        if len(body) < 4:
            raise ProtocolViolationError("malformed authentication request")
        code, rest = int.from_bytes(body[:4], "big"), body[4:]
        steps: Mapping[int, Callable[[bytes], bytes]] = {
            _OK: self._accepted,
            _CLEARTEXT: self._cleartext,
            _MD5: self._md5,
            _SASL: self._sasl,
            _CONTINUE: self._continue,
            _FINAL: self._final,
        }
        if code not in steps:
            raise LinkError(f"the target asks for an authentication that is not spoken ({code})")
        return steps[code](rest)

    def _accepted(self, rest: bytes) -> bytes:
        proved = self._stage == "proved" or self.plan.auth in ("cert", "peer")
        if rest or not proved or self._stage not in ("start", "proved"):
            # Whoever lets us in without asking has not shown that it is the target.
            raise LinkError("the target let the agent in without proof of itself")
        self._stage = "in"
        return b""

    def _cleartext(self, rest: bytes) -> bytes:
        tls = self._tls
        if rest or self._stage != "start" or self.plan.auth != "token":
            raise LinkError("the target asks for the password in clear; the agent does not give it")
        if tls is None or not tls.is_verified:
            raise LinkError("an access token goes only to a target that TLS has verified in full")
        self._stage = "proved"
        return message(b"p", self.plan.secret + b"\0")

    def _md5(self, salt: bytes) -> bytes:
        if self._stage != "start" or self.plan.auth != "password" or not self.plan.allow_md5:
            raise LinkError("the target asks for MD5 authentication; the agent does not give it")
        if len(salt) != 4:
            raise ProtocolViolationError("malformed salt")
        inner = _md5(self.plan.secret + self.plan.user.encode())
        self._stage = "proved"
        return message(b"p", b"md5" + _md5(inner + salt) + b"\0")

    def _sasl(self, names: bytes) -> bytes:
        if self._stage != "start" or self.plan.auth != "password":
            raise LinkError("the target asks for a password; this account has none")
        offered = set(names.split(b"\0"))
        if not names.endswith(b"\0\0"):
            raise ProtocolViolationError("malformed list of SASL mechanisms")
        end_point = self._tls.end_point if self._tls is not None else None
        wanted = (_PLUS,) if self.plan.require_binding else (_PLUS, _PLAIN)
        usable = [
            name
            for name in wanted
            if name.encode() in offered and (name == _PLAIN or end_point is not None)
        ]
        if not usable:
            raise LinkError("the target offers no SCRAM that the agent takes")
        # With a binding at hand that the server does not offer, scramp says so ("y"), and a server
        # whose offer was tampered with refuses (RFC 5802, section 6).
        binding = None if end_point is None else ("tls-server-end-point", end_point)
        with _scram_errors("the account's password cannot be used for SCRAM"):
            scram = ScramClient(usable[:1], _NOBODY, self.plan.secret.decode(), binding)
            first = scram.get_client_first().encode()
        self._scram, self._stage = scram, "first"
        size = len(first).to_bytes(4, "big")
        return message(b"p", usable[0].encode() + b"\0" + size + first)

    def _continue(self, data: bytes) -> bytes:
        if self._stage != "first" or self._scram is None:
            raise ProtocolViolationError("SASL out of turn")
        with _scram_errors("the target breaks SCRAM"):
            text = data.decode()
            found = _ITERATIONS.search(text)
            if found is None or int(found[1]) not in ITERATIONS:
                raise LinkError("the target asks for too few or too many SCRAM iterations")
            self._scram.set_server_first(text)
            final = self._scram.get_client_final().encode()
        self._stage = "final"
        return message(b"p", final)

    def _final(self, data: bytes) -> bytes:
        if self._stage != "final" or self._scram is None:
            raise ProtocolViolationError("SASL out of turn")
        with _scram_errors("the target does not know the account's password"):
            self._scram.set_server_final(data.decode())
        self._stage = "proved"
        return b""

    def _refused(self, report: Mapping[str, str]) -> LinkError:
        code = report.get("C", "")
        code = code if re.fullmatch(r"[0-9A-Z]{5}", code) else "unknown"
        self.reason = f"{code} {report.get('M', '')[:500]}"
        text = _REASONS.get(code, "the target refused the agent's log-in")
        return LinkError(f"{text} ({code})")


_REASONS: Final[Mapping[str, str]] = {
    "28000": "the target does not let the agent in as this account",
    "28P01": "the target does not accept the agent's credential for this account",
    "3D000": "the target has no database of that name",
    "42501": "the target does not permit this account to connect",
    "53300": "the target has no free connections",
    "57P03": "the target is starting up or shutting down",
    "22023": "the target does not take a setting of the session",
}


class _scram_errors:  # noqa: N801  # a context manager, used like a function
    """Turn whatever SCRAM raises into a `LinkError`, without what it quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, ScramException | ValueError | IndexError | KeyError):
            raise LinkError(self._text) from None


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()
