"""What a token of the gateway's own says, for those who may ask (RFC 7662).

Administrators may ask of every token; an agent of those that are for a target that it serves.
Anything else is told to be inactive: garbage, tokens of others, what is over or was revoked,
refresh tokens, and what is not the asker's to know. Asking uses nothing up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import frozen

from hoopgw.errors import AuthenticationError
from hoopgw.identity.jose import parse
from hoopgw.identity.token_parts import TokenParts
from hoopgw.identity.tokens import GATEWAY, GatewayToken, target_audience

INACTIVE: Final = {"active": False}


@frozen
class Introspection:
    """Answers."""

    parts: TokenParts

    def introspect(self, token: str, may_know: Callable[[str], bool]) -> dict[str, Any]:
        """Say what a token says, if it is good now.

        Args:
            token: a gateway token, for the gateway or for a target.
            may_know: whether the asker may know of tokens for this audience.

        Raises:
            UnavailableError: whether it was revoked cannot be known.

        """
        try:
            read = read_any(self.parts, token)
        except AuthenticationError:
            return dict(INACTIVE)
        if not any(map(may_know, (read.audience, *read.also))) or self.parts.is_ended_token(read):
            return dict(INACTIVE)
        claims = dict(parse(token).claims)
        kind = "Bearer" if read.confirmation is None else "DPoP"
        return {**claims, "active": True, "token_type": kind, "username": read.principal.path}


def read_any(parts: TokenParts, token: str) -> GatewayToken:
    """Return what a token of ours says, whatever it is for.

    Raises:
        AuthenticationError: it is none, or is over.

    """
    audience = parse(token).claims.get("aud")
    if isinstance(audience, list) and audience:
        audience = audience[0]  # the verifier looks at all of them
    if not isinstance(audience, str) or not (
        audience == GATEWAY or audience.startswith(target_audience(""))
    ):
        raise AuthenticationError("the token is for nobody that we know")
    return parts.verifier.read(token, audience, parts.now())
