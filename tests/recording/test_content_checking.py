"""Contents against the log: read again, checked, tampered with, left by who was killed."""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from attrs import define, field
from msgspec import structs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.content_checking import check_content
from hoopgw.recording.content_files import ContentFolder, ContentLimits
from hoopgw.recording.content_frames import ContentReader, FrameKind
from hoopgw.recording.content_mending import ContentMender
from hoopgw.recording.content_reading import PAGE_LEAST, contents_of, open_content, read_page
from hoopgw.recording.content_store import ContentStore
from hoopgw.recording.contents import ContentAbout
from hoopgw.recording.index import SessionIndex
from hoopgw.recording.intake import Intake
from hoopgw.recording.reader import LogReader, ReadError
from hoopgw.recording.records import ContentEnded, ContentRemoved, Record, encode
from hoopgw.recording.spool import SpoolWriter
from hoopgw.recording.verification import Report, verify
from tests.recording.samples import START, VERIFIER, ended, opened, spool_frames, started
from tests.recording.test_content_store import Bench

ABOUT = ContentAbout(kind="exec", title="alice > web1: cat")
OUT = FrameKind.OUTPUT


@define(eq=False)
class SpoolNotes:
    """A session's journal that writes into a spool. Implements `SessionNotes`."""

    spool: SpoolWriter
    session: str = "s"
    sequence: int = field(default=0, init=False)

    def note(self, make: Callable[[int, int], Record]) -> int:
        self.spool.append(spool_frames([encode(make(self.sequence, START + self.sequence))]))
        self.sequence += 1
        return self.sequence - 1


class CheckingCase(SynchronousTestCase):
    """A worker's spool and contents, and a log that takes them."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.folder = ContentFolder(self.path / "contents")
        self.spool = self.path / "spool"
        self.log = self.path / "log"
        self.spool.mkdir(parents=True)
        self.folder.make()

    def write(self, work: Callable[[ContentStore, SpoolNotes], None]) -> None:
        """Let a worker record something, and end well."""
        writer = SpoolWriter(self.spool, "w1")
        writer.open_next()
        store = ContentStore(self.folder, ContentLimits(free=0), Clock(), Bench())
        store.start()
        notes = SpoolNotes(writer)
        notes.note(lambda seq, at: structs.replace(started("s", seq), at=at))
        work(store, notes)
        store.stop()
        writer.seal()
        self.take()

    def take(self) -> None:
        """Take what there is into the log."""
        log = opened(self.log)
        index = SessionIndex.open(self.log, log.writer.size)
        intake = Intake(self.spool, log.writer, index, log.positions)
        while intake.turn().read or intake.has_ended_spools:
            pass
        log.writer.checkpoint()
        index.close()
        intake.close()
        log.writer.close()

    def verify(self) -> Report:
        return verify(self.log, VERIFIER, self.folder)

    def told(self) -> str:
        """Return what is wrong, in one text."""
        return "\n".join(f"{each.where}: {each.what}" for each in self.verify().problems)


def some_output(store: ContentStore, notes: SpoolNotes) -> None:
    """Write a command's output of some pieces."""
    content = store.open(notes, ABOUT)
    for number in range(100):
        content.write(OUT, bytes([number]) * 32_768)
    content.end("exit 0")
    notes.note(lambda seq, at: structs.replace(ended("s", seq), at=at))


class VerifyingTests(CheckingCase):
    """What an auditor finds."""

    def setUp(self) -> None:
        super().setUp()
        self.write(some_output)
        self.file = self.folder.kept / "s.0"

    def test_good(self) -> None:
        report = self.verify()
        self.assertEqual(report.problems, ())
        self.assertEqual((report.contents, report.contents_size), (1, self.file.stat().st_size))

    def test_without_the_contents(self) -> None:
        self.file.unlink()
        report = verify(self.log, VERIFIER)
        self.assertEqual((report.problems, report.contents, report.contents_size), ((), 1, 0))

    def test_one_bit(self) -> None:
        """Wherever it is, the part in which it is is named."""
        data = bytearray(self.file.read_bytes())
        for at in (0, 30, len(data) // 2, len(data) - 1):
            data[at] ^= 1
            self.file.write_bytes(data)
            data[at] ^= 1
            self.assertIn("contents, s.0: what is before byte", self.told())

    def test_cut_short(self) -> None:
        os.truncate(self.file, 1_500_000)
        self.assertIn("it ends at byte 1500000", self.told())

    def test_longer(self) -> None:
        with self.file.open("ab") as file:
            file.write(b"x")
        self.assertIn("it goes on behind byte", self.told())

    def test_missing(self) -> None:
        self.file.unlink()
        self.assertIn("no record says that it was removed", self.told())

    def test_removed_as_a_record_says(self) -> None:
        self.file.unlink()
        writer = SpoolWriter(self.spool, "control")
        writer.open_next()
        removed = ContentRemoved("control", 1, START, "s", 0, 100, "older than 30 days")
        writer.append(spool_frames([encode(started("control")), encode(removed)]))
        writer.seal()
        self.take()
        report = self.verify()
        self.assertEqual((report.problems, report.contents_removed), ((), 1))

    def test_one_that_nobody_knows(self) -> None:
        (self.folder.kept / "s.1").write_bytes(b"forged")
        self.assertIn("contents, s.1: the log does not know it", self.told())

    def test_another_in_its_place(self) -> None:
        """A recording of another session, put in this one's place, is not what was written."""
        data = self.file.read_bytes()
        self.file.write_bytes(data[:-5] + b"xxxxx")
        self.assertIn("what is before byte", self.told())

    def test_a_link_is_not_followed(self) -> None:
        aside = self.path / "aside"
        self.file.rename(aside)
        self.file.symlink_to(aside.absolute())
        self.assertIn("cannot be read", self.told())


class ReadingTests(CheckingCase):
    """What replays and exports read."""

    def test_pages(self) -> None:
        self.write(some_output)
        after, reader, frames = 0, ContentReader(), 0
        while True:
            page = read_page(self.folder, "s", 0, after, 0)
            self.assertLessEqual(len(page.data), PAGE_LEAST)
            reader.receive(page.data)
            frames += sum(1 for _ in reader.frames())
            self.assertEqual(reader.rest, 0)
            after = page.next
            if page.is_last:
                break
        self.assertTrue(page.has_ended)
        self.assertEqual((frames, after), (100, (self.folder.kept / "s.0").stat().st_size))

    def test_while_it_is_written(self) -> None:
        """Up to the last whole frame, and on from there."""

        def work(store: ContentStore, notes: SpoolNotes) -> None:
            content = store.open(notes, ABOUT)
            content.write(OUT, b"one")
            first = read_page(self.folder, "s", 0, 0, 0)
            content.write(OUT, b"two")
            with (self.folder.open / "s.0").open("ab") as file:
                file.write(b"\x02torn")
            second = read_page(self.folder, "s", 0, first.next, 0)
            self.assertTrue(first.data.endswith(b"one"))
            self.assertTrue(second.data.endswith(b"two"))
            self.assertFalse(first.has_ended or second.has_ended)
            os.truncate(self.folder.open / "s.0", content.size)

        self.write(work)

    def test_not_there(self) -> None:
        for session, number in (("s", 0), ("../log/x", 0), ("s", -1)):
            with self.assertRaises(ReadError):
                open_content(self.folder, session, number)

    def test_records(self) -> None:
        self.write(some_output)
        found = contents_of(LogReader(self.log).records("s"))
        self.assertEqual(found[0].opened.title, ABOUT.title)
        self.assertGreater(len(found[0].pieces), 2)
        self.assertIsNone(check_content(self.folder, found[0]))


class KilledTests(CheckingCase):
    """A worker that is killed in the middle of output."""

    def run_and_kill(self, delay: float) -> int:
        """Let a worker write until it is killed; return how many frames it has shown."""
        shown = mmap.mmap(-1, 8)
        child = os.fork()
        if child == 0:
            try:
                self.work(shown)
            finally:
                os._exit(3)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        self.assertTrue(os.WIFSIGNALED(status), "the worker ended itself")
        return int.from_bytes(shown[:8], "little")

    def work(self, shown: mmap.mmap) -> None:
        writer = SpoolWriter(self.spool, "w1")
        writer.open_next()
        clock = Clock()
        store = ContentStore(self.folder, ContentLimits(free=0), clock, Bench())
        store.start()
        notes = SpoolNotes(writer)
        notes.note(lambda seq, at: structs.replace(started("s", seq), at=at))
        contents = [store.open(notes, ABOUT), store.open(notes, ABOUT)]
        for number in range(10**9):
            contents[number % 2].write(OUT, number.to_bytes(8, "big") + bytes(number * 7 % 40_000))
            shown[:8] = (number + 1).to_bytes(8, "little")
            clock.advance(0.01)

    def test_all_that_was_shown_is_there(self) -> None:
        delay = random.SystemRandom().uniform(0.05, 0.2)
        shown = 0
        while not shown:  # on a machine that is busy it may be killed before it began
            for path in (*self.spool.iterdir(), *self.folder.open.iterdir()):
                path.unlink()
            shown = self.run_and_kill(delay)
            delay *= 2
        self.take()
        mender = ContentMender(self.folder, self.log, self.spool)
        self.assertEqual(mender.look(has_taken_all=True), 0)
        self.assertEqual(mender.look(has_taken_all=False), 0)
        self.assertEqual(mender.look(has_taken_all=True), 2)
        self.take()
        self.assertEqual(self.told(), "")
        self.assertEqual(self.verify().contents, 2)
        numbers = []
        for content in range(2):
            with open_content(self.folder, "s", content) as file:
                self.assertTrue(file.has_ended)
                numbers += [int.from_bytes(f.data[:8], "big") for _, f in file.frames()]
        self.assertGreaterEqual(len(numbers), shown)
        self.assertEqual(sorted(numbers), list(range(len(numbers))))
        ends = [r for r in LogReader(self.log).records("s") if isinstance(r, ContentEnded)]
        self.assertEqual(
            [(end.mended, end.outcome) for end in ends], [(True, "its worker died")] * 2
        )
        self.assertEqual(mender.look(has_taken_all=True), 0)


class MendingTests(CheckingCase):
    """What is left otherwise."""

    def leave(self, work: Callable[[ContentStore, SpoolNotes], None]) -> None:
        """Let a worker record something, and end without a word: its descriptors are closed."""
        child = os.fork()
        if child == 0:
            try:
                writer = SpoolWriter(self.spool, "w1")
                writer.open_next()
                store = ContentStore(self.folder, ContentLimits(free=0), Clock(), Bench())
                store.start()
                notes = SpoolNotes(writer)
                notes.note(lambda seq, at: structs.replace(started("s", seq), at=at))
                work(store, notes)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        self.take()

    def mend(self) -> None:
        mender = ContentMender(self.folder, self.log, self.spool)
        mender.look(has_taken_all=True)
        mender.look(has_taken_all=True)
        self.take()

    def test_a_torn_frame(self) -> None:
        def work(store: ContentStore, notes: SpoolNotes) -> None:
            store.open(notes, ABOUT).write(OUT, b"hello")

        self.leave(work)
        file = self.folder.open / "s.0"
        whole = file.stat().st_size
        with file.open("ab") as stream:
            stream.write(b"\x02" + bytes(11))
        self.mend()
        self.assertEqual(self.told(), "")
        self.assertEqual((self.folder.kept / "s.0").stat().st_size, whole)

    def test_what_was_changed_meanwhile_is_said(self) -> None:
        """The pieces vouch for what the worker wrote; the recorder says what does not fit."""
        self.leave(_write_pieces)
        file = self.folder.open / "s.0"
        data = bytearray(file.read_bytes())
        data[500] ^= 1
        file.write_bytes(data)
        self.mend()
        (end,) = [r for r in LogReader(self.log).records("s") if isinstance(r, ContentEnded)]
        self.assertIn("is not what was written", end.outcome)
        self.assertIn("is not what was written", self.told())

    def test_what_the_log_does_not_know(self) -> None:
        self.write(some_output)
        (self.folder.open / "s-9.0").write_bytes(b"x")
        self.mend()
        self.assertTrue((self.folder.lost / "s-9.0").exists())
        self.assertEqual(self.told(), "")

    def test_ended_and_not_moved(self) -> None:
        self.write(some_output)
        (self.folder.kept / "s.0").rename(self.folder.open / "s.0")
        self.mend()
        self.assertTrue((self.folder.kept / "s.0").exists())
        self.assertEqual(self.told(), "")

    def test_what_lives_is_left_alone(self) -> None:
        def work(store: ContentStore, notes: SpoolNotes) -> None:
            content = store.open(notes, ABOUT)
            content.write(OUT, b"hello")
            mender = ContentMender(self.folder, self.log, self.spool)
            for _ in range(3):
                self.assertEqual(mender.look(has_taken_all=True), 0)
            content.write(OUT, b"more")

        self.write(work)
        self.assertEqual(self.told(), "")


def _write_pieces(store: ContentStore, notes: SpoolNotes) -> None:
    content = store.open(notes, ABOUT)
    for _ in range(100):
        content.write(OUT, bytes(32_768))
