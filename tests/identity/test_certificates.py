"""Tests for `hoopgw.identity.certificates`; OpenSSL is the judge of what a name constraint does."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError
from hoopgw.identity.certificates import (
    RENEW_BEFORE,
    SERVER_LIFETIME,
    alternative_name,
    issue_server,
    make_ca,
    names_of,
    needs_renewal,
)

NAMES = ["gw.example", "localhost", "127.0.0.1", "::1"]


class CertificatesTestCase(SynchronousTestCase):
    """A CA for some names."""

    def setUp(self) -> None:
        self.now = datetime.now(UTC)
        self.ca_key, self.key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.ca = make_ca(self.ca_key, NAMES, self.now)

    def issue(self, names: list[str]) -> x509.Certificate:
        return issue_server(self.ca, self.ca_key, self.key.public_key(), names, self.now)

    def connects(self, certificate: x509.Certificate, host: str) -> bool:
        """Shake hands in memory, as a client that trusts the CA and wants this host."""
        folder = self.mktemp()
        with open(folder, "wb") as file:
            file.write(certificate.public_bytes(Encoding.PEM))
            file.write(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(folder)
        trusting = ssl.create_default_context(cadata=self.ca.public_bytes(Encoding.PEM).decode())
        trusting.verify_flags |= ssl.VERIFY_X509_STRICT
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting.wrap_bio(to_client, to_server, server_hostname=host)
        server = serving.wrap_bio(to_server, to_client, server_side=True)
        for _ in range(4):
            for end in (client, server):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                except ssl.SSLCertVerificationError:
                    return False
        return client.version() is not None


class ServerTests(CertificatesTestCase):
    """Tests for `issue_server`."""

    def test_clients_accept_it(self) -> None:
        """For each of its names, and for no other."""
        issued = self.issue(NAMES)
        for name in NAMES:
            self.assertTrue(self.connects(issued, name), name)
        self.assertFalse(self.connects(issued, "other.example"))
        self.assertFalse(self.connects(issued, "127.0.0.2"))

    def test_form(self) -> None:
        """A server's certificate, and for 90 days."""
        issued = self.issue(NAMES)
        usage = issued.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(list(usage), [ExtendedKeyUsageOID.SERVER_AUTH])
        self.assertEqual(list(names_of(issued)), NAMES)
        rest = issued.not_valid_after_utc - self.now
        self.assertTrue(SERVER_LIFETIME - timedelta(minutes=1) < rest <= SERVER_LIFETIME)
        self.assertFalse(needs_renewal(issued, self.now))
        self.assertTrue(needs_renewal(issued, issued.not_valid_after_utc - RENEW_BEFORE))

    def test_below_a_name(self) -> None:
        """A name for each target: what is below the CA's names may be issued, wildcards too."""
        issued = self.issue(["*.gw.example", "arm.gw.example"])
        self.assertTrue(self.connects(issued, "vault.gw.example"))
        self.assertTrue(self.connects(issued, "arm.gw.example"))

    def test_refused_names(self) -> None:
        """What the CA was not made for is refused here already, and not by every client."""
        for name in ("evil.example", "notgw.example", "10.0.0.1", "*.example", "::2"):
            with self.assertRaisesRegex(ConfigError, "was not made for"):
                self.issue([name])
        self.assertRaises(ConfigError, self.issue, [])
        for name in ("a b", "", "*", "x" * 300, "https://gw.example", "-a.example"):
            self.assertRaises(ConfigError, alternative_name, name)


class ConstraintTests(CertificatesTestCase):
    """A stolen CA key is of no use for other names."""

    def forge(self, *names: x509.GeneralName) -> x509.Certificate:
        """Issue without asking the CA's constraints."""
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x y")]))
            .issuer_name(self.ca.subject)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(self.now - timedelta(hours=1))
            .not_valid_after(self.now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.ca_key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False
            )
            .sign(self.ca_key, hashes.SHA256())
        )

    def assert_useless(self, names: list[str], host: str) -> None:
        self.ca = make_ca(self.ca_key, names, self.now)
        forged = self.forge(alternative_name(host))
        self.assertFalse(self.connects(forged, host), (names, host))

    def test_forged(self) -> None:
        """Also for a kind of name that the CA has none of."""
        self.assertTrue(self.connects(self.forge(x509.DNSName("gw.example")), "gw.example"))
        self.assert_useless(NAMES, "bank.example")
        self.assert_useless(NAMES, "10.0.0.1")
        self.assert_useless(["gw.example"], "10.0.0.1")
        self.assert_useless(["gw.example"], "::1")
        self.assert_useless(["10.0.0.1"], "bank.example")
        self.assert_useless(["10.0.0.1"], "::1")
        self.assert_useless(["::1"], "10.0.0.1")

    def test_ca(self) -> None:
        """It issues for ends only, and its constraints must be understood."""
        basic = self.ca.extensions.get_extension_for_class(x509.BasicConstraints)
        self.assertEqual((basic.critical, basic.value.ca, basic.value.path_length), (True, True, 0))
        constraints = self.ca.extensions.get_extension_for_class(x509.NameConstraints)
        self.assertTrue(constraints.critical)
