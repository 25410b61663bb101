"""``hoopgw sessions export --format file``: what was moved, put together as it was."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from hoopgw.recording.content_frames import FrameKind, piece_data
from hoopgw.recording.contents import ContentAbout
from hoopgw.recording.records import FileMoved
from tests.cli.support import Run, run
from tests.cli.test_contents import FolderCase
from tests.recording.samples import ended


class ExportTests(FolderCase):
    """From folders."""

    def setUp(self) -> None:
        super().setUp()
        self.output = self.state / "back"

    def record(
        self,
        *pieces: tuple[int, bytes],
        extent: str = "whole",
        kind: str = "upload",
        moved: bytes = b"abcdef",
        offset: int = 0,
    ) -> None:
        """Write a session that moved a file."""
        notes = self.recorded.begin("a")
        about = ContentAbout(kind=kind, intent=1, title="/srv/a")
        content = self.recorded.store.open(notes, about)
        for each in pieces:
            content.write(FrameKind.FILE, piece_data(*each))
        content.end(extent)
        digest = sha256(moved).digest()
        notes.note(
            lambda seq, at: FileMoved(
                "a", seq, at, 1, "/srv/a", kind == "upload", len(moved), digest, offset, extent, 0
            )
        )
        notes.records.append(ended("a", len(notes.records)))
        self.recorded.clock.advance(0.1)
        self.recorded.write(notes.records)

    def export(self, *more: str | Path) -> Run:
        """Export it."""
        return run("sessions", "export", "a", "--log", self.log, "--format", "file", *more)

    def assert_exported(self, content: bytes, said: str = "") -> None:
        """Check what was written, and what was said."""
        done = self.export("-o", self.output)
        self.assertEqual((done.status, self.output.read_bytes()), (0, content), done.errors)
        self.assertIn(said, done.errors)
        self.assertEqual(bool(said), bool(done.errors))

    def assert_not(self, said: str, arguments: Iterable[str | Path] | None = None) -> None:
        """Check that nothing is there."""
        done = self.export(*(("-o", self.output) if arguments is None else arguments))
        self.assertEqual(done.status, 1)
        self.assertIn(said, done.errors)
        self.assertEqual([each for each in self.state.iterdir() if "back" in each.name], [])

    def test_whole(self) -> None:
        """In whatever order it came."""
        self.record((3, b"def"), (0, b"abc"))
        self.assert_exported(b"abcdef")
        self.assertEqual(self.output.stat().st_mode & 0o777, 0o600)

    def test_a_range(self) -> None:
        """Is only what was moved."""
        self.record((100, b"abc"), (103, b"def"), extent="range", offset=100)
        self.assert_exported(b"abcdef")

    def test_read_again(self) -> None:
        """What came first counts, as it is hashed."""
        self.record((0, b"abc"), (1, b"XYdef"), kind="download")
        self.assert_exported(b"abcdef")

    def test_in_part(self) -> None:
        """With holes; that is said."""
        self.record((0, b"abc"), (5, b"f"), (0, b"A"), extent="partial")
        self.assert_exported(b"Abc\0\0f", "moved in part")

    def test_not_what_was_moved(self) -> None:
        self.record((0, b"abc"), (3, b"dex"))
        self.assert_not("does not give the file")

    def test_changed(self) -> None:
        self.record((0, b"abcdef"))
        self.file.write_bytes(self.file.read_bytes().replace(b"abc", b"abC"))
        self.assert_not("is not what was written")

    def test_far_away(self) -> None:
        """A place that no file here has."""
        self.record((2**63 + 5, b"abc"), extent="partial")
        self.assert_not("cannot be written")

    def test_standard_output(self) -> None:
        """Files are not text: they go to files."""
        self.record((0, b"abcdef"))
        self.assert_not("name it with -o", ())

    def test_shown(self) -> None:
        """No file is played on a terminal: it is said how to get it."""
        self.record((0, b"abcdef"))
        cast = run("sessions", "export", "a", "--log", self.log)
        self.assertIn("content 0 is a file", cast.errors)
        played = run("sessions", "replay", "a", "--log", self.log, "--channel", "0")
        self.assertIn("--format file", played.errors)
        replayed = run("sessions", "replay", "a", "--log", self.log)
        self.assertIn("kept as content 0", replayed.output)
        self.assertNotIn("abcdef", replayed.output)

    def test_no_file(self) -> None:
        self.recorded.write(self.recorded.shell("a"))
        self.assert_not("no file that was moved")
