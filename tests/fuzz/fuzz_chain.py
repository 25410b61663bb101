"""Chains of delegation that callers show.

Invariant: no bytes verify but those that the keys of the family signed, whatever a parent signs as
the claims of a hop gives a chain of the right shape or `AuthenticationError`, and what it gives
never ends later or reaches deeper than its root.
"""

from __future__ import annotations

import json
from typing import Final

from joserfc import jws

from hoopgw.errors import AuthenticationError
from hoopgw.events import Cap
from hoopgw.identity.hops import ALGORITHM, HOP_TYPE, NAME
from tests.identity.lineage import Family, key

_FAMILY: Final = Family()
_ROOT: Final = _FAMILY.root()
_READ: Final = (Cap(target="orders", actions=frozenset({"Postgres::read"})),)
_GOOD: Final = _FAMILY.shown(_FAMILY.hop(_ROOT, "alice", "planner", caps=_READ), "planner")
_CLAIMS: Final = json.dumps(
    {
        **_FAMILY.claims(_ROOT, "planner"),
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
        token = f"{_ROOT}~{jws.serialize_compact(header, data[1:], key('alice'), ['EdDSA'])}"
        holder = key("planner").thumbprint()
    else:
        token = data[1:].decode("latin-1")
    try:
        shown = _FAMILY.read(token, holder=holder)
    except AuthenticationError:
        return
    principal = shown.principal
    assert _FAMILY.now < principal.expires <= _FAMILY.now + 3600
    assert principal.proved
    assert len(principal.chain) <= 2
    assert 0 <= shown.hops_left <= 3
    for hop in principal.chain[1:]:
        assert NAME.fullmatch(hop.name)
        assert not hop.groups
        assert not hop.attested
    assert data[0] % 2 or token == _GOOD, "a chain of another is good"
