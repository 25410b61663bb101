"""What the token endpoint is made of, and how long what it gives is good."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Final

from attrs import field, frozen

from hoopgw.errors import UnavailableError
from hoopgw.events import Hop, Principal
from hoopgw.identity.issuers import Issuers
from hoopgw.identity.shares import SharedRate
from hoopgw.identity.shown import (
    SessionPassword,
)
from hoopgw.identity.tokens import GatewayToken, TokenSigner, TokenVerifier
from hoopgw.store.rows import LoginStore

_BURST: Final = 300.0
_PER_SECOND: Final = 5.0
"""As of what one address is given, so that agents beside their parent leave it a part of that."""


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


class Revoke(typing.Protocol):
    """Ends a log-in or a delegation with all below it."""

    def __call__(self, node: str, reason: str, by: Principal | None = None, /) -> object:
        """End it.

        Args:
            node: the id.
            reason: why.
            by: who does, if how much they do is to be limited.

        Raises:
            UnavailableError: it cannot be kept, or is too much.

        """
        ...


class Regroup(typing.Protocol):
    """Asks a root's issuer, while a log-in lasts, which groups the root is in now."""

    def can_ask(self, root: Hop) -> bool:
        """Whether the root's issuer can be asked at all. Never waits."""
        ...

    async def ask(self, root: Hop) -> frozenset[str]:
        """Return the groups.

        Raises:
            UnavailableError: the issuer cannot be asked just now.
            AuthenticationError: the principal may not log in any more; its log-in is revoked then.

        """
        ...


class KeepProof(typing.Protocol):
    """Keeps what a log-in began with."""

    def __call__(self, principal: Principal, token: str, expires: float, /) -> None:
        """Keep it until it ends, if anybody may have it."""
        ...


def _keep_nothing(_principal: Principal, _token: str, _expires: float) -> None:
    """Keep nothing."""


@frozen
class NoRegroup:
    """Asks nobody: groups stay those of the log-in, until they are too old."""

    def can_ask(self, _root: Hop) -> bool:
        """Say no."""
        return False

    async def ask(self, _root: Hop) -> frozenset[str]:
        """Refuse: it is not to be called."""
        raise UnavailableError("no issuer can be asked for groups")


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
    revoke: Revoke
    """Ends a log-in or delegation with all below it."""
    end_token: Callable[[GatewayToken], object]
    """Ends one token alone, for the rest of its time."""
    is_ended_token: Callable[[GatewayToken], bool]
    """Says whether that was done, or its principal is revoked."""
    now: Callable[[], float]
    keep: Callable[[Principal], None] = lambda _principal: None
    """Writes the delegations of a chain down, for lists and for who may end them."""
    regrouped: Callable[[str, frozenset[str]], None] = lambda _login, _groups: None
    """Ends what a log-in has opened with groups that it has no more, given its id and those that it
    has."""
    proofs: KeepProof = _keep_nothing
    """Keeps the access token that a log-in began with, where an agent may act on behalf of its
    people."""
    below: SharedRate = field(factory=lambda: SharedRate(_BURST, _PER_SECOND))
    """What descends from a log-in may ask for: by log-in."""
    lifetimes: Lifetimes = Lifetimes()
    regroup: Regroup = NoRegroup()
    tenants: Mapping[str, str] = field(factory=dict)
    """An issuer's alias to its tenant, if it has one."""
