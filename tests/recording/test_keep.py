"""`hoopgw.recording._keep`, the compiled way to the spool: all tests of the plain one, with it."""

from __future__ import annotations

import os
import resource
import signal
from collections import Counter
from typing import Any
from unittest import SkipTest

from hypothesis import given
from hypothesis import strategies as st

from hoopgw.errors import RecorderError
from hoopgw.recording.client import PUT_OFF_LIMIT, SpoolRecorder
from hoopgw.recording.framing import RECORD_LIMIT
from hoopgw.recording.records import Record, encode
from hoopgw.transport import accelerated
from tests.recording import test_client
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


class FullDiskTests(KeptTestCase):
    """What the kernel does not take is not counted, and nothing of it stays behind."""

    def test_nothing_is_taken(self) -> None:
        fd = os.open("/dev/full", os.O_WRONLY)
        self.plain._writer._fd = fd
        self.kept.put_off(result("s", 0, 0))
        waiting = bytes(self.plain._waiting)
        with self.assertRaises(RecorderError):
            self.kept.write(intent("s", 1))
        self.assertEqual(bytes(self.plain._waiting), waiting)
        self.assertFalse(self.plain.ready)
        self.assertEqual(self.kept.counters, {})

    def test_a_part_is_taken(self) -> None:
        """It is cut off again: the spool ends with a whole record."""
        self.kept.write(intent("s", 0))
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size() + 50, before[1]))
        try:
            with self.assertRaises(RecorderError):
                self.kept.write(intent("s", 1, b"x" * 500))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        self.assertEqual(self.written(), [intent("s", 0)])
        self.assertEqual(self.kept.counters, {"operations_allow": 1})

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
            written.append(self.spool().read_bytes()[start:])
            self.say()
        self.assertEqual(written[0], written[1])
        self.assertLess(len(self.plain._waiting), PUT_OFF_LIMIT)
