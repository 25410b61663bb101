"""Chains of delegation that callers show.

Invariant: no bytes verify but those that the keys of the family signed, whatever a parent signs as
the claims of a hop gives a chain of the right shape or `AuthenticationError`, and what it gives
never ends later or reaches deeper than its root.
"""

from __future__ import annotations

import json
from typing import Final

from joserfc import jws
from joserfc.jwk import OKPKey

from hoopgw.errors import AuthenticationError
from hoopgw.events import Cap, Hop, Principal
from hoopgw.identity.chains import read_chain
from hoopgw.identity.hops import (
    ALGORITHM,
    HOP_TYPE,
    NAME,
    HopClaims,
    mint_hop,
    part_hash,
    prove,
    public_jwk,
)
from hoopgw.identity.tokens import (
    GATEWAY,
    GatewayToken,
    TokenSigner,
    TokenVerifier,
    target_audience,
)

NOW: Final = 1_800_000_000.0
_ORDERS: Final = target_audience("orders")
_GATEWAY, _ALICE, _PLANNER = (OKPKey.generate_key("Ed25519") for _ in range(3))
_SIGNER: Final = TokenSigner(_GATEWAY, "https://gw.example")
_VERIFIER: Final = TokenVerifier(_SIGNER.jwks, "https://gw.example")
_ROOT: Final = _SIGNER.sign(
    GatewayToken(
        principal=Principal(
            chain=(Hop(id="corp|1", name="alice", kind="person"),), session="s", expires=NOW + 600
        ),
        audience=GATEWAY,
        issued=NOW,
        expires=NOW + 300,
        confirmation={"jkt": _ALICE.thumbprint(), "jwk": public_jwk(_ALICE)},
    )
)
_GOOD: Final = prove(
    mint_hop(
        _ROOT,
        _ALICE,
        _PLANNER,
        HopClaims(
            name="planner",
            expires=NOW + 300,
            caps=(Cap(target="orders", actions=frozenset({"Postgres::read"})),),
        ),
        NOW,
    ),
    _PLANNER,
    _ORDERS,
    NOW,
)
_CLAIMS: Final = json.dumps(
    {
        "prv": part_hash(_ROOT),
        "iat": 1800000000,
        "exp": 1800000300,
        "jti": "j",
        "cnf": {"jwk": public_jwk(_PLANNER)},
        "kind": "agent",
        "name": "planner",
        "caps": [{"target": "orders", "actions": ["Postgres::read"]}],
        "nest": 1,
        "budget": {"rows": 9},
        "purpose": "p",
        "isolated": True,
    }
).encode()
SEEDS: Final = (b"\0" + _GOOD.encode(), b"\1" + _CLAIMS)


def fuzz(data: bytes) -> None:
    """Verify the bytes as a chain, or as the claims of a hop that its parent signs."""
    if not data:
        return
    holder = None
    if data[0] % 2:
        header = {"typ": HOP_TYPE, "alg": ALGORITHM}
        token = f"{_ROOT}~{jws.serialize_compact(header, data[1:], _ALICE, ['EdDSA'])}"
        holder = _PLANNER.thumbprint()
    else:
        token = data[1:].decode("latin-1")
    try:
        shown = read_chain(token, _ORDERS, NOW, _VERIFIER, holder=holder)
    except AuthenticationError:
        return
    principal = shown.principal
    assert NOW < principal.expires <= NOW + 600
    assert principal.proved
    assert len(principal.chain) <= 2
    assert 0 <= shown.hops_left <= 3
    for hop in principal.chain[1:]:
        assert NAME.fullmatch(hop.name)
        assert not hop.groups
        assert not hop.attested
    assert data[0] % 2 or token == _GOOD, "a chain of another is good"
