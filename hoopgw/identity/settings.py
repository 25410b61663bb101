"""One ``[[identity.issuers]]`` table of the configuration, checked.

A wrong value is a ``ValueError`` whose text starts with the key and says what was expected;
`hoopgw.config` adds the file and the path.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from attrs import Attribute, field, frozen
from attrs.validators import and_, ge, in_, instance_of, le, matches_re, min_len, optional

from hoopgw.events import HopKind

Overage: TypeAlias = Literal["refuse", "empty"]

ALGORITHMS: Final = frozenset(
    {
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES384",
        "ES512",
        "EdDSA",
        "Ed25519",
    }
)
"""Signatures that an issuer may be configured with: asymmetric ones only."""

DAY: Final = 86_400.0


def _names(values: Iterable[str]) -> frozenset[str]:
    if isinstance(values, str):
        raise ValueError(f"expected a list of strings, found the string {values!r}")
    return frozenset(values)


def _types(values: Iterable[str]) -> frozenset[str]:
    return frozenset(value.lower() for value in _names(values))


def _required(claims: Mapping[str, Iterable[str]]) -> Mapping[str, frozenset[str]]:
    return {name: _names(values) for name, values in claims.items()}


def _only_names(_: object, attribute: Attribute[Any], value: frozenset[str]) -> None:
    wrong = sorted(repr(name) for name in value if not isinstance(name, str) or not name)
    if wrong:
        raise ValueError(f"{attribute.name}: expected non-empty strings, found {', '.join(wrong)}")


def _some_names(_: object, attribute: Attribute[Any], value: frozenset[str]) -> None:
    if not value:
        raise ValueError(f"{attribute.name}: expected at least one value")
    _only_names(_, attribute, value)


def _known_algorithms(_: object, attribute: Attribute[Any], value: frozenset[str]) -> None:
    if unknown := sorted(value - ALGORITHMS):
        raise ValueError(f"{attribute.name}: {unknown} is none of {sorted(ALGORITHMS)}")


def is_loopback(host: str) -> bool:
    """Say whether a URL's host names this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@frozen(kw_only=True)
class AgentRule:
    """Says which tokens of an issuer stand for AI agents: those whose claim has such a value."""

    claim: str = field(validator=min_len(1))
    values: frozenset[str] = field(converter=_names, validator=_some_names)


@frozen(kw_only=True)
class IssuerSettings:
    """One issuer of tokens, and what is asked of them."""

    alias: str = field(validator=matches_re(r"[a-z][a-z0-9-]{0,31}"))
    """First part of every principal's id: ``corp|1234``. Never reuse one for another issuer."""
    issuer: str = field(validator=instance_of(str))
    """Exactly as in the ``iss`` claim: a slash at the end makes another issuer."""
    client_id: str = ""
    """The public client that `hoopgw login` uses; its ID tokens have it as audience."""
    audiences: frozenset[str] = field(converter=_names, validator=_some_names)
    """One of these must be in ``aud`` of an access token."""
    clients: frozenset[str] = field(default=frozenset(), converter=_names, validator=_only_names)
    """Clients besides ``client_id`` whose tokens are taken (``azp``, ``appid``, ``client_id``)."""
    algorithms: frozenset[str] = field(
        default=frozenset({"RS256"}), converter=_names, validator=[_some_names, _known_algorithms]
    )
    types: frozenset[str] = field(
        default=frozenset({"jwt", "at+jwt"}), converter=_types, validator=_some_names
    )
    """Values of the header's ``typ``, in lower case."""
    groups_claim: str = "groups"
    """Empty: no claim of this issuer is trusted to name groups."""
    groups_overage: Overage = field(default="refuse", validator=in_(get_args(Overage)))
    """What to do when the issuer leaves the groups out because they are too many. ``empty`` goes
    on without any: then no rule that names a group applies, and that includes forbids."""
    name_claim: str = field(default="name", validator=min_len(1))
    """For people to read; the subject stands in when it is missing."""
    subject_claim: str = field(default="sub", validator=min_len(1))
    """``oid`` for Entra ID, whose ``sub`` differs by client."""
    tenant: str = ""
    """Must equal ``tid`` if given."""
    required: Mapping[str, frozenset[str]] = field(factory=dict, converter=_required)
    """Claims that must have one of these values: ``repository_id`` for GitHub Actions."""
    kind: HopKind = field(default="person", validator=in_(get_args(HopKind)))
    agents: AgentRule | None = None
    lifetime_limit: float = field(default=DAY, validator=and_(ge(60.0), le(7 * DAY)))
    """Seconds between ``iat`` and ``exp`` at most."""
    session_lifetime: float | None = field(
        default=None, validator=optional(and_(ge(60.0), le(7 * DAY)))
    )
    """Seconds that a log-in with an access or workload token lasts; without it, until that token
    ends. For CI jobs that run longer than their token lives. Never beyond the gateway's own
    ``login_lifetime``."""
    ca: Path | None = None
    """PEM file to trust for the issuer's TLS, instead of the system's."""
    allow_http: bool = False
    """For tests and demonstrations: plain HTTP, if the issuer is on loopback."""

    @issuer.validator
    def _check_issuer(self, _: Attribute[str], value: str) -> None:
        if problem := url_problem(value, allow_http=self.allow_http):
            raise ValueError(f"issuer: {problem}")

    @property
    def allowed_clients(self) -> frozenset[str]:
        """All clients whose tokens are taken."""
        return self.clients | {self.client_id} - {""}


_URL: Final = re.compile(r"https?://[A-Za-z0-9._~\[\]:/%-]+")


def url_problem(url: str, *, allow_http: bool) -> str | None:
    """Say what is wrong with the URL of an issuer or its keys, or None."""
    if len(url) > 2048 or not _URL.fullmatch(url):
        return f"{url[:100]!r} is not an https URL without user, query and fragment"
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        return f"{url[:100]!r} is not a URL: {error}"
    if not host:
        return f"{url!r} has no host"
    if parts.scheme == "http" and not (allow_http and is_loopback(host)):
        return f"{url!r} is not https (allow_http permits http on loopback only)"
    return None
