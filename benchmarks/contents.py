"""What it costs a worker to write what went over a channel: hashed, and in the page cache.

One processor, one content, pieces as SSH carries them; the syncing is a part of it, as it shares
that processor. The journal is a list. How fast whole sessions are is in the benchmark ``ssh``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from rich.progress import Progress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from benchmarks import processors
from benchmarks.figures import Figure, Section, at_least
from hoopgw.recording.content_files import ContentFolder, ContentLimits
from hoopgw.recording.content_frames import FrameKind
from hoopgw.recording.content_store import ContentStore
from hoopgw.recording.contents import ContentAbout
from hoopgw.recording.records import Record

MEGABYTES: Final = 400
KEYS: Final = 50_000
_PIECE: Final = 32 * 1024
_TURN: Final = 8
"""Pieces that a worker takes in one turn of its reactor."""


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Measure. ``seconds`` does not matter here."""
    processors.here(processors.ONE)
    task = progress.add_task("contents", total=rounds)
    bulk, keys = [], []
    for _ in range(rounds):
        bulk.append(write(os.urandom(_PIECE), MEGABYTES * 10**6 // _PIECE))
        keys.append(write(b"x" * 8, KEYS))
        progress.advance(task)
    figures = [
        Figure(
            name="worker: output in pieces of 32 KiB, hashed and written",
            samples=tuple(_PIECE / each * 1e-6 for each in bulk),
            unit="MB/s",
            target=at_least(700.0),
        ),
        Figure(
            name="worker: the processor time of a megabyte",
            samples=tuple(each * 1e9 / _PIECE for each in bulk),
            unit="ms",
        ),
        Figure(
            name="worker: an echoed key",
            samples=tuple(each * 1e6 for each in keys),
            unit="us",
        ),
    ]
    return [Section(name="contents", method=f"{rounds} rounds, one processor", figures=figures)]


@define(eq=False)
class _Notes:
    """A journal that counts. Implements `hoopgw.recording.contents.SessionNotes`."""

    session: str = "s"
    records: list[Record] = field(factory=list)

    def note(self, make: Callable[[int, int], Record]) -> int:
        """Keep a record."""
        self.records.append(make(len(self.records), 0))
        return len(self.records) - 1


def write(data: bytes, count: int) -> float:
    """Write so many frames; return the seconds of processor time that one took."""
    folder, clock = Path(tempfile.mkdtemp(prefix="hg-bench-")), Clock()
    try:
        store = ContentStore(ContentFolder(folder), ContentLimits(free=0), clock, _at_once)
        store.start()
        content = store.open(_Notes(), ContentAbout(kind="exec"))
        began = time.process_time()
        for number in range(count):
            content.write(FrameKind.OUTPUT, data)
            if number % _TURN == 0:
                clock.advance(0)
        took = time.process_time() - began
        content.end("exit 0")
        store.stop()
    finally:
        shutil.rmtree(folder)
    return took / count


def _at_once(work: Callable[[], Any]) -> Deferred[Any]:
    return maybeDeferred(work)
