"""The agent's end of a connection that it makes, until the gateway has let it in."""

from __future__ import annotations

import secrets
import typing
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import LinkError, ProtocolViolationError
from hoopgw.link.frames import VERSION, Challenge, FrameReader, Welcome, encode
from hoopgw.link.proof import AgentKey
from hoopgw.link.tickets import NONCE_SIZE
from hoopgw.transport import DataTransport

log = Logger()

WELCOME_TIMEOUT: typing.Final = 10.0
"""Seconds from the connection to the welcome; the gateway may have to ask control."""


class Outgoing(Protocol):
    """Answers the gateway's challenge.

    Args:
        key: proves who this agent is.
        agent: its name.
        kind: what the connection is for.
        clock: for the deadline.
        welcomed: called in the same turn as the welcome arrives, with this object and the bytes
            that came behind it; takes the transport over, so that none are lost.

    """

    def __init__(
        self,
        key: AgentKey,
        agent: str,
        kind: typing.Literal["control", "data"],
        clock: IReactorTime,
        welcomed: Callable[[Outgoing, bytes], None],
    ) -> None:
        self._key, self._agent, self._kind = key, agent, kind
        self._welcomed = welcomed
        self.nonce = secrets.token_bytes(NONCE_SIZE)
        self._reader = FrameReader()
        self._challenged = False
        self._link: DataTransport | None = None
        self.done: Deferred[None] = Deferred(lambda _: self._abort())
        """Fires after ``welcomed``; fails with `LinkError`. Cancelling closes the connection."""
        self.done.addTimeout(WELCOME_TIMEOUT, clock, _too_late)

    def connectionMade(self) -> None:
        """Wait for the challenge."""
        self._link = typing.cast("DataTransport", self.transport)

    @property
    def link(self) -> DataTransport:
        """The connection's transport, once it is made."""
        assert self._link is not None
        return self._link

    def give_up(self) -> None:
        """End the wait of `done`: the connection was never made."""
        self.done.addErrback(lambda _failure: None)
        self.done.cancel()

    def dataReceived(self, data: bytes) -> None:
        """Take the challenge, then the welcome."""
        self._reader.receive_data(data)
        try:
            while (frame := self._reader.next_frame()) is not None:
                if isinstance(frame, Challenge) and not self._challenged:
                    self._answer(frame)
                elif isinstance(frame, Welcome) and self._challenged:
                    self._welcomed(self, self._reader.rest())
                    self.done.callback(None)
                    return
                else:
                    raise ProtocolViolationError(f"{type(frame).__name__} out of turn")
        except ProtocolViolationError as error:
            log.warn("closing a connection to the gateway: {error}", error=error)
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail, if the welcome has not come."""
        if not self.done.called:
            self.done.errback(LinkError("the gateway closed the connection before its welcome"))

    def _answer(self, challenge: Challenge) -> None:
        if challenge.version != VERSION or len(challenge.nonce) != NONCE_SIZE:
            raise ProtocolViolationError("the gateway speaks another version of the link")
        self._challenged = True
        hello = self._key.hello(challenge, self._kind, self._agent, self.nonce)
        self.link.write(encode(hello))

    def _abort(self) -> None:
        if self._link is not None:
            self._link.abortConnection()


def _too_late(_result: object, _timeout: float) -> None:
    raise LinkError("the gateway's welcome did not come in time") from DeferredTimeoutError()
