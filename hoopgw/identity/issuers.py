"""The configured issuers together: a token goes in, who it stands for comes out.

The order matters. Nothing is fetched for an issuer that is not configured, nor for a token whose
header alone rules it out, nor for one that is a credential of another service.

Whose settings count is said by ``iss``, exactly. A JWT-SVID may lack it, or have one that is not
configured; then it is said by the trust domain of its subject. Several settings may share an
``iss``, as people and pipelines of one Entra tenant do: the application that a token names then
chooses between them, and each checks all there is to check itself, with the same keys.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from attrs import evolve, frozen

from hoopgw.errors import AuthenticationError, ConfigError, UnavailableError
from hoopgw.events import Hop
from hoopgw.identity.callers import ACTS_FOR, ITSELF, Problem, problems, trust_domain
from hoopgw.identity.jose import Claims, PublicKey, SignedToken, parse, verify
from hoopgw.identity.oidc import (
    Authenticated,
    TokenUse,
    check_audience_is_not_foreign,
    check_claims,
    check_header,
    named_groups,
    unverified_issuer,
)
from hoopgw.identity.settings import IssuerSettings

_OWN: Final = "give each its own"


class Keys(typing.Protocol):
    """Where an issuer's public keys come from."""

    async def find(self, kid: str) -> PublicKey:
        """Return a key; raises `AuthenticationError` or `UnavailableError`."""
        ...


class Directory(typing.Protocol):
    """Who can be asked for the groups of people: `hoopgw.identity.graph`."""

    async def groups(self, subject: str) -> frozenset[str]:
        """Return the groups that a person is in now, as the issuer calls them.

        Raises:
            AuthenticationError: the person is not there any more, or may not log in.
            UnavailableError: it cannot be said now.

        """
        ...


@frozen
class Issuer:
    """One issuer: what is asked of its tokens, its keys, and who knows its people's groups."""

    settings: IssuerSettings
    keys: Keys
    directory: Directory | None = None


@frozen
class Issuers:
    """All configured issuers. Build it with `of`.

    Implements `hoopgw.identity.token_parts.Regroup` too.
    """

    _known: Mapping[str, tuple[Issuer, ...]]
    """By ``iss``."""
    _domains: Mapping[str, Issuer]
    """By trust domain."""
    _now: Callable[[], float]
    """Seconds since the epoch."""

    @classmethod
    def of(cls, issuers: Iterable[Issuer], now: Callable[[], float]) -> Issuers:
        """Index the issuers.

        Raises:
            ConfigError: one lacks what its type needs, or two of them could be mixed up.

        """
        known: dict[str, tuple[Issuer, ...]] = {}
        domains: dict[str, Issuer] = {}
        seen: list[IssuerSettings] = []
        for issuer in issuers:
            settings = issuer.settings
            for lack in problems(settings):
                raise ConfigError(f"identity.issuers: {settings.alias!r}: {lack}")
            for other in seen:
                for problem in confusion(settings, other):
                    raise ConfigError(f"identity.issuers: {settings.alias!r}: {problem}")
            seen.append(settings)
            known[settings.issuer] = (*known.get(settings.issuer, ()), issuer)
            if settings.type == "spiffe":
                domains[settings.trust_domain] = issuer
        return cls(known, domains, now)

    @property
    def settings(self) -> list[IssuerSettings]:
        """What the issuers were configured with, in that order."""
        return [issuer.settings for several in self._known.values() for issuer in several]

    async def authenticate(
        self, token: str, use: TokenUse, nonce: str | None = None
    ) -> Authenticated:
        """Say who a token stands for.

        Raises:
            AuthenticationError: it is not good; the text is for the log.
            UnavailableError: the issuer's keys, or its groups, cannot be had now.

        """
        parsed = parse(token)
        check_audience_is_not_foreign(parsed.claims)
        issuer = self._find(parsed)
        settings = issuer.settings
        check_header(parsed.header, settings, use)
        key = await issuer.keys.find(parsed.kid)
        verify(parsed, key, settings.algorithms)
        _check_owner(key, parsed.claims, settings)
        who = check_claims(parsed.claims, settings, use, self._now(), nonce)
        if not who.is_short_of_groups:
            return who
        if not self.can_ask(who.hop):
            raise AuthenticationError("the groups were left out, and there is nobody to ask")
        hop = evolve(who.hop, groups=await self.ask(who.hop))
        return evolve(who, hop=hop, is_short_of_groups=False)

    def can_ask(self, root: Hop) -> bool:
        """Whether somebody knows which groups a root is in now. Never waits.

        Applications have no groups here, and neither has an agent that acts for itself.
        """
        is_user = root.kind == "person" or (ACTS_FOR, ITSELF) not in root.attributes
        return root.kind != "workload" and is_user and self._directory(root) is not None

    async def ask(self, root: Hop) -> frozenset[str]:
        """Return the groups that a root is in now, as policy calls them.

        Raises:
            AuthenticationError: the person is not there any more, or may not log in.
            UnavailableError: it cannot be said now: nothing may be given for it.

        """
        issuer = self._directory(root)
        if issuer is None or issuer.directory is None:
            raise UnavailableError("nobody can be asked for these groups")
        found = await issuer.directory.groups(root.id.partition("|")[2])
        return named_groups(found, issuer.settings)

    def _directory(self, root: Hop) -> Issuer | None:
        alias = root.id.partition("|")[0]
        for several in self._known.values():
            for issuer in several:
                if issuer.settings.alias == alias and issuer.directory is not None:
                    return issuer
        return None

    def _find(self, token: SignedToken) -> Issuer:
        """Return the issuer whose settings a token is checked by; nothing is verified yet."""
        claims = token.claims
        said = unverified_issuer(token) if "iss" in claims else None
        several = self._known.get(said, ()) if said is not None else ()
        if len(several) > 1:
            client = claims.get("azp", claims.get("appid"))
            client = client if isinstance(client, str) else ""  # nothing is verified yet
            several = tuple(i for i in several if client in i.settings.clients) or tuple(
                i for i in several if i.settings.type != "azure-devops"
            )
        if several:
            return several[0]
        domain = trust_domain(claims.get("sub"))
        issuer = None if domain is None else self._domains.get(domain)
        if issuer is None:
            raise AuthenticationError("the issuer is not configured")
        return issuer


def confusion(one: IssuerSettings, other: IssuerSettings) -> Iterator[Problem]:
    """Say how tokens of two issuers could be taken for each other's; nothing if they cannot."""
    tenants = {"entra", "azure-devops"}
    same_tenant = one.type in tenants and other.type in tenants and one.tenant == other.tenant
    versions = same_tenant and one.type == other.type and one.version != other.version
    if one.alias == other.alias and not versions:
        yield Problem("alias", f"is {one.alias!r} again", _OWN)
    if one.type == other.type == "spiffe" and one.trust_domain == other.trust_domain:
        yield Problem("trust_domain", f"is {one.trust_domain!r} again", _OWN)
    if one.issuer != other.issuer:
        return
    if not same_tenant or one.type == other.type:
        yield Problem("issuer", f"is {one.issuer!r} again", _OWN)
    elif shared := sorted(one.allowed_clients & other.allowed_clients):
        yield Problem("clients", f"has {shared[0]!r} again, of the same tenant", _OWN)


def _check_owner(key: PublicKey, claims: Claims, settings: IssuerSettings) -> None:
    """Check that a key of Entra ID, which has those of many tenants in one set, is for this one."""
    if key.issuer is None or settings.type not in ("entra", "azure-devops"):
        return
    if key.issuer.replace("{tenantid}", settings.tenant) != claims.get("iss"):
        raise AuthenticationError("the key signs for another tenant")
