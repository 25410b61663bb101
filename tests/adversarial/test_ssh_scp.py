"""Attacks on what is decided of files by scp, with the scp of OpenSSH at the target.

One side of scp sends, and the other says whether it takes a file. Who could have the target read as
lines what hoopgw takes for a content (or the other way round) would move what nobody decided on.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw_ssh.file_commands import recognise
from hoopgw_ssh.scp import ScpInspector
from tests.ssh.sftp_bench import Deciding
from tests.ssh.test_scp import Both

SECRET = b"the secret"


class Target:
    """An scp at the target, behind hoopgw or not. It ends when the client has sent all."""

    def __init__(self, command: str) -> None:
        self.process = subprocess.Popen(
            ["/usr/bin/scp", *command.split()[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def send(self, data: bytes) -> None:
        """Send bytes to it; it may have gone."""
        assert self.process.stdin is not None
        if self.process.stdin.closed:
            return
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except BrokenPipeError:
            return

    def directly(self, data: bytes) -> bytes:
        """Send all; return what comes."""
        found, _ = self.process.communicate(data, timeout=60)
        return found

    def through(self, data: bytes, inspector: ScpInspector, ground: Both) -> bytes:
        """Send all through hoopgw; return what reaches the client."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        shown = bytearray()
        ground.up += inspector.to_target(data)
        ground.input_ended = inspector.input_ended() is not None
        while True:
            self.send(bytes(ground.up))
            ground.up.clear()
            if ground.input_ended:
                stdin.close()
                ground.input_ended = False
            more = os.read(stdout.fileno(), 65_536)
            passed = inspector.to_client(more, None)
            shown += ground.down + passed
            ground.down.clear()
            if not more or ground.ends:
                break
        inspector.ended(None)
        stdin.close()
        stdout.close()
        self.process.wait(60)
        return bytes(shown)


class ScpAttacks(SynchronousTestCase):
    """Files that nobody has decided on."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="hg-scp-")
        self.addCleanup(folder.cleanup)
        self.there = Path(folder.name).resolve()
        self.deciding, self.ground = Deciding(), Both()

    def _through(self, command: str, data: bytes) -> bytes:
        known = recognise(command.encode())
        assert known is not None
        inspector = ScpInspector(self.deciding, known)
        inspector.attach(self.ground)
        return Target(command).through(data, inspector, self.ground)

    def test_a_content_that_is_read_as_lines(self) -> None:
        """The target cannot open the file that was decided on, and goes on with the next line."""
        (self.there / "taken").mkdir()
        secret = self.there / "secret"
        self.deciding.refused = {f"write {secret}"}
        inner = b"C0600 3 secret\nbad\0"
        attack = b"C0644 %d taken\n%b" % (len(inner), inner)
        command = f"scp -r -d -t {self.there}"
        Target(command).directly(attack)
        self.assertEqual(secret.read_bytes(), b"bad")
        secret.unlink()
        self._through(command, attack)
        self.assertFalse(secret.exists())

    def test_lines_that_are_taken_for_a_content(self) -> None:
        """The client does not want the file that was decided on, and the next one is sent."""
        (self.there / "first").write_bytes(b"x" * 5_000)
        (self.there / "folder").mkdir()
        secret = self.there / "folder" / "secret"
        secret.write_bytes(SECRET)
        self.deciding.refused = {f"read {secret}"}
        answers = b"\0" + b"\1no\n" + b"\0" * 5
        command = f"scp -r -f {self.there}/first {self.there}/folder"
        self.assertIn(SECRET, Target(command).directly(answers))
        self.assertNotIn(SECRET, self._through(command, answers))
        self.assertIn(f"read {secret} mode=0644 size=10", self.deciding.texts)
