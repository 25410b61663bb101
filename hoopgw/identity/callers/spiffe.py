"""``type = "spiffe"``: workloads with a JWT-SVID.

A JWT-SVID needs no ``iss``: what says whose it is is the trust domain in its subject, so that is
what its settings are found by, and its keys come from that domain's bundle. ``aud`` is a must, and
has one value only: each that it is for could show it to the others.

References: SPIFFE-ID and JWT-SVID, https://spiffe.io/docs/latest/spiffe-specs/jwt-svid/;
SPIFFE Trust Domain and Bundle, section 4 (``use`` of ``jwt-svid``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hoopgw.errors import AuthenticationError
from hoopgw.identity.callers.caller import Caller, Problem
from hoopgw.identity.callers.plain import kind_by_rule
from hoopgw.identity.claims import kept, text
from hoopgw.identity.jose import Claims
from hoopgw.identity.settings import IssuerSettings

_SEGMENT = r"/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+"
_ID = re.compile(rf"spiffe://([a-z0-9._-]{{1,255}})((?:{_SEGMENT})+)")
_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_PATHS = re.compile(rf"(?:{_SEGMENT})+(?:/\*)?|/\*")


def trust_domain(subject: object) -> str | None:
    """Return the trust domain of a workload's SPIFFE ID, or None if it is none."""
    found = _ID.fullmatch(subject) if isinstance(subject, str) and len(subject) <= 2048 else None
    return None if found is None else found[1]


class SpiffeCaller:
    """Implements `hoopgw.identity.callers.caller.CallerType`."""

    def problems(self, settings: IssuerSettings) -> Iterable[Problem]:
        """Say what is wrong: the trust domain and where its bundle is must be named."""
        if not _DOMAIN.fullmatch(settings.trust_domain):
            yield Problem(
                "trust_domain",
                f"is {settings.trust_domain[:80]!r}" if settings.trust_domain else "is missing",
                'expected the trust domain, as "prod.example.com"',
            )
        if not settings.jwks_url and settings.jwks_file is None:
            yield Problem(
                "jwks_url",
                "is missing",
                "expected the URL of the trust domain's bundle, or jwks_file",
            )
        for each in sorted(settings.paths):
            if not _PATHS.fullmatch(each):
                yield Problem(
                    "paths", f"has {each[:80]!r}", 'expected "/ns/orders/sa/app" or "/ns/orders/*"'
                )

    def read(self, claims: Claims, settings: IssuerSettings, *, is_id_token: bool) -> Caller:
        """Say who a token stands for."""
        subject = text(claims, "sub")
        found = _ID.fullmatch(subject)
        if found is None or found[1] != settings.trust_domain:
            raise AuthenticationError("sub is no SPIFFE ID of the trust domain")
        path = found[2]
        if settings.paths and not any(_covers(each, path) for each in settings.paths):
            raise AuthenticationError(f"the path {path} is not allowed")
        if isinstance(claims.get("aud"), list) and len(claims["aud"]) != 1:
            raise AuthenticationError("a JWT-SVID for several audiences")
        return Caller(
            subject=subject,
            name=f"{settings.trust_domain}{path}",
            kind=kind_by_rule(claims, settings),
            has_groups=False,
            attributes={"trustDomain": settings.trust_domain, "path": path},
            origin=kept(claims, ("sub", "iss", "jti")),
        )


def _covers(pattern: str, path: str) -> bool:
    """Say whether a path is the pattern, or below it where that ends in a star."""
    if pattern.endswith("/*"):
        return path.startswith(pattern[:-1])
    return path == pattern
