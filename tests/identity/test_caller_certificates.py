"""Tests for `hoopgw.identity.caller_certificates`; OpenSSL is the second opinion."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError
from hoopgw.identity import certificates
from hoopgw.identity.authority import Authority, common_name, issue, moment
from hoopgw.identity.caller_certificates import (
    CHAIN,
    Shown,
    certificate_node,
    issue_caller,
    make_ca,
    verify_caller,
)
from hoopgw.identity.certified import SIZE_LIMIT, encode
from hoopgw.link import certificates as link_certificates
from tests.identity.chains_sample import CERTIFIED, GATEWAY, NOW, callers_ca, new_key
from tests.identity.chains_sample import CHAIN as WHO

Extensions = list[tuple[x509.ExtensionType, bool]]


def octets(content: bytes) -> bytes:
    """Encode an OCTET STRING in DER."""
    size = len(content)
    if size < 128:
        return bytes([4, size]) + content
    if size < 256:
        return bytes([4, 0x81, size]) + content
    return b"\x04\x82" + size.to_bytes(2, "big") + content


class CallerCase(SynchronousTestCase):
    """A CA of callers, and a caller's key."""

    def setUp(self) -> None:
        self.ca, self.key = callers_ca(), new_key()

    def issued(self, **options: Any) -> x509.Certificate:
        return issue_caller(self.ca, CERTIFIED, self.key.public_key(), NOW, **options)

    def verify(self, certificate: x509.Certificate, now: float = NOW) -> Shown:
        der = certificate.public_bytes(Encoding.DER)
        return verify_caller(der, [self.ca.certificate], GATEWAY, now)

    def refused(self, certificate: x509.Certificate, why: str, now: float = NOW) -> None:
        with self.assertRaisesRegex(AuthenticationError, why):
            self.verify(certificate, now)

    def forge(
        self,
        form: bytes | None,
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        more: Extensions | None = None,
    ) -> x509.Certificate:
        """Issue what the CA would never issue, as with its stolen key."""
        extensions: Extensions = list(more or [])
        if form is not None:
            extensions.append((x509.UnrecognizedExtension(CHAIN, form), False))
        return issue(
            self.ca,
            common_name("hoopgw: x"),
            self.key.public_key(),
            moment(NOW),
            timedelta(hours=1),
            purpose,
            extensions,
        )


class GoodTests(CallerCase):
    """What is issued, and what it says."""

    def test_whole_chain(self) -> None:
        """Whoever verifies it knows the chain as it was certified, and what revokes it."""
        certificate = self.issued()
        shown = self.verify(certificate)
        self.assertEqual(shown.certified, CERTIFIED)
        self.assertEqual(
            shown.lineage,
            ("login-alice", "node-planner", certificate_node(certificate.serial_number)),
        )
        self.assertTrue(shown.principal.proved)

    def test_form(self) -> None:
        """For a client's end only; the extension does not keep others from using it."""
        certificate = self.issued()
        found = certificate.extensions.get_extension_for_oid(CHAIN)
        self.assertFalse(found.critical)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(list(usage), [ExtendedKeyUsageOID.CLIENT_AUTH])
        self.assertIn(" ", certificate.subject.rfc4514_string())

    def test_lifetime(self) -> None:
        """An hour at most, less if asked, and never longer than the log-in."""
        end = self.issued().not_valid_after_utc
        self.assertEqual(end, moment(NOW + 3600))
        self.assertEqual(self.issued(lifetime=60.0).not_valid_after_utc, moment(NOW + 60))
        self.assertEqual(self.issued(lifetime=9e9).not_valid_after_utc, moment(NOW + 3600))
        short = evolve(CERTIFIED, principal=evolve(WHO, expires=NOW + 90))
        certificate = issue_caller(self.ca, short, self.key.public_key(), NOW)
        self.assertEqual(certificate.not_valid_after_utc, moment(NOW + 90))
        over = evolve(CERTIFIED, principal=evolve(WHO, expires=NOW))
        with self.assertRaises(AuthenticationError):
            issue_caller(self.ca, over, self.key.public_key(), NOW)

    def test_openssl_takes_it(self) -> None:
        """As a client's certificate, and as nothing else; the CA is no server's."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "ca").write_bytes(self.ca.certificate.public_bytes(Encoding.PEM))
        (folder / "leaf").write_bytes(self.issued().public_bytes(Encoding.PEM))

        def verifies(purpose: str) -> bool:
            command = ["openssl", "verify", "-CAfile", f"{folder}/ca", "-attime", str(int(NOW))]
            command += ["-x509_strict", "-purpose", purpose, f"{folder}/leaf"]
            return subprocess.run(command, capture_output=True, check=False).returncode == 0

        self.assertTrue(verifies("sslclient"))
        self.assertFalse(verifies("sslserver"))

    def test_a_stolen_ca_is_no_servers(self) -> None:
        """Its name constraints leave no host name and no address."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "ca").write_bytes(self.ca.certificate.public_bytes(Encoding.PEM))
        names: Extensions = [
            (x509.SubjectAlternativeName([certificates.alternative_name("bank.example")]), False)
        ]
        leaf = self.forge(None, more=names)
        (folder / "leaf").write_bytes(leaf.public_bytes(Encoding.PEM))
        command = ["openssl", "verify", "-CAfile", f"{folder}/ca", "-attime", str(int(NOW))]
        result = subprocess.run(
            [*command, f"{folder}/leaf"], capture_output=True, text=True, check=False
        )
        self.assertIn("excluded subtree violation", result.stderr)


class RefusedTests(CallerCase):
    """What is not taken."""

    def test_time(self) -> None:
        """There is no leeway at the end, though what is issued begins early."""
        certificate = self.issued()
        self.verify(certificate, NOW - 299)
        self.refused(certificate, "outside its time", NOW - 301)
        self.verify(certificate, NOW + 3600)
        self.refused(certificate, "outside its time", NOW + 3600.001)
        self.refused(certificate, "outside its time", NOW + 3601)

    def test_the_log_in_is_over(self) -> None:
        """The smallest end counts, though the certificate lasts."""
        over = encode(evolve(CERTIFIED, principal=evolve(WHO, expires=NOW + 5)))
        certificate = self.forge(octets(over))
        self.verify(certificate)
        self.refused(certificate, "is over", NOW + 5)

    def test_other_cas(self) -> None:
        """Each CA is for its own purpose: another of the gateway's does not count."""
        key, public = new_key(), self.key.public_key()
        link = Authority(link_certificates.make_ca(key, moment(NOW)), key)
        listeners = Authority(certificates.make_ca(key, ["gw.example"], moment(NOW)), key)
        impostor = Authority(make_ca(key, moment(NOW)), key)
        for ca in (link, listeners, impostor):
            self.refused(issue_caller(ca, CERTIFIED, public, NOW), "not from the callers' CA")
        agent = link_certificates.issue_agent(
            link.certificate, link.key, "local", public, moment(NOW)
        )
        self.refused(agent, "not from the callers' CA")

    def test_purpose_and_kind(self) -> None:
        """A server's certificate is none, one for two purposes is none, a CA's is none."""
        form = octets(encode(CERTIFIED))
        self.refused(self.forge(form, ExtendedKeyUsageOID.SERVER_AUTH), "not a caller's")
        self.refused(self.forge(form, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE), "not a caller's")
        for ca, why in ((True, "is a CA's"), (None, "malformed")):
            self.refused(self._with_constraints(form, ca), why)

    def _with_constraints(self, form: bytes, ca: bool | None) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(common_name("hoopgw: x"))
            .issuer_name(self.ca.certificate.subject)
            .public_key(self.key.public_key())
            .serial_number(7)
            .not_valid_before(moment(NOW - 60))
            .not_valid_after(moment(NOW + 60))
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.UnrecognizedExtension(CHAIN, form), critical=False)
        )
        if ca is not None:
            basic = x509.BasicConstraints(ca=ca, path_length=None)
            builder = builder.add_extension(basic, critical=True)
        return builder.sign(self.ca.key, hashes.SHA256())

    def test_the_extension(self) -> None:
        """Missing, of another gateway, too long, or not exactly as DER has it."""
        form = encode(CERTIFIED)
        self.refused(self.forge(None), "holds no chain")
        other = encode(evolve(CERTIFIED, issuer="https://other.example"))
        self.refused(self.forge(octets(other)), "of another gateway")
        self.refused(self.forge(octets(b"[" * SIZE_LIMIT)), "JSON|too long")
        self.refused(self.forge(octets(b" " * (SIZE_LIMIT + 9))), "too long")
        for data in (
            b"",
            b"\x04",
            form,
            octets(form) + b"\0",
            octets(form)[:-1],
            b"\x0c" + octets(form)[1:],  # UTF8String
            b"\x04\x80" + form + b"\0\0",  # of indefinite length
            b"\x04\x83\0" + len(form).to_bytes(2, "big") + form,  # a longer length than need be
        ):
            self.refused(self.forge(data), "malformed|JSON")

    def test_twice(self) -> None:
        """Which of two would count is a question that is not asked."""
        certificate = self.issued()
        der = certificate.public_bytes(Encoding.DER)
        # cryptography makes no such certificate: one extension's OID is made another's.
        marker = x509.UnrecognizedExtension(CHAIN, octets(encode(CERTIFIED))).oid
        first = self.forge(octets(encode(CERTIFIED)), more=[(_second(), False)])
        der = first.public_bytes(Encoding.DER).replace(_oid(_second().oid), _oid(marker))
        self.assertEqual(der.count(_oid(marker)), 2)
        resigned = _signed_again(der, self.ca.key)
        with self.assertRaisesRegex(AuthenticationError, "twice|malformed"):
            verify_caller(resigned, [self.ca.certificate], GATEWAY, NOW)

    def test_garbage(self) -> None:
        """What is no certificate is refused in the same way."""
        good = self.issued().public_bytes(Encoding.DER)
        for der in (b"", b"x", good[:-1], good[:200], b"\x30\x82\xff\xff" + good):
            with self.assertRaises(AuthenticationError):
                verify_caller(der, [self.ca.certificate], GATEWAY, NOW)
        changed = bytearray(good)
        for at in range(0, len(good), 7):
            changed[at] ^= 1
            with self.assertRaises(AuthenticationError):
                verify_caller(bytes(changed), [self.ca.certificate], GATEWAY, NOW)
            changed[at] ^= 1


def _second() -> x509.UnrecognizedExtension:
    """Return an extension whose OID is as long as the chain's."""
    oid = x509.ObjectIdentifier(CHAIN.dotted_string[:-1] + "0")
    return x509.UnrecognizedExtension(oid, octets(encode(CERTIFIED)))


def _oid(oid: x509.ObjectIdentifier) -> bytes:
    """Encode an OID under 2.25 in DER."""
    number, digits = int(oid.dotted_string.rpartition(".")[2]), []
    while number:
        digits.append(number & 0x7F)
        number >>= 7
    body = bytes([2 * 40 + 25, *(d | 0x80 for d in reversed(digits[1:])), digits[0]])
    return bytes([6, len(body)]) + body


def _signed_again(der: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Sign a certificate's inner part again, as whoever has the CA's key could."""
    start = 4  # SEQUENCE, 0x82, two bytes of length
    inner = der[start : start + 4 + int.from_bytes(der[start + 2 : start + 4], "big")]
    signature = key.sign(inner, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    bits = b"\x03" + bytes([len(signature) + 1]) + b"\0" + signature
    body = inner + algorithm + bits
    return b"\x30\x82" + len(body).to_bytes(2, "big") + body
