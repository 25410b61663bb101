"""The gateway's own question to a target, and targets that answer it badly."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import LinkError
from hoopgw_postgres import wire
from hoopgw_postgres.prelude import ANSWER_LIMIT, PATIENCE, Prelude
from tests.postgres.conversation import FakeLeg, complete, error, row, row_description

READY = wire.ready(b"I")


class PreludeTests(SynchronousTestCase):
    """Tests for `Prelude`."""

    def setUp(self) -> None:
        self.clock, self.leg = Clock(), FakeLeg(paused=True)
        self.prelude = Prelude(self.leg, self.clock)
        self.asked: Deferred[Any] = Deferred.fromCoroutine(self.prelude.ask(b"SELECT 1"))

    def tell(self, *messages: bytes) -> None:
        """Send from the target."""
        self.prelude.dataReceived(memoryview(b"".join(messages)))

    def failed(self) -> str:
        """Return why it failed."""
        return str(self.failureResultOf(self.asked, LinkError).value)

    def test_rows(self) -> None:
        """They come by result; the leg is paused again."""
        self.assertFalse(self.leg.paused)
        one = row_description("a") + row(b"1") + row(None) + complete("SELECT 2")
        two = row_description("b", "c") + complete("SELECT 0")
        self.tell(one, two, READY)
        self.assertEqual(self.successResultOf(self.asked), [[(b"1",), (None,)], []])
        self.assertTrue(self.leg.paused)

    @given(st.data())
    def test_any_cut(self, data: st.DataObject) -> None:
        """However it comes."""
        prelude = Prelude(FakeLeg(), Clock())
        asked = Deferred.fromCoroutine(prelude.ask(b"SELECT 1"))
        rest = row_description("a") + row(b"one") + complete("SELECT 1") + READY
        while rest:
            size = data.draw(st.integers(1, len(rest)))
            prelude.dataReceived(memoryview(rest[:size]))
            rest = rest[size:]
        self.assertEqual(self.successResultOf(asked), [[(b"one",)]])

    def test_what_follows_is_the_sessions(self) -> None:
        """A notification, or a half of one, is not lost between two readers."""
        self.tell(READY, b"A\0\0\0")
        self.successResultOf(self.asked)
        self.assertEqual(self.prelude.rest(), b"A\0\0\0")

    def test_silence(self) -> None:
        """A target that says nothing is not waited for longer than that."""
        self.clock.advance(PATIENCE + 0.1)
        self.assertIn("did not answer", self.failed())

    def test_drops(self) -> None:
        """Nor one that says little, again and again."""
        self.tell(row_description("a"))
        for _ in range(int(PATIENCE) + 1):
            self.tell(row(b"x"))
            self.clock.advance(1)
        self.assertIn("did not answer", self.failed())

    def test_an_error(self) -> None:
        """It is the caller's answer, when the target is ready again."""
        self.tell(error("42501", "not for you"))
        self.assertNoResult(self.asked)
        self.tell(READY)
        self.assertIn("not for you", self.failed())

    def test_the_end(self) -> None:
        """A target that closes."""
        self.prelude.connectionLost(Failure(ConnectionDone()))
        self.assertIn("ended the connection", self.failed())

    def test_rows_without_end(self) -> None:
        """All that it sends counts, not only what is not taken yet."""
        self.tell(row_description("a"))
        chunk = row(b"x" * 1000) * 100
        for _ in range(ANSWER_LIMIT // len(chunk) + 1):
            self.tell(chunk)
        self.assertIn("too large", self.failed())

    def test_a_message_without_end(self) -> None:
        """Its length is refused, its body is not waited for."""
        for length in (2**30, 2**32 - 1, 3, 0):
            self.setUp()
            self.tell(b"D" + length.to_bytes(4, "big"))
            self.assertIn("does not speak", self.failed())

    def test_counts_that_lie(self) -> None:
        """A row of seven bytes that says it has 65,535 values would cost us half a megabyte."""
        for body in (
            struct.pack(">H", 65_535),
            struct.pack(">H", 65_535) + b"\xff" * 4 * 65_535,
            struct.pack(">Hi", 1, 5) + b"four",
            struct.pack(">Hi", 1, -2),
            struct.pack(">Hi", 1, 2**31 - 1),
            struct.pack(">H", 1),
            row(b"1")[5:] + b"more",
            b"\0",
            b"",
        ):
            self.setUp()
            self.tell(row_description("a"), wire.message(b"D", body))
            self.assertIn("malformed", self.failed())

    @given(st.lists(st.tuples(st.sampled_from(b"TDECZNSIGHW"), st.binary(max_size=20))))
    def test_nothing_raises(self, messages: list[tuple[int, bytes]]) -> None:
        """Whatever it sends: an answer, a `LinkError`, or the deadline."""
        self.setUp()
        self.tell(*(wire.message(bytes([kind]), body) for kind, body in messages))
        self.clock.advance(PATIENCE + 0.1)
        self.asked.addErrback(lambda failure: failure.trap(LinkError))
        self.successResultOf(self.asked)
