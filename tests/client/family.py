"""A log-in in memory for tests of the client library, and what a gateway would make of it."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field
from joserfc.jwk import OKPKey

from hoopgw.client.errors import UNREACHABLE, Refused
from hoopgw.client.signers import ChildSigner, ChildTerms, LoginSigner, Root, Signer
from hoopgw.client.values import Target
from hoopgw.events import Hop, Principal
from hoopgw.identity.chains import read_chain
from hoopgw.identity.hops import public_jwk
from hoopgw.identity.tokens import (
    GATEWAY,
    GatewayToken,
    TokenSigner,
    TokenVerifier,
    target_audience,
)
from tests.identity.forge import NOW

URL = "https://gw.example:8443"
TOKEN_LIFE = 900.0
LOGIN_LIFE = 8 * 3600.0
TARGETS = (
    Target(name="orders", protocol="postgres", host="gw.example", port=6432, accounts=("reader",)),
    Target(name="billing", protocol="postgres", host="gw.example", port=6432),
    Target(name="host", protocol="ssh"),
)


@define(eq=False)
class Gateway:
    """Signs log-ins, and verifies what is shown; implements `hoopgw.client.signers.Logins`."""

    now: float = NOW
    is_down: bool = False
    refreshes: int = 0
    nest: int | None = None
    ca: str | None = "ca.pem"
    _signer: TokenSigner = field(
        factory=lambda: TokenSigner(OKPKey.generate_key("Ed25519", private=True), URL)
    )
    _key: OKPKey = field(factory=lambda: OKPKey.generate_key("Ed25519", private=True))
    _ends: float = NOW + LOGIN_LIFE
    _current: Root | None = None

    def time(self) -> float:
        """Return the time that it is."""
        return self.now

    def current(self) -> Root:
        """Return the log-in, refreshed when its token is over."""
        if self._current is None or self._current.expires <= self.now:
            self._current = self._refreshed()
        return self._current

    def targets(self) -> Sequence[Target]:
        """List them."""
        return TARGETS

    def login(self) -> LoginSigner:
        """Return who is logged in."""
        return LoginSigner(self, self.time)

    def child(self, parent: Signer, name: str = "planner", **terms: object) -> ChildSigner:
        """Make a child, of half an hour if not told otherwise."""
        given = {"name": name, "expires": self.now + 1800.0, **terms}
        return ChildSigner(parent, ChildTerms(**given), now=self.time)  # type: ignore[arg-type]  # of many kinds

    def sees(self, token: str, target: str | None = "orders") -> Principal:
        """Verify what is shown to a target, or to the gateway (None)."""
        audience = GATEWAY if target is None else target_audience(target)
        verifier = TokenVerifier(self._signer.jwks, URL)
        return read_chain(token, audience, self.now, verifier).principal

    def _refreshed(self) -> Root:
        if self.is_down:
            raise Refused(UNREACHABLE, "the gateway does not answer")
        self.refreshes += 1
        expires = min(self.now + TOKEN_LIFE, self._ends)
        alice = Hop(id="corp|alice", name="alice", kind="person", groups=frozenset({"dba"}))
        token = self._signer.sign(
            GatewayToken(
                principal=Principal(chain=(alice,), session="login-1", expires=self._ends),
                audience=GATEWAY,
                issued=self.now - 1,
                expires=expires,
                confirmation={"jkt": self._key.thumbprint(), "jwk": public_jwk(self._key)},
                nest=self.nest,
            )
        )
        return Root(token=token, key=self._key, expires=expires, gateway=URL, ca=self.ca)
