"""Offers, and what is chosen of two."""

from __future__ import annotations

import contextlib

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh.negotiation import (
    AEAD,
    CTR,
    EXT_INFO_CLIENT,
    EXT_INFO_SERVER,
    MACS,
    STRICT_CLIENT,
    STRICT_SERVER,
    Offer,
    choose,
    guessed_wrong,
    parse_offer,
)

OURS = Offer(
    kex=(b"mlkem768x25519-sha256", b"curve25519-sha256", EXT_INFO_SERVER, STRICT_SERVER),
    host_keys=(b"ssh-ed25519", b"rsa-sha2-512"),
    ciphers_up=(*AEAD, *CTR),
    ciphers_down=(*AEAD, *CTR),
    macs_up=MACS,
    macs_down=MACS,
)
THEIRS = evolve(
    OURS, kex=(b"curve25519-sha256", EXT_INFO_CLIENT, STRICT_CLIENT), host_keys=(b"rsa-sha2-512",)
)
names = st.lists(st.text("abcdefgh-@.", min_size=1, max_size=12).map(str.encode), max_size=5)


class OfferTests(SynchronousTestCase):
    """KEXINIT, read and written."""

    @given(st.lists(names.map(tuple), min_size=8, max_size=8), st.booleans())
    def test_round_trip(self, lists: list[tuple[bytes, ...]], guesses: bool) -> None:
        """All that is of use comes back."""
        offer = Offer(
            kex=lists[0],
            host_keys=lists[1],
            ciphers_up=lists[2],
            ciphers_down=lists[3],
            macs_up=lists[4],
            macs_down=lists[5],
            compressions_up=lists[6],
            compressions_down=lists[7],
            guesses=guesses,
        )
        self.assertEqual(parse_offer(offer.encode()[1:]), offer)

    @given(st.binary(max_size=400))
    def test_garbage(self, body: bytes) -> None:
        """Is refused, or is an offer."""
        with contextlib.suppress(ProtocolViolationError):
            parse_offer(body)

    def test_names(self) -> None:
        """Empty names, spaces, long names, and too many are refused."""
        for kex in ((b"a", b""), (b"a b",), (b"x" * 65,), (b"a",) * 201):
            with self.assertRaises(ProtocolViolationError):
                parse_offer(evolve(OURS, kex=kex).encode()[1:])
        with self.assertRaises(ProtocolViolationError):
            parse_offer(OURS.encode()[1:] + b"x")


class ChoiceTests(SynchronousTestCase):
    """What is chosen."""

    def test_the_clients_order(self) -> None:
        """Decides."""
        choice = choose(evolve(THEIRS, ciphers_up=(b"aes128-ctr", AEAD[1])), OURS)
        self.assertEqual(choice.cipher_up, b"aes128-ctr")
        self.assertEqual(choice.cipher_down, AEAD[0])
        self.assertEqual(choice.host_key, b"rsa-sha2-512")

    def test_macs_are_not_needed_where_the_cipher_authenticates(self) -> None:
        """A peer that has none of ours is taken all the same, in that direction."""
        other = evolve(THEIRS, macs_up=(b"hmac-sha1",), macs_down=(b"hmac-sha1",))
        self.assertEqual(choose(other, OURS).mac_up, b"")
        with self.assertRaisesRegex(ProtocolViolationError, "no MAC in common.*hmac-sha1"):
            choose(evolve(other, ciphers_down=(b"aes256-ctr",)), OURS)

    def test_marks_are_no_algorithms(self) -> None:
        """Though both sides have one of the same name, it is not exchanged by."""
        both = (STRICT_SERVER, EXT_INFO_SERVER)
        with self.assertRaisesRegex(ProtocolViolationError, "no key exchange in common"):
            choose(evolve(THEIRS, kex=both), evolve(OURS, kex=both))

    def test_compression(self) -> None:
        """Only none."""
        with self.assertRaisesRegex(ProtocolViolationError, "no compression"):
            choose(evolve(THEIRS, compressions_down=(b"zlib",)), OURS)

    def test_nothing_in_common(self) -> None:
        """Is told by what."""
        for offer, what in (
            (evolve(THEIRS, kex=(b"other",)), "key exchange"),
            (evolve(THEIRS, host_keys=(b"other",)), "host key"),
        ):
            with self.assertRaisesRegex(ProtocolViolationError, f"no {what} in common"):
                choose(offer, OURS)

    def test_guesses(self) -> None:
        """A guess is good if it is what both want first."""
        guess = evolve(OURS, guesses=True)
        self.assertFalse(guessed_wrong(guess, OURS))
        self.assertFalse(guessed_wrong(THEIRS, OURS))
        self.assertTrue(guessed_wrong(evolve(guess, kex=(b"curve25519-sha256",)), OURS))
        self.assertTrue(guessed_wrong(evolve(guess, host_keys=(b"rsa-sha2-512",)), OURS))
