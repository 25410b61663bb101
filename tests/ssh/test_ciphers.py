"""Packets: what is sealed opens again, and nothing else does."""

from __future__ import annotations

import contextlib
import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh.ciphers import (
    PACKET_LIMIT,
    ClearOpener,
    ClearSealer,
    IntegrityError,
    Keys,
    Opener,
    Sealer,
    make_opener,
    make_sealer,
)
from hoopgw_ssh.negotiation import AEAD, CTR, MACS

SUITES = [(cipher, b"") for cipher in AEAD] + [(cipher, mac) for cipher in CTR for mac in MACS]
payloads = st.binary(min_size=1, max_size=300)
_SECRETS = Keys(iv=bytes(range(64)), key=bytes(range(64, 128)), integrity=bytes(range(128, 192)))


def suite(name: bytes, mac: bytes) -> tuple[Sealer, Opener]:
    """Return both ends of one direction."""
    return make_sealer(name, mac, _SECRETS), make_opener(name, mac, _SECRETS)


class CipherTests(SynchronousTestCase):
    """Every cipher with every MAC."""

    @given(st.sampled_from(SUITES), st.lists(payloads, min_size=1, max_size=5))
    def test_round_trip(self, names: tuple[bytes, bytes], sent: list[bytes]) -> None:
        """In order, from one buffer; and not before the last byte is there."""
        sealer, opener = suite(*names)
        packets = [sealer.seal(payload, number) for number, payload in enumerate(sent)]
        data, at = b"".join(packets), 0
        for number, payload in enumerate(sent):
            whole = at + len(packets[number])
            for cut in {at, at + 3, at + 4, whole - 1}:
                self.assertIsNone(opener.open(data[:cut], at, number, PACKET_LIMIT))
            found = opener.open(data, at, number, PACKET_LIMIT)
            assert found is not None
            self.assertEqual((bytes(found[0]), found[1]), (payload, whole))
            at = whole

    @given(st.sampled_from(SUITES), payloads, st.data())
    def test_a_changed_bit(
        self, names: tuple[bytes, bytes], payload: bytes, data: st.DataObject
    ) -> None:
        """Anywhere: it is noticed, or the packet is not whole."""
        sealer, opener = suite(*names)
        packet = bytearray(sealer.seal(payload, 0))
        at = data.draw(st.integers(0, len(packet) - 1))
        packet[at] ^= 1 << data.draw(st.integers(0, 7))
        with contextlib.suppress(ProtocolViolationError):
            self.assertIsNone(opener.open(bytes(packet), 0, 0, PACKET_LIMIT))

    def test_another_number(self) -> None:
        """A packet that was left out, or comes twice, makes the next one wrong."""
        for names in SUITES:
            sealer, opener = suite(*names)
            first, second = sealer.seal(b"a", 0), sealer.seal(b"b", 1)
            with self.assertRaises(IntegrityError):
                opener.open(second, 0, 0, PACKET_LIMIT)
            sealer, opener = suite(*names)
            opener.open(first, 0, 0, PACKET_LIMIT)
            with self.assertRaises(IntegrityError):
                opener.open(first, 0, 1, PACKET_LIMIT)

    def test_lengths_are_refused_before_they_are_waited_for(self) -> None:
        """Too long, too short, or not made of blocks: the four bytes are enough."""
        openers = [suite(*names)[1] for names in SUITES]
        for opener in (ClearOpener(), *openers):
            for length in (0, 1, 7, 15, 1_003, PACKET_LIMIT + 16, 2**32 - 16):
                with self.assertRaises(ProtocolViolationError):
                    opener.open(length.to_bytes(4, "big"), 0, 0, PACKET_LIMIT)

    @given(payloads)
    def test_in_clear(self, payload: bytes) -> None:
        """Before there are keys."""
        packet = ClearSealer().seal(payload, 0)
        self.assertEqual(len(packet) % 8, 0)
        found = ClearOpener().open(packet, 0, 0, PACKET_LIMIT)
        assert found is not None
        self.assertEqual((bytes(found[0]), found[1]), (payload, len(packet)))

    def test_padding(self) -> None:
        """At least four bytes, and not more than there are: else padding would be data."""
        for padding, size in ((0, 12), (3, 12), (12, 12), (11, 12), (255, 12)):
            packet = size.to_bytes(4, "big") + bytes([padding]) + os.urandom(size - 1)
            with self.assertRaises(ProtocolViolationError):
                ClearOpener().open(packet, 0, 0, PACKET_LIMIT)

    def test_the_counter_wraps(self) -> None:
        """As RFC 5647 has it: modulo 2^64, whatever the IV."""
        for cipher in AEAD:
            keys = Keys(iv=b"\xff" * 64, key=bytes(64), integrity=b"")
            sealer, opener = make_sealer(cipher, b"", keys), make_opener(cipher, b"", keys)
            for number in range(3):
                self.assertIsNotNone(opener.open(sealer.seal(b"x", 0), 0, number, PACKET_LIMIT))
