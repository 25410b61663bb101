"""Which commands move files, and what they are for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_ssh.file_commands import recognise


class FileCommandTests(SynchronousTestCase):
    """Tests for `recognise`."""

    def check(self, text: str, *expected: object) -> None:
        """Compare protocol, direction, paths and actions."""
        found = recognise(text.encode())
        assert found is not None, text
        shown = (found.protocol, "up" if found.is_upload else "down", found.paths, found.actions)
        self.assertEqual(shown, expected, text)

    def test_scp(self) -> None:
        self.check("scp -t /srv/a", "scp", "up", ("/srv/a",), ("write",))
        self.check(
            "scp -v -r -p -d -t -- /srv/../a", "scp", "up", ("/a",), ("write", "mkdir", "setattr")
        )
        self.check("scp -f 'a b' /c", "scp", "down", ("~/a b", "/c"), ("read",))
        self.check("scp -rf .", "scp", "down", ("~",), ("read", "list"))
        self.check("scp -t ~/x/y", "scp", "up", ("~/x/y",), ("write",))
        self.check("scp -t ~", "scp", "up", ("~",), ("write",))
        found = recognise(b"scp -r -p -d -t x")
        assert found is not None
        self.assertTrue(found.is_deep and found.is_folder and found.keeps_times)

    def test_rsync(self) -> None:
        self.check(
            "rsync --server -vlogDtpre.iLsfxCIvu --delete-during . /srv/a/",
            *("rsync", "up", ("/srv/a",), ("write", "mkdir", "setattr", "link", "remove")),
        )
        self.check(
            "rsync --server --sender -ne.LsfxCIvu . /srv/a b",
            *("rsync", "down", ("/srv/a", "~/b"), ("read", "list")),
        )
        self.check(
            "rsync --server --sender -e.LsfxCIvu --remove-source-files . /a",
            *("rsync", "down", ("/a",), ("read", "list", "remove")),
        )

    def test_git(self) -> None:
        self.check("git-upload-pack '/srv/a.git'", "git", "down", ("/srv/a.git",), ("read",))
        self.check("git upload-archive /srv/a", "git", "down", ("/srv/a", "/srv/a.git"), ("read",))
        self.check("git-upload-pack '~/a.git'", "git", "down", ("~/a.git",), ("read",))
        self.check("git-receive-pack 'a.git'", "git", "up", ("~/a.git",), ("write", "read"))

    def test_what_is_an_ordinary_command(self) -> None:
        """Anything that might do something else, or somewhere else."""
        for text in (
            "",
            "scp",
            "scp -t",
            "scp -t /a /b",
            "scp -t -f /a",
            "scp -S /bin/sh -f /a",
            "scp -t -oProxyCommand=x /a",
            "scp -t /a; rm x",
            "scp -t /a > /b",
            "X=1 scp -t /a",
            "scp -t $HOME/a",
            "scp -f /srv/*",
            "scp -t ../a",
            "scp -t ~bob/a",
            "scp -t ~/$(id)",
            "scp -t ~/a*",
            "scp -t ''",
            "/tmp/scp -t /a",
            "rsync /a /b",
            "rsync --server",
            "rsync --server . ",
            "rsync --server -e.x /a",
            "rsync --server -e.x . /a /b",
            "rsync --server -Le.x . /a",
            "rsync --server --sender -logDtpRe.Lsf --copy-links . /a",
            "rsync --server -Ke.x . /a",
            "rsync --server -se.x .",
            "rsync --server -e.x --log-file=/etc/x . /a",
            "rsync --server -e.x --partial-dir=/etc . /a",
            "rsync --server -e.x --temp-dir=/etc . /a",
            "rsync --server -e.x --backup-dir=/etc . /a",
            "rsync --server -e.x --files-from=/etc/x . /a",
            "rsync --server -e.x --rsync-path=x . /a",
            "rsync --server -e sh . /a",
            "rsync --server --daemon -e.x . /a",
            "rsync --server -vvM--x . /a",
            "git-upload-pack",
            "git-upload-pack --upload-pack=x /a",
            "git-upload-pack /a /b",
            "git-shell -c x",
            "git upload-pack",
            "git -c x upload-pack /a",
            "git-receive-pack '~bob/a'",
            "git-receive-pack '-a'",
        ):
            self.assertIsNone(recognise(text.encode()), text)
        self.assertIsNone(recognise(b"scp -t /a\0b"))
        self.assertIsNone(recognise(b"scp -t /\xff"))
        self.assertIsNone(recognise(b"scp -t /" + b"a" * 5_000))

    @given(st.text(alphabet="scp -trfd/a~.$*'\"\\;|&\n()`", max_size=40))
    def test_garbage(self, text: str) -> None:
        """Is no command, or one with clear paths."""
        found = recognise(text.encode())
        if found is not None:
            for path in found.paths:
                self.assertTrue(path.startswith(("/", "~")))
                self.assertFalse({"..", ""} & set(path.strip("/").split("/")[1:]))
