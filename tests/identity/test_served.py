"""Tests for `hoopgw.identity.served`."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from hoopgw.config.gateway import GatewayPaths
from hoopgw.errors import ConfigError, UnavailableError
from hoopgw.identity.keyfiles import (
    create_state,
    renew_gateway_certificate,
    renew_link_certificate,
)
from hoopgw.identity.served import ServedCertificate
from hoopgw.link.certificates import LINK_HOST

NAMES = ["127.0.0.1", "localhost"]


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bytes:
    """Shake hands in memory; return the certificate that the client has seen."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(4):
        for side in (theirs, ours):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    seen = theirs.getpeercert(binary_form=True)
    assert seen is not None
    return seen


class ServedTests(SynchronousTestCase):
    """A listener's context, and files that change."""

    def setUp(self) -> None:
        self.now = datetime.now(UTC)
        self.paths = GatewayPaths(Path(self.mktemp()) / "state")
        create_state(self.paths, NAMES, self.now)
        self.served = ServedCertificate(self.paths.gateway_certificate, self.paths.gateway_key)
        self.context = self.served.serve(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self.client = ssl.create_default_context(cafile=str(self.paths.ca_certificate))

    def seen(self) -> bytes:
        """Return what a new caller sees."""
        return handshake(self.context, self.client, "localhost")

    def test_nothing_changed(self) -> None:
        first = self.seen()
        self.assertFalse(self.served.look())
        self.assertEqual(self.seen(), first)
        self.assertEqual(self.served.der, first)

    def test_a_renewal_is_shown(self) -> None:
        first = self.seen()
        renew_gateway_certificate(self.paths, NAMES, self.now)
        self.assertEqual(self.seen(), first)
        self.assertTrue(self.served.look())
        self.assertNotEqual(self.seen(), first)
        self.assertEqual(self.seen(), self.served.der)

    def test_a_handshake_that_has_begun(self) -> None:
        """It ends with the certificate that it began with: channel binding relies on it."""
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours = self.context.wrap_bio(to_server, to_client, server_side=True)
        began = self.served.der
        renew_gateway_certificate(self.paths, NAMES, self.now)
        self.served.look()
        theirs = self.client.wrap_bio(to_client, to_server, server_hostname="localhost")
        for side in (theirs, ours, theirs, ours):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
        self.assertEqual(theirs.getpeercert(binary_form=True), began)

    def test_half_a_renewal(self) -> None:
        """A new key without its certificate is not taken, and the old pair goes on."""
        first = self.seen()
        old = self.paths.gateway_certificate.read_bytes()
        renew_gateway_certificate(self.paths, NAMES, self.now)
        new = self.paths.gateway_certificate.read_bytes()
        self.paths.gateway_certificate.write_bytes(old)
        self.assertRaises(UnavailableError, self.served.look)
        self.assertEqual(self.seen(), first)
        self.paths.gateway_certificate.write_bytes(new)
        self.assertTrue(self.served.look())

    def test_files_that_cannot_be_used(self) -> None:
        """Missing, garbage, or open to others: the earlier pair is served on."""
        first, key = self.seen(), self.paths.gateway_key
        good = key.read_bytes()
        key.write_bytes(b"garbage")
        self.assertRaises(UnavailableError, self.served.look)
        key.unlink()
        self.assertRaises(ConfigError, self.served.look)
        key.write_bytes(good)
        key.chmod(0o644)
        error = self.assertRaises(ConfigError, self.served.look)
        self.assertIn("chmod", str(error))
        key.chmod(0o640)  # a group may read an operator's key
        self.assertFalse(self.served.look())
        self.assertEqual(self.seen(), first)

    def test_another_users_key(self) -> None:
        """It is known to that user, however closed the file is."""
        if os.geteuid() != 0:
            raise SkipTest("only root can give files away")
        os.chown(self.paths.gateway_key, 65534, 65534)
        self.assertIn("user 65534", str(self.assertRaises(ConfigError, self.served.look)))

    def test_the_link(self) -> None:
        """An agent trusts the renewed listener, as it comes from the same CA."""
        served = ServedCertificate(self.paths.link_certificate, self.paths.link_key)
        context = served.serve(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        client = ssl.create_default_context(cafile=str(self.paths.link_ca_certificate))
        first = handshake(context, client, LINK_HOST)
        renew_link_certificate(self.paths, self.now)
        self.assertTrue(served.look())
        self.assertNotEqual(handshake(context, client, LINK_HOST), first)
