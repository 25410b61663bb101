"""The demonstration as its reader runs it: the whole story, and by hand with Ctrl-C at the end."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.demo.data import CUSTOMERS, customers
from hoopgw.demo.leaks import processes_below
from hoopgw.demo.postgres import psql_with_tls
from tests.support.processes import Processes, python_environment, wait_until

_PATIENCE = 600.0
"""Seconds; the machine is shared with all other tests."""


class DemoTests(SynchronousTestCase):
    """``hoopgw demo``."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="hg-demo-")))
        self.folder.chmod(0o711)  # root runs PostgreSQL as somebody else, who must get here
        self.environment = {**os.environ, **python_environment(), "TMPDIR": str(self.folder)}

    def left(self) -> list[Path]:
        """Name what is left in the folder where the demonstration keeps everything."""
        return list(self.folder.iterdir())

    def test_the_script(self) -> None:
        """Everything in the story is so; nothing is left of it."""
        done = subprocess.run(
            [sys.executable, "-m", "hoopgw.cli", "demo", "--script"],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("All is as it should be", done.stdout)
        self.assertEqual(self.left(), [])

    def test_by_hand(self) -> None:
        """Another terminal becomes alice and reads; Ctrl-C leaves neither process nor file."""
        private = self.folder / "private"
        private.mkdir(mode=0o700)
        place = private / "place"
        processes = Processes(private)
        self.addCleanup(processes.stop)
        running = processes.start(
            "demo",
            [sys.executable, "-m", "hoopgw.cli", "demo", "--folder", place],
            env=self.environment,
        )
        running.wait_for_line("Ctrl-C stops everything", _PATIENCE)
        below = processes_below(running.pid)
        self.assertGreater(len(below), 6)
        alice = self.become("alice", place)
        given = self.hoopgw(
            "token", "orders", "--account", "app_reader", "--format", "env", env=alice
        )
        psql = subprocess.run(
            [str(psql_with_tls()), "-XAtc", "SELECT count(*), min(card) FROM customers"],
            env=alice | exported(given),
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        self.assertNotIn(min(person.card for person in customers()), psql.stdout)
        count = subprocess.run(
            [str(psql_with_tls()), "-XAtc", "SELECT count(*) FROM customers"],
            env=alice | exported(given),
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        self.assertEqual((count.stdout.strip(), count.stderr), (str(CUSTOMERS), ""))
        os.kill(running.pid, signal.SIGINT)
        self.assertEqual(running.process.wait(_PATIENCE), 0)
        self.assertFalse(place.exists())
        self.assertEqual(self.left(), [private])
        there = [Path(f"/proc/{pid}/exe") for pid in below]
        wait_until("all of it is gone", lambda: not any(each.exists() for each in there))

    def become(self, name: str, place: Path) -> dict[str, str]:
        """Return the environment of somebody who is logged in."""
        said = self.hoopgw("demo", "login", name, "--folder", str(place), env=self.environment)
        return self.environment | exported(said)

    def hoopgw(self, *arguments: str, env: dict[str, str]) -> str:
        """Run the command, and return what it printed."""
        return subprocess.run(
            [sys.executable, "-m", "hoopgw.cli", *arguments],
            env=env,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=True,
        ).stdout


def exported(lines: str) -> dict[str, str]:
    """Read ``export NAME=value`` lines as a shell would."""
    found = {}
    for line in lines.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["export"]:
            name, _, value = words[1].partition("=")
            found[name] = value
    return found
