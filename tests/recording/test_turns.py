"""Tests for `hoopgw.recording.service` with a clock of our own: when what is done."""

from __future__ import annotations

import resource
import socket
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.ipc import Body, Peer, RemoteError
from hoopgw.recording import service
from hoopgw.recording.framing import SPOOL_HEADER_SIZE
from hoopgw.recording.intake import Intake
from hoopgw.recording.reader import LogReader
from hoopgw.recording.service import RecorderService
from hoopgw.recording.spool import SEGMENT_SIZE, SpoolWriter
from tests.recording.samples import (
    KEY,
    ORIGIN,
    VERIFIER,
    encoded,
    spool_frames,
    whole_session,
)


class UnixWire(StringTransport):
    """A wire with a real socket's handle: the recorder asks it whose the other end is."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = socket.socketpair()

    def getHandle(self) -> socket.socket:
        """Return our end."""
        return self.near

    def close(self) -> None:
        """Close both ends."""
        self.near.close()
        self.far.close()


class TurnsTestCase(SynchronousTestCase):
    """A recorder on a clock, and one worker that has said hello."""

    def setUp(self) -> None:
        self.state = Path(self.mktemp())
        self.log = self.state / "log"
        self.reactor: Any = MemoryReactorClock()
        self.given_up: list[str] = []
        self.service = RecorderService(
            self.state / "spool",
            self.log,
            KEY,
            ORIGIN,
            self.state / "recorder.sock",
            self.reactor,
            lambda: self.given_up.append("given up"),
        )
        self.service.startService()
        self.addCleanup(self.stop)
        self.writer = SpoolWriter(self.state / "spool", "w1")
        self.writer.open_next()
        self.addCleanup(self.writer.close)
        self.told: list[Body] = []
        self.worker = self.joined("w1")
        self.advance(0)

    def stop(self) -> None:
        if self.service.running:
            self.service.stopService()

    def joined(self, name: str) -> Peer:
        """Connect a worker; its end is played by the test."""
        factory = self.reactor.unixServers[0][1]
        self.theirs = factory.buildProtocol(None)
        ours: Peer = Peer({"progress": self.progress}, self.reactor)
        self.wires = (UnixWire(), UnixWire())
        for wire in self.wires:
            self.addCleanup(wire.close)
        self.theirs.makeConnection(self.wires[0])
        ours.makeConnection(self.wires[1])
        self.hello = ours.call("hello", worker=name)
        self.worker = ours
        self.carry()
        return ours

    def progress(self, body: Body) -> Body:
        self.told.append(body)
        return {}

    def carry(self) -> None:
        while any(wire.value() for wire in self.wires):
            for wire, peer in zip(self.wires, (self.worker, self.theirs), strict=True):
                data = wire.value()
                wire.clear()
                peer.dataReceived(data)

    def advance(self, *steps: float) -> None:
        for step in steps:
            self.reactor.advance(step)
            self.carry()

    def write(self, *records: bytes) -> None:
        self.writer.append(spool_frames(records))

    def kept(self) -> list[bytes]:
        return [kept.data for kept in LogReader(self.log).walk()]

    def signed(self) -> int:
        return LogReader(self.log).checkpoint(VERIFIER).size

    def call(self, name: str, **body: Any) -> Deferred[Body]:
        answer = self.worker.call(name, **body)
        self.carry()
        return answer

    def sync(self) -> Deferred[Body]:
        return self.call("sync", spool=self.writer.identity, offset=self.writer.offset)

    def fall_asleep(self) -> None:
        self.advance(*[0.05] * 10)
        self.assertTrue(self.told[-1]["idle"])


class SlowIntake:
    """An intake with a turn of the test's."""

    def __init__(self, intake: Intake, turn: Any) -> None:
        self.intake, self.turn = intake, turn

    def __getattr__(self, name: str) -> Any:
        return getattr(self.intake, name)


class TurnTests(TurnsTestCase):
    """Busy and idle."""

    def test_hello_is_answered_with_where_the_log_is(self) -> None:
        self.assertEqual(self.successResultOf(self.hello), {"origin": ORIGIN})
        wanted = {"spool": self.writer.identity, "offset": SPOOL_HEADER_SIZE}
        self.assertEqual(self.told[-1] | wanted, self.told[-1])

    def test_a_busy_turn_ends_45_ms_after_the_last_one_began(self) -> None:
        for number in range(5):
            self.write(b"%d" % number)
            self.advance(0.042)
            self.assertEqual(len(self.kept()), number)
            self.advance(0.004)
            self.assertEqual(len(self.kept()), number + 1)
            self.assertFalse(self.told[-1]["idle"])

    def test_a_turn_that_takes_long_makes_the_next_one_earlier(self) -> None:
        """Judged by how long the last one took: 10 ms, then for ever."""
        for took, pause in ((0.01, 0.025), (1.0, 0.005)):
            self.write(b"slow")
            self.take(took)
            self.advance(0.05)
            before = len(self.kept())
            self.write(b"next")
            self.advance(pause - 0.002)
            self.assertEqual(len(self.kept()), before)
            self.advance(0.004)
            self.assertEqual(len(self.kept()), before + 1)

    def take(self, seconds: float) -> None:
        """Let the next turn take so long."""
        intake = self.service._intake
        turn = intake.turn

        def slow(over: Any) -> Any:
            self.service._intake = intake
            found = turn(over)
            self.reactor.rightNow += seconds  # as a disk would that is slow to sync
            return found

        self.service._intake = SlowIntake(intake, slow)  # type: ignore[assignment]  # as one

    def test_progress_is_told_sooner_after_much(self) -> None:
        """Workers wait for the place of what was taken."""
        self.advance(0.2)
        self.write(b"x")
        self.advance(0.05)
        before = len(self.told)
        self.write(b"x" * (SEGMENT_SIZE // 4))
        self.advance(0.05)
        self.assertEqual(len(self.told), before + 1)
        self.assertEqual(self.told[-1]["offset"], self.writer.offset)

    def test_progress_is_told_five_times_a_second(self) -> None:
        self.advance(0.2)
        before = len(self.told)
        for number in range(40):
            self.write(b"%d" % number)
            self.advance(0.05)
        self.assertIn(len(self.told) - before, (9, 10, 11))
        self.advance(0.2)
        self.assertEqual(self.told[-1]["offset"], self.writer.offset)

    def test_idle_is_told_once(self) -> None:
        self.fall_asleep()
        before = len(self.told)
        self.advance(*[0.05] * 50)
        self.assertEqual(len(self.told), before)

    def test_a_wake_begins_a_turn_at_once(self) -> None:
        self.fall_asleep()
        self.write(b"1")
        self.advance(0.001)
        self.assertEqual(self.kept(), [])
        self.worker.tell("wake")
        self.advance(0)
        self.advance(0)
        self.assertEqual(self.kept(), [b"1"])
        self.fall_asleep()

    def test_without_a_wake_it_takes_50_ms(self) -> None:
        self.fall_asleep()
        self.write(b"1")
        self.advance(0.05)
        self.assertEqual(self.kept(), [b"1"])

    def test_sync_begins_a_turn_at_once(self) -> None:
        self.write(b"1")
        done = self.sync()
        self.assertNoResult(done)
        self.advance(0)
        self.assertEqual(self.successResultOf(done), {})
        self.assertEqual(self.kept(), [b"1"])

    def test_sync_waits_for_what_is_not_written_yet(self) -> None:
        done = self.call("sync", spool=self.writer.identity, offset=SPOOL_HEADER_SIZE + 5)
        self.advance(0.05, 0.05)
        self.assertNoResult(done)
        self.write(b"1")
        self.advance(0.05)
        self.successResultOf(done)

    def test_sync_of_a_removed_spool(self) -> None:
        self.write(b"1")
        done = self.sync()
        self.writer.close()
        self.advance(0)
        self.successResultOf(done)
        self.assertEqual(list((self.state / "spool").iterdir()), [])

    def test_sync_of_nonsense(self) -> None:
        for body in ({}, {"spool": 10**9, "offset": 0}, {"spool": b"x" * 16, "offset": "1"}):
            done = self.call("sync", **body)
            self.carry()
            self.failureResultOf(done, RemoteError)
        unknown = self.call("sync", spool=b"x" * 16, offset=50)
        self.advance(0)
        self.failureResultOf(unknown, RemoteError)

    def test_a_damaged_spool_is_objected_to_until_the_worker_is_new(self) -> None:
        self.write(b"1")
        self.writer.append(b"\xff" * 10)
        self.advance(0.05, 0.05)
        self.assertIn("damaged", self.told[-1]["objection"])
        self.theirs.connectionLost()
        self.writer.open_next()
        self.joined("w1")
        self.advance(0.05)
        self.assertEqual(self.told[-1]["objection"], "")


class CheckpointTests(TurnsTestCase):
    """When the log is signed, and indexed."""

    def test_after_ten_seconds_if_there_is_something_new(self) -> None:
        self.advance(1)
        self.write(b"1")
        self.advance(*[0.05] * 170)
        self.assertEqual(self.signed(), 0)
        self.advance(*[0.05] * 20)
        self.assertEqual(self.signed(), 1)
        before = (self.log / "checkpoints").stat().st_size
        self.advance(*[0.05] * 400)
        self.assertEqual((self.log / "checkpoints").stat().st_size, before)

    def test_after_a_thousand_records(self) -> None:
        self.write(*[b"x"] * 999)
        self.advance(*[0.04] * 30)
        self.assertEqual((len(self.kept()), self.signed()), (999, 0))
        self.write(b"x")
        self.advance(0.05)
        self.assertEqual(self.signed(), 1000)

    def test_a_second_apart(self) -> None:
        """However many records come."""
        self.write(*[b"x"] * 1000)
        self.advance(1.0, 0.05)
        self.assertEqual(self.signed(), 1000)
        self.write(*[b"x"] * 1000)
        self.advance(*[0.05] * 15)
        self.assertEqual((len(self.kept()), self.signed()), (2000, 1000))
        self.advance(*[0.05] * 6)
        self.assertEqual(self.signed(), 2000)

    def test_at_the_end(self) -> None:
        self.write(b"1", b"2")
        self.stop()
        self.assertEqual((len(self.kept()), self.signed()), (2, 2))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_the_index_is_half_a_second_behind(self) -> None:
        self.write(*encoded(whole_session("s")))
        self.advance(*[0.05] * 12)
        self.assertEqual(LogReader(self.log).session("s").intents, 2)


class FaultTests(TurnsTestCase):
    """What goes wrong."""

    def limit(self, size: int) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    def test_a_full_disk_is_told_and_tried_again(self) -> None:
        self.write(b"x" * 1000)
        done = self.sync()
        self.limit(500)
        self.advance(0)
        self.assertIn("cannot be written", self.told[-1]["objection"])
        self.failureResultOf(done, RemoteError)
        self.failureResultOf(self.sync(), RemoteError)
        self.advance(*[0.5] * 5)
        self.assertEqual(self.kept(), [])
        self.limit(2**30)
        self.advance(service.RETRY_EVERY)
        self.assertEqual(self.kept(), [b"x" * 1000])
        self.assertEqual(
            (self.told[-1]["objection"], self.told[-1]["offset"]), ("", SPOOL_HEADER_SIZE + 1004)
        )

    def test_a_disk_that_is_full_for_checkpoints(self) -> None:
        """What was kept but not signed in time is objected to as well."""
        self.write(b"x")
        self.advance(0.02)
        self.limit(100)
        self.advance(*[0.05] * 210)
        self.assertIn("cannot be written", self.told[-1]["objection"])
        self.limit(2**30)
        self.advance(0.5)
        self.assertEqual((self.told[-1]["objection"], self.signed()), ("", 1))

    def test_a_bug_ends_the_process_and_leaves_the_spools(self) -> None:
        self.write(b"1")
        intake = self.service._intake
        self.service._intake = None  # type: ignore[assignment]  # what only a bug would do
        self.advance(0.05)
        self.service._intake = intake
        self.assertEqual(self.given_up, ["given up"])
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.stop()
        self.assertEqual(self.kept(), [])
        self.assertEqual(len(list((self.state / "spool").iterdir())), 1)
