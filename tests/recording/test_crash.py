"""The recorder or a worker is killed at random points: nothing lost, doubled, or half there."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.client import SpoolRecorder
from hoopgw.recording.index import SessionIndex
from hoopgw.recording.intake import Intake
from hoopgw.recording.reader import LogReader
from hoopgw.recording.spool import SpoolWriter, parse_name
from hoopgw.recording.tail import SpoolTail
from hoopgw.recording.verification import verify
from hoopgw.transport import accelerated
from tests.recording.samples import (
    VERIFIER,
    encoded,
    ended,
    intent,
    opened,
    records_of,
    result,
    spool_frames,
    started,
)
from tests.support.processes import wait_until

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


WORKERS = 15
"""Workers of each kind that are killed."""
MOST = 50_000
"""Records that a worker writes: fewer than may wait for a recorder."""
SMALL = 20_000
"""Bytes of their segments: some hundred records."""


class WorkerKillTests(SynchronousTestCase):
    """A worker is killed while it writes: each record is there as a whole, or not at all."""

    def setUp(self) -> None:
        self.spool = Path(self.mktemp())
        self.spool.mkdir()

    def plain(self) -> None:
        """Write as a worker does that has nothing compiled."""
        self.write_all(self.recorder().write_allowed)

    def compiled(self) -> None:
        """Write as one that has."""
        from hoopgw.recording._keep import Keeper

        self.write_all(Keeper(self.recorder(), Counter()).write_allowed)

    def write_all(self, write: Callable[[bytes], None]) -> None:
        """Write until killed, or as much as a worker may that nobody reads."""
        for sequence in range(MOST):
            write(numbered(sequence))
        signal.pause()

    def recorder(self) -> SpoolRecorder:
        """Return a worker's recorder that believes to be heard."""
        recorder = SpoolRecorder(self.spool, "w1", Clock(), lambda _peer: Deferred())
        recorder._writer.size = SMALL
        recorder.start()
        recorder._reason, recorder._asleep = "", False
        recorder._rebound()
        return recorder

    def killed(self, worker: Callable[[], None]) -> None:
        for _ in range(WORKERS):
            child = in_child(worker)
            wait_until("it has begun", lambda: any(self.spool.glob("*.spool")))
            time.sleep(random.uniform(0.0, 0.01))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            self.assertTrue(os.WIFSIGNALED(status), "the worker ended itself")
            found = self.records()
            self.assertEqual(found, [numbered(sequence) for sequence in range(len(found))])
            for path in self.spool.iterdir():
                path.unlink()

    def records(self) -> list[bytes]:
        """Read all that a worker left behind."""
        found: list[bytes] = []
        names = [parse_name(path.name) for path in self.spool.glob("*.spool")]
        for name in sorted(name for name in names if name is not None):
            tail = SpoolTail.open(self.spool / f"{name[0]}-{name[1]}.spool", *name)
            self.assertTrue(tail.look_for_end())
            tail.start(0)
            batch = tail.read()
            self.assertEqual((batch.fault, tail.rest()), (None, 0))
            found += records_of(batch)
            tail.close()
        return found

    def test_plain(self) -> None:
        self.killed(self.plain)

    def test_compiled(self) -> None:
        if not accelerated.is_built("hoopgw.recording._keep"):
            self.skipTest("it was not built")
        self.killed(self.compiled)


def numbered(sequence: int) -> bytes:
    """Return a record in which a byte of another one would be seen."""
    return bytes([1 + sequence % 255]) * (1 + sequence % 97)
