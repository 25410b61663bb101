"""Who is at the other end, and whose descendant it is: with real processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.broker.peers import Process, is_below, owner_of, peer_of
from hoopgw.client.errors import Refused

CONNECT = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'%d' % os.getpid())
s.recv(1)
"""
INNER = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CONNECT!r}, sys.argv[1]])"
ORPHAN = f"""
import os, sys
if os.fork() == 0:
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            pass
        exec({CONNECT!r})
    os._exit(0)
os.wait()
sys.stdin.read()
"""
"""Its grandchild connects when the process between them has ended."""


class PeersTestCase(SynchronousTestCase):
    """A listening socket."""

    def setUp(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="hg-peers-")))
        self.path = folder / "s"
        self.listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listener.close)
        self.listener.bind(str(self.path))
        self.listener.listen(8)
        self.listener.settimeout(60)

    def start(self, code: str) -> subprocess.Popen[bytes]:
        """Run Python code that connects."""
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(self.path), str(os.getpid())], stdin=subprocess.PIPE
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def accept(self) -> tuple[socket.socket, int]:
        """Accept a connection; return it and the id that the process says it has."""
        connection, _ = self.listener.accept()
        self.addCleanup(connection.close)
        return connection, int(connection.recv(20))

    def command(self, process: subprocess.Popen[bytes]) -> Process:
        """Return a process as a served command."""
        found = Process.of(process.pid)
        assert found is not None
        return found


class OwnerTests(PeersTestCase):
    """`owner_of`."""

    def test_the_command_itself_and_below(self) -> None:
        """Both belong to it."""
        for code in (CONNECT, INNER):
            process = self.start(code)
            connection, pid = self.accept()
            self.assertEqual(peer_of(connection).pid, pid)
            command = self.command(process)
            self.assertEqual(owner_of(connection, os.geteuid(), [command]), command)
            connection.send(b".")

    def test_a_stranger(self) -> None:
        """A process beside the command is refused, and so is its parent."""
        one, command = self.start("input()"), self.start(CONNECT)
        connection, _ = self.accept()
        self.assertRaises(Refused, owner_of, connection, os.geteuid(), [self.command(one)])
        ours, _ = socket.socketpair()
        self.addCleanup(ours.close)
        self.assertRaises(Refused, owner_of, ours, os.geteuid(), [self.command(command)])

    def test_the_nearest_counts(self) -> None:
        """A grandchild's process is the grandchild's, and never its parent's."""
        outer = self.start(INNER)
        connection, pid = self.accept()
        inner = Process.of(pid)
        assert inner is not None
        commands = [self.command(outer), inner]
        self.assertEqual(owner_of(connection, os.geteuid(), commands), inner)
        self.assertEqual(owner_of(connection, os.geteuid(), commands[::-1]), inner)

    def test_another_user(self) -> None:
        """Whatever process it is."""
        process = self.start(CONNECT)
        connection, _ = self.accept()
        commands = [self.command(process)]
        self.assertRaises(Refused, owner_of, connection, os.geteuid() + 1, commands)

    def test_one_that_has_gone(self) -> None:
        """Its id may be somebody else's by now."""
        process = self.start(CONNECT)
        connection, _ = self.accept()
        command = self.command(process)
        process.kill()
        process.wait()
        self.assertRaises(Refused, owner_of, connection, os.geteuid(), [command])

    def test_an_id_that_was_given_again(self) -> None:
        """A process with the command's id that began at another time is another."""
        process = self.start(CONNECT)
        connection, _ = self.accept()
        command = self.command(process)
        before = Process(command.pid, command.began - 1)
        self.assertRaises(Refused, owner_of, connection, os.geteuid(), [before])

    def test_an_orphan(self) -> None:
        """Whose child it was is not to be told any more."""
        command = self.command(self.start(ORPHAN))
        connection, _ = self.accept()
        self.assertRaises(Refused, owner_of, connection, os.geteuid(), [command])

    def test_below(self) -> None:
        """By the tree as it is now."""
        outer = self.start(INNER)
        _, pid = self.accept()
        self.assertTrue(is_below(pid, self.command(outer)))
        self.assertFalse(is_below(os.getpid(), self.command(outer)))
