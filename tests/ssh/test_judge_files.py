"""The judge of commands that move files, and of files that are classified."""

from __future__ import annotations

from typing import Any

from hoopgw_ssh.files import FileOperation, PathUse
from tests.ssh.judge_case import JudgeCase

BUT_SEE = """
@id("all") permit (principal, action, resource) unless { action == Ssh::Action::"see" };
"""


class MovingTests(JudgeCase):
    """Commands of scp, rsync and git."""

    def test_by_path(self) -> None:
        """Not by what runs: who may read files may move them, and nobody who may only run scp."""
        self.rules(
            '@id("srv") permit (principal, action in Ssh::Action::"reads",'
            ' resource in Ssh::Path::"/srv");'
            '@id("run") permit (principal, action == Ssh::Action::"run",'
            ' resource in Ssh::Program::"scp");'
        )
        for text, allowed in (
            (b"scp -f /srv/a", True),
            (b"scp -f /etc/a", False),
            (b"scp -f /srv/../etc/a", False),
            (b"scp -t /srv/a", False),
            (b"rsync --server --sender -logDtpre.LsfxCIvu . /srv/a", True),
            (b"rsync --server -logDtpre.LsfxCIvu . /srv/a", False),
            (b"git-upload-pack '/srv/a.git'", True),
            (b"git-receive-pack '/srv/a.git'", False),
            (b"scp -S x -f /etc/a", True),  # an ordinary command, which may run
            (b"rsync --server --sender -Le.x . /srv/a", False),
        ):
            _, taker = self.exec(text)
            self.assertEqual(self.status(taker) is None, allowed, text)


class ClassifiedTests(JudgeCase):
    """What may not be seen in clear is not moved."""

    labels = {"/srv/secret": ("secret.key",)}  # noqa: RUF012  # as in the case

    def may(self, action: Any, *paths: str) -> bool:
        """Ask about files; say whether it is allowed."""
        operation = FileOperation(
            action=action,
            uses=tuple(PathUse(action, path, path) for path in paths),
            text=f"{action} {' '.join(paths)}",
            sent=b"request",
        )
        ruled: list[Any] = []
        self.judge.file(operation, ruled.append).addCallback(ruled.append)
        return bool(ruled[-1].allowed)

    def test_files(self) -> None:
        """By any name: what is renamed, or linked to, has another one then."""
        self.rules(BUT_SEE)
        for action, path, allowed in (
            ("read", "/srv/secret", False),
            ("read", "/srv/secret/a", False),
            ("read", "/srv/secrets", True),
            ("read", "/srv", True),
            ("list", "/srv/secret", True),
            ("write", "/srv/secret", True),
            ("remove", "/srv/secret", True),
            ("rename", "/srv/secret", False),
            ("rename", "/srv", False),
            ("rename", "/", False),
            ("link", "/srv/secret/a", False),
            ("link", "/srvs", True),
        ):
            self.assertEqual(self.may(action, path), allowed, (action, path))
        self.assertIn("in clear", self.intents()[0].reason)

    def test_trees(self) -> None:
        """With what is in them; scp's files are asked about one by one."""
        self.rules(BUT_SEE)
        for text, allowed in (
            (b"rsync --server --sender -e.x . /srv", False),
            (b"rsync --server --sender -e.x . /srv/open", True),
            (b"git-upload-pack '/srv'", False),
            (b"scp -rf /srv", True),
            (b"scp -f /srv/secret", False),
        ):
            _, taker = self.exec(text)
            self.assertEqual(self.status(taker) is None, allowed, text)

    def test_who_may_see(self) -> None:
        """Gets it."""
        self.rules('@id("all") permit (principal, action, resource);')
        self.assertTrue(self.may("read", "/srv/secret"))


class EndTests(JudgeCase):
    """What is open when it is not allowed any more."""

    def test_an_open_file(self) -> None:
        """Ends its channel; what was over in a moment ends nothing."""
        self.rules('@id("all") permit (principal, action, resource);')
        ends: list[str] = []
        for end in (ends.append, None):
            operation = FileOperation(
                action="read",
                uses=(PathUse("read", "/srv/a", "/srv/a"),),
                text="read /srv/a",
                sent=b"request",
            )
            self.judge.file(operation, ends.append, end)
        self.assertIsNone(self.judge.reconsider())
        self.assertEqual(ends, [])
        self.rules('@id("in") permit (principal, action == Ssh::Action::"connect", resource);')
        self.assertIsNone(self.judge.reconsider())
        self.assertEqual(len(ends), 1)
        self.assertIn("is over", ends[0])
