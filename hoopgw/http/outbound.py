"""From the gateway's bytes to the target's: each request is read, stripped, and given a credential.

Runs in the agent, on its pump. Answers pass untouched.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import LinkError
from hoopgw.http.bodies import End
from hoopgw.http.errors import MessageError
from hoopgw.http.messages import Limits, Pair, RequestHead
from hoopgw.http.wire import (
    CHUNKED,
    Buffer,
    RequestReader,
    encode_chunk,
    encode_last_chunk,
    encode_request,
    encode_response,
)
from hoopgw.sessions.gates import Hold, ReadGate
from hoopgw.transport import DataTransport

log = Logger()

LIMITS: Final = Limits(body=2**50)
"""The gateway bounds bodies; here they are bounded by what a connection can carry."""
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that a floor of ``read-only`` lets through."""
_STRIPPED: Final = frozenset(
    {
        b"authorization",
        b"connection",
        b"cookie",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"x-forwarded-host",
        b"x-forwarded-server",
        b"x-host",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-ms-authorization-auxiliary",
        b"x-original-host",
        b"x-original-method",
        b"x-original-url",
        b"x-rewrite-url",
    }
)
"""Who the caller says to be, what concerns the connection to the gateway only, and what makes
another request of one: of another host, or method, than the agent has let through."""
_METHODS: Final = re.compile("(?!TRACE$|TRACK$|CONNECT$)[A-Z]+")
"""Not those that give the request back, credential included, or ask for another host."""


@frozen(kw_only=True)
class Stamp:
    """What every request of a connection gets."""

    host: str
    credential: Callable[[], Awaitable[tuple[Pair, ...]]] = field(repr=False)
    """Gives the fields that carry it; raises `LinkError`."""
    strips: frozenset[bytes] = frozenset()
    """Fields besides the usual that are taken out, in lower case."""
    read_only: bool = False
    upgrades: bool = False


class _Gate(ReadGate):
    """Ends the near side with the far one."""

    _transport: DataTransport

    def stopProducing(self) -> None:
        """Close, after what was written has been sent."""
        self._transport.loseConnection()


@define(eq=False)
class Outbound:
    """Writes requests that come from ``near`` to ``far``."""

    near: DataTransport
    """From the gateway; also told what the agent refuses."""
    far: DataTransport
    stamp: Stamp
    _gate: ReadGate = field(init=False, repr=False)
    _reader: RequestReader = field(factory=lambda: RequestReader(LIMITS), init=False, repr=False)
    _chunked: bool = field(default=False, init=False)
    _waiting: Deferred[None] | None = field(default=None, init=False, repr=False)
    _raw: bool = field(default=False, init=False)
    """Whether what comes is no HTTP any more."""
    _raw_after: bool = field(default=False, init=False)
    """Whether what follows this request is none: only then does a target change the protocol."""
    _over: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        # The far side's queue pauses the near one through the gate, so that a credential that is
        # waited for and a queue that is full do not undo each other's pause.
        self._gate = _Gate(self.near)

    @property
    def gate(self) -> ReadGate:
        """What pauses the near side."""
        return self._gate

    def received(self, data: Buffer) -> None:
        """Take bytes from the gateway."""
        if self._over:
            return
        if self._raw:
            self.far.write(data)
            return
        self._reader.receive(data)
        self._read_on()
        self._reader.keep()

    def _read_on(self) -> None:
        try:
            while self._waiting is None and not self._over:
                event = self._reader.next_event()
                if event is None:
                    return
                if isinstance(event, RequestHead):
                    self._begin(event)
                elif isinstance(event, End):
                    self._ended()
                elif self._raw:
                    self.far.write(event)
                else:
                    self.far.write(encode_chunk(event) if self._chunked else event)
        except MessageError as error:
            log.warn("a request from the gateway is not taken: {error}", error=error)
            self._refuse(error.status, str(error))

    def _begin(self, head: RequestHead) -> None:
        if not head.target.startswith("/") or not _METHODS.fullmatch(head.method):
            # Of a URL, the host would count and not the one that is ours (RFC 9112, 3.2.2).
            self._refuse(403, "the agent passes on requests for paths of its own target only")
            return
        if self.stamp.read_only and head.method not in READING:
            self._refuse(403, "the agent's floor lets this account only read")
            return
        if head.upgrade and not self.stamp.upgrades:
            self._refuse(403, "the agent does not change the protocol for this target")
            return
        self._chunked = self._reader.framing == CHUNKED
        self._raw_after = bool(head.upgrade)
        sending = Deferred.fromCoroutine(self._send(head))
        if not sending.called:
            self._waiting = sending
            self._gate.hold(Hold.UNDECIDED)
            sending.addBoth(self._sent)
        else:
            sending.addErrback(self._not_sent)

    async def _send(self, head: RequestHead) -> None:
        credential = await self.stamp.credential()
        names = {name.lower() for name, _value in credential}
        strips = _STRIPPED | self.stamp.strips | names
        pairs = [pair for pair in head.headers if pair[0].lower() not in strips]
        if head.upgrade:
            pairs.append((b"Connection", b"Upgrade"))
        fields = ((b"Host", self.stamp.host.encode()), *pairs, *credential)
        if not self._over:
            self.far.write(encode_request(head.method, head.target, fields))

    def _sent(self, result: object) -> None:
        self._waiting = None
        if isinstance(result, Failure):
            self._not_sent(result)
            return
        self._gate.release(Hold.UNDECIDED)
        self._read_on()
        self._reader.keep()

    def _not_sent(self, failure: Failure) -> None:
        if failure.check(LinkError) is None:
            log.failure("a request could not be passed on", failure)
            self._refuse(502, "the agent could not pass the request on")
        else:
            self._refuse(503, failure.getErrorMessage())

    def _ended(self) -> None:
        if self._chunked:
            self.far.write(encode_last_chunk())
        if self._raw_after:
            self._reader.tunnel()
            self._raw = True
        else:
            self._reader.proceed()

    def _refuse(self, status: int, text: str) -> None:
        """Answer in the target's place, and end: what comes after cannot be told apart."""
        self._over = True
        body = text.encode()
        fields = (
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", b"%d" % len(body)),
            (b"X-Hoopgw-Agent", b"refused"),
            (b"Connection", b"close"),
        )
        self.near.write(encode_response(status, fields) + body)
        self.near.loseConnection()
        self.far.abortConnection()
