"""Signed tokens and public keys as they come from outside: parsed strictly, verified, no I/O.

joserfc verifies signatures well and checks little else (it does not look at ``typ``, and picks a
key when ``kid`` is missing; others take ``exp`` as a string), so the rest is done here.

Invariants, each with a test in ``tests/identity/test_jose.py``:

- Whatever the input, the only exception is `AuthenticationError`.
- The signature is verified over the same bytes that were parsed, and one token has one spelling:
  base64url with stray bits or padding is refused.
- No header member ever leads to a key, a certificate or a request: ``jku``, ``jwk``, ``x5u`` and
  ``x5c`` are not read.
- No private or symmetric key is ever taken for verifying.

References: RFC 7515, 7517, 7518, 8037, 8725.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, TypeAlias

from attrs import field, frozen
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from hoopgw.errors import AuthenticationError

TOKEN_LIMIT: Final = 16 * 1024
"""Characters of a token. Entra ID's with 200 groups have about 10,000."""
KID_LIMIT: Final = 256
KEYS_LIMIT: Final = 64
_RSA_BITS: Final = range(2048, 8193)  # below it is weak, above it is a way to burn our time
_NEVER: Final = frozenset({"crit", "b64", "enc", "zip"})
_PART: Final = re.compile(rb"[A-Za-z0-9_-]+")
_MEMBERS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_CURVES: Final = {"EC": ("P-256", "P-384", "P-521"), "OKP": ("Ed25519",)}

Claims: TypeAlias = Mapping[str, Any]
"""JSON members to what JSON gives. ``Any`` ends where each claim is checked."""


@frozen
class PublicKey:
    """A key that verifies signatures, and the one algorithm that its owner says it is for."""

    key: RSAKey | ECKey | OKPKey = field(repr=False)
    algorithm: str | None = None
    issuer: str | None = None
    """Whose tokens it signs, if its owner says so: Entra ID does, for all tenants in one set."""


KeySet: TypeAlias = Mapping[str, PublicKey]
"""Public keys by ``kid``."""


@frozen
class SignedToken:
    """A token that was taken apart, and not verified."""

    header: Claims
    claims: Claims = field(repr=False)
    signed: bytes = field(repr=False)
    """What the signature is over."""
    signature: bytes = field(repr=False)

    @property
    def kid(self) -> str:
        """The key that it names. Raises `AuthenticationError` if it names none."""
        kid = self.header.get("kid")
        if not isinstance(kid, str) or not 0 < len(kid) <= KID_LIMIT:
            raise AuthenticationError("kid is not a string of 1 to 256 characters")
        return kid


def parse(token: str) -> SignedToken:
    """Take a token apart.

    Raises:
        AuthenticationError: it is not a JWS in compact form that holds two JSON objects, or its
            header asks for something that changes its meaning.

    """
    if len(token) > TOKEN_LIMIT:
        raise AuthenticationError(f"a token of {len(token)} characters")
    try:
        parts = token.encode("ascii").split(b".")
    except UnicodeEncodeError as error:
        raise AuthenticationError("a token with characters outside ASCII") from error
    if len(parts) != 3:
        raise AuthenticationError(f"a token of {len(parts)} parts")
    header = parse_object(decode_part(parts[0]))
    if asked := _NEVER & header.keys():
        raise AuthenticationError(f"the header has {sorted(asked)}")
    claims = parse_object(decode_part(parts[1]))
    return SignedToken(header, claims, parts[0] + b"." + parts[1], decode_part(parts[2]))


def verify(token: SignedToken, key: PublicKey, algorithms: Iterable[str]) -> None:
    """Verify the signature, with an algorithm that is allowed and fits the key.

    Raises:
        AuthenticationError: it is not good.

    """
    name = token.header.get("alg")
    if not isinstance(name, str) or name not in algorithms:
        raise AuthenticationError(f"alg {str(name)[:20]!r} is not allowed")
    if key.algorithm is not None and key.algorithm != name:
        raise AuthenticationError(f"alg {name!r}, but the key is for {key.algorithm!r}")
    algorithm = JWSRegistry.algorithms[name]
    try:
        algorithm.check_key(key.key)
        good = algorithm.verify(token.signed, token.signature, key.key)
    except (JoseError, ValueError) as error:
        raise AuthenticationError(f"the key does not fit alg {name!r}") from error
    if not good:
        raise AuthenticationError("the signature is wrong")


def sign(header: Claims, claims: Claims, key: Key) -> str:
    """Return a token in compact form, signed with ``header["alg"]``."""
    signed = b".".join(
        encode_part(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims)
    )
    algorithm = JWSRegistry.algorithms[header["alg"]]
    algorithm.check_key(key)
    return (signed + b"." + encode_part(algorithm.sign(signed, key))).decode("ascii")


def encode_part(data: bytes) -> bytes:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def decode_part(part: bytes) -> bytes:
    """Return what `encode_part` was given; any other spelling is an `AuthenticationError`."""
    if not _PART.fullmatch(part):
        raise AuthenticationError("not base64url")
    try:
        data = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except binascii.Error as error:
        raise AuthenticationError("not base64url") from error
    if encode_part(data) != part:
        raise AuthenticationError("base64url with stray bits")
    return data


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object: no doubled members, no NaN or infinity, no half characters.

    Raises:
        AuthenticationError: it is none.

    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_doubles,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
        if b"\\u" in data:
            # Only an escape can smuggle a lone surrogate in, which no later encoder takes.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise AuthenticationError("not JSON as it should be") from error
    if not isinstance(value, dict):
        raise AuthenticationError("JSON, but no object")
    return value


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member twice")
    return members


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number out of range")
    return value


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def read_key_set(document: Claims, uses: Collection[str | None] = ("sig",)) -> KeySet:
    """Read a JWK Set, and keep the keys that may verify signatures.

    Args:
        document: the set.
        uses: values of ``use`` that count; None among them is a key without.

    Keys of other kinds, weak ones and those with a private part are left out, and so is every key
    whose ``kid`` another, different key has too.

    Raises:
        AuthenticationError: it is no key set, too large, or no usable key is in it.

    """
    members = document.get("keys")
    if not isinstance(members, list) or len(members) > KEYS_LIMIT:
        raise AuthenticationError(f"not a list of at most {KEYS_LIMIT} keys")
    keys: dict[str, PublicKey] = {}
    first: dict[str, Claims] = {}
    doubted: set[str] = set()
    for member in members:
        key = _parse_key(member, uses) if isinstance(member, dict) else None
        if key is not None:
            kid: str = member["kid"]
            keys[kid] = key
            if first.setdefault(kid, member) != member:
                doubted.add(kid)
    for kid in doubted:
        del keys[kid]
    if not keys:
        raise AuthenticationError("no usable key in the set")
    return keys


def _parse_key(member: Claims, uses: Collection[str | None]) -> PublicKey | None:
    kid, algorithm, issuer = member.get("kid"), member.get("alg"), member.get("issuer")
    if not isinstance(kid, str) or not 0 < len(kid) <= KID_LIMIT:
        return None
    use = member.get("use")
    if not (use is None or isinstance(use, str)) or use not in uses:
        return None
    if not all(value is None or isinstance(value, str) for value in (algorithm, issuer)):
        return None
    operations = member.get("key_ops", ["verify"])
    if _PRIVATE & member.keys() or not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        key = public_key(member)
    except AuthenticationError:
        return None
    return PublicKey(key, algorithm, issuer)


def public_key(member: Claims) -> RSAKey | ECKey | OKPKey:
    """Return the public key that a JWK describes; only its public members are read.

    Raises:
        AuthenticationError: it is of another kind or curve, malformed, or too weak.

    """
    kind = member.get("kty")
    if not isinstance(kind, str) or kind not in _MEMBERS:
        raise AuthenticationError("not an RSA, EC or OKP key")
    values = {name: member.get(name) for name in _MEMBERS[kind]}
    if not all(isinstance(value, str) for value in values.values()):
        raise AuthenticationError("a key without its members")
    if kind in _CURVES and values["crv"] not in _CURVES[kind]:
        raise AuthenticationError("a key of another curve")
    for name in values.keys() - {"crv"}:
        decode_part(str(values[name]).encode("utf-8", "replace"))
    try:
        return _import(kind, values)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise AuthenticationError("a malformed key") from error


def _import(kind: str, values: dict[str, Any]) -> RSAKey | ECKey | OKPKey:
    whole = {"kty": kind, **values}
    match kind:
        case "EC":
            return ECKey.import_key(whole)
        case "OKP":
            return OKPKey.import_key(whole)
    bits = int.from_bytes(decode_part(values["n"].encode()), "big").bit_length()
    if bits not in _RSA_BITS:  # before the library sees it, which only warns
        raise ValueError(f"an RSA key of {bits} bits")
    return RSAKey.import_key(whole)
