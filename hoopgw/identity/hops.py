"""Hops of a chain of delegation, made by whoever delegates: offline, with keys that it holds.

A chain is text: ``root ~ hop ~ hop ~ ... [~ pop]``. The *root* is a gateway token that is bound to
a key. A *hop* is a small token that the holder of the part before signs; it names the child, the
child's key, and what the child is narrowed to. A *pop* (proof of possession) is signed by the last
key, for one audience, good once and for two minutes at most; it makes of the whole a password that
may be shown where no key can be proved otherwise.

==========  ==================================================  ================================
part        header                                              signed with
==========  ==================================================  ================================
root        ``typ`` ``at+jwt``, ``alg``, ``kid``                the gateway's token key
hop         exactly ``typ`` ``hoopgw-hop+jwt``, ``alg``         the key in ``cnf`` of the part
            ``EdDSA``                                           before
pop         exactly ``typ`` ``hoopgw-pop+jwt``, ``alg``         the key in ``cnf`` of the part
            ``EdDSA``                                           before
==========  ==================================================  ================================

This module is the makers' side and all that both sides share; `hoopgw.identity.chains` verifies.
Callers' programs import it: it needs joserfc and no other room of the gateway, has no clock, and
asks nobody.

References: RFC 7515, RFC 7638, RFC 7800, RFC 8037; hoopgw-delegation(7).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any, Final, Literal

from attrs import field, frozen
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from hoopgw.errors import AuthenticationError
from hoopgw.events import Budget, Cap
from hoopgw.identity.jose import Claims, encode_part, parse, sign
from hoopgw.wire_values import budget_from_dict, budget_to_dict, cap_to_dict

SEPARATOR: Final = "~"
CHAIN_BYTES: Final = 16 * 1024
"""Characters of a whole chain."""
PARTS_LIMIT: Final = 6
"""Root, hops and pop together."""
CAPS_LIMIT: Final = 64
ACTIONS_LIMIT: Final = 64
"""Actions in one cap."""
PURPOSE_LIMIT: Final = 512
POP_LIFETIME: Final = 120.0
"""Seconds that a pop may be good."""
HOP_TYPE: Final = "hoopgw-hop+jwt"
POP_TYPE: Final = "hoopgw-pop+jwt"
ALGORITHM: Final = "EdDSA"
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Names of children. ASCII: none looks like another."""
TARGET: Final = re.compile(r"\*|[a-z][a-z0-9-]{0,62}")
"""What a cap may be for: a target as the gateway's configuration names it, or all."""
ACTION: Final = re.compile(r"\*|(?:[A-Za-z][A-Za-z0-9_]{0,63}::){1,4}[!#-~]{1,128}")
"""What a cap may hold: ``Postgres::select``, a group as ``Postgres::read``, or all."""
WEAK_KEYS: Final = frozenset(
    encode_part(bytes.fromhex(point)).decode()
    for point in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    )
)
"""``x`` of the points of small order, in every spelling: anybody can sign with such a key."""
_NODE_DOMAIN: Final = b"hoopgw/node/v1\0"
_NODE_LENGTH: Final = 22
_KEY_MEMBERS: Final = ("crv", "kty", "x")


@frozen(kw_only=True)
class HopClaims:
    """What a parent says of its child."""

    name: str
    """As `NAME`; with the parent's id it makes the child's: ``corp|alice~planner``."""
    expires: float
    """Seconds since the epoch; no later than the end of any ancestor."""
    kind: Literal["agent", "workload"] = "agent"
    caps: tuple[Cap, ...] | None = None
    """What the child is narrowed to; None is no narrower than its parent."""
    nest: int | None = None
    """How many hops may follow; None is as many as the parent leaves."""
    budget: Budget | None = None
    """For the child and all that descends from it; None is none of its own."""
    purpose: str = ""
    """The prompt or job step; recorded as unverified."""
    isolated: bool = False
    """Whether the child cannot read its parent's key."""
    id: str = field(factory=lambda: secrets.token_urlsafe(12))


def mint_hop(
    parent_token: str,
    parent_key: OKPKey,
    child_key: OKPKey | Mapping[str, Any],
    claims: HopClaims,
    now: float,
) -> str:
    """Return the parent's chain with one hop more.

    Args:
        parent_token: a chain without a pop, or a gateway token that is bound to the key.
        parent_key: the private key that the last part of it confirms.
        child_key: the child's public Ed25519 key; of a private one only the public part is taken.
        claims: what is said of the child.
        now: seconds since the epoch.

    Raises:
        ValueError: no verifier would take the result. What only the gateway can know (the end of
            an ancestor, what was revoked) is not looked at.

    """
    _check(claims, now)
    said: dict[str, Any] = {
        "prv": _previous(parent_token, parent_key),
        "iat": int(now),
        "exp": int(claims.expires),
        "jti": claims.id,
        "cnf": {"jwk": public_jwk(child_key)},
        "kind": claims.kind,
        "name": claims.name,
    }
    if claims.caps is not None:
        said["caps"] = [cap_to_dict(cap) for cap in claims.caps]
    if claims.nest is not None:
        said["nest"] = claims.nest
    if claims.budget is not None:
        said["budget"] = budget_to_dict(claims.budget)
    if claims.purpose:
        said["purpose"] = claims.purpose
    if claims.isolated:
        said["isolated"] = True
    return _joined(parent_token, sign({"typ": HOP_TYPE, "alg": ALGORITHM}, said, parent_key))


def prove(
    token: str, key: OKPKey, audience: str, now: float, lifetime: float = POP_LIFETIME
) -> str:
    """Return a chain with a pop: a password, good once.

    Args:
        token: a chain without a pop, or a gateway token that is bound to the key.
        key: the private key that the last part of it confirms.
        audience: `hoopgw.identity.tokens.target_audience` of the one target that it is for.
        now: seconds since the epoch.
        lifetime: seconds until it must have been shown, at most `POP_LIFETIME`.

    Raises:
        ValueError: the token has a pop already, does not confirm the key, or would be too long.

    """
    if not 1 <= lifetime <= POP_LIFETIME:
        raise ValueError(f"a pop is good for 1 to {POP_LIFETIME:.0f} seconds, not {lifetime}")
    claims = {
        "prv": _previous(token, key),
        "aud": audience,
        "iat": int(now),
        "exp": int(now) + int(lifetime),
        "jti": secrets.token_urlsafe(16),
    }
    return _joined(token, sign({"typ": POP_TYPE, "alg": ALGORITHM}, claims, key))


def public_jwk(key: OKPKey | Mapping[str, Any]) -> dict[str, str]:
    """Return the three members of an Ed25519 key that say which it is.

    Raises:
        ValueError: it is no Ed25519 key.

    """
    members = key.as_dict(private=False) if isinstance(key, OKPKey) else key
    if members.get("kty") != "OKP" or members.get("crv") != "Ed25519":
        raise ValueError("not an Ed25519 key")
    try:
        OKPKey.import_key({name: members[name] for name in _KEY_MEMBERS})
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise ValueError("a malformed Ed25519 key") from error
    return {name: str(members[name]) for name in _KEY_MEMBERS}


def thumbprint_of(x: str) -> str:
    """Return the SHA-256 thumbprint (RFC 7638) of an Ed25519 key, given its ``x``."""
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'
    return encode_part(hashlib.sha256(canonical.encode()).digest()).decode()


def part_hash(part: str) -> str:
    """Return what ``prv`` of the next part must say: SHA-256 over the part as it stands."""
    return encode_part(hashlib.sha256(part.encode()).digest()).decode()


def node_id(parent: str, thumbprint: str) -> str:
    """Return the id of a delegation.

    The same parent that delegates to the same key again makes the same node, so minting anew and
    refreshing the root keep what was revoked and what was spent.

    Args:
        parent: id of the node above; of a root it is the log-in's ``sid``.
        thumbprint: of the child's key.

    """
    made_of = _NODE_DOMAIN + parent.encode() + b"\0" + thumbprint.encode()
    return encode_part(hashlib.sha256(made_of).digest())[:_NODE_LENGTH].decode()


def is_chain(text: str) -> bool:
    """Whether a text is meant as a chain, rather than as one token."""
    return SEPARATOR in text


def _previous(token: str, key: OKPKey) -> str:
    """Return ``prv`` for the part after the last, which must confirm the key."""
    last = token.rpartition(SEPARATOR)[2]
    try:
        parsed = parse(last)
    except AuthenticationError as error:
        raise ValueError(f"not a chain: {error}") from error
    if parsed.header.get("typ") == POP_TYPE:
        raise ValueError("nothing can follow a pop")
    if _confirmed(parsed.claims) != public_jwk(key)["x"]:
        raise ValueError("the last part of the chain is bound to another key, or to none")
    return part_hash(last)


def _confirmed(claims: Claims) -> str | None:
    confirmation = claims.get("cnf")
    jwk = confirmation.get("jwk") if isinstance(confirmation, dict) else None
    x = jwk.get("x") if isinstance(jwk, dict) else None
    return x if isinstance(x, str) else None


def _joined(token: str, part: str) -> str:
    whole = token + SEPARATOR + part
    if whole.count(SEPARATOR) >= PARTS_LIMIT:
        raise ValueError(f"a chain has {PARTS_LIMIT} parts at most")
    if len(whole) > CHAIN_BYTES:
        raise ValueError(f"a chain of {len(whole)} characters is too long")
    return whole


def _check(claims: HopClaims, now: float) -> None:
    if not NAME.fullmatch(claims.name):
        raise ValueError(f"a name is 1 to 64 of a-z 0-9 . _ -, not {claims.name!r}")
    if claims.expires <= now + 1:
        raise ValueError("the hop would be over at once")
    if claims.nest is not None and not 0 <= claims.nest < PARTS_LIMIT:
        raise ValueError(f"nest is 0 to {PARTS_LIMIT - 1}")
    if len(claims.purpose) > PURPOSE_LIMIT or not claims.purpose.isprintable():
        raise ValueError(f"a purpose is printable text of at most {PURPOSE_LIMIT} characters")
    if claims.budget is not None:
        budget_from_dict(budget_to_dict(claims.budget))
    _check_caps(claims.caps or ())


def _check_caps(caps: tuple[Cap, ...]) -> None:
    if len(caps) > CAPS_LIMIT:
        raise ValueError(f"a hop has {CAPS_LIMIT} caps at most")
    for cap in caps:
        if not TARGET.fullmatch(cap.target):
            raise ValueError(f"not a target, nor *: {cap.target!r}")
        if wrong := [action for action in cap.actions if not ACTION.fullmatch(action)]:
            raise ValueError(f"not an action with its namespace, nor *: {wrong[0]!r}")
        if len(cap.actions) > ACTIONS_LIMIT:
            raise ValueError(f"a cap has {ACTIONS_LIMIT} actions at most")
