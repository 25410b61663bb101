"""A worker's reactor that records at a rate, and how late its timers are: run by `lateness`.

    python -m benchmarks.busy_worker RATE SECONDS

The events come from another process over a socket, a few each millisecond, as statements would;
every other one is an intent, which is written at once, the rest are results. The recorder is a
process of its own. Prints one JSON object.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from benchmarks import processors
from benchmarks.samples import ORIGIN, SESSION, intent, new_key, result
from hoopgw.recording.client import SpoolRecorder
from hoopgw.recording.notes import Verifier
from hoopgw.recording.records import SessionStarted
from hoopgw.recording.service import RecorderService
from hoopgw.recording.verification import verify
from hoopgw.transport import adopt
from hoopgw.transport.reactor import install
from hoopgw.transport.timers import let_timers_be_late

PROBE_EVERY: Final = 0.002
SYNC_EVERY: Final = 0.1
_TICK: Final = 0.001


def main() -> int:
    """Run; returns the exit status."""
    rate, seconds = int(sys.argv[1]), float(sys.argv[2])
    folder = Path(tempfile.mkdtemp(prefix="hg-bench-"))
    (folder / "spool").mkdir()
    key = new_key()
    processors.here(processors.OTHER)
    recorder = _fork(lambda: serve(folder, key))
    ours, theirs = socket.socketpair()
    feeder = _fork(lambda: feed(theirs, rate))
    theirs.close()
    processors.here(processors.ONE)
    let_timers_be_late()
    install()
    from twisted.internet import reactor

    try:
        busy = BusyWorker(reactor, folder, ours)
        busy.start()
        reactor.callLater(seconds, reactor.stop)
        reactor.run()
        figures = busy.figures()
        busy.recorder.stop()
    finally:
        os.kill(feeder, signal.SIGKILL)
        os.waitpid(feeder, 0)
        os.kill(recorder, signal.SIGTERM)
        os.waitpid(recorder, 0)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = verify(folder / "log", Verifier(ORIGIN, key.public_key()))
    shutil.rmtree(folder)
    assert (report.problems[:1], report.records) == ((), busy.sent)
    print(json.dumps(figures | {"recorder_memory": usage.ru_maxrss * 1024}))
    return 0


class BusyWorker:
    """Records what comes, and watches its own timers."""

    def __init__(self, reactor: Any, folder: Path, source: socket.socket) -> None:
        self._reactor = reactor
        endpoint = UNIXClientEndpoint(reactor, str(folder / "sock"))
        self.recorder = SpoolRecorder(
            folder / "spool", "w1", reactor, lambda peer: connectProtocol(endpoint, peer)
        )
        self._source = adopt(reactor, source, _Events(self))
        self._sequence = itertools.count(1)
        self._late: list[float] = []
        self._syncs: list[float] = []
        self._lags: list[int] = []
        self._began = 0.0
        self.sent = 0

    def start(self) -> None:
        """Wait for the recorder, then take events."""
        self.recorder.start()
        self._begin()

    def event(self) -> None:
        """Record a statement and its answer."""
        self.recorder.write(intent(next(self._sequence)))
        self.recorder.put_off(result(next(self._sequence)))
        self.sent += 2

    def figures(self) -> dict[str, Any]:
        """Return what was seen."""
        return {
            "late": sorted(self._late),
            "syncs": sorted(self._syncs),
            "lag": max(self._lags, default=0),
            "rate": self.sent / (time.monotonic() - self._began),
        }

    def _begin(self) -> None:
        if not self.recorder.ready:
            self._reactor.callLater(0.01, self._begin)
            return
        self._began = time.monotonic()
        self.recorder.put_off(SessionStarted(SESSION, 0, 0, "p", "t", "a", [], "", "", "", ""))
        self.sent += 1
        self._source.resumeProducing()
        self._reactor.callLater(SYNC_EVERY, self._sync)
        self._expect()

    def _expect(self) -> None:
        due = self._reactor.seconds() + PROBE_EVERY
        self._reactor.callLater(PROBE_EVERY, self._probe, due)

    def _probe(self, due: float) -> None:
        self._late.append(self._reactor.seconds() - due)
        self._expect()

    def _sync(self) -> None:
        start = self._reactor.seconds()
        self._lags.append(self.recorder.status().lag)
        self.recorder.sync().addCallbacks(
            lambda _: self._syncs.append(self._reactor.seconds() - start), lambda _: None
        )
        self._reactor.callLater(SYNC_EVERY, self._sync)


class _Events(Protocol):
    def __init__(self, worker: BusyWorker) -> None:
        self._worker = worker

    def dataReceived(self, data: bytes) -> None:
        for _ in range(len(data)):
            self._worker.event()


def feed(to: socket.socket, rate: int) -> None:
    """Send a byte for every second event, until killed."""
    start, sent = time.monotonic(), 0
    while True:
        time.sleep(_TICK)
        due = int((time.monotonic() - start) * rate / 2) - sent
        if due > 0:
            to.sendall(bytes(due))
            sent += due


def serve(folder: Path, key: Any) -> None:
    """Be the recorder, until stopped."""
    from twisted.internet import reactor

    service = RecorderService(
        folder / "spool",
        folder / "log",
        key,
        ORIGIN,
        folder / "sock",
        reactor,
        reactor.stop,
    )
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


def _fork(call: Any) -> int:
    child = os.fork()
    if child:
        return child
    try:
        call()
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
