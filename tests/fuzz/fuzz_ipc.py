"""Frames between our own processes.

Invariant: whatever a peer sends, in whatever pieces, nothing is raised out of `dataReceived`, and a
call that was answered wrongly fails rather than hangs once the connection is lost.
"""

from __future__ import annotations

from typing import Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from hoopgw.ipc import Body, Peer
from tests.fuzz.pieces import cut


def _frame(*parts: object) -> bytes:
    body = msgspec.msgpack.encode(parts)
    return len(body).to_bytes(4, "big") + body


SEEDS: Final = (
    b"\1\5" + _frame(0, 1, "echo", {"x": 1}) + _frame(1, 1, "", {"y": 2}),
    b"\0" + _frame(2, 1, "", {"text": "no"}) + _frame(3, 0, "echo", {}) + _frame(9, 9, "?", {}),
)


def fuzz(data: bytes) -> None:
    """Let a peer that waits for an answer read the pieces."""
    clock, outcomes = Clock(), list[object]()
    peer = Peer({"echo": lambda body: body}, clock)
    peer.makeConnection(StringTransport())
    call: Deferred[Body] = peer.call("anything")
    call.addBoth(outcomes.append)
    for piece in cut(data)[1]:
        peer.dataReceived(piece)
    peer.connectionLost()
    assert len(outcomes) == 1
    assert not clock.getDelayedCalls(), "a timer is left"
