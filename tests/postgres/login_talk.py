"""A client of the client leg before its principal is known, spoken by hand."""

from __future__ import annotations

import typing
from typing import Any, Final

from attrs import define, field
from scramp import ScramClient
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.events import Hop, Node, Principal
from hoopgw.identity.passwords import make_password
from hoopgw.identity.shown import (
    Bearer,
    CallerCertificate,
    SessionPassword,
)
from hoopgw.spi import (
    GatewayContext,
    TargetSettings,
)
from hoopgw.transport import DataTransport
from hoopgw_postgres import wire
from hoopgw_postgres.login import LoggedIn, Login
from tests.support.raw_postgres import (
    SSL_REQUEST,
    message,
    sasl_first,
    startup,
)

TARGETS: Final = {
    name: TargetSettings(name=name, protocol="postgres", agent="local")
    for name in ("orders", "stock")
}


ALICE: Final = Principal(
    chain=(Hop(id="corp|alice", name="alice", kind="person"),), session="login-1", expires=1000.0
)


PLANNER: Final = Principal(
    chain=(*ALICE.chain, Hop(id="corp|alice~planner", name="planner", kind="agent")),
    nodes=(Node(id="n1"),),
    session="login-1",
    expires=900.0,
    proved=True,
)


NEW: Final = make_password(ALICE, "orders", "app")


HASH: Final = b"hash of the certificate"


@define(eq=False)
class Wire:
    """A transport that keeps what is written, and can speak TLS when the test says so."""

    written: bytearray = field(factory=bytearray)
    started: bytes | None = None
    closed: bool = False
    alpn: str | None = "postgresql"
    shown: bytes | None = None
    """The client's certificate."""

    @property
    def tls(self) -> Wire:
        return self

    def selected_alpn_protocol(self) -> str | None:
        return self.alpn

    def getpeercert(self, *, binary_form: bool) -> bytes | None:
        assert binary_form
        return self.shown

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.written += data

    def startTLS(self, _context: Any, *, server_side: bool, received: bytes) -> None:
        assert server_side
        assert self.started is None
        self.started = received

    def loseConnection(self) -> None:
        self.closed = True

    def take(self) -> list[tuple[str, bytes]]:
        """Take the messages that were written."""
        found, data = [], bytes(self.written)
        while data:
            end = 1 + int.from_bytes(data[1:5], "big")
            found.append((chr(data[0]), data[5:end]))
            data = data[end:]
        self.written.clear()
        return found


@define(eq=False)
class Logins:
    """Knows one token and one session password."""

    passwords: dict[str, SessionPassword]
    answers: list[Deferred[SessionPassword]] = field(factory=list)
    chains: list[Deferred[Principal]] = field(factory=list)
    slow: bool = False
    away: bool = False

    def token(self, token: str, target: str, account: str = "") -> Principal:
        if (token, target) != ("token", "orders") or not account:
            raise AuthenticationError("the token is not good, says the log")
        return ALICE

    def bearer(self, token: str, target: str) -> Bearer:
        return Bearer(principal=self.token(token, target, "app"), account="", expires=ALICE.expires)

    def certificate(self, der: bytes, target: str, account: str) -> CallerCertificate:
        if (der, target, account) != (b"certificate", "orders", "app"):
            raise AuthenticationError("the certificate is not good, as the caller may know")
        return CallerCertificate(PLANNER, "cert:7")

    def chain(self, chain: str, target: str, holder: str | None = None) -> Deferred[Principal]:
        if holder is not None or self.slow:
            self.chains.append(Deferred())
            return self.chains[-1]
        if self.away:
            return fail(UnavailableError("control is away"))
        if (chain, target) != ("root~hop~pop", "orders"):
            return fail(AuthenticationError("the chain is not good, says the log"))
        return succeed(PLANNER)

    def session_password(self, handle: str) -> Deferred[SessionPassword]:
        if self.slow:
            answer: Deferred[SessionPassword] = Deferred()
            self.answers.append(answer)
            return answer
        if self.away:
            return fail(UnavailableError("control is away"))
        if handle not in self.passwords:
            return fail(AuthenticationError("no such handle"))
        return succeed(self.passwords[handle])


class Talk:
    """A log-in, and both of its ends."""

    def __init__(self, *, decoy_key: bytes = b"decoy", encrypted: bool = True) -> None:
        self.clock, self.wire = Clock(), Wire()
        self.logins = Logins({NEW.handle: NEW.stored})
        self.done: list[LoggedIn] = []
        self.refused: list[str] = []
        self.cancels: list[wire.CancelRequest] = []
        parts = {"clock": self.clock, "logins": self.logins, "tls": None, "targets": TARGETS}
        self.login = Login(
            typing.cast("GatewayContext", type("Context", (), parts)),
            typing.cast("DataTransport", self.wire),
            lambda: HASH,
            decoy_key,
            self.cancels.append,
            self.done.append,
            lambda _wanted, why: self.refused.append(why),
        )
        if encrypted:
            self.login.received(SSL_REQUEST)
            self.wire.written.clear()
            self.login.handshake_completed()

    def say(self, *data: bytes) -> list[tuple[str, bytes]]:
        """Send, and return what comes back."""
        self.login.received(b"".join(data))
        return self.wire.take()

    def scram(
        self, user: str, password: str, target: str = "orders", *, plus: bool = False
    ) -> tuple[bytes, bytes]:
        """Log in by SCRAM; return the server's first message, and its last, of whatever kind."""
        [(kind, offer)] = self.say(startup(user=user, database=target))
        assert (kind, offer[:4]) == ("R", b"\0\0\0\x0a")
        name = "SCRAM-SHA-256-PLUS" if plus else "SCRAM-SHA-256"
        binding = ("tls-server-end-point", HASH) if plus else None
        client = ScramClient([name], "*", password, binding)
        [(_, first)] = self.say(sasl_first(name, client.get_client_first().encode()))
        client.set_server_first(first[4:].decode())
        answers = self.say(message("p", client.get_client_final().encode()))
        return first[4:], answers[-1][1]


def code(answers: list[tuple[str, bytes]]) -> str:
    """Return the SQLSTATE of the one answer, a FATAL error."""
    [(kind, body)] = answers
    fields = wire.parse_report(body)
    assert (kind, fields["S"]) == ("E", "FATAL")
    return fields["C"]


def kinds(answers: list[tuple[str, bytes]]) -> str:
    """Join the types."""
    return "".join(kind for kind, _body in answers)
