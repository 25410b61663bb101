"""The gateway's end of a connection that an agent makes, until it is what it is for.

The peer is nobody until its hello has been verified: one small frame, five seconds, and not many
at a time. On a unix socket the peer's user must be on the list besides; on TCP the certificate in
the hello must be the one that TLS has verified.
"""

from __future__ import annotations

import secrets
import typing
from collections.abc import Awaitable, Callable

from attrs import define, field, frozen
from cryptography import x509
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import AuthenticationError, HoopgwError, ProtocolViolationError
from hoopgw.link.certificates import moment
from hoopgw.link.frames import (
    VERSION,
    Challenge,
    Frame,
    FrameReader,
    Hello,
    Welcome,
    encode,
)
from hoopgw.link.proof import Proved, verify_hello
from hoopgw.link.tickets import NONCE_SIZE
from hoopgw.transport import DataTransport

log = Logger()

HELLO_TIMEOUT: typing.Final = 5.0
"""Seconds from the connection to a verified hello."""
HELLO_LIMIT: typing.Final = 8_192
"""Bytes of a hello."""


@frozen(kw_only=True)
class Doorkeeper:
    """Decides who may come in."""

    authorities: tuple[x509.Certificate, ...]
    """The link's CAs."""
    clock: IReactorTime = field(repr=False)
    is_enrolled: Callable[[str, str], Awaitable[bool]] = field(repr=False)
    """Agent's name and certificate's serial number (hex): asks control."""
    agent_uids: frozenset[int] = frozenset()
    """Users whose processes may connect to a unix socket."""

    def check_peer(self, transport: DataTransport) -> None:
        """Look at who is behind a new connection.

        Raises:
            AuthenticationError: a user that may not be here.

        """
        if transport.tls is None:
            _pid, uid, _gid = transport.peer_credentials()
            if uid not in self.agent_uids:
                raise AuthenticationError(f"user {uid} may not connect to the link")

    async def check_hello(
        self, transport: DataTransport, challenge: Challenge, hello: Hello
    ) -> Proved:
        """Verify who the agent is, and that it is still enrolled.

        Raises:
            AuthenticationError: it is not.
            UnavailableError: control could not be asked.

        """
        tls = transport.tls
        if tls is not None and tls.getpeercert(binary_form=True) != hello.certificate:
            raise AuthenticationError("the certificate is not the one that TLS has seen")
        proved = verify_hello(hello, challenge, self.authorities, moment(self.clock.seconds()))
        if not await self.is_enrolled(proved.agent, proved.serial):
            raise AuthenticationError(f"agent {proved.agent!r} is not enrolled with this key")
        return proved


@define(eq=False)
class Arrival:
    """A connection that has been let in."""

    proved: Proved
    hello: Hello
    transport: DataTransport


class Incoming(Protocol):
    """One connection before its welcome.

    Args:
        doorkeeper: who may come in.
        arrived: told of whom was let in; it takes the transport's ``protocol`` over.
        left: told once when this protocol is done with the connection, either way.

    """

    def __init__(
        self,
        doorkeeper: Doorkeeper,
        arrived: Callable[[Arrival], None],
        left: Callable[[Incoming], None],
    ) -> None:
        self._doorkeeper = doorkeeper
        self._arrived = arrived
        self._left = left
        self._reader = FrameReader(HELLO_LIMIT)
        self._challenge = Challenge(VERSION, secrets.token_bytes(NONCE_SIZE))
        self._checking: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Challenge the peer."""
        self._transport = typing.cast("DataTransport", self.transport)
        self._deadline = self._doorkeeper.clock.callLater(HELLO_TIMEOUT, self._too_late)
        try:
            self._doorkeeper.check_peer(self._transport)
        except AuthenticationError as error:
            self.refuse(error)
            return
        self._transport.write(encode(self._challenge))

    def dataReceived(self, data: bytes) -> None:
        """Take the hello; nothing may follow it before the welcome."""
        self._reader.receive_data(data)
        try:
            if self._checking is not None:
                raise ProtocolViolationError("bytes before the welcome")
            frame = self._reader.next_frame()
            if frame is None:
                return
            if self._reader.rest():
                raise ProtocolViolationError("bytes before the welcome")
        except ProtocolViolationError as error:
            self.refuse(error)
            return
        self._checking = Deferred.fromCoroutine(self._check(frame))
        self._checking.addErrback(self._failed)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Stop the check."""
        self._done()

    def refuse(self, error: BaseException | None) -> None:
        """Log why, and close; the peer is told nothing."""
        log.warn("a connection to the link was refused: {error}", error=error)
        self._transport.abortConnection()

    async def _check(self, frame: Frame) -> None:
        if not isinstance(frame, Hello):
            raise ProtocolViolationError("not a hello")
        doorkeeper = self._doorkeeper
        proved = await doorkeeper.check_hello(self._transport, self._challenge, frame)
        self._checking = None
        self._done()
        self._transport.write(encode(Welcome()))
        self._arrived(Arrival(proved, frame, self._transport))

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is not None:
            return
        if failure.check(HoopgwError) is None:
            log.failure("a hello could not be checked", failure)
        self.refuse(failure.value)

    def _too_late(self) -> None:
        self._deadline = None
        self.refuse(AuthenticationError("no hello came in time"))

    def _done(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        checking, self._checking = self._checking, None
        if checking is not None:
            checking.cancel()
        self._left(self)
