"""A forge of tokens for tests: good ones, and whatever an attacker could send."""

from __future__ import annotations

import functools
import hmac
import json
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from joserfc.jwk import ECKey, OKPKey, RSAKey
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hoopgw.identity.jose import encode_part, sign
from hoopgw.identity.settings import IssuerSettings

T = TypeVar("T")

NOW = 1_790_000_000.0
ISSUER = "https://idp.example/realm"
CLIENT = "hoopgw-cli"


@functools.cache
def rsa_key(name: str = "one") -> RSAKey:
    """Return a key; the same name gives the same key."""
    return RSAKey.generate_key(2048, {"kid": name})


def public_jwk(key: RSAKey | ECKey | OKPKey, kid: str, **changes: Any) -> dict[str, Any]:
    """Return how an issuer publishes a key."""
    return {**key.as_dict(private=False), "kid": kid, "use": "sig", **changes}


def key_set(*keys: dict[str, Any]) -> bytes:
    """Return a JWK Set as JSON."""
    return json.dumps({"keys": list(keys)}).encode()


def settings(**changes: Any) -> IssuerSettings:
    """Return settings for the forge's issuer."""
    values: dict[str, Any] = {
        "alias": "corp",
        "issuer": ISSUER,
        "client_id": CLIENT,
        "audiences": ["hoopgw"],
    }
    return IssuerSettings(**(values | changes))


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a good access token; None leaves a claim out."""
    values: dict[str, Any] = {
        "iss": ISSUER,
        "sub": "alice-1",
        "aud": "hoopgw",
        "azp": CLIENT,
        "name": "Alice",
        "groups": ["dba", "staff"],
        "iat": NOW - 10,
        "exp": NOW + 600,
    }
    return {name: value for name, value in (values | changes).items() if value is not None}


def token(
    given: Mapping[str, Any] | None = None,
    *,
    key: RSAKey | None = None,
    **header: Any,
) -> str:
    """Return a token signed with RS256; header members of None are left out."""
    members: dict[str, Any] = {"typ": "JWT", "alg": "RS256", "kid": "one", **header}
    members = {name: value for name, value in members.items() if value is not None}
    return sign(members, claims() if given is None else given, key or rsa_key())


def raw(header: bytes, body: bytes, signature: bytes = b"x") -> str:
    """Return a token of these very bytes."""
    return b".".join(encode_part(part) for part in (header, body, signature)).decode()


def hmac_token(given: Mapping[str, Any], secret: bytes) -> str:
    """Return a token signed with HS256; no library would take a public key for that."""
    header = {"typ": "JWT", "alg": "HS256", "kid": "one"}
    signed = b".".join(encode_part(json.dumps(part).encode()) for part in (header, given))
    return (signed + b"." + encode_part(hmac.digest(secret, signed, "sha256"))).decode()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine that does not wait gives, or raise what it raises."""
    results: list[T | Failure] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    if not results:
        raise AssertionError("it waits")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]
