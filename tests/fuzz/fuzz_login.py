"""A PostgreSQL client until it is logged in.

Invariant: no bytes log anybody in, however they are cut, and none of them raise out of `received`;
it refuses at most once, and leaves no timer.
"""

from __future__ import annotations

import typing
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from hoopgw.errors import AuthenticationError
from hoopgw.events import Principal
from hoopgw.identity.shown import (
    SessionPassword,
)
from hoopgw.spi import (
    GatewayContext,
    TargetSettings,
)
from hoopgw.transport import DataTransport
from hoopgw_postgres import wire
from hoopgw_postgres.login import LoggedIn, Login
from tests.fuzz.pieces import cut

_STARTUP: Final = b"\0\0\0\x27\0\3\0\0user\0reader\0database\0orders\0\0\0\0\0"
SEEDS: Final = (
    b"\0\0\0\0\x08\x04\xd2\x16\x2f",
    b"\1\x05\0\0\0\x08\x04\xd2\x16\x30\0\0\0\x08\x04\xd2\x16\x2f",
    b"\0" + (4 + len(_STARTUP[4:])).to_bytes(4, "big") + _STARTUP[4:],
    b"\0\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\1\0\0\0\2",
    b"\0\x16\x03\x01\0\x05hello",
)


@define(eq=False)
class Wire:
    """Takes what the log-in does to the client's transport."""

    written: bytearray = field(factory=bytearray)
    encrypted: bool = False
    tls: Any = None

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.written += data

    def startTLS(self, _context: Any, *, server_side: bool, received: bytes) -> None:
        """Note it."""
        assert server_side
        self.encrypted = True

    def loseConnection(self) -> None:
        """Do nothing."""


class NoLogins:
    """Knows nobody."""

    def token(self, _token: str, _target: str, _account: str = "") -> Principal:
        """Refuse."""
        raise AuthenticationError("no token is good")

    def chain(self, _chain: str, _target: str, _holder: str | None = None) -> Deferred[Principal]:
        """Refuse."""
        return fail(AuthenticationError("no chain is good"))

    def session_password(self, _handle: str) -> Deferred[SessionPassword]:
        """Refuse."""
        return fail(AuthenticationError("no such password"))


def fuzz(data: bytes) -> None:
    """Feed a log-in with pieces; the first bytes say where they are cut."""
    clock, client = Clock(), Wire()
    done: list[LoggedIn] = []
    cancels: list[wire.CancelRequest] = []
    refused: list[str] = []
    # A context with only those parts that a log-in may use: others would be an AttributeError.
    context = typing.cast(
        "GatewayContext",
        type(
            "Context", (), {"clock": clock, "logins": NoLogins(), "tls": None, "targets": TARGETS}
        ),
    )
    login = Login(
        context,
        typing.cast("DataTransport", client),
        lambda: b"certificate hash",
        b"decoy key",
        cancels.append,
        done.append,
        lambda _wanted, why: refused.append(why),
    )
    body, pieces = cut(data)
    plain = bool(body and body[-1] % 2)
    for piece in pieces:
        login.received(piece)
        if client.encrypted and not plain:
            client.encrypted, plain = False, True
            login.handshake_completed()
    login.lost()
    assert not done, "somebody is logged in"
    assert len(refused) <= 1
    assert not clock.getDelayedCalls(), "a timer is left"


TARGETS: Final = {"orders": TargetSettings(name="orders", protocol="postgres", agent="local")}
