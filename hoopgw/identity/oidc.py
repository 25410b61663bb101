"""What an issuer's token must say, and what follows from it. Pure: no keys, no clock, no I/O.

`hoopgw.identity.issuers` puts it together with keys that are fetched. The list of checks is the
house's specification, and each line of it is a test in ``tests/identity/test_oidc.py``. The texts
of the errors are for the log; they hold no token, but may hold what a claim said.

Groups that an issuer left out because there are too many (Entra ID: ``_claim_names.groups`` or
``hasgroups``) are asked for at Microsoft Graph, where that is configured; otherwise such a token is
refused, unless the configuration goes on without groups. The endpoint that the token names is never
called.

References: OpenID Connect Core 3.1.3.7, RFC 7519, RFC 8725, RFC 9068.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import field, frozen

from hoopgw.errors import AuthenticationError
from hoopgw.events import Hop, Origin
from hoopgw.identity.audiences import is_foreign
from hoopgw.identity.callers import CALLERS, Caller, attributes
from hoopgw.identity.claims import (
    LEEWAY,
    TEXT_LIMIT,
    display_name,
    member,
    moment,
    optional_text,
    text,
    texts,
)
from hoopgw.identity.hops import SEPARATOR
from hoopgw.identity.jose import Claims, SignedToken
from hoopgw.identity.settings import IssuerSettings

__all__ = [
    "LEEWAY",
    "TEXT_LIMIT",
    "Authenticated",
    "TokenUse",
    "check_audience_is_not_foreign",
    "check_claims",
    "check_header",
    "moment",
    "named_groups",
    "text",
    "texts",
    "unverified_issuer",
]

_CLIENT_CLAIMS: Final = ("azp", "appid", "client_id")


class TokenUse(enum.Enum):
    """As what a token is shown to us."""

    ID = "id_token"
    """It says that a person logged in just now. Taken at the token endpoint only."""
    ACCESS = "access_token"
    """It was made for us as an audience: OAuth access tokens, workload tokens."""


@frozen(kw_only=True)
class Authenticated:
    """Who a token stands for, as its issuer says."""

    hop: Hop
    expires: float
    """Seconds since the epoch; without leeway."""
    issued: float
    session_lifetime: float | None = None
    """Seconds that a session may last, whatever ``expires`` says; as the issuer is configured."""
    client: str | None
    """The application that the token was made for, if it names one."""
    confirmation: Mapping[str, Any] | None
    """The ``cnf`` claim: only the holder of this key may use the token. The caller must check."""
    claims: Claims = field(repr=False)
    origin: Origin = field(factory=Origin)
    is_short_of_groups: bool = False
    """The issuer left the groups out, as they are too many, and there is somebody to ask."""


def unverified_issuer(token: SignedToken) -> str:
    """Return ``iss``, to choose the settings by. Raises `AuthenticationError` if there is none."""
    issuer = token.claims.get("iss")
    if not isinstance(issuer, str) or len(issuer) > 2048:
        raise AuthenticationError("iss is not a string")
    return issuer


def check_header(header: Claims, settings: IssuerSettings, use: TokenUse) -> None:
    """Check what can be checked before a key is looked for.

    An ID token may come without ``typ``, as OpenID Connect does not ask for one (and npm's
    oidc-provider sends none); what else could be mistaken for it then, a logout token, is told by
    its ``events`` (see `check_claims`).

    Raises:
        AuthenticationError: the type or the algorithm is not allowed for this issuer and use.

    """
    kind, algorithm = header.get("typ"), header.get("alg")
    allowed = settings.types if use is TokenUse.ACCESS else settings.types - {"at+jwt"}
    untyped = use is TokenUse.ID or settings.untyped
    if (kind is not None or not untyped) and (
        not isinstance(kind, str) or kind.lower().removeprefix("application/") not in allowed
    ):
        raise AuthenticationError(f"typ {str(kind)[:40]!r} is not allowed")
    if not isinstance(algorithm, str) or algorithm not in settings.algorithms:
        raise AuthenticationError(f"alg {str(algorithm)[:20]!r} is not allowed")


def check_claims(
    claims: Claims,
    settings: IssuerSettings,
    use: TokenUse,
    now: float,
    nonce: str | None = None,
) -> Authenticated:
    """Check the claims of a token whose signature is good.

    Args:
        claims: of the token.
        settings: of the issuer.
        use: as what it is shown.
        now: seconds since the epoch.
        nonce: what the log-in asked for; then the token must repeat it.

    Raises:
        AuthenticationError: the token is not for us, not now, or not from whom we trust.

    """
    _check_issuer(claims, settings)
    check_audience_is_not_foreign(claims)
    if "events" in claims:
        raise AuthenticationError("a security event or logout token")
    issued, expires = _check_times(claims, settings, now)
    _check_audience(claims, settings, use)
    text(claims, "sub")
    caller = CALLERS[settings.type].read(claims, settings, is_id_token=use is TokenUse.ID)
    client = _check_client(claims, settings, use, any_client=caller.any_client)
    if nonce is not None and claims.get("nonce") != nonce:
        raise AuthenticationError("nonce is not the one of this log-in")
    _check_required(claims, settings)
    confirmation = claims.get("cnf")
    if not (confirmation is None or isinstance(confirmation, dict)):
        raise AuthenticationError("cnf is not an object")
    groups = _groups(claims, settings) if caller.has_groups else frozenset()
    return Authenticated(
        hop=_hop(caller, settings, groups or frozenset()),
        expires=expires,
        issued=issued,
        session_lifetime=settings.session_lifetime,
        client=client,
        confirmation=confirmation,
        claims=claims,
        origin=_origin(claims, caller, settings),
        is_short_of_groups=groups is None,
    )


def check_audience_is_not_foreign(claims: Claims) -> None:
    """Refuse what opens another service. May be asked before anything else is known.

    Raises:
        AuthenticationError: the token is, also, for a service that has nothing to do with us.

    """
    audience = claims.get("aud")
    several = audience if isinstance(audience, list) else [audience]
    if any(isinstance(one, str) and is_foreign(one) for one in several):
        raise AuthenticationError("aud is another service's, for which this is a credential")


def named_groups(groups: Iterable[str], settings: IssuerSettings) -> frozenset[str]:
    """Return the issuer's groups as policy calls them."""
    names = settings.group_names
    counting = (names[g] for g in groups if g in names) if names else groups
    return frozenset(settings.groups_prefix + group for group in counting)


def _check_issuer(claims: Claims, settings: IssuerSettings) -> None:
    """Check ``iss``, which a JWT-SVID may lack: its subject says whose it is."""
    issuer = claims.get("iss")
    if settings.type == "spiffe" and (
        issuer is None or settings.issuer == f"spiffe://{settings.trust_domain}"
    ):
        return
    if issuer != settings.issuer:
        raise AuthenticationError("iss is another issuer")


def _check_times(claims: Claims, settings: IssuerSettings, now: float) -> tuple[float, float]:
    expires = moment(claims, "exp")
    # A JWT-SVID need not say when it was made; then it counts from now.
    undated = settings.type == "spiffe" and "iat" not in claims
    issued = min(now, expires - 1) if undated else moment(claims, "iat")
    if expires + LEEWAY <= now:
        raise AuthenticationError("expired")
    if issued - LEEWAY > now:
        raise AuthenticationError("issued in the future")
    if "nbf" in claims and moment(claims, "nbf") - LEEWAY > now:
        raise AuthenticationError("not valid yet")
    if not 0 < expires - issued <= settings.lifetime_limit:
        raise AuthenticationError(f"lifetime is not within {settings.lifetime_limit:.0f} s")
    return issued, expires


def _check_required(claims: Claims, settings: IssuerSettings) -> None:
    if settings.tenant and claims.get("tid") != settings.tenant:
        raise AuthenticationError("tid is another tenant")
    for name, allowed in settings.required.items():
        value = claims.get(name)
        if not isinstance(value, str) or value not in allowed:
            raise AuthenticationError(f"{name} has none of the values that are required")


def _check_audience(claims: Claims, settings: IssuerSettings, use: TokenUse) -> None:
    audience = claims.get("aud")
    several = audience if isinstance(audience, list) else [audience]
    if not several or not all(isinstance(one, str) for one in several):
        raise AuthenticationError("aud is neither a string nor a list of strings")
    ours = settings.audiences if use is TokenUse.ACCESS else {settings.client_id} - {""}
    if not ours.intersection(several):
        raise AuthenticationError("aud does not contain us")
    if len(several) > 1 and "azp" not in claims:
        raise AuthenticationError("several audiences and no azp")


def _check_client(
    claims: Claims, settings: IssuerSettings, use: TokenUse, *, any_client: bool
) -> str | None:
    named = {text(claims, name) for name in _CLIENT_CLAIMS if name in claims}
    if len(named) > 1:
        raise AuthenticationError(f"the client is all of {sorted(named)}")
    client = next(iter(named), None)
    if any_client:
        return client  # the type has looked at it
    if client is not None and client not in settings.allowed_clients:
        raise AuthenticationError(f"client {client!r} is not allowed")
    # Tokens of workloads (GitHub Actions, Kubernetes) name no client; such an issuer has none
    # configured. ID tokens have the client as audience.
    if client is None and use is TokenUse.ACCESS and settings.allowed_clients:
        raise AuthenticationError("no client is named")
    return client


def _hop(caller: Caller, settings: IssuerSettings, groups: frozenset[str]) -> Hop:
    if SEPARATOR in caller.subject:
        raise AuthenticationError("the subject could be taken for that of a child")
    return Hop(
        id=f"{settings.alias}|{caller.subject}",
        name=display_name(caller.name, caller.subject),
        kind=caller.kind,
        groups=groups,
        attributes=attributes({**caller.attributes, "issuer": settings.alias}),
    )


def _origin(claims: Claims, caller: Caller, settings: IssuerSettings) -> Origin:
    persons = {f"{settings.alias}|{subject}" for subject in caller.persons}
    rule = settings.persons
    if rule is not None:
        said = optional_text(claims, rule.claim) or ""
        if said in rule.ids:
            persons.add(rule.ids[said])
        elif rule.unknown == "refuse":
            raise AuthenticationError(f"{rule.claim} {said!r} is no person who is known here")
    return Origin(persons=frozenset(persons), attributes=tuple(sorted(caller.origin.items())))


def _groups(claims: Claims, settings: IssuerSettings) -> frozenset[str] | None:
    """Return the groups, or None if the issuer must be asked for them."""
    if settings.graph is not None and settings.graph.always:
        return None
    if not settings.groups_claim:
        return frozenset()
    elsewhere = member(claims, "_claim_names")
    if settings.groups_claim in elsewhere or claims.get("hasgroups", False) is not False:
        if settings.graph is not None:
            return None
        if settings.groups_overage == "empty":
            return frozenset()
        raise AuthenticationError(
            "the issuer left the groups out because there are too many: have it send only "
            "'groups assigned to the application', or app roles"
        )
    return named_groups(texts(claims, settings.groups_claim), settings)
