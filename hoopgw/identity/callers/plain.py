"""``type = "oidc"``: any OpenID Connect issuer, read as the settings say."""

from __future__ import annotations

from collections.abc import Iterable

from hoopgw.events import HopKind
from hoopgw.identity.callers.caller import Caller, Problem
from hoopgw.identity.claims import kept, text
from hoopgw.identity.jose import Claims
from hoopgw.identity.settings import IssuerSettings

_ORIGIN = ("sub", "azp", "client_id", "sid", "acr")


class PlainCaller:
    """Implements `hoopgw.identity.callers.caller.CallerType`."""

    def problems(self, settings: IssuerSettings) -> Iterable[Problem]:
        """Say what is wrong: the issuer must be named."""
        if not settings.issuer:
            yield Problem("issuer", "is missing", "expected an https URL")

    def read(self, claims: Claims, settings: IssuerSettings, *, is_id_token: bool) -> Caller:
        """Say who a token stands for."""
        subject = text(claims, settings.subject_claim)
        return Caller(
            subject=subject,
            name=claims.get(settings.name_claim),
            kind=kind_by_rule(claims, settings),
            attributes={"tenant": settings.tenant},
            origin=kept(claims, _ORIGIN),
        )


def kind_by_rule(claims: Claims, settings: IssuerSettings) -> HopKind:
    """Return ``agent`` if the settings' rule says so, else what the issuer is for."""
    rule = settings.agents
    if rule is not None:
        value = claims.get(rule.claim)
        values = value if isinstance(value, list) else [value]
        if any(isinstance(one, str) and one in rule.values for one in values):
            return "agent"
    return settings.kind
