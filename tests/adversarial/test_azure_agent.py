"""Attacks of a gateway that was taken over on the agent's leg to HTTPS targets."""

from __future__ import annotations

from tests.http.test_outbound import GET, OutboundCase


class GatewayTests(OutboundCase):
    """What the agent does not pass on, whoever asks."""

    def test_a_url_of_another_host(self) -> None:
        """Front ends serve many vaults: of a URL its host counts, and the token is good for all."""
        for url in (b"https://other.vault.azure.net/secrets/db", b"http://gw.example/a", b"*"):
            with self.subTest(url=url):
                self.make()
                host = url.split(b"/")[2] if b"/" in url else b"gw.example"
                method = b"OPTIONS" if url == b"*" else b"GET"
                got = self.send(method + b" " + url + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
                self.assertEqual(got, b"")
                self.assert_refused(403, b"its own target")

    def test_methods_that_give_the_credential_back(self) -> None:
        for method in (b"TRACE", b"TRACK"):
            self.make()
            self.assertEqual(self.send(method + b" / HTTP/1.1\r\nHost: x\r\n\r\n"), b"")
            self.assert_refused(403)
        self.make()
        self.assertEqual(self.send(b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n"), b"")
        self.assert_refused(403)

    def test_a_floor_that_only_reads(self) -> None:
        """A field may not make a DELETE of a GET, nor another path or host of this one."""
        fields = b"".join(
            name + b": stolen\r\n"
            for name in (
                *(b"X-HTTP-Method-Override", b"X-HTTP-Method", b"X-Method-Override"),
                *(b"X-Original-URL", b"X-Rewrite-URL", b"X-Forwarded-Host", b"X-Host"),
                *(b"Forwarded", b"X-Original-Host"),
            )
        )
        self.make(read_only=True)
        self.assertNotIn(b"stolen", self.send(GET[:-2] + fields + b"\r\n"))

    def test_a_second_request_behind_one_that_is_refused(self) -> None:
        """Nothing passes after it."""
        self.make(read_only=True)
        self.assertEqual(self.send(b"DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n" + GET), b"")
        self.assert_refused(403)
        self.assertEqual(self.send(GET), b"")


class AtHandGatewayTests(GatewayTests):
    """The same where the credential was fetched before, so that whole requests pass at once."""

    at_hand = ((b"Authorization", b"Bearer real"),)
