"""What a record costs: the worker that writes it, and the recorder that takes it.

What recording costs a rate is in the benchmark ``small``: here is only its own time, without
sessions, on one processor.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.progress import Progress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from benchmarks import processors
from benchmarks.figures import Figure, Section, at_most
from benchmarks.samples import ORIGIN, intent, new_key, result
from hoopgw.ipc import Peer
from hoopgw.recording.client import SpoolRecorder
from hoopgw.recording.index import SessionIndex
from hoopgw.recording.intake import Intake
from hoopgw.recording.notes import Verifier
from hoopgw.recording.records import encode
from hoopgw.recording.recovery import open_log
from hoopgw.recording.spool import SpoolWriter
from hoopgw.recording.verification import verify

PAIRS: Final = 20_000
RECORDS: Final = 100_000


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Measure. ``seconds`` does not matter here."""
    processors.here(processors.ONE)
    task = progress.add_task("recording", total=2 * rounds)
    folder = Path(tempfile.mkdtemp(prefix="hg-bench-"))
    try:
        (folder / "hot").mkdir()
        worker = Worker(folder / "hot")
        pairs, taken = [], []
        for _ in range(rounds):
            pairs.append((worker.write_pairs(make=False), worker.write_pairs(make=True)))
            progress.advance(task)
            taken.append(drain(folder / "drain"))
            progress.advance(task)
        worker.recorder.stop()
    finally:
        shutil.rmtree(folder)
    ready, made = zip(*pairs, strict=True)
    taking, checking, opening = zip(*taken, strict=True)
    figures = [
        Figure(
            name="worker: an intent written and a result put off",
            samples=ready,
            unit="us",
            target=at_most(5.0),
        ),
        Figure(name="worker: the same, with making both", samples=made, unit="us"),
        Figure(name="recorder: taking a record", samples=taking, unit="us"),
        Figure(name="verifying a record", samples=checking, unit="us"),
        Figure(name="opening a log, for each record", samples=opening, unit="us"),
    ]
    return [Section(name="records", method=f"{rounds} rounds, one processor", figures=figures)]


class Worker:
    """The worker's end, with a recorder that has always taken all."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._clock = Clock()
        self._peer: Peer | None = None
        self.recorder = SpoolRecorder(spool, "w1", self._clock, self._connect)
        self.recorder.start()
        self._progress()

    def write_pairs(self, *, make: bool) -> float:
        """Write intents and put off results; return microseconds for one pair."""
        one, two = intent(1), result(2)
        write, put_off = self.recorder.write, self.recorder.put_off
        start = time.perf_counter()
        for sequence in range(PAIRS):
            write(intent(sequence) if make else one)
            put_off(result(sequence) if make else two)
        took = time.perf_counter() - start
        self._clock.advance(0.05)
        self._progress()
        for path in sorted(self._spool.glob("*.spool"))[:-1]:
            path.unlink()
        return took / PAIRS * 1e6

    def _connect(self, peer: Peer) -> Deferred[Peer]:
        self._peer = peer
        peer.makeConnection(StringTransport())  # type: ignore[no-untyped-call]  # of Twisted
        return succeed(peer)

    def _progress(self) -> None:
        assert self._peer is not None
        writer = self.recorder._writer
        self._peer._handlers["progress"](
            {"spool": writer.identity, "offset": writer.offset, "idle": False, "objection": ""}
        )


def drain(folder: Path) -> tuple[float, float, float]:
    """Take a full spool; return microseconds for taking, verifying and opening a record."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "spool").mkdir(parents=True)
    writer = SpoolWriter(folder / "spool", "w1")
    writer.open_next()
    for start in range(0, RECORDS, 1000):
        records = (intent(n) if n % 2 == 0 else result(n) for n in range(start, start + 1000))
        frames = (len(data).to_bytes(4, "big") + data for data in map(encode, records))
        data = b"".join(frames)
        if not writer.has_room(len(data)):
            writer.open_next()
        writer.append(data)
    key = new_key()
    log = open_log(folder / "log", key, ORIGIN)
    index = SessionIndex.open(folder / "log", 0)
    intake = Intake(folder / "spool", log.writer, index, {})
    began = time.process_time()
    while intake.turn().more:
        log.writer.checkpoint()
    took = time.process_time() - began
    index.close()
    log.writer.checkpoint()
    log.writer.close()
    began = time.perf_counter()
    report = verify(folder / "log", Verifier(ORIGIN, key.public_key()))
    checked = time.perf_counter() - began
    assert (report.problems[:1], report.records) == ((), RECORDS)
    began = time.perf_counter()
    open_log(folder / "log", key, ORIGIN).writer.close()
    opened = time.perf_counter() - began
    writer.close()
    return took / RECORDS * 1e6, checked / RECORDS * 1e6, opened / RECORDS * 1e6
