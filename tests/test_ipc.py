"""Tests for `hoopgw.ipc`: calls between two of our own processes."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hoopgw import ipc
from hoopgw.errors import UnavailableError
from hoopgw.ipc import Body, Peer, RemoteError


def frame(*parts: Any) -> bytes:
    """Return a frame as it goes over the wire."""
    data = msgspec.msgpack.encode(list(parts))
    return len(data).to_bytes(4, "big") + data


class PeerTests(SynchronousTestCase):
    """Two peers, and what one hears of the other."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[Body] = []
        self.waiting: Deferred[Body] = Deferred()
        self.left, self.right = Peer({}, self.clock), Peer(self.handlers(), self.clock)
        self.left_wire, self.right_wire = StringTransport(), StringTransport()
        self.left.makeConnection(self.left_wire)
        self.right.makeConnection(self.right_wire)

    def handlers(self) -> dict[str, Any]:
        """Return what the right side serves."""

        def refuse(_body: Body) -> Body:
            raise UnavailableError("no")

        async def later(_body: Body) -> Body:
            return await self.waiting

        def tell(body: Body) -> Body:
            self.told.append(body)
            return {}

        return {
            "echo": lambda body: body,
            "refuse": refuse,
            "broken": lambda body: {"x": body["missing"]},
            "later": later,
            "tell": tell,
            "huge": lambda _body: {"x": bytes(ipc.FRAME_LIMIT)},
            "unspeakable": lambda _body: {"x": object()},
        }

    def carry(self) -> None:
        """Carry what was written, both ways."""
        for source, sink in ((self.left_wire, self.right), (self.right_wire, self.left)):
            data = source.value()
            source.clear()
            if data:
                sink.dataReceived(data)

    def called(self, name: str, **body: Any) -> Any:
        """Call, and return what comes of it."""
        answer = self.left.call(name, **body)
        self.carry()
        return answer

    def test_a_call(self) -> None:
        answer = self.successResultOf(self.called("echo", a=1, b=b"x"))
        self.assertEqual(answer, {"a": 1, "b": b"x"})

    def test_answers_come_in_any_order(self) -> None:
        later, soon = self.called("later"), self.called("echo", n=2)
        self.assertEqual(self.successResultOf(soon), {"n": 2})
        self.waiting.callback({"n": 1})
        self.carry()
        self.assertEqual(self.successResultOf(later), {"n": 1})

    def test_bytes_one_by_one(self) -> None:
        answer = self.left.call("echo", a=1)
        for byte in self.left_wire.value():
            self.right.dataReceived(bytes([byte]))
        self.left.dataReceived(self.right_wire.value())
        self.assertEqual(self.successResultOf(answer), {"a": 1})

    def test_a_refusal_says_why_and_a_fault_does_not(self) -> None:
        failure = self.failureResultOf(self.called("refuse"), RemoteError)
        self.assertEqual(str(failure.value), "no")
        failure = self.failureResultOf(self.called("broken"), RemoteError)
        self.assertEqual(str(failure.value), "broken failed")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.failureResultOf(self.called("nothing"), RemoteError)

    def test_an_answer_that_cannot_be_sent(self) -> None:
        """The caller is told, and does not wait for the end of its patience."""
        self.failureResultOf(self.called("huge"), RemoteError)
        self.failureResultOf(self.called("unspeakable"), RemoteError)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.successResultOf(self.called("echo"))

    def test_a_call_that_cannot_be_sent(self) -> None:
        """It costs nobody else the connection, and nothing of it is left."""
        self.failureResultOf(self.left.call("echo", x=bytes(ipc.FRAME_LIMIT)), UnavailableError)
        self.assertRaises(OverflowError, self.left.call, "echo", x=10**30)
        self.assertEqual(self.left_wire.value(), b"")
        self.left.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_tell(self) -> None:
        self.left.tell("tell", a=1)
        self.carry()
        self.assertEqual(self.told, [{"a": 1}])
        self.assertEqual(self.right_wire.value(), b"")

    def test_silence(self) -> None:
        answer = self.called("later")
        self.clock.advance(ipc.CALL_TIMEOUT)
        self.failureResultOf(answer, DeferredTimeoutError)
        self.waiting.callback({})
        self.carry()  # too late, and harmless

    def test_loss(self) -> None:
        answer = self.called("later")
        self.left.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(answer, UnavailableError)
        self.failureResultOf(self.left.call("echo"), UnavailableError)
        self.left.tell("tell")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_malformed_closes(self) -> None:
        """Whatever came: too long, garbage, another shape."""
        for data in (
            b"\xff\xff\xff\xff",
            (1).to_bytes(4, "big") + b"\xc1",
            frame("call", 1, "echo", {}),
            frame(0, 1, "echo"),
            frame(0, 1, "echo", []),
            b"\0\0\xff\xff" + b"\x91" * 0xFFFF,
        ):
            wire, peer = StringTransport(), Peer(self.handlers(), self.clock)
            peer.makeConnection(wire)
            peer.dataReceived(data + frame(3, 0, "tell", {}))
            self.assertTrue(wire.disconnected, data[:20])
            self.assertEqual(self.told, [])

    def test_an_answer_that_nobody_waits_for(self) -> None:
        self.left.dataReceived(frame(1, 99, "", {}) + frame(2, 98, "", {"text": "x"}))
        self.assertFalse(self.left_wire.disconnected)
