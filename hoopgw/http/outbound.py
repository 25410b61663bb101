"""From the gateway's bytes to the target's: each request is read, stripped, and given a credential.

Runs in the agent, on its pump. Answers pass untouched, and unread unless a request may change the
protocol: see `hoopgw.http.answers`. All that comes in one piece goes to the target in one: each
write is a record of TLS, and a system call.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import LinkError
from hoopgw.http.answers import Answers
from hoopgw.http.bodies import End
from hoopgw.http.errors import (
    MalformedError,
    MessageError,
    UpstreamError,
    UpstreamMalformedError,
)
from hoopgw.http.heads import parse_request_head, request_framing
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
from hoopgw.spi import Divert
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
_BLANK: Final = b"\r\n\r\n"
_UPGRADE: Final = ((b"Connection", b"Upgrade"),)
_METHODS: Final = re.compile("(?!TRACE$|TRACK$|CONNECT$)[A-Z]+")
"""Not those that give the request back, credential included, or ask for another host."""


class Credential(Protocol):
    """What carries an account's credential, as header fields."""

    def kept(self) -> tuple[Pair, ...] | None:
        """Return it if it is at hand, and still good; else None. The same value means the same."""
        ...

    async def fetch(self) -> tuple[Pair, ...]:
        """Fetch it from its source.

        Raises:
            LinkError: there is none at the moment; the text is for the caller.

        """
        ...


@frozen(kw_only=True)
class Stamp:
    """What every request of a connection gets."""

    host: str
    credential: Credential = field(repr=False)
    strips: frozenset[bytes] = frozenset()
    """Fields besides the usual that are taken out, in lower case."""
    fields: tuple[Pair, ...] = ()
    """What every request says of whom it is for; what it said of that itself is taken out."""
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
    _answers: Answers | None = field(default=None, init=False, repr=False)
    """Where a request may change the protocol."""
    _host: Pair = field(init=False)
    _credential: tuple[Pair, ...] = field(default=(), init=False, repr=False)
    """With which the last request was sent."""
    _strips: frozenset[bytes] = field(init=False, repr=False)
    """What is taken out of a request, so that this one is put in."""
    _chunked: bool = field(default=False, init=False)
    _out: list[Buffer] = field(factory=list, init=False, repr=False)
    """What goes to the target once all that came is read."""
    _waiting: Deferred[None] | None = field(default=None, init=False, repr=False)
    _asking: bool = field(default=False, init=False)
    """Whether the request that is under way asks for another protocol."""
    _raw: bool = field(default=False, init=False)
    """Whether what comes is no HTTP any more."""
    _over: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        # The far side's queue pauses the near one through the gate, so that a credential that is
        # waited for and a queue that is full do not undo each other's pause.
        self._gate = _Gate(self.near)
        self._host = (b"Host", self.stamp.host.encode())
        self._strips = self._always

    @property
    def _always(self) -> frozenset[bytes]:
        said = {name.lower() for name, _value in self.stamp.fields}
        return _STRIPPED | self.stamp.strips | said

    @property
    def gate(self) -> ReadGate:
        """What pauses the near side."""
        return self._gate

    def begin(self, divert: Divert) -> None:
        """Begin: answers are followed if the protocol may be changed."""
        if self.stamp.upgrades:
            self._answers = Answers(
                near=self.near,
                on_end=self._answered,
                on_change=self._change,
                on_broken=self._broken,
            )
            divert(self._answers.received)

    def received(self, data: Buffer) -> None:
        """Take bytes from the gateway."""
        if self._over:
            return
        if self._raw:
            self.far.write(data)
            return
        if self._reader.between and self._waiting is None and self._pass_at_once(data):
            return
        self._reader.receive(data)
        self._read_on()
        self._reader.keep()

    def _pass_at_once(self, data: Buffer) -> bool:
        """Pass on what is one whole request without a body, as most are; false: it is none.

        Whatever is not so simple, and whatever is refused, is left to the usual way.
        """
        credential = self.stamp.credential.kept()
        if credential is None or self._answers is not None or len(data) > LIMITS.head:
            return False
        block = bytes(data)
        if block.find(_BLANK) != len(block) - len(_BLANK):
            return False
        try:
            head = parse_request_head(block, LIMITS)
            if request_framing(head) != 0 or self._why_not(head):
                return False
        except MessageError:
            return False
        self.far.write(self._stamped(head, credential))
        return True

    def _read_on(self) -> None:
        reader, out = self._reader, self._out
        try:
            while self._waiting is None and not self._over:
                event = reader.next_event()
                if event is None:
                    if self._asking and reader.unread:
                        # The target may take them for HTTP, or not: it has not said yet.
                        raise MalformedError("bytes came before the protocol was changed")
                    break
                if isinstance(event, RequestHead):
                    self._begin(event)
                elif isinstance(event, End):
                    self._ended()
                else:
                    out.append(encode_chunk(event) if self._chunked else event)
        except MessageError as error:
            log.warn("a request from the gateway is not taken: {error}", error=error)
            self._refuse(error.status, str(error))
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self.far.write(data)

    def _why_not(self, head: RequestHead) -> str:
        """Say why a request is not passed on; empty if it is."""
        if head.target[0] != "/" or not _METHODS.fullmatch(head.method):
            # Of a URL, the host would count and not the one that is ours (RFC 9112, 3.2.2).
            return "the agent passes on requests for paths of its own target only"
        if self.stamp.read_only and head.method not in READING:
            return "the agent's floor lets this account only read"
        if not self.stamp.upgrades and head.upgrade:
            return "the agent does not change the protocol for this target"
        return ""

    def _begin(self, head: RequestHead) -> None:
        if reason := self._why_not(head):
            self._refuse(403, reason)
            return
        upgrade = bool(head.upgrade)
        if self._answers is not None:
            if not self._answers.are_whole:
                raise MalformedError("a request came before the answer to the last one")
            self._answers.expect(head.method, upgrade=upgrade)
        self._asking = upgrade
        self._chunked = self._reader.framing == CHUNKED
        kept = self.stamp.credential.kept()
        if kept is not None:
            self._out.append(self._stamped(head, kept))
            return
        sending = Deferred.fromCoroutine(self._fetch_and_send(head))
        if not sending.called:
            self._waiting = sending
            self._gate.hold(Hold.UNDECIDED)
            sending.addBoth(self._sent)
        else:
            sending.addErrback(self._not_sent)

    async def _fetch_and_send(self, head: RequestHead) -> None:
        self._out.append(self._stamped(head, await self.stamp.credential.fetch()))

    def _stamped(self, head: RequestHead, credential: tuple[Pair, ...]) -> bytes:
        """Return a request's head as it goes to the target."""
        if credential is not self._credential:
            self._credential = credential
            names = {name.lower() for name, _value in credential}
            self._strips = self._always | names
        kept = head.headers.changed(self._strips).pairs
        upgrade = _UPGRADE if self._asking else ()
        fields = (self._host, *kept, *upgrade, *self.stamp.fields, *credential)
        return encode_request(head.method, head.target, fields)

    def _sent(self, result: object) -> None:
        self._waiting = None
        if isinstance(result, Failure):
            self._not_sent(result)
            return
        if self._over:
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
        """Go on after a request; after one that asks for another protocol, once it is answered."""
        if self._chunked:
            self._out.append(encode_last_chunk())
        if not self._asking:
            self._reader.proceed()
        elif self._answers is not None and self._answers.are_whole:
            self._answered()  # before all of the request was there

    # What the answers call

    def _answered(self) -> None:
        """Take note that the target goes on with HTTP."""
        if self._asking and self._reader.is_whole:
            self._asking = False
            self._reader.proceed()

    def _change(self) -> None:
        """Take note that the target does not."""
        if not self._reader.is_whole:
            self._broken(UpstreamMalformedError("the protocol is changed within a request"))
        else:
            self._raw = True

    def _broken(self, error: UpstreamError) -> None:
        log.warn("an answer is not passed on: {error}", error=error)
        self._refuse(502, str(error))

    def _refuse(self, status: int, text: str) -> None:
        """Answer in the target's place, and end: what comes after cannot be told apart."""
        self._over = True
        self._out.clear()
        if self._answers is not None:
            self._answers.stop()
            if self._answers.begun:
                self.near.abortConnection()  # what is not whole must not look as if it were
                self.far.abortConnection()
                return
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
