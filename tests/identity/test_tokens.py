"""Tests for `hoopgw.identity.tokens`."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OKPKey
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError, ConfigError
from hoopgw.events import Hop, Node, Origin, Principal
from hoopgw.identity.jose import decode_part, encode_part, parse, sign
from hoopgw.identity.tokens import (
    CHAIN_LIMIT,
    GATEWAY,
    GatewayToken,
    TokenSigner,
    TokenVerifier,
    public_key_set,
    target_audience,
)
from tests.identity.forge import NOW, hmac_token, raw

URL = "https://gw.example:8443"
ALICE = Hop(id="corp|alice-1", name="Alice", kind="person", groups=frozenset({"dba", "staff"}))
PLANNER = Hop(id="corp|planner", name="planner", kind="agent")
MIGRATOR = Hop(id="corp|migrator", name="db-migrator", kind="agent", groups=frozenset({"x"}))

hops = st.builds(
    Hop,
    id=st.text(min_size=1, max_size=40).map(lambda text: f"corp|{text}"),
    name=st.text(min_size=1, max_size=40).filter(str.isprintable),
    kind=st.sampled_from(["person", "workload", "agent"]),
    groups=st.frozensets(st.text(min_size=1, max_size=10), max_size=4),
    attributes=st.dictionaries(
        st.text(max_size=8), st.text(max_size=8) | st.lists(st.text(max_size=8)).map(tuple)
    ).map(lambda values: tuple(sorted(values.items()))),
)
origins = st.builds(
    Origin,
    persons=st.frozensets(st.text(max_size=8)),
    attributes=st.dictionaries(st.text(max_size=8), st.text(max_size=8)).map(
        lambda values: tuple(sorted(values.items()))
    ),
)


def chained(chain: tuple[Hop, ...]) -> Principal:
    """Return a principal with a node for each hop below the root."""
    nodes = tuple(Node(id=f"node-{number}") for number in range(1, len(chain)))
    return Principal(chain=chain, nodes=nodes, session="s", expires=NOW + 600)


def acting(**changes: Any) -> dict[str, Any]:
    """Return the claims of an actor."""
    actor = {"sub": "corp|x", "name": "x", "kind": "agent", "groups": [], "node": {"id": "n"}}
    return {**actor, **changes}


class TokensTestCase(SynchronousTestCase):
    """A signer, and the verifier that knows its key."""

    def setUp(self) -> None:
        self.key = OKPKey.generate_key("Ed25519")
        self.signer = TokenSigner(self.key, URL)
        self.verifier = TokenVerifier(self.signer.jwks, URL)
        self.principal = Principal(chain=(ALICE,), session="s-1", expires=NOW + 600)

    def token(self, **changes: Any) -> GatewayToken:
        values: dict[str, Any] = {
            "principal": self.principal,
            "audience": GATEWAY,
            "issued": NOW,
            "expires": NOW + 600,
        }
        return GatewayToken(**(values | changes))

    def forged(self, **changes: Any) -> str:
        """Sign claims that no signer would make; None leaves one out."""
        given = dict(parse(self.signer.sign(self.token())).claims) | changes
        given = {name: value for name, value in given.items() if value is not None}
        return sign({"typ": "at+jwt", "alg": "EdDSA", "kid": self.signer.kid}, given, self.key)

    def assert_refused(self, text: str, why: str = "", audience: str = GATEWAY) -> None:
        with self.subTest(why), self.assertRaisesRegex(AuthenticationError, why):
            self.verifier.verify(text, audience, NOW)


class RoundTripTests(TokensTestCase):
    """What is signed comes back."""

    def test_whole(self) -> None:
        """Everything that a token says."""
        token = self.token()
        self.assertEqual(self.verifier.read(self.signer.sign(token), GATEWAY, NOW), token)
        self.assertEqual(
            self.verifier.verify(self.signer.sign(token), GATEWAY, NOW), self.principal
        )

    @given(origins)
    def test_any_origin(self, origin: Origin) -> None:
        """The persons and the run behind a log-in stay with it."""
        principal = evolve(self.principal, origin=origin)
        text = self.signer.sign(self.token(principal=principal))
        self.assertEqual(self.verifier.verify(text, GATEWAY, NOW), principal)

    def test_session_outlives_a_narrow_token(self) -> None:
        """A token for a target is shown within minutes; the session ends with the log-in."""
        audience = target_audience("orders")
        token = self.token(audience=audience, expires=NOW + 60)
        text = self.signer.sign(token)
        self.assertEqual(self.verifier.verify(text, audience, NOW).expires, NOW + 600)
        with self.assertRaisesRegex(AuthenticationError, "expired"):
            self.verifier.verify(text, audience, NOW + 60)

    def test_act_is_outermost_last(self) -> None:
        """As RFC 8693 has it: ``sub`` is the root, ``act`` who acts now."""
        chain = (ALICE, PLANNER, MIGRATOR)
        text = self.signer.sign(self.token(principal=chained(chain)))
        claims = parse(text).claims
        self.assertEqual(claims["sub"], ALICE.id)
        self.assertEqual(claims["act"]["sub"], MIGRATOR.id)
        self.assertEqual(claims["act"]["act"]["sub"], PLANNER.id)
        self.assertEqual(self.verifier.verify(text, GATEWAY, NOW).chain, chain)

    @given(st.lists(hops, min_size=1, max_size=CHAIN_LIMIT))
    def test_any_chain(self, chain: list[Hop]) -> None:
        """Any chain within the limit comes back as it was."""
        principal = chained(tuple(chain))
        text = self.signer.sign(self.token(principal=principal))
        self.assertEqual(self.verifier.verify(text, GATEWAY, NOW), principal)

    def test_too_long_a_chain(self) -> None:
        """More hops than the limit are refused."""
        chain = (ALICE,) + (PLANNER,) * CHAIN_LIMIT
        text = self.signer.sign(self.token(principal=chained(chain)))
        self.assert_refused(text, "act")

    def test_too_many_groups(self) -> None:
        """A token that no verifier would take is not given."""
        many = evolve(ALICE, groups=frozenset(f"{n:036}" for n in range(400)))
        with self.assertRaisesRegex(AuthenticationError, "too many groups"):
            self.signer.sign(self.token(principal=evolve(self.principal, chain=(many,))))

    def test_nothing_secret_is_shown(self) -> None:
        """Neither the signer's key nor claims are in a repr."""
        secret = self.key.as_dict(private=True)["d"]
        self.assertNotIn(secret, repr(self.signer))
        self.assertNotIn("d", self.signer.jwks["keys"][0])


class RefusalTests(TokensTestCase):
    """What is not good."""

    def test_audience(self) -> None:
        """A token is for exactly what it says: no prefix, no other target."""
        text = self.signer.sign(self.token(audience=target_audience("orders")))
        for other in (GATEWAY, target_audience("orders2"), target_audience("order")):
            self.assert_refused(text, "something else", other)
        listed = self.forged(aud=[GATEWAY, target_audience("orders")])
        self.assert_refused(listed, "something else")
        self.assert_refused(self.forged(aud=None), "something else")

    def test_several_targets(self) -> None:
        """For each of them, and for nothing else; never for the gateway besides."""
        names = ["vault-a", "vault-b"]
        first, second = map(target_audience, names)
        text = self.signer.sign(self.token(audience=first, also=(second,)))
        for audience, other in ((first, second), (second, first)):
            self.assertEqual(self.verifier.read(text, audience, NOW).also, (other,))
        for audience in (GATEWAY, target_audience("vault-c"), target_audience("vault")):
            self.assert_refused(text, "something else", audience)
        for said in (
            [first, GATEWAY],
            [first, "other"],
            [first, 7],
            [first, [first]],
            [target_audience(f"t{number}") for number in range(50)] + [first],
        ):
            with self.subTest(said=said):
                self.assert_refused(self.forged(aud=said), "something else", first)

    def test_account(self) -> None:
        text = self.signer.sign(self.token(account="deployer"))
        self.assertEqual(self.verifier.read(text, GATEWAY, NOW).account, "deployer")
        self.assertEqual(self.verifier.read(self.forged(), GATEWAY, NOW).account, "")
        for bad in (7, "", ["a"]):
            with self.subTest(bad=bad):
                self.assert_refused(self.forged(account=bad))

    def test_times(self) -> None:
        """There is no leeway at the end: the clock that said it is ours."""
        text = self.signer.sign(self.token())
        self.verifier.verify(text, GATEWAY, NOW + 599)
        with self.assertRaisesRegex(AuthenticationError, "expired"):
            self.verifier.verify(text, GATEWAY, NOW + 600)
        self.assert_refused(self.forged(iat=NOW + 60), "future")
        self.assert_refused(self.forged(session_exp=NOW + 1), "order")
        for value in ("9", True, None, 1e300, [1]):
            self.assert_refused(self.forged(exp=value), "exp")
        self.assert_refused(self.forged(session_exp="x"), "session_exp")

    def test_signature(self) -> None:
        """Another key, none, or the public key as a secret."""
        other = TokenSigner(OKPKey.generate_key("Ed25519"), URL)
        self.assert_refused(other.sign(self.token()), "not signed by a key")
        head, body, signature = self.signer.sign(self.token()).split(".")
        self.assert_refused(f"{head}.{body}.{signature[:-4]}AAAA", "signature|stray")
        claims = json.loads(decode_part(body.encode()))
        forged = encode_part(json.dumps(claims | {"sub": "corp|root"}).encode()).decode()
        self.assert_refused(f"{head}.{forged}.{signature}", "signature")
        header = {"typ": "at+jwt", "alg": "none", "kid": self.signer.kid}
        self.assert_refused(raw(json.dumps(header).encode(), json.dumps(claims).encode()), "alg")
        self.assert_refused(hmac_token(claims, self.key.as_pem(private=False)), "header")

    def test_header(self) -> None:
        """It has three members; another kind of token of the same key is none of these."""
        claims = parse(self.signer.sign(self.token())).claims
        good = {"typ": "at+jwt", "alg": "EdDSA", "kid": self.signer.kid}
        wrong: list[dict[str, Any]] = [
            good | {"typ": "hoopgw-ticket+jwt"},
            good | {"typ": ["at+jwt"]},
            good | {"jku": "https://evil.example"},
            good | {"alg": "Ed25519"},
            good | {"kid": "other"},
            {"alg": "EdDSA", "kid": self.signer.kid},
        ]
        for header in wrong:
            self.assert_refused(sign(header, claims, self.key))

    def test_issuer(self) -> None:
        """A token of another gateway is refused, even if it had our key."""
        self.assert_refused(self.forged(iss=URL + "/"), "iss")
        self.assert_refused(TokenSigner(self.key, "https://b.example").sign(self.token()), "iss")

    def test_claims(self) -> None:
        """Each is what it must be."""
        for name, values in (
            ("sub", (None, "", 5, "x" * 700)),
            ("name", (None, 5, "")),
            ("kind", (None, "root", 5, ["person"])),
            ("groups", ("dba", [1], {})),
            ("sid", (None, "", 5)),
            ("jti", (None, "", 5)),
            ("act", ("x", [], 5, {}, {"sub": "corp|x"}, acting(node=None), acting(node={}))),
            ("act", (acting(node={"id": ""}), acting(node={"id": "n", "budget": {"rows": -1}}))),
            ("act", (acting(caps=[]) | {"caps": "x"}, acting(caps=[{"target": "t"}]))),
            ("cnf", ("x", {}, {"jkt": 5}, [])),
        ):
            for value in values:
                if (name, value) != ("cnf", None):
                    self.assert_refused(self.forged(**{name: value}))

    @given(st.text(max_size=100) | st.binary(max_size=80).map(lambda b: raw(b, b)))
    def test_garbage(self, garbage: str) -> None:
        """Whatever the token, the exception is the same."""
        self.assertRaises(AuthenticationError, self.verifier.verify, garbage, GATEWAY, NOW)

    @given(
        st.dictionaries(
            st.sampled_from(
                ["sub", "name", "kind", "groups", "sid", "jti", "exp", "iat", "act", "cnf", "aud"]
            ),
            st.none() | st.text(max_size=3) | st.integers() | st.lists(st.text(max_size=2)),
        )
    )
    def test_any_claims(self, changes: dict[str, Any]) -> None:
        """Also when they were signed with our key."""
        try:
            self.verifier.verify(self.forged(**changes), GATEWAY, NOW)
        except AuthenticationError:
            return


class BindingTests(TokensTestCase):
    """Tokens that are bound to a key."""

    def test_holder(self) -> None:
        """A bound token is good with the proved key only."""
        text = self.signer.sign(self.token(confirmation={"jkt": "thumb"}))
        self.assert_refused(text, "bound")
        with self.assertRaisesRegex(AuthenticationError, "bound"):
            self.verifier.verify(text, GATEWAY, NOW, holder="other")
        found = self.verifier.verify(text, GATEWAY, NOW, holder="thumb")
        self.assertEqual(found, self.principal)

    def test_unbound(self) -> None:
        """A proved key does no harm to a token that is bound to none."""
        self.verifier.verify(self.signer.sign(self.token()), GATEWAY, NOW, holder="thumb")


class RotationTests(TokensTestCase):
    """Two keys at a time."""

    def test_old_and_new(self) -> None:
        """Both are good while both are published."""
        other = TokenSigner(OKPKey.generate_key("Ed25519"), URL)
        both = TokenVerifier(public_key_set([self.key, other._key]), URL)
        for signer in (self.signer, other):
            both.verify(signer.sign(self.token()), GATEWAY, NOW)

    def test_no_keys(self) -> None:
        """A verifier without keys is a mistake, and not one that refuses all."""
        self.assertRaises(ConfigError, TokenVerifier, {"keys": []}, URL)
