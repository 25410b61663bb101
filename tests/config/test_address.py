"""Addresses in a configuration."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.config.address import read_address
from hoopgw.transport import Address

BASE = Path("/etc/hoopgw")


class ReadAddressTests(SynchronousTestCase):
    """Tests for `read_address`."""

    def test_good(self) -> None:
        """All three forms."""
        for text, address in {
            "db.example:5432": Address("db.example", 5432),
            "[::1]:5432": Address("::1", 5432),
            "unix:/run/x.sock": Address(path="/run/x.sock"),
            "unix:x.sock": Address(path="/etc/hoopgw/x.sock"),
        }.items():
            with self.subTest(text):
                self.assertEqual(read_address(text, BASE), address)

    def test_bad(self) -> None:
        """No port, no host, a port out of range, a socket's path that the system does not take."""
        for text in (
            *("", "a", "a:", ":1", "a:0", "a:65536", "a:1x", "[::1:5", "::1:5", "a b:1", "ä:1"),
            *("unix:", "unix:/" + "a" * 107, "http://a:1", "a" * 254 + ":1"),
        ):
            with self.subTest(text):
                self.assertRaises(ValueError, read_address, text, BASE)

    @given(st.text() | st.text().map("unix:{}".format) | st.text().map("{}:5432".format))
    def test_whatever_is_read_is_read_again(self, text: str) -> None:
        """The text of an address is the same address; nothing but `ValueError` comes out."""
        try:
            address = read_address(text, BASE)
        except ValueError:
            return
        self.assertEqual(read_address(str(address), BASE), address)
