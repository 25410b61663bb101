"""Which keys a known_hosts file makes known, and which it takes back."""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import SSHCertificateBuilder, SSHCertificateType
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError, ProtocolViolationError
from hoopgw.identity.ssh_certificates import issue_host, public_line
from hoopgw_ssh import host_keys
from hoopgw_ssh.host_keys import KnownHost, make_known_host

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

    @settings(deadline=None)
    @given(st.integers(0, 400), st.binary(max_size=6), st.integers(0, 12))
    def test_whatever_a_host_shows(self, at: int, put: bytes, drop: int) -> None:
        """Bytes that are no certificate end in a refusal, and in no other exception."""
        known = KnownHost("web1", frozenset(), frozenset([_CA_BLOB]), lambda: NOW)
        shown = _CERTIFICATE[:at] + put + _CERTIFICATE[at + drop :]
        if shown != _CERTIFICATE:
            with self.assertRaises(ProtocolViolationError):
                known.check(shown)


_CA_BLOB = blob(public_line(CA.public_key()))
_CERTIFICATE = blob(issue_host(CA, HOST.public_key(), ["web1"], NOW))
