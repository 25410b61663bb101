"""What of a channel is recorded, and that nothing else goes on."""

from __future__ import annotations

import hashlib
from struct import pack

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed

from hoopgw.errors import ConfigError
from hoopgw.recording.content_frames import FrameKind, resize_data
from hoopgw.recording.contents import ContentAbout
from hoopgw.sessions.journal import Answered
from hoopgw_ssh.channels import STDERR, WINDOW, Channel
from hoopgw_ssh.inspecting import BEGINNING, HASHED_FROM, StreamInspector, input_kept
from hoopgw_ssh.rulings import Ruling
from hoopgw_ssh.wire import string
from tests.fakes import FakeContent
from tests.ssh.test_relay import STATUS, RelayCase
from tests.ssh.test_settings import WEB1

OUT, ERR, IN = FrameKind.OUTPUT, FrameKind.STDERR, FrameKind.INPUT


class InspectingCase(RelayCase):
    """A channel on which a command runs, recorded."""

    keeps_input = False
    hashes_input = True

    def setUp(self) -> None:
        super().setUp()
        self.content = FakeContent(0, ContentAbout(kind="exec"))
        self.results: list[Answered] = []
        inspector = StreamInspector(
            self.content,
            self.results.append,
            keeps_input=self.keeps_input,
            hashes_input=self.hashes_input,
        )
        self.judging.answers[b"exec"] = succeed(Ruling(allowed=True, inspector=inspector))
        self.channel, self.taker = self.session()
        self.channel.request(b"exec", string(b"cat"), None)
        self.run_all()

    @property
    def there(self) -> Channel:
        """The target's end."""
        return self.far[0]

    def finish(self, name: bytes = b"exit-status", data: bytes = pack(">I", 3)) -> Answered:
        """Let the target end it; return what came out."""
        self.there.request(name, data, None)
        self.there.eof()
        self.there.close()
        self.channel.close()
        self.run_all()
        (result,) = self.results
        return result


class OutputTests(InspectingCase):
    """What the client is shown."""

    def test_recorded_whole(self) -> None:
        self.there.write(b"hello ")
        self.there.write_extended(STDERR, b"oh")
        self.there.write(b"world")
        self.run_all()
        result = self.finish()
        self.assertEqual((self.content.of(OUT), self.content.of(ERR)), (b"hello world", b"oh"))
        self.assertEqual(self.taker.text, b"hello world")
        self.assertEqual((result.outcome, result.sent), ("exit 3", 13))
        self.assertEqual(result.output, b"hello ohworld")
        self.assertEqual(self.content.frames[-1], (FrameKind.EXIT, b"3"))
        self.assertEqual(self.content.outcome, "exit 3")

    def test_the_result_has_the_beginning_only(self) -> None:
        self.there.write(bytes(3 * BEGINNING))
        self.run_all()
        result = self.finish()
        self.assertEqual((result.sent, len(result.output)), (3 * BEGINNING, BEGINNING))

    def test_a_signal(self) -> None:
        result = self.finish(b"exit-signal", string(b"KILL\x1b") + b"\0" + string(b"") * 2)
        self.assertEqual(result.outcome, "signal KILL\\x1b")

    def test_no_status(self) -> None:
        for data in (b"", b"\0"):
            self.setUp()
            result = self.finish(b"exit-status", data)
            self.assertEqual(result.outcome, "ended without a status")

    def test_the_connection_is_lost(self) -> None:
        self.there.write(b"half")
        self.run_all()
        self.relay.lost()
        self.assertEqual(self.content.of(OUT), b"half")
        self.assertEqual(self.content.outcome, "ended without a status")
        self.assertEqual(len(self.results), 1)

    def test_requests_that_change_how_it_looks(self) -> None:
        self.channel.request(b"window-change", pack(">IIII", 132, 43, 0, 0), None)
        self.channel.request(b"signal", string(b"INT"), None)
        self.channel.request(b"window-change", b"short", None)
        self.channel.request(b"signal", b"", None)
        self.run_all()
        self.assertEqual(
            self.content.frames,
            [(FrameKind.RESIZE, resize_data(132, 43)), (FrameKind.MARK, b"signal INT")],
        )

    @given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=50)), max_size=10))
    def test_in_the_order_in_which_it_was_shown(self, pieces: list[tuple[bool, bytes]]) -> None:
        self.setUp()
        for is_error, data in pieces:
            if is_error:
                self.there.write_extended(STDERR, data)
            else:
                self.there.write(data)
            self.run_all()
        kept = [(STDERR if kind == ERR else None, data) for kind, data in self.content.frames]
        shown = [event for event in self.taker.events if event[0] in (None, STDERR)]
        self.assertEqual(kept, shown)


class InputTests(InspectingCase):
    """What the client sends: counted, and kept if the target's option says so."""

    def test_not_kept(self) -> None:
        data = b"x" * HASHED_FROM
        self.channel.write(data)
        self.run_all()
        result = self.finish()
        self.assertEqual(self.far[1].text, data)
        self.assertEqual((self.content.of(IN), self.content.counted[IN]), (b"", len(data)))
        self.assertEqual(result.received, len(data))
        self.assertEqual(result.received_digest, hashlib.sha256(data).digest())

    def test_what_is_short_is_not_hashed(self) -> None:
        self.channel.write(b"hunter2\n")
        self.run_all()
        result = self.finish()
        self.assertEqual((result.received, result.received_digest), (8, b""))

    def test_options(self) -> None:
        self.assertEqual(input_kept(WEB1), "never")
        for said in ("never", "commands", "always"):
            target = evolve(WEB1, options={"record_input": said})
            self.assertEqual(input_kept(target), said)
        wrong = evolve(WEB1, options={"record_input": True})
        self.assertRaises(ConfigError, input_kept, wrong)


class KeptInputTests(InspectingCase):
    """Where the option says so."""

    keeps_input = True

    def test_kept(self) -> None:
        self.channel.write(b"echo 1\n")
        self.run_all()
        self.assertEqual(self.content.of(IN), b"echo 1\n")

    def test_what_is_not_recorded_does_not_reach_the_target(self) -> None:
        self.content.fault = "the disk is full"
        self.channel.write(b"rm -rf /\n")
        self.run_all()
        self.assertEqual(self.far[1].text, b"")


class TerminalInputTests(InspectingCase):
    """Of a terminal."""

    hashes_input = False

    def test_not_even_hashed(self) -> None:
        self.channel.write(b"x" * 2 * HASHED_FROM)
        self.run_all()
        self.assertEqual(self.finish().received_digest, b"")


class FullTests(InspectingCase):
    """A disk that is full, or slow."""

    def test_what_is_not_recorded_is_not_shown(self) -> None:
        self.there.write(b"one")
        self.run_all()
        self.content.fault = "the disk is full"
        self.there.write(b"two")
        self.run_all()
        self.there.write(b"three")
        self.run_all()
        self.assertEqual(self.taker.text, b"one")
        errors = b"".join(event[1] for event in self.taker.events if event[0] == STDERR)
        self.assertIn(b"the disk is full, so this was ended", errors)
        self.assertIn(STATUS, [event[:2] for event in self.taker.events])
        self.channel.close()
        self.there.close()
        self.run_all()
        (result,) = self.results
        self.assertEqual(result.outcome, "ended by hoopgw: the disk is full")
        self.assertEqual(self.content.outcome, result.outcome)

    def test_a_slow_disk_stops_the_target(self) -> None:
        self.content.is_full = True
        for _ in range(3 * WINDOW // 30_000):
            self.there.write(bytes(30_000))
        self.run_all()
        self.assertEqual(self.there.sent, WINDOW)
        self.content.drain()
        self.run_all()
        self.assertGreater(self.there.sent, 3 * WINDOW - 30_000)
        self.assertEqual(self.content.of(OUT), self.taker.text)
        self.assertEqual(self.content.waiting, [])

    def test_the_end_while_the_disk_is_slow(self) -> None:
        self.content.is_full = True
        self.there.write(b"x")
        self.run_all()
        waiting: list[Deferred[None]] = self.content.waiting
        self.assertEqual(len(waiting), 1)
        self.finish()
        self.assertTrue(waiting[0].called)
