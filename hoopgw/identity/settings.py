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

from attrs import Attribute, Factory, field, frozen
from attrs.validators import and_, ge, in_, instance_of, le, matches_re, min_len, optional

from hoopgw.events import HopKind
from hoopgw.identity.presets import DAY, PRESETS, IssuerType, Preset

Overage: TypeAlias = Literal["refuse", "empty"]

_PERSON: Final = re.compile(r"[a-z][a-z0-9-]{0,31}\|[^\s~|]{1,256}")
_CREDENTIAL: Final = r"(?:secret-file|certificate):.+|(?:managed|workload)-identity:"

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

_NOTHING: Final = Preset()


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
class PersonRule:
    """Says which natural person stands behind a token that is none's: who set the job off."""

    claim: str = field(default="actor_id", validator=min_len(1))
    ids: Mapping[str, str] = field(factory=dict)
    """What the claim says, to the person's id here: ``"285964"`` to ``"corp|1234"``."""
    unknown: Literal["refuse", "keep"] = field(default="refuse", validator=in_(("refuse", "keep")))
    """What to do with somebody who is not in ``ids``. ``keep`` goes on, and the person can then
    approve what the job asks, as nobody here knows who it is."""

    @ids.validator
    def _check_ids(self, _: Attribute[Any], value: Mapping[str, str]) -> None:
        for name, person in value.items():
            if not name or not isinstance(person, str) or not _PERSON.fullmatch(person):
                raise ValueError(f'ids: expected ids such as "corp|1234", found {person!r}')


@frozen(kw_only=True)
class GraphSettings:
    """Where groups are asked for that an Entra token leaves out: Microsoft Graph."""

    url: str = field(default="https://graph.microsoft.com/v1.0")
    """Ours to say: the endpoint that a token names is never called."""
    client_id: str = ""
    """Of the gateway's own registration, which has the permission User.Read.All, and
    GroupMember.Read.All."""
    credential: str = field(validator=matches_re(_CREDENTIAL))
    """``secret-file:PATH``, ``certificate:PATH``, ``managed-identity:`` or
    ``workload-identity:``."""
    authority: str = "https://login.microsoftonline.com"
    always: bool = False
    """Ask at every log-in, and not only where a token left the groups out."""
    ca: Path | None = None
    """PEM file to trust for Graph and the authority, instead of the system's."""

    def __attrs_post_init__(self) -> None:
        for name, value in (("url", self.url), ("authority", self.authority)):
            if problem := url_problem(value, allow_http=False):
                raise ValueError(f"{name}: {problem}")
        own = self.credential.startswith(("secret-file:", "certificate:"))
        if own and not self.client_id:
            raise ValueError("client_id: expected the client id of the gateway's registration")


def _usual(name: str) -> Any:
    """Return the default of a setting: what its type takes for granted."""

    def preset(settings: IssuerSettings) -> Any:
        return getattr(PRESETS.get(settings.type, _NOTHING), name)

    return Factory(preset, takes_self=True)


def _usual_issuer(settings: IssuerSettings) -> str:
    preset = PRESETS.get(settings.type, _NOTHING)
    text = preset.issuer_v1 if settings.version == "1.0" else preset.issuer
    return text.format(tenant=settings.tenant, trust_domain=settings.trust_domain)


@frozen(kw_only=True)
class IssuerSettings:
    """One issuer of tokens, and what is asked of them."""

    type: IssuerType = field(default="oidc", validator=in_(get_args(IssuerType)))
    """Says what is usual for the others, and adds checks: `hoopgw.identity.callers`."""
    alias: str = field(validator=matches_re(r"[a-z][a-z0-9-]{0,31}"))
    """First part of every principal's id: ``corp|1234``. Never reuse one for another issuer."""
    tenant: str = ""
    """Must equal ``tid`` if given."""
    version: Literal["1.0", "2.0"] = field(default="2.0", validator=in_(("1.0", "2.0")))
    """Of Entra: what our registration's ``requestedAccessTokenVersion`` says."""
    trust_domain: str = ""
    """Of SPIFFE; stands in for ``iss``, which a JWT-SVID may lack."""
    paths: frozenset[str] = field(default=frozenset(), converter=_names, validator=_only_names)
    """Of SPIFFE: which workloads, ``/ns/orders/*``; all of the domain if none is given."""
    service_accounts: frozenset[str] = field(
        default=frozenset(), converter=_names, validator=_only_names
    )
    """Of Kubernetes: which accounts, ``orders/migrator`` or ``orders/*``."""
    unbound: bool = False
    """Of Kubernetes: whether a token may be bound to no pod (``kubectl create token``)."""
    roles: frozenset[str] = field(default=frozenset(), converter=_names, validator=_only_names)
    """Of Entra: app roles of our registration; an application with one of them is taken as if it
    were among ``clients``."""
    issuer: str = field(default=Factory(_usual_issuer, takes_self=True), validator=instance_of(str))
    """Exactly as in the ``iss`` claim: a slash at the end makes another issuer."""
    client_id: str = ""
    """The public client that `hoopgw login` uses; its ID tokens have it as audience."""
    audiences: frozenset[str] = field(converter=_names, validator=_some_names)
    """One of these must be in ``aud`` of an access token."""
    clients: frozenset[str] = field(default=frozenset(), converter=_names, validator=_only_names)
    """Clients besides ``client_id`` whose tokens are taken (``azp``, ``appid``, ``client_id``)."""
    algorithms: frozenset[str] = field(
        default=_usual("algorithms"), converter=_names, validator=[_some_names, _known_algorithms]
    )
    types: frozenset[str] = field(default=_usual("types"), converter=_types, validator=_some_names)
    """Values of the header's ``typ``, in lower case."""
    untyped: bool = field(default=_usual("untyped"))
    """Whether an access token's header may have no ``typ``."""
    groups_claim: str = field(default=_usual("groups_claim"))
    """Empty: no claim of this issuer is trusted to name groups."""
    groups_overage: Overage = field(default="refuse", validator=in_(get_args(Overage)))
    """What to do when the issuer leaves the groups out because they are too many, and there is no
    ``graph`` to ask. ``empty`` goes on without any: then no rule that names a group applies, and
    that includes forbids."""
    group_names: Mapping[str, str] = field(factory=dict)
    """What the issuer calls a group, to what policy does. If any is given, no other counts."""
    groups_prefix: str = field(default="", validator=matches_re(r"[A-Za-z0-9._:-]{0,64}"))
    """Before the name of each group, so that no other issuer's group has the same."""
    graph: GraphSettings | None = None
    persons: PersonRule | None = None
    name_claim: str = field(default=_usual("name_claim"), validator=min_len(1))
    """For people to read; the subject stands in when it is missing."""
    subject_claim: str = field(default="sub", validator=min_len(1))
    """Of ``oidc``: the claim that names the principal. The other types have their own."""
    required: Mapping[str, frozenset[str]] = field(factory=dict, converter=_required)
    """Claims that must have one of these values: ``repository_id`` for GitHub Actions."""
    kind: HopKind = field(default=_usual("kind"), validator=in_(get_args(HopKind)))
    agents: AgentRule | None = None
    lifetime_limit: float = field(
        default=_usual("lifetime_limit"), validator=and_(ge(60.0), le(7 * DAY))
    )
    """Seconds between ``iat`` and ``exp`` at most."""
    session_lifetime: float | None = field(
        default=_usual("session_lifetime"), validator=optional(and_(ge(60.0), le(7 * DAY)))
    )
    """Seconds that a log-in with an access or workload token lasts; without it, until that token
    ends. For CI jobs that run longer than their token lives. Never beyond the gateway's own
    ``login_lifetime``."""
    on_behalf_of: frozenset[str] = field(
        default=frozenset(), converter=_names, validator=_only_names
    )
    """Agents that get the access tokens of this issuer's people, to act on behalf of them."""
    jwks_url: str = field(default="")
    """Where the keys are, for an issuer without discovery, or whose discovery is out of reach."""
    jwks_file: Path | None = None
    """A file with the keys, for a cluster that nobody can reach; read again as it changes."""
    ca: Path | None = None
    """PEM file to trust for the issuer's TLS, instead of the system's."""
    allow_http: bool = False
    """For tests and demonstrations: plain HTTP, if the issuer is on loopback."""

    @classmethod
    def usual(cls) -> IssuerSettings:
        """Return settings in which nothing is set that need not be."""
        return cls(alias="usual", issuer="https://issuer.example", audiences=["hoopgw"])

    @issuer.validator
    def _check_issuer(self, _: Attribute[str], value: str) -> None:
        if value == f"spiffe://{self.trust_domain}" and self.type == "spiffe":
            return
        if value and (problem := url_problem(value, allow_http=self.allow_http)):
            raise ValueError(f"issuer: {problem}")

    @jwks_url.validator
    def _check_jwks_url(self, _: Attribute[str], value: str) -> None:
        if value and (problem := url_problem(value, allow_http=self.allow_http)):
            raise ValueError(f"jwks_url: {problem}")

    @property
    def key_uses(self) -> frozenset[str | None]:
        """Values of a key's ``use`` with which it may verify."""
        return PRESETS[self.type].key_uses

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
