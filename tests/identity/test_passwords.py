"""Tests for `hoopgw.identity.passwords`."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient, ScramMechanism
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Hop, Principal
from hoopgw.identity.passwords import (
    ALPHABET,
    HANDLE_LENGTH,
    PASSWORD_LENGTH,
    make_password,
    scram_keys,
    split_user,
)

ALICE = Principal(
    chain=(Hop(id="corp|alice", name="Alice", kind="person"),), session="s", expires=9e9
)


class PasswordTests(SynchronousTestCase):
    """Tests for `make_password`."""

    def test_form(self) -> None:
        """The handle is short and the password strong, both easy to read out."""
        made = make_password(ALICE, "orders", "reader")
        self.assertEqual((len(made.handle), len(made.password)), (8, 28))
        self.assertTrue(set(made.handle + made.password) <= set(ALPHABET))
        self.assertEqual(made.user, f"reader~{made.handle}")
        self.assertGreaterEqual(len(set(ALPHABET)) ** PASSWORD_LENGTH, 2**128)

    def test_unique(self) -> None:
        """No two are alike, salt included."""
        made = [make_password(ALICE, "orders", "reader") for _ in range(20)]
        self.assertEqual(len({one.password for one in made}), 20)
        self.assertEqual(len({one.handle for one in made}), 20)
        self.assertEqual(len({one.stored.salt for one in made}), 20)

    def test_repr(self) -> None:
        """Neither the password nor the keys are shown."""
        made = make_password(ALICE, "orders", "reader")
        self.assertNotIn(made.password, repr(made))
        self.assertNotIn(repr(made.stored.server_key), repr(made))

    def test_a_client_logs_in(self) -> None:
        """An independent implementation of SCRAM takes the verifier for the password's."""
        made = make_password(ALICE, "orders", "reader")
        stored = made.stored
        for password, good in ((made.password, True), (made.password[:-1], False)):
            server = ScramMechanism("SCRAM-SHA-256").make_server(
                lambda _user: (stored.salt, stored.stored_key, stored.server_key, stored.iterations)
            )
            client = ScramClient(["SCRAM-SHA-256"], made.user, password)
            server.set_client_first(client.get_client_first())
            client.set_server_first(server.get_server_first())
            try:
                server.set_client_final(client.get_client_final())
                client.set_server_final(server.get_server_final())
            except Exception:  # of scramp
                self.assertFalse(good)
            else:
                self.assertTrue(good)

    def test_vector(self) -> None:
        """The example of RFC 7677 section 3."""
        stored, server = scram_keys(b"pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
        self.assertEqual(base64.b64encode(stored), b"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=")
        self.assertEqual(base64.b64encode(server), b"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")


class UserTests(SynchronousTestCase):
    """Tests for `split_user`."""

    def test_round_trip(self) -> None:
        """An account may itself have the mark."""
        for account in ("reader", "a~b", "üser", "app role"):
            self.assertEqual(split_user(f"{account}~abcdefgh"), (account, "abcdefgh"))

    def test_plain_names(self) -> None:
        """What has no handle is a plain account."""
        for user in ("reader", "", "~abcdefgh", "reader~", "reader~abc", "reader~ABCDEFGH"):
            self.assertIsNone(split_user(user))

    @given(st.text())
    def test_any(self, user: str) -> None:
        """Nothing is lost or invented."""
        found = split_user(user)
        if found is not None:
            self.assertEqual("~".join(found), user)
            self.assertEqual(len(found[1]), HANDLE_LENGTH)
