"""`hoopgw.recording._keep`, the compiled way to the spool: all tests of the plain one, with it."""

from __future__ import annotations

from collections import Counter
from typing import Any
from unittest import SkipTest

from hypothesis import given
from hypothesis import strategies as st

from hoopgw.errors import RecorderError
from hoopgw.recording.client import PUT_OFF_LIMIT, SpoolRecorder
from hoopgw.recording.framing import RECORD_LIMIT
from hoopgw.recording.records import Record, encode
from hoopgw.recording.tail import SpoolTail
from hoopgw.transport import accelerated
from tests.recording import test_client, test_room
from tests.recording.samples import intent, result


class Kept:
    """A `SpoolRecorder`, of which records take the compiled way."""

    def __init__(self, recorder: SpoolRecorder) -> None:
        from hoopgw.recording._keep import Keeper

        self.counters = Counter[str]()
        self.recorder = recorder
        self.keeper = Keeper(recorder, self.counters)

    def write(self, record: Record) -> None:
        """Keep one."""
        self.keeper.write_allowed(encode(record))

    def put_off(self, record: Record) -> None:
        """Keep one with the next."""
        self.keeper.put_off_encoded(encode(record))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.recorder, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            setattr(self.recorder, name, value)
        else:
            super().__setattr__(name, value)


class KeptTestCase(test_client.RecorderTestCase):
    """A recorder as for the plain way."""

    def setUp(self) -> None:
        if not accelerated.is_built("hoopgw.recording._keep"):
            raise SkipTest("it was not built")
        super().setUp()
        self.plain = self.recorder
        self.kept = Kept(self.plain)
        self.recorder = self.kept  # type: ignore[assignment]  # it has all that is tested


class WritingTests(KeptTestCase, test_client.WritingTests):
    """Records on their way to the spool."""


class RoomTests(KeptTestCase, test_room.RoomTests):
    """The same room is used anew."""


class FullDiskTests(KeptTestCase, test_room.FullDiskTests):
    """What has no room is not counted, and nothing of it stays behind."""

    def test_no_room(self) -> None:
        self.kept.write(self.big)
        self.fall_asleep()
        self.kept.put_off(result("s", 0, 0))
        waiting, before = bytes(self.plain._waiting), self.size()
        self.limit(0)
        with self.assertRaises(RecorderError):
            self.kept.write(self.big)
        self.assertEqual((bytes(self.plain._waiting), self.size()), (waiting, before))
        self.assertFalse(self.plain.ready)
        self.assertEqual(self.kept.counters, {"operations_allow": 1})

    def test_a_segment_that_was_left_is_not_kept_alive(self) -> None:
        """Neither by the map, which lives until the next record, nor by its lock."""
        self.kept.write(self.big)
        first = self.spool()
        self.plain._roll()
        tail = SpoolTail.open(first, "w1", 1)
        self.addCleanup(tail.close)
        self.assertTrue(tail.look_for_end())
        self.kept.write(intent("s", 1))
        self.assertEqual(self.written(), [self.big, intent("s", 1)])

    def test_too_long(self) -> None:
        with self.assertRaises(RecorderError):
            self.kept.keeper.write_allowed(bytes(RECORD_LIMIT + 1))
        with self.assertRaises(RecorderError):
            self.kept.keeper.put_off_encoded(bytes(RECORD_LIMIT + 1))
        self.assertEqual(self.kept.counters, {})

    def test_after_the_end(self) -> None:
        self.plain.stop()
        with self.assertRaises(RecorderError):
            self.kept.write(intent("s", 0))
        with self.assertRaises(RecorderError):
            self.kept.put_off(result("s", 1, 0))


class SameTests(KeptTestCase):
    """Both ways put the same bytes into the spool."""

    @given(st.lists(st.tuples(st.booleans(), st.binary(max_size=700)), max_size=12))
    def test_any_records(self, records: list[tuple[bool, bytes]]) -> None:
        written = []
        for recorder in (self.kept.keeper, self.plain):
            start = self.size()
            for at_once, data in records:
                record = b"\x01" + data
                (recorder.write_allowed if at_once else recorder.put_off_encoded)(record)
            self.plain._write_waiting()
            written.append(self.spool().read_bytes()[start : self.size()])
            self.say()
        self.assertEqual(written[0], written[1])
        self.assertLess(len(self.plain._waiting), PUT_OFF_LIMIT)
