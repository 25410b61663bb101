"""What recording costs: the worker's hot path, and what the recorder process sustains.

    python benchmarks/recording.py [--seconds 5] [--rate 20000]

Prints medians over rounds. Pin it (``taskset -c 0``) for the hot path; the rate needs both cores.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from hoopgw.ipc import Peer
from hoopgw.recording.client import SpoolRecorder
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


def fixed_intent() -> Intent:
    return intent(1)


def median_of(run: Callable[[], float], rounds: int = 7) -> tuple[float, float, float]:
    values = sorted(run() for _ in range(rounds))
    return statistics.median(values), values[0], values[-1]


def show(what: str, values: tuple[float, float, float], unit: str) -> None:
    print(f"{what:<58} {values[0]:10.2f} {unit}   ({values[1]:.2f} - {values[2]:.2f})")


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

    show(
        "worker: intent written, result put off (records made)",
        median_of(lambda: pairs(False)),
        "us/pair",
    )
    show("  the same, making both records", median_of(lambda: pairs(True)), "us/pair")
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
    show(
        "recorder: CPU per record, flat out",
        tuple(sorted(r[0] for r in runs)[i] for i in (2, 0, 4)),
        "us",
    )  # type: ignore[arg-type]
    show(
        "recorder: records per second, flat out",
        tuple(sorted(r[1] for r in runs)[i] for i in (2, 0, 4)),
        "/s",
    )  # type: ignore[arg-type]
    start = time.perf_counter()
    report = verify(folder / "log", Verifier(ORIGIN, KEY.public_key()))
    elapsed = time.perf_counter() - start
    print(f"{'verify: time per record':<58} {elapsed / report.records * 1e6:10.2f} us")
    start = time.perf_counter()
    open_log(folder / "log", KEY, ORIGIN).writer.close()
    print(
        f"{'opening: time per record that is read again':<58} {(time.perf_counter() - start) / count * 1e6:10.2f} us"
    )


def sustained(folder: Path, rate: int, seconds: float) -> None:
    """Write at a rate to the recorder's service in another process; say what that one used."""
    from twisted.internet import reactor
    from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
    from twisted.internet.task import LoopingCall

    shutil.rmtree(folder, ignore_errors=True)
    (folder / "spool").mkdir(parents=True)
    child = os.fork()
    if child == 0:
        serve(folder)
    recorder = SpoolRecorder(
        folder / "spool", "w1", reactor,
        lambda peer: connectProtocol(UNIXClientEndpoint(reactor, str(folder / "sock")), peer),
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
    print(f"{'recorder at ' + str(rate) + '/s: sent':<58} {state['sent'] / elapsed:10.0f} /s")
    print(f"{'  CPU, with start and stop':<58} {cpu / elapsed * 100:10.1f} % of a core")
    print(
        f"{'  sync: median, worst':<58} {statistics.median(syncs) * 1e3:10.1f} ms, {max(syncs) * 1e3:.1f} ms"
    )
    print(
        f"{'  lag: median, worst':<58} {statistics.median(lags) / 1024:10.0f} KiB, {max(lags) / 1024:.0f} KiB"
    )
    print(f"{'  memory of the recorder':<58} {usage.ru_maxrss / 1024:10.0f} MiB")
    report = verify(folder / "log", Verifier(ORIGIN, KEY.public_key()))
    assert report.ok and report.unsigned == 0, report
    assert report.records == state["sent"] + 1, (report.records, state["sent"])


def serve(folder: Path) -> None:
    from twisted.internet import reactor

    from hoopgw.recording.service import RecorderService

    try:
        os.nice(0)
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
    print(
        f"{'memory of this process':<58} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:10.0f} MiB"
    )


if __name__ == "__main__":
    main()
