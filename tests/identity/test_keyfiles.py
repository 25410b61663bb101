"""Tests for `hoopgw.identity.keyfiles`."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.config.gateway import GatewayPaths
from hoopgw.errors import ConfigError
from hoopgw.identity.certificates import names_of
from hoopgw.identity.keyfiles import (
    create_state,
    load_certificate,
    load_private_key,
    load_secret,
    load_signing_key,
    renew_gateway_certificate,
)

NAMES = ["127.0.0.1", "localhost"]


class KeyFilesTestCase(SynchronousTestCase):
    """A fresh state folder."""

    def setUp(self) -> None:
        self.now = datetime.now(UTC)
        self.paths = GatewayPaths(Path(self.mktemp()) / "state")
        create_state(self.paths, NAMES, self.now)


class CreateTests(KeyFilesTestCase):
    """Tests for `create_state`."""

    def test_all_that_is_needed(self) -> None:
        """Each key is there and can be loaded, and no two are alike."""
        paths = self.paths
        secrets = {load_secret(path) for path in (paths.mask_key, paths.store_key)}
        signers = {
            load_signing_key(path).thumbprint()
            for path in (paths.token_key, paths.ticket_key, paths.log_key)
        }
        for path in (paths.ca_key, paths.link_ca_key, paths.gateway_key, paths.link_key):
            load_private_key(path)
        self.assertEqual((len(secrets), len(signers)), (2, 3))
        self.assertEqual(names_of(load_certificate(paths.gateway_certificate)), NAMES)
        for folder in (paths.run, paths.spool, paths.log):
            self.assertTrue(folder.is_dir())

    def test_pairs_fit(self) -> None:
        """Certificates belong to their keys, and to their CAs."""
        paths = self.paths
        for certificate, key in (
            (paths.gateway_certificate, paths.gateway_key),
            (paths.link_certificate, paths.link_key),
        ):
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        for certificate, ca in (
            (paths.gateway_certificate, paths.ca_certificate),
            (paths.link_certificate, paths.link_ca_certificate),
        ):
            load_certificate(certificate).verify_directly_issued_by(load_certificate(ca))

    def test_modes(self) -> None:
        """Nobody else can read or enter anything."""
        for folder, names, files in os.walk(self.paths.state):
            for name in (".", *names, *files):
                mode = (Path(folder) / name).stat().st_mode
                self.assertEqual(mode & 0o077, 0, name)

    def test_nothing_is_overwritten(self) -> None:
        """A second time is refused, and changes nothing."""
        before = self.paths.token_key.read_bytes()
        with self.assertRaisesRegex(ConfigError, "never overwritten"):
            create_state(self.paths, NAMES, self.now)
        self.assertEqual(self.paths.token_key.read_bytes(), before)

    def test_a_failure_leaves_nothing(self) -> None:
        """A wrong name is found before anything is in place."""
        paths = GatewayPaths(Path(self.mktemp()) / "state")
        self.assertRaises(ConfigError, create_state, paths, ["no name"], self.now)
        self.assertEqual(
            sorted(path.name for path in paths.state.iterdir()), ["log", "run", "spool"]
        )
        create_state(paths, NAMES, self.now)

    def test_a_folder_that_others_may_enter(self) -> None:
        """It is refused, with the command that mends it."""
        paths = GatewayPaths(Path(self.mktemp()) / "state")
        paths.state.mkdir(parents=True)
        paths.state.chmod(0o755)
        with self.assertRaisesRegex(ConfigError, "run: chmod 700 "):
            create_state(paths, NAMES, self.now)

    def test_where_nothing_can_be_made(self) -> None:
        """A file in the way is the operator's fault, and said as such."""
        path = Path(self.mktemp())
        path.write_text("")
        self.assertRaises(ConfigError, create_state, GatewayPaths(path / "x"), NAMES, self.now)


class RenewTests(KeyFilesTestCase):
    """Tests for `renew_gateway_certificate`."""

    def test_renewed(self) -> None:
        """A new key and certificate are in place, and fit."""
        paths = self.paths
        before = paths.gateway_key.read_bytes()
        renew_gateway_certificate(paths, ["localhost"], self.now)
        self.assertNotEqual(paths.gateway_key.read_bytes(), before)
        self.assertEqual(names_of(load_certificate(paths.gateway_certificate)), ["localhost"])
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            paths.gateway_certificate, paths.gateway_key
        )
        self.assertEqual(len(list(paths.tls.iterdir())), 4)

    def test_other_names(self) -> None:
        """The CA was not made for them; what was there stays."""
        before = self.paths.gateway_certificate.read_bytes()
        self.assertRaises(
            ConfigError, renew_gateway_certificate, self.paths, ["x.example"], self.now
        )
        self.assertEqual(self.paths.gateway_certificate.read_bytes(), before)


class LoadTests(KeyFilesTestCase):
    """What is not trusted."""

    def assert_refused(self, why: str) -> None:
        with self.assertRaisesRegex(ConfigError, why) as caught:
            load_secret(self.paths.mask_key)
        self.assertIn(str(self.paths.keys), str(caught.exception))

    def test_mode(self) -> None:
        """A key that others can read or write is refused, with the command that mends it."""
        for mode in (0o640, 0o604, 0o620):
            self.paths.mask_key.chmod(mode)
            self.assert_refused("run: chmod 600 ")
        self.paths.mask_key.chmod(0o400)
        load_secret(self.paths.mask_key)

    def test_folder(self) -> None:
        """Who can write to the folder could put another key there."""
        self.paths.keys.chmod(0o777)
        self.assert_refused("run: chmod 700 ")

    def test_owner(self) -> None:
        """Another user's key is refused."""
        if os.geteuid() != 0:
            self.skipTest("only root can give a file away")
        os.chown(self.paths.mask_key, 12345, -1)
        self.assert_refused("chown 0 ")

    def test_missing(self) -> None:
        """The error says what makes it."""
        self.paths.mask_key.unlink()
        self.assert_refused("hoopgw init")

    def test_not_a_file(self) -> None:
        """Links, folders and pipes are refused at once; a pipe would be waited for."""
        path = self.paths.mask_key
        path.unlink()
        path.symlink_to(self.paths.store_key)
        self.assert_refused("cannot be read")
        path.unlink()
        os.mkfifo(path, 0o600)
        self.assert_refused("no regular file")
        path.unlink()
        path.mkdir(mode=0o700)
        self.assert_refused("no regular file|cannot be read")

    def test_contents(self) -> None:
        """A file of another kind is told by its path, without what is in it."""
        paths = self.paths
        for path, load in (
            (paths.token_key, load_signing_key),
            (paths.ca_key, load_private_key),
            (paths.ca_certificate, load_certificate),
            (paths.mask_key, load_secret),
        ):
            for content in (b"", b"secret", b"[]", b'{"kty":"OKP"}', b"\xff" * 40, b"x" * 70_000):
                path.write_bytes(content)
                with self.subTest(path.name, content=content[:9]):
                    with self.assertRaises(ConfigError) as caught:
                        load(path)
                    self.assertIn(path.name, str(caught.exception))
                    self.assertNotIn("secret", str(caught.exception).replace(path.name, ""))

    def test_public_half(self) -> None:
        """A key without its private part cannot sign, and is refused when it is loaded."""
        key = load_signing_key(self.paths.token_key)
        self.paths.token_key.write_text(str(key.as_dict(private=False)).replace("'", '"'))
        with self.assertRaisesRegex(ConfigError, "private Ed25519"):
            load_signing_key(self.paths.token_key)
