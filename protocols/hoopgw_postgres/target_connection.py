"""A connection to a PostgreSQL server while the agent talks on it: TLS first, then a talk.

A talk is sans-I/O: a log-in (`hoopgw_postgres.target_login.TargetLogin`), or a request to cancel.
"""

from __future__ import annotations

import ssl
import typing

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import LinkError
from hoopgw.link.target_tls import Mode
from hoopgw.transport import DataTransport
from hoopgw_postgres.target_login import Tls
from hoopgw_postgres.target_tls import end_point
from hoopgw_postgres.wire import CANCEL_REQUEST, SSL_REQUEST

log = Logger()

_SSL_REQUEST: typing.Final = b"\0\0\0\x08" + SSL_REQUEST.to_bytes(4, "big")


class Talk(typing.Protocol):
    """What is said to the server once the connection is as it should be."""

    @property
    def is_ready(self) -> bool:
        """Whether all has been said; the transport is then somebody else's."""
        ...

    def begin(self, tls: Tls | None) -> bytes:
        """Return the first words."""
        ...

    def receive_data(self, data: bytes | memoryview) -> bytes:
        """Take what the server says, and return what to answer. Raises `LinkError`."""
        ...

    def closed(self) -> None:
        """Take note of the connection's end. Raises `LinkError` if that is a fault."""
        ...


@define
class CancelTalk:
    """A CancelRequest: the server does not answer it, it closes."""

    key: tuple[int, bytes] = field(repr=False)
    is_ready: bool = field(default=False, init=False)

    def begin(self, tls: Tls | None) -> bytes:
        """Return the request."""
        pid, secret = self.key
        body = CANCEL_REQUEST.to_bytes(4, "big") + pid.to_bytes(4, "big") + secret
        return (len(body) + 4).to_bytes(4, "big") + body

    def receive_data(self, data: bytes | memoryview) -> bytes:
        """Refuse: there is nothing to be said."""
        raise LinkError("the target answered a request to cancel")

    def closed(self) -> None:
        """Take it as done: whether it had an effect, the session shows."""


class TargetConnection(Protocol):
    """Asks for TLS if there is a context, then lets the talk speak.

    Args:
        talk: what is said.
        mode: how far TLS verifies.
        context: none speaks without TLS.
        host: the name that the server's certificate must have.

    """

    def __init__(self, talk: Talk, mode: Mode, context: ssl.SSLContext | None, host: str) -> None:
        self._talk, self._mode, self._context, self._host = talk, mode, context, host
        self._asking = context is not None
        self.done: Deferred[None] = Deferred(lambda _: self._link.abortConnection())
        """Fires when the talk is ready, with the transport paused and without a protocol, or when
        the server has closed and that is no fault. Fails with `LinkError`. Cancelling closes."""

    def connectionMade(self) -> None:
        """Ask for TLS, or begin at once."""
        self._link = typing.cast("DataTransport", self.transport)
        if self._asking:
            self._link.write(_SSL_REQUEST)
        else:
            self._begin(None)

    def handshakeCompleted(self) -> None:
        """Begin, inside TLS."""
        assert self._link.tls is not None
        binding = end_point(self._link.tls.getpeercert(binary_form=True))
        self._begin(Tls(is_verified=self._mode == "verify-full", end_point=binding))

    def dataReceived(self, data: bytes) -> None:
        """Take the answer about TLS, then what the talk is told."""
        if self._asking:
            self._answered(bytes(data[:2]))
            return
        try:
            answer = self._talk.receive_data(data)
        except LinkError as error:
            self._fail(error)
            return
        if answer:
            self._link.write(answer)
        if self._talk.is_ready:
            self._link.pauseProducing()
            self._link.protocol = None
            self.done.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Say why, as far as the caller may know."""
        if self.done.called:
            return
        if reason.check(ssl.SSLCertVerificationError) is not None:
            log.warn("the target's certificate: {why}", why=reason.value)
            self._fail(LinkError("the agent does not accept the target's certificate"))
        elif reason.check(ssl.SSLError) is not None:
            log.warn("TLS with the target: {why}", why=reason.value)
            self._fail(LinkError("the agent and the target find no common TLS"))
        else:
            self._closed()

    def _answered(self, answer: bytes) -> None:
        self._asking = False
        assert self._context is not None
        # Exactly one byte: what comes behind it would be taken as if it had come through TLS (the
        # fault of CVE-2021-23222).
        if answer == b"S":
            self._link.startTLS(self._context, server_side=False, server_hostname=self._host)
        elif answer == b"N":
            self._fail(LinkError("the target offers no TLS, and the agent insists on it"))
        else:
            self._fail(LinkError("the target does not answer a request for TLS as it should"))

    def _begin(self, tls: Tls | None) -> None:
        try:
            self._link.write(self._talk.begin(tls))
        except LinkError as error:
            self._fail(error)

    def _closed(self) -> None:
        try:
            self._talk.closed()
        except LinkError as error:
            self._fail(error)
        else:
            self.done.callback(None)

    def _fail(self, error: LinkError) -> None:
        if not self.done.called:
            self.done.errback(error)
        self._link.abortConnection()
