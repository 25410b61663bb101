"""Calls between hoopgw's own processes, over a unix socket or the link.

A frame is a 4-byte big-endian length and a MessagePack array ``[kind, id, name, body]``. Both sides
may call. Twisted's AMP does the same, but cuts values at 65,535 bytes, and a statement under review
is longer than that. The peer is one of our own processes, or an enrolled agent; still, frames are
limited, and whatever is malformed closes the connection.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import HoopgwError, UnavailableError

log = Logger()

FRAME_LIMIT: Final = 16 * 2**20
CALL_TIMEOUT: Final = 15.0
"""Seconds that a call may take unless the caller says otherwise."""
_CALLS_LIMIT: Final = 10_000
"""Calls that may be under way from one side; more means that the peer hangs."""

_UCRED: Final = struct.Struct("3i")

Body: TypeAlias = dict[str, Any]
"""Names to MessagePack values. ``Any`` ends in the code that unpacks them."""
Handler: TypeAlias = Callable[[Body], Body | Awaitable[Body]]

_CALL, _ANSWER, _ERROR, _TELL = range(4)


class RemoteError(UnavailableError):
    """The peer answered a call with an error; the text is the peer's."""


class Peer(Protocol):
    """One end of a connection between two of our processes.

    Args:
        handlers: what the other side may call, by name.
        clock: for the deadlines of calls.
        on_ready: called with this object once the connection is made.
        on_lost: called once when the connection is gone; calls under way have failed by then.

    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        clock: IReactorTime,
        on_ready: Callable[[Peer], None] = lambda _peer: None,
        on_lost: Callable[[Peer], None] = lambda _peer: None,
    ) -> None:
        self._handlers = handlers
        self._clock = clock
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._buffer = bytearray()
        self._calls: dict[int, Deferred[Body]] = {}
        self._next = 0
        self._lost = False

    def connectionMade(self) -> None:
        """Tell the owner that calls can be made."""
        self._on_ready(self)

    def call(self, name: str, timeout: float = CALL_TIMEOUT, /, **body: Any) -> Deferred[Body]:
        """Call a handler of the other side.

        The Deferred fails with `RemoteError` if the other side raised, with `UnavailableError` if
        the connection is gone, and with Twisted's ``TimeoutError`` after ``timeout`` seconds.
        """
        if self._lost or self.transport is None:
            return fail(UnavailableError(f"not connected, so {name} was not called"))
        if len(self._calls) >= _CALLS_LIMIT:
            return fail(UnavailableError(f"too many calls under way to call {name}"))
        number = self._next + 1
        data = _encode([_CALL, number, name, body])
        if len(data) > FRAME_LIMIT:
            # The other side would close the connection, and with it what others wait for.
            return fail(UnavailableError(f"{len(data)} bytes are too many to call {name}"))
        self._next = number
        answer: Deferred[Body] = Deferred(lambda _d: self._forget(number))
        self._calls[number] = answer
        self._write(data)
        answer.addTimeout(timeout, self._clock)
        return answer

    def tell(self, name: str, /, **body: Any) -> None:
        """Call a handler without waiting; nothing happens when the connection is gone."""
        if not self._lost and self.transport is not None:
            self._send([_TELL, 0, name, body])

    def close(self) -> None:
        """Close the connection after what was sent."""
        if self.transport is not None:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Take frames off the connection."""
        self._buffer += data
        while len(self._buffer) >= 4 and not self._lost:
            size = int.from_bytes(self._buffer[:4], "big")
            if size > FRAME_LIMIT:
                self._abort(f"a frame of {size} bytes")
                return
            if len(self._buffer) < 4 + size:
                return
            frame = bytes(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]
            try:
                kind, number, name, body = msgspec.msgpack.decode(
                    frame, type=tuple[int, int, str, Body]
                )
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                self._abort(str(error))
                return
            self._received(kind, number, name, body)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail every call under way, and tell the owner."""
        self._lost = True
        calls, self._calls = self._calls, {}
        for answer in calls.values():
            answer.errback(UnavailableError("the connection was lost before the answer"))
        self._on_lost(self)

    def _forget(self, number: int) -> None:
        self._calls.pop(number, None)

    def _received(self, kind: int, number: int, name: str, body: Body) -> None:
        if kind in (_CALL, _TELL):
            outcome: Deferred[Body] = Deferred.fromCoroutine(self._handle(name, body))
            if kind == _CALL:
                outcome.addCallback(lambda answer: self._send([_ANSWER, number, "", answer]))
                outcome.addErrback(lambda failure: self._send_error(number, name, failure))
            outcome.addErrback(lambda failure: log.failure("{name} failed", failure, name=name))
            return
        answer = self._calls.pop(number, None)
        if answer is None:
            return  # it was cancelled or timed out meanwhile
        if kind == _ANSWER:
            answer.callback(body)
        else:
            answer.errback(RemoteError(str(body.get("text", "no reason given"))))

    async def _handle(self, name: str, body: Body) -> Body:
        handler = self._handlers.get(name)
        if handler is None:
            raise UnavailableError(f"{name} is not served here")
        answer = handler(body)
        return answer if isinstance(answer, dict) else await answer

    def _send_error(self, number: int, name: str, failure: Failure) -> None:
        if failure.check(HoopgwError) is None:
            log.failure("serving {name} failed", failure, name=name)
            text = f"{name} failed"
        else:
            text = failure.getErrorMessage()
        self._send([_ERROR, number, "", {"text": text}])

    def _send(self, frame: list[Any]) -> None:
        data = _encode(frame)
        if len(data) > FRAME_LIMIT:
            raise UnavailableError(f"{len(data)} bytes are too many to be sent")
        self._write(data)

    def _write(self, data: bytes) -> None:
        if not self._lost and self.transport is not None:
            self.transport.write(len(data).to_bytes(4, "big") + data)

    def _abort(self, reason: str) -> None:
        log.warn("closing an internal connection: {reason}", reason=reason)
        self._buffer.clear()
        self._lost = True
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]  # of stream transports


def peer_uid(connection: socket.socket) -> int:
    """Return the user of the process at the other end of a unix socket."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(credentials)[1])


def _encode(frame: list[Any]) -> bytes:
    return msgspec.msgpack.encode(frame)
