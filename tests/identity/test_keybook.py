"""Tests for `hoopgw.identity.keybook`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.config.gateway import GatewayPaths
from hoopgw.errors import ConfigError
from hoopgw.identity.key_kinds import KINDS, Form, KeyKind
from hoopgw.identity.keybook import KeyBook, Retired, Rotation, describe_retired
from hoopgw.identity.keyfiles import create_state

NAMES = ["127.0.0.1", "gw.example"]
INTERCEPTED = ["*.vault.azure.net"]


class BookCase(SynchronousTestCase):
    """A fresh state folder."""

    def setUp(self) -> None:
        self.now = datetime.now(UTC)
        self.paths = GatewayPaths(Path(self.mktemp()) / "state")
        create_state(self.paths, NAMES, self.now, INTERCEPTED)
        self.book = KeyBook(self.paths, NAMES, INTERCEPTED)


class FilesTests(BookCase):
    """Keys in their files."""

    def test_every_key_is_there(self) -> None:
        """A new state folder has all of them, each described and no two alike."""
        described = [self.book.describe(kind) for kind in KINDS.values()]
        self.assertEqual(len({each.fingerprint for each in described}), len(KINDS))
        for kind, each in zip(KINDS.values(), described, strict=True):
            self.assertEqual(each.ends is not None, kind.form is Form.AUTHORITY)
            self.assertLess(abs(each.made - self.now.timestamp()), 60)
        self.book.check_separate()

    def test_a_ca_for_others_is_there_only_where_it_is_wanted(self) -> None:
        """What is not there cannot be stolen; it is made once it is configured."""
        paths = GatewayPaths(Path(self.mktemp()) / "state")
        create_state(paths, NAMES, self.now)
        self.assertEqual(list(paths.keys.glob("interception*")), [])
        self.assertNotIn("interception", KeyBook(paths, NAMES).kinds)
        self.assertEqual(KeyBook(paths, NAMES).complete(self.now), [])
        made = KeyBook(paths, NAMES, INTERCEPTED).complete(self.now)
        self.assertEqual([path.name for path in made], ["interception-ca.key"])

    def test_rotated(self) -> None:
        """The next key stands beside the present one, and then in its place, for each kind."""
        for kind in KINDS.values():
            with self.subTest(kind.name):
                before = self.book.describe(kind)
                self.assertFalse(self.book.has_next(kind))
                self.book.announce(kind, self.now)
                ahead = self.book.describe(kind, ahead=True)
                self.assertNotEqual(ahead.fingerprint, before.fingerprint)
                self.assertEqual(self.book.describe(kind), before)
                self.book.check_separate()
                self.book.promote(kind)
                self.assertEqual(self.book.describe(kind).fingerprint, ahead.fingerprint)
                self.assertFalse(self.book.has_next(kind))
                self.book.promote(kind)  # again, as after a crash, changes nothing
                self.assertEqual(self.book.describe(kind).fingerprint, ahead.fingerprint)
        modes = {path.stat().st_mode & 0o777 for path in self.paths.keys.iterdir()}
        self.assertEqual(modes, {0o600})

    def test_stopped_between_certificate_and_key(self) -> None:
        """A CA's two files are moved one after the other; the rest is done later."""
        kind = KINDS["link"]
        self.book.announce(kind, self.now)
        ahead = self.book.describe(kind, ahead=True)
        self.book.path(kind, ahead=True, suffix=".crt").rename(self.book.path(kind, suffix=".crt"))
        with self.assertRaisesRegex(ConfigError, "not the certificate of the key"):
            self.book.check_separate()
        self.book.promote(kind)
        self.book.check_separate()
        self.assertEqual(self.book.describe(kind).fingerprint, ahead.fingerprint)

    def test_announced_again(self) -> None:
        """What was begun and not finished is begun anew."""
        kind = KINDS["callers"]
        self.book.path(kind, ahead=True, suffix=".crt").write_text("half")
        self.book.announce(kind, self.now)
        first = self.book.describe(kind, ahead=True)
        self.book.announce(kind, self.now)
        self.assertNotEqual(self.book.describe(kind, ahead=True).fingerprint, first.fingerprint)

    def test_accepted(self) -> None:
        """What signs is first, then the next, then those that are accepted still."""
        kind = KINDS["callers"]
        old = Retired(self.book.public(kind), 1.0)
        self.book.announce(kind, self.now)
        self.book.promote(kind)
        self.book.announce(kind, self.now)
        rotation = Rotation(announced=1.0, retired=(old,))
        found = self.book.certificates(kind, rotation)
        self.assertEqual(len(set(found)), 3)
        self.assertEqual(found[0], self.book.authority(kind).certificate)
        self.assertEqual(
            found[2].public_key(), self.book.certificates(kind, rotation)[2].public_key()
        )
        self.assertEqual(len(self.book.certificates(kind, Rotation())), 1)
        token = KINDS["token"]
        retired = Retired(self.book.public(token), 1.0)
        self.book.announce(token, self.now)
        self.book.promote(token)
        keys = self.book.public_keys(token, Rotation(retired=(retired,)))
        self.assertEqual(len(keys), 2)
        self.assertFalse(any(key.is_private for key in keys))
        self.assertNotIn('"d"', retired.public)
        self.assertEqual(describe_retired(token, retired).fingerprint, keys[1].thumbprint())

    def test_upgrade(self) -> None:
        """What an earlier release did not have is made; what it had is never made anew."""
        recent = [kind for kind in KINDS.values() if kind.recent]
        for kind in recent:
            self.book.path(kind).unlink()
        made = self.book.complete(self.now)
        self.assertEqual(made, [self.book.path(kind) for kind in recent])
        self.assertEqual(self.book.complete(self.now), [])
        self.paths.token_key.unlink()
        self.assertEqual(self.book.complete(self.now), [])
        self.assertFalse(self.paths.token_key.exists())


class SeparateTests(BookCase):
    """One key for one purpose."""

    def reuse(self, of: KeyKind, to: KeyKind, *, ahead: bool = False) -> None:
        for suffix in (".key", ".crt"):
            source = self.book.path(of, suffix=suffix)
            if source.exists():
                target = self.book.path(to, ahead=ahead, suffix=suffix)
                target.touch(mode=0o600)
                target.write_bytes(source.read_bytes())

    def test_reuse_is_refused(self) -> None:
        """Between CAs, between signing keys, between secrets, and with a next key."""
        for of, to in (
            ("link", "callers"),
            ("listeners", "callers"),
            ("listeners", "link"),
            ("ssh-users", "ssh-hosts"),
            ("token", "ticket"),
            ("token", "ssh-users"),
            ("log", "token"),
            ("mask", "store"),
        ):
            for ahead in (False, True):
                with self.subTest(f"{of} for {to}", ahead=ahead):
                    self.setUp()
                    self.reuse(KINDS[of], KINDS[to], ahead=ahead)
                    with self.assertRaisesRegex(ConfigError, "is the same key as"):
                        self.book.check_separate()

    def test_an_old_key_that_comes_again(self) -> None:
        """A next key that is the present one would be no rotation."""
        self.reuse(KINDS["ticket"], KINDS["ticket"], ahead=True)
        with self.assertRaisesRegex(ConfigError, "is the same key as ticket.key"):
            self.book.check_separate()

    def test_a_certificate_of_another_key(self) -> None:
        pem = self.book.path(KINDS["link"], suffix=".crt").read_bytes()
        self.book.path(KINDS["callers"], suffix=".crt").write_bytes(pem)
        with self.assertRaisesRegex(ConfigError, "not the certificate of the key beside it"):
            self.book.check_separate()


class RotationsTests(BookCase):
    """How far each rotation is."""

    def test_kept(self) -> None:
        """What was saved is what is loaded; nothing yet is nothing."""
        self.assertEqual(set(self.book.load().values()), {Rotation()})
        rotations = self.book.load()
        rotations["link"] = Rotation(announced=5.0, vouched=True, switching=True)
        rotations["token"] = evolve(Rotation(), retired=(Retired("{}", 7.5),))
        self.book.save(rotations)
        self.assertEqual(self.book.load(), rotations)

    def test_damaged(self) -> None:
        """A file that says nothing sensible does not become "no rotation"."""
        self.book.save(self.book.load())
        for text in ("", "[]", "x", '{"link": []}', '{"link": {"retired": 1}}'):
            self.paths.rotations.write_text(text)
            self.assertRaises(ConfigError, self.book.load)
        wrong = {"link": {"retired": [{"public": "x"}]}}
        self.paths.rotations.write_text(json.dumps(wrong))
        self.assertRaises(ConfigError, self.book.load)
        self.paths.rotations.chmod(0o644)
        self.assertRaises(ConfigError, self.book.load)
