"""Requests to the engine's server, in whatever pieces they come, with a target behind it.

Invariant: nothing is raised or logged as a failure, no answer is a 500, there are no more answers
than requests, what is sent on is well made, and no timer is left when both sides are gone.
"""

from __future__ import annotations

import re
from typing import Final

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from hoopgw.http.client import UpstreamConnection
from hoopgw.http.errors import UpstreamError
from hoopgw.http.exchange import Exchange
from hoopgw.http.forwarding import Hooks, forward
from hoopgw.http.messages import Limits
from hoopgw.http.wire import RequestReader
from tests.fuzz.fuzz_http import Watch
from tests.fuzz.pieces import cut
from tests.http.fakes import FakeTransport, Served, connect
from tests.http.reading import read_with_h11

_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SEEDS: Final = (
    b"\0GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\2\x09\x30PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n",
    b"\1\x40PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    b"\0" + b"GET /early HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n" * 3,
    b"\1\x20GET /up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: y\r\n\r\nGET",
)


def fuzz(data: bytes) -> None:
    """Let a proxy read the pieces, with a target that answers each request that is whole."""
    watch, clock = Watch(), Clock()
    targets: list[FakeTransport] = []

    async def handle(exchange: Exchange) -> None:
        upstream = UpstreamConnection(clock)
        targets.append(connect(upstream))
        await forward(exchange, upstream, exchange.head, hooks=Hooks())

    globalLogPublisher.addObserver(watch)
    try:
        served = Served(handle, Limits(), clock=clock)
        wrote = b""
        for piece in cut(data)[1]:
            if not served.wire.ended:
                wrote += served.send(piece)
                _answer(targets)
                wrote += served.wire.take()
        served.wire.lose()
        clock.advance(0)
        for target in targets:
            target.lose()
        clock.advance(0)
    finally:
        globalLogPublisher.removeObserver(watch)
    assert not watch.failures, watch.failures
    assert b"HTTP/1.1 500" not in wrote
    answers = len(re.findall(rb"HTTP/1\.1 [2-5]\d\d ", wrote))
    assert answers <= data.count(b"HTTP/1.") + data.count(b"\n") + 1
    for target in targets:
        reader = RequestReader()
        reader.receive(target.written)
        while reader.next_event() is not None:
            pass  # nothing is raised
    assert not clock.getDelayedCalls(), "a timer is left"


def _answer(targets: list[FakeTransport]) -> None:
    """Answer what came whole, as another codec sees it."""
    for target in targets:
        told = read_with_h11(bytes(target.written))
        whole = told is not None and told.messages and told.messages[0].trailers is not None
        if whole and target.connected and not target.ended and target.queued == 0:
            target.queued = -1  # it has answered
            try:
                target.protocol.dataReceived(_OK)
            except UpstreamError as error:
                raise AssertionError("an error came out of the engine") from error
