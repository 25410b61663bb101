"""Which keys a known_hosts file makes known, and which it takes back."""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_public_identity,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError, ProtocolViolationError
from hoopgw.identity.ssh_certificates import issue_host, public_line
from hoopgw_ssh import host_keys
from hoopgw_ssh.host_keys import KnownHost, make_known_host
from hoopgw_ssh.wire import Reader, string

NOW = 1_800_000_000.0
HOST, OTHER, CA = (Ed25519PrivateKey.generate() for _ in range(3))


def blob(line: str) -> bytes:
    """Return what a line has in base64."""
    return base64.b64decode(line.split()[1])


class KnownHostsTests(SynchronousTestCase):
    """A file, read for one host."""

    def known(self, *lines: str, name: str = "web1", port: int = 22) -> KnownHost:
        """Read a file of lines, in which HOST, OTHER and CA stand for keys."""
        text = "\n".join(lines)
        for mark, key in (("HOST", HOST), ("OTHER", OTHER), ("CA", CA)):
            text = text.replace(mark, public_line(key.public_key()))
        path = Path(self.mktemp())
        path.write_text(text)
        return make_known_host(name, port, (), (), path, lambda: NOW)

    def test_revoked(self) -> None:
        """Also by a pattern, as sshd(8) has it: ``@revoked * ssh-rsa AAAA``."""
        for pattern in ("*", "web1", "web?", "*.example.com,web*", "|1|c2FsdA==|aGFzaA=="):
            known = self.known("web1 HOST", "web1 OTHER", f"@revoked {pattern} HOST")
            with self.assertRaises(ProtocolViolationError):
                known.check(blob(public_line(HOST.public_key())))
            known.check(blob(public_line(OTHER.public_key())))

    def test_a_certificate_of_what_is_revoked(self) -> None:
        certificate = blob(issue_host(CA, HOST.public_key(), ["web1"], NOW))
        lines = "@cert-authority web1 CA", "web1 OTHER"
        self.assertEqual(
            self.known(*lines).check(certificate), blob(public_line(HOST.public_key()))
        )
        for revoked in ("HOST", "CA"):
            with self.assertRaises(ProtocolViolationError):
                self.known(*lines, f"@revoked * {revoked}").check(certificate)

    def test_negated(self) -> None:
        for patterns in ("web1,!web1", "!web*,web1", "!w?b1,web1"):
            with self.assertRaises(ConfigError):
                self.known(f"{patterns} HOST")
        self.known("web1,!web2 HOST")
        with self.assertRaises(ConfigError):
            self.known("![web1]:2222,[web1]:2222 HOST", port=2222)

    def test_a_long_file(self) -> None:
        """Its end might revoke what its beginning makes known."""
        self.patch(host_keys, "_FILE_LIMIT", 1_000)
        with self.assertRaises(ConfigError):
            self.known("web1 HOST", "#" * 1_000, "@revoked * HOST")

    def test_certificates_that_are_not_for_it(self) -> None:
        known = self.known("@cert-authority web1 CA")
        for begin, end, principals, kind, option, signer in (
            (-9, 9, [b"web2"], SSHCertificateType.HOST, b"", CA),
            (-9, -1, [b"web1"], SSHCertificateType.HOST, b"", CA),
            (1, 9, [b"web1"], SSHCertificateType.HOST, b"", CA),
            (-9, 9, [b"web1"], SSHCertificateType.USER, b"", CA),
            (-9, 9, [b"web1"], SSHCertificateType.HOST, b"force-command", CA),
            (-9, 9, [b"web1"], SSHCertificateType.HOST, b"", OTHER),
            (-9, 9, [], SSHCertificateType.HOST, b"", CA),
        ):
            builder = SSHCertificateBuilder().public_key(HOST.public_key()).type(kind).serial(1)
            builder = builder.key_id(b"x").valid_after(int(NOW + begin))
            builder = builder.valid_before(int(NOW + end))
            builder = (
                builder.valid_principals(principals)
                if principals
                else builder.valid_for_all_principals()
            )
            if option:
                builder = builder.add_critical_option(option, b"x")
            with self.assertRaises(ProtocolViolationError):
                known.check(blob(builder.sign(signer).public_bytes().decode()))

    def test_a_certificate_that_is_signed_by_way_of_sha1(self) -> None:
        """Collisions of SHA-1 can be made, so that a CA signs another certificate than it sees."""
        signer = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        line = signer.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        ca = blob(line.decode())
        known = KnownHost("web1", frozenset(), frozenset([ca]), lambda: NOW)
        for host in (HOST, ec.generate_private_key(ec.SECP256R1()), signer):
            builder = SSHCertificateBuilder().public_key(host.public_key()).serial(1).key_id(b"x")
            builder = builder.type(SSHCertificateType.HOST).valid_principals([b"web1"])
            builder = builder.valid_after(int(NOW - 9)).valid_before(int(NOW + 9))
            good = blob(builder.sign(signer).public_bytes().decode())
            known.check(good)
            body = good[: -len(string(string(b"rsa-sha2-512") + string(bytes(256))))]
            weak = signer.sign(body, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303  # the attack
            bad = body + string(string(b"ssh-rsa") + string(weak))
            found = load_ssh_public_identity(_line(bad))
            assert isinstance(found, SSHCertificate)
            found.verify_cert_signature()
            with self.assertRaisesRegex(ProtocolViolationError, "SHA-1"):
                known.check(bad)

    @settings(deadline=None)
    @given(st.integers(0, 400), st.binary(max_size=6), st.integers(0, 12))
    def test_whatever_a_host_shows(self, at: int, put: bytes, drop: int) -> None:
        """Bytes that are no certificate end in a refusal, and in no other exception."""
        known = KnownHost("web1", frozenset(), frozenset([_CA_BLOB]), lambda: NOW)
        shown = _CERTIFICATE[:at] + put + _CERTIFICATE[at + drop :]
        if shown != _CERTIFICATE:
            with self.assertRaises(ProtocolViolationError):
                known.check(shown)


def _line(certificate: bytes) -> bytes:
    return Reader(certificate).string() + b" " + base64.b64encode(certificate)


_CA_BLOB = blob(public_line(CA.public_key()))
_CERTIFICATE = blob(issue_host(CA, HOST.public_key(), ["web1"], NOW))
