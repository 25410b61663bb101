"""Tests for `hoopgw.recording.spool`."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.framing import SPOOL_HEADER_SIZE, DamagedError
from hoopgw.recording.spool import READ_SIZE, SpoolTail, SpoolWriteError, SpoolWriter, parse_name
from tests.recording.samples import records_of, spool_frames


class SpoolTestCase(SynchronousTestCase):
    """A spool folder with one worker's segment."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.writer = SpoolWriter(self.directory, "w1")
        self.writer.open_next()
        self.addCleanup(self.writer.close)

    def names(self) -> list[str]:
        return sorted(entry.name for entry in self.directory.iterdir())

    def tail(self, number: int = 1) -> SpoolTail:
        tail = SpoolTail.open(self.directory / f"w1-{number}.spool", "w1", number)
        self.addCleanup(tail.close)
        return tail


class WriterTests(SpoolTestCase):
    """The worker's side."""

    def test_what_is_written_is_read(self) -> None:
        tail = self.tail()
        self.assertEqual(records_of(tail.read()), [])
        self.writer.append(spool_frames([b"one", b"two"]))
        self.assertEqual(records_of(tail.read()), [b"one", b"two"])
        self.writer.append(spool_frames([b"three"]))
        self.assertEqual(records_of(tail.read()), [b"three"])
        self.assertEqual(tail.offset, self.writer.offset)
        self.assertEqual(tail.identity, self.writer.identity)

    def test_segments_are_numbered_on_and_never_replaced(self) -> None:
        self.writer.open_next()
        again = SpoolWriter(self.directory, "w1")
        again.open_next()
        self.addCleanup(again.close)
        self.assertEqual(self.names(), ["w1-1.spool", "w1-2.spool", "w1-3.spool"])

    def test_files_are_private(self) -> None:
        mode = (self.directory / "w1-1.spool").stat().st_mode & 0o777
        self.assertEqual(mode, 0o600)

    def test_a_living_segment_is_locked_and_an_ended_one_is_not(self) -> None:
        tail = self.tail()
        self.assertFalse(tail.look_for_end())
        self.writer.open_next()
        self.assertTrue(tail.look_for_end())

    def test_a_name_of_something_else(self) -> None:
        self.assertEqual(parse_name("data-worker-12.spool"), ("data-worker", 12))
        for name in (
            "w1.new",
            "w1.probe",
            "w1-1.damaged",
            "-1.spool",
            "w1-x.spool",
            "../a-1",
        ):
            self.assertIsNone(parse_name(name), name)

    def test_a_folder_that_is_not_there(self) -> None:
        self.assertRaises(SpoolWriteError, SpoolWriter(self.directory / "no", "w1").open_next)


class FullDiskTests(SpoolTestCase):
    """A disk without space, as a limit on this process's file size stands for it."""

    def limit(self, size: int) -> None:
        """Let no file of this process grow beyond a size; Python ignores the signal of it."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    def size(self) -> int:
        return (self.directory / "w1-1.spool").stat().st_size

    def test_a_short_write_leaves_whole_frames_only(self) -> None:
        """Of three frames in one write, the first fits; the second's torn begin is cut off."""
        self.limit(SPOOL_HEADER_SIZE + 20)
        error = self.assertRaises(
            SpoolWriteError, self.writer.append, spool_frames([b"x" * 10, b"y" * 10, b"z"])
        )
        self.assertEqual(error.kept, 14)
        self.assertEqual(self.size(), SPOOL_HEADER_SIZE + 14)
        self.assertEqual(records_of(self.tail().read()), [b"x" * 10])

    def test_a_refused_write_leaves_nothing(self) -> None:
        self.writer.append(spool_frames([b"x" * 10]))
        self.limit(self.writer.offset)
        error = self.assertRaises(SpoolWriteError, self.writer.append, spool_frames([b"y"]))
        self.assertEqual((error.kept, self.size()), (0, self.writer.offset))

    def test_after_the_torn_tail_is_cut_off_writing_goes_on_there(self) -> None:
        self.limit(SPOOL_HEADER_SIZE + 20)
        self.assertRaises(SpoolWriteError, self.writer.append, spool_frames([b"x" * 100]))
        self.limit(10_000)
        self.writer.append(spool_frames([b"later"]))
        self.assertEqual(records_of(self.tail().read()), [b"later"])

    def test_the_probe(self) -> None:
        self.writer.probe()
        self.limit(1000)
        self.assertRaises(SpoolWriteError, self.writer.probe)
        self.assertEqual(self.names(), ["w1-1.spool"])

    def test_no_new_segment(self) -> None:
        """The old segment stays open, and nothing half-made is left."""
        self.limit(10)
        self.assertRaises(SpoolWriteError, self.writer.open_next)
        self.assertEqual(self.names(), ["w1-1.spool"])
        self.limit(10_000)
        self.writer.append(spool_frames([b"still here"]))
        self.assertEqual(records_of(self.tail().read()), [b"still here"])


class TailTests(SpoolTestCase):
    """The recorder's side."""

    def test_rollback_reads_again(self) -> None:
        tail = self.tail()
        self.writer.append(spool_frames([b"one"]))
        tail.read()
        tail.commit()
        self.writer.append(spool_frames([b"two"]))
        self.assertEqual(records_of(tail.read()), [b"two"])
        tail.rollback()
        self.assertEqual(records_of(tail.read()), [b"two"])

    def test_a_record_longer_than_a_read(self) -> None:
        tail, long = self.tail(), os.urandom(READ_SIZE + 5)
        self.writer.append(spool_frames([b"a", long, b"b"]))
        got: list[bytes] = []
        for _ in range(4):
            got += records_of(tail.read())
        self.assertEqual(got, [b"a", long, b"b"])

    def test_an_incomplete_frame_waits(self) -> None:
        tail, wire = self.tail(), spool_frames([b"one"])
        with (self.directory / "w1-1.spool").open("ab") as file:
            file.write(wire[:5])
        self.assertEqual(records_of(tail.read()), [])
        self.assertEqual(tail.rest(), 5)

    def test_no_spool(self) -> None:
        path = self.directory / "w9-1.spool"
        path.write_bytes(b"x" * 100)
        self.assertRaises(DamagedError, SpoolTail.open, path, "w9", 1)
