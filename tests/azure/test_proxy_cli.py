"""Tests for `hoopgw_azure.proxy_cli`: where it writes its password, and where it does not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import python_environment


class OutputTests(SynchronousTestCase):
    """Lines for a shell have the password of the proxy in them."""

    def run_into(self, mode: int) -> str:
        """Run the command with its output in a file; return what it says besides."""
        with tempfile.TemporaryDirectory(prefix="hoopgw-") as scratch:
            # Nobody is logged in here: so it ends by itself.
            own = {"HOME": scratch, "HOOPGW_HOME": scratch, "PATH": os.environ["PATH"]}
            path = Path(scratch) / "lines"
            path.touch()
            path.chmod(mode)
            with path.open("w") as lines:
                done = subprocess.run(
                    [sys.executable, "-m", "hoopgw.cli", "proxy", "https://127.0.0.1:1"],
                    env={**own, **python_environment()},
                    stdout=lines,
                    stderr=subprocess.PIPE,
                    text=True,
                    check=False,
                    timeout=120,
                )
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(path.read_text(), "")
        return done.stderr

    def test_not_into_a_file_that_others_may_read(self) -> None:
        for mode in (0o644, 0o640, 0o604, 0o660):
            with self.subTest(mode=oct(mode)):
                self.assertIn("umask 077", self.run_into(mode))

    def test_into_a_file_of_ones_own(self) -> None:
        said = self.run_into(0o600)
        self.assertNotIn("umask", said)
        self.assertIn("you are not logged in", said)
