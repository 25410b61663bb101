"""Requests to the control listener, in whatever pieces they come.

Invariant: nothing is raised out of `dataReceived` or logged as a failure, no answer is a 500, what
is answered was whole, no body is longer than it may be, and no timer is left when the peer is gone.
"""

from __future__ import annotations

import re
from typing import Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from zope.interface import implementer

from hoopgw.control.web import BODY_LIMIT, Call, ControlSite, JsonRoutes, Route
from tests.fuzz.pieces import cut

_HEAD: Final = b"Host: x\r\nContent-Type: application/json\r\n"
SEEDS: Final = (
    b"\0GET /v1/echo?a=b HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\2\x09\x30POST /v1/echo/one HTTP/1.1\r\n" + _HEAD + b'Content-Length: 10\r\n\r\n{"a": [1]}',
    b"\0POST /v1/echo/two HTTP/1.1\r\n"
    + _HEAD
    + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n',
    b"\1\x20" + b"GET /v1/echo HTTP/1.1\r\nHost: x\r\n\r\n" * 3,
    b"\0GET /v1/late HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/echo HTTP/1.1\r\nHost: x\r\n\r\n",
)


def _echo(call: Call) -> dict[str, Any]:
    return {"path": list(call.path), "query": dict(call.query), "body": str(call.body)}


@implementer(ILogObserver)
class Watch:
    """Keeps what is logged as a failure."""

    def __init__(self) -> None:
        self.failures: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        """Look at one event."""
        if "log_failure" in event:
            self.failures.append(event)


def fuzz(data: bytes) -> None:
    """Let a site read the pieces."""
    watch = Watch()
    clock, root = Clock(), Resource()
    root.putChild(
        b"v1",
        JsonRoutes(
            [
                Route("GET", "echo", _echo),
                Route("POST", "echo/*", _echo),
            ]
        ),
    )
    site = ControlSite(root, clock)
    channel: Any = site.buildProtocol(None)
    wire = StringTransport()
    globalLogPublisher.addObserver(watch)
    try:
        channel.makeConnection(wire)
        for piece in cut(data)[1]:
            if not wire.disconnecting and not wire.disconnected:
                channel.dataReceived(piece)
        for request in channel.requests:
            assert request.content is None or request.content.tell() <= BODY_LIMIT
        channel.connectionLost(Failure(ConnectionDone()))
    finally:
        globalLogPublisher.removeObserver(watch)
    assert not watch.failures, watch.failures
    assert b"HTTP/1.1 500" not in wire.value()
    answered = len(re.findall(rb"(?m)^HTTP/1\.[01] \d{3} ", wire.value()))
    assert answered <= data.count(b"\n") + 1
    assert not clock.getDelayedCalls(), "a timer is left"
