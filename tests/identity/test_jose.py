"""Tests for `hoopgw.identity.jose`."""

from __future__ import annotations

import base64
import json
import warnings
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError
from hoopgw.identity.jose import (
    TOKEN_LIMIT,
    KeySet,
    PublicKey,
    decode_part,
    encode_part,
    parse,
    parse_object,
    read_key_set,
    sign,
    verify,
)
from tests.identity.forge import claims, hmac_token, key_set, public_jwk, raw, rsa_key, token


def keys_of(*members: dict[str, Any]) -> KeySet:
    """Return the usable keys of a set."""
    return read_key_set(parse_object(key_set(*members)))


def rs256() -> PublicKey:
    """Return the public key of good tokens."""
    return keys_of(public_jwk(rsa_key(), "one", alg="RS256"))["one"]


class ParseTests(SynchronousTestCase):
    """Tests for `parse`."""

    def test_good_token(self) -> None:
        """Header, claims, what is signed and the signature come out."""
        text = token()
        parsed = parse(text)
        self.assertEqual(parsed.claims, claims())
        self.assertEqual((parsed.kid, parsed.header["alg"]), ("one", "RS256"))
        self.assertEqual(parsed.signed, text.rpartition(".")[0].encode())
        verify(parsed, rs256(), ("RS256",))

    def test_malformed(self) -> None:
        """Each is refused."""
        good = token()
        head, body, signature = good.split(".")
        for wrong in (
            "",
            "a.b",
            good + ".x",
            f"{head}=.{body}.{signature}",
            f"{head}.{body}.",
            f" {good}",
            f"{good}\n",
            f"{head}.{body}.{signature[:-1]}é",
            raw(b"[]", b"{}"),
            raw(b"{}", b"1"),
            raw(b"{}", b"{"),
            raw(b"\xff", b"{}"),
            raw(b"{}", b'{"a":1,"a":1}'),
            raw(b'{"alg":"none","alg":"RS256"}', b"{}"),
            raw(b"{}", b'{"a":{"b":1,"b":2}}'),
            raw(b"{}", b'{"exp":NaN}'),
            raw(b"{}", b'{"exp":Infinity}'),
            raw(b"{}", b'{"exp":1e999}'),
            raw(b"{}", b'{"sub":"\\ud800"}'),
            raw(b"{}", b"[" * 9000),
            raw(b"{}", b'{"exp":' + b"9" * 5000 + b"}"),
        ):
            with self.subTest(wrong[:40]):
                self.assertRaises(AuthenticationError, parse, wrong)

    def test_size(self) -> None:
        """20,000 characters are not even looked at."""
        with self.assertRaisesRegex(AuthenticationError, "20000 characters"):
            parse("a" * 20_000)
        self.assertRaises(AuthenticationError, parse, "." * TOKEN_LIMIT)

    def test_members_that_change_the_meaning(self) -> None:
        """``crit``, ``b64``, ``enc`` and ``zip`` are refused whatever they say."""
        for text, name in (
            (token(crit=["exp"]), "crit"),
            (token(b64=False), "b64"),
            (token(enc=""), "enc"),
            (token(zip=0), "zip"),
        ):
            with self.assertRaisesRegex(AuthenticationError, name):
                parse(text)

    def test_kid(self) -> None:
        """It is a string, of a limited length."""
        for kid in (None, 1, "", "k" * 257, ["one"]):
            parsed = parse(token(kid=kid))
            self.assertRaises(AuthenticationError, lambda parsed=parsed: parsed.kid)

    @given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")))
    def test_garbage(self, garbage: str) -> None:
        """No text makes it raise anything else."""
        with self.assertRaises(AuthenticationError):
            parse(garbage)

    @given(st.binary(max_size=60), st.binary(max_size=60), st.binary(min_size=1, max_size=8))
    def test_garbage_inside(self, header: bytes, body: bytes, signature: bytes) -> None:
        """Nor do any bytes in well-formed parts."""
        try:
            parsed = parse(raw(header, body, signature))
            verify(parsed, rs256(), ("RS256",))
        except AuthenticationError:
            return
        self.fail("garbage was verified")

    @given(st.binary(min_size=1))
    def test_one_spelling(self, data: bytes) -> None:
        """Every other last character that means the same bytes is refused."""
        part = encode_part(data)
        self.assertEqual(decode_part(part), data)
        for last in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
            other = part[:-1] + bytes([last])
            lenient = base64.urlsafe_b64decode(other + b"=" * (-len(other) % 4))
            if other != part and lenient == data:
                self.assertRaises(AuthenticationError, decode_part, other)


class VerifyTests(SynchronousTestCase):
    """Tests for `verify`."""

    def refused(self, text: str, key: PublicKey, *algorithms: str) -> None:
        with self.assertRaises(AuthenticationError):
            verify(parse(text), key, algorithms)

    def test_every_byte_counts(self) -> None:
        """A change anywhere in what is signed, or in the signature, is noticed."""
        head, body, signature = token().split(".")
        forged = encode_part(json.dumps(claims(sub="mallory")).encode()).decode()
        self.refused(f"{head}.{forged}.{signature}", rs256(), "RS256")
        bits = bytearray(decode_part(signature.encode()))
        for index in (0, 100, 255):
            bits[index] ^= 1
            self.refused(f"{head}.{body}.{encode_part(bytes(bits)).decode()}", rs256(), "RS256")
            bits[index] ^= 1
        self.refused(f"{head}.{body}.{signature[:40]}", rs256(), "RS256")

    def test_none(self) -> None:
        """``alg: none`` is refused, in any spelling, even if somebody allows it."""
        for name in ("none", "None", "NONE", ""):
            text = raw(json.dumps({"alg": name}).encode(), b"{}")
            self.refused(text, rs256(), "RS256")
        self.refused(raw(b'{"alg":"none"}', b"{}"), rs256(), "RS256", "none")

    def test_public_key_as_hmac_secret(self) -> None:
        """The classic confusion: HS256 with the public key, as PEM or DER or JWK."""
        key = rsa_key()
        for secret in (key.as_pem(private=False), key.as_der(private=False)):
            forged = hmac_token(claims(), secret)
            self.refused(forged, rs256(), "RS256")
            self.refused(forged, rs256(), "RS256", "HS256")

    def test_algorithm_must_fit(self) -> None:
        """It must be the key's own, and of the key's kind and curve."""
        self.refused(token(alg="RS384"), rs256(), "RS256", "RS384")
        free = keys_of(public_jwk(rsa_key(), "one"))["one"]
        verify(parse(token(alg="RS384")), free, ("RS256", "RS384"))
        curve = ECKey.generate_key("P-384")
        signed = sign({"alg": "ES384", "kid": "e"}, {}, curve)
        verify(parse(signed), PublicKey(curve), ("ES384",))
        self.refused(signed, PublicKey(ECKey.generate_key("P-256")), "ES384")
        self.refused(token(), PublicKey(curve), "RS256")

    def test_every_configurable_algorithm(self) -> None:
        """Each that an issuer may be configured with verifies what it signed."""
        edwards = OKPKey.generate_key("Ed25519")
        for names, key in (
            (("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), rsa_key()),
            (("ES256",), ECKey.generate_key("P-256")),
            (("ES384",), ECKey.generate_key("P-384")),
            (("ES512",), ECKey.generate_key("P-521")),
            (("EdDSA", "Ed25519"), edwards),
        ):
            for name in names:
                verify(parse(sign({"alg": name}, {}, key)), PublicKey(key), (name,))


class KeySetTests(SynchronousTestCase):
    """Tests for `read_key_set`."""

    def test_usable_kinds(self) -> None:
        """RSA, EC and Ed25519 keys come out, with what they are for."""
        found = keys_of(
            public_jwk(rsa_key(), "r", alg="RS256"),
            public_jwk(ECKey.generate_key("P-256"), "e"),
            public_jwk(OKPKey.generate_key("Ed25519"), "o", alg="EdDSA"),
        )
        self.assertEqual(
            {kid: key.algorithm for kid, key in found.items()},
            {"r": "RS256", "e": None, "o": "EdDSA"},
        )

    def test_other_uses(self) -> None:
        """Who asks says which count; a key's owner comes out with it."""
        member = public_jwk(rsa_key(), "r", use="jwt-svid", issuer="https://idp.example")
        found = read_key_set({"keys": [member]}, ("jwt-svid",))
        self.assertEqual(found["r"].issuer, "https://idp.example")
        for wrong in (member | {"use": ["jwt-svid"]}, member | {"use": 1}, member | {"issuer": 1}):
            self.assertRaises(AuthenticationError, read_key_set, {"keys": [wrong]}, ("jwt-svid",))
        self.assertRaises(AuthenticationError, read_key_set, {"keys": [member]})

    def test_left_out(self) -> None:
        """What is not for signatures, weak, private, symmetric or broken is as if not there."""
        good = public_jwk(rsa_key(), "bad")
        with warnings.catch_warnings(action="ignore"):  # that it is weak is the point
            small = RSAKey.generate_key(1024)
        private = {**rsa_key().as_dict(private=True), "kid": "bad", "use": "sig"}
        point = public_jwk(ECKey.generate_key("P-256"), "bad")
        wrong: list[dict[str, Any]] = [
            {**good, "use": "enc"},
            {name: value for name, value in good.items() if name != "use"},
            {name: value for name, value in good.items() if name != "kid"},
            {**good, "kid": 5},
            {**good, "kid": "k" * 257},
            {**good, "key_ops": ["encrypt"]},
            {**good, "key_ops": 5},
            {**good, "alg": ["RS256"]},
            {**good, "n": good["n"] + "="},
            {**good, "n": "AQAB"},
            {**good, "e": None},
            {**good, "kty": "RSA2"},
            {**good, "kty": ["RSA"]},
            private,
            public_jwk(small, "bad"),
            {"kty": "oct", "k": "c2VjcmV0", "kid": "bad", "use": "sig"},
            {**point, "y": point["x"]},
            {**point, "crv": "P-384"},
            public_jwk(ECKey.generate_key("secp256k1"), "bad"),
            public_jwk(OKPKey.generate_key("X25519"), "bad"),
            public_jwk(OKPKey.generate_key("Ed448"), "bad"),
        ]
        for member in wrong:
            with self.subTest(str(member)[:60]):
                self.assertEqual(list(keys_of(member, public_jwk(rsa_key(), "ok"))), ["ok"])

    def test_certificates_are_not_read(self) -> None:
        """``x5u``, ``x5c`` and the like in a key change nothing."""
        odd = public_jwk(rsa_key(), "one", x5u="https://evil.example", x5c=[1], x5t={})
        verify(parse(token()), keys_of(odd)["one"], ("RS256",))

    def test_two_keys_of_one_name(self) -> None:
        """Neither is used: nobody could say which one signed. The same key twice is one."""
        one, two = public_jwk(rsa_key(), "x"), public_jwk(rsa_key("two"), "x")
        other = public_jwk(rsa_key(), "other")
        self.assertEqual(list(keys_of(one, two, one, other)), ["other"])
        self.assertEqual(list(keys_of(one, one)), ["x"])

    def test_no_set(self) -> None:
        """A set without a usable key is an error, and so is one that is too long."""
        good = public_jwk(rsa_key(), "one")
        wrong: list[dict[str, Any]] = [
            {},
            {"keys": []},
            {"keys": {}},
            {"keys": [1]},
            {"keys": [{**good, "use": "enc"}]},
            {"keys": [{**good, "kid": str(n)} for n in range(65)]},
        ]
        for document in wrong:
            self.assertRaises(AuthenticationError, read_key_set, document)
        many = [{**good, "kid": str(n)} for n in range(64)]
        self.assertEqual(len(read_key_set({"keys": many})), 64)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["kty", "kid", "use", "n", "e", "crv", "x", "y", "alg"]),
                    inner | st.sampled_from(["RSA", "EC", "OKP", "sig", "P-256", "Ed25519"]),
                )
            ),
        )
    )
    def test_garbage(self, garbage: Any) -> None:
        """Nothing in a set makes it raise anything else."""
        with self.assertRaises(AuthenticationError):
            read_key_set({"keys": [garbage]})
