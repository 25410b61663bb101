"""Whom a subject token of the gateway's own stands for, and who has proved to hold its key.

A subject is a gateway token or a chain of delegation. The key of a token that is bound to one is
proved with the request (DPoP); that of a chain's last part so too, or by a pop for `GATEWAY` in
the chain. Since a pop leaves the request's own proof free, a child can ask with its parent's pop
and prove its own key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from hoopgw.errors import AuthenticationError
from hoopgw.events import Principal
from hoopgw.identity.chains import Proof, read_chain
from hoopgw.identity.dpop import ProvedKey
from hoopgw.identity.hops import is_chain
from hoopgw.identity.refusals import ExchangeError
from hoopgw.identity.token_parts import TokenParts
from hoopgw.identity.tokens import GATEWAY


@frozen(kw_only=True)
class Subject:
    """Who asks."""

    principal: Principal
    hops_left: int
    """Hops that may follow."""
    confirmation: Mapping[str, Any] | None = field(repr=False)
    """``cnf`` of its last key; None for a token that is bound to none."""
    is_chain: bool
    """Whether it came as a chain, which nobody has flattened yet."""
    free: ProvedKey | None
    """The key that the request has proved, if it is not the subject's own."""


def read_subject(parts: TokenParts, token: str, proved: ProvedKey | None) -> Subject:
    """Verify a subject token, and use up what proves it.

    Args:
        parts: of the token endpoint.
        token: a gateway token, or a chain.
        proved: the key that the request has proved.

    Raises:
        AuthenticationError: it is not good, not proved, or was revoked.
        ExchangeError: the request's proof was used before.

    """
    read = _read_chain if is_chain(token) else _read_token
    subject, proof = read(parts, token, proved)
    if parts.is_revoked(subject.principal):
        raise AuthenticationError("the log-in or a delegation was revoked")
    # Used up only once the token is good, so that strangers do not fill the store.
    if proved is not None and not parts.used.use(proved.id, proved.expires):
        raise ExchangeError("invalid_dpop_proof", "the DPoP proof was used before")
    if proof is not None and not parts.used.use(proof.id, proof.expires):
        raise AuthenticationError("the pop was used before")
    return subject


def _read_chain(
    parts: TokenParts, chain: str, proved: ProvedKey | None
) -> tuple[Subject, Proof | None]:
    holder = None if proved is None else proved.thumbprint
    shown = read_chain(chain, GATEWAY, parts.now(), parts.verifier, holder=holder)
    own = holder == shown.thumbprint
    subject = Subject(
        principal=shown.principal,
        hops_left=shown.hops_left,
        confirmation={"jkt": shown.thumbprint, "jwk": dict(shown.key)},
        is_chain=True,
        free=None if own else proved,
    )
    return subject, shown.proof


def _read_token(
    parts: TokenParts, token: str, proved: ProvedKey | None
) -> tuple[Subject, Proof | None]:
    read = parts.verifier.read(token, GATEWAY, parts.now())
    bound = read.confirmation is not None
    if bound and (proved is None or read.thumbprint != proved.thumbprint):
        raise AuthenticationError("the token is bound to a key that the caller did not prove")
    subject = Subject(
        principal=read.principal,
        hops_left=read.hops_left,
        confirmation=read.confirmation,
        is_chain=False,
        free=None if bound else proved,
    )
    return subject, None
