"""Tests for `hoopgw.recording.counting`."""

from __future__ import annotations

from collections import Counter

from msgspec import structs
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import RecorderError
from hoopgw.recording.counting import CountingRecorder
from hoopgw.recording.records import Record, SessionEnded, SessionRefused, decode, encode
from tests.recording.samples import intent


class Kept:
    """Keeps records, or refuses them."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.refuses = False

    def write(self, record: Record) -> None:
        """Keep one."""
        if self.refuses:
            raise RecorderError("full")
        self.records.append(record)

    def put_off(self, record: Record) -> None:
        """Keep one."""
        self.write(record)

    def write_allowed(self, record: bytes) -> None:
        """Keep one."""
        self.write(decode(record))

    def put_off_encoded(self, record: bytes) -> None:
        """Keep one."""
        self.write(decode(record))

    def sync(self) -> Deferred[None]:
        """Be done."""
        return succeed(None)


class CountingTests(SynchronousTestCase):
    """What is counted, and that everything is passed on."""

    def setUp(self) -> None:
        self.kept, self.counters = Kept(), Counter[str]()
        self.recorder = CountingRecorder(self.kept, self.counters)

    def test_decisions(self) -> None:
        for number, decision in enumerate(["allow", "deny", "allow", "review"]):
            self.recorder.write(structs.replace(intent("s", number), decision=decision))
        self.assertEqual(
            self.counters, {"operations_allow": 2, "operations_deny": 1, "operations_review": 1}
        )
        self.assertEqual(len(self.kept.records), 4)

    def test_encoded(self) -> None:
        """What is encoded already counts alike, and not if it is refused."""
        self.recorder.write_allowed(encode(intent("s", 0)))
        self.recorder.put_off_encoded(encode(SessionEnded("s", 1, 0, "over")))
        self.kept.refuses = True
        with self.assertRaises(RecorderError):
            self.recorder.write_allowed(encode(intent("s", 2)))
        self.assertEqual(self.counters, {"operations_allow": 1})
        self.assertEqual([record.sequence for record in self.kept.records], [0, 1])

    def test_refused_log_ins(self) -> None:
        refused = SessionRefused("s", 0, 0, "postgres", "orders", "app", "127.0.0.1", "bad token")
        self.recorder.put_off(refused)
        self.recorder.put_off(SessionEnded("s", 1, 0, "over"))
        self.assertEqual(self.counters, {"sessions_refused_total": 1})
        self.assertEqual(len(self.kept.records), 2)

    def test_what_was_refused_is_not_counted(self) -> None:
        self.kept.refuses = True
        self.assertRaises(RecorderError, self.recorder.write, intent("s", 0))
        self.assertEqual(self.counters, {})

    def test_sync(self) -> None:
        self.successResultOf(self.recorder.sync())
