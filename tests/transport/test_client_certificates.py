"""What TLS itself says to callers' certificates, before a protocol can say anything."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.identity.authority import Authority, common_name, issue, moment
from hoopgw.identity.caller_certificates import LIFETIME, make_ca
from hoopgw.identity.private_files import key_pem
from hoopgw.processes.worker import ask_for_certificates
from tests.support.certificates import Authority as Web


class ListenerCase(SynchronousTestCase):
    """A listener's context, and clients of it in memory."""

    def setUp(self) -> None:
        self.now = time.time()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        self.ca = Authority(make_ca(key, moment(self.now)), key)
        self.pair = Web.make().issue(self.folder, "web")

    def listener(self, *, asks: bool = True) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pair.certificate, self.pair.key)
        if asks:
            ask_for_certificates(context)
            der = self.ca.certificate.public_bytes(Encoding.DER)
            context.load_verify_locations(cadata=der)
            context.load_verify_locations(cadata=der)  # as when it is told again
        return context

    def shown(
        self,
        ca: Authority | None,
        age: float = 0.0,
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        *,
        asks: bool = True,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> bytes | None:
        """Shake hands; return the certificate that the listener has then. None is none."""
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        client.maximum_version = version
        if ca is not None:
            key = ec.generate_private_key(ec.SECP256R1())
            made = issue(
                ca, common_name("a b"), key.public_key(), moment(self.now - age), LIFETIME, purpose
            )
            path = self.folder / "client"
            path.write_bytes(key_pem(key) + made.public_bytes(Encoding.PEM))
            client.load_cert_chain(path)
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = (
            client.wrap_bio(to_client, to_server),
            self.listener(asks=asks).wrap_bio(to_server, to_client, server_side=True),
        )
        for _ in range(4):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        self.assertEqual(ends[1].version(), "TLSv1.3" if version == 772 else "TLSv1.2")
        return ends[1].getpeercert(binary_form=True)


class AskingTests(ListenerCase):
    """Tests for `ask_for_certificates`."""

    def test_with_and_without(self) -> None:
        """Whoever has none goes on without; in both versions of TLS."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.assertIsNone(self.shown(None, version=version))
            self.assertIsNotNone(self.shown(self.ca, version=version))

    def test_the_time_is_the_protocols_to_tell(self) -> None:
        """One that has ended comes through, so that it can be refused in plain words."""
        self.assertIsNotNone(self.shown(self.ca, 90_000))

    def test_others_are_not_let_in(self) -> None:
        """Another CA, also one of the same name; and what is for servers."""
        key = ec.generate_private_key(ec.SECP256R1())
        namesake = Authority(make_ca(key, moment(self.now)), key)
        with self.assertRaises(ssl.SSLError):
            self.shown(namesake)
        with self.assertRaises(ssl.SSLError):
            self.shown(self.ca, purpose=ExtendedKeyUsageOID.SERVER_AUTH)

    def test_two_cas_of_one_name(self) -> None:
        """While the CA is rotated, both issue: OpenSSL tells them apart by their keys."""
        before, key = self.ca, ec.generate_private_key(ec.SECP256R1())
        after = Authority(make_ca(key, moment(self.now)), key)
        listener = self.listener()
        listener.load_verify_locations(cadata=after.certificate.public_bytes(Encoding.DER))
        self.listener = lambda *, asks=True: listener  # type: ignore[method-assign]  # this one
        for ca in (before, after):
            self.assertIsNotNone(self.shown(ca))

    def test_a_listener_that_does_not_ask(self) -> None:
        """An unrelated certificate, as in ``~/.postgresql``, keeps nobody out then."""
        key = ec.generate_private_key(ec.SECP256R1())
        unrelated = Authority(make_ca(key, moment(self.now)), key)
        self.assertIsNone(self.shown(unrelated, asks=False))
