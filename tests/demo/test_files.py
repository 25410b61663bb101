"""Tests for `hoopgw.demo.files`."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.demo.files import DemoFolder, Facts, policies
from hoopgw.demo.processes import DemoError

GONE = 2**22 + 1
"""No process has this id: Linux stops at 2^22."""


def facts(pid: int) -> Facts:
    return Facts(
        pid=pid,
        gateway="https://127.0.0.1:1",
        issuer="http://127.0.0.1:2",
        postgres_port=3,
        people={"alice": "word"},
        agent_secret="word",
    )


class DemoFolderTests(SynchronousTestCase):
    """A demonstration's folder is made, found, and removed, and nobody else's is."""

    def setUp(self) -> None:
        self.top = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.folder = DemoFolder(self.top / "demo")

    def test_made_and_removed(self) -> None:
        """Logs, homes and secrets are for us only."""
        self.folder.make()
        for path in (self.folder.logs, self.folder.secrets):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o700)
        self.folder.remove()
        self.assertFalse(self.folder.path.exists())

    def test_found_again(self) -> None:
        """Another terminal reads what this one wrote; nobody else may."""
        self.folder.make()
        self.folder.remember(facts(os.getpid()))
        self.assertEqual(self.folder.facts(), facts(os.getpid()))
        self.assertEqual(stat.S_IMODE((self.folder.path / "demo.json").stat().st_mode), 0o600)
        self.assertNotIn("word", repr(self.folder.facts()))

    def test_a_running_one_is_left_alone(self) -> None:
        """Two demonstrations do not share a folder."""
        self.folder.make()
        self.folder.remember(facts(os.getpid()))
        self.assertIn("runs in", str(self.assertRaises(DemoError, self.folder.make)))

    def test_a_dead_one_is_replaced(self) -> None:
        """What a killed demonstration left is removed."""
        self.folder.make()
        self.folder.remember(facts(GONE))
        self.assertRaises(DemoError, self.folder.facts)
        (self.folder.logs / "old.log").touch()
        self.folder.make()
        self.assertFalse((self.folder.logs / "old.log").exists())

    def test_a_strange_folder_is_left_alone(self) -> None:
        """A folder with something else in it is never emptied."""
        self.folder.path.mkdir()
        (self.folder.path / "thesis.txt").touch()
        self.assertRaises(DemoError, self.folder.make)
        self.assertTrue((self.folder.path / "thesis.txt").exists())

    def test_the_example_policies_are_found(self) -> None:
        """From a checkout, without being told."""
        self.assertTrue(policies().is_dir())
