"""Tokens that callers show.

Invariant: no bytes verify unless our key signed them, and whatever claims are signed, a verifier
returns a principal or raises `AuthenticationError`.
"""

from __future__ import annotations

from typing import Final

from joserfc import jws
from joserfc.jwk import OKPKey

from hoopgw.errors import AuthenticationError
from hoopgw.events import Hop, Node, Principal
from hoopgw.identity.jose import parse
from hoopgw.identity.tokens import GATEWAY, GatewayToken, TokenSigner, TokenVerifier

ISSUER: Final = "https://gw.example"
NOW: Final = 1_800_000_000.0
_KEY: Final = OKPKey.generate_key("Ed25519")
_SIGNER: Final = TokenSigner(_KEY, ISSUER)
_VERIFIER: Final = TokenVerifier(_SIGNER.jwks, ISSUER)
_GOOD: Final = _SIGNER.sign(
    GatewayToken(
        principal=Principal(
            chain=(
                Hop(id="corp|1", name="alice", kind="person", groups=frozenset({"dba"})),
                Hop(id="corp|2", name="planner", kind="agent"),
            ),
            nodes=(Node(id="n1"),),
            session="s1",
            expires=NOW + 600,
        ),
        audience=GATEWAY,
        issued=NOW,
        expires=NOW + 300,
    )
)
_PAYLOAD: Final = b"""{"iss":"https://gw.example","aud":"hoopgw","sub":"corp|1","name":"alice",
"kind":"person","groups":["dba"],"sid":"s1","iat":1800000000,"exp":1800000300,"jti":"t1",
"act":{"sub":"corp|2","name":"planner","kind":"agent","groups":[]}}"""
SEEDS: Final = (b"\0" + _GOOD.encode(), b"\1" + _PAYLOAD)


def fuzz(data: bytes) -> None:
    """Verify the bytes as a token, or claims of the bytes signed with our key."""
    if not data:
        return
    if data[0] % 2:
        header = {"typ": "at+jwt", "alg": "EdDSA", "kid": _SIGNER.kid}
        token = jws.serialize_compact(header, data[1:], _KEY, ["EdDSA"])
    else:
        token = data[1:].decode("latin-1")
    try:
        principal = _VERIFIER.verify(token, GATEWAY, NOW)
    except AuthenticationError:
        return
    assert principal.expires > NOW
    assert len(principal.chain) <= 6
    assert data[0] % 2 or parse(token) == parse(_GOOD), "a token of another is good"
