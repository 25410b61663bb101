"""The folders that sockets are served from."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.broker.folders import PREFIX, RuntimeFolder, listen_at, sweep, write_once
from hoopgw.client.errors import Refused


class FolderTestCase(SynchronousTestCase):
    """A place for them."""

    def setUp(self) -> None:
        self.base = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="hg-run-")))
        self.environ = {"XDG_RUNTIME_DIR": str(self.base)}


class MakingTests(FolderTestCase):
    """`RuntimeFolder.make`."""

    def test_private(self) -> None:
        """Nobody else enters; another user's broker lets that user through, and no more."""
        folder = RuntimeFolder.make(self.environ)
        self.assertEqual(stat.S_IMODE(folder.path.stat().st_mode), 0o700)
        self.assertEqual(folder.path.parent, self.base)
        folder.remove()
        self.assertEqual(list(self.base.iterdir()), [])
        other = RuntimeFolder.make(self.environ, for_other=True)
        self.addCleanup(other.remove)
        self.assertEqual(stat.S_IMODE(other.path.stat().st_mode), 0o711)
        self.assertNotEqual(other.path.parent, self.base)  # the user could not get there

    def test_a_place_that_others_write_is_not_used(self) -> None:
        """Nor a relative one, nor one that is not there."""
        self.base.chmod(0o777)
        for place in (str(self.base), "relative", "/nowhere/at/all", ""):
            folder = RuntimeFolder.make({"XDG_RUNTIME_DIR": place})
            self.addCleanup(folder.remove)
            self.assertNotEqual(folder.path.parent, Path(place))

    def test_a_long_path(self) -> None:
        """No socket would fit: said at once, and nothing is left."""
        deep = self.base / ("x" * 90)
        deep.mkdir(mode=0o700)
        self.assertRaises(Refused, RuntimeFolder.make, {"XDG_RUNTIME_DIR": str(deep)})
        self.assertEqual(list(deep.iterdir()), [])


class SweepingTests(FolderTestCase):
    """What killed brokers leave."""

    def left(self, name: str, age: float = 3600.0, link: Path | None = None) -> Path:
        """Make a folder as a killed broker leaves it, perhaps with a link in it."""
        path = self.base / f"{PREFIX}{name}"
        path.mkdir(mode=0o700)
        (path / "lock").touch(mode=0o600)
        (path / "1").mkdir()
        if link is not None:
            (path / "inner").symlink_to(link)
        os.utime(path, (time.time() - age,) * 2)
        return path

    def test_only_what_nobody_holds(self) -> None:
        """A live broker's folder stays, and so does a young one; others go."""
        live = RuntimeFolder.make(self.environ)
        self.addCleanup(live.remove)
        os.utime(live.path, (0, 0))
        young, dead = self.left("young", age=1.0), self.left("dead")
        self.assertEqual(sweep(self.base), 1)
        self.assertEqual((live.path.exists(), young.exists(), dead.exists()), (True, True, False))

    def test_links_are_not_followed(self) -> None:
        """A link that looks like a folder, and one inside of one, cost nobody a file."""
        treasure = self.base / "treasure"
        treasure.mkdir()
        (treasure / "lock").touch()
        (treasure / "file").touch()
        (self.base / f"{PREFIX}link").symlink_to(treasure)
        self.left("dead", link=treasure)
        self.assertEqual(sweep(self.base), 1)
        self.assertTrue((treasure / "file").exists())

    def test_a_lock_that_is_a_link(self) -> None:
        """Is not opened."""
        dead = self.left("dead")
        (dead / "lock").unlink()
        (dead / "lock").symlink_to("/etc/passwd")
        os.utime(dead, (0, 0))
        self.assertEqual(sweep(self.base), 0)


class SocketTests(FolderTestCase):
    """What is in a folder."""

    def test_only_its_user_connects(self) -> None:
        """0600, whatever the umask."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        made = listen_at(self.base / "s", os.geteuid())
        self.addCleanup(made.close)
        self.assertEqual(stat.S_IMODE((self.base / "s").stat().st_mode), 0o600)

    def test_a_place_that_is_taken(self) -> None:
        """A squatter's socket or link is not used, and not replaced."""
        squatter = socket.socket(socket.AF_UNIX)
        self.addCleanup(squatter.close)
        squatter.bind(str(self.base / "s"))
        self.assertRaises(OSError, listen_at, self.base / "s", os.geteuid())
        (self.base / "link").symlink_to(self.base / "elsewhere")
        self.assertRaises(OSError, listen_at, self.base / "link", os.geteuid())
        self.assertRaises(OSError, write_once, self.base / "link", "text", mode=0o600)
        self.assertFalse((self.base / "elsewhere").exists())
