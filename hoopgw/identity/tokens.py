"""The gateway's own tokens: a principal, for one audience, for a short time.

A log-in gives a token for `GATEWAY`; for each target the caller exchanges it for a narrower one,
which lives minutes and is good for that target only. A token holds the whole chain: ``sub`` is the
root, and ``act`` (RFC 8693) names who acts now, outermost, with the one before it inside. So the
chain ``alice / planner`` is ``{"sub": alice, "act": {"sub": planner}}``.

Verifying is pure and never waits: a data worker does it at log-in, with public keys that control
told it. Whatever the token, the only exception is `AuthenticationError`.

References: RFC 9068 (``at+jwt``), RFC 8693 section 4.1 (``act``), RFC 7800 (``cnf``).
"""

from __future__ import annotations

import secrets
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import define, field, frozen, setters
from joserfc.jwk import OKPKey

from hoopgw.errors import AuthenticationError, ConfigError
from hoopgw.events import Hop, HopKind, Node, Origin, Principal
from hoopgw.identity.jose import TOKEN_LIMIT, Claims, KeySet, parse, read_key_set, sign, verify
from hoopgw.identity.oidc import LEEWAY, TEXT_LIMIT, moment, text, texts
from hoopgw.wire_values import (
    hop_from_dict,
    hop_to_dict,
    node_from_dict,
    node_to_dict,
    origin_from_dict,
    origin_to_dict,
)

GATEWAY: Final = "hoopgw"
"""Audience of the token that a log-in gives: token endpoint and admin API."""
TARGET_LIFETIME: Final = 300.0
"""Seconds that a token for one target may be shown; the session it opens may live longer."""
CHAIN_LIMIT: Final = 6
NEST: Final = 3
"""Hops that may follow a log-in that does not say otherwise."""
AUDIENCES_LIMIT: Final = 50
"""Targets that one token may be for."""
_TYPE: Final = "at+jwt"
TOKEN: Final = "token:"  # noqa: S105  # a prefix
"""Begins what a token is called among what can be revoked."""
_ALGORITHM: Final = "EdDSA"
_KINDS: Final = typing.get_args(HopKind)


def target_audience(target: str) -> str:
    """Return the audience of tokens for one target."""
    return f"{GATEWAY}:target:{target}"


@frozen(kw_only=True)
class GatewayToken:
    """What a token of ours says."""

    principal: Principal
    """Its ``expires`` is when sessions end, which may be after ``expires`` of the token."""
    audience: str
    also: tuple[str, ...] = ()
    """Further targets that it is for: a cloud's client asks for one token for all of a service."""
    issued: float
    expires: float
    """Until when the token may be shown."""
    id: str = field(factory=lambda: secrets.token_urlsafe(16))
    confirmation: Mapping[str, Any] | None = None
    """``cnf``: the thumbprint of the holder's key as ``jkt``, if the token is bound to one; with
    ``jwk``, the key itself, it can be the root of a chain (`hoopgw.identity.chains`)."""
    nest: int | None = None
    """How many hops may follow, if it is the root of a chain; None is as usual."""
    account: str = ""
    """Of one target: the account on it that the caller wants, where its protocol names none."""
    tenant: str = ""
    """``tid``, which Azure's clients look for; nobody here believes it."""

    @property
    def thumbprint(self) -> str | None:
        """The SHA-256 thumbprint (RFC 7638) of the holder's key, if the token is bound."""
        return None if self.confirmation is None else str(self.confirmation.get("jkt"))

    @property
    def node(self) -> str:
        """What the token is called among what can be revoked."""
        return f"{TOKEN}{self.id}"

    @property
    def hops_left(self) -> int:
        """How many hops may follow: what it says, or what is usual less those that it has."""
        return NEST - len(self.principal.nodes) if self.nest is None else self.nest


@define(eq=False)
class TokenSigner:
    """Signs tokens. Lives in the control process, and nowhere else.

    While its key is rotated, other keys are published besides: the next one, so that all verifiers
    know it before it signs, and the one before, until what it has signed is over.
    """

    _key: OKPKey = field(repr=False)
    issuer: str
    _besides: tuple[OKPKey, ...] = field(default=(), init=False, repr=False)

    @property
    def kid(self) -> str:
        """The key's name: its RFC 7638 thumbprint."""
        return self._key.thumbprint()

    @property
    def jwks(self) -> dict[str, Any]:
        """The public keys as a JWK Set, for `TokenVerifier`; first the one that signs."""
        return public_key_set([self._key, *self._besides])

    def publish(self, keys: Iterable[OKPKey]) -> None:
        """Publish these keys, and no others, besides the one that signs."""
        by_name = {key.thumbprint(): key for key in keys}
        by_name.pop(self.kid, None)
        self._besides = tuple(by_name.values())

    def switch(self, key: OKPKey) -> None:
        """Sign with another key, which was published; the one before is published on.

        Raises:
            ValueError: it was not published: nobody would know it.

        """
        before = self._key
        if key.thumbprint() not in {each.thumbprint() for each in (before, *self._besides)}:
            raise ValueError("a key must be published before it signs")
        self._key = key
        self.publish((before, *self._besides))

    def sign(self, token: GatewayToken) -> str:
        """Return the token in compact form.

        Raises:
            AuthenticationError: it would be longer than any verifier takes: too many groups.

        """
        principal = token.principal
        root, *others = principal.chain
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": [token.audience, *token.also] if token.also else token.audience,
            **_hop_claims(root),
            "sid": principal.session,
            "iat": int(token.issued),
            "exp": int(token.expires),
            "jti": token.id,
        }
        if principal.expires > token.expires:
            claims["session_exp"] = int(principal.expires)
        actor: dict[str, Any] | None = None
        for hop, node in zip(others, principal.nodes, strict=True):
            below = {} if actor is None else {"act": actor}
            actor = _hop_claims(hop) | {"node": node_to_dict(node)} | below
        if actor is not None:
            claims["act"] = actor
        if principal.origin != Origin():
            claims["origin"] = origin_to_dict(principal.origin)
        if token.confirmation is not None:
            claims["cnf"] = dict(token.confirmation)
        if token.nest is not None:
            claims["nest"] = token.nest
        if token.account:
            claims["account"] = token.account
        if token.tenant:
            claims["tid"] = token.tenant
        signed = sign({"typ": _TYPE, "alg": _ALGORITHM, "kid": self.kid}, claims, self._key)
        if len(signed) > TOKEN_LIMIT:
            raise AuthenticationError(f"a token of {len(signed)} characters: too many groups")
        return signed


def public_key_set(keys: Iterable[OKPKey]) -> dict[str, Any]:
    """Return a JWK Set with the public parts; for rotation, the old key and the new one."""
    return {
        "keys": [
            {
                **key.as_dict(private=False),
                "kid": key.thumbprint(),
                "use": "sig",
                "alg": _ALGORITHM,
            }
            for key in keys
        ]
    }


def _hop_claims(hop: Hop) -> dict[str, Any]:
    values = hop_to_dict(hop)
    return {"sub": values.pop("id"), **values}


def _key_set(jwks: Claims) -> KeySet:
    try:
        return read_key_set(jwks)
    except AuthenticationError as error:
        raise ConfigError(f"the gateway's token keys: {error}") from error


@define(eq=False)
class TokenVerifier:
    """Verifies tokens with the gateway's public keys.

    Args:
        jwks: the JWK Set that `TokenSigner.jwks` gave; a `ConfigError` if no key in it is usable.
        issuer: the gateway's URL.

    """

    _keys: KeySet = field(converter=_key_set, repr=False, on_setattr=setters.NO_OP)
    issuer: str

    def adopt(self, jwks: Claims) -> None:
        """Believe these keys from now on, and no others. Raises `ConfigError` as when made."""
        self._keys = _key_set(jwks)

    def verify(
        self, token: str, audience: str, now: float, *, holder: str | None = None
    ) -> Principal:
        """Return whom a token stands for.

        Args:
            token: in compact form.
            audience: `GATEWAY` or `target_audience`; the token must be for exactly this.
            now: seconds since the epoch.
            holder: thumbprint of the key that the caller has proved to hold (RFC 9449). A token
                that is bound to a key is good with that key only.

        Raises:
            AuthenticationError: it is not good; the text is for the log.

        """
        return self.verify_held(token, audience, now, holder=holder).principal

    def verify_held(
        self, token: str, audience: str, now: float, *, holder: str | None = None
    ) -> GatewayToken:
        """Return all that a token says, for who may show it; see `verify`."""
        read = self.read(token, audience, now)
        if read.confirmation is not None and read.thumbprint != holder:
            raise AuthenticationError("the token is bound to a key that the caller did not prove")
        return read

    def read(self, token: str, audience: str, now: float) -> GatewayToken:
        """Return all that a token says. The caller must check what it is bound to."""
        parsed = parse(token)
        if parsed.header.keys() != {"typ", "alg", "kid"} or parsed.header["typ"] != _TYPE:
            raise AuthenticationError("the header is not of a gateway token")
        key = self._keys.get(parsed.kid)
        if key is None:
            raise AuthenticationError("not signed by a key of this gateway")
        verify(parsed, key, (_ALGORITHM,))
        claims = parsed.claims
        if claims.get("iss") != self.issuer:
            raise AuthenticationError("iss is another gateway")
        also = _also(claims.get("aud"), audience)
        if also is None:
            raise AuthenticationError("the token is for something else")
        return _read(claims, audience, also, now)


def _also(said: object, audience: str) -> tuple[str, ...] | None:
    """Return what else a token is for; None if it is not for this audience."""
    if said == audience:
        return ()
    if not isinstance(said, list) or audience not in said or len(said) > AUDIENCES_LIMIT:
        return None
    others = tuple(each for each in said if each != audience)
    # What opens one target may open another; nothing opens the gateway itself besides.
    good = all(isinstance(each, str) and each.startswith(target_audience("")) for each in said)
    return others if good else None


def _read(claims: Claims, audience: str, also: tuple[str, ...], now: float) -> GatewayToken:
    issued, expires = moment(claims, "iat"), moment(claims, "exp")
    ends = moment(claims, "session_exp") if "session_exp" in claims else expires
    if expires <= now:  # no leeway: the clock that said it is ours
        raise AuthenticationError("expired")
    if issued - LEEWAY > now:
        raise AuthenticationError("issued in the future")
    if not issued < expires <= ends:
        raise AuthenticationError("the moments are not in order")
    confirmation = claims.get("cnf")
    if confirmation is not None and (
        not isinstance(confirmation, dict) or not isinstance(confirmation.get("jkt"), str)
    ):
        raise AuthenticationError("cnf names no thumbprint")
    return GatewayToken(
        principal=_principal(claims, ends),
        audience=audience,
        also=also,
        issued=issued,
        expires=expires,
        id=text(claims, "jti"),
        confirmation=confirmation,
        nest=_nest(claims),
        account=text(claims, "account") if "account" in claims else "",
    )


def _nest(claims: Claims) -> int | None:
    nest = claims.get("nest")
    if nest is not None and (type(nest) is not int or not 0 <= nest <= CHAIN_LIMIT):
        raise AuthenticationError("nest is not a number as it should be")
    return nest


def _principal(claims: Claims, ends: float) -> Principal:
    """Read root and actors; ``act`` has the last hop outermost."""
    actors: list[Hop] = []
    nodes: list[Node] = []
    actor = claims.get("act")
    while actor is not None:
        if not isinstance(actor, dict) or len(actors) + 1 >= CHAIN_LIMIT:
            raise AuthenticationError("act is not a chain as it should be")
        actors.append(_hop(actor))
        nodes.append(_node(actor))
        actor = actor.get("act")
    return Principal(
        chain=(_hop(claims), *reversed(actors)),
        nodes=tuple(reversed(nodes)),
        session=text(claims, "sid"),
        expires=ends,
        origin=_origin(claims),
    )


def _origin(claims: Claims) -> Origin:
    try:
        return origin_from_dict(claims.get("origin", {}))
    except (TypeError, ValueError, AttributeError) as error:
        raise AuthenticationError("origin is not as it should be") from error


def _node(claims: Claims) -> Node:
    try:
        node = node_from_dict(claims["node"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AuthenticationError("node is not as it should be") from error
    if not 0 < len(node.id) <= TEXT_LIMIT or len(node.purpose) > TEXT_LIMIT:
        raise AuthenticationError("node is not as it should be")
    return node


def _hop(claims: Claims) -> Hop:
    kind = claims.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise AuthenticationError("kind is none that we know")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= TEXT_LIMIT + 64:
        raise AuthenticationError("sub is not text")
    text(claims, "name")
    texts(claims, "groups")
    try:
        return hop_from_dict({**claims, "id": subject})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AuthenticationError("caps are not as they should be") from error
