"""One issuer of each type with a key of its own, and a good token of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from hoopgw.errors import AuthenticationError
from hoopgw.identity.issuers import Issuer, Issuers
from hoopgw.identity.jose import PublicKey
from hoopgw.identity.oidc import Authenticated, TokenUse
from hoopgw.identity.settings import IssuerSettings
from tests.identity import forge
from tests.identity.callers.shapes import (
    entra_app,
    entra_person,
    github,
    kubernetes,
    settings_of,
    spiffe,
)
from tests.identity.forge import NOW, rsa_key, run, token

Claims = dict[str, Any]


class Keys:
    """One issuer's keys, and how often they were asked for."""

    def __init__(self, name: str, owner: str | None = None) -> None:
        self.known = {"one": PublicKey(rsa_key(name), None, owner)}
        self.asked = 0

    async def find(self, kid: str) -> PublicKey:
        """Return a key."""
        self.asked += 1
        if kid not in self.known:
            raise AuthenticationError("no such key")
        return self.known[kid]


class World:
    """A gateway's issuers: one of each type, each with its own key."""

    def __init__(self, *more: IssuerSettings) -> None:
        self.settings = {
            "github": settings_of("github-actions"),
            "kubernetes": settings_of("kubernetes"),
            "spiffe": settings_of("spiffe"),
            "entra": settings_of("entra", roles=["Migrate"]),
            "azure": settings_of("azure-devops"),
            "plain": forge.settings(alias="idp"),
            **{each.alias: each for each in more},
        }
        keys = {name: Keys("tenant" if name == "azure" else name) for name in self.settings}
        keys["entra"] = keys["azure"]
        self.keys = keys
        made = [Issuer(each, keys[name]) for name, each in self.settings.items()]
        self.issuers = Issuers.of(made, lambda: NOW)

    def sign(self, claims: Claims, whose: str, **header: Any) -> str:
        """Sign claims with an issuer's key."""
        name = "tenant" if whose in ("azure", "entra") else whose
        return token(claims, key=rsa_key(name), **header)

    def let_in(self, text: str, use: TokenUse = TokenUse.ACCESS) -> Authenticated:
        """Say who it is."""
        return run(self.issuers.authenticate(text, use))

    def refuse(self, text: str, why: str | None = None, use: TokenUse = TokenUse.ACCESS) -> None:
        """Expect a refusal."""
        with pytest.raises(AuthenticationError, match=why):
            self.let_in(text, use)


GOOD: Final[Mapping[str, Callable[..., Claims]]] = {
    "github": github,
    "kubernetes": kubernetes,
    "spiffe": spiffe,
    "entra": entra_person,
    "azure": entra_app,
    "plain": forge.claims,
}
"""A good token's claims for each type."""
