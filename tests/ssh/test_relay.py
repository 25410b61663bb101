"""A client's connection joined with a target's, by a judge that tests answer for."""

from __future__ import annotations

from collections import deque

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_ssh import connection
from hoopgw_ssh.channels import PROHIBITED, SHORTAGE, STDERR, WINDOW, Channel, Opening, Request
from hoopgw_ssh.inspector import Passage, Silence
from hoopgw_ssh.relay import REFUSED_STATUS, Pair, Relay
from hoopgw_ssh.rulings import Ruling
from tests.ssh.ends import End, Taker

YES, NO = Ruling(allowed=True), Ruling(allowed=False, reason="Not that.\nAsk bob.")
STATUS = (b"exit-status", REFUSED_STATUS.to_bytes(4, "big"))


@define(eq=False)
class Judging:
    """A judge that allows all, unless it is told what to answer."""

    answers: dict[bytes, Deferred[Ruling]] = field(factory=dict)
    asked: list[object] = field(factory=list)

    def _say(self, name: bytes, what: object) -> Deferred[Ruling]:
        self.asked.append(what)
        return self.answers.get(name) or succeed(YES)

    def opening(self, opening: Opening, *, by_target: bool) -> Deferred[Ruling]:
        """Answer."""
        return self._say(opening.kind, (opening.kind, by_target))

    def request(self, _channel: Pair, request: Request) -> Deferred[Ruling]:
        """Answer."""
        return self._say(request.name, (request.name, request.data))

    def for_connection(self, request: Request) -> Deferred[Ruling]:
        """Answer."""
        return self._say(request.name, (request.name, request.data))


@define
class Upper:
    """An inspector that shouts, and keeps the last byte back."""

    kept: bytes = b""
    inputs: list[bytes] = field(factory=list)
    ends: list[Request | None] = field(factory=list)
    abandons: int = 0
    codes: list[int | None] = field(factory=list)
    """Of what was put out."""
    passage: Passage = field(init=False)

    def attach(self, passage: Passage) -> None:
        """Keep it."""
        self.passage = passage

    def to_target(self, data: bytes) -> bytes:
        """Keep it."""
        self.inputs.append(data)
        return data

    def input_ended(self) -> bytes | None:
        """Add nothing."""
        return b""

    def abandoned(self) -> None:
        """Count it."""
        self.abandons += 1

    def to_client(self, data: bytes, code: int | None) -> bytes:
        """Shout."""
        self.codes.append(code)
        if code is not None:
            return data
        whole, self.kept = self.kept + data[:-1].upper(), data[-1:].upper()
        return whole

    def rest(self, code: int | None) -> bytes:
        """Return the last byte."""
        if code is not None:
            return b""
        rest, self.kept = self.kept, b""
        return rest

    def ended(self, status: Request | None) -> None:
        """Keep it."""
        self.ends.append(status)


class RelayCase(SynchronousTestCase):
    """A client, a target, and what is between them."""

    def setUp(self) -> None:
        self.judging = Judging()
        self.client, self.target = End(), End()
        self.up: deque[tuple[int, bytes]] = deque()
        self.down: deque[tuple[int, bytes]] = deque()
        self.relay = Relay(
            lambda number, payload, more=b"": self.down.append((number, payload + bytes(more))),
            lambda number, payload, more=b"": self.up.append((number, payload + bytes(more))),
            self.judging,
        )

    def run_all(self) -> None:
        """Carry all messages."""
        ways = (
            (self.client.sent, self.relay.client),
            (self.down, self.client.connection),
            (self.up, self.target.connection),
            (self.target.sent, self.relay.target),
        )
        while any(queue for queue, _ in ways):
            for queue, end in ways:
                while queue:
                    end.received(*queue.popleft())

    def session(self, kind: bytes = b"session") -> tuple[Channel, Taker]:
        """Let the client open a channel."""
        taker = Taker()
        channel = taker.channel = self.client.connection.open(kind, b"extra", taker)
        self.run_all()
        return channel, taker

    @property
    def far(self) -> tuple[Channel, Taker]:
        """The target's end of the last channel."""
        return self.target.openings[-1][1], self.target.takers[-1]


class SessionTests(RelayCase):
    """Channels that clients open."""

    def test_a_command(self) -> None:
        """Requests, input, output, status and the ends: as they came, in order."""
        channel, taker = self.session()
        answers: list[bool] = []
        channel.request(b"env", b"LANG", None)
        channel.request(b"exec", b"cat", answers.append)
        channel.write(b"input")
        channel.eof()
        self.run_all()
        far, there = self.far
        self.assertEqual(
            there.events, [(b"env", b"LANG"), (b"exec", b"cat"), (None, b"input"), "eof"]
        )
        slot = there.requests[-1].slot
        assert slot is not None
        slot.succeed()
        far.write(b"output")
        far.write_extended(STDERR, b"error")
        far.request(b"exit-status", b"\0\0\0\3")
        far.eof()
        far.close()
        self.run_all()
        self.assertEqual(answers, [True])
        self.assertEqual(
            taker.events[1:],
            [(None, b"output"), (STDERR, b"error"), (b"exit-status", b"\0\0\0\3"), "eof", "closed"],
        )
        self.assertFalse(self.relay.pairs)
        self.assertFalse(self.relay.client.channels or self.relay.target.channels)

    def test_data_before_a_command(self) -> None:
        """Goes nowhere, either way: some targets would keep it for what is started later."""
        upper = Upper()
        self.judging.answers[b"session"] = succeed(Ruling(allowed=True, inspector=Silence()))
        self.judging.answers[b"exec"] = succeed(Ruling(allowed=True, inspector=upper))
        channel, taker = self.session()
        channel.write(b"unseen")
        channel.write_extended(STDERR, b"unseen")
        self.run_all()
        far, there = self.far
        far.write(b"unseen")
        self.run_all()
        channel.request(b"exec", b"cat", None)
        channel.write(b"seen")
        self.run_all()
        self.assertEqual(there.events, [(b"exec", b"cat"), (None, b"seen")])
        self.assertEqual((upper.inputs, taker.text), ([b"seen"], b""))

    def test_a_held_command(self) -> None:
        """Nothing of it, and nothing behind it, reaches the target; other channels go on."""
        held = self.judging.answers[b"exec"] = Deferred()
        channel, _ = self.session()
        channel.request(b"exec", b"rm", lambda _ok: None)
        channel.write(b"input")
        channel.request(b"signal", b"INT")
        self.run_all()
        _, there = self.far
        self.assertEqual(there.events, [])
        del self.judging.answers[b"exec"]
        other, _ = self.session()
        other.request(b"exec", b"ls", lambda _ok: None)
        self.run_all()
        self.assertEqual(self.far[1].events, [(b"exec", b"ls")])
        held.callback(YES)
        self.run_all()
        self.assertEqual(there.events, [(b"exec", b"rm"), (None, b"input"), (b"signal", b"INT")])

    def test_a_refused_command(self) -> None:
        """It says why, and ends with a status; the target's channel is closed, untouched."""
        self.judging.answers[b"exec"] = succeed(NO)
        channel, taker = self.session()
        answers: list[bool] = []
        channel.request(b"pty-req", b"", answers.append)
        channel.request(b"exec", b"rm", answers.append)
        self.run_all()
        _, there = self.far
        slot = there.requests[0].slot
        assert slot is not None
        slot.fail()
        self.run_all()
        self.assertEqual(answers, [False, True])
        said = (STDERR, b"Not that.\r\nAsk bob.\r\n")
        self.assertEqual(taker.events[1:], [said, STATUS, "eof", "closed"])
        self.assertEqual(there.events, [(b"pty-req", b""), "closed"])
        self.assertFalse(self.relay.pairs)

    def test_other_refused_requests(self) -> None:
        """Just fail, and the session goes on."""
        self.judging.answers[b"env"] = succeed(NO)
        channel, taker = self.session()
        answers: list[bool] = []
        channel.request(b"env", b"LD_PRELOAD", answers.append)
        channel.request(b"exec", b"ls", lambda _ok: None)
        self.run_all()
        self.assertEqual((answers, taker.events[1:]), ([False], []))
        self.assertEqual(self.far[1].events, [(b"exec", b"ls")])

    def test_a_second_command(self) -> None:
        """On one channel is not taken, whatever the judge would say: the first was judged."""
        channel, _ = self.session()
        answers: list[bool] = []
        for name in (b"exec", b"shell", b"subsystem"):
            channel.request(name, b"", answers.append)
        self.run_all()
        self.assertEqual([request.name for request in self.far[1].requests], [b"exec"])
        self.assertEqual(answers, [False, False][: len(answers)])
        self.assertEqual(len(self.judging.asked), 2)  # the session, and one command

    def test_who_gives_up(self) -> None:
        """While somebody decides: the question is withdrawn."""
        withdrawn: list[object] = []
        self.judging.answers[b"exec"] = Deferred(withdrawn.append)
        channel, _ = self.session()
        channel.request(b"exec", b"rm", lambda _ok: None)
        self.run_all()
        channel.close()
        self.run_all()
        self.assertEqual(len(withdrawn), 1)
        self.assertEqual(self.far[1].events, ["closed"])

    def test_a_client_that_closes_before_the_status(self) -> None:
        """As OpenSSH does when output has ended before the process: it is told all the same."""
        channel, taker = self.session()
        channel.request(b"exec", b"true", None)
        self.run_all()
        far, there = self.far
        there.closes = False
        far.eof()
        self.run_all()
        channel.eof()
        channel.close()
        self.run_all()
        self.assertEqual(there.events[-1], "closed")
        self.assertEqual(taker.events[-1], "eof")
        far.request(b"exit-status", b"\0\0\0\5")
        far.close()
        self.run_all()
        self.assertEqual(taker.events[-2:], [(b"exit-status", b"\0\0\0\5"), "closed"])
        self.assertFalse(self.relay.pairs or self.relay.client.channels)
        self.assertFalse(self.relay.target.channels or self.client.connection.channels)

    def test_a_judge_that_fails(self) -> None:
        """Has refused."""
        broken: Deferred[Ruling] = Deferred()
        broken.errback(RuntimeError("inside"))
        self.judging.answers[b"exec"] = broken
        channel, taker = self.session()
        channel.request(b"exec", b"rm", lambda _ok: None)
        self.run_all()
        self.assertIn(STATUS, taker.events)
        self.assertNotIn(b"inside", repr(taker.events).encode())
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_refused_channel(self) -> None:
        """By the judge, before the target hears of it, and by the target itself."""
        self.judging.answers[b"direct-tcpip"] = succeed(NO)
        _, taker = self.session(b"direct-tcpip")
        self.assertEqual(taker.events, [("refused", PROHIBITED, NO.reason.encode())])
        self.assertFalse(self.target.openings)
        self.target.confirms = False
        _, taker = self.session()
        self.target.openings[-1][1].refuse(2, b"no route")
        self.run_all()
        self.assertEqual(taker.events, [("refused", 2, b"no route")])
        self.assertFalse(self.relay.pairs)

    def test_too_many_channels(self) -> None:
        """Of the target's are refused at the client."""
        self.patch(connection, "CHANNELS_LIMIT", 2)
        for _ in range(2):
            self.session()
        self.relay.client.channels.clear()
        self.client.connection.channels.clear()
        _, taker = self.session()
        self.assertEqual(taker.events[0][:2], ("refused", SHORTAGE))


class FlowTests(RelayCase):
    """Back-pressure through both legs."""

    def test_a_target_that_does_not_read(self) -> None:
        """Stops its client at two windows, not at the size of our memory."""
        channel, _ = self.session()
        self.far[1].credits = False
        for _ in range(4 * WINDOW // 30_000):
            channel.write(bytes(30_000))
        self.run_all()
        self.assertLessEqual(len(self.far[1].text), WINDOW)
        self.assertLessEqual(channel.sent, 2 * WINDOW)
        self.assertGreater(channel.waiting, WINDOW)

    def test_an_inspector(self) -> None:
        """Changes output, keeps some back, and all of it arrives; windows stay whole."""
        upper = Upper()
        self.judging.answers[b"exec"] = succeed(Ruling(allowed=True, inspector=upper))
        channel, taker = self.session()
        channel.request(b"exec", b"yes", None)
        channel.write(b"in")
        self.run_all()
        far, _ = self.far
        for _ in range(3 * WINDOW // 30_000):
            far.write(b"x" * 30_000)
        far.request(b"exit-status", bytes(4))
        far.eof()
        far.close()
        self.run_all()
        self.assertEqual(taker.text, b"X" * (3 * WINDOW // 30_000 * 30_000))
        self.assertEqual(upper.inputs, [b"in"])
        (status,) = upper.ends
        assert status is not None
        self.assertEqual(status.name, b"exit-status")


class TargetTests(RelayCase):
    """What targets ask for."""

    def test_forwards(self) -> None:
        """A channel that the target opens is judged, too."""
        taker = Taker()
        taker.channel = self.target.connection.open(b"forwarded-tcpip", b"where", taker)
        self.run_all()
        self.assertEqual(self.judging.asked, [(b"forwarded-tcpip", True)])
        opening, channel = self.client.openings[0]
        self.assertEqual(opening, Opening(b"forwarded-tcpip", b"where"))
        channel.write(b"from the client")
        taker.channel.write(b"from the target")
        self.run_all()
        self.assertEqual(taker.text, b"from the client")
        self.assertEqual(self.client.takers[0].text, b"from the target")
        channel.close()
        self.run_all()
        self.assertFalse(self.relay.pairs)

    def test_keys_of_the_host(self) -> None:
        """A client would take them for the gateway's."""
        for name in (b"hostkeys-00@openssh.com", b"whatever@example"):
            answers: list[bytes | None] = []
            self.target.connection.request(name, b"keys", answers.append)
            self.run_all()
            self.assertEqual(answers, [None])
        self.assertFalse(self.client.requests)

    def test_requests(self) -> None:
        """Only those that are known: a target may not set the client's environment."""
        _, taker = self.session()
        far, _ = self.far
        answers: list[bool] = []
        far.request(b"env", b"X", answers.append)
        far.request(b"keepalive@openssh.com", b"", lambda _ok: None)
        self.run_all()
        self.assertEqual(answers, [False])
        self.assertEqual([each.name for each in taker.requests], [b"keepalive@openssh.com"])


class ConnectionTests(RelayCase):
    """Requests for no channel."""

    def test_keep_alives(self) -> None:
        """Are answered here, also while somebody decides."""
        answers: list[bytes | None] = []
        self.client.connection.request(b"keepalive@openssh.com", b"", answers.append)
        self.run_all()
        self.assertEqual((answers, self.judging.asked), ([None], []))

    def test_judged(self) -> None:
        """A forward, as the client wants it from the target."""
        held = self.judging.answers[b"tcpip-forward"] = Deferred()
        answers: list[bytes | None] = []
        self.client.connection.request(b"tcpip-forward", b"where", answers.append)
        self.run_all()
        self.assertFalse(self.target.requests)
        held.callback(YES)
        self.run_all()
        slot = self.target.requests[0].slot
        assert slot is not None
        slot.succeed(b"port")
        self.run_all()
        self.assertEqual(answers, [b"port"])
        self.judging.answers[b"tcpip-forward"] = succeed(NO)
        self.client.connection.request(b"tcpip-forward", b"where", answers.append)
        self.run_all()
        self.assertEqual(answers, [b"port", None])

    def test_the_end(self) -> None:
        """Of one leg ends all; questions are withdrawn."""
        withdrawn: list[object] = []
        self.judging.answers[b"tcpip-forward"] = Deferred(withdrawn.append)
        self.client.connection.request(b"tcpip-forward", b"", lambda _answer: None)
        self.session()
        self.run_all()
        self.relay.lost()
        self.assertEqual(len(withdrawn), 1)
        self.assertFalse(self.relay.pairs)
