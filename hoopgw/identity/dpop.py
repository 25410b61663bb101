"""Proof that a caller holds the key that its token is bound to (DPoP). Pure.

A proof is a small token signed by the caller's key, for one request: method, URL, now, and the
hash of the token that is shown with it. It is good once; who calls keeps the ids (`ProvedKey.id`).

Reference: RFC 9449 sections 4.2, 4.3 and 6.1.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen
from joserfc.jwk import OKPKey

from hoopgw.errors import AuthenticationError
from hoopgw.identity.hops import public_jwk
from hoopgw.identity.jose import PublicKey, encode_part, parse, public_key, sign, verify
from hoopgw.identity.oidc import LEEWAY, moment, text

PROOF_LIFETIME: Final = 60.0
"""Seconds that a proof may be old."""
ALGORITHMS: Final = ("EdDSA", "Ed25519", "ES256")
_TYPE: Final = "dpop+jwt"


@frozen
class ProvedKey:
    """A key that the caller has just used."""

    thumbprint: str
    """RFC 7638, SHA-256: what ``cnf.jkt`` says."""
    id: str
    """Of the proof: it must not be seen twice until `expires`."""
    expires: float
    jwk: Mapping[str, str] | None = None
    """The key, if it is Ed25519: only such a key can sign hops."""

    @property
    def confirmation(self) -> dict[str, Any]:
        """``cnf`` (RFC 7800) of a token that is bound to this key."""
        return {"jkt": self.thumbprint} | ({} if self.jwk is None else {"jwk": dict(self.jwk)})


def make_proof(key: OKPKey, method: str, url: str, now: float, token: str | None = None) -> str:
    """Return a proof for one request, signed with an Ed25519 key."""
    claims: dict[str, Any] = {
        "jti": secrets.token_urlsafe(16),
        "htm": method,
        "htu": _without_query(url),
        "iat": int(now),
    }
    if token is not None:
        claims["ath"] = _hash(token)
    header = {"typ": _TYPE, "alg": "EdDSA", "jwk": dict(key.as_dict(private=False))}
    return sign(header, claims, key)


def check_proof(
    proof: str, method: str, url: str, now: float, token: str | None = None
) -> ProvedKey:
    """Check a proof for a request.

    Args:
        proof: the value of the ``DPoP`` header.
        method: of the request.
        url: of the request, as callers write it; the query does not count.
        now: seconds since the epoch.
        token: the token shown with it, which the proof must name.

    Raises:
        AuthenticationError: it is not good, or for another request or token.

    """
    parsed = parse(proof)
    jwk = parsed.header.get("jwk")
    if parsed.header.get("typ") != _TYPE or not isinstance(jwk, dict) or "d" in jwk:
        raise AuthenticationError("not a DPoP proof")
    key = public_key(jwk)
    verify(parsed, PublicKey(key), ALGORITHMS)
    claims = parsed.claims
    if claims.get("htm") != method or claims.get("htu") != _without_query(url):
        raise AuthenticationError("the DPoP proof is for another request")
    issued = moment(claims, "iat")
    if not now - PROOF_LIFETIME <= issued <= now + LEEWAY:
        raise AuthenticationError("the DPoP proof is not of now")
    if token is not None and claims.get("ath") != _hash(token):
        raise AuthenticationError("the DPoP proof is for another token")
    thumbprint = key.thumbprint()
    return ProvedKey(
        thumbprint,
        f"dpop|{thumbprint}|{text(claims, 'jti')}",
        issued + PROOF_LIFETIME + LEEWAY,
        public_jwk(key) if isinstance(key, OKPKey) else None,
    )


def _hash(token: str) -> str:
    return encode_part(hashlib.sha256(token.encode()).digest()).decode()


def _without_query(url: str) -> str:
    return url.partition("?")[0].partition("#")[0]
