"""Channels: in order, within their windows, and answered in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh import channels, connection, wire
from hoopgw_ssh.answers import REQUESTS_LIMIT
from hoopgw_ssh.channels import PACKET, PROHIBITED, STDERR, WINDOW
from tests.ssh.ends import End, Ends, Taker

steps = st.one_of(
    st.tuples(st.just("data"), st.binary(min_size=1, max_size=200)),
    st.tuples(st.just("extended"), st.binary(min_size=1, max_size=200)),
    st.tuples(st.just("request"), st.binary(max_size=20)),
    st.tuples(st.just("pause"), st.just(b"")),
    st.tuples(st.just("resume"), st.just(b"")),
    st.tuples(st.just("run"), st.just(b"")),
)


class OrderTests(SynchronousTestCase):
    """What is sent comes, in order."""

    @given(st.lists(steps, max_size=40), st.integers(1, 400), st.integers(1, 300))
    def test_whatever_the_windows(
        self, script: list[tuple[str, bytes]], window: int, packet: int
    ) -> None:
        """Data, extended data, requests, EOF and CLOSE: none overtakes another."""
        ends = Ends()
        channel, _, other, taker = ends.channel()
        channel._window, channel._packet = window, packet
        other._credit = WINDOW // 4 - 1  # so that each credit is sent on at once
        expected: list[tuple[object, bytes]] = []
        for step, data in script:
            match step:
                case "data":
                    channel.write(data)
                    expected.append((None, data))
                case "extended":
                    channel.write_extended(STDERR, data)
                    expected.append((STDERR, data))
                case "request":
                    channel.request(b"env", data)
                    expected.append((b"env", data))
                case "pause":
                    ends.here.connection.pause()
                case "resume":
                    ends.here.connection.resume()
                case "run":
                    ends.run()
        channel.eof()
        channel.close()
        ends.here.connection.resume()
        ends.run()
        while channel.waiting:
            channel.adjusted(window)
            ends.run()
        self.assertEqual(joined(taker.events[:-2]), joined(expected))
        self.assertEqual(taker.events[-2:], ["eof", "closed"])

    def test_nothing_comes_after_the_end(self) -> None:
        """Data behind EOF is dropped, and credited, so that it holds nobody up."""
        ends = Ends()
        channel, _, _, taker = ends.channel()
        credited: list[int] = []
        channel.eof()
        channel.write(b"late", credited.append)
        ends.run()
        self.assertEqual((taker.events, credited), (["eof"], [4]))

    def test_interrupted(self) -> None:
        """What waits, as for a window, is dropped: the last word comes at once, then the end."""
        ends = Ends()
        channel, _, _, taker = ends.channel()
        credited: list[int] = []
        channel._window = 3
        channel.write(b"whatever", credited.append)
        channel.eof()
        channel.interrupt(b"signal", b"now")
        channel.interrupt(b"signal", b"again")
        ends.run()
        self.assertEqual(taker.events, [(None, b"wha"), (b"signal", b"now"), "closed"])
        self.assertEqual(sum(credited), 8)


def joined(events: Sequence[object]) -> list[tuple[object, bytes]]:
    """Join pieces of one kind."""
    found: list[tuple[object, bytes]] = []
    for event in events:
        assert isinstance(event, tuple)
        kind, data = event
        if found and kind == found[-1][0] and not isinstance(kind, bytes):
            found[-1] = (kind, found[-1][1] + data)
        else:
            found.append((kind, data))
    return found


class WindowTests(SynchronousTestCase):
    """Back-pressure."""

    def test_nothing_is_given_back_before_it_has_gone_on(self) -> None:
        """A taker that keeps what comes stops its peer at a window, and one that credits does not.

        Conch refills on receipt: then a target that does not read costs memory without end.
        """
        for credits_ in (False, True):
            ends = Ends()
            channel, _, _, taker = ends.channel()
            taker.credits = credits_
            for _ in range(5 * WINDOW // PACKET):
                channel.write(bytes(PACKET))
            ends.run()
            self.assertEqual(len(taker.text), 5 * WINDOW if credits_ else WINDOW)
            self.assertEqual(channel.waiting, 0 if credits_ else 4 * WINDOW)

    def test_credit_is_for_what_has_left(self) -> None:
        """In the measure of what came, not of what a mask made of it."""
        ends = Ends()
        channel, _, _, _ = ends.channel()
        channel._window = 10
        credited: list[int] = []
        channel.write(b"x" * 6, credited.append, owed=100)
        channel.write(b"y" * 6, credited.append, owed=2)
        self.assertEqual(sum(credited), 102)  # four of the last six have left, and paid for all
        channel.adjusted(10)
        self.assertEqual(sum(credited), 102)

    def test_more_than_the_window(self) -> None:
        """Extended data counts too; it ends the connection."""
        for code in (None, STDERR):
            ends = Ends()
            channel, _, _, taker = ends.channel()
            taker.credits = False
            channel._window = 10 * WINDOW
            for _ in range(WINDOW // PACKET + 1):
                if code is None:
                    channel.write(bytes(PACKET))
                else:
                    channel.write_extended(code, bytes(PACKET))
            with self.assertRaisesRegex(ProtocolViolationError, "window"):
                ends.run()

    def test_a_packet_that_is_too_large(self) -> None:
        """As well."""
        ends = Ends()
        channel, _, _, _ = ends.channel()
        channel._packet = PACKET + 1
        channel.write(bytes(PACKET + 1))
        with self.assertRaises(ProtocolViolationError):
            ends.run()

    def test_a_window_that_overflows(self) -> None:
        """Ends the connection."""
        ends = Ends()
        channel, _, _, _ = ends.channel()
        with self.assertRaises(ProtocolViolationError):
            channel.adjusted(2**32 - 1)

    def test_a_transport_that_is_full(self) -> None:
        """Takes no data, whatever the window says: "sent" is not "put into a buffer"."""
        ends = Ends()
        channel, _, _, taker = ends.channel()
        ends.here.connection.pause()
        credited: list[int] = []
        channel.write(b"abc", credited.append)
        ends.run()
        self.assertEqual((taker.text, credited), (b"", []))
        ends.here.connection.resume()
        ends.run()
        self.assertEqual((taker.text, credited), (b"abc", [3]))


class RequestTests(SynchronousTestCase):
    """Questions and answers."""

    def test_answers_leave_in_order(self) -> None:
        """Though the first is given last: a client would take a refusal for another's."""
        ends = Ends()
        channel, _, _, taker = ends.channel()
        answers: list[tuple[str, bool]] = []
        channel.request(b"pty-req", b"", lambda ok: answers.append(("pty", ok)))
        channel.request(b"exec", b"", lambda ok: answers.append(("exec", ok)))
        ends.run()
        pty, exec_ = (request.slot for request in taker.requests)
        assert pty is not None
        assert exec_ is not None
        exec_.fail()
        ends.run()
        self.assertEqual(answers, [])
        pty.succeed()
        exec_.succeed()  # settled already
        ends.run()
        self.assertEqual(answers, [("pty", True), ("exec", False)])

    def test_of_the_connection(self) -> None:
        """As well; a success may say something."""
        ends = Ends()
        answers: list[bytes | None] = []
        for _ in range(3):
            ends.here.connection.request(b"tcpip-forward", b"", answers.append)
        ends.run()
        slots = [request.slot for request in ends.there.requests]
        for slot in reversed(slots):
            assert slot is not None
            slot.fail() if slot is slots[1] else slot.succeed(b"port")
        ends.run()
        self.assertEqual(answers, [b"port", None, b"port"])

    def test_who_closes_is_answered(self) -> None:
        """All that asked is told no."""
        ends = Ends()
        channel, _, other, _ = ends.channel()
        answers: list[bool] = []
        channel.request(b"exec", b"", answers.append)
        ends.run()
        other.close()
        ends.run()
        self.assertEqual(answers, [False])
        self.assertFalse(ends.here.connection.channels or ends.there.connection.channels)

    def test_too_many(self) -> None:
        """Wait for an answer."""
        ends = Ends()
        channel, _, _, _ = ends.channel()
        for _ in range(REQUESTS_LIMIT + 1):
            channel.request(b"x", b"", lambda _ok: None)
        with self.assertRaisesRegex(ProtocolViolationError, "too many requests"):
            ends.run()

    def test_answers_to_nothing(self) -> None:
        """Are a fault, also for the connection."""
        ends = Ends()
        channel, _, _, _ = ends.channel()
        where = channel.id.to_bytes(4, "big")
        for number, payload in (
            (wire.CHANNEL_SUCCESS, where),
            (wire.CHANNEL_FAILURE, where),
            (wire.REQUEST_SUCCESS, b""),
            (wire.REQUEST_FAILURE, b""),
            (wire.OPEN_CONFIRMATION, where + bytes(12)),
            (wire.OPEN_FAILURE, where + bytes(12)),
        ):
            with self.assertRaises(ProtocolViolationError):
                ends.here.connection.received(number, payload)


class HoldTests(SynchronousTestCase):
    """A channel waits for somebody's decision."""

    def test_all_that_comes_behind_waits(self) -> None:
        """Data, signals and EOF, in order; other channels go on."""
        ends = Ends()
        channel, _, other, taker = ends.channel()
        second, _, _, free = ends.channel()
        other.hold()
        channel.write(b"stdin")
        channel.request(b"signal", b"INT")
        channel.eof()
        second.write(b"goes on")
        ends.run()
        self.assertEqual((taker.events, free.text), ([], b"goes on"))
        other.release()
        self.assertEqual(taker.events, [(None, b"stdin"), (b"signal", b"INT"), "eof"])

    def test_held_again(self) -> None:
        """By what was released."""
        ends = Ends()
        channel, _, other, taker = ends.channel()
        other.hold()
        channel.request(b"exec", b"1")
        channel.request(b"exec", b"2")
        ends.run()
        taker.holds = True
        other.release()
        self.assertEqual(len(taker.events), 1)
        channel.request(b"exec", b"3")
        ends.run()
        other.release()
        self.assertEqual(len(taker.events), 2)
        other.release()
        self.assertEqual([data for _, data in taker.events], [b"1", b"2", b"3"])

    def test_held_by_several(self) -> None:
        """Until the last one lets go."""
        ends = Ends()
        channel, _, other, taker = ends.channel()
        other.hold()
        other.hold()
        channel.write(b"stdin")
        ends.run()
        other.release()
        self.assertEqual(taker.events, [])
        other.release()
        self.assertEqual(taker.text, b"stdin")

    def test_small_pieces(self) -> None:
        """As many as the window has bytes are kept, and come together, in their places."""
        ends = Ends()
        channel, _, other, taker = ends.channel()
        other.hold()
        for _ in range(WINDOW // 16):
            channel.write(b"a small piece...")
            ends.run()
        channel.request(b"signal", b"INT")
        ends.run()
        other.release()
        self.assertEqual(taker.text, b"a small piece..." * (WINDOW // 16))
        self.assertLess(len(taker.events), 100)
        self.assertEqual(taker.events[-1], (b"signal", b"INT"))
        self.assertEqual(other._room, WINDOW)

    def test_who_gives_up_is_heard(self) -> None:
        """Though the channel is held: then nobody waits any more."""
        ends = Ends()
        channel, _, other, taker = ends.channel()
        other.hold()
        channel.write(b"stdin")
        channel.close()
        ends.run()
        self.assertEqual(taker.events, ["closed"])
        other.release()
        self.assertEqual(taker.events, ["closed"])

    def test_too_much(self) -> None:
        """Small pieces without end are not kept."""
        ends = Ends()
        channel, _, other, _ = ends.channel()
        other.hold()
        for _ in range(WINDOW // 64 + REQUESTS_LIMIT + 1):
            channel.request(b"window-change", b"")
        with self.assertRaisesRegex(ProtocolViolationError, "too much waits"):
            ends.run()


class OpeningTests(SynchronousTestCase):
    """Channels begin and end."""

    def test_refused(self) -> None:
        """With a reason; nothing stays."""
        ends = Ends(there=End(confirms=False))
        taker = Taker()
        ends.here.connection.open(b"x11", b"", taker)
        ends.run()
        ends.there.openings[0][1].refuse(PROHIBITED, "no")
        ends.run()
        self.assertEqual(taker.events, [("refused", PROHIBITED, b"no")])
        self.assertFalse(ends.here.connection.channels or ends.there.connection.channels)

    def test_too_many(self) -> None:
        """Are refused, and those that are there go on."""
        self.patch(connection, "CHANNELS_LIMIT", 3)
        ends = Ends()
        for _ in range(3):
            ends.channel()
        ends.here.connection.channels.pop(0)
        taker = Taker()
        ends.here.connection.open(b"session", b"", taker)
        ends.run()
        self.assertEqual(taker.events, [("refused", channels.SHORTAGE, b"too many channels")])
        with self.assertRaises(ProtocolViolationError):
            ends.here.connection.open(b"session", b"", Taker())
            ends.here.connection.open(b"session", b"", Taker())

    def test_late_messages(self) -> None:
        """To channels that are gone are ignored: they may have crossed with the CLOSE."""
        ends = Ends()
        gone = (77).to_bytes(4, "big")
        for number, payload in (
            (wire.CHANNEL_DATA, gone + wire.string(b"x")),
            (wire.EXTENDED_DATA, gone + bytes(4) + wire.string(b"x")),
            (wire.WINDOW_ADJUST, gone + bytes(4)),
            (wire.CHANNEL_EOF, gone),
            (wire.CHANNEL_CLOSE, gone),
            (wire.CHANNEL_REQUEST, gone + wire.string(b"x") + b"\1"),
            (wire.CHANNEL_SUCCESS, gone),
        ):
            ends.here.connection.received(number, payload)
        self.assertFalse(ends.here.sent)

    def test_the_transport_is_lost(self) -> None:
        """All channels end, and who asked is told."""
        ends = Ends()
        channel, taker, _, _ = ends.channel()
        answers: list[object] = []
        channel.request(b"exec", b"", answers.append)
        ends.here.connection.request(b"tcpip-forward", b"", answers.append)
        ends.here.connection.lost()
        self.assertEqual(answers, [False, None])
        self.assertEqual(taker.events[-1], "closed")

    @given(st.lists(st.tuples(st.integers(79, 101), st.binary(max_size=60)), max_size=30))
    def test_garbage(self, sent: list[tuple[int, bytes]]) -> None:
        """Whatever comes, the only exception is the peer's fault."""
        ends = Ends()
        ends.channel()
        with contextlib.suppress(ProtocolViolationError):
            for number, payload in sent:
                ends.here.connection.received(number, payload)
