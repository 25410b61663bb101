"""The target leg: its settings, and what it binds a log-in to."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError
from hoopgw.spi import AgentContext, AgentTarget
from hoopgw_postgres.agent import Options, make_target_leg
from hoopgw_postgres.target_tls import end_point
from tests.support.certificates import Authority


class OptionsTests(SynchronousTestCase):
    def options(self, address: str = "db:5432", **options: Any) -> Options:
        return Options.of(
            AgentTarget(
                name="orders", protocol="postgres", address=address, accounts={}, options=options
            )
        )

    def test_tcp_is_verified_in_full_unless_something_else_is_named(self) -> None:
        self.assertEqual(self.options().tls, "verify-full")
        self.assertEqual(self.options("unix:/x").tls, "disable")
        self.assertFalse(self.options().require_binding)
        for tls in ("verify-ca", "require"):
            self.assertTrue(self.options(tls=tls).require_binding)

    def test_what_makes_no_sense_is_refused(self) -> None:
        for options in (
            {"tls": "prefer"},
            {"tls": True},
            {"sslmode": "require"},
            {"channel_binding": "disable"},
            {"channel_binding": "require", "tls": "disable"},
            {"address": "db"},
            {"address": "unix:/x", "tls": "verify-full"},
            {"auth": "password"},
            {"auth": {"a": "kerberos"}},
            {"auth": {"a": "peer"}},
            {"auth": {"a": "token"}, "tls": "require"},
            {"auth": {"a": "cert"}, "tls": "disable"},
        ):
            with self.subTest(options=options):
                self.assertRaises(ConfigError, self.options, **options)

    def test_the_leg_checks_before_it_opens(self) -> None:
        leg = make_target_leg(AgentContext(reactor=None, clock=Clock()))
        target = AgentTarget(
            name="orders", protocol="postgres", address="db", accounts={}, options={}
        )
        self.assertRaises(ConfigError, leg.check, target)


class EndPointTests(SynchronousTestCase):
    """RFC 5929, section 4.1."""

    def certificate(self, algorithm: hashes.SHA256 | hashes.SHA384 | None) -> bytes:
        key: Any = (
            ed25519.Ed25519PrivateKey.generate()
            if algorithm is None
            else ec.generate_private_key(ec.SECP256R1())
        )
        made = Authority.make()
        builder = (
            x509.CertificateBuilder()
            .subject_name(made.certificate.subject)
            .issuer_name(made.certificate.subject)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(made.certificate.not_valid_before_utc)
            .not_valid_after(made.certificate.not_valid_after_utc)
        )
        return builder.sign(key, algorithm).public_bytes(Encoding.DER)

    def test_the_hash_is_that_of_the_signature(self) -> None:
        for algorithm in (hashes.SHA256(), hashes.SHA384()):
            der = self.certificate(algorithm)
            self.assertEqual(end_point(der), hashlib.new(algorithm.name, der).digest())

    def test_some_certificates_have_none(self) -> None:
        self.assertIsNone(end_point(self.certificate(None)))
        self.assertIsNone(end_point(None))
        self.assertIsNone(end_point(b"garbage"))
