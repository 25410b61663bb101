"""scp between a client and a target: names, contents, refusals, and both sides at their worst."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_ssh.file_commands import recognise
from hoopgw_ssh.files import FileRuling
from hoopgw_ssh.scp import ScpInspector
from hoopgw_ssh.scp_wire import LINE_LIMIT
from tests.ssh.sftp_bench import Deciding, Ground


class Both(Ground):
    """A passage that also holds output."""

    output_holds = 0

    def hold_output(self) -> None:
        """Count it."""
        self.output_holds += 1

    def release_output(self) -> None:
        """Count it."""
        self.output_holds -= 1


class ScpCase(SynchronousTestCase):
    """With a channel."""

    def begin(self, command: bytes) -> None:
        """Start a command."""
        known = recognise(command)
        assert known is not None
        self.deciding, self.ground = Deciding(), Both()
        self.inspector = ScpInspector(self.deciding, known)
        self.inspector.attach(self.ground)

    def up(self, data: bytes) -> bytes:
        """Send something of the client's; return what reached the target."""
        self.ground.up += self.inspector.to_target(data)
        if self.inspector._command.is_upload:
            while self._waits():
                at = len(self.ground.down)
                self.ground.down += self.inspector.to_client(b"\0", None)
                del self.ground.down[at : at + 1]
        found, self.ground.up = bytes(self.ground.up), bytearray()
        return found

    def down(self, data: bytes) -> bytes:
        """Send something of the target's; return what reached the client."""
        self.ground.down += self.inspector.to_client(data, None)
        if not self.inspector._command.is_upload:
            while self._waits():
                at = len(self.ground.up)
                self.ground.up += self.inspector.to_target(b"\0")
                del self.ground.up[at : at + 1]
        found, self.ground.down = bytes(self.ground.down), bytearray()
        return found

    def _waits(self) -> bool:
        """Whether something waits for an answer: the other side is a good one, and gives it."""
        inspector = self.inspector
        return inspector._must_hold and inspector._task is None


class UploadTests(ScpCase):
    """``scp -t``."""

    def test_a_file(self) -> None:
        """As it came; it is told when the target has said that it has it."""
        self.begin(b"scp -p -t /srv/x")
        self.assertEqual(self.down(b"\0"), b"\0")
        for line in (b"T1 0 2 0\n", b"C0644 5 name\n", b"hel", b"lo", b"\0"):
            self.assertEqual(self.up(line), line)
        self.assertEqual(self.deciding.results, [])
        self.assertEqual(self.down(b"\0"), b"\0")
        text = "write and setattr /srv/x or /srv/x/name mode=0644 size=5"
        self.assertEqual(self.deciding.texts, [text])
        ((_, result),) = self.deciding.results
        (moved,) = result.transfers
        self.assertEqual((result.outcome, moved.extent, moved.size), ("OK", "whole", 5))
        self.assertEqual(moved.digest, sha256(b"hello").digest())

    def test_trees(self) -> None:
        """Each file at its place."""
        self.begin(b"scp -r -d -t /srv")
        lines = b"D0755 0 a\nC0644 0 x\n\0D0700 0 b\nC0600 1 y\nz\0E\nE\nC0644 0 w\n\0"
        self.assertEqual(self.up(lines), lines)
        self.assertEqual(
            [use.path for each in self.deciding.operations for use in each.uses],
            ["/srv/a", "/srv/a/x", "/srv/a/b", "/srv/a/b/y", "/srv/w"],
        )
        self.down(b"\0" * 3)
        self.inspector.ended(None)
        self.assertEqual(len(self.deciding.results), 5)

    def test_refused(self) -> None:
        """Its sender is answered, and goes on with the next; nothing of it reaches the target."""
        self.begin(b"scp -d -t /srv")
        self.deciding.refused = {"write /srv/no"}
        self.assertEqual(self.up(b"C0644 5 no\n"), b"")
        self.assertEqual(bytes(self.ground.down), b"\1hoopgw: No write /srv/no mode=0644 size=5.\n")
        self.assertEqual(self.up(b"C0644 1 yes\nx\0"), b"C0644 1 yes\nx\0")

    def test_whether_it_is_a_folder(self) -> None:
        """Only the target knows: both must be allowed."""
        self.begin(b"scp -t /srv/app")
        self.deciding.refused = {"write /srv/app/secret"}
        self.assertEqual(self.up(b"C0644 5 secret\n"), b"")

    def test_names_that_lead_elsewhere(self) -> None:
        for name in (b"..", b".", b"a/b", b"/etc/x", b"\xff", b"a\0b"):
            self.begin(b"scp -r -d -t /srv")
            self.assertEqual(self.up(b"C0644 5 " + name + b"\n"), b"")
            self.assertEqual(self.deciding.operations, [])
            self.assertTrue(self.ground.down.startswith(b"\1hoopgw: "))

    def test_held(self) -> None:
        """What comes behind waits, and so does the end."""
        self.begin(b"scp -d -t /srv")
        held = self.deciding.held["write /srv/a"] = Deferred[FileRuling]()
        self.assertEqual(self.up(b"C0644 2 a\nhi\0E"), b"")
        self.assertEqual(self.ground.holds, 1)
        self.assertIsNone(self.inspector.input_ended())
        self.assertIn(b"Waiting for bob.", self.ground.stderr)
        held.callback(self.deciding.yes())
        self.assertEqual(self.up(b""), b"C0644 2 a\nhi\0")
        self.assertEqual((self.ground.holds, self.ground.input_ended), (0, True))

    def test_who_leaves(self) -> None:
        withdrawn: list[object] = []
        self.begin(b"scp -d -t /srv")
        self.deciding.held["write /srv/a"] = Deferred(withdrawn.append)
        self.up(b"C0644 2 a\nhi\0")
        self.inspector.abandoned()
        self.inspector.ended(None)
        self.assertEqual((len(withdrawn), self.up(b"C0644 0 b\n")), (1, b""))

    def test_what_failed(self) -> None:
        """At the sender, at the target, or at the end."""
        for lines, answer, outcome in (
            (b"C0644 2 a\nhi\1read error\n", b"\0", "OK"),
            (b"C0644 2 a\nhi\0", b"\1No space left\n", "FAILURE"),
            (b"C0644 2 a\nhi\0", b"", "not answered"),
            (b"C0644 2 a\nh", b"", "not all of it came"),
        ):
            self.begin(b"scp -d -t /srv")
            self.up(lines)
            self.assertEqual(self.down(answer), answer)
            self.inspector.ended(None)
            ((_, result),) = self.deciding.results
            self.assertEqual((result.outcome, result.transfers[0].extent), (outcome, "partial"))


class DownloadTests(ScpCase):
    """``scp -f``."""

    def test_a_file(self) -> None:
        self.begin(b"scp -f /srv/x")
        self.assertEqual(self.up(b"\0"), b"\0")
        for line in (b"C0644 5 x\n", b"hello\0"):
            self.assertEqual(self.down(line), line)
        self.assertEqual(self.deciding.texts, ["read /srv/x mode=0644 size=5"])
        ((_, result),) = self.deciding.results
        self.assertEqual(result.transfers[0].digest, sha256(b"hello").digest())
        self.assertEqual((result.transfers[0].extent, result.outcome), ("whole", "OK"))

    def test_a_target_that_sends_something_else(self) -> None:
        """Names that were not asked for, or lead elsewhere: not passed on (CVE-2019-6111)."""
        for command, line in (
            (b"scp -f /srv/x", b"C0644 5 .bashrc\n"),
            (b"scp -f /srv/x", b"C0644 5 ../x\n"),
            (b"scp -f /srv/x", b"C0644 5 ..\n"),
            (b"scp -f /srv/x", b"D0755 0 x\n"),
            (b"scp -rf /srv/x", b"D0755 0 .ssh\n"),
        ):
            self.begin(command)
            got = self.down(line)
            self.assertTrue(got.startswith(b"\1hoopgw: "), got)
            self.assertEqual(bytes(self.ground.up), b"\1hoopgw: refused\n")
            self.assertEqual(self.deciding.operations, [])

    def test_refused(self) -> None:
        """Both are told; the next one goes on."""
        self.begin(b"scp -rf /srv/x")
        self.deciding.refused = {"read /srv/x/no"}
        self.assertEqual(self.down(b"D0755 0 x\n"), b"D0755 0 x\n")
        self.assertTrue(self.down(b"C0644 5 no\n").startswith(b"\1hoopgw: No read /srv/x/no"))
        self.assertEqual(self.up(b""), b"\1hoopgw: refused\n")
        self.assertEqual(self.down(b"C0644 1 a\nx\0E\n"), b"C0644 1 a\nx\0E\n")

    def test_held(self) -> None:
        """The target gets no more room."""
        self.begin(b"scp -f /srv/x")
        held = self.deciding.held["read /srv/x"] = Deferred[FileRuling]()
        self.assertEqual(self.down(b"C0644 1 x\nz\0"), b"")
        self.assertEqual(self.ground.output_holds, 1)
        held.callback(self.deciding.yes())
        self.assertEqual(self.down(b""), b"C0644 1 x\nz\0")
        self.assertEqual(self.ground.output_holds, 0)

    def test_messages(self) -> None:
        """Of the target are passed on."""
        self.begin(b"scp -f /srv/x")
        said = b"\1scp: /srv/x: No such file or directory\n"
        self.assertEqual(self.down(said), said)


class AnswerTests(ScpCase):
    """What is sent waits for its answer."""

    def test_a_file_that_is_not_taken(self) -> None:
        """Has no content: what follows are lines."""
        self.begin(b"scp -d -t /srv")
        self.deciding.refused = {"write /srv/no"}
        self.down(b"\0")
        self.inspector.to_target(b"C0644 12 a\n")
        self.assertEqual(self.inspector.to_target(b"C0644 0 no\n\0"), b"")
        self.assertEqual(self.ground.holds, 1)
        self.down(b"\1no room\n")
        self.assertEqual(bytes(self.ground.up), b"")
        self.assertEqual(self.deciding.texts[1:], ["write /srv/no mode=0644 size=0"])
        self.assertEqual(self.deciding.results[0][1].outcome, "FAILURE")

    def test_a_folder_that_is_not_made(self) -> None:
        """Is not entered."""
        self.begin(b"scp -r -d -t /srv")
        self.down(b"\0")
        self.inspector.to_target(b"D0755 0 a\n")
        self.down(b"\1there is a file\n")
        self.assertEqual(self.inspector.to_target(b"C0644 0 b\n"), b"C0644 0 b\n")
        self.assertEqual(self.deciding.operations[1].uses[0].path, "/srv/b")

    def test_answers_that_come_early(self) -> None:
        """Are passed on when they are due, and are not many; nor are they long."""
        self.begin(b"scp -f /srv/x")
        self.assertEqual(self.up(b"\0\0\1no\n"), b"\0")
        self.assertIsNone(self.inspector.input_ended())
        self.assertEqual(self.inspector.to_client(b"T1 0 2 0\n", None), b"T1 0 2 0\n")
        self.assertEqual((bytes(self.ground.up), self.ground.input_ended), (b"\0", False))
        self.inspector.to_client(b"C0644 5 x\n", None)
        self.assertEqual(bytes(self.ground.up), b"\0\1no\n")
        self.assertTrue(self.ground.input_ended)
        for much in (b"\0" * 5_000, b"\1" + b"a" * 2_100 + b"\n"):
            self.begin(b"scp -f /srv/x")
            self.inspector.to_target(much)
            self.assertEqual(len(self.ground.ends), 1)


class HostileTests(ScpCase):
    """What is no scp."""

    def test_it_ends(self) -> None:
        for data in (
            b"\0",
            b"X\n",
            b"C0644 5\n",
            b"C0644 -5 a\n",
            b"C0644 99999999999999999999 a\n",
            b"C0644 9999999999999999999 a\n",
            b"E\n",
            b"C0644 1 a\nxE\n",
            b"T1 0 x 0\n",
            b"x" * LINE_LIMIT,
            b"C0644 0 " + b"a" * LINE_LIMIT + b"\n",
        ):
            self.begin(b"scp -r -d -t /srv")
            self.up(data)
            self.assertEqual(len(self.ground.ends), 1, data[:40])
            self.assertEqual(self.up(b"C0644 1 b\n"), b"")
            self.inspector.ended(None)

    def test_nesting(self) -> None:
        """Is bounded."""
        self.begin(b"scp -r -d -t /srv")
        self.up(b"D0755 0 d\n" * 300)
        self.assertLessEqual(len(self.deciding.operations), 256)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.integers(1, 12), max_size=30))
    def test_any_cut(self, cuts: list[int]) -> None:
        """The same is decided, however it comes."""
        lines = b"T1 0 2 0\nD0755 0 a\nC0644 7 x\ncontent\0E\nC0600 0 y\n\0"
        self.begin(b"scp -r -d -t /srv")
        at, passed = 0, b""
        for size in [*cuts, len(lines)]:
            passed += self.up(lines[at : at + size])
            at += size
        self.assertEqual(passed, lines)
        self.assertEqual(len(self.deciding.operations), 3)

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=80), st.sampled_from([b"scp -rt /a", b"scp -rf /a"]))
    def test_garbage(self, data: bytes, command: bytes) -> None:
        """Raises nothing, whichever side it comes from."""
        self.begin(command)
        self.up(data)
        self.down(data)
        self.inspector.ended(None)
