"""Tests for `hoopgw_azure.finding`: where the command line keeps what clients of Azure need."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.cli.failure import UnreachableError
from hoopgw.cli.home import Home
from hoopgw.errors import UnavailableError
from hoopgw_azure.finding import exchange, find_proxy, settings_folder

URL = "https://arm.gw.example"


class SettingsFolderTests(SynchronousTestCase):
    """The folder that `az` gets."""

    def setUp(self) -> None:
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def test_is_beside_the_log_in(self) -> None:
        """Another log-in has another, and so has another gateway; nobody else reads it."""
        alice, bob = Home(folder=self.folder / "alice"), Home(folder=self.folder / "bob")
        found = settings_folder(alice, "az", URL)
        self.assertEqual(found.parent, self.folder / "alice")
        self.assertEqual(found.stat().st_mode & 0o777, 0o700)
        self.assertEqual(settings_folder(alice, "az", URL), found)
        self.assertNotEqual(settings_folder(alice, "az", f"{URL}:9443"), found)
        self.assertEqual(settings_folder(bob, "az", URL).parent, self.folder / "bob")

    def test_of_a_child(self) -> None:
        """It has no folder of a log-in: its user's own one is taken."""
        child = Home(folder=self.folder / "no-log-in", broker=self.folder / "socket")
        self.patch(os, "environ", {"XDG_CONFIG_HOME": str(self.folder)})
        found = settings_folder(child, "az", URL)
        self.assertEqual(found.parent, self.folder / "hoopgw")
        self.assertFalse((self.folder / "no-log-in").exists())


class ExchangeTests(SynchronousTestCase):
    """What servers on loopback ask the gateway for."""

    def test_without_a_log_in(self) -> None:
        """It is an error that they answer with, and no end of a command."""
        with TemporaryDirectory() as folder:
            nobody = Home(folder=Path(folder))
            with self.assertRaisesRegex(UnavailableError, "you are not logged in"):
                exchange(nobody, ("arm",), "deployer")


class FindProxyTests(SynchronousTestCase):
    """The question to a proxy."""

    def test_nobody_is_there(self) -> None:
        """It is said why, in words."""
        with TemporaryDirectory() as folder, socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            url = f"https://127.0.0.1:{nobody.getsockname()[1]}"
            with self.assertRaisesRegex(UnreachableError, "Connection refused"):
                find_proxy(Home(folder=Path(folder)), url)
