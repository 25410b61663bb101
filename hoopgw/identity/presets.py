"""What each type of issuer takes for granted, unless the configuration says otherwise.

Data only. What a type asks of its tokens is in `hoopgw.identity.callers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from attrs import frozen

from hoopgw.events import HopKind

IssuerType: TypeAlias = Literal[
    "oidc", "entra", "azure-devops", "github-actions", "kubernetes", "spiffe"
]

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR

_SIGNATURES_OF_SPIFFE: Final = frozenset(
    {"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}
)


@frozen(kw_only=True)
class Preset:
    """Defaults of `hoopgw.identity.settings.IssuerSettings` for one type."""

    issuer: str = ""
    """With ``{tenant}`` and ``{trust_domain}`` filled in; empty if it must be configured."""
    issuer_v1: str = ""
    """The same for tokens of version 1.0, where the type has such."""
    kind: HopKind = "person"
    algorithms: frozenset[str] = frozenset({"RS256"})
    types: frozenset[str] = frozenset({"jwt", "at+jwt"})
    untyped: bool = False
    """Whether the header may be without ``typ``."""
    groups_claim: str = "groups"
    name_claim: str = "name"
    lifetime_limit: float = DAY
    session_lifetime: float | None = None
    key_uses: frozenset[str | None] = frozenset({"sig"})
    """Values of a key's ``use`` with which it may verify; None is a key without it."""


PRESETS: Final[Mapping[IssuerType, Preset]] = {
    "oidc": Preset(),
    # Tokens of managed identities live 24 hours and 5 minutes, those with continuous access
    # evaluation up to 28 hours.
    "entra": Preset(
        issuer="https://login.microsoftonline.com/{tenant}/v2.0",
        issuer_v1="https://sts.windows.net/{tenant}/",
        lifetime_limit=29 * HOUR,
    ),
    "azure-devops": Preset(
        issuer="https://login.microsoftonline.com/{tenant}/v2.0",
        issuer_v1="https://sts.windows.net/{tenant}/",
        kind="workload",
        groups_claim="",
        lifetime_limit=29 * HOUR,
    ),
    # The token lives five minutes, and the job, which can always get another, up to hours.
    "github-actions": Preset(
        issuer="https://token.actions.githubusercontent.com",
        kind="workload",
        types=frozenset({"jwt"}),
        groups_claim="",
        lifetime_limit=HOUR,
        session_lifetime=HOUR,
    ),
    "kubernetes": Preset(
        kind="workload",
        algorithms=frozenset({"RS256", "ES256"}),
        types=frozenset({"jwt"}),
        untyped=True,
        groups_claim="",
    ),
    "spiffe": Preset(
        issuer="spiffe://{trust_domain}",
        kind="workload",
        algorithms=_SIGNATURES_OF_SPIFFE,
        types=frozenset({"jwt", "jose"}),
        untyped=True,
        groups_claim="",
        key_uses=frozenset({"jwt-svid", "sig"}),
    ),
}
