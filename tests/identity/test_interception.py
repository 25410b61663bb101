"""Tests for `hoopgw.identity.interception`: a CA that can stand in for few hosts only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError
from hoopgw.identity.authority import Authority, common_name, issue
from hoopgw.identity.interception import (
    LEAF_LIFETIME,
    covers,
    issue_leaf,
    make_ca,
    name_problem,
    permits,
)

NAMES: Final = ("management.azure.com", "*.vault.azure.net")
NOW: Final = datetime.now(UTC)


def made() -> Authority:
    """Return a CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(make_ca(key, NAMES, NOW), key)


def holder() -> ec.EllipticCurvePublicKey:
    """Return a key."""
    return ec.generate_private_key(ec.SECP256R1()).public_key()


def is_good(authority: Authority, leaf: x509.Certificate, host: str) -> bool:
    """Say whether a client that trusts the CA takes a certificate for a host."""
    verifier = (
        PolicyBuilder()
        .store(Store([authority.certificate]))
        .time(NOW)
        .build_server_verifier(x509.DNSName(host))
    )
    try:
        verifier.verify(leaf, [])
    except VerificationError:
        return False
    return True


class InterceptionTests(SynchronousTestCase):
    """What it issues, and for whom."""

    def test_for_its_hosts(self) -> None:
        authority = made()
        for host in ("management.azure.com", "shop-kv.vault.azure.net"):
            leaf = issue_leaf(authority, host, holder(), NOW)
            self.assertTrue(is_good(authority, leaf, host))
            self.assertFalse(is_good(authority, leaf, "other.vault.azure.net"))
            self.assertEqual(leaf.not_valid_after_utc, NOW.replace(microsecond=0) + LEAF_LIFETIME)

    def test_for_no_other(self) -> None:
        """We refuse; and if we did not, who trusts the CA would."""
        authority = made()
        for host in (
            *("login.microsoftonline.com", "azure.com", "evilvault.azure.net", "azure.net"),
            *("management.azure.com.evil.example", "127.0.0.1", "*.vault.azure.net", ""),
        ):
            with self.subTest(host=host):
                self.assertFalse(permits(authority.certificate, host))
                self.assertRaises(ConfigError, issue_leaf, authority, host, holder(), NOW)
        forged = issue(
            authority,
            common_name("forged"),
            holder(),
            NOW,
            timedelta(days=1),
            ExtendedKeyUsageOID.SERVER_AUTH,
            [(x509.SubjectAlternativeName([x509.DNSName("bank.example")]), False)],
        )
        self.assertFalse(is_good(authority, forged, "bank.example"))

    def test_its_constraints_are_critical(self) -> None:
        """And shut off addresses, which name constraints would leave open otherwise."""
        found = made().certificate.extensions.get_extension_for_class(x509.NameConstraints)
        self.assertTrue(found.critical)
        excluded = [str(each.value) for each in found.value.excluded_subtrees or ()]
        self.assertEqual(excluded, ["0.0.0.0/0", "::/0"])

    def test_names_that_are_none(self) -> None:
        for name in ("", "com", "*.com", "*", "Azure.com", "a b.c", "10.0.0.1", "a..b", "*.*.b.c"):
            with self.subTest(name=name):
                self.assertIsNotNone(name_problem(name))
                key = ec.generate_private_key(ec.SECP256R1())
                self.assertRaises(ConfigError, make_ca, key, [name], NOW)
        self.assertRaises(ConfigError, make_ca, ec.generate_private_key(ec.SECP256R1()), [], NOW)

    def test_what_names_cover(self) -> None:
        self.assertTrue(covers(NAMES, "a.b.vault.azure.net"))
        self.assertFalse(covers(NAMES, "vault.azure.net.evil.example"))
        self.assertFalse(covers((), "vault.azure.net"))
