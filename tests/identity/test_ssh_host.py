"""The SSH host key and its certificate, in files."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.config.gateway import GatewayPaths
from hoopgw.errors import ConfigError, UnavailableError
from hoopgw.identity.key_kinds import KINDS
from hoopgw.identity.keybook import KeyBook
from hoopgw.identity.keyfiles import create_state
from hoopgw.identity.private_files import load_signing_key
from hoopgw.identity.ssh_certificates import HOST_LIFETIME
from hoopgw.identity.ssh_host import ServedHost, renew_host

NAMES = ("gw.example", "10.0.0.7", "::1")
NOW = 1_800_000_000.0


class HostCase(SynchronousTestCase):
    """A state folder."""

    def setUp(self) -> None:
        self.paths = GatewayPaths(Path(self.mktemp()))
        create_state(self.paths, ["gw.example"], datetime.fromtimestamp(NOW, UTC))
        self.served = ServedHost(self.paths)

    def certificate(self) -> SSHCertificate:
        """Return what is shown."""
        blob = base64.b64encode(self.served().certificate)
        found = load_ssh_public_identity(b"ssh-ed25519-cert-v01@openssh.com " + blob)
        assert isinstance(found, SSHCertificate)
        return found

    def authority(self) -> Ed25519PublicKey:
        """Return the CA that issues now."""
        key = load_signing_key(self.paths.ssh_hosts_key).public_key
        assert isinstance(key, Ed25519PublicKey)
        return key


class RenewalTests(HostCase):
    """When it is issued."""

    def test_made(self) -> None:
        """For all names, by the CA of hosts; the key is nobody else's to read."""
        self.assertTrue(renew_host(self.paths, NAMES, NOW))
        found = self.certificate()
        found.verify_cert_signature()
        self.assertEqual(found.signature_key(), self.authority())
        self.assertEqual(sorted(found.valid_principals), sorted(n.encode() for n in NAMES))
        self.assertEqual(found.public_key(), self.served().key.public_key())
        self.assertEqual(self.paths.ssh_host_key.stat().st_mode & 0o777, 0o600)

    def test_only_when_it_is_due(self) -> None:
        """At half of its time, or with other names; the key stays."""
        renew_host(self.paths, NAMES, NOW)
        first = self.served()
        self.assertFalse(renew_host(self.paths, NAMES, NOW + HOST_LIFETIME / 2 - 1))
        self.assertTrue(renew_host(self.paths, NAMES, NOW + HOST_LIFETIME / 2 + 1))
        self.assertTrue(renew_host(self.paths, NAMES[:1], NOW + HOST_LIFETIME / 2 + 1))
        self.assertTrue(self.served.look())
        self.assertFalse(self.served.look())
        self.assertNotEqual(self.served().certificate, first.certificate)
        self.assertEqual(self.served().key.public_key(), first.key.public_key())

    def test_another_authority(self) -> None:
        """Issues anew at once, and for the same key."""
        renew_host(self.paths, NAMES, NOW)
        before, key = self.authority(), self.served().key.public_key()
        book, kind = KeyBook(self.paths), KINDS["ssh-hosts"]
        book.announce(kind, datetime.fromtimestamp(NOW, UTC))
        book.promote(kind)
        self.assertTrue(renew_host(self.paths, NAMES, NOW))
        self.served.look()
        self.assertNotEqual(self.certificate().signature_key(), before)
        self.assertEqual(self.certificate().public_key(), key)

    def test_names_that_are_none(self) -> None:
        """Are told with where they come from."""
        with self.assertRaisesRegex(ConfigError, "tls.names"):
            renew_host(self.paths, ["-o ProxyCommand=x"], NOW)


class ServedTests(HostCase):
    """What workers show."""

    def test_not_there(self) -> None:
        """Is said, and looked for again."""
        self.assertRaises(ConfigError, self.served)
        self.assertFalse(self.served.look())
        renew_host(self.paths, NAMES, NOW)
        self.assertEqual(len(self.certificate().valid_principals), 3)

    def test_what_does_not_fit(self) -> None:
        """Is never shown: the earlier one is shown on."""
        renew_host(self.paths, NAMES, NOW)
        shown = self.served()
        for text in ("nonsense", "ssh-ed25519 AAAA", self.stranger()):
            self.paths.ssh_host_certificate.write_text(text)
            self.assertRaises(UnavailableError, self.served.look)
            self.assertIs(self.served(), shown)

    def stranger(self) -> str:
        """Return the certificate of another key."""
        other = GatewayPaths(Path(self.mktemp()))
        create_state(other, ["gw.example"], datetime.fromtimestamp(NOW, UTC))
        renew_host(other, NAMES, NOW)
        return other.ssh_host_certificate.read_text()
