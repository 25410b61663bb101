"""Tests for `hoopgw_ssh.endpoints`: where forwards lead, and where none does."""

from __future__ import annotations

import contextlib
import ipaddress

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh.endpoints import Endpoint, address_of, never_leads_to, read_direct, read_listen
from hoopgw_ssh.wire import string
from tests.ssh.judge_case import direct

GATEWAYS = ("gw.example", "192.0.2.1")


def why(host: str, port: int = 80) -> str:
    """Return why a forward leads nowhere, as a client asks for it."""
    return never_leads_to(read_direct(b"direct-tcpip", direct(host, port)), GATEWAYS, ())


class PlaceTests(SynchronousTestCase):
    """Where none leads to."""

    def test_the_host_itself(self) -> None:
        for host in (
            "localhost",
            "LocalHost",
            "localhost.",
            "foo.localhost",
            "localhost.localdomain",
            "a.localhost.localdomain",
            "localhost4",
            "localhost6.localdomain6",
            "ip6-localhost",
            "127.0.0.1",
            "127.1.2.3",
            "127.1",
            "127.0.1",
            "0x7f000001",
            "0x7f.0.0.1",
            "2130706433",
            "017700000001",
            "0177.0.0.1",
            "0",
            "0.0.0.0",  # noqa: S104  # nothing is bound
            "::1",
            "[::1]",
            "::",
            "::ffff:127.0.0.1",
            "0:0:0:0:0:ffff:7f00:1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
        ):
            self.assertIn("to the host itself", why(host), host)

    def test_metadata_and_link_local(self) -> None:
        for host in (
            "169.254.169.254",
            "169.254.170.2",
            "0xa9fea9fe",
            "2852039166",
            "169.16689662",
            "fe80::1",
            "fe80::1%eth0",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "168.63.129.16",
            "100.100.100.200",
        ):
            self.assertIn("link-local", why(host), host)
        for host in ("metadata", "metadata.google.internal", "METADATA.google.internal."):
            self.assertIn("metadata", why(host), host)

    def test_the_gateway_and_others(self) -> None:
        self.assertIn("gateway itself", why("gw.example"))
        self.assertIn("gateway itself", why("GW.example."))
        self.assertIn("gateway itself", why("192.0.2.1"))
        self.assertIn("gateway itself", why("0xc0000201"))
        self.assertIn("to SSH", why("db1", 22))
        self.assertIn("many hosts", why("224.0.0.1"))
        self.assertTrue(why(""))

    def test_elsewhere(self) -> None:
        for host in ("db1", "10.0.0.5", "db1.internal", "2001:db8::1", "1.2.3.4.5", "127.x"):
            self.assertEqual(why(host), "", host)
        self.assertEqual(never_leads_to(Endpoint("/run/x", is_socket=True), (), ()), "")

    def test_lifted(self) -> None:
        here = Endpoint("127.0.0.1", 5432)
        self.assertTrue(never_leads_to(here, (), ()))
        self.assertEqual(never_leads_to(here, (), ("127.0.0.1:5432",)), "")
        self.assertTrue(never_leads_to(here, (), ("127.0.0.1:54",)))


class ReadingTests(SynchronousTestCase):
    """What clients and targets send."""

    def test_one_name_for_one_place(self) -> None:
        for host, known in (("DB1.", "db1"), ("10.0.0.05", "10.0.0.5"), ("[2001:DB8::1]", None)):
            found = read_direct(b"direct-tcpip", direct(host, 80))
            self.assertEqual(found.host, known or "2001:db8::1")
        self.assertEqual(Endpoint("2001:db8::1", 80).text, "[2001:db8::1]:80")

    def test_listening(self) -> None:
        self.assertEqual(read_listen(b"tcpip-forward", string(b"") + bytes(4)), Endpoint("", 0))
        name = b"streamlocal-forward@openssh.com"
        found = read_listen(name, string(b"/run//./x"))
        self.assertEqual(found, Endpoint("/run/x", is_socket=True))
        for data in (b"", string(b"x"), string(b"/a/../b"), string(b"/a") + b"x"):
            with self.assertRaises(ProtocolViolationError):
                read_listen(name, data)

    @given(st.binary(max_size=60))
    def test_bytes(self, extra: bytes) -> None:
        """Whatever they are, there is one kind of fault."""
        for kind in (b"direct-tcpip", b"direct-streamlocal@openssh.com", b"forwarded-tcpip"):
            with contextlib.suppress(ProtocolViolationError):
                read_direct(kind, extra)

    @given(st.ip_addresses(v=4))
    def test_numbers(self, address: ipaddress.IPv4Address) -> None:
        """All ways to write an address are that address."""
        one, two, three, four = address.packed
        number = int(address)
        for text in (
            str(address),
            str(number),
            hex(number),
            f"0{number:o}",
            f"{one}.{number & 0xFFFFFF}",
            f"{one}.{two}.{number & 0xFFFF}",
            f"{one:#x}.0{two:o}.{three}.{four:#x}",
            f"::ffff:{address}",
        ):
            self.assertEqual(address_of(text), address, text)
