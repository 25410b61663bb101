"""Answers of a target, in whatever pieces they come.

Invariant: the pieces are read as the whole is, nothing but an `UpstreamError` is raised, and what
is taken to the end h11 takes too, and reads alike.
"""

from __future__ import annotations

from typing import Final

from tests.fuzz.pieces import cut
from tests.http.reading import read_response, read_with_h11

SEEDS: Final = (
    b"\0HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"\2\x09\x30HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"\1\x40HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"\0HTTP/1.0 404 Not Found\r\nServer: x\r\n\r\nup to the end",
    b"\0HTTP/1.1 204 No Content\r\n\r\n",
)


def fuzz(data: bytes) -> None:
    """Read in pieces, whole, and with h11."""
    body, pieces = cut(data)
    told = read_response([body])
    assert read_response(pieces) == told
    if told.error is None:
        assert read_with_h11(body, "GET") == told
