"""What recording costs: the worker's hot path, and what the recorder process sustains.

    python benchmarks/recording.py [--seconds 5] [--rate 20000]

Prints medians over rounds. Pin it (``taskset -c 0``) for the hot path; the rate needs both cores.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from hoopgw.ipc import Peer
from hoopgw.recording.client import SpoolRecorder
from hoopgw.recording.connection import over_unix
from hoopgw.recording.index import SessionIndex
from hoopgw.recording.intake import Intake
from hoopgw.recording.notes import Verifier
from hoopgw.recording.records import Intent, Result, SessionStarted, encode
from hoopgw.recording.recovery import open_log
from hoopgw.recording.spool import SpoolWriter
from hoopgw.recording.verification import verify

ORIGIN = "bench"
KEY = Ed25519PrivateKey.generate()
SESSION = "01hxxxxxxxxxxxxxxxxxxxxxxx"
TEXT = b"select id, name, email, created from public.customers where region = 'eu' and id = 4711"
PAIRS = 20_000


def intent(sequence: int) -> Intent:
    return Intent(
        SESSION, sequence, time.time_ns(), "select", ["orders/public.customers"], TEXT, b"",
        bytes(32), "allow", ["reader-may-select"], "0123456789abcdef",
    )  # fmt: skip


def result(sequence: int) -> Result:
    return Result(
        SESSION, sequence, time.time_ns(), sequence - 1, "SELECT 1", 1, 1, 214, b"D" * 120, 81_234
    )


def show(what: str, value: float, unit: str) -> None:
    print(f"{what:<58} {value:10.2f} {unit}")


def show_spread(what: str, values: list[float], unit: str) -> None:
    middle, low, high = statistics.median(values), min(values), max(values)
    print(f"{what:<58} {middle:10.2f} {unit}   ({low:.2f} - {high:.2f})")


class Played:
    """A recorder that has always taken all, so that only the worker's own work is measured."""

    def __init__(self, spool: Path) -> None:
        self.clock = Clock()
        self.recorder = SpoolRecorder(spool, "w1", self.clock, self.connect)
        self.recorder.start()
        self.progress()

    def connect(self, peer: Peer):  # type: ignore[no-untyped-def]
        self.peer = peer
        peer.makeConnection(StringTransport())
        return succeed(peer)

    def progress(self) -> None:
        writer = self.recorder._writer
        self.peer._handlers["progress"](
            {"spool": writer.identity, "offset": writer.offset, "idle": False, "objection": ""}
        )


def hot_path(spool: Path) -> None:
    played = Played(spool)
    recorder = played.recorder

    def pairs(make: bool) -> float:
        one, two = intent(1), result(2)
        start = time.perf_counter()
        for sequence in range(PAIRS):
            recorder.write(intent(sequence) if make else one)
            recorder.put_off(result(sequence) if make else two)
        elapsed = time.perf_counter() - start
        played.clock.advance(0.05)
        played.progress()
        for path in sorted(spool.glob("*.spool"))[:-1]:
            path.unlink()
        return elapsed / PAIRS * 1e6

    ready = [pairs(False) for _ in range(7)]
    show_spread("worker: an intent written, a result put off", ready, "us/pair")
    made = [pairs(True) for _ in range(7)]
    show_spread("  the same, making both records", made, "us/pair")
    recorder.stop()


def drain(folder: Path) -> None:
    """Take a full spool as fast as possible, and say what a record costs."""
    count = 200_000
    data = b"".join(
        len(r).to_bytes(4, "big") + r
        for r in (encode(intent(n) if n % 2 == 0 else result(n)) for n in range(1000))
    )

    def run() -> tuple[float, float]:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "spool").mkdir(parents=True)
        writer = SpoolWriter(folder / "spool", "w1")
        writer.open_next()
        for _ in range(count // 1000):
            writer.append(data)
        log = open_log(folder / "log", KEY, ORIGIN)
        index = SessionIndex.open(folder / "log", 0)
        intake = Intake(folder / "spool", log.writer, index, {})
        cpu, wall = time.process_time(), time.perf_counter()
        while intake.turn().more:
            log.writer.checkpoint()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        index.close()
        log.writer.close()
        return cpu / count * 1e6, count / wall

    runs = [run() for _ in range(5)]
    show_spread("recorder: CPU per record, flat out", [cpu for cpu, _ in runs], "us")
    show_spread("recorder: records per second, flat out", [rate for _, rate in runs], "/s")
    start = time.perf_counter()
    verify(folder / "log", Verifier(ORIGIN, KEY.public_key()))
    show("verify: time per record", (time.perf_counter() - start) / count * 1e6, "us")
    start = time.perf_counter()
    open_log(folder / "log", KEY, ORIGIN).writer.close()
    show("opening: time per record", (time.perf_counter() - start) / count * 1e6, "us")


def sustained(folder: Path, rate: int, seconds: float) -> None:
    """Write at a rate to the recorder's service in another process; say what that one used."""
    from twisted.internet import reactor
    from twisted.internet.task import LoopingCall

    shutil.rmtree(folder, ignore_errors=True)
    (folder / "spool").mkdir(parents=True)
    child = os.fork()
    if child == 0:
        serve(folder)
    recorder = SpoolRecorder(
        folder / "spool", "w1", reactor,
        over_unix(reactor, folder / "sock"),
    )  # fmt: skip
    recorder.start()
    recorder.put_off(SessionStarted(SESSION, 0, 0, "p", "t", "a", [], "", "", "", ""))
    sequence = itertools.count(1)
    syncs: list[float] = []
    lags: list[int] = []
    state = {"start": 0.0, "sent": 0}

    def write() -> None:
        if not recorder.ready:
            return
        now = time.perf_counter()
        state["start"] = state["start"] or now
        due = int((now - state["start"]) * rate) - state["sent"]
        for _ in range(max(due // 2, 0)):
            recorder.write(intent(next(sequence)))
            recorder.put_off(result(next(sequence)))
        state["sent"] += 2 * max(due // 2, 0)
        lags.append(recorder.status().lag)
        if now - state["start"] > seconds:
            reactor.stop()

    def sync() -> None:
        if recorder.ready:
            start = time.perf_counter()
            done = recorder.sync()
            done.addCallbacks(lambda _: syncs.append(time.perf_counter() - start), lambda _: None)

    LoopingCall(write).start(0.005)
    LoopingCall(sync).start(0.1)
    reactor.run()
    recorder.stop()
    os.kill(child, 15)
    _, _, usage = os.wait4(child, 0)
    elapsed = time.perf_counter() - state["start"]
    cpu = usage.ru_utime + usage.ru_stime
    show(f"recorder at {rate}/s: sent", state["sent"] / elapsed, "/s")
    show("  CPU, with start and stop", cpu / elapsed * 100, "% of a core")
    show("  sync: median", statistics.median(syncs) * 1e3, "ms")
    show("  sync: worst", max(syncs) * 1e3, "ms")
    show("  lag: median", statistics.median(lags) / 1024, "KiB")
    show("  lag: worst", max(lags) / 1024, "KiB")
    show("  memory of the recorder", usage.ru_maxrss / 1024, "MiB")
    report = verify(folder / "log", Verifier(ORIGIN, KEY.public_key()))
    assert report.ok, report.problems
    assert (report.records, report.unsigned) == (state["sent"] + 1, 0), report


def serve(folder: Path) -> None:
    from twisted.internet import reactor

    from hoopgw.recording.service import RecorderService

    try:
        service = RecorderService(
            folder / "spool", folder / "log", KEY, ORIGIN, folder / "sock", reactor, reactor.stop
        )
        service.startService()
        reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
        reactor.run()
    finally:
        sys.stdout.flush()
        os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hg-bench-", dir=options.folder))
    try:
        (folder / "hot").mkdir()
        hot_path(folder / "hot")
        drain(folder / "drain")
        sustained(folder / "rate", options.rate, options.seconds)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
