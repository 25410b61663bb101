"""Tests for `hoopgw.http.outbound`: what of a request reaches a target, and who it is from."""

from __future__ import annotations

from typing import Any, cast

from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import LinkError
from hoopgw.http.outbound import Outbound, Stamp

GET = b"GET /a?b=c HTTP/1.1\r\nHost: gw.example\r\nAccept: x\r\n\r\n"
SENT = (
    b"GET /a?b=c HTTP/1.1\r\nHost: api.example\r\nAccept: x\r\nAuthorization: Bearer real\r\n\r\n"
)


@define(eq=False)
class Leg:
    """A transport that keeps what is written."""

    written: bytearray = field(factory=bytearray)
    closed: bool = False
    paused: bool = False

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.written += data

    def loseConnection(self) -> None:
        """Close."""
        self.closed = True

    abortConnection = loseConnection

    def pauseProducing(self) -> None:
        """Stop."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Go on."""
        self.paused = False


class OutboundCase(SynchronousTestCase):
    """One connection of the agent."""

    def setUp(self) -> None:
        self.token: bytes | Deferred[bytes] = b"Bearer real"
        self.stamp = Stamp(host="api.example", credential=self.credential)
        self.make()

    def make(self, **changes: Any) -> None:
        """Begin a connection."""
        self.near, self.far = Leg(), Leg()
        stamp = evolve(self.stamp, **changes)
        self.outbound = Outbound(cast("Any", self.near), cast("Any", self.far), stamp)

    async def credential(self) -> tuple[tuple[bytes, bytes], ...]:
        """Give it, at once or later."""
        token = self.token if isinstance(self.token, bytes) else await self.token
        return ((b"Authorization", token),)

    def send(self, data: bytes, step: int = 0) -> bytes:
        """Send bytes as the gateway would; return what the target got."""
        step = step or len(data)
        for start in range(0, len(data), step):
            self.outbound.received(memoryview(bytearray(data[start : start + step])))
        return bytes(self.far.written)

    def assert_refused(self, status: int, said: bytes = b"") -> None:
        """Check that the gateway was told, and that both legs end."""
        self.assertTrue(self.near.written.startswith(b"HTTP/1.1 %d " % status), self.near.written)
        self.assertIn(said, self.near.written)
        self.assertTrue(self.near.closed and self.far.closed)


class OutboundTests(OutboundCase):
    """Tests for `Outbound`."""

    def test_a_request_gets_host_and_credential(self) -> None:
        self.assertEqual(self.send(GET), SENT)

    def test_byte_by_byte_and_several(self) -> None:
        self.assertEqual(self.send(GET * 3, 1), SENT * 3)

    def test_what_says_who_the_caller_is_never_passes(self) -> None:
        fields = (
            b"Authorization: Bearer stolen\r\n"
            b"x-ms-authorization-auxiliary: EncryptedBearer stolen\r\nCookie: s=stolen\r\n"
            b"Proxy-Authorization: Basic stolen\r\nX-Own: stolen\r\nKeep: it\r\n"
        )
        self.make(strips=frozenset({b"x-own"}))
        got = self.send(GET[:-2] + fields + b"\r\n")
        self.assertNotIn(b"stolen", got)
        self.assertIn(b"Keep: it\r\n", got)
        self.assertEqual(got.lower().count(b"authorization:"), 1)

    def test_a_field_that_carries_the_credential_is_not_doubled(self) -> None:
        async def key() -> tuple[tuple[bytes, bytes], ...]:
            return ((b"X-Api-Key", b"real"),)

        self.make(credential=key)
        got = self.send(GET[:-2] + b"x-api-KEY: mine\r\n\r\n")
        self.assertNotIn(b"mine", got)
        self.assertIn(b"X-Api-Key: real\r\n", got)

    def test_bodies(self) -> None:
        head = b"PUT /a HTTP/1.1\r\nHost: x\r\n"
        for length in (0, 1, 5):
            body = b"abcde"[:length]
            got = self.send(head + b"Content-Length: %d\r\n\r\n" % length + body)
            self.assertTrue(got.endswith(b"\r\n\r\n" + body))
            self.make()
        got = self.send(head + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
        self.assertIn(b"Transfer-Encoding: chunked\r\n", got)
        self.assertTrue(got.endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), got)

    @given(st.data())
    def test_however_it_is_cut(self, data: st.DataObject) -> None:
        """The same bytes reach the target but for where chunks end."""
        text = (b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n0123456" + GET) * 2
        self.make()
        whole = self.send(text)
        self.make()
        while text:
            size = data.draw(st.integers(1, len(text)))
            self.send(text[:size])
            text = text[size:]
        self.assertEqual(bytes(self.far.written), whole)

    def test_a_credential_that_is_waited_for(self) -> None:
        """Nothing is read meanwhile, also if the target's queue drains."""
        waiting: Deferred[bytes] = Deferred()
        self.token = waiting
        self.assertEqual(self.send(GET + GET), b"")
        self.assertTrue(self.near.paused)
        self.outbound.gate.pauseProducing()
        self.outbound.gate.resumeProducing()
        self.assertTrue(self.near.paused)
        self.token = b"Bearer real"
        waiting.callback(b"Bearer real")
        self.assertEqual(bytes(self.far.written), SENT * 2)
        self.assertFalse(self.near.paused)

    def test_no_credential(self) -> None:
        self.token = fail(LinkError("the agent has no credential"))
        self.assertEqual(self.send(GET), b"")
        self.assert_refused(503, b"no credential")

    def test_malformed(self) -> None:
        """Two readers could read it differently: it reaches no target."""
        for bad in (
            GET[:-2] + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET /a HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01",
        ):
            with self.subTest(bad=bad):
                self.make()
                self.assertEqual(self.send(bad + b"\r\n\r\n"), b"")
                self.assert_refused(400)
                self.assertEqual(self.send(GET), b"")

    def test_a_floor_that_only_reads(self) -> None:
        self.make(read_only=True)
        self.assertEqual(self.send(GET), SENT)
        self.send(b"DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(bytes(self.far.written), SENT)
        self.assert_refused(403, b"only read")

    def test_another_protocol(self) -> None:
        """Only where it is allowed; then what follows is no HTTP."""
        ask = b"GET /w HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        self.send(ask)
        self.assert_refused(403)
        self.make(upgrades=True)
        got = self.send(ask + b"\x00\xffnot http")
        self.assertIn(b"Connection: Upgrade\r\n", got)
        self.assertTrue(got.endswith(b"\r\n\r\n\x00\xffnot http"))

    def test_the_end_of_the_target_is_the_links(self) -> None:
        self.outbound.gate.stopProducing()
        self.assertTrue(self.near.closed)
