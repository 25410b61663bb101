"""A chain, and the keys of a gateway that certifies it, for tests of certificates."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from hoopgw.events import Budget, Cap, Hop, Node, Principal
from hoopgw.identity.authority import Authority, moment
from hoopgw.identity.caller_certificates import make_ca
from hoopgw.identity.certified import Certified

NOW: Final = 1_800_000_000.0
GATEWAY: Final = "https://gateway.example:8443"
ALICE: Final = Hop(id="corp|alice", name="Ålice", kind="person", groups=frozenset({"dev", "ops"}))
PLANNER: Final = Hop(
    id="corp|alice~planner",
    name="planner",
    kind="agent",
    caps=(Cap(target="orders", actions=frozenset({"Postgres::read"})),),
    isolated=True,
)
CHAIN: Final = Principal(
    chain=(ALICE, PLANNER),
    nodes=(Node(id="node-planner", budget=Budget(rows=10), purpose="tidy up"),),
    session="login-alice",
    expires=NOW + 7200,
    proved=True,
)
CERTIFIED: Final = Certified(issuer=GATEWAY, principal=CHAIN, targets=frozenset({"orders"}))


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def callers_ca() -> Authority:
    """Make a CA of callers."""
    key = new_key()
    return Authority(make_ca(key, moment(NOW)), key)
