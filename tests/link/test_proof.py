"""Certificates that somebody shows as an agent's, without being able to read."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError
from hoopgw.identity.caller_certificates import verify_caller
from hoopgw.link.certificates import issue_agent, make_ca
from hoopgw.link.frames import VERSION, Challenge, Hello
from hoopgw.link.proof import verify_hello
from hoopgw.link.tickets import NONCE_SIZE

NOW = datetime(2027, 1, 1, tzinfo=UTC)
_CA_KEY, _KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
_CA = make_ca(_CA_KEY, NOW)
_GOOD = issue_agent(_CA, _CA_KEY, "web", _KEY.public_key(), NOW).public_bytes(Encoding.DER)


def without_sense() -> list[bytes]:
    """Return certificates of which the library raises errors that are no ValueError."""
    version = b"\xa0\x03\x02\x01\x02"
    curve = bytes.fromhex("06082a8648ce3d030107")
    signature = bytes.fromhex("06082a8648ce3d040302")
    assert all(each in _GOOD for each in (version, curve, signature))
    return [
        _GOOD.replace(version, b"\xa0\x03\x02\x01\x07"),
        _GOOD.replace(curve, curve[:-1] + b"\x63"),
        _GOOD.replace(signature, signature[:-1] + b"\x63"),
    ]


class ShownTests(SynchronousTestCase):
    """Whatever is shown is refused with the one error that refuses."""

    def refused(self, der: bytes) -> None:
        """Show it to all who read such a certificate."""
        hello = Hello(
            version=VERSION,
            kind="control",
            agent="web",
            certificate=der,
            nonce=bytes(NONCE_SIZE),
            signature=b"x",
        )
        with self.assertRaises(AuthenticationError):
            verify_hello(hello, Challenge(version=VERSION, nonce=bytes(NONCE_SIZE)), [_CA], NOW)
        with self.assertRaises(AuthenticationError):
            verify_caller(der, [_CA], "https://gw", NOW.timestamp())

    def test_what_makes_no_sense(self) -> None:
        for der in without_sense():
            self.refused(der)

    @given(st.integers(0, len(_GOOD) - 1), st.integers(0, 255))
    def test_any_byte_changed(self, at: int, byte: int) -> None:
        self.refused(_GOOD[:at] + bytes([byte]) + _GOOD[at + 1 :])
