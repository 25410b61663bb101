"""Tests for `hoopgw.credentials.sources`."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.credentials.sources import (
    SECRET_LIMIT,
    EnvironmentSource,
    FileSource,
    SecretSource,
    SystemdSource,
    checked,
)
from hoopgw.errors import ConfigError, UnavailableError

SECRET = b"correct horse battery staple"


class SourceTestCase(SynchronousTestCase):
    def fetch(self, source: SecretSource) -> bytes:
        """Fetch, which needs no reactor here."""
        return self.successResultOf(Deferred.fromCoroutine(source.fetch()))

    def refused(self, source: SecretSource) -> str:
        """Fetch, and return why that failed; the reason never has the secret in it."""
        failure = self.failureResultOf(Deferred.fromCoroutine(source.fetch()), UnavailableError)
        text: str = failure.getErrorMessage()
        self.assertNotIn(SECRET.decode(), text)
        return text

    def write(self, name: str, content: bytes = SECRET + b"\n", mode: int = 0o600) -> Path:
        """Write a file into a new directory."""
        folder = tempfile.mkdtemp(prefix="hgwsource")
        self.addCleanup(shutil.rmtree, folder)
        path = Path(folder) / name
        path.write_bytes(content)
        path.chmod(mode)
        return path


class CheckedTests(SynchronousTestCase):
    @given(st.binary(min_size=1, max_size=50).filter(lambda s: s[-1:] not in b"\r\n"))
    def test_one_newline_at_the_end_is_not_part_of_it(self, secret: bytes) -> None:
        for end in (b"", b"\n", b"\r\n"):
            self.assertEqual(checked(secret + end, "x"), secret)

    def test_newlines_inside_are(self) -> None:
        self.assertEqual(checked(b"-----\nabc\n\n", "x"), b"-----\nabc\n")

    def test_nothing_is_no_secret(self) -> None:
        for nothing in (b"", b"\n", b"\r\n"):
            self.assertRaises(UnavailableError, checked, nothing, "x")


class EnvironmentSourceTests(SourceTestCase):
    def test_it_reads_the_variable(self) -> None:
        self.assertEqual(self.fetch(EnvironmentSource("A", {"A": SECRET.decode()})), SECRET)

    def test_a_missing_variable_is_named(self) -> None:
        self.assertIn("env:B", self.refused(EnvironmentSource("B", {"A": SECRET.decode()})))

    def test_its_repr_shows_no_other_variables(self) -> None:
        self.assertNotIn("horse", repr(EnvironmentSource("A", {"A": SECRET.decode()})))


class FileSourceTests(SourceTestCase):
    def test_it_reads_the_file_each_time(self) -> None:
        path = self.write("s")
        source = FileSource(path)
        self.assertEqual(self.fetch(source), SECRET)
        path.write_bytes(b"next")
        self.assertEqual(self.fetch(source), b"next")

    def test_others_must_not_read_or_write_it(self) -> None:
        for mode in (0o640, 0o620, 0o604, 0o602, 0o601, 0o610):
            with self.subTest(mode=oct(mode)):
                self.assertIn(
                    "open to others", self.refused(FileSource(self.write("s", mode=mode)))
                )

    def test_another_users_file_is_refused(self) -> None:
        path = self.write("s")
        if os.geteuid() == 0:
            os.chown(path, 4711, 0)
        owner = path.stat().st_uid
        self.assertEqual(self.fetch(FileSource(path, lambda: owner)), SECRET)
        self.assertIn("another user", self.refused(FileSource(path, lambda: owner + 1)))

    def test_a_link_is_not_followed(self) -> None:
        path = self.write("s")
        link = path.with_name("link")
        link.symlink_to(path)
        self.assertIn("cannot be opened", self.refused(FileSource(link)))

    def test_only_regular_files_count(self) -> None:
        directory = self.write("s").parent
        pipe = directory / "pipe"
        os.mkfifo(pipe, 0o600)
        for path in (directory, pipe, Path("/dev/null")):
            with self.subTest(path=path.name):
                self.assertIn("not a regular file", self.refused(FileSource(path)))

    def test_a_missing_file_is_named(self) -> None:
        self.assertIn("/no/such", self.refused(FileSource(Path("/no/such"))))

    def test_a_large_file_is_a_mistake(self) -> None:
        path = self.write("s", b"x" * (SECRET_LIMIT + 1))
        self.assertIn("longer than", self.refused(FileSource(path)))


class SystemdSourceTests(SourceTestCase):
    def test_it_reads_what_systemd_prepared(self) -> None:
        path = self.write("db", mode=0o440)  # as systemd gives it by ACL
        environment = {"CREDENTIALS_DIRECTORY": str(path.parent)}
        self.assertEqual(self.fetch(SystemdSource("db", environment)), SECRET)

    def test_without_systemd_there_is_none(self) -> None:
        for environment in ({}, {"CREDENTIALS_DIRECTORY": "relative"}):
            self.assertIn("gave this process no", self.refused(SystemdSource("db", environment)))

    def test_a_name_is_no_path(self) -> None:
        for name in ("", ".", "..", "../x", "a/b", "a\0b", ".x"):
            self.assertRaises(ConfigError, SystemdSource, name, {})
