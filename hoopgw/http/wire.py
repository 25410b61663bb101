"""A strict HTTP/1.1 codec without I/O: bytes in, heads and runs of body out, and the other way.

`RequestReader` reads what a client sends, `ResponseReader` what a target sends; the ``encode_``
functions write. Both readers are pulled: `receive` stores, ``next_event`` gives, so that a
decision can stop them between two events; they stop by themselves at the end of a message.

Invariants, each with a test in ``tests/http/test_wire.py``:

- However the bytes are cut, the events are the same, the runs of a body joined.
- Whatever the bytes, a `RequestReader` raises `MessageError` only, a `ResponseReader`
  `UpstreamError` only; after it, every later call raises it again.
- What is accepted, h11 accepts too, and reads alike.
- The work is linear in the bytes, also if each comes alone.

Reference: RFC 9112.
"""

from __future__ import annotations

from typing import Final, NoReturn, TypeAlias

from attrs import define, field

from hoopgw.http.bodies import END, BodyEvent, BodyReader, End
from hoopgw.http.errors import (
    MalformedError,
    MessageError,
    UpstreamError,
    UpstreamLostError,
    UpstreamMalformedError,
)
from hoopgw.http.heads import (
    CHUNKED,
    TUNNEL,
    UNTIL_CLOSE,
    encode_fields,
    encode_request,
    encode_response,
    parse_request_head,
    parse_response_head,
    request_framing,
    response_framing,
    stays_open,
)
from hoopgw.http.intake import Buffer, Intake
from hoopgw.http.messages import Headers, Limits, RequestHead, ResponseHead

__all__ = [
    "CHUNKED",
    "CONTINUE",
    "END",
    "TUNNEL",
    "UNTIL_CLOSE",
    "Buffer",
    "End",
    "RequestEvent",
    "RequestReader",
    "ResponseEvent",
    "ResponseReader",
    "encode_chunk",
    "encode_last_chunk",
    "encode_request",
    "encode_response",
]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
_HEAD, _BODY, _DONE, _TUNNEL = range(4)

RequestEvent: TypeAlias = RequestHead | BodyEvent
ResponseEvent: TypeAlias = ResponseHead | BodyEvent


@define(eq=False)
class RequestReader:
    """Reads requests, one after the other: a head, runs of its body, `End`; then it waits.

    `proceed` goes on to the next request, `tunnel` gives all that follows as it comes.
    """

    limits: Limits = field(factory=Limits)
    keep_alive: bool = field(default=True, init=False)
    """Whether the client would send another request after this one."""
    framing: int = field(default=0, init=False)
    """Of the request whose head was given: its length, or `CHUNKED`."""
    _intake: Intake = field(factory=Intake, init=False, repr=False)
    _body: BodyReader = field(init=False, repr=False)
    _state: int = field(default=_HEAD, init=False)
    _failed: MessageError | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._body = BodyReader(self._intake, self.limits)

    @property
    def unread(self) -> int:
        """Bytes that came and were not given: after `End`, of requests that wait."""
        return self._intake.unread

    @property
    def between(self) -> bool:
        """Whether a request is waited for, and nothing of it has come."""
        return self._state == _HEAD and not self._intake.unread

    @property
    def is_whole(self) -> bool:
        """Whether all of the request has been given."""
        return self._state == _DONE

    def receive(self, data: Buffer | bytearray) -> None:
        """Store what came; the memory may be used again after `keep`."""
        self._intake.receive(data)

    def keep(self) -> None:
        """Copy what is unread. To be called before the memory of `receive` is used again."""
        self._intake.keep()

    def next_event(self) -> RequestEvent | None:
        """Give the next event, or None if more bytes, or a call of `proceed`, are needed.

        Data is valid until `keep`: copy what you keep.

        Raises:
            MessageError: the client broke the protocol, or a limit.

        """
        if self._failed is not None:
            raise self._failed
        try:
            if self._state == _HEAD:
                return self._next_head()
            if self._state == _BODY:
                event = self._body.next_event()
                if type(event) is End:
                    self._state = _DONE
                return event
            return self._intake.take_all() or None if self._state == _TUNNEL else None
        except MessageError as error:
            self._failed = error
            raise

    def proceed(self) -> None:
        """Read the next request, after `End`."""
        if self._state != _DONE:
            raise AssertionError("the request is not at its end")
        self._state = _HEAD

    def tunnel(self) -> None:
        """Give whatever follows as it is, after `End`: the protocol has been changed."""
        if self._state != _DONE:
            raise AssertionError("the request is not at its end")
        self._state = _TUNNEL

    def end(self) -> None:
        """Take note that nothing more comes.

        Raises:
            MalformedError: a request is not whole.

        """
        if self._failed is None and not self.between and self._state in (_HEAD, _BODY):
            self._failed = MalformedError("the connection ended within a request")
        if self._failed is not None:
            raise self._failed

    def _next_head(self) -> RequestHead | None:
        limits = self.limits
        block = self._intake.block(limits.head, limits.start_line)
        if block is None:
            return None
        head = parse_request_head(block, limits)
        self.framing = request_framing(head)
        self.keep_alive = stays_open(head.version, head.headers)
        self._body.start(self.framing)
        self._state = _BODY
        return head


@define(eq=False)
class ResponseReader:
    """Reads answers: for each request that was sent, `expect`; then a head, its body, `End`.

    Answers of status 1xx are passed over, up to a limit; 101 is taken where it was asked for.
    """

    limits: Limits = field(factory=Limits)
    keep_alive: bool = field(default=True, init=False)
    """Whether the connection may be used for another request after this answer."""
    framing: int = field(default=0, init=False)
    """Of the answer whose head was given."""
    _intake: Intake = field(factory=Intake, init=False, repr=False)
    _body: BodyReader = field(init=False, repr=False)
    _state: int = field(default=_DONE, init=False)
    _failed: UpstreamError | None = field(default=None, init=False)
    _method: str = field(default="", init=False)
    _upgrade: bool = field(default=False, init=False)
    _informational: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._body = BodyReader(self._intake, self.limits)

    @property
    def unread(self) -> int:
        """Bytes that came and were not given."""
        return self._intake.unread

    @property
    def is_whole(self) -> bool:
        """Whether all of the answer has been given, or none is expected."""
        return self._state == _DONE

    @property
    def is_idle(self) -> bool:
        """Whether no answer is expected, and nothing came that nobody asked for."""
        return self._state == _DONE and self._failed is None and not self._intake.unread

    @property
    def is_reusable(self) -> bool:
        """Whether the connection may be used for another request now."""
        return (
            self._state == _DONE
            and self.keep_alive
            and self._failed is None
            and not self._intake.unread
        )

    def whole_body(self, limit: int) -> bytes | None:
        """Return the body of the answer whose head was given, without taking it.

        None if it has no length, is longer than ``limit``, or is not all here.
        """
        size = self.framing
        if self._state != _BODY or not 0 <= size <= limit or self._intake.unread < size:
            return None
        return self._intake.peek(size)

    def expect(self, method: str, *, upgrade: bool = False) -> None:
        """Begin the answer to a request that was, or will be, sent."""
        if self._state != _DONE:
            raise AssertionError("an answer is under way")
        self._state, self._method, self._upgrade = _HEAD, method, upgrade
        self._informational = 0
        if self._intake.unread:
            self._failed = UpstreamMalformedError("the target answered before it was asked")

    def receive(self, data: Buffer | bytearray) -> None:
        """Store what came; the memory may be used again after `keep`."""
        self._intake.receive(data)

    def keep(self) -> None:
        """Copy what is unread. To be called before the memory of `receive` is used again."""
        self._intake.keep()

    def next_event(self) -> ResponseEvent | None:
        """Give the next event, or None if more bytes, or a call of `expect`, are needed.

        Data is valid until `keep`: copy what you keep.

        Raises:
            UpstreamError: the target broke the protocol, or a limit.

        """
        if self._failed is not None:
            raise self._failed
        try:
            if self._state == _HEAD:
                return self._next_head()
            if self._state == _BODY:
                event = self._body.next_event()
                if type(event) is End:
                    self._state = _DONE
                return event
        except MessageError as error:
            self._fail(str(error), error)
        if self._state == _TUNNEL:
            return self._intake.take_all() or None
        return None

    def end(self) -> End | None:
        """Take note that nothing more comes; gives `End` if that ends an answer.

        Raises:
            UpstreamLostError: an answer is not whole.

        """
        if self._failed is not None:
            raise self._failed
        if self._state == _DONE:
            return None
        if self._state == _TUNNEL or (self._state == _BODY and self._body.end()):
            self._state = _DONE
            self.keep_alive = False
            return END
        self._failed = UpstreamLostError("the target closed the connection within an answer")
        raise self._failed

    def _next_head(self) -> ResponseHead | None:
        limits = self.limits
        while (block := self._intake.block(limits.head, limits.start_line)) is not None:
            head = parse_response_head(block, limits)
            framing = response_framing(head, self._method)
            if head.status < 200 and head.status != 101:
                self._informational += 1
                if self._informational > limits.informational:
                    raise MalformedError("there are too many answers of status 1xx")
                continue
            if head.status == 101 and not self._upgrade:
                raise MalformedError("the protocol is changed, and nobody asked for it")
            self.framing = framing
            self.keep_alive = framing >= CHUNKED and stays_open(head.version, head.headers)
            self._body.start(framing)
            self._state = _TUNNEL if framing == TUNNEL else _BODY
            return head
        return None

    def _fail(self, text: str, error: MessageError) -> NoReturn:
        self._failed = UpstreamMalformedError(f"the target's answer is not taken: {text}")
        raise self._failed from error


def encode_chunk(data: Buffer) -> bytes:
    """Return data as a chunk. It may not be empty: that would be the end."""
    if not data:
        raise ValueError("an empty chunk ends a body")
    return b"".join((b"%x\r\n" % len(data), data, b"\r\n"))


def encode_last_chunk(trailers: Headers | None = None) -> bytes:
    """Return what ends a body in chunks."""
    return b"0\r\n" + encode_fields(trailers.pairs) if trailers else _LAST_CHUNK
