"""The command: how it begins, and what of its parent's it cannot read."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.broker.command import is_closed_to
from hoopgw.open_files import FILES
from tests.support.processes import python_environment


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: it forks, and waits for signals."""
    prelude = "from hoopgw.broker.command import *\nimport resource, sys\n"
    return subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(code)],
        env={**os.environ, **python_environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class PausedTests(SynchronousTestCase):
    """A command before it begins."""

    def test_it_waits_for_its_environment(self) -> None:
        """Nothing runs until it is released, and then with that environment only."""
        done = run("""
            block_signals()
            paused = start_paused(["sh", "-c", "echo $ONE; env | grep -c ^HOME="], None)
            print("first", flush=True)
            paused.release({"ONE": "a=b c", "PATH": "/usr/bin:/bin"})
            sys.exit(wait(paused.pid))
        """)
        self.assertEqual((done.stdout, done.returncode), ("first\na=b c\n0\n", 1), done.stderr)

    def test_giving_up(self) -> None:
        """It ends, and has run nothing; to give up again is nothing."""
        done = run("""
            block_signals()
            paused = start_paused(["touch", "/nowhere/at/all"], None)
            paused.give_up()
            paused.give_up()
        """)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_our_limit_of_files_is_not_its(self) -> None:
        """We may need many; it keeps what it had."""
        done = run("""
            from hoopgw.open_files import allow_many_files
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(7)[1]))
            block_signals()
            paused = start_paused(["sh", "-c", "ulimit -n"], None)
            allow_many_files()
            paused.release({"PATH": "/usr/bin:/bin"})
            wait(paused.pid)
            print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        """)
        inner, ours = map(int, done.stdout.split())
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.assertEqual((inner, ours), (200, min(hard, FILES)), done.stderr)


class ClosedTests(SynchronousTestCase):
    """`is_closed_to`."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="hg-closed-")))
        self.file = self.folder / "login.json"
        self.file.touch()
        self.other = os.geteuid() + 1

    def closed(self, folder: int, file: int, uid: int | None = None) -> bool:
        """Say it for these modes."""
        self.folder.chmod(folder)
        self.file.chmod(file)
        return is_closed_to(self.file, self.other if uid is None else uid)

    def test_by_the_file_or_by_its_folder(self) -> None:
        """Either is enough; groups count as anybody's."""
        self.assertTrue(self.closed(0o755, 0o600))
        self.assertTrue(self.closed(0o700, 0o644))
        self.assertFalse(self.closed(0o755, 0o644))
        self.assertFalse(self.closed(0o755, 0o640))
        self.assertFalse(self.closed(0o710, 0o604))

    def test_its_owner(self) -> None:
        """Can always open it."""
        self.assertFalse(self.closed(0o700, 0o600, os.geteuid()))

    def test_a_link(self) -> None:
        """What counts is where it leads."""
        self.closed(0o755, 0o644)
        place = self.folder / "closed"
        place.mkdir(mode=0o700)
        (place / "link").symlink_to(self.file)
        self.assertFalse(is_closed_to(place / "link", self.other))
