"""Tests for `hoopgw.recording.client`: the worker's end, against a recorder played by the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import RecorderError
from hoopgw.ipc import Body, Peer
from hoopgw.recording import client
from hoopgw.recording.client import SpoolRecorder
from hoopgw.recording.framing import RECORD_LIMIT, SPOOL_HEADER_SIZE, spool_records
from hoopgw.recording.records import AnyRecord, decode
from hoopgw.recording.spool import SEGMENT_SIZE, parse_name
from hoopgw.spi import Recorder
from tests.recording.samples import intent, result, spool_bytes, spool_end


def parse_path(path: Path) -> tuple[str, int]:
    """Return whose segment it is, and its number."""
    found = parse_name(path.name)
    assert found is not None
    return found


class RecorderTestCase(SynchronousTestCase):
    """A worker's recorder, and the other end of its connection."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.clock = Clock()
        self.calls: list[tuple[str, Body]] = []
        self.syncs: list[Deferred[Body]] = []
        self.listening = True
        self.ours: Peer | None = None
        self.recorder = SpoolRecorder(self.directory, "w1", self.clock, self.connect)
        self.recorder.start()
        self.addCleanup(self.recorder.stop)
        self.say()

    def connect(self, theirs: Peer) -> Deferred[Any]:
        if not self.listening:
            return fail(ConnectionRefusedError())
        handlers = {name: self.handler(name) for name in ("hello", "wake", "sync")}
        self.theirs, self.ours = theirs, Peer(handlers, self.clock)
        self.wires = (StringTransport(), StringTransport())
        self.ours.makeConnection(self.wires[0])
        theirs.makeConnection(self.wires[1])
        self.carry()
        return succeed(theirs)

    def handler(self, name: str) -> Any:
        def answer(body: Body) -> Any:
            self.calls.append((name, body))
            if name != "sync":
                return {}
            self.syncs.append(Deferred())
            return self.syncs[-1]

        return answer

    def carry(self) -> None:
        """Carry bytes both ways, until there are none."""
        while any(wire.value() for wire in self.wires):
            for wire, peer in zip(self.wires, (self.theirs, self.ours), strict=True):
                data = wire.value()
                wire.clear()
                assert peer is not None
                peer.dataReceived(data)

    def spool(self) -> Path:
        return max(self.directory.glob("*.spool"), key=parse_path)

    def identity(self) -> bytes:
        return self.spool().read_bytes()[16:32]

    def size(self) -> int:
        return spool_end(self.spool())

    def written(self) -> list[AnyRecord]:
        records: list[AnyRecord] = []
        for path in sorted(self.directory.glob("*.spool"), key=parse_path):
            cut = spool_records(spool_bytes(path))
            self.assertIsNone(cut.fault)
            records += [decode(data) for data in cut.records]
        return records

    def say(self, offset: int | None = None, idle: bool = False, objection: str = "") -> None:
        """Tell progress, as the recorder does: by default it has taken all."""
        assert self.ours is not None
        at = self.size() if offset is None else offset
        spool = self.identity()
        self.ours.tell("progress", spool=spool, offset=at, idle=idle, objection=objection)
        self.carry()

    def fall_asleep(self) -> None:
        """Let records wait, as while the recorder sleeps, without its having taken anything."""
        self.recorder._asleep = True
        self.recorder._rebound()

    def names(self) -> list[str]:
        self.carry()
        return [name for name, _ in self.calls]

    def lose(self) -> None:
        self.listening = False
        self.theirs.connectionLost(Failure(ConnectionDone()))

    def refused(self, *words: str) -> None:
        """Expect that a write is refused, leaves nothing behind, and says why."""
        before = self.size()
        error = self.assertRaises(RecorderError, self.recorder.write, intent("s", 0))
        for word in words:
            self.assertIn(word, str(error))
        self.assertEqual(self.size(), before)
        self.assertFalse(self.recorder.ready)
        self.assertFalse(self.recorder.status().ready)
        self.assertTrue(self.recorder.status().reason)


def as_seen_by_protocols(recorder: SpoolRecorder) -> Recorder:
    """Hold the class to the interface; mypy is the judge."""
    return recorder


class WritingTests(RecorderTestCase):
    """Records on their way to the spool."""

    def test_a_record_is_in_the_file_when_write_returns(self) -> None:
        self.recorder.write(intent("s", 0))
        self.assertEqual(self.written(), [intent("s", 0)])

    def test_nothing_is_put_off_that_has_room(self) -> None:
        """It survives this process at once, and no timer wakes it for nothing."""
        timers = len(self.clock.getDelayedCalls())
        for sequence in range(3):
            self.recorder.put_off(result("s", sequence, 0))
            self.assertEqual(self.written()[-1], result("s", sequence, 0))
        self.assertEqual(len(self.clock.getDelayedCalls()), timers)
        status = self.recorder.status()
        self.assertEqual((status.records, status.waiting), (3, 0))

    def test_what_was_put_off_goes_first_and_in_the_same_write(self) -> None:
        self.say(idle=True)
        self.recorder.put_off(result("s", 1, 0))
        self.assertEqual(self.written(), [])
        self.recorder.write(intent("s", 2))
        self.assertEqual(self.written(), [result("s", 1, 0), intent("s", 2)])
        self.clock.advance(1)
        self.assertEqual(len(self.written()), 2)

    def test_what_comes_behind_what_was_put_off_waits_too(self) -> None:
        """Records stay in order, although there was room for the later one."""
        self.say(idle=True)
        self.recorder.put_off(result("s", 1, 0))
        self.recorder._wake()
        self.recorder.put_off(result("s", 2, 0))
        self.assertEqual(self.written(), [])
        self.clock.advance(0.05)
        self.assertEqual(self.written(), [result("s", 1, 0), result("s", 2, 0)])

    def test_what_was_put_off_is_written_after_50_ms(self) -> None:
        self.say(idle=True)
        self.recorder.put_off(result("s", 1, 0))
        self.clock.advance(0.049)
        self.assertEqual(self.written(), [])
        self.clock.advance(0.002)
        self.assertEqual(self.written(), [result("s", 1, 0)])
        self.say(idle=True)
        self.recorder.put_off(result("s", 2, 0))
        self.assertEqual(len(self.written()), 1)
        self.clock.advance(0.05)
        self.assertEqual(len(self.written()), 2)

    def test_much_put_off_is_written(self) -> None:
        """Many results at once are kept, without waiting for the time to flush."""
        big = intent("s", 0, b"x" * (client.PUT_OFF_LIMIT // 2))
        self.say(idle=True)
        for _ in range(9):
            self.recorder.put_off(big)
        self.assertEqual(len(self.written()), 7)  # the next segment is made with the time to flush
        self.clock.advance(0.05)
        self.assertEqual(len(self.written()), 9)

    def test_too_much_put_off(self) -> None:
        """What the spool does not take is kept up to the limit."""
        big = intent("s", 0, b"x" * (client.PUT_OFF_LIMIT // 2))
        self.recorder._fault = "no space"
        self.recorder._assess()
        for _ in range(2):
            self.recorder.put_off(big)
        self.assertRaises(RecorderError, self.recorder.put_off, big)
        self.assertGreater(self.recorder.status().waiting, client.PUT_OFF_LIMIT)

    def test_a_record_that_is_too_long(self) -> None:
        long = intent("s", 0, b"x" * RECORD_LIMIT)
        self.assertRaises(RecorderError, self.recorder.write, long)
        self.assertRaises(RecorderError, self.recorder.put_off, long)
        self.recorder.write(intent("s", 0))
        self.assertEqual(len(self.written()), 1)

    def test_segments(self) -> None:
        part = intent("s", 0, b"x" * (SEGMENT_SIZE // 2 - 500))
        for _ in range(5):
            self.recorder.write(part)
        self.assertEqual(len(list(self.directory.glob("*.spool"))), 3)
        self.assertEqual(self.written(), [part] * 5)
        sizes = [spool_end(path) for path in self.directory.glob("*.spool")]
        self.assertEqual(self.recorder.status().lag, sum(sizes) - SPOOL_HEADER_SIZE)

    def test_stopping_writes_what_was_put_off(self) -> None:
        self.say(idle=True)
        self.recorder.put_off(result("s", 1, 0))
        self.recorder.stop()
        self.assertEqual(self.written(), [result("s", 1, 0)])
        self.assertRaises(RecorderError, self.recorder.write, intent("s", 2))
        self.assertRaises(RecorderError, self.recorder.put_off, intent("s", 2))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping_where_the_segment_has_no_room(self) -> None:
        filling, last = intent("s", 0, b"x" * (SEGMENT_SIZE - 5_000)), result("s", 1, 0)
        many = [intent("s", 1, b"y" * 4_000), last, result("s", 2, 0)]
        self.recorder.write(filling)
        self.fall_asleep()
        for each in many:
            self.recorder.put_off(each)
        room = self.recorder._writer.limit - self.recorder._writer.offset
        self.recorder.put_off(intent("s", 3, b"z" * room))
        self.recorder.stop()
        self.assertEqual(self.written()[:4], [filling, *many])
        self.assertEqual(len(self.written()), 5)

    def test_status_counts(self) -> None:
        before = self.size()
        self.recorder.write(intent("s", 0))
        self.recorder.put_off(result("s", 1, 0))
        status = self.recorder.status()
        self.assertEqual((status.ready, status.reason, status.refused), (True, "", 0))
        self.assertEqual((status.records, status.lag), (2, self.size() - before))


class RefusalTests(RecorderTestCase):
    """When nothing new may happen."""

    def test_before_the_recorder_has_said_anything(self) -> None:
        self.recorder = SpoolRecorder(self.directory, "w2", self.clock, self.connect)
        self.assertRaises(RecorderError, self.recorder.write, intent("s", 0))
        self.recorder.start()
        self.addCleanup(self.recorder.stop)
        self.refused("hello")

    def test_a_name_that_is_no_file_name(self) -> None:
        for name in ("", "a/b", "..", "a b"):
            self.assertRaises(
                ValueError, SpoolRecorder, self.directory, name, self.clock, self.connect
            )

    def test_the_recorder_is_gone_and_comes_back(self) -> None:
        self.lose()
        self.refused("not connected")
        self.clock.advance(5)
        self.refused("not connected")
        self.listening = True
        self.clock.pump([1.0, 1.0])
        self.refused("hello")
        self.say()
        self.recorder.write(intent("s", 0))
        self.assertEqual(self.names().count("hello"), 2)

    def test_reconnection_backs_off_and_ends_with_stop(self) -> None:
        self.lose()
        before = len(self.calls)
        self.clock.pump([0.1] * 100)
        self.recorder.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.calls), before)

    def test_the_recorder_objects(self) -> None:
        self.say(objection="the log cannot be written: no space left on device")
        self.refused("no space left")
        self.say()
        self.recorder.write(intent("s", 0))

    def test_the_recorder_hangs(self) -> None:
        """Two seconds without progress while there is something to do."""
        self.say()
        self.clock.advance(60)
        self.assertTrue(self.recorder.ready)
        self.recorder.write(intent("s", 0))
        self.clock.pump([0.5] * 3)
        self.recorder.write(intent("s", 1))
        self.clock.pump([0.5] * 2)
        self.refused("no progress")
        self.say(self.size() - 10)
        self.assertTrue(self.recorder.ready)
        self.clock.pump([0.5] * 5)
        self.refused("no progress")
        self.say()
        self.recorder.write(intent("s", 2))

    def test_a_worker_that_was_busy_itself(self) -> None:
        """What the recorder said meanwhile is read only afterwards: that is not its standstill."""
        self.say()
        self.recorder.write(intent("s", 0))
        self.clock.advance(0.5)
        self.clock.advance(30)
        self.recorder.write(intent("s", 1))
        self.say()
        self.assertTrue(self.recorder.ready)

    def test_the_recorder_is_behind(self) -> None:
        part = intent("s", 0, b"x" * 2**20)
        for _ in range(63):
            self.recorder.write(part)
        self.recorder.write(part)
        with self.assertRaises(RecorderError):
            self.recorder.write(part)
        self.refused("behind")
        self.recorder.put_off(result("s", 1, 0))
        self.clock.advance(0.05)
        self.assertEqual(self.written()[-1], result("s", 1, 0))
        self.say()
        self.recorder.write(intent("s", 0))

    def test_what_has_happened_is_still_written(self) -> None:
        """The recorder is gone, but the results of what runs are kept."""
        self.lose()
        self.recorder.put_off(result("s", 1, 0))
        self.clock.advance(0.05)
        self.assertEqual(self.written(), [result("s", 1, 0)])
        self.refused()

    def test_a_worker_whose_spool_was_set_aside(self) -> None:
        self.say(objection="the recorder found this worker's spool damaged")
        self.refused("damaged")


class WakingTests(RecorderTestCase):
    """A recorder that sleeps is woken by the next write, and only by that."""

    def test_awake(self) -> None:
        self.recorder.write(intent("s", 0))
        self.assertNotIn("wake", self.names())

    def test_asleep(self) -> None:
        self.say(idle=True)
        self.recorder.write(intent("s", 0))
        self.recorder.write(intent("s", 1))
        self.assertEqual(self.names().count("wake"), 1)

    def test_asleep_and_flushed(self) -> None:
        self.say(idle=True)
        self.recorder.put_off(result("s", 0, 0))
        self.assertNotIn("wake", self.names())
        self.clock.advance(0.05)
        self.assertEqual(self.names().count("wake"), 1)

    def test_it_fell_asleep_while_we_wrote(self) -> None:
        before = self.size()
        self.recorder.write(intent("s", 0))
        self.say(before, idle=True)
        self.assertEqual(self.names().count("wake"), 1)


class SyncTests(RecorderTestCase):
    """Durability."""

    def test_nothing_to_sync(self) -> None:
        self.assertIsNone(self.successResultOf(self.recorder.sync()))
        self.assertNotIn("sync", self.names())

    def test_it_waits_for_the_recorder(self) -> None:
        self.recorder.write(intent("s", 0))
        done = self.recorder.sync()
        self.carry()
        self.assertEqual(
            self.calls[-1], ("sync", {"spool": self.identity(), "offset": self.size()})
        )
        self.assertNoResult(done)
        self.syncs[-1].callback({})
        self.carry()
        self.assertIsNone(self.successResultOf(done))

    def test_what_was_put_off_is_synced_too(self) -> None:
        self.recorder.put_off(result("s", 0, 0))
        self.recorder.sync().addErrback(lambda _failure: None)
        self.carry()
        self.assertEqual(self.calls[-1][1]["offset"], self.size())
        self.assertEqual(self.written(), [result("s", 0, 0)])

    def test_silence(self) -> None:
        self.recorder.write(intent("s", 0))
        done = self.recorder.sync()
        self.clock.advance(20)
        self.failureResultOf(done, RecorderError)

    def test_loss(self) -> None:
        self.recorder.write(intent("s", 0))
        done = self.recorder.sync()
        self.lose()
        self.failureResultOf(done, RecorderError)
        self.failureResultOf(self.recorder.sync(), RecorderError)

    def test_refusal(self) -> None:
        self.recorder.write(intent("s", 0))
        done = self.recorder.sync()
        self.carry()
        self.syncs[-1].errback(RecorderError("the disk is full"))
        self.carry()
        self.assertIn("the disk is full", str(self.failureResultOf(done, RecorderError)))
