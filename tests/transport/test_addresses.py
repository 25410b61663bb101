"""Tests for `hoopgw.transport.addresses`."""

from __future__ import annotations

import socket

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from hoopgw.transport.addresses import address_of


class AddressTests(SynchronousTestCase):
    """Peers, as the rest of the house names them."""

    def setUp(self) -> None:
        self.six = socket.socket(socket.AF_INET6)
        self.addCleanup(self.six.close)

    def test_one_listener_for_both_versions(self) -> None:
        """A client that came by IPv4 is known by its IPv4 address."""
        try:
            self.six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self.six.bind(("::", 0))
        except OSError as error:
            raise SkipTest("no IPv6 here") from error
        self.six.listen()
        with socket.create_connection(("127.0.0.1", self.six.getsockname()[1])) as client:
            server, _ = self.six.accept()
            self.addCleanup(server.close)
            expected = IPv4Address("TCP", *client.getsockname())
            self.assertEqual(address_of(server, server.getpeername), expected)

    def test_others(self) -> None:
        """What is no IPv4 address stays what it is."""
        for host in ("2001:db8::1", "::1", "::ffff:1:2"):
            found = address_of(self.six, lambda host=host: (host, 22, 0, 0))
            self.assertEqual(found, IPv6Address("TCP", host, 22))
        four, path = socket.socket(socket.AF_INET), socket.socket(socket.AF_UNIX)
        for each in (four, path):
            self.addCleanup(each.close)
        self.assertEqual(
            address_of(four, lambda: ("192.0.2.1", 5)), IPv4Address("TCP", "192.0.2.1", 5)
        )
        self.assertEqual(address_of(path, lambda: ""), UNIXAddress(None))

    def test_gone(self) -> None:
        """Nobody can be named."""
        self.assertEqual(address_of(self.six, self.six.getpeername), UNIXAddress(None))
