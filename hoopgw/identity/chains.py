"""Chains of delegation, verified: ``root ~ hop ~ hop ~ ... [~ pop]``. Pure: no clock, no I/O.

What the parts are is said in `hoopgw.identity.hops`. Every hop is signed by whom the part before
confirms, so nobody can write a hop in another's name, leave one out, or put one in between; and
each may only take away: time, depth, actions. Nothing in a hop can name a root, a group or an
audience.

Invariants, each with a test in ``tests/identity/test_chains.py`` or ``tests/adversarial``:

- Whatever the text, the only exception is `AuthenticationError`.
- A chain is good only together with a proof that its last key is held: a pop in it, or a
  thumbprint that the transport proved (TLS client certificate, DPoP).
- What is not understood is refused: unknown claims and header members, doubled members, other
  algorithms, other types.
- No part ends after any of its ancestors, and the principal ends with the first of them.

Not looked at here, as it needs memory: whether a pop was used before (`Proof`), and whether
anything of the lineage was revoked.

References: RFC 7515, RFC 7638, RFC 7800, RFC 8037, RFC 8725; hoopgw-delegation(7).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import evolve, field, frozen

from hoopgw.errors import AuthenticationError
from hoopgw.events import Budget, Cap, Hop, HopKind, Node, Principal
from hoopgw.identity.hops import (
    ACTION,
    ACTIONS_LIMIT,
    ALGORITHM,
    CAPS_LIMIT,
    CHAIN_BYTES,
    HOP_TYPE,
    NAME,
    PARTS_LIMIT,
    POP_LIFETIME,
    POP_TYPE,
    PURPOSE_LIMIT,
    SEPARATOR,
    TARGET,
    WEAK_KEYS,
    node_id,
    part_hash,
    thumbprint_of,
)
from hoopgw.identity.jose import Claims, PublicKey, SignedToken, parse, public_key, verify
from hoopgw.identity.oidc import LEEWAY, moment, text
from hoopgw.identity.tokens import CHAIN_LIMIT, GATEWAY, GatewayToken, TokenVerifier
from hoopgw.wire_values import budget_from_dict

_KINDS: Final[Mapping[str, HopKind]] = {"agent": "agent", "workload": "workload"}
_NEVER: Final = frozenset({"sub", "iss", "groups", "aud", "sid", "act"})
_HOP_NEEDS: Final = frozenset({"prv", "iat", "exp", "jti", "cnf", "kind", "name"})
_HOP_MAY: Final = frozenset({"caps", "nest", "budget", "purpose", "isolated"})
_POP_NEEDS: Final = frozenset({"prv", "aud", "iat", "exp", "jti"})
_KEY: Final = {"kty": "OKP", "crv": "Ed25519"}


@frozen(kw_only=True)
class Proof:
    """A pop that was found good: it must not be seen twice until it is over."""

    id: str
    """Of the pop, with the key that signed it."""
    expires: float


@frozen(kw_only=True)
class ShownChain:
    """A chain that was found good, but for what needs memory."""

    principal: Principal
    proof: Proof | None
    """To be used up, once. None: the transport has proved the key."""
    thumbprint: str
    """RFC 7638, of the last key."""
    key: Mapping[str, str]
    """The last key, as JWK."""
    hops_left: int
    """Hops that may follow."""
    ends: tuple[float, ...]
    """When each delegation ends by itself, in order; the principal ends with the first."""


def read_chain(
    token: str,
    audience: str,
    now: float,
    verifier: TokenVerifier,
    *,
    holder: str | None = None,
) -> ShownChain:
    """Verify a chain. The caller must use its proof up, and look whether it was revoked.

    Args:
        token: the whole chain.
        audience: `hoopgw.identity.tokens.target_audience`, or `GATEWAY`: what the pop is for.
        now: seconds since the epoch.
        verifier: of the root.
        holder: thumbprint of the key that the transport has proved, if it has.

    Raises:
        AuthenticationError: it is not good; the text is for the log.

    """
    if len(token) > CHAIN_BYTES:
        raise AuthenticationError(f"a chain of {len(token)} characters")
    root, *others = token.split(SEPARATOR)
    if len(others) >= PARTS_LIMIT:
        raise AuthenticationError(f"a chain of {len(others) + 1} parts")
    parsed = [parse(part) for part in others]
    shown = parsed.pop() if parsed and parsed[-1].header.get("typ") == POP_TYPE else None
    reading = _begin(root, verifier.read(root, GATEWAY, now))
    for part, signed in zip(others, parsed, strict=False):
        reading = _follow(reading, part, signed, now)
    proof = None
    if shown is not None:
        proof = _proof(reading, shown, audience, now)
    elif holder is None or holder != reading.thumbprint:
        raise AuthenticationError("nothing proves that the chain's last key is held")
    return ShownChain(
        principal=reading.principal,
        proof=proof,
        thumbprint=reading.thumbprint,
        key={k: str(v) for k, v in reading.key.key.as_dict(private=False).items()},
        hops_left=reading.nest,
        ends=reading.ends,
    )


def verify_chain(
    token: str,
    audience: str,
    now: float,
    verifier: TokenVerifier,
    used: Callable[[str, float], bool],
    *,
    holder: str | None = None,
) -> Principal:
    """Verify a chain, use its proof up, and return whom it stands for.

    Args:
        token: the whole chain.
        audience: as for `read_chain`.
        now: seconds since the epoch.
        verifier: of the root.
        used: given a proof's id and its end, remembers it and says whether it is new.
        holder: as for `read_chain`.

    Raises:
        AuthenticationError: it is not good; the text is for the log.

    """
    shown = read_chain(token, audience, now, verifier, holder=holder)
    if shown.proof is not None and not used(shown.proof.id, shown.proof.expires):
        raise AuthenticationError("the pop was used before")
    return shown.principal


@frozen(kw_only=True)
class _Reading:
    """What is known after some parts: whom they stand for, and what the next may say at most."""

    principal: Principal
    part: str = field(repr=False)
    """The last of them, which the next must name."""
    key: PublicKey = field(repr=False)
    """That must sign the next."""
    thumbprints: tuple[str, ...]
    nest: int
    """Hops that may follow."""
    ends: tuple[float, ...]
    """Of the delegations so far."""

    @property
    def thumbprint(self) -> str:
        return self.thumbprints[-1]


def _begin(part: str, root: GatewayToken) -> _Reading:
    """Take the root, of which the gateway's signature was verified."""
    confirmation = root.confirmation or {}
    key, thumbprint = key_of(confirmation.get("jwk"))
    if thumbprint != root.thumbprint:
        raise AuthenticationError("the root is bound to another key than it names")
    if SEPARATOR in root.principal.root.id:
        raise AuthenticationError("the root's name could be taken for that of a child")
    return _Reading(
        principal=evolve(root.principal, proved=True),
        part=part,
        key=key,
        thumbprints=(thumbprint,),
        nest=root.hops_left,
        ends=(root.principal.expires,) * len(root.principal.nodes),
    )


def _follow(before: _Reading, part: str, signed: SignedToken, now: float) -> _Reading:
    """Take a hop: verify it with the key of the part before, and narrow what was."""
    claims = _signed_by(before, signed, HOP_TYPE, _HOP_NEEDS, _HOP_MAY)
    if before.nest < 1 or len(before.principal.chain) >= CHAIN_LIMIT:
        raise AuthenticationError("the chain is longer than its root or a hop lets it be")
    expires = _end(claims, now)
    if expires > before.principal.expires:
        raise AuthenticationError("a hop ends after what it descends from")
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict) or confirmation.keys() != {"jwk"}:
        raise AuthenticationError("cnf is not exactly a key")
    key, thumbprint = key_of(confirmation["jwk"])
    if thumbprint in before.thumbprints:
        raise AuthenticationError("a hop has the key of what it descends from")
    principal = before.principal
    own = nest_of(claims)
    return _Reading(
        principal=evolve(
            principal,
            chain=(*principal.chain, hop_of(claims, principal.chain[-1].id)),
            nodes=(*principal.nodes, node_of(claims, node_id(principal.lineage[-1], thumbprint))),
            expires=expires,
        ),
        part=part,
        key=key,
        thumbprints=(*before.thumbprints, thumbprint),
        nest=before.nest - 1 if own is None else min(before.nest - 1, own),
        ends=(*before.ends, expires),
    )


def _proof(last: _Reading, signed: SignedToken, audience: str, now: float) -> Proof:
    """Take the pop, which the last key signed."""
    claims = _signed_by(last, signed, POP_TYPE, _POP_NEEDS, frozenset())
    if claims["aud"] != audience:
        raise AuthenticationError("the pop is for something else")
    expires = _end(claims, now)
    if expires - moment(claims, "iat") > POP_LIFETIME:
        raise AuthenticationError(f"the pop is good for more than {POP_LIFETIME:.0f} s")
    return Proof(id=f"pop|{last.thumbprint}|{text(claims, 'jti')}", expires=expires)


def _signed_by(
    before: _Reading,
    signed: SignedToken,
    kind: str,
    needs: frozenset[str],
    may: frozenset[str],
) -> Claims:
    """Return the claims of a part, if the part before confirms who signed it."""
    if signed.header.keys() != {"typ", "alg"} or signed.header["typ"] != kind:
        raise AuthenticationError(f"the header is not exactly that of a {kind}")
    verify(signed, before.key, (ALGORITHM,))
    claims = signed.claims
    if claims.get("prv") != part_hash(before.part):
        raise AuthenticationError("prv is not the part before")
    if wrong := claims.keys() & (_NEVER - needs):
        raise AuthenticationError(f"a part below the root says {', '.join(sorted(wrong))}")
    if missing := needs - claims.keys():
        raise AuthenticationError(f"{', '.join(sorted(missing))} missing")
    if claims.keys() - needs - may:
        raise AuthenticationError("a claim that is not known")
    text(claims, "jti")
    return claims


def _end(claims: Claims, now: float) -> float:
    """Return ``exp``, if it is to come and in order."""
    issued, expires = moment(claims, "iat"), moment(claims, "exp")
    if expires <= now:
        raise AuthenticationError("a part of the chain has expired")
    if issued - LEEWAY > now:
        raise AuthenticationError("a part of the chain was issued in the future")
    if issued >= expires:
        raise AuthenticationError("the moments are not in order")
    return expires


def key_of(jwk: object) -> tuple[PublicKey, str]:
    """Return an Ed25519 key and its thumbprint; exactly the members that say which it is."""
    if not isinstance(jwk, dict) or jwk.keys() != {*_KEY, "x"}:
        raise AuthenticationError("cnf.jwk is not exactly a public Ed25519 key")
    if any(jwk[name] != value for name, value in _KEY.items()):
        raise AuthenticationError("cnf.jwk is a key of another kind")
    key = public_key(jwk)
    if jwk["x"] in WEAK_KEYS:
        raise AuthenticationError("cnf.jwk is a key with which anybody can sign")
    return PublicKey(key, ALGORITHM), thumbprint_of(jwk["x"])


def hop_of(claims: Claims, parent: str) -> Hop:
    """Return the hop that its claims say: a child of the hop with that id.

    Raises:
        AuthenticationError: something in them is not as it should be.

    """
    name, kind = claims["name"], claims["kind"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise AuthenticationError("name is not as it should be")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise AuthenticationError("kind is neither agent nor workload")
    isolated = claims.get("isolated", False)
    if not isinstance(isolated, bool):
        raise AuthenticationError("isolated is neither true nor false")
    return Hop(
        id=f"{parent}{SEPARATOR}{name}",
        name=name,
        kind=_KINDS[kind],
        caps=_caps(claims["caps"]) if "caps" in claims else None,
        isolated=isolated,
    )


def node_of(claims: Claims, node: str) -> Node:
    """Return what the claims say of the delegation with that id. Raises as `hop_of`."""
    purpose = text(claims, "purpose") if "purpose" in claims else ""
    if len(purpose) > PURPOSE_LIMIT:
        raise AuthenticationError("purpose is too long")
    return Node(
        id=node,
        budget=_budget(claims["budget"]) if "budget" in claims else None,
        purpose=purpose,
    )


def nest_of(claims: Claims) -> int | None:
    """Return how many hops may follow at most; None if it is not said. Raises as `hop_of`."""
    if "nest" not in claims:
        return None
    nest = claims["nest"]
    if type(nest) is not int or not 0 <= nest < PARTS_LIMIT:  # JSON's true is no number
        raise AuthenticationError("nest is not a number as it should be")
    return nest


def _budget(values: object) -> Budget:
    if not isinstance(values, dict):
        raise AuthenticationError("budget is not an object")
    try:
        return budget_from_dict(values)
    except ValueError as error:
        raise AuthenticationError(str(error)) from error


def _caps(values: object) -> tuple[Cap, ...]:
    if not isinstance(values, list) or len(values) > CAPS_LIMIT:
        raise AuthenticationError(f"caps is not a list of at most {CAPS_LIMIT}")
    return tuple(_cap(value) for value in values)


def _cap(value: object) -> Cap:
    if not isinstance(value, dict) or value.keys() != {"target", "actions"}:
        raise AuthenticationError("a cap is not exactly target and actions")
    target, actions = value["target"], value["actions"]
    if not isinstance(target, str) or not TARGET.fullmatch(target):
        raise AuthenticationError("a cap's target is not as it should be")
    if not isinstance(actions, list) or not 0 < len(actions) <= ACTIONS_LIMIT:
        raise AuthenticationError(f"a cap's actions are not a list of 1 to {ACTIONS_LIMIT}")
    if not all(isinstance(action, str) and ACTION.fullmatch(action) for action in actions):
        raise AuthenticationError("a cap's action is not as it should be")
    return Cap(target=target, actions=frozenset(actions))
