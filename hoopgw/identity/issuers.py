"""The configured issuers together: a token goes in, who it stands for comes out.

The order matters. Nothing is fetched for an issuer that is not configured, nor for a token whose
header alone rules it out.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping

from attrs import frozen

from hoopgw.errors import AuthenticationError, ConfigError
from hoopgw.identity.jose import PublicKey, parse, verify
from hoopgw.identity.oidc import (
    Authenticated,
    TokenUse,
    check_claims,
    check_header,
    unverified_issuer,
)
from hoopgw.identity.settings import IssuerSettings


class Keys(typing.Protocol):
    """Where an issuer's public keys come from."""

    async def find(self, kid: str) -> PublicKey:
        """Return a key; raises `AuthenticationError` or `UnavailableError`."""
        ...


@frozen
class Issuer:
    """One issuer: what is asked of its tokens, and its keys."""

    settings: IssuerSettings
    keys: Keys


@frozen
class Issuers:
    """All configured issuers. Build it with `of`."""

    _known: Mapping[str, Issuer]
    _now: Callable[[], float]
    """Seconds since the epoch."""

    @classmethod
    def of(cls, issuers: Iterable[Issuer], now: Callable[[], float]) -> Issuers:
        """Index the issuers.

        Raises:
            ConfigError: two of them share an alias or an issuer, so ids would not be unique.

        """
        known: dict[str, Issuer] = {}
        aliases: set[str] = set()
        for issuer in issuers:
            settings = issuer.settings
            if settings.issuer in known or settings.alias in aliases:
                raise ConfigError(f"identity.issuers: {settings.alias!r} is there twice")
            known[settings.issuer] = issuer
            aliases.add(settings.alias)
        return cls(known, now)

    @property
    def settings(self) -> list[IssuerSettings]:
        """What the issuers were configured with, in that order."""
        return [issuer.settings for issuer in self._known.values()]

    async def authenticate(
        self, token: str, use: TokenUse, nonce: str | None = None
    ) -> Authenticated:
        """Say who a token stands for.

        Raises:
            AuthenticationError: it is not good; the text is for the log.
            UnavailableError: the issuer's keys cannot be had now.

        """
        parsed = parse(token)
        issuer = self._known.get(unverified_issuer(parsed))
        if issuer is None:
            raise AuthenticationError("the issuer is not configured")
        settings = issuer.settings
        check_header(parsed.header, settings, use)
        verify(parsed, await issuer.keys.find(parsed.kid), settings.algorithms)
        return check_claims(parsed.claims, settings, use, self._now(), nonce)
