"""Requests of a client, in whatever pieces they come.

Invariant: the pieces are read as the whole is, nothing but a `MessageError` is raised, and what is
taken to the end h11 takes too, and reads alike.
"""

from __future__ import annotations

from typing import Final

from tests.fuzz.pieces import cut
from tests.http.reading import read_requests, read_with_h11

SEEDS: Final = (
    b"\0GET /subscriptions?api%2Dversion=1 HTTP/1.1\r\nHost: arm.gw:9443\r\nAccept: */*\r\n\r\n",
    b"\2\x09\x30PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    (
        b"\1\x40POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
    ),
    b"\0" + b"DELETE http://x/a HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n" * 2,
    b"\0GET /exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"\0CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
)


def fuzz(data: bytes) -> None:
    """Read in pieces, whole, and with h11."""
    body, pieces = cut(data)
    told = read_requests([body])
    assert read_requests(pieces) == told
    if told.error is None:
        other = read_with_h11(body)
        assert other is not None, "h11 refuses it"
        assert told.messages[: len(other.messages)] == other.messages
