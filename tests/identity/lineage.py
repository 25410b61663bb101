"""A family for tests of chains: a gateway that signs roots, a person, and agents with keys."""

from __future__ import annotations

import functools
import itertools
from typing import Any

from attrs import define, evolve, field
from joserfc.jwk import OKPKey

from hoopgw.events import Hop, Principal
from hoopgw.identity.chains import ShownChain, read_chain
from hoopgw.identity.hops import (
    ALGORITHM,
    HOP_TYPE,
    POP_TYPE,
    SEPARATOR,
    HopClaims,
    mint_hop,
    part_hash,
    prove,
    public_jwk,
)
from hoopgw.identity.jose import sign
from hoopgw.identity.tokens import (
    GATEWAY,
    GatewayToken,
    TokenSigner,
    TokenVerifier,
    target_audience,
)
from tests.identity.forge import NOW

URL = "https://gw.example:8443"
ORDERS = target_audience("orders")
ALICE = Hop(id="corp|alice-1", name="Alice", kind="person", groups=frozenset({"dba", "staff"}))
SESSION = "login-1"


@functools.cache
def key(name: str) -> OKPKey:
    """Return an Ed25519 key; the same name gives the same key."""
    return OKPKey.generate_key("Ed25519")


@define(eq=False)
class Family:
    """Roots and hops, good ones and whatever an attacker could sign."""

    signer: TokenSigner = field(factory=lambda: TokenSigner(key("gateway"), URL))
    url: str = URL
    now: float = NOW

    @property
    def verifier(self) -> TokenVerifier:
        """What knows the gateway's key."""
        return TokenVerifier(self.signer.jwks, self.url)

    def root(self, who: str = "alice", **changes: Any) -> str:
        """Return a log-in that is bound to the key of that name."""
        holder = key(who)
        token = GatewayToken(
            principal=Principal(chain=(ALICE,), session=SESSION, expires=self.now + 3600),
            audience=GATEWAY,
            issued=self.now - 10,
            expires=self.now + 3600,
            confirmation={"jkt": holder.thumbprint(), "jwk": public_jwk(holder)},
        )
        return self.signer.sign(evolve(token, **changes))

    def claims(self, before: str, child: str, **changes: Any) -> dict[str, Any]:
        """Return the claims of a good hop; None leaves one out."""
        values: dict[str, Any] = {
            "prv": part_hash(before.rpartition(SEPARATOR)[2]),
            "iat": int(self.now),
            "exp": int(self.now) + 600,
            "jti": "j1",
            "cnf": {"jwk": public_jwk(key(child))},
            "kind": "agent",
            "name": child,
        }
        return {name: value for name, value in (values | changes).items() if value is not None}

    def forged(
        self,
        before: str,
        parent: str,
        child: str,
        header: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """Append a hop of any claims, signed with the key of that name."""
        members = {"typ": HOP_TYPE, "alg": ALGORITHM} if header is None else header
        part = sign(members, self.claims(before, child, **changes), key(parent))
        return before + SEPARATOR + part

    def forged_pop(
        self, before: str, holder: str, header: dict[str, Any] | None = None, **changes: Any
    ) -> str:
        """Append a pop of any claims, signed with the key of that name."""
        values: dict[str, Any] = {
            "prv": part_hash(before.rpartition(SEPARATOR)[2]),
            "aud": ORDERS,
            "iat": int(self.now),
            "exp": int(self.now) + 60,
            "jti": "p1",
        }
        given = {name: value for name, value in (values | changes).items() if value is not None}
        members = {"typ": POP_TYPE, "alg": ALGORITHM} if header is None else header
        return before + SEPARATOR + sign(members, given, key(holder))

    def chain(self, *names: str, **changes: Any) -> str:
        """Return a root with a hop for each name after the first."""
        token = self.root(names[0])
        for parent, child in itertools.pairwise(names):
            token = self.hop(token, parent, child, **changes)
        return token

    def hop(self, token: str, parent: str, child: str, **changes: Any) -> str:
        """Append a hop as a parent makes it."""
        values: dict[str, Any] = {"name": child, "expires": self.now + 600}
        return mint_hop(token, key(parent), key(child), HopClaims(**(values | changes)), self.now)

    def shown(self, token: str, holder: str, audience: str = ORDERS) -> str:
        """Append a pop as a holder makes it."""
        return prove(token, key(holder), audience, self.now)

    def read(
        self, token: str, audience: str = ORDERS, now: float | None = None, **more: Any
    ) -> ShownChain:
        """Verify."""
        when = self.now if now is None else now
        return read_chain(token, audience, when, self.verifier, **more)
