"""Tests for `hoopgw.http.outbound`: what of a request reaches a target, and who it is from."""

from __future__ import annotations

from collections.abc import Callable
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
AT_HAND = ((b"Authorization", b"Bearer real"),)
LINES = (
    *(b"Host: x", b"Host: y", b"Content-Length: 0", b"Content-Length: 2", b"Accept: a\x01b"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"Authorization: stolen"),
    *(b"Connection: Upgrade", b"Upgrade: websocket", b"Expect: 100-continue", b" folded", b"a\nb"),
    *(b"", b"authorizatioN: stolen", b"X-Y : z", b"Connection: close", b"Cookie: stolen", b"A: b"),
)
AFTER = (b"", b"ab", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n")
ASK = b"GET /w HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CHANGED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno.."
CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"
CHUNKED_ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS


@define(eq=False)
class Leg:
    """A transport that keeps what is written."""

    written: bytearray = field(factory=bytearray)
    writes: int = 0
    aborted: bool = False
    closed: bool = False
    paused: bool = False

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.written += data
        self.writes += 1

    def loseConnection(self) -> None:
        """Close."""
        self.closed = True

    def abortConnection(self) -> None:
        """Close at once."""
        self.closed = self.aborted = True

    def pauseProducing(self) -> None:
        """Stop."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Go on."""
        self.paused = False


@define(eq=False)
class Given:
    """A credential that a test has, at once or later."""

    token: bytes | Deferred[bytes] = b"Bearer real"
    name: bytes = b"Authorization"
    fields: tuple[tuple[bytes, bytes], ...] | None = None
    """What is at hand."""
    fetched: int = 0

    def kept(self) -> tuple[tuple[bytes, bytes], ...] | None:
        """Return what is at hand."""
        return self.fields

    async def fetch(self) -> tuple[tuple[bytes, bytes], ...]:
        """Fetch it."""
        self.fetched += 1
        token = self.token if isinstance(self.token, bytes) else await self.token
        return ((self.name, token),)


class OutboundCase(SynchronousTestCase):
    """One connection of the agent."""

    at_hand: tuple[tuple[bytes, bytes], ...] | None = None
    """The credential, where none has to be fetched: then whole requests take a shorter way."""

    def setUp(self) -> None:
        self.given = Given(fields=self.at_hand)
        self.stamp = Stamp(host="api.example", credential=self.given)
        self.make()

    def make(self, **changes: Any) -> None:
        """Begin a connection."""
        self.near, self.far = Leg(), Leg()
        stamp = evolve(self.stamp, **changes)
        self.outbound = Outbound(cast("Any", self.near), cast("Any", self.far), stamp)
        self.answers: list[Callable[[Any], None]] = []
        self.outbound.begin(self.answers.append)

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
        self.make(credential=Given(b"real", b"X-Api-Key"))
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

    def test_a_credential_that_is_waited_for(self) -> None:
        """Nothing is read meanwhile, also if the target's queue drains."""
        waiting: Deferred[bytes] = Deferred()
        self.given.token, self.given.fields = waiting, None
        self.assertEqual(self.send(GET + GET), b"")
        self.assertTrue(self.near.paused)
        self.outbound.gate.pauseProducing()
        self.outbound.gate.resumeProducing()
        self.assertTrue(self.near.paused)
        self.given.token = b"Bearer real"
        waiting.callback(b"Bearer real")
        self.assertEqual(bytes(self.far.written), SENT * 2)
        self.assertFalse(self.near.paused)

    def test_no_credential(self) -> None:
        self.given.token = fail(LinkError("the agent has no credential"))
        self.given.fields = None
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

    def test_another_protocol_is_refused(self) -> None:
        self.assertEqual(self.send(ASK), b"")
        self.assert_refused(403)
        self.assertEqual(self.answers, [])

    def test_what_is_at_hand_is_not_fetched(self) -> None:
        """Until it is another one."""
        self.given.fields = ((b"Authorization", b"Bearer real"),)
        self.assertEqual(self.send(GET * 2), SENT * 2)
        self.given.fields = ((b"X-Key", b"new"),)
        got = self.send(GET[:-2] + b"x-KEY: mine\r\n\r\n")
        self.assertTrue(got.endswith(b"\r\nX-Key: new\r\n\r\n"), got)
        self.assertNotIn(b"mine", got)
        self.assertEqual(self.given.fetched, 0)

    def test_one_write_for_what_came_together(self) -> None:
        """Each is a record of TLS, and a system call."""
        put = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
        self.send(put)
        self.assertEqual(self.far.writes, 1)
        self.send(put[:-3].replace(b"Content-Length: 3", b"Transfer-Encoding: chunked") + CHUNKS)
        self.assertEqual(self.far.writes, 2)
        self.assertTrue(self.far.written.endswith(b"\r\n\r\n" + CHUNKS))

    def test_nothing_goes_on_after_the_end(self) -> None:
        """A credential that comes when the request was given up is for nobody."""
        waiting: Deferred[bytes] = Deferred()
        self.given.token, self.given.fields = waiting, None
        self.send(GET)
        self.outbound.gate.stopProducing()
        self.given.token = b"Bearer real"
        waiting.errback(LinkError("too late"))
        self.assertEqual(bytes(self.far.written), b"")

    def test_the_end_of_the_target_is_the_links(self) -> None:
        self.outbound.gate.stopProducing()
        self.assertTrue(self.near.closed)


class AtHandTests(OutboundTests):
    """The same where the credential was fetched before."""

    at_hand = AT_HAND


class CutTests(OutboundCase):
    """However bytes come, the same goes out."""

    at_hand = AT_HAND

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

    @given(st.lists(st.sampled_from(LINES), max_size=5), st.booleans(), st.sampled_from(AFTER))
    def test_what_comes_whole_takes_no_other_way(
        self, lines: list[bytes], read_only: bool, after: bytes
    ) -> None:
        """A request in one piece is passed on, changed and refused as one that comes in many."""
        for first in (b"GET /a HTTP/1.1", b"DELETE /a;b HTTP/1.1", b"GET http://x/ HTTP/1.1"):
            text = b"".join(line + b"\r\n" for line in (first, *lines, b"")) + after
            said = []
            for step in (0, 1):
                self.make(read_only=read_only)
                self.send(text, step)
                status = bytes(self.near.written[:12])  # the words may be others
                # What came before a refusal may have been sent, or not any more.
                said.append((status, b"" if status else bytes(self.far.written), self.far.closed))
            self.assertEqual(*said)


class UpgradeTests(OutboundCase):
    """Tests for requests that ask for another protocol, where that is allowed."""

    def setUp(self) -> None:
        super().setUp()
        self.make(upgrades=True)

    def answer(self, data: bytes, step: int = 0) -> bytes:
        """Answer as the target would; return what the gateway got."""
        step = step or len(data)
        (received,) = self.answers
        for start in range(0, len(data), step):
            received(memoryview(bytearray(data[start : start + step])))
        return bytes(self.near.written)

    def test_the_target_changes_it(self) -> None:
        """Then what comes is no HTTP, both ways, and nothing of it is looked at."""
        self.assertIn(b"Connection: Upgrade\r\n", self.send(ASK))
        self.far.written.clear()
        for step in (0, 1):
            with self.subTest(step=step):
                self.make(upgrades=True)
                self.send(ASK)
                self.far.written.clear()
                self.assertEqual(self.answer(CHANGED + b"\1\2", step), CHANGED + b"\1\2")
                self.assertEqual(self.send(GET + b"\x00\xffnot http"), GET + b"\x00\xffnot http")
                self.answer(b"HTTP/1.1 nonsense\r\n\r\n")
                self.assertFalse(self.near.closed or self.far.closed)

    def test_the_target_does_not(self) -> None:
        """Then all that follows is HTTP: stripped, stamped, and held to the floor."""
        for refusal in (REFUSED, b"HTTP/1.1 100 Continue\r\n\r\n" + REFUSED, CHUNKED_ANSWER):
            with self.subTest(refusal=refusal):
                self.make(upgrades=True, read_only=True)
                self.send(ASK)
                self.far.written.clear()
                self.assertEqual(self.answer(refusal), refusal)
                self.assertEqual(self.send(GET), SENT)
                self.answer(REFUSED)
                self.send(b"DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertEqual(bytes(self.far.written), SENT)
                self.assertIn(b"only read", self.near.written)

    def test_bytes_before_the_answer_are_refused(self) -> None:
        """Nobody knows yet whether they are HTTP: with it, or after it, or after a 100."""
        self.send(ASK + b"\0")
        self.assert_refused(400, b"before the protocol")
        self.assertEqual(bytes(self.far.written), b"")
        delete = b"DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n"
        self.make(upgrades=True)
        self.send(ASK)
        sent = bytes(self.far.written)
        self.assertEqual(self.send(delete), sent)
        self.assert_refused(400, b"before the protocol")
        said = bytes(self.near.written)
        self.assertEqual(self.answer(CHANGED), said)
        self.make(upgrades=True)
        self.send(ASK)
        self.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(self.send(delete), sent)
        self.assertTrue(self.near.aborted and self.far.aborted)

    def test_bytes_within_the_answer_are_refused(self) -> None:
        """Without a word, which the gateway would take for a part of that answer."""
        self.send(ASK)
        self.answer(REFUSED[:-2])
        said = bytes(self.near.written)
        self.send(GET)
        self.assertEqual(bytes(self.near.written), said)
        self.assertTrue(self.near.aborted and self.far.aborted)

    def test_another_answer_is_not_taken_for_it(self) -> None:
        """One request at a time: a body that reads like a 101 changes nothing."""
        self.send(GET)
        self.assertEqual(self.send(ASK), SENT)
        self.assert_refused(400, b"before the answer")
        self.make(upgrades=True)
        self.send(GET)
        body = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CHANGED) + CHANGED
        self.answer(body)
        self.send(ASK)
        self.far.written.clear()
        self.answer(REFUSED)
        self.send(b"DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"Authorization: Bearer real", self.far.written)

    def test_answers_that_cannot_be_followed(self) -> None:
        """A 101 that nobody asked for, or too early; what is no answer; and one too many."""
        put = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
        asking = put + ASK[ASK.index(b"Connection") :]
        for sent, got in (
            (GET, CHANGED),
            (asking, CHANGED),
            (GET, b"HTTP/1.1 200\nX: y\r\n\r\n"),
            (GET, REFUSED + REFUSED),
            (b"", REFUSED),
        ):
            with self.subTest(sent=sent, got=got):
                self.make(upgrades=True)
                self.send(sent) if sent else None
                self.answer(got)
                self.assert_refused(502)
                self.assertNotIn(got, self.near.written)

    def test_an_answer_before_the_end_of_the_request(self) -> None:
        """HTTP goes on after it."""
        put = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
        self.send(put + ASK[ASK.index(b"Connection") :])
        self.assertEqual(self.answer(REFUSED), REFUSED)
        self.send(b"abc")
        self.far.written.clear()
        self.assertEqual(self.send(GET), SENT)

    @given(st.lists(st.sampled_from([REFUSED, CHUNKED_ANSWER]), max_size=4), st.integers(1, 9))
    def test_answers_pass_as_they_came(self, answers: list[bytes], step: int) -> None:
        """However they are cut."""
        self.make(upgrades=True)
        for answer in answers:
            self.send(GET)
            self.answer(answer, step)
        self.assertEqual(bytes(self.near.written), b"".join(answers))
        self.assertEqual(bytes(self.far.written), SENT * len(answers))
