"""Tests for `hoopgw.recording.spool` and `hoopgw.recording.tail`."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.framing import END_WORD, SPOOL_HEADER_SIZE, DamagedError
from hoopgw.recording.spool import SEGMENT_SIZE, SpoolWriteError, SpoolWriter, parse_name, this_boot
from hoopgw.recording.tail import READ_SIZE, SpoolTail
from tests.recording.samples import records_of, spool_frames

OTHER_BOOT = b"another boot id."


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

    @property
    def path(self) -> Path:
        """The first segment."""
        return self.directory / "w1-1.spool"

    def tail(self, number: int = 1, boot: bytes | None = None) -> SpoolTail:
        tail = SpoolTail.open(self.directory / f"w1-{number}.spool", "w1", number, boot)
        self.addCleanup(tail.close)
        return tail

    def small(self, capacity: int) -> SpoolWriter:
        """Return a writer whose segments are small; its first is the second."""
        writer = SpoolWriter(self.directory, "w1", SPOOL_HEADER_SIZE + capacity)
        writer.open_next()
        self.addCleanup(writer.close)
        return writer


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

    def test_another_process_of_the_same_name(self) -> None:
        """There must be none; if there is, neither gives its name to the other's segment."""
        other = SpoolWriter(self.directory, "w1")
        self.addCleanup(other.close)
        reserve = os.posix_fallocate

        def meanwhile(fd: int, offset: int, size: int) -> None:
            self.patch(os, "posix_fallocate", reserve)
            reserve(fd, offset, size)
            other.open_next()
            (self.directory / "w1.new").write_bytes(b"not yet whole")

        self.patch(os, "posix_fallocate", meanwhile)
        self.assertRaises(SpoolWriteError, self.writer.open_next)
        self.assertEqual(self.names(), ["w1-1.spool", "w1-2.spool"])
        self.assertEqual(self.tail(2).identity, other.identity)
        self.writer.open_next()
        self.assertEqual(self.tail(3).identity, self.writer.identity)

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

    def test_space_is_reserved_when_a_segment_is_made(self) -> None:
        """No page of it is a hole: a store there would end the process if the disk is full."""
        found = self.path.stat()
        self.assertEqual(found.st_size, SEGMENT_SIZE)
        self.assertGreaterEqual(found.st_blocks * 512, SEGMENT_SIZE)

    def test_what_is_reserved_needs_no_space(self) -> None:
        self.limit(0)
        self.writer.append(spool_frames([b"x" * 10]))
        self.assertEqual(records_of(self.tail().read()), [b"x" * 10])

    def test_no_new_segment(self) -> None:
        """The old segment stays open, and nothing half-made is left."""
        self.limit(SEGMENT_SIZE // 2)
        self.assertRaises(SpoolWriteError, self.writer.open_next)
        self.assertEqual(self.names(), ["w1-1.spool"])
        self.writer.append(spool_frames([b"still here"]))
        self.assertEqual(records_of(self.tail().read()), [b"still here"])


class RingTests(SpoolTestCase):
    """What the recorder has is written over, and nothing else."""

    def test_no_room(self) -> None:
        """All or nothing."""
        writer = self.small(100)
        writer.append(spool_frames([b"x" * 40]))
        self.assertFalse(writer.has_room(57))
        self.assertRaises(SpoolWriteError, writer.append, spool_frames([b"y" * 20, b"z" * 30]))
        self.assertTrue(writer.has_room(56))
        writer.append(spool_frames([b"y" * 52]))
        self.assertEqual(records_of(self.tail(2).read()), [b"x" * 40, b"y" * 52])

    def test_room_for_what_is_longer_than_a_segment(self) -> None:
        writer = self.small(100)
        writer.open_next(500)
        writer.append(spool_frames([b"x" * 496]))
        self.assertEqual(records_of(self.tail(3).read()), [b"x" * 496])

    @given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 3)), max_size=60))
    def test_round_and_round(self, steps: list[tuple[int, int]]) -> None:
        """Whatever is written, read and freed: all comes, in order, as it was."""
        self.setUp()
        writer, written, got = self.small(150), list[bytes](), list[bytes]()
        tail = self.tail(2)
        tail.start(0)
        for size, then in steps:
            frames = spool_frames([bytes([len(written) % 251]) * size])
            if writer.has_room(len(frames)):
                writer.append(frames)
                written.append(bytes([len(written) % 251]) * size)
            if then > 0:
                got += records_of(tail.read())
            if then > 1:
                tail.commit()
            if then > 2:
                writer.free(tail.committed)
        got += records_of(tail.read())
        self.assertEqual(got, written)
        self.doCleanups()

    def test_nothing_is_freed_that_was_not_written(self) -> None:
        writer = self.small(100)
        writer.append(spool_frames([b"x" * 40]))
        writer.free(10**9)
        self.assertEqual(writer.limit, writer.offset + 100)
        writer.free(0)
        self.assertEqual(writer.limit, writer.offset + 100)

    def test_a_record_is_not_there_before_the_word_that_says_so(self) -> None:
        """A worker that is killed in the middle of a record leaves no half of one."""
        tail = self.tail()
        self.writer.append(spool_frames([b"one"]))
        end, wire = self.writer.offset, spool_frames([b"two", b"three"])
        for size in range(len(wire) + 1):
            with self.path.open("r+b") as file:
                file.seek(end)
                file.write(wire[:size])
            self.assertEqual(records_of(self.tail().read()), [b"one"])
        self.assertEqual(records_of(tail.read()), [b"one"])
        self.writer.append(wire)
        self.assertEqual(records_of(tail.read()), [b"two", b"three"])


class TornTests(SpoolTestCase):
    """A spool that was changed by something else, or that a power loss may have spoiled."""

    def word(self, number: int, value: int) -> None:
        with self.path.open("r+b") as file:
            file.seek(8 * number)
            file.write(_native(value))

    def test_an_end_where_it_cannot_be(self) -> None:
        tail = self.tail()
        for end in (0, SEGMENT_SIZE + 1, 2**64 - 1):
            self.word(END_WORD, end)
            self.assertIn("cannot be", str(tail.read().fault))

    def test_cut_short(self) -> None:
        """The kernel ends a worker that writes behind the cut; the recorder sees it, and lives."""
        self.writer.append(spool_frames([b"x" * 10_000]))
        tail = self.tail()
        os.truncate(self.path, 5000)
        self.assertIn("cut short", str(tail.read().fault))
        self.assertRaises(DamagedError, self.tail)

    def test_cut_to_nothing(self) -> None:
        """As by a shell's ``>``: the recorder must not look at a page that is no more."""
        self.writer.append(spool_frames([b"one"]))
        tail = self.tail()
        os.truncate(self.path, 0)
        tail.start(0)
        self.assertIn("cut short", str(tail.read().fault))
        self.assertEqual(tail.rest(), 0)

    def test_a_log_that_was_set_back(self) -> None:
        """Its records cannot be had again here: that is said, instead of reading what is there."""
        self.writer.append(spool_frames([b"one", b"two"]))
        self.writer.free(self.writer.offset)
        tail = self.tail()
        tail.start(SPOOL_HEADER_SIZE + 7)
        self.assertIn("set back", str(tail.read().fault))
        tail.rollback()
        self.assertIn("set back", str(tail.read().fault))

    def test_a_new_log_begins_with_what_is_there(self) -> None:
        self.writer.append(spool_frames([b"one"]))
        self.writer.free(self.writer.offset)
        self.writer.append(spool_frames([b"two"]))
        tail = self.tail()
        tail.start(0)
        self.assertEqual(records_of(tail.read()), [b"two"])

    def test_after_a_power_loss(self) -> None:
        """Pages of different times may be there: what the log lacks is set aside, not believed."""
        self.writer.append(spool_frames([b"one"]))
        tail = self.tail(boot=OTHER_BOOT)
        tail.start(0)
        self.assertIn("started anew", str(tail.read().fault))
        tail = self.tail(boot=OTHER_BOOT)
        tail.start(self.writer.offset)
        self.assertEqual((tail.read().fault, tail.rest()), (None, 0))

    def test_a_worker_that_ended_well_before_the_machine_did(self) -> None:
        self.writer.append(spool_frames([b"one"]))
        self.writer.seal()
        tail = self.tail(boot=OTHER_BOOT)
        tail.start(0)
        self.assertEqual(records_of(tail.read()), [b"one"])

    def test_what_names_this_start_of_the_machine(self) -> None:
        self.assertEqual(this_boot(), this_boot())
        self.assertEqual(len(this_boot()), 16)


def _native(value: int) -> bytes:
    """Return a word in the machine's own order."""
    word = bytearray(8)
    memoryview(word).cast("Q")[0] = value
    return bytes(word)


class GrowingTests(SpoolTestCase):
    """Files of the first version, which a gateway may find after it was brought up to date."""

    def setUp(self) -> None:
        super().setUp()
        wire = spool_frames([b"one", b"x" * (READ_SIZE + 5)])
        old = self.directory / "w0-1.spool"
        old.write_bytes(b"hoopgw spool v1\n" + b"i" * 16 + wire + b"\0\0")
        self.old = SpoolTail.open(old, "w0", 1, OTHER_BOOT)
        self.addCleanup(self.old.close)

    def test_they_are_read_on(self) -> None:
        for offset, wanted in ((0, [b"one"]), (39, [b"x" * (READ_SIZE + 5)])):
            self.old.start(offset)
            self.assertEqual(records_of(self.old.read()), wanted)

    def test_their_torn_end(self) -> None:
        self.old.start(0)
        for _ in range(3):
            self.old.read()
        self.assertTrue(self.old.look_for_end())
        self.old.read()
        self.assertEqual((self.old.exhausted, self.old.rest()), (True, 2))


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

    def test_no_spool(self) -> None:
        path = self.directory / "w9-1.spool"
        path.write_bytes(b"x" * 100)
        self.assertRaises(DamagedError, SpoolTail.open, path, "w9", 1)
