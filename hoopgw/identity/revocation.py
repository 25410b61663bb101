"""Revocation at the token endpoint's side (RFC 7009): a token goes, and all that it stands for.

A token for the gateway is one face of a delegation or a log-in: whoever revokes it ends that, with
the sessions, passwords, requests and delegations below it. It may be done by who holds the token's
key (or the token, if it is bound to none), by whoever it descends from, and by administrators.

A token for a target goes into password fields, and is seen by more than its holder. Who has only
that ends only that: it opens nothing more. A token that is not good any more is no error: it is
revoked already.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from hoopgw.errors import AuthenticationError
from hoopgw.events import Principal
from hoopgw.identity.chains import read_chain
from hoopgw.identity.dpop import ProvedKey
from hoopgw.identity.hops import POP_TYPE, SEPARATOR, is_chain, thumbprint_of
from hoopgw.identity.introspection import read_any
from hoopgw.identity.jose import parse
from hoopgw.identity.logins import Logins, is_refresh_token
from hoopgw.identity.refusals import ExchangeError
from hoopgw.identity.token_parts import TokenParts
from hoopgw.identity.tokens import GATEWAY, GatewayToken

REASON: Final = "it was revoked"
NOT_PROVED: Final = "prove the token's key, or show a token of an ancestor"


@frozen(kw_only=True)
class Revoker:
    """Who wants to revoke something."""

    proved: ProvedKey | None = None
    """The key that the request has proved."""
    principal: Principal | None = None
    """Who called with a token of the own."""
    is_admin: bool = False


@frozen
class Revocation:
    """Revokes tokens."""

    parts: TokenParts

    def revoke(self, token: str, revoker: Revoker) -> bool:
        """Revoke a token; say whether it was good until then.

        Raises:
            ExchangeError: it is good, and not the revoker's to revoke.
            UnavailableError: the store cannot be used.

        """
        if is_refresh_token(token):
            return self._login(token, revoker)
        try:
            if is_chain(token):
                return self._end(*self._chain(token), revoker)
            return self._token(read_any(self.parts, token), revoker)
        except AuthenticationError:
            return False

    def _token(self, read: GatewayToken, revoker: Revoker) -> bool:
        if read.audience == GATEWAY or _is_ancestor(revoker, read.principal):
            return self._end(read.principal, read.thumbprint, revoker)
        if not self._holds(read.thumbprint, revoker):
            raise ExchangeError("access_denied", NOT_PROVED)
        was_good = not self.parts.is_ended_token(read)
        self.parts.end_token(read)
        return was_good

    def _end(self, principal: Principal, key: str | None, revoker: Revoker) -> bool:
        if not (_is_ancestor(revoker, principal) or self._holds(key, revoker)):
            raise ExchangeError("access_denied", NOT_PROVED)
        by = None if revoker.is_admin else revoker.principal or principal
        was_good = not self.parts.is_revoked(principal)
        self.parts.revoke(principal.lineage[-1], REASON, by)
        return was_good

    def _login(self, token: str, revoker: Revoker) -> bool:
        row = Logins(self.parts).login_of(token)
        if row is None:
            return False
        if not (_is_ancestor(revoker, row.principal) or self._holds(row.thumbprint, revoker)):
            raise ExchangeError("access_denied", NOT_PROVED)
        self.parts.revoke(row.id, REASON, None if revoker.is_admin else row.principal)
        return True

    def _chain(self, token: str) -> tuple[Principal, str]:
        """Return whom a chain stands for, and its last key."""
        chain = _without_pop(token)
        # Authentic it must be; who holds the last key is asked of the revoker.
        last = parse(chain.rpartition(SEPARATOR)[2]).claims.get("cnf")
        holder = _thumbprint(last)
        shown = read_chain(chain, GATEWAY, self.parts.now(), self.parts.verifier, holder=holder)
        return shown.principal, shown.thumbprint

    def _holds(self, key: str | None, revoker: Revoker) -> bool:
        proved = revoker.proved
        if key is None:
            return True
        if proved is None or proved.thumbprint != key:
            return False
        if not self.parts.used.use(proved.id, proved.expires):
            raise ExchangeError("invalid_dpop_proof", "the DPoP proof was used before")
        return True


def _is_ancestor(revoker: Revoker, principal: Principal) -> bool:
    """Whether a revoker may end what descends from itself, itself included."""
    if revoker.is_admin or revoker.principal is None:
        return revoker.is_admin
    mine = revoker.principal.lineage
    return principal.lineage[: len(mine)] == mine


def _without_pop(chain: str) -> str:
    before, _, last = chain.rpartition(SEPARATOR)
    return before if parse(last).header.get("typ") == POP_TYPE else chain


def _thumbprint(confirmation: object) -> str | None:
    """Return the thumbprint of the key that ``cnf`` names; None if it names none."""
    jwk = confirmation.get("jwk") if isinstance(confirmation, dict) else None
    x = jwk.get("x") if isinstance(jwk, dict) else None
    return thumbprint_of(x) if isinstance(x, str) else None
