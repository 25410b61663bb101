"""The tests' own machinery for processes."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import ProcessError, Processes, children_of, free_port, is_listening

SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    listener.accept()
"""
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
signal.pause()
"""


class ProcessesTests(SynchronousTestCase):
    """Tests for `Processes` and `Running`."""

    def setUp(self) -> None:
        """Make a folder for the logs."""
        self.folder = Path(tempfile.mkdtemp(prefix="hg-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.processes = Processes(self.folder)

    def test_a_line_and_a_port(self) -> None:
        """What it writes is seen, also if it came before; what it serves is found."""
        port = free_port()
        server = self.processes.start_python("server", "-c", SERVER, str(port))
        server.wait_for_line("^listening$")
        server.wait_for_line("listening")
        self.assertTrue(is_listening(port))
        self.assertIn(server.pid, children_of(os.getpid()))
        self.processes.stop()
        self.assertNotIn(server.pid, children_of(os.getpid()))
        self.assertEqual((self.folder / "server.log").read_text(), "listening\n")

    def test_our_code_is_on_its_path(self) -> None:
        """All three roots are."""
        program = "import hoopgw, hoopgw_postgres; print('fine')"
        self.processes.start_python("imports", "-c", program).wait_for_line("fine")
        self.processes.stop()

    def test_an_early_end(self) -> None:
        """Is told at once, with what it wrote."""
        ended = self.processes.start_python("ended", "-c", "print('no luck'); raise SystemExit(3)")
        error = self.assertRaises(ProcessError, ended.wait_for_line, "ready")
        self.assertIn("ended ended before it wrote 'ready'", str(error))
        self.assertIn("no luck", str(error))
        self.assertEqual(ended.stop(), 3)

    def test_a_line_that_does_not_come(self) -> None:
        """The wait has an end."""
        port = free_port()
        server = self.processes.start_python("server", "-c", SERVER, str(port))
        server.wait_for_line("listening")
        self.assertRaises(ProcessError, server.wait_for_line, "never", 0.01)
        self.processes.stop()

    def test_one_that_does_not_stop(self) -> None:
        """It is killed, and the test is told."""
        stubborn = self.processes.start_python("stubborn", "-c", STUBBORN)
        stubborn.wait_for_line("up")
        self.assertRaises(ProcessError, stubborn.stop, 0.01)
        self.assertEqual(stubborn.process.returncode, -signal.SIGKILL)
