"""Tests for `hoopgw.recording.content_store` and `content_writing`."""

from __future__ import annotations

import hashlib
import itertools
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import RecorderError
from hoopgw.recording.content_files import ContentFolder, ContentLimits
from hoopgw.recording.content_frames import ContentFrame, ContentReader, FrameKind
from hoopgw.recording.content_store import SOON, TICK, UNSYNCED_LIMIT, ContentStore
from hoopgw.recording.content_writing import PIECE, SHARE, ContentFile
from hoopgw.recording.contents import ContentAbout
from hoopgw.recording.records import ContentEnded, ContentOpened, ContentPiece
from tests.fakes import FakeNotes, FakeRecorder

ABOUT = ContentAbout(kind="exec", intent=2, title="alice > web1: uname -a")
OUT = FrameKind.OUTPUT


@define(eq=False)
class Bench:
    """Runs what a thread shall do when told to."""

    holds: bool = False
    waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = field(factory=list)

    def __call__(self, work: Callable[[], Any]) -> Deferred[Any]:
        if not self.holds:
            return maybeDeferred(work)
        self.waiting.append((work, Deferred()))
        return self.waiting[-1][1]

    def run(self) -> None:
        """Do what waits."""
        waiting, self.waiting = self.waiting, []
        for work, done in waiting:
            maybeDeferred(work).chainDeferred(done)


class StoreCase(SynchronousTestCase):
    """A store in a folder, with a session."""

    limits = ContentLimits(free=0)

    def setUp(self) -> None:
        self.folder = ContentFolder(Path(self.mktemp()))
        self.clock, self.bench, self.recorder = Clock(), Bench(), FakeRecorder()
        self.clock.advance(1_700_000_000.0)
        self.store = self.make_store()
        self.store.start()
        self.addCleanup(self.store.stop)
        self.notes = FakeNotes(self.recorder)

    def make_store(self) -> ContentStore:
        return ContentStore(self.folder, self.limits, self.clock, self.bench)

    def open(self) -> ContentFile:
        return self.store.open(self.notes, ABOUT)

    def frames(self, number: int = 0) -> list[ContentFrame]:
        """Return what a content holds now."""
        path = self.folder.find("s-1", number)
        assert path is not None
        reader = ContentReader()
        reader.receive(path.read_bytes())
        return list(reader.frames())

    def pieces(self) -> list[ContentPiece]:
        return self.recorder.of(ContentPiece)

    def assert_vouched_for(self, number: int = 0) -> None:
        """Every piece and the end are the hash of the file up to there."""
        path = self.folder.find("s-1", number)
        assert path is not None
        data = path.read_bytes()
        for record in [*self.pieces(), *self.recorder.of(ContentEnded)]:
            if record.number == number:
                self.assertEqual(record.digest, hashlib.sha256(data[: record.size]).digest())


class WritingTests(StoreCase):
    """What is written, and what the log says of it."""

    def test_it_is_there_at_once(self) -> None:
        content = self.open()
        self.clock.advance(1.5)
        content.write(OUT, b"hello")
        self.assertEqual(self.frames(), [ContentFrame(OUT, 1_500_000, b"hello")])
        (opened,) = self.recorder.of(ContentOpened)
        self.assertEqual((opened.intent, opened.kind, opened.title), (2, "exec", ABOUT.title))

    def test_the_end(self) -> None:
        content = self.open()
        content.write(OUT, b"hello")
        content.write(FrameKind.STDERR, b"oh")
        content.passed(FrameKind.INPUT, 7)
        content.end("exit 0")
        content.end("again")
        self.clock.advance(TICK)
        self.assertEqual(list(self.folder.open.iterdir()), [])
        (ended,) = self.recorder.of(ContentEnded)
        path = self.folder.kept / "s-1.0"
        self.assertEqual((ended.outcome, ended.size), ("exit 0", path.stat().st_size))
        self.assertEqual((ended.input, ended.output, ended.stderr), (7, 5, 2))
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assert_vouched_for()
        self.assertRaises(RecorderError, content.write, OUT, b"more")

    def test_pieces_by_size(self) -> None:
        content = self.open()
        for _ in range(100):
            content.write(OUT, bytes(32 * 1024))
        content.end("exit 0")
        sizes = [0, *(piece.size for piece in self.pieces())]
        self.assertTrue(all(0 < b - a <= PIECE for a, b in itertools.pairwise(sizes)))
        self.assertGreater(len(sizes), 3)
        self.assert_vouched_for()

    def test_pieces_by_time(self) -> None:
        content = self.open()
        content.write(OUT, b"hello")
        self.clock.pump([TICK] * 18)
        self.assertEqual(self.pieces(), [])
        self.clock.pump([TICK] * 4)
        (piece,) = self.pieces()
        self.assertEqual(piece.size, content.size)
        self.clock.pump([TICK] * 40)
        self.assertEqual(len(self.pieces()), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_long_frame_is_written_as_several(self) -> None:
        content, data = self.open(), os.urandom(3 * 2**20 + 5)
        content.write(OUT, data)
        content.end("exit 0")
        self.assertEqual(b"".join(frame.data for frame in self.frames()), data)
        self.assert_vouched_for()

    def test_contents_of_a_session_are_numbered(self) -> None:
        self.open()
        self.open()
        other = self.store.open(FakeNotes(self.recorder, "s-2"), ABOUT)
        names = sorted(path.name for path in self.folder.open.iterdir())
        self.assertEqual((names, other.number), (["s-1.0", "s-1.1", "s-2.0"], 0))

    def test_a_name_from_outside_is_none(self) -> None:
        for session in ("../x", "a/b", "", "x" * 65, "a\0"):
            notes = FakeNotes(self.recorder, session)
            self.assertRaises(ValueError, self.store.open, notes, ABOUT)
        self.assertEqual(list(self.folder.open.iterdir()), [])

    def test_stopping_ends_all(self) -> None:
        self.open().write(OUT, b"hello")
        self.store.stop()
        (ended,) = self.recorder.of(ContentEnded)
        self.assertEqual(ended.outcome, "the gateway stops")
        self.assertTrue((self.folder.kept / "s-1.0").exists())
        self.assertRaises(RecorderError, self.open)


class DiskTests(StoreCase):
    """A disk that is slow."""

    def fill(self, content: ContentFile, size: int = UNSYNCED_LIMIT + 2**18) -> None:
        for _ in range(size // 2**18):
            content.write(OUT, bytes(2**18))

    def test_much_is_synced_soon(self) -> None:
        content = self.open()
        self.fill(content, SOON + 2**19)
        self.assertGreater(content.unsynced, SOON)
        self.clock.advance(0)
        self.assertEqual(content.unsynced, 0)

    def test_too_much_waits_for_the_disk(self) -> None:
        self.bench.holds = True
        content, small = self.open(), self.open()
        self.fill(content)
        small.write(OUT, bytes(SHARE // 2))
        self.assertTrue(content.is_full)
        self.assertFalse(small.is_full)
        room = content.room()
        self.successResultOf(small.room())
        self.assertNoResult(room)
        while content.is_full:
            self.clock.advance(TICK)
            self.bench.run()
        self.successResultOf(room)

    def test_who_waits_is_told_of_the_end(self) -> None:
        self.bench.holds = True
        content = self.open()
        self.fill(content)
        room, forgotten = content.room(), content.room()
        forgotten.cancel()
        self.failureResultOf(forgotten)
        content.end("cut")
        self.successResultOf(room)
        self.clock.advance(TICK)
        self.bench.run()

    def test_sync(self) -> None:
        self.bench.holds = True
        content = self.open()
        content.write(OUT, b"hello")
        synced = self.store.sync()
        self.clock.advance(0)
        later = self.store.sync()
        self.bench.run()
        self.successResultOf(synced)
        self.assertEqual(content.unsynced, 0)
        self.assertNoResult(later)
        self.clock.advance(0)
        self.bench.run()
        self.successResultOf(later)

    def test_a_thread_that_fails_stops_all(self) -> None:
        content = self.open()
        content.write(OUT, b"hello")
        synced = self.store.sync()
        (self.folder.open / "s-1.0").unlink()
        self.folder.open.rmdir()
        self.clock.advance(0)
        self.failureResultOf(synced, RecorderError)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertRaises(RecorderError, content.write, OUT, b"more")
        self.assertRaises(RecorderError, self.open)


class FullTests(StoreCase):
    """No room: nothing goes on unrecorded, and what there is stays readable."""

    limits = ContentLimits(all=2**20 + 2**19, session=2**20, free=0)

    def test_a_session_has_its_limit(self) -> None:
        content = self.open()
        content.write(OUT, bytes(2**19))
        self.assertRaises(RecorderError, content.write, OUT, bytes(2**19))
        self.assertRaises(RecorderError, content.write, OUT, b"x")
        content.end("the recording is full")
        self.assertEqual(len(self.recorder.of(ContentEnded)), 1)
        self.assert_vouched_for()

    def test_all_have_theirs(self) -> None:
        self.open().write(OUT, bytes(2**18 * 3))
        other = self.store.open(FakeNotes(self.recorder, "s-2"), ABOUT)
        self.assertRaises(RecorderError, other.write, OUT, bytes(2**18 * 3))

    def test_what_was_there_counts(self) -> None:
        (self.folder.kept / "s-0.0").write_bytes(bytes(2**20 + 2**19))
        again = self.make_store()
        again.start()
        self.addCleanup(again.stop)
        self.assertRaises(RecorderError, again.open, self.notes, ABOUT)

    def test_the_disk_must_have_room(self) -> None:
        limits = ContentLimits(free=2**60)
        store = ContentStore(self.folder, limits, self.clock, self.bench)
        store.start()
        self.assertRaises(RecorderError, store.open, self.notes, ABOUT)

    def test_a_journal_that_refuses(self) -> None:
        self.recorder.full = True
        self.assertRaises(RecorderError, self.open)
        self.assertEqual(list(self.folder.open.iterdir()), [])

    def test_an_end_that_is_not_recorded_stays_for_the_recorder(self) -> None:
        content = self.open()
        content.write(OUT, b"hello")
        self.recorder.full = True
        content.end("exit 0")
        self.clock.advance(TICK)
        self.assertEqual([path.name for path in self.folder.open.iterdir()], ["s-1.0"])
        self.assertEqual(list(self.folder.kept.iterdir()), [])

    def test_a_disk_that_is_full_in_the_middle_of_a_frame(self) -> None:
        """The file is cut back to the last whole frame, which the end vouches for."""
        content = self.open()
        content.write(OUT, b"hello")
        limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (content.size + 100, hard))
            with self.assertRaises(RecorderError):
                content.write(OUT, bytes(1000))
            with self.assertRaises(RecorderError):
                content.write(OUT, b"x")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            signal.signal(signal.SIGXFSZ, before)
        content.end("the disk is full")
        self.clock.advance(TICK)
        self.assertEqual([frame.data for frame in self.frames()], [b"hello"])
        self.assert_vouched_for()

    def test_a_folder_that_cannot_be_written(self) -> None:
        for path in self.folder.open.iterdir():
            path.unlink()
        self.folder.open.rmdir()
        self.assertRaises(RecorderError, self.open)
        self.folder.make()
