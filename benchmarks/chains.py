"""What a chain of delegation costs: to verify, to decide for, and to look up among revoked ones.

``python -m benchmarks chains``: no server, no network.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Final

from attrs import evolve
from joserfc.jwk import OKPKey
from rich.progress import Progress
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.task import Clock

import hoopgw_postgres
from benchmarks.figures import Figure, Section, Target, at_most
from benchmarks.mask_rows import nanoseconds
from hoopgw.control.client import ControlClient
from hoopgw.events import Access, Cap, Hop, Operation, Principal, Resource
from hoopgw.identity.chains import read_chain
from hoopgw.identity.hops import HopClaims, mint_hop, prove, public_jwk
from hoopgw.identity.tokens import (
    GATEWAY,
    GatewayToken,
    TokenSigner,
    TokenVerifier,
    target_audience,
)
from hoopgw.policy.engine import CedarPolicy
from hoopgw.policy.sets import PolicySet

_NOW: Final = 1_800_000_000.0
_ORDERS: Final = target_audience("orders")
_REVOKED: Final = 10_000
_POLICIES: Final = Path(__file__).parents[1] / "conf" / "policies"
_DEPTH: Final = 3


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Measure; see `benchmarks.__main__`."""
    length = min(seconds, 1.0)
    signer = TokenSigner(OKPKey.generate_key("Ed25519"), "https://gw.example")
    verifier = TokenVerifier(signer.jwks, "https://gw.example")
    chain, key = _chain(signer)
    shown = prove(chain, key, _ORDERS, _NOW)
    principal = read_chain(shown, _ORDERS, _NOW, verifier).principal
    policy = CedarPolicy(
        PolicySet.load(_POLICIES, {"postgres": hoopgw_postgres.protocol.cedar_schema}),
        lambda: _NOW,
    )
    operation = _select()
    fresh = itertools.count()

    def cold() -> None:
        # A resource that was never asked about: nothing of the answer is in the cache.
        access = operation.accesses[0]
        other = evolve(access.resource, id=f"orders/public.t{next(fresh)}")
        policy.decide(principal, evolve(operation, accesses=(evolve(access, resource=other),)))

    policy.decide(principal, operation)
    few, many = _client(0), _client(_REVOKED)
    measured = (
        (f"verify depth {_DEPTH} with a pop", 1.5e3, lambda: _verify(shown, verifier)),
        ("decide, cold", 1.5e3, cold),
        ("decide, from the cache", 50.0, lambda: policy.decide(principal, operation)),
        ("look up a lineage, none revoked", None, lambda: few.is_revoked(principal.lineage)),
        (f"look up, {_REVOKED:,} revoked", 5.0, lambda: many.is_revoked(principal.lineage)),
        ("make a pop", None, lambda: prove(chain, key, _ORDERS, _NOW)),
    )
    task = progress.add_task("chains", total=len(measured))
    figures = []
    for name, bound, once in measured:
        samples = tuple(each / 1e3 for each in nanoseconds(once, 1, rounds, length))
        target: Target | None = None if bound is None else at_most(bound)
        figures.append(Figure(name=name, samples=samples, unit="µs", target=target))
        progress.advance(task)
    size = Figure(name="its size", samples=(float(len(shown)),), unit="characters")
    return [
        Section(
            name="Chains of delegation",
            method="least time of each round; the policies are those of conf/policies",
            figures=(*figures, size),
        )
    ]


def _chain(signer: TokenSigner) -> tuple[str, OKPKey]:
    """Return a chain of a person and three agents, each narrower, and the last one's key."""
    key = OKPKey.generate_key("Ed25519")
    person = Hop(id="corp|1", name="alice", kind="person", groups=frozenset({"developers"}))
    chain = signer.sign(
        GatewayToken(
            principal=Principal(chain=(person,), session="login", expires=_NOW + 3600),
            audience=GATEWAY,
            issued=_NOW,
            expires=_NOW + 900,
            confirmation={"jkt": key.thumbprint(), "jwk": public_jwk(key)},
        )
    )
    for number in range(_DEPTH):
        child = OKPKey.generate_key("Ed25519")
        cap = Cap(target="orders", actions=frozenset({"Postgres::read", "Postgres::write"}))
        claims = HopClaims(name=f"agent{number}", expires=_NOW + 600, caps=(cap,))
        chain, key = mint_hop(chain, key, child, claims, _NOW), child
    return chain, key


def _verify(shown: str, verifier: TokenVerifier) -> None:
    read_chain(shown, _ORDERS, _NOW, verifier)


def _select() -> Operation:
    target = Resource(
        type="Hoopgw::Target",
        id="orders",
        parents=(Resource(type="Hoopgw::Environment", id="prod"),),
    )
    database = Resource(type="Postgres::Database", id="orders/shop", parents=(target,))
    table = Resource(type="Postgres::Table", id="orders/public.customers", parents=(database,))
    return Operation(
        protocol="postgres",
        target="orders",
        action="select",
        accesses=(Access(action="Postgres::select", resource=table),),
        text="SELECT name FROM customers",
        context={
            "account": "app",
            "hasWhere": False,
            "multiStatement": False,
            "functions": (),
            "mintsCredentials": False,
            "inTransaction": False,
        },
        digest=bytes(32),
    )


def _client(revoked: int) -> ControlClient:
    """Return a worker's view of what was revoked, without a connection."""
    clock = Clock()
    client = ControlClient(UNIXClientEndpoint(clock, "/nowhere"), clock, lambda: 0.0, "w")
    for number in range(revoked):
        client.revoke(f"node-{number}", time.time() + 3600)
    return client
