"""The answers of the token endpoint that give something: tokens and session passwords."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from hoopgw.events import Principal
from hoopgw.identity.passwords import make_password
from hoopgw.identity.refusals import ExchangeError
from hoopgw.identity.token_parts import TokenParts
from hoopgw.identity.tokens import GATEWAY, GatewayToken
from hoopgw.identity.urns import ACCESS_TOKEN, SESSION_PASSWORD

_ATTEMPTS: Final = 3


@frozen
class Issuing:
    """Makes them."""

    parts: TokenParts

    def token(
        self,
        principal: Principal,
        audience: str,
        expires: float,
        confirmation: Mapping[str, Any] | None,
        nest: int | None = None,
        account: str = "",
        also: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """Give a token.

        Args:
            principal: whom it stands for.
            audience: what it is for.
            expires: until when it may be shown; never beyond the principal's own end.
            confirmation: ``cnf``: what it is bound to.
            nest: how many hops may follow, if that is not as usual.
            account: on a target, that the caller wants.
            also: further targets that it is for.

        Raises:
            ExchangeError: nothing is left of its lifetime.

        """
        now = self.parts.now()
        expires = min(expires, principal.expires)
        if expires - now < 1:
            raise ExchangeError("invalid_grant", "nothing is left of its lifetime")
        signed = self.parts.signer.sign(
            GatewayToken(
                principal=principal,
                audience=audience,
                issued=now,
                expires=expires,
                confirmation=confirmation,
                nest=nest,
                account=account,
                also=also,
                tenant="" if audience == GATEWAY else self._tenant(principal),
            )
        )
        return {
            "access_token": signed,
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "Bearer" if confirmation is None else "DPoP",
            "expires_in": int(expires - now),
            "session_expires_in": int(principal.expires - now),
        }

    def password(self, principal: Principal, target: str, account: str) -> dict[str, Any]:
        """Give a session password, which ends with the principal.

        Raises:
            ExchangeError: none can be kept.

        """
        parts = self.parts
        if principal.expires - parts.now() < 1:
            raise ExchangeError("invalid_grant", "nothing is left of its lifetime")
        for _ in range(_ATTEMPTS):
            made = make_password(principal, target, account)
            if parts.passwords.put(made.handle, made.stored, principal.expires):
                return {
                    "access_token": made.password,
                    "issued_token_type": SESSION_PASSWORD,
                    "token_type": "N_A",
                    "expires_in": int(principal.expires - parts.now()),
                    "handle": made.handle,
                    "user": made.user,
                    "password": made.password,
                    "target": target,
                    "expires": principal.expires,
                }
        raise ExchangeError("temporarily_unavailable", "no session password can be kept now")

    def _tenant(self, principal: Principal) -> str:
        """Return ``tid``: Azure's clients take no token without one.

        It is the issuer's own tenant, or else stands for this gateway.
        """
        alias = principal.root.id.partition("|")[0]
        known = self.parts.tenants.get(alias)
        return known or str(uuid.uuid5(uuid.NAMESPACE_URL, self.parts.signer.issuer))
