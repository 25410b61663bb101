"""Tests for `hoopgw.demo.leaks`: a search that finds nothing must be able to find."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.demo.leaks import processes_below, search, spellings

_KEEPER = """
import sys
kept = sys.stdin.readline().strip()[::-1]
print("ready", flush=True)
sys.stdin.readline()
"""
"""Reads a word backwards, so that only its memory holds it forwards."""


class SpellingsTests(SynchronousTestCase):
    """Tests for `spellings`."""

    @given(st.binary(max_size=9), st.binary(max_size=9))
    def test_base64_at_every_alignment(self, before: bytes, after: bytes) -> None:
        """Whatever stands around a secret, its base64 gives it away."""
        secret = b"correct-horse-battery-staple"
        encoded = base64.b64encode(before + secret + after)
        self.assertTrue(any(needle in encoded for needle in spellings(secret)))

    def test_utf16_and_hexadecimal(self) -> None:
        """Other spellings that a runtime or a log makes."""
        found = spellings(b"swordfish")
        self.assertIn("swordfish".encode("utf-16-le"), found)
        self.assertIn(b"swordfish".hex().encode(), found)


class SearchTests(SynchronousTestCase):
    """Tests for `search`."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_a_file(self) -> None:
        """Across the boundary of two chunks too; the finding does not repeat the secret."""
        secret = secrets.token_urlsafe(24).encode()
        (self.folder / "clean").write_bytes(b"\0" * 100)
        (self.folder / "dirty").write_bytes(b"\0" * (2**16 - 7) + secret)
        result = search({"reader": secret}, [self.folder], [])
        self.assertEqual(
            [(f.credential, Path(f.place).name) for f in result.found], [("reader", "dirty")]
        )
        self.assertEqual(result.files, 2)
        self.assertNotIn(secret.decode(), repr(result))

    def test_memory(self) -> None:
        """What a process has in its memory only is found there."""
        word = secrets.token_urlsafe(24)
        with subprocess.Popen(
            [sys.executable, "-c", _KEEPER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(word[::-1] + "\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), "ready\n")
            found = search({"word": word.encode()}, [], [process.pid])
            other = search({"word": secrets.token_urlsafe(24).encode()}, [], [process.pid])
            process.stdin.write("\n")
            process.stdin.flush()
        self.assertEqual({f.place for f in found.found}, {f"/proc/{process.pid}/mem"})
        self.assertEqual(other.found, ())
        self.assertGreater(other.bytes, 2**20)

    def test_the_environment(self) -> None:
        """A credential given by the environment is found."""
        word = secrets.token_urlsafe(24)
        with subprocess.Popen(
            [sys.executable, "-c", "print(flush=True); input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"X": word},
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it is that program now
            found = search({"word": word.encode()}, [], [process.pid])
            process.communicate(b"\n")
        self.assertIn(f"/proc/{process.pid}/environ", {f.place for f in found.found})

    def test_what_cannot_be_read_is_told(self) -> None:
        """A process that is gone counts as not looked at."""
        with subprocess.Popen([sys.executable, "-c", ""]) as process:
            process.wait()
        result = search({"word": b"swordfish"}, [], [process.pid])
        self.assertEqual(len(result.unreadable), 2)

    def test_processes_below(self) -> None:
        """A process's children are looked at too."""
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            self.assertIn(process.pid, processes_below(os.getpid()))
            process.communicate(b"\n")
