"""How tests read with the codec: pieces in, what was read out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import h11
from attrs import define, evolve, field

from hoopgw.http.errors import MessageError, UpstreamError
from hoopgw.http.messages import Headers, Limits, Pair, RequestHead, ResponseHead
from hoopgw.http.wire import End, RequestReader, ResponseReader

SMALL: Final = Limits(start_line=300, head=600, headers=12, trailers=200, chunk_line=40)


@define
class Message:
    """One message as it was read."""

    head: RequestHead | ResponseHead
    body: bytes = b""
    trailers: Headers | None = None
    """None: it is not whole."""


@define
class Told:
    """What a reader made of all bytes."""

    messages: list[Message] = field(factory=list)
    error: type[MessageError | UpstreamError] | None = field(default=None, eq=lambda e: e is None)
    """Of two faults, the cut decides which is found first."""
    rest: bytes = b""
    """What came through a tunnel."""


def read_requests(pieces: Iterable[bytes], limits: Limits = SMALL) -> Told:
    """Read requests up to the end; memory is used again after each piece, as transports do."""
    reader, told = RequestReader(limits), Told()
    try:
        for piece in pieces:
            shared = bytearray(piece)
            reader.receive(memoryview(shared))
            while (event := reader.next_event()) is not None:
                _take(told, event)
                if isinstance(event, End):
                    reader.proceed()
            reader.keep()
            shared[:] = b"\xee" * len(shared)
        reader.end()
    except MessageError as error:
        _failed(told, error)
    return told


def read_response(
    pieces: Iterable[bytes], method: str = "GET", limits: Limits = SMALL, *, upgrade: bool = False
) -> Told:
    """Read one answer up to the end of the connection."""
    reader, told = ResponseReader(limits), Told()
    reader.expect(method, upgrade=upgrade)
    try:
        for piece in pieces:
            shared = bytearray(piece)
            reader.receive(memoryview(shared))
            while (event := reader.next_event()) is not None:
                _take(told, event)
            reader.keep()
            shared[:] = b"\xee" * len(shared)
        if (end := reader.end()) is not None:
            _take(told, end)
        if not reader.is_idle:
            reader.expect("GET")
            reader.next_event()
    except UpstreamError as error:
        _failed(told, error)
    return told


def _lower(pair: Pair) -> Pair:
    return (pair[0], pair[1].lower()) if pair[0].lower() == b"transfer-encoding" else pair


def _failed(told: Told, error: MessageError | UpstreamError) -> None:
    """How much of a body came before an error depends on the cut; it is not whole anyway."""
    told.error = type(error)
    if told.messages and told.messages[-1].trailers is None:
        told.messages[-1].body = b""


def _take(told: Told, event: object) -> None:
    if isinstance(event, RequestHead | ResponseHead):
        # h11 gives this one value in lower case.
        told.messages.append(Message(evolve(event, headers=Headers.of(map(_lower, event.headers)))))
    elif isinstance(event, End):
        told.messages[-1].trailers = event.trailers
    elif isinstance(event, bytes | memoryview):
        told.messages[-1].body += event
    else:
        raise AssertionError(f"no event: {event!r}")


def read_with_h11(data: bytes, method: str | None = None) -> Told | None:
    """Read with h11: requests, or the answer to a ``method``; None if it refuses the bytes."""
    told = Told()
    try:
        if method is None:
            _h11_requests(data, told)
        else:
            _h11_answer(data, method, told)
    except h11.RemoteProtocolError:
        return None
    return told


def _h11_requests(data: bytes, told: Told) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
    connection.receive_data(data)
    connection.receive_data(b"")
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            pairs = Headers(tuple(event.headers.raw_items()))
            version = event.http_version.decode()
            head = RequestHead(event.method.decode(), event.target.decode(), pairs, version)
            told.messages.append(Message(head))
        elif not _h11_body(event, told):
            return
        elif isinstance(event, h11.EndOfMessage):
            connection.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()


def _h11_answer(data: bytes, method: str, told: Told) -> None:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=100_000)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    while True:
        event = connection.next_event()
        if isinstance(event, h11.InformationalResponse):
            continue
        if isinstance(event, h11.Response):
            pairs = Headers(tuple(event.headers.raw_items()))
            version = event.http_version.decode()
            told.messages.append(
                Message(ResponseHead(event.status_code, pairs, event.reason, version))
            )
        elif not _h11_body(event, told) or isinstance(event, h11.EndOfMessage):
            return


def _h11_body(event: object, told: Told) -> bool:
    if isinstance(event, h11.Data):
        told.messages[-1].body += event.data
        return True
    if isinstance(event, h11.EndOfMessage):
        told.messages[-1].trailers = Headers(tuple(event.headers.raw_items()))
        return True
    return False
