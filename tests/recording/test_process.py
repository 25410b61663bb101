"""The recorder as a process of its own: its exit status, its signals, a disk that fills up."""

from __future__ import annotations

import os
import resource
import signal
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from hoopgw.config import GatewayPaths
from hoopgw.errors import RecorderError
from hoopgw.identity.keyfiles import create_state, load_log_key
from hoopgw.processes.recorder import FAILED, REFUSED
from hoopgw.recording.client import SpoolRecorder
from hoopgw.recording.connection import over_unix
from hoopgw.recording.notes import Verifier
from hoopgw.recording.reader import LogReader
from hoopgw.recording.records import encode
from hoopgw.recording.segments import segments
from hoopgw.recording.verification import verify
from tests.recording.samples import intent, whole_session
from tests.support.processes import Processes, Running

reactor: Any = _reactor

CONFIG = """
state = "state"
name = "gw1"
[link]
listen = "127.0.0.1:7443"
[policy]
directory = "policies"
"""


class ProcessTestCase(TestCase):
    """A state folder, and recorders started on it."""

    timeout = 120

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="hg-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.paths = GatewayPaths(self.folder / "state")
        create_state(self.paths, ["localhost"], datetime.now(UTC))
        (self.folder / "policies").mkdir()
        self.config = self.folder / "hoopgw.toml"
        self.config.write_text(CONFIG)
        self.processes = Processes(self.folder)
        self.addCleanup(self.processes.stop)
        self.verifier = Verifier("gw1", load_log_key(self.paths.log_key).public_key())

    def start(self, name: str = "recorder") -> Running:
        return self.processes.start_python(
            name, "-m", "hoopgw.processes.recorder", "--config", self.config
        )

    def started(self) -> Running:
        process = self.start()
        process.wait_for_line("recording as gw1")
        return process

    def worker(self) -> SpoolRecorder:
        path = self.paths.recorder_socket
        worker = SpoolRecorder(self.paths.spool, "w1", reactor, over_unix(reactor, path))
        worker.start()
        self.addCleanup(self.wait, 0.05)  # let the connection see its end
        self.addCleanup(worker.stop)
        return worker

    def wait(self, seconds: float) -> Deferred[None]:
        return deferLater(reactor, seconds, lambda: None)

    async def until(self, worker: SpoolRecorder, ready: bool) -> None:
        """Wait until the worker may write, or may not; bounded by the test's timeout."""
        while worker.ready != ready:
            await self.wait(0.01)

    def verified(self) -> int:
        """Return how many records are signed, once all is seen to be good."""
        report = verify(self.paths.log, self.verifier)
        self.assertEqual(report.problems, ())
        self.assertEqual(report.unsigned, 0)
        return report.signed


class LifeTests(ProcessTestCase):
    """Start and stop."""

    async def test_stopped(self) -> None:
        process, worker = self.started(), self.worker()
        await self.until(worker, ready=True)
        for record in whole_session("s"):
            worker.write(record)
        self.assertEqual(process.stop(), 0)
        self.assertEqual(self.verified(), 6)

    async def test_killed_and_started_again(self) -> None:
        process, worker = self.started(), self.worker()
        await self.until(worker, ready=True)
        records = whole_session("s", 50)
        for record in records[:40]:
            worker.write(record)
        process.kill()
        await self.until(worker, ready=False)
        again = self.started()
        await self.until(worker, ready=True)
        for record in records[40:]:
            worker.write(record)
        self.assertEqual(again.stop(), 0)
        self.assertEqual(
            [kept.data for kept in LogReader(self.paths.log).walk()],
            [encode(record) for record in records],
        )
        self.assertEqual(self.verified(), len(records))

    async def test_frozen(self) -> None:
        """A recorder that hangs is noticed by what it does not take."""
        process, worker = self.started(), self.worker()
        await self.until(worker, ready=True)
        os.kill(process.pid, signal.SIGSTOP)
        worker.write(intent("s", 0))
        await self.until(worker, ready=False)
        self.assertIn("no progress", worker.status().reason)
        os.kill(process.pid, signal.SIGCONT)
        await self.until(worker, ready=True)

    def test_files_are_private(self) -> None:
        self.started()
        for path in (self.paths.recorder_socket, *self.paths.log.iterdir()):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode) & 0o077, 0, path)

    def test_a_changed_log(self) -> None:
        self.started().stop()
        path = segments(self.paths.log)[0].path
        path.write_bytes(b"x" + path.read_bytes()[1:])
        (self.paths.log / "checkpoint").write_text("forged\n")
        process = self.start("again")
        self.assertEqual(process.process.wait(60), REFUSED)
        self.assertIn("Keep it as evidence", process.output)

    def test_a_second_recorder(self) -> None:
        self.started()
        second = self.start("second")
        self.assertEqual(second.process.wait(60), FAILED)

    def test_no_key(self) -> None:
        self.paths.log_key.unlink()
        process = self.start()
        self.assertEqual(process.process.wait(60), REFUSED)
        self.assertIn("log.key", process.output)


class FullDiskTests(ProcessTestCase):
    """The recorder may not write beyond a file size, which is a full disk to it, for any user."""

    def limit(self, process: Running, size: int) -> None:
        """Set the limit of the running process; only the soft one, so that it can be lifted."""
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, hard))

    async def test_refused_and_goes_on_by_itself(self) -> None:
        process, worker = self.started(), self.worker()
        await self.until(worker, ready=True)
        worker.write(intent("s", 0))
        await worker.sync()
        self.limit(process, segments(self.paths.log)[0].size + 2000)
        sequence = 1
        while worker.ready:
            worker.write(intent("s", sequence, b"x" * 500))
            sequence += 1
            await self.wait(0.01)
        self.assertIn("cannot be written", worker.status().reason)
        self.assertRaises(RecorderError, worker.write, intent("s", sequence))
        await self.assertFailure(worker.sync(), RecorderError)
        self.limit(process, resource.RLIM_INFINITY)
        await self.until(worker, ready=True)
        worker.write(intent("s", sequence))
        await worker.sync()
        self.assertEqual(process.stop(), 0)
        self.assertEqual(self.verified(), sequence + 1)
        self.assertEqual(process.output.count("can be written again"), 1)
