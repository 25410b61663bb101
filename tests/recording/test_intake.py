"""Tests for `hoopgw.recording.intake`: from spools into the log, once each, in order."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.batch import take
from hoopgw.recording.framing import SPOOL_HEADER_SIZE
from hoopgw.recording.index import SessionIndex
from hoopgw.recording.intake import Intake
from hoopgw.recording.log import LogWriter
from hoopgw.recording.reader import LogReader
from hoopgw.recording.segments import segments
from hoopgw.recording.spool import SpoolWriter
from tests.recording.samples import opened, spool_frames


class IntakeTestCase(SynchronousTestCase):
    """A recorder without a process: spools, a log, and turns made by hand."""

    log: LogWriter
    index: SessionIndex
    intake: Intake

    def setUp(self) -> None:
        self.spool = Path(self.mktemp())
        self.spool.mkdir()
        self.directory = self.spool / "log"
        self.running = False
        self.start()
        self.addCleanup(self.stop)

    def start(self) -> None:
        again = opened(self.directory)
        self.log = again.writer
        self.index = SessionIndex.open(self.directory, self.log.size)
        self.intake = Intake(self.spool, self.log, self.index, again.positions)
        self.running = True

    def stop(self) -> None:
        """Stop as a crash does: nothing is committed or signed any more."""
        if self.running:
            self.intake.close()
            self.index.close()
            self.log.close()
            self.running = False

    def worker(self, name: str = "w1") -> SpoolWriter:
        writer = SpoolWriter(self.spool, name)
        writer.open_next()
        self.addCleanup(writer.close)
        return writer

    def turns(self) -> None:
        while self.intake.turn().more:
            """Until there is nothing more."""

    def kept(self) -> list[bytes]:
        return [kept.data for kept in LogReader(self.directory).walk()]

    def spools(self) -> list[str]:
        return sorted(path.name for path in self.spool.iterdir() if path.is_file())


class TurnTests(IntakeTestCase):
    """Turns."""

    def test_a_segment_in_a_folder_that_had_settled(self) -> None:
        """The folder is not read again while it is as old as it was; a new file makes it new."""
        for number in range(3):
            os.utime(self.spool, (number, number))
            self.turns()
            worker = self.worker()
            worker.append(spool_frames([b"%d" % number]))
            self.turns()
            self.assertEqual(len(self.kept()), number + 1)
            worker.close()

    def test_records_arrive_in_order(self) -> None:
        worker = self.worker()
        worker.append(spool_frames([b"1", b"2"]))
        self.turns()
        worker.append(spool_frames([b"3"]))
        self.turns()
        self.assertEqual(self.kept(), [b"1", b"2", b"3"])
        self.assertEqual(self.intake.position(worker.identity), worker.offset)
        self.assertEqual(self.intake.progress(), {"w1": (worker.identity, worker.offset)})

    def test_a_workers_segments_are_read_in_order_and_removed(self) -> None:
        worker = self.worker()
        identities = []
        for number in range(12):
            identities.append(worker.identity)
            worker.append(spool_frames([str(number).encode()]))
            worker.open_next()
        self.turns()
        self.assertEqual(self.kept(), [str(number).encode() for number in range(12)])
        self.assertEqual(self.spools(), ["w1-13.spool"])
        self.assertEqual(self.intake.position(identities[0]), SPOOL_HEADER_SIZE + 5)

    def test_a_living_worker_keeps_its_segment(self) -> None:
        worker = self.worker()
        worker.append(spool_frames([b"1"]))
        self.turns()
        self.turns()
        self.assertEqual(self.spools(), ["w1-1.spool"])

    def test_a_dead_workers_spool_is_read_to_its_end_and_removed(self) -> None:
        worker = self.worker("gone")
        worker.append(spool_frames([b"1"]))
        self.turns()
        worker.append(spool_frames([b"2"]))
        worker.close()
        self.turns()
        self.assertEqual(self.kept(), [b"1", b"2"])
        self.assertEqual(self.spools(), [])

    def test_a_record_behind_the_end_is_damage(self) -> None:
        """The end moves by whole records: a length that leads behind it is kept to be looked at."""
        for name, rest in (("short", b"\0\0"), ("long", b"\0\x10\0\0" + spool_frames([b"2"]))):
            worker = self.worker(name)
            worker.append(spool_frames([b"1"]) + rest)
            worker.close()
        self.turns()
        self.assertEqual(self.kept(), [b"1", b"1"])
        self.assertEqual([name.rsplit(".")[-1] for name in self.spools()], ["damaged"] * 2)

    def test_a_folder_that_shows_the_later_segment_only(self) -> None:
        """As one may that is read while a worker makes two."""
        worker = self.worker()
        for number in range(3):
            worker.append(spool_frames([b"%d" % number]))
            worker.open_next()
        worker.append(spool_frames([b"3"]))
        scan = os.scandir
        self.patch(
            os, "scandir", lambda path: [e for e in scan(path) if not e.name.endswith("2.spool")]
        )
        self.turns()
        self.assertEqual(self.kept(), [b"0", b"1", b"2", b"3"])

    def test_what_is_in_the_log_stays_so_if_a_damaged_spool_is_gone(self) -> None:
        """It cannot be set aside then; no other is taken twice for it."""
        bad, good = self.worker("bad"), self.worker("good")
        bad.append(spool_frames([b"1"]) + b"\xff" * 20)
        good.append(spool_frames([b"2"]))
        self.intake._look()
        (self.spool / "bad-1.spool").unlink()
        self.assertRaises(FileNotFoundError, self.intake.turn)
        self.assertEqual(self.intake.position(good.identity), good.offset)

    def test_a_damaged_spool_is_set_aside(self) -> None:
        """What is before the damage is taken; the worker, if it lives, must start anew."""
        bad, good = self.worker("bad"), self.worker("good")
        bad.append(spool_frames([b"1"]) + b"\xff" * 20)
        good.append(spool_frames([b"2"]))
        self.turns()
        self.turns()
        self.assertEqual(sorted(self.kept()), [b"1", b"2"])
        self.assertEqual(list(self.intake.objections), ["bad"])
        self.assertEqual([name.rsplit(".")[-1] for name in self.spools()], ["damaged", "spool"])
        self.assertIsNone(self.intake.position(bad.identity))

    def test_a_file_that_is_no_spool_is_left_alone(self) -> None:
        (self.spool / "w1-1.spool").write_bytes(b"hello")
        self.worker("w2").append(spool_frames([b"1"]))
        self.turns()
        self.assertEqual(self.kept(), [b"1"])
        self.assertIn("w1-1.spool", self.spools())

    def test_what_is_no_file_is_left_alone(self) -> None:
        """The log of all workers does not stop for it."""
        (self.spool / "w1-1.spool").mkdir()
        os.mkfifo(self.spool / "w1-2.spool")
        self.worker("w2").append(spool_frames([b"1"]))
        self.turns()
        self.assertEqual(self.kept(), [b"1"])

    def test_a_turn_ends_when_it_is_over(self) -> None:
        first, second = self.worker("a"), self.worker("b")
        first.append(spool_frames([b"1"]))
        second.append(spool_frames([b"2"]))
        turn = self.intake.turn(over=lambda: True)
        self.assertEqual((turn.more, self.kept()), (True, [b"1"]))
        first.append(spool_frames([b"3"]))
        self.intake.turn(over=lambda: True)
        self.assertEqual(self.kept(), [b"1", b"2"])  # it is the other's turn
        self.turns()
        self.assertEqual(self.kept(), [b"1", b"2", b"3"])


class CrashTests(IntakeTestCase):
    """The recorder stops anywhere, and a new one goes on."""

    @given(st.lists(st.sampled_from(["write", "turn", "crash", "torn", "segment"]), max_size=40))
    def test_nothing_is_lost_and_nothing_doubled(self, steps: list[str]) -> None:
        self.setUp()
        worker, written = self.worker(), list[bytes]()
        for step in steps:
            match step:
                case "write":
                    written.append(f"record {len(written)}".encode())
                    worker.append(spool_frames(written[-1:]))
                case "turn":
                    self.intake.turn()
                case "segment":
                    worker.open_next()
                case "torn":
                    self.leave_uncommitted(worker)
                case _:
                    self.crash()
        worker.close()
        self.turns()
        self.assertEqual(self.kept(), written)
        self.assertEqual(self.spools(), [])
        self.stop()

    def crash(self) -> None:
        self.stop()
        self.start()

    def leave_uncommitted(self, worker: SpoolWriter) -> None:
        """Crash in a transaction: its frames are in the log, the last one torn, unsynced."""
        position = self.intake.position(worker.identity)
        if len(self.spools()) != 1 or position is None:
            return  # records of an earlier segment come first
        path = self.spool / self.spools()[0]
        batch = take(path.read_bytes()[position:])
        if batch.count:
            self.log.append(worker.identity, position, batch)
        segment = segments(self.directory)[-1].path
        wire = segment.read_bytes()
        self.stop()
        segment.write_bytes(wire[:-1] if batch.count else wire)
        self.start()

    def test_a_full_disk(self) -> None:
        """Nothing is taken, and then all of it."""
        worker = self.worker()
        worker.append(spool_frames([b"x" * 500] * 20))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
        for _ in range(3):
            self.assertRaises(OSError, self.intake.turn)
            self.assertEqual(self.intake.position(worker.identity), SPOOL_HEADER_SIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        self.turns()
        self.assertEqual(self.kept(), [b"x" * 500] * 20)
