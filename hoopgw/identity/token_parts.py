"""What the token endpoint is made of, and how long what it gives is good."""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from attrs import field, frozen

from hoopgw.events import Hop, Principal
from hoopgw.identity.issuers import Issuers
from hoopgw.identity.tokens import TokenSigner, TokenVerifier
from hoopgw.spi import SessionPassword
from hoopgw.store.rows import LoginStore


class SessionPasswordStore(typing.Protocol):
    """Where session passwords are kept, until they expire."""

    def put(self, handle: str, password: SessionPassword, expires: float) -> bool:
        """Keep one. Returns False, and keeps nothing, if the handle is taken."""
        ...


class UsedTokens(typing.Protocol):
    """Remembers what may be used once only."""

    def use(self, id: str, expires: float) -> bool:  # noqa: A002  # what it is
        """Say whether this is the first use; remember it until ``expires``."""
        ...


Regroup: TypeAlias = Callable[[Hop], Awaitable[frozenset[str] | None]]
"""Asks a root's issuer, while a log-in lasts, which groups it is in now; see `no_regroup`.

None: this issuer cannot be asked. Raises `UnavailableError` if it cannot just now, and
`AuthenticationError` if the principal may not log in any more: then the log-in is revoked.
"""


async def no_regroup(_root: Hop) -> frozenset[str] | None:
    """Ask nobody: the groups stay those of the log-in until they are too old."""
    return None


@frozen(kw_only=True)
class Lifetimes:
    """Seconds; what the configuration's ``[identity]`` says."""

    token: float = 900.0
    """How long a gateway token may be shown."""
    login: float = 8 * 3600.0
    """How long a log-in may be refreshed, and its sessions live, at most."""
    groups: float = 3600.0
    """How old what an issuer said of groups may be."""


@frozen(kw_only=True)
class TokenParts:
    """All that the token endpoint works with."""

    issuers: Issuers
    signer: TokenSigner
    verifier: TokenVerifier
    passwords: SessionPasswordStore
    used: UsedTokens
    logins: LoginStore
    is_target: Callable[[str, str | None], bool]
    """Says whether there is such a target, with such an account if one is given."""
    is_revoked: Callable[[Principal], bool]
    """Says whether a principal's log-in, or a delegation of it, was ended before its time."""
    revoke: Callable[[str, str], object]
    """Ends a log-in or delegation with all below it, given its id and why."""
    now: Callable[[], float]
    keep: Callable[[Principal], None] = lambda _principal: None
    """Writes the delegations of a chain down, for lists and for who may end them."""
    lifetimes: Lifetimes = Lifetimes()
    regroup: Regroup = no_regroup
    tenants: Mapping[str, str] = field(factory=dict)
    """An issuer's alias to its tenant, if it has one."""
