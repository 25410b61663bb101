"""Tests for `hoopgw.demo.guide`: the lines to copy, where they depend on what is here."""

from __future__ import annotations

import io
import os
import shlex
import tempfile
from pathlib import Path

import attrs
from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.demo import azure_clients
from hoopgw.demo.files import DemoFolder
from hoopgw.demo.guide import show_guide
from hoopgw.demo.issuer import Issuer
from hoopgw.demo.names import Names
from hoopgw.demo.settings import Ports
from hoopgw.demo.stack import Demo
from hoopgw.demo.web1 import Web1


class GuideCase(SynchronousTestCase):
    """A demonstration that is told of."""

    def setUp(self) -> None:
        top = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.programs = top / "path"
        self.programs.mkdir()
        known = {"PATH": str(self.programs), "HOOPGW_TEST_CACHE": str(top / "cache")}
        self.patch(os, "environ", {**os.environ, **known})
        self.demo = Demo(folder=DemoFolder(top / "demo"), policies=top)
        self.demo.folder.make()
        self.demo.ports = Ports(**dict.fromkeys(attrs.fields_dict(Ports), 1) | {"azure": 9443})
        self.demo.psql = Path("/usr/bin/psql")
        self.demo.issuer = Issuer(url="http://127.0.0.1:1", passwords={}, agent_secret="")

    def told(self) -> str:
        """Return all that is printed."""
        told = io.StringIO()
        show_guide(self.demo, Console(file=told, width=100))
        return told.getvalue()


class SshLinesTests(GuideCase):
    """How the SSH host is used."""

    def test_a_host(self) -> None:
        """A command that runs, one that does not, one that waits; and a file."""
        self.demo.web1 = Web1(
            folder=Path("/srv/web 1"), port=2240, host_key="", account="me", secret=""
        )
        told = self.told()
        self.assertIn("an SSH host", told)
        lines = [shlex.split(line) for line in told.splitlines() if " ssh web1 " in line]
        self.assertEqual([words[-1].split()[0] for words in lines], ["tail", "tail", "rm"])
        self.assertEqual(shlex.split(lines[0][-1])[-1], "/srv/web 1/shop.log")

    def test_none(self) -> None:
        """Without an sshd nothing is said of it."""
        self.assertNotIn("ssh", self.told().lower())


class AzureLinesTests(GuideCase):
    """How Azure is asked."""

    def lines(self, program: str) -> list[list[str]]:
        """Return the words of the lines in which a program is called for Azure."""
        found = [line for line in self.told().splitlines() if line.startswith("  ")]
        mine = [shlex.split(line) for line in found if "cloud.localhost" in line]
        self.assertEqual([program in words for words in mine], [True] * 3)
        return mine

    def test_with_curl(self) -> None:
        """Three requests, with a token of the gateway, and names that need not be known."""
        for words in self.lines("curl"):
            self.assertIn("--cacert", words)
            self.assertIn("*:9443:127.0.0.1", words)
            self.assertIn(words[words.index("-H") + 1], ("$AZURE", "$VAULT"))
        methods = [words[words.index("-X") + 1] for words in self.lines("curl")]
        self.assertEqual(methods, ["POST", "GET", "DELETE"])

    def test_with_az(self) -> None:
        """Under `hoopgw azure run`, if the names of the gateway can be found."""
        az = self.programs / "az"
        az.write_text("#!/bin/sh\n")
        az.chmod(0o755)
        self.patch(azure_clients, "find_names", lambda _folder, _hosts: Names({"A": "b c"}))
        for words in self.lines("az"):
            self.assertIn("run", words)
        self.assertIn("export 'A=b c'", self.told())
