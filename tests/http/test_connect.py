"""Tests for `hoopgw.http.connect`: what a client of the proxy may begin with."""

from __future__ import annotations

import base64
from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http.connect import Connect, Credential, Page, parse_opening
from hoopgw.http.errors import MessageError

HOST: Final = "management.azure.com"


def opening(
    target: str = f"{HOST}:443", *fields: str, method: str = "CONNECT", version: str = "1.1"
) -> bytes:
    """Return a head."""
    return "\r\n".join((f"{method} {target} HTTP/{version}", *fields, "", "")).encode("latin-1")


def basic(text: str) -> str:
    """Return a credential's field."""
    return f"Proxy-Authorization: Basic {base64.b64encode(text.encode()).decode()}"


class OpeningTests(SynchronousTestCase):
    """What is read."""

    def test_as_clients_send_it(self) -> None:
        """Python up to 3.11 says HTTP/1.0, and no host."""
        for head in (
            opening(f"{HOST}:443", f"Host: {HOST}:443", "User-Agent: curl/8"),
            opening(f"{HOST}:443", f"Host: {HOST}", "Proxy-Connection: keep-alive"),
            opening("Management.AZURE.com:443", version="1.0"),
            opening(f"{HOST}:443", "Content-Length: 0"),
        ):
            self.assertEqual(parse_opening(head), Connect(host=HOST))
        self.assertEqual(parse_opening(opening("/x", "Host: gw", method="GET")), Page("/x"))

    def test_a_credential(self) -> None:
        """The user is the account that is wanted; none, or "-", is none in particular."""
        for field, found in (
            (basic("deployer:t.o.k"), Credential(token=b"t.o.k", account="deployer")),
            (basic(":t"), Credential(token=b"t")),
            (basic("-:t~u"), Credential(token=b"t~u")),
            ("Proxy-Authorization: bearer t", Credential(token=b"t")),
        ):
            asked = parse_opening(opening(f"{HOST}:443", field))
            self.assertEqual(asked, Connect(host=HOST, credential=found))
            self.assertNotIn("t.o.k", repr(asked))

    def test_other_hosts_than_names(self) -> None:
        """Nothing that could mean another machine, port or reading."""
        for target in (
            *("management.azure.com", "management.azure.com:80", "management.azure.com:0443443"),
            *("127.0.0.1:443", "[::1]:443", "2130706433:443", "0x7f.1:443", "localhost:443"),
            *("user@management.azure.com:443", "management.azure.com.:443", "a..b.com:443"),
            *("https://management.azure.com:443", "/", "*", "xn--\xe4.com:443", "a_b.com:443"),
            *("management.azure.com:443:443", "management.azure.com%2e:443", ":443", "-a.com:443"),
        ):
            with self.subTest(target=target):
                self.assertRaises(MessageError, parse_opening, opening(target))

    def test_what_could_be_read_in_two_ways(self) -> None:
        for fields in (
            (f"Host: {HOST}", f"Host: {HOST}"),
            ("Host: evil.example:443",),
            (f"Host: {HOST}:80",),
            ("Content-Length: 5",),
            ("Transfer-Encoding: chunked",),
            (basic("a:b"), basic("c:d")),
            ("Proxy-Authorization: Basic !!!",),
            (basic("no-colon"),),
            (basic("a:"),),
            (basic("a:b c"),),
            (basic("a\n:b"),),
            ("Proxy-Authorization: Negotiate abc",),
            (" folded: x",),
            ("name : x",),
        ):
            with self.subTest(fields=fields):
                error = self.assertRaises(
                    MessageError, parse_opening, opening(f"{HOST}:443", *fields)
                )
                self.assertNotIn("evil", str(error))

    def test_other_methods(self) -> None:
        for method, target in (("POST", "/x"), ("GET", "http://a.example/"), ("OPTIONS", "*")):
            with self.subTest(method=method):
                head = opening(target, "Host: a.example", method=method)
                error = self.assertRaises(MessageError, parse_opening, head)
                self.assertEqual(error.status, 405)

    @given(st.binary(max_size=200))
    def test_garbage_is_only_ever_refused(self, garbage: bytes) -> None:
        try:
            parse_opening(b"CONNECT " + garbage + b"\r\n\r\n")
        except MessageError:
            return
