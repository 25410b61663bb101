"""Tests for `hoopgw.identity.revocation_lists`; OpenSSL and OpenSSH read what is made."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.identity.caller_certificates import issue_caller
from hoopgw.identity.revocation_lists import make_crl, make_krl
from hoopgw.identity.ssh_certificates import issue_user
from tests.identity.chains_sample import CERTIFIED, NOW, callers_ca, new_key


class CrlTests(SynchronousTestCase):
    """Tests for `make_crl`."""

    def test_openssl_reads_it(self) -> None:
        """What is on it is refused, and what is not is taken."""
        ca = callers_ca()
        good, bad = (issue_caller(ca, CERTIFIED, new_key().public_key(), NOW) for _ in range(2))
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "ca").write_bytes(ca.certificate.public_bytes(Encoding.PEM))
        crl = make_crl(ca, [bad.serial_number], 3, NOW)
        loaded = x509.load_der_x509_crl(crl)
        (folder / "crl").write_bytes(loaded.public_bytes(Encoding.PEM))

        def verify(certificate: x509.Certificate) -> str:
            (folder / "leaf").write_bytes(certificate.public_bytes(Encoding.PEM))
            command = ["openssl", "verify", "-crl_check", "-attime", str(int(NOW))]
            command += ["-CAfile", f"{folder}/ca", "-CRLfile", f"{folder}/crl", f"{folder}/leaf"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            return done.stdout + done.stderr

        self.assertIn("leaf: OK", verify(good))
        self.assertIn("certificate revoked", verify(bad))

    def test_number(self) -> None:
        """It is signed with the list, so that an older one can be told."""
        crl = x509.load_der_x509_crl(make_crl(callers_ca(), [], 77, NOW))
        found = crl.extensions.get_extension_for_class(x509.CRLNumber).value
        self.assertEqual(found.crl_number, 77)


class KrlTests(SynchronousTestCase):
    """Tests for `make_krl`."""

    def setUp(self) -> None:
        self.ca, key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        self.text, self.serial = issue_user(self.ca, CERTIFIED, key.public_key(), ["root"], NOW)

    def state(self, *serials: int, ca: Ed25519PrivateKey | None = None) -> tuple[int, str]:
        """Ask ``ssh-keygen -Q`` for a certificate."""
        krl, leaf = Path(self.mktemp()), Path(self.mktemp())
        krl.write_bytes(make_krl([(ca or self.ca).public_key()], serials, 5, NOW))
        leaf.write_text(self.text + "\n")
        done = subprocess.run(
            ["ssh-keygen", "-Q", "-l", "-f", krl, leaf], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def test_openssh_reads_it(self) -> None:
        """What is on it is revoked, and what is not is not."""
        code, said = self.state(2**63 + 1, self.serial, 9)
        self.assertEqual(code, 1)
        self.assertIn("REVOKED", said)
        self.assertIn("# KRL version 5", said)
        for serials in ((), (self.serial + 1, 1)):
            code, said = self.state(*serials)
            self.assertEqual((code, "REVOKED" in said), (0, False), said)

    def test_of_one_ca(self) -> None:
        """The same number from another CA is another certificate."""
        code, said = self.state(self.serial, ca=Ed25519PrivateKey.generate())
        self.assertEqual((code, "REVOKED" in said), (0, False), said)
