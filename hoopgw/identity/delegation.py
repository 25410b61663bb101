"""Delegation at the token endpoint (RFC 8693): a parent's token in, a child's token out.

The same as a hop that the parent signs (`hoopgw.identity.hops`), for who cannot or will not sign
one, and for children that have an identity of their own. These parameters are ours, besides those
of RFC 8693:

============  ===================================================================================
``name``      of the child, as of a hop; not together with an actor token
``kind``      ``agent`` or ``workload`` (``agent``)
``cnf``       ``{"jwk": ...}``: the child's Ed25519 key, if the request does not prove it itself
``caps``      ``[{"target": ..., "actions": [...]}]``: what it is narrowed to
``ttl``       seconds, at most a day, and at most what the parent has left
``nest``      how many hops may follow, at most one less than the parent has
``budget``    ``{"operations": ..., "rows": ..., "bytes": ..., "reviews": ...}``
``purpose``   the prompt or job step
``isolated``  ``true``: the child cannot read the parent's key
============  ===================================================================================

An ``actor_token`` of a configured issuer says who the child is: the hop is *attested*, its id and
name are the actor's. It says nothing of what the child may do: a child has no groups, and never
more than each hop before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, frozen
from twisted.logger import Logger

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.events import Hop, Node, Principal
from hoopgw.identity.chains import hop_of, key_of, nest_of, node_of
from hoopgw.identity.dpop import ProvedKey
from hoopgw.identity.hops import SEPARATOR, node_id
from hoopgw.identity.issuing import Issuing
from hoopgw.identity.jose import Claims, parse_object
from hoopgw.identity.oidc import Authenticated, TokenUse
from hoopgw.identity.refusals import ExchangeError
from hoopgw.identity.subjects import Subject
from hoopgw.identity.token_parts import TokenParts
from hoopgw.identity.tokens import CHAIN_LIMIT, GATEWAY
from hoopgw.identity.urns import ACCESS_TOKEN, JWT

log = Logger()

ACTOR: Final = frozenset({"actor_token", "actor_token_type"})
TERMS: Final = frozenset(
    {"name", "kind", "cnf", "caps", "ttl", "nest", "budget", "purpose", "isolated"}
)
TTL_LIMIT: Final = 86_400.0
"""Seconds that a child's token is good at most: it is not refreshed, but given anew."""
_JSON: Final = ("caps", "nest", "budget", "isolated")
_PLACEHOLDER: Final = "actor"  # stands in for a name until the actor's own is known


@frozen
class Delegation:
    """Gives tokens to children."""

    parts: TokenParts

    async def delegate(self, parent: Subject, form: Mapping[str, str]) -> dict[str, Any]:
        """Give a child its token.

        Raises:
            AuthenticationError, UnavailableError, ExchangeError: it is refused.

        """
        principal = parent.principal
        if parent.hops_left < 1 or len(principal.chain) >= CHAIN_LIMIT:
            raise ExchangeError("access_denied", "this chain may not be delegated any further")
        confirmation = _child_key(parent, form)
        thumbprint = str(confirmation["jkt"])
        claims = _terms(form)
        until = self._until(principal, form)
        hop = _hop(claims, principal)
        behind = principal.origin.persons
        if "actor_token" in form:
            actor = await self._actor(principal, form, parent.free)
            hop = _attested(hop, actor)
            behind |= actor.origin.persons
        left = _nest(claims, parent.hops_left - 1)
        child = evolve(
            principal,
            chain=(*principal.chain, hop),
            nodes=(*principal.nodes, _node(claims, principal, thumbprint)),
            expires=until,
            proved=False,
            origin=evolve(principal.origin, persons=behind),
        )
        if self.parts.is_revoked(child):
            raise ExchangeError("access_denied", "the delegation to this key was revoked")
        self._keep(child)
        given = Issuing(self.parts).token(child, GATEWAY, until, confirmation, left)
        log.info("{parent} delegates to {child}", parent=principal.chain[-1].id, child=hop.id)
        return given | {"node": child.nodes[-1].id, "id": hop.id}

    def _keep(self, child: Principal) -> None:
        try:
            self.parts.keep(child)
        except UnavailableError as error:
            text = f"the delegation cannot be kept: {error}"
            raise ExchangeError("temporarily_unavailable", text) from error

    async def _actor(
        self, parent: Principal, form: Mapping[str, str], free: ProvedKey | None
    ) -> Authenticated:
        """Return whom the actor's own token stands for."""
        if form.get("actor_token_type") not in (ACCESS_TOKEN, JWT):
            raise ExchangeError("invalid_request", "actor_token_type is missing, or none we take")
        actor = await self.parts.issuers.authenticate(form["actor_token"], TokenUse.ACCESS)
        if actor.confirmation is not None and (
            free is None or actor.confirmation.get("jkt") != free.thumbprint
        ):
            raise AuthenticationError("the actor token is bound to a key that was not proved")
        if actor.hop.kind == "person":
            raise ExchangeError("access_denied", "a person is nobody's agent")
        if SEPARATOR in actor.hop.id or actor.hop.id in {hop.id for hop in parent.chain}:
            raise ExchangeError("access_denied", "the actor is a member of the chain already")
        return actor

    def _until(self, parent: Principal, form: Mapping[str, str]) -> float:
        """Return when the child ends: never after its parent."""
        text = form.get("ttl")
        if text is None:
            ttl = self.parts.lifetimes.token
        elif text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0:
            ttl = float(text)
        else:
            raise ExchangeError("invalid_request", "ttl: expected a number of seconds")
        return float(int(min(parent.expires, self.parts.now() + min(ttl, TTL_LIMIT))))


def _attested(said: Hop, actor: Authenticated) -> Hop:
    """Return the hop as the actor's own token says it; its groups do not count."""
    hop = actor.hop
    return evolve(
        said,
        id=hop.id,
        name=hop.name,
        kind=hop.kind,
        attested=True,
        attributes=hop.attributes,
    )


def _child_key(parent: Subject, form: Mapping[str, str]) -> dict[str, Any]:
    """Return ``cnf`` of the child's token."""
    free = parent.free
    if "cnf" in form:
        try:
            claims = parse_object(form["cnf"].encode("utf-8", "replace"))
            if claims.keys() != {"jwk"}:
                raise AuthenticationError("cnf is not exactly a key")
            jwk = claims["jwk"]
            thumbprint = key_of(jwk)[1]
        except AuthenticationError as error:
            raise ExchangeError("invalid_request", f"cnf: {error}") from error
        if free is not None and free.thumbprint != thumbprint:
            raise ExchangeError("invalid_request", "cnf is not the key that was proved")
    elif free is not None and free.jwk is not None:
        jwk, thumbprint = dict(free.jwk), free.thumbprint
    else:
        text = "the child's Ed25519 key is missing: prove it, or give it as cnf"
        raise ExchangeError("invalid_request", text)
    if parent.confirmation is not None and thumbprint == parent.confirmation.get("jkt"):
        raise ExchangeError("invalid_request", "the child's key is its parent's own")
    return {"jkt": thumbprint, "jwk": jwk}


def _terms(form: Mapping[str, str]) -> Claims:
    """Return the parameters as a hop's claims would say them."""
    claims: dict[str, Any] = {"kind": form.get("kind", "agent")}
    for name in _JSON:
        if name in form:
            try:
                # Inside an object, so that the one strict reader of JSON reads them all.
                said = parse_object(f'{{"{name}":{form[name]}}}'.encode("utf-8", "replace"))
                if said.keys() != {name}:
                    raise AuthenticationError("not one JSON value")
                claims |= said
            except AuthenticationError as error:
                raise ExchangeError("invalid_request", f"{name}: {error}") from error
    if "purpose" in form:
        claims["purpose"] = form["purpose"]
    if "actor_token" in form:
        if "name" in form:
            raise ExchangeError("invalid_request", "the actor's own token says its name")
        return claims | {"name": _PLACEHOLDER}
    return claims | {"name": form.get("name", "")}


def _hop(claims: Claims, parent: Principal) -> Hop:
    try:
        return hop_of(claims, parent.chain[-1].id)
    except AuthenticationError as error:
        raise ExchangeError("invalid_request", str(error)) from error


def _node(claims: Claims, parent: Principal, thumbprint: str) -> Node:
    try:
        return node_of(claims, node_id(parent.lineage[-1], thumbprint))
    except AuthenticationError as error:
        raise ExchangeError("invalid_request", str(error)) from error


def _nest(claims: Claims, most: int) -> int:
    try:
        own = nest_of(claims)
    except AuthenticationError as error:
        raise ExchangeError("invalid_request", str(error)) from error
    return most if own is None else min(most, own)
