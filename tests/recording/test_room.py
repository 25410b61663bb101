"""Tests for `hoopgw.recording.client`: the room in a spool, and a disk that has none."""

from __future__ import annotations

import contextlib
import resource

from hoopgw.errors import RecorderError
from hoopgw.recording import client
from hoopgw.recording.framing import SPOOL_HEADER_SIZE
from hoopgw.recording.records import decode
from hoopgw.recording.spool import SEGMENT_SIZE
from hoopgw.recording.tail import SpoolTail
from tests.recording import test_client
from tests.recording.samples import intent, records_of, result


class FullDiskTests(test_client.RecorderTestCase):
    """A full disk, as a limit on this process's file size stands for it."""

    def limit(self, size: int) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    def fill(self) -> None:
        """Leave room for small records only, and no space for a new segment."""
        self.recorder.write(self.big)
        self.limit(1000)

    big = intent("s", 0, b"x" * (SEGMENT_SIZE // 2))

    def test_refused_until_there_is_space(self) -> None:
        self.fill()
        self.assertRaises(RecorderError, self.recorder.write, self.big)
        self.refused("the spool")
        self.limit(2**30)
        self.clock.advance(0.5)
        self.recorder.write(self.big)
        self.assertEqual(self.written(), [self.big, self.big])

    def test_room_that_is_there_is_used(self) -> None:
        """Without space for another segment, what fits into this one is kept."""
        self.fill()
        self.assertRaises(RecorderError, self.recorder.write, self.big)
        self.clock.advance(0.5)
        self.recorder.write(intent("s", 1))
        self.assertEqual(self.written(), [self.big, intent("s", 1)])

    def test_room_that_the_recorder_makes_is_used(self) -> None:
        self.fill()
        half = intent("s", 1, b"x" * (SEGMENT_SIZE // 2 - 1000))
        self.recorder.write(half)
        self.assertRaises(RecorderError, self.recorder.write, half)
        self.clock.pump([0.5] * 2)
        self.refused("the spool")
        self.say()
        self.clock.advance(0.5)
        self.recorder.write(half)
        self.assertEqual(len(list(self.directory.glob("*.spool"))), 1)
        self.assertEqual(self.size(), SPOOL_HEADER_SIZE + self.recorder.status().lag + self.taken())

    def taken(self) -> int:
        """Return how many bytes of records the recorder has taken."""
        return self.recorder._taken - SPOOL_HEADER_SIZE

    def test_a_full_disk_does_not_touch_a_segment(self) -> None:
        """What is reserved is written without a system call that could fail."""
        self.limit(0)
        for sequence in range(1000):
            self.recorder.write(intent("s", sequence))
        self.assertEqual(len(self.written()), 1000)

    def test_what_was_put_off_is_not_lost_and_not_doubled(self) -> None:
        part = intent("s", 0, b"x" * (SEGMENT_SIZE // 2 - 200))
        self.recorder.write(part)
        self.fall_asleep()
        self.recorder.put_off(result("s", 1, 0))
        self.limit(1000)
        self.assertRaises(RecorderError, self.recorder.write, part)
        self.assertEqual(self.written(), [part])
        self.limit(2**30)
        self.clock.pump([0.5, 0.1])
        self.assertEqual(self.written(), [part, result("s", 1, 0)])
        self.recorder.write(part)
        self.assertEqual(self.written(), [part, result("s", 1, 0), part])

    def test_flushing_fails(self) -> None:
        big = intent("s", 0, b"x" * (client.PUT_OFF_LIMIT // 2))
        self.recorder.put_off(big)
        self.limit(0)
        for _ in range(20):
            with contextlib.suppress(RecorderError):
                self.recorder.put_off(big)
        self.clock.advance(0.05)
        self.refused("the spool")
        kept = self.recorder.status().records
        self.limit(2**30)
        self.clock.pump([0.5, 0.1])
        self.assertEqual(self.written(), [big] * kept)


class RoomTests(test_client.RecorderTestCase):
    """The place of what the recorder has synced is used anew, and no other."""

    def test_one_segment_is_enough_for_a_recorder_that_keeps_up(self) -> None:
        part = intent("s", 0, b"x" * (SEGMENT_SIZE // 3))
        for sequence in range(20):
            self.recorder.write(part)
            self.recorder.write(intent("s", sequence))
            tail = SpoolTail.open(self.spool(), "w1", 1)
            tail.start(0)
            self.assertEqual(
                [decode(each) for each in (*records_of(tail.read()), *records_of(tail.read()))],
                [part, intent("s", sequence)],
            )
            tail.close()
            self.say()
        self.assertEqual(len(list(self.directory.glob("*.spool"))), 1)
        self.assertGreater(self.size(), 6 * SEGMENT_SIZE)

    def test_what_is_not_synced_is_not_written_over(self) -> None:
        part = intent("s", 0, b"x" * (SEGMENT_SIZE // 3))
        self.recorder.write(part)
        first = self.size()
        self.recorder.write(part)
        self.say(first)
        for _ in range(2):
            self.recorder.write(part)
        self.assertEqual(len(list(self.directory.glob("*.spool"))), 2)
        tail = SpoolTail.open(min(self.directory.glob("*.spool")), "w1", 1)
        self.addCleanup(tail.close)
        tail.start(first)
        self.assertEqual(decode(records_of(tail.read())[0]), part)

    def test_a_sync_makes_room_too(self) -> None:
        part = intent("s", 0, b"x" * (SEGMENT_SIZE // 2))
        for _ in range(5):
            self.recorder.write(part)
            self.recorder.sync()
            self.carry()
            self.syncs[-1].callback({})
            self.carry()
        self.assertEqual(len(list(self.directory.glob("*.spool"))), 1)

    def test_a_record_longer_than_a_segment(self) -> None:
        long = intent("s", 0, b"x" * (2 * SEGMENT_SIZE))
        self.recorder.write(intent("s", 1))
        self.recorder.write(long)
        self.recorder.write(intent("s", 2))
        self.assertEqual(self.written(), [intent("s", 1), long, intent("s", 2)])

    def test_after_the_end_it_may_be_read_even_after_a_restart_of_the_machine(self) -> None:
        self.recorder.write(intent("s", 0))
        self.recorder.stop()
        tail = SpoolTail.open(self.spool(), "w1", 1, boot=b"another boot id.")
        self.addCleanup(tail.close)
        tail.start(0)
        self.assertEqual([decode(each) for each in records_of(tail.read())], [intent("s", 0)])
