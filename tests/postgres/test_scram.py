"""Tests for `hoopgw_postgres.scram`, against scramp's client and a real one's messages."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.identity.passwords import scram_keys
from hoopgw_postgres.scram import PLAIN, PLUS, ScramError, ScramServer

SALT, HASH = b"0123456789abcdef", b"\x07" * 32
STORED, SERVER = scram_keys(b"pencil", SALT, 4096)


def server(mechanism: str = PLAIN, nonce: str = "server-nonce") -> ScramServer:
    return ScramServer(mechanism, HASH, SALT, 4096, STORED, SERVER, nonce)


def exchange(mechanism: str, password: str, certificate: bytes = HASH) -> None:
    """Log in with scramp's client, which checks our signature too."""
    binding = ("tls-server-end-point", certificate) if mechanism == PLUS else None
    client = ScramClient([mechanism], "user", password, channel_binding=binding)
    ours = server(mechanism)
    client.set_server_first(ours.begin(client.get_client_first().encode()).decode())
    client.set_server_final(ours.finish(client.get_client_final().encode()).decode())


class ScramServerTests(SynchronousTestCase):
    """Tests for `ScramServer`."""

    def test_the_right_password(self) -> None:
        """With and without channel binding; the client takes our signature."""
        exchange(PLAIN, "pencil")
        exchange(PLUS, "pencil")

    def test_the_wrong_password(self) -> None:
        """Is refused."""
        self.assertRaises(ScramError, exchange, PLAIN, "pen")
        self.assertRaises(ScramError, exchange, PLUS, "pen")

    def test_another_connection(self) -> None:
        """A proof that is bound to another certificate is refused."""
        self.assertRaises(ScramError, exchange, PLUS, "pencil", b"\x08" * 32)

    def test_the_example_of_rfc_7677(self) -> None:
        """Byte for byte."""
        salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
        stored, key = scram_keys(b"pencil", salt, 4096)
        ours = ScramServer(PLAIN, HASH, salt, 4096, stored, key, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
        self.assertEqual(
            ours.begin(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"),
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        )
        self.assertEqual(
            ours.finish(
                b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
            ),
            b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        )

    def test_an_empty_name(self) -> None:
        """As libpq sends it."""
        self.assertTrue(server().begin(b"n,,n=,r=abc").startswith(b"r=abcserver-nonce,s="))

    def test_a_hidden_channel_binding(self) -> None:
        """A client that was told that we have none has been lied to."""
        self.assertRaises(ScramError, server().begin, b"y,,n=,r=abc")

    def test_what_does_not_fit(self) -> None:
        """Mechanism and flag must agree; other identities, kinds and extensions are refused."""
        for mechanism, message in (
            (PLUS, b"n,,n=,r=abc"),
            (PLUS, b"p=tls-unique,,n=,r=abc"),
            (PLAIN, b"p=tls-server-end-point,,n=,r=abc"),
            (PLAIN, b"n,a=root,n=,r=abc"),
            (PLAIN, b"n,,m=x,n=,r=abc"),
            (PLAIN, b"n,,n=,r="),
            (PLAIN, b"n,,n=,r=a\x00b"),
            (PLAIN, b"n,,n=,r=" + b"a" * 2000),
        ):
            self.assertRaises(ScramError, server(mechanism).begin, message)

    def test_once_only(self) -> None:
        """A final message does not count twice, nor without a first."""
        client = ScramClient([PLAIN], "user", "pencil")
        ours = server()
        client.set_server_first(ours.begin(client.get_client_first().encode()).decode())
        final = client.get_client_final().encode()
        self.assertRaises(ScramError, server().finish, final)
        ours.finish(final)
        self.assertRaises(ScramError, ours.finish, final)

    @given(st.binary(max_size=200), st.binary(max_size=200))
    def test_garbage(self, first: bytes, final: bytes) -> None:
        """Whatever comes, only `ScramError` comes out, and nobody gets in."""
        ours = server()
        try:
            ours.begin(first)
        except ScramError:
            ours.begin(b"n,,n=,r=abc")
        self.assertRaises(ScramError, ours.finish, final)

    @given(st.integers(0, 255), st.integers(1, 255))
    def test_a_changed_final_message(self, place: int, change: int) -> None:
        """Any byte of it counts."""
        client = ScramClient([PLAIN], "user", "pencil", c_nonce="client-nonce")
        ours = server()
        client.set_server_first(ours.begin(client.get_client_first().encode()).decode())
        final = bytearray(client.get_client_final().encode())
        final[place % len(final)] ^= change
        self.assertRaises(ScramError, ours.finish, bytes(final))
