"""The recorder is killed at random points: nothing is lost, nothing doubled, all verifies."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.index import SessionIndex
from hoopgw.recording.intake import Intake
from hoopgw.recording.reader import LogReader
from hoopgw.recording.spool import SpoolWriter
from hoopgw.recording.verification import verify
from tests.recording.samples import (
    VERIFIER,
    encoded,
    ended,
    intent,
    opened,
    result,
    spool_frames,
    started,
)

ROUNDS = 40
DELAYS = (0.0, 0.025)
"""Seconds from a recorder's start to its end: opening, some turns, some checkpoints."""


def record(directory: Path, spool: Path) -> None:
    """Record for ever, as the recorder process does, but without its waits."""
    again = opened(directory, 4000, recheck=1)
    index = SessionIndex.open(directory, again.writer.size)
    intake = Intake(spool, again.writer, index, again.positions)
    while True:
        intake.turn()
        index.flush()
        if again.writer.unsigned:
            again.writer.checkpoint()


def in_child(run: Callable[[], None]) -> int:
    """Run something in a forked child, which never comes back; returns its id."""
    child = os.fork()
    if child == 0:
        try:
            run()
        finally:
            os._exit(3)
    return child


class KillTests(SynchronousTestCase):
    """A worker writes on, while recorders come and are killed."""

    def setUp(self) -> None:
        self.spool = Path(self.mktemp())
        self.spool.mkdir()
        self.directory = self.spool / "log"
        self.seed = random.SystemRandom().randrange(2**32)
        self.random = random.Random(self.seed)
        self.writer = SpoolWriter(self.spool, "w1")
        self.writer.open_next()
        self.addCleanup(self.writer.close)
        self.written: list[bytes] = []
        self.sequence = 0

    def write(self, operations: int) -> None:
        """Write some operations of one long session."""
        for _ in range(operations):
            if not self.written:
                self.keep(encoded([started("s")]))
            sequence = len(self.written)
            self.keep(encoded([intent("s", sequence), result("s", sequence + 1, sequence)]))
        if self.random.random() < 0.3:
            self.writer.open_next()

    def keep(self, records: list[bytes]) -> None:
        self.writer.append(spool_frames(records))
        self.written += records

    def test_killed_at_any_time(self) -> None:
        for _ in range(ROUNDS):
            self.write(self.random.randrange(20))
            child = in_child(lambda: record(self.directory, self.spool))
            end = time.monotonic() + self.random.uniform(*DELAYS)
            while time.monotonic() < end:
                self.write(1)
                time.sleep(0.001)
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            self.assertTrue(os.WIFSIGNALED(status), f"the recorder ended itself; {self.seed}")
        self.keep(encoded([ended("s", len(self.written))]))
        self.writer.close()
        self.drain()
        self.assertEqual(
            [kept.data for kept in LogReader(self.directory).walk()], self.written, self.seed
        )
        report = verify(self.directory, VERIFIER)
        self.assertTrue(report.ok, (report.problems, self.seed))
        self.assertEqual(report.signed, len(self.written))
        self.assertEqual(list(self.spool.glob("*.spool")), [])
        intents = LogReader(self.directory).session("s").intents
        self.assertEqual(intents, (len(self.written) - 2) // 2)

    def drain(self) -> None:
        """Take what is left, and sign."""
        again = opened(self.directory)
        index = SessionIndex.open(self.directory, again.writer.size)
        intake = Intake(self.spool, again.writer, index, again.positions)
        while intake.turn().more:
            """Until there is nothing more."""
        again.writer.checkpoint()
        intake.close()
        index.close()
        again.writer.close()
