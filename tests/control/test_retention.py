"""Contents that are removed when their time is over."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from hoopgw.control.reading import ReadingRoom
from hoopgw.control.retention import Retention
from hoopgw.errors import RecorderError
from hoopgw.grants.journal import GrantJournal, replay
from hoopgw.recording.content_files import ContentFolder
from hoopgw.recording.records import ContentRemoved, SessionStarted
from tests.fakes import FakeRecorder

NOW = 1_700_000_000.0
DAY = 86_400.0


class RetentionTests(TestCase):
    """Three contents: of yesterday, of 40 days ago, and one that goes on."""

    def setUp(self) -> None:
        self.folder = ContentFolder(Path(self.enterContext(tempfile.TemporaryDirectory())))
        self.folder.make()
        self.recorder, self.room = FakeRecorder(), ReadingRoom(reactor)
        self.room.start()
        self.addCleanup(self.room.stop)
        self.new = self.make(self.folder.kept / "new.0", 1)
        self.old = self.make(self.folder.kept / "old.3", 40)
        self.live = self.make(self.folder.open / "live.0", 40)

    def make(self, path: Path, days: float) -> Path:
        path.write_bytes(b"content")
        os.utime(path, (NOW - days * DAY, NOW - days * DAY))
        return path

    def retention(self, days: float = 30) -> Retention:
        journal = GrantJournal(self.recorder, lambda: "control", lambda: NOW)
        return Retention(self.folder, days, journal, self.recorder, self.room, lambda: NOW)

    def look(self, retention: Retention) -> Deferred[None]:
        looking = retention.look()
        assert looking is not None
        return looking

    async def test_removed_and_recorded(self) -> None:
        await self.look(self.retention())
        self.assertEqual(
            [self.new.exists(), self.old.exists(), self.live.exists()], [True, False, True]
        )
        start, removed = self.recorder.records
        assert isinstance(start, SessionStarted)
        assert isinstance(removed, ContentRemoved)
        self.assertEqual((removed.of, removed.number, removed.size), ("old", 3, 7))
        self.assertEqual((removed.session, removed.sequence), ("control", 1))
        told = [line.text for line in replay([start, removed])]
        self.assertIn("content 3 of session old was removed: older than 30 days", told)

    async def test_nothing_without_a_record(self) -> None:
        """Also if it could be written, and is not on the disk yet."""
        self.recorder.full = True
        await self.look(self.retention())
        self.assertTrue(self.old.exists())
        self.recorder.full, self.recorder.hold_syncs = False, True
        retention = self.retention()
        looking = self.look(retention)
        while not self.recorder.syncs:
            await self.soon()
        self.assertIsNone(retention.look())
        self.assertTrue(self.old.exists())
        self.recorder.syncs[0].errback(RecorderError("not in time"))
        await looking
        self.assertTrue(self.old.exists())

    def test_for_ever(self) -> None:
        self.assertIsNone(self.retention(days=0).look())
        self.assertTrue(self.old.exists())

    def soon(self) -> Deferred[None]:
        """Fire in the reactor's next turn."""
        waiting: Deferred[None] = Deferred()
        reactor.callLater(0, waiting.callback, None)
        return waiting
