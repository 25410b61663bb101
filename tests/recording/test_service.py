"""Tests for `hoopgw.recording.service`: a worker and the recorder over a real socket and files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from hoopgw.errors import RecorderError
from hoopgw.recording.client import SpoolRecorder
from hoopgw.recording.connection import over_unix
from hoopgw.recording.reader import LogReader
from hoopgw.recording.records import encode
from hoopgw.recording.service import RecorderService
from hoopgw.recording.verification import verify
from tests.recording.samples import KEY, ORIGIN, VERIFIER, result, whole_session
from tests.support.waiting import eventually

reactor: Any = _reactor


class ServiceTestCase(TestCase):
    """One recorder and one worker in this process."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="hg-")  # short: a socket's path is limited
        self.addCleanup(folder.cleanup)
        self.state = Path(folder.name)
        (self.state / "spool").mkdir()
        self.given_up: list[str] = []
        self.start()
        self.recorder = self.worker("w1")
        self.addCleanup(self.stop)

    def start(self) -> None:
        self.service = RecorderService(
            self.state / "spool",
            self.state / "log",
            KEY,
            ORIGIN,
            self.state / "recorder.sock",
            reactor,
            lambda: self.given_up.append("given up"),
        )
        self.service.startService()

    async def stop(self) -> None:
        self.recorder.stop()
        if self.service.running:
            await self.stopped()

    async def stopped(self) -> None:
        await (self.service.stopService() or self.wait())
        await self.wait(0.05)  # let connections see their end

    def wait(self, seconds: float = 0.0) -> Deferred[None]:
        return deferLater(reactor, seconds, lambda: None)

    def worker(self, name: str) -> SpoolRecorder:
        path = self.state / "recorder.sock"
        recorder = SpoolRecorder(self.state / "spool", name, reactor, over_unix(reactor, path))
        recorder.start()
        return recorder

    async def ready(self) -> None:
        """Wait until the worker may write; the real time is bounded."""
        await eventually(reactor, lambda: self.recorder.ready)

    async def write_session(self, session: str, operations: int = 2) -> list[bytes]:
        records = whole_session(session, operations)
        for record in records:
            self.recorder.write(record)
        await self.recorder.sync()
        return [encode(record) for record in records]

    def kept(self) -> list[bytes]:
        return [kept.data for kept in LogReader(self.state / "log").walk()]


class ServiceTests(ServiceTestCase):
    """The whole way."""

    async def test_what_is_synced_is_in_the_log(self) -> None:
        await self.ready()
        records = await self.write_session("s1")
        self.assertEqual(self.kept(), records)
        self.assertEqual(self.recorder.status().lag, 0)

    async def test_it_is_signed_and_indexed_at_the_end(self) -> None:
        await self.ready()
        await self.write_session("s1")
        self.recorder.put_off(result("s2", 0, 0))
        self.recorder.stop()
        await self.stopped()
        report = verify(self.state / "log", VERIFIER)
        self.assertEqual((report.records, report.signed), (7, 7))
        self.assertEqual(LogReader(self.state / "log").session("s1").intents, 2)
        self.assertEqual(list((self.state / "spool").iterdir()), [])

    async def test_the_recorder_restarts_under_a_living_worker(self) -> None:
        await self.ready()
        first = await self.write_session("s1")
        await self.stopped()
        self.assertFalse(self.recorder.ready)
        self.assertRaises(RecorderError, self.recorder.write, result("s2", 0, 0))
        self.start()
        await self.ready()
        second = await self.write_session("s2")
        self.assertEqual(self.kept(), first + second)

    async def test_many_workers(self) -> None:
        await self.ready()
        others = [self.worker(f"other-{number}") for number in range(3)]
        for recorder in [*others, self.recorder]:
            self.recorder = recorder
            await self.ready()
            await self.write_session(f"session of {recorder._name}")
        for recorder in others:
            recorder.stop()
        self.assertEqual(len(self.kept()), 4 * 6)

    async def test_a_sync_for_an_unknown_spool(self) -> None:
        await self.ready()
        assert self.recorder._peer is not None
        call = self.recorder._peer.call("sync", spool=b"x" * 16, offset=50)
        error = await self.assertFailure(call, Exception)
        self.assertIn("does not know", str(error))

    async def test_checkpoints_follow_records(self) -> None:
        await self.ready()
        await self.write_session("s1", 600)
        await eventually(reactor, lambda: self.service._log.unsigned == 0)
        head = LogReader(self.state / "log").checkpoint(VERIFIER)
        self.assertGreaterEqual(head.size, 1000)
