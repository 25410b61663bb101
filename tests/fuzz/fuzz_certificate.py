"""Certificates that callers show, and the chains in them.

Invariant: no bytes are a caller unless a CA of ours signed them, and whatever form is signed, a
verifier returns a principal or raises `AuthenticationError`; one chain has one form.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from hoopgw.errors import AuthenticationError
from hoopgw.identity.authority import Authority
from hoopgw.identity.caller_certificates import issue_caller, make_ca, verify_caller
from hoopgw.identity.certified import decode, encode
from hoopgw.identity.ssh_certificates import issue_user, verify_user
from tests.identity.chains_sample import CERTIFIED, GATEWAY, NOW, new_key

_KEY: Final = new_key()
_CA: Final = Authority(make_ca(_KEY, datetime.fromtimestamp(NOW, UTC)), _KEY)
_SSH: Final = Ed25519PrivateKey.generate()
_GOOD: Final = issue_caller(_CA, CERTIFIED, new_key().public_key(), NOW)
_SSH_GOOD: Final = issue_user(_SSH, CERTIFIED, _SSH.public_key(), ["root"], NOW)[0]
SEEDS: Final = (
    b"\0" + _GOOD.public_bytes(Encoding.DER),
    b"\1" + encode(CERTIFIED),
    b"\2" + _SSH_GOOD.encode(),
)


def fuzz(data: bytes) -> None:
    """Read the bytes as a certificate in DER, as a form, or as an SSH certificate."""
    if not data:
        return
    kind, rest = data[0] % 3, data[1:]
    try:
        if kind == 0:
            shown = verify_caller(rest, [_CA.certificate], GATEWAY, NOW)
            assert shown.certified == CERTIFIED
        elif kind == 1:
            assert encode(decode(rest, GATEWAY)) == rest
        else:
            text = rest.decode("latin-1")
            caller = verify_user(text, [_SSH.public_key()], GATEWAY, "orders", "root", NOW)
            assert caller.certified == CERTIFIED
    except AuthenticationError:
        return
