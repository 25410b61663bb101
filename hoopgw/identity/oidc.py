"""What an issuer's token must say, and what follows from it. Pure: no keys, no clock, no I/O.

`hoopgw.identity.issuers` puts it together with keys that are fetched. The list of checks is the
house's specification, and each line of it is a test in ``tests/identity/test_oidc.py``. The texts
of the errors are for the log; they hold no token, but may hold what a claim said.

Groups that an issuer left out because there are too many (Entra ID: ``_claim_names.groups`` or
``hasgroups``) are not asked for at Microsoft Graph yet: such a token is refused, unless the
configuration goes on without groups. The endpoint that the token names is never called.

References: OpenID Connect Core 3.1.3.7, RFC 7519, RFC 8725, RFC 9068.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen

from hoopgw.errors import AuthenticationError
from hoopgw.events import Hop, HopKind
from hoopgw.identity.jose import Claims, SignedToken
from hoopgw.identity.settings import IssuerSettings

LEEWAY: Final = 30.0
"""Seconds that an issuer's clock and ours may differ."""
TEXT_LIMIT: Final = 512
GROUPS_LIMIT: Final = 1000
_LATEST: Final = 1e11  # a moment beyond it is a mistake in the unit, or an attack on arithmetic
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
    if (kind is not None or use is TokenUse.ACCESS) and (
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
    if claims.get("iss") != settings.issuer:
        raise AuthenticationError("iss is another issuer")
    if "events" in claims:
        raise AuthenticationError("a security event or logout token")
    issued, expires = _check_times(claims, settings, now)
    client = _check_audience(claims, settings, use)
    if nonce is not None and claims.get("nonce") != nonce:
        raise AuthenticationError("nonce is not the one of this log-in")
    if settings.tenant and claims.get("tid") != settings.tenant:
        raise AuthenticationError("tid is another tenant")
    for name, allowed in settings.required.items():
        value = claims.get(name)
        if not isinstance(value, str) or value not in allowed:
            raise AuthenticationError(f"{name} has none of the values that are required")
    confirmation = claims.get("cnf")
    if not (confirmation is None or isinstance(confirmation, dict)):
        raise AuthenticationError("cnf is not an object")
    return Authenticated(
        hop=_hop(claims, settings),
        expires=expires,
        issued=issued,
        session_lifetime=settings.session_lifetime,
        client=client,
        confirmation=confirmation,
        claims=claims,
    )


def moment(claims: Claims, name: str) -> float:
    """Return a claim that is a moment, in seconds since the epoch.

    Raises:
        AuthenticationError: it is missing, or not a number as it should be.

    """
    value = claims.get(name)
    # bool is an int to Python, and JSON's true is no moment.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AuthenticationError(f"{name} is not a number")
    if not 0 <= value < _LATEST or not math.isfinite(value):
        raise AuthenticationError(f"{name} is out of range")
    return float(value)


def text(claims: Claims, name: str) -> str:
    """Return a claim that is text: printable, not empty, at most `TEXT_LIMIT` characters.

    Raises:
        AuthenticationError: it is missing, or not so.

    """
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_LIMIT or not value.isprintable():
        raise AuthenticationError(f"{name} is not text of 1 to {TEXT_LIMIT} characters")
    return value


def texts(claims: Claims, name: str) -> frozenset[str]:
    """Return a claim that is a list of strings, none if it is missing.

    Raises:
        AuthenticationError: it is something else, or longer than `GROUPS_LIMIT`.

    """
    values = claims.get(name, [])
    if not isinstance(values, list) or len(values) > GROUPS_LIMIT:
        raise AuthenticationError(f"{name} is not a list of at most {GROUPS_LIMIT} strings")
    for value in values:
        if not isinstance(value, str) or not 0 < len(value) <= TEXT_LIMIT:
            raise AuthenticationError(f"{name} is not a list of strings")
    return frozenset(values)


def _check_times(claims: Claims, settings: IssuerSettings, now: float) -> tuple[float, float]:
    issued, expires = moment(claims, "iat"), moment(claims, "exp")
    if expires + LEEWAY <= now:
        raise AuthenticationError("expired")
    if issued - LEEWAY > now:
        raise AuthenticationError("issued in the future")
    if "nbf" in claims and moment(claims, "nbf") - LEEWAY > now:
        raise AuthenticationError("not valid yet")
    if not 0 < expires - issued <= settings.lifetime_limit:
        raise AuthenticationError(f"lifetime is not within {settings.lifetime_limit:.0f} s")
    return issued, expires


def _check_audience(claims: Claims, settings: IssuerSettings, use: TokenUse) -> str | None:
    audience = claims.get("aud")
    several = audience if isinstance(audience, list) else [audience]
    if not several or not all(isinstance(one, str) for one in several):
        raise AuthenticationError("aud is neither a string nor a list of strings")
    ours = settings.audiences if use is TokenUse.ACCESS else {settings.client_id} - {""}
    if not ours.intersection(several):
        raise AuthenticationError("aud does not contain us")
    if len(several) > 1 and "azp" not in claims:
        raise AuthenticationError("several audiences and no azp")
    return _check_client(claims, settings, use)


def _check_client(claims: Claims, settings: IssuerSettings, use: TokenUse) -> str | None:
    named = {text(claims, name) for name in _CLIENT_CLAIMS if name in claims}
    if len(named) > 1:
        raise AuthenticationError(f"the client is all of {sorted(named)}")
    client = next(iter(named), None)
    if client is not None and client not in settings.allowed_clients:
        raise AuthenticationError(f"client {client!r} is not allowed")
    # Tokens of workloads (GitHub Actions, Kubernetes) name no client; such an issuer has none
    # configured. ID tokens have the client as audience.
    if client is None and use is TokenUse.ACCESS and settings.allowed_clients:
        raise AuthenticationError("no client is named")
    return client


def _hop(claims: Claims, settings: IssuerSettings) -> Hop:
    text(claims, "sub")
    subject = text(claims, settings.subject_claim)
    name = claims.get(settings.name_claim)
    if not isinstance(name, str) or not 0 < len(name) <= TEXT_LIMIT or not name.isprintable():
        name = subject
    return Hop(
        id=f"{settings.alias}|{subject}",
        name=name,
        kind=_kind(claims, settings),
        groups=_groups(claims, settings),
    )


def _kind(claims: Claims, settings: IssuerSettings) -> HopKind:
    rule = settings.agents
    if rule is not None:
        value = claims.get(rule.claim)
        values = value if isinstance(value, list) else [value]
        if any(isinstance(one, str) and one in rule.values for one in values):
            return "agent"
    return settings.kind


def _groups(claims: Claims, settings: IssuerSettings) -> frozenset[str]:
    if not settings.groups_claim:
        return frozenset()
    elsewhere = claims.get("_claim_names", {})
    if not isinstance(elsewhere, dict):
        raise AuthenticationError("_claim_names is not an object")
    if settings.groups_claim in elsewhere or claims.get("hasgroups", False) is not False:
        if settings.groups_overage == "empty":
            return frozenset()
        raise AuthenticationError(
            "the issuer left the groups out because there are too many: have it send only "
            "'groups assigned to the application', or app roles"
        )
    return texts(claims, settings.groups_claim)
