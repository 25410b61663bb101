"""What SFTP and scp move is kept before it goes on, if the target says so; or it does not go on."""

from __future__ import annotations

from hashlib import sha256

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.content_frames import FrameKind, piece_of
from hoopgw_ssh import sftp_wire as sftp
from hoopgw_ssh.file_commands import recognise
from hoopgw_ssh.files import Transfer
from hoopgw_ssh.kept_files import FileKeeping, FilesKept
from hoopgw_ssh.scp import ScpInspector
from hoopgw_ssh.sftp import SftpInspector
from tests.fakes import FakeContent, FakeContents, FakeNotes, FakeRecorder
from tests.ssh.sftp_bench import Bench, Deciding, Ground
from tests.ssh.test_sftp_wire import data as data_packet
from tests.ssh.test_sftp_wire import write

NEW = sftp.FOR_WRITING | sftp.CREATING | sftp.TRUNCATING


@define(eq=False)
class Both(Ground):
    """A passage that also holds output."""

    output_holds: int = 0

    def hold_output(self) -> None:
        """Count it."""
        self.output_holds += 1

    def release_output(self) -> None:
        """Count it."""
        self.output_holds -= 1


def pieces(content: FakeContent) -> list[tuple[int, bytes]]:
    """Return what a content has of a file."""
    assert {kind for kind, _ in content.frames} <= {FrameKind.FILE}
    return [piece_of(data) for _, data in content.frames]


class KeptCase(SynchronousTestCase):
    """With contents in memory."""

    def setUp(self) -> None:
        self.contents = FakeContents()
        self.ground = Both()

    def keeping(self, which: FilesKept) -> FileKeeping:
        """Return what keeps files."""
        return FileKeeping(self.contents, FakeNotes(FakeRecorder()), which)


class SftpTests(KeptCase):
    """By SFTP."""

    def begin(self, which: FilesKept = "all") -> Bench:
        """Open a channel."""
        bench = Bench(ground=self.ground)
        bench.inspector = SftpInspector(bench.deciding, keeping=self.keeping(which))
        bench.inspector.attach(self.ground)
        return bench.begin()

    def moved(self, bench: Bench) -> tuple[Transfer, ...]:
        """Return what was told of the last file."""
        return bench.deciding.results[-1][1].transfers

    def write(self, bench: Bench, handle: bytes, *parts: tuple[int, bytes]) -> None:
        """Upload pieces."""
        for number, (offset, data) in enumerate(parts, 10):
            bench.client(write(number, handle, offset, data))

    def test_an_upload(self) -> None:
        """Piece by piece as it came, with where each belongs; the record names the content."""
        bench = self.begin()
        handle = bench.open(1, b"/srv/us/a", NEW)
        self.assertEqual(self.contents.opened, [])
        self.write(bench, handle, (3, b"def"), (0, b"abc"))
        (content,) = self.contents.opened
        self.assertEqual(pieces(content), [(3, b"def"), (0, b"abc")])
        self.assertIsNone(content.outcome)
        bench.ask(sftp.CLOSE, 2, handle)
        (moved,) = self.moved(bench)
        self.assertEqual((moved.content, moved.size), (content.number, 6))
        about = content.about
        self.assertEqual(
            (about.kind, about.title, about.holds), ("upload", "/srv/us/a", ("input",))
        )
        self.assertIsNotNone(content.outcome)

    def test_only_what_is_wanted(self) -> None:
        """The other direction is hashed, and nothing of it is kept; nor of an empty file."""
        bench = self.begin("downloads")
        handle = bench.open(1, b"/srv/us/a", NEW)
        self.write(bench, handle, (0, b"abc"))
        bench.ask(sftp.CLOSE, 2, handle)
        self.assertEqual(self.moved(bench)[0].content, -1)
        self.assertEqual(self.contents.opened, [])
        bench = self.begin("uploads")
        bench.ask(sftp.CLOSE, 4, bench.open(3, b"/srv/us/a", NEW))
        self.assertEqual(self.moved(bench)[0].content, -1)
        self.assertEqual(self.contents.opened, [])

    def test_a_download(self) -> None:
        bench = self.begin("downloads")
        handle = bench.open(1, b"/srv/us/a")
        bench.answers = False
        bench.ask(sftp.READ, 5, handle, 0, 100)
        bench.target(data_packet(5, b"secret"))
        (content,) = self.contents.opened
        self.assertEqual((content.about.kind, pieces(content)), ("download", [(0, b"secret")]))
        self.assertEqual(bytes(bench.content), b"secret")

    def test_full(self) -> None:
        """What cannot be kept does not go on, either way, and the client is told why."""
        self.contents.full = True
        bench = self.begin()
        handle = bench.open(1, b"/srv/us/a", NEW)
        bench.content.clear()
        self.write(bench, handle, (0, b"abc"))
        self.assertEqual(bytes(bench.content), b"")
        self.assertIn("the disk has no room for more recordings", self.ground.ends[0])
        bench.inspector.ended(None)
        self.assertEqual(self.moved(bench)[0].content, -1)
        self.ground = Both()
        bench = self.begin()
        handle = bench.open(1, b"/srv/us/a")
        bench.answers = False
        bench.ask(sftp.READ, 5, handle, 0, 100)
        bench.target(data_packet(5, b"secret"))
        self.assertEqual((bytes(bench.content), len(self.ground.ends)), (b"", 1))

    def test_full_on_the_way(self) -> None:
        """The content ends, and the record tells what came."""
        bench = self.begin()
        handle = bench.open(1, b"/srv/us/a", NEW)
        self.write(bench, handle, (0, b"abc"))
        (content,) = self.contents.opened
        content.fault = "the disk is full"
        before = bytes(bench.content)
        self.write(bench, handle, (3, b"def"))
        self.assertEqual(bytes(bench.content), before)
        self.assertIn("the disk is full", self.ground.ends[0])
        bench.inspector.ended(None)
        self.assertEqual((self.moved(bench)[0].size, self.moved(bench)[0].content), (3, 0))
        self.assertIsNotNone(content.outcome)

    def test_slow(self) -> None:
        """While much waits for the disk, the client is given no more room; it gets it back."""
        bench = self.begin()
        handle = bench.open(1, b"/srv/us/a", NEW)
        self.write(bench, handle, (0, b"abc"))
        (content,) = self.contents.opened
        content.is_full = True
        self.write(bench, handle, (3, b"def"))
        self.assertEqual(self.ground.holds, 1)
        content.drain()
        self.assertEqual(self.ground.holds, 0)
        content.is_full = True
        self.write(bench, handle, (6, b"ghi"))
        self.assertEqual(self.ground.holds, 1)
        bench.inspector.ended(None)
        self.assertEqual(self.ground.holds, 0)


class ScpTests(KeptCase):
    """By scp's own protocol."""

    def begin(self, command: bytes) -> ScpInspector:
        """Open a channel."""
        known = recognise(command)
        assert known is not None
        self.deciding = Deciding()
        inspector = ScpInspector(self.deciding, known, self.keeping("all"))
        inspector.attach(self.ground)
        return inspector

    def test_both_ways(self) -> None:
        up = self.begin(b"scp -t /srv/x")
        up.to_client(b"\0", None)
        up.to_target(b"C0644 5 name\n")
        up.to_client(b"\0", None)
        up.to_target(b"hel")
        up.to_target(b"lo\0")
        up.to_client(b"\0", None)
        (content,) = self.contents.opened
        self.assertEqual(pieces(content), [(0, b"hel"), (3, b"lo")])
        (moved,) = self.deciding.results[0][1].transfers
        self.assertEqual((moved.content, moved.digest), (0, sha256(b"hello").digest()))
        down = self.download()
        down.to_client(b"hi\0", None)
        (moved,) = self.deciding.results[0][1].transfers
        self.assertEqual((moved.content, pieces(self.contents.opened[1])), (1, [(0, b"hi")]))

    def download(self) -> ScpInspector:
        """Ask for a file of two bytes, which comes next."""
        inspector = self.begin(b"scp -f /srv/x")
        inspector.to_target(b"\0")
        inspector.to_client(b"C0644 2 x\n", None)
        inspector.to_target(b"\0")
        return inspector

    def test_full(self) -> None:
        self.contents.full = True
        inspector = self.download()
        self.assertEqual(inspector.to_client(b"hi\0", None), b"")
        self.assertIn("the disk has no room for more recordings", self.ground.ends[0])

    def test_slow(self) -> None:
        inspector = self.download()
        inspector.to_client(b"h", None)
        (content,) = self.contents.opened
        content.is_full = True
        inspector.to_client(b"i", None)
        self.assertEqual((self.ground.output_holds, self.ground.holds), (1, 0))
        content.drain()
        self.assertEqual(self.ground.output_holds, 0)
