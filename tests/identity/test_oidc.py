"""Tests for `hoopgw.identity.oidc` and `hoopgw.identity.issuers`: the table of tokens."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError, ConfigError
from hoopgw.identity.issuers import Issuer, Issuers
from hoopgw.identity.jose import KeySet, PublicKey, encode_part
from hoopgw.identity.oidc import Authenticated, TokenUse, check_claims
from hoopgw.identity.settings import AgentRule, IssuerSettings
from tests.identity.forge import (
    CLIENT,
    ISSUER,
    NOW,
    claims,
    hmac_token,
    raw,
    rsa_key,
    run,
    settings,
    token,
)


class FixedKeys:
    """Keys that are simply there, and count how often they are asked for."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys
        self.asked = 0

    async def find(self, kid: str) -> PublicKey:
        self.asked += 1
        if kid not in self._keys:
            raise AuthenticationError("no such key")
        return self._keys[kid]


class IssuersTestCase(SynchronousTestCase):
    """The issuer of the forge, with one key."""

    def setUp(self) -> None:
        self.keys = FixedKeys({"one": PublicKey(rsa_key())})

    def authenticate(
        self,
        text: str,
        use: TokenUse = TokenUse.ACCESS,
        *,
        nonce: str | None = None,
        with_settings: IssuerSettings | None = None,
    ) -> Authenticated:
        issuers = Issuers.of([Issuer(with_settings or settings(), self.keys)], lambda: NOW)
        return run(issuers.authenticate(text, use, nonce))

    def assert_refused(self, text: str, why: str, **changes: Any) -> None:
        with self.subTest(why, **changes), self.assertRaisesRegex(AuthenticationError, why):
            self.authenticate(text, with_settings=settings(**changes))


class TableTests(IssuersTestCase):
    """The cases that the specification lists."""

    def test_good(self) -> None:
        """``JWT`` and ``at+jwt`` are accepted, in any case, and say who it is."""
        for kind in ("JWT", "jwt", "at+jwt", "application/at+jwt"):
            found = self.authenticate(token(typ=kind))
            self.assertEqual(found.hop.id, "corp|alice-1")
            self.assertEqual(found.hop.name, "Alice")
            self.assertEqual(found.hop.kind, "person")
            self.assertEqual(found.hop.groups, frozenset({"dba", "staff"}))
            self.assertEqual((found.expires, found.client), (NOW + 600, CLIENT))

    def test_algorithms(self) -> None:
        """None, HS256 with the public key, and an algorithm that is not configured."""
        body = json.dumps(claims()).encode()
        self.assert_refused(raw(b'{"alg":"none","typ":"JWT","kid":"one"}', body), "alg")
        confused = hmac_token(claims(), rsa_key().as_pem(private=False))
        self.assert_refused(confused, "alg")
        self.assert_refused(token(alg="RS384"), "alg")
        self.assertEqual(self.keys.asked, 0)

    def test_issuer(self) -> None:
        """It matches exactly, a slash included, and nothing is fetched for another."""
        self.assert_refused(token(claims(iss="https://evil.example")), "not configured")
        self.assert_refused(token(claims(iss=ISSUER + "/")), "not configured")
        self.assert_refused(token(claims(iss=None)), "iss")
        self.assert_refused(token(claims(iss=[ISSUER])), "iss")
        self.assertEqual(self.keys.asked, 0)

    def test_audience(self) -> None:
        """It contains us; several need ``azp``."""
        self.assert_refused(token(claims(aud="other")), "aud")
        self.assert_refused(token(claims(aud="HOOPGW")), "aud")
        self.assert_refused(token(claims(aud=None)), "aud")
        self.assert_refused(token(claims(aud=[])), "aud")
        self.assert_refused(token(claims(aud=["hoopgw", 1])), "aud")
        self.assert_refused(token(claims(aud={"hoopgw": 1})), "aud")
        self.assert_refused(token(claims(aud="https://management.azure.com")), "aud")
        self.authenticate(token(claims(aud=["hoopgw", "other"])))
        several = claims(aud=["hoopgw", "other"], azp=None, client_id=CLIENT)
        self.assert_refused(token(several), "azp")

    def test_times(self) -> None:
        """Leeway is 30 s, both ways, and a moment is a number."""
        self.assert_refused(token(claims(iat=NOW - 600, exp=NOW - 31)), "expired")
        self.authenticate(token(claims(iat=NOW - 600, exp=NOW - 5)))
        self.assert_refused(token(claims(exp=None)), "exp")
        self.assert_refused(token(claims(exp=str(NOW + 600))), "exp")
        self.assert_refused(token(claims(exp=1e18)), "exp")
        self.assert_refused(token(claims(exp=True)), "exp")
        self.assert_refused(token(claims(exp=[NOW])), "exp")
        self.assert_refused(token(claims(exp=-1)), "exp")
        self.assert_refused(token(claims(exp=NOW + 30 * 86_400)), "lifetime")
        self.assert_refused(token(claims(nbf=NOW + 60)), "not valid yet")
        self.assert_refused(token(claims(nbf="0")), "nbf")
        self.authenticate(token(claims(nbf=NOW + 5)))
        self.assert_refused(token(claims(iat=NOW + 3600, exp=NOW + 3700)), "future")
        self.authenticate(token(claims(iat=NOW + 5)))
        self.assert_refused(token(claims(iat=None)), "iat")
        self.assert_refused(token(claims(iat=NOW + 20, exp=NOW + 10)), "lifetime")

    def test_header(self) -> None:
        """``kid`` is needed and known; ``crit`` is refused, ``jku`` not read; ``typ`` counts."""
        self.assert_refused(token(kid="nine"), "no such key")
        self.assert_refused(token(kid=None), "kid")
        self.assert_refused(token(kid=1), "kid")
        self.assert_refused(token(crit=["exp"]), "crit")
        self.authenticate(token(jku="https://evil.example/keys", x5u="https://evil.example"))
        self.authenticate(token(jwk={"kty": "oct", "k": "eA"}, x5c=["x"]))
        self.assert_refused(token(typ="logout+jwt"), "typ")
        self.assert_refused(token(typ=None), "typ")
        self.assert_refused(token(typ=["JWT"]), "typ")

    def test_client(self) -> None:
        """A token made for another application is not for us, though the audience is ours."""
        self.assert_refused(token(claims(azp="other")), "client 'other'")
        self.assert_refused(token(claims(azp=None, appid="other")), "client 'other'")
        self.assert_refused(token(claims(client_id="other")), "client is all of")
        self.assert_refused(token(claims(azp=None)), "no client")
        self.assert_refused(token(claims(azp=1)), "azp")
        self.authenticate(token(claims(azp="ci")), with_settings=settings(clients=["ci"]))
        workload = {"client_id": "", "clients": []}
        self.assert_refused(token(claims()), "client", **workload)
        self.authenticate(token(claims(azp=None)), with_settings=settings(**workload))

    def test_subject(self) -> None:
        """It is text, printable and not too long."""
        for sub in (None, "", 5, "a" * 513, ["a"], "a\n", "a\x00b", "a\u202eb"):
            self.assert_refused(token(claims(sub=sub)), "sub")

    def test_groups(self) -> None:
        """A list of strings or nothing; too many for the token is told apart from none."""
        self.assert_refused(token(claims(groups="dba")), "groups")
        self.assert_refused(token(claims(groups=["dba", 1])), "groups")
        self.assert_refused(token(claims(groups=[""])), "groups")
        self.assert_refused(token(claims(groups={"dba": 1})), "groups")
        self.assertEqual(self.authenticate(token(claims(groups=None))).hop.groups, frozenset())
        graph: list[dict[str, Any]] = [
            {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "x"}}},
            {"hasgroups": True},
            {"hasgroups": "true"},
        ]
        for marks in graph:
            over = token(claims(groups=None, **marks))
            self.assert_refused(over, "too many")
            found = self.authenticate(over, with_settings=settings(groups_overage="empty"))
            self.assertEqual(found.hop.groups, frozenset())
        self.assert_refused(token(claims(_claim_names=["groups"])), "_claim_names")

    def test_groups_are_not_taken_from_whom_we_do_not_trust_for_them(self) -> None:
        """Without a claim's name there are no groups, whatever the token says."""
        found = self.authenticate(token(), with_settings=settings(groups_claim=""))
        self.assertEqual(found.hop.groups, frozenset())

    def test_form(self) -> None:
        """Doubled members, a wrong signature, garbage, and 20,000 characters."""
        doubled = json.dumps(claims()).encode()[:-1] + b',"sub":"mallory"}'
        self.assert_refused(raw(b'{"alg":"RS256","typ":"JWT","kid":"one"}', doubled), "JSON")
        head, _, signature = token().split(".")
        forged = encode_part(json.dumps(claims(sub="mallory")).encode()).decode()
        self.assert_refused(f"{head}.{forged}.{signature}", "signature")
        self.assert_refused(token(key=rsa_key("two")), "signature")
        self.assert_refused("garbage", "1 parts")
        self.assert_refused("a" * 20_000, "20000 characters")


class MappingTests(IssuersTestCase):
    """What follows from the settings of an issuer."""

    def test_tenant(self) -> None:
        """``tid`` must be the configured one."""
        self.authenticate(token(claims(tid="t1")), with_settings=settings(tenant="t1"))
        self.assert_refused(token(claims(tid="t2")), "tid", tenant="t1")
        self.assert_refused(token(), "tid", tenant="t1")

    def test_required_claims(self) -> None:
        """For issuers that anybody can get a token from."""
        wanted = {"repository_id": ["42"], "ref": ["refs/heads/main", "refs/heads/next"]}
        good = claims(repository_id="42", ref="refs/heads/next")
        self.authenticate(token(good), with_settings=settings(required=wanted))
        for wrong in ({"ref": "refs/heads/x"}, {"ref": None}, {"repository_id": 42}):
            self.assert_refused(token(claims(**(good | wrong))), "required", required=wanted)

    def test_subject_of_entra(self) -> None:
        """``oid`` names the person in all applications."""
        entra = settings(subject_claim="oid")
        found = self.authenticate(token(claims(oid="o-1")), with_settings=entra)
        self.assertEqual(found.hop.id, "corp|o-1")
        self.assert_refused(token(), "oid", subject_claim="oid")

    def test_name_is_only_for_reading(self) -> None:
        """A missing or unprintable name is no reason to refuse; the subject stands in."""
        for name in (None, 5, "", "a\x1b[2J", "a" * 513):
            self.assertEqual(self.authenticate(token(claims(name=name))).hop.name, "alice-1")

    def test_agents(self) -> None:
        """The rule says which tokens stand for agents; the others are what the issuer is for."""
        ruled = settings(
            kind="workload", clients=["planner"], agents=AgentRule(claim="azp", values=["planner"])
        )
        agent = self.authenticate(token(claims(azp="planner")), with_settings=ruled)
        other = self.authenticate(token(), with_settings=ruled)
        self.assertEqual((agent.hop.kind, other.hop.kind), ("agent", "workload"))
        listed = settings(agents=AgentRule(claim="roles", values=["agent"]))
        found = self.authenticate(token(claims(roles=["x", "agent"])), with_settings=listed)
        self.assertEqual(found.hop.kind, "agent")

    def test_id_tokens(self) -> None:
        """Their audience is the client of the log-in, and the nonce is the one of that log-in."""
        good = claims(aud=CLIENT, azp=None, nonce="n1")
        found = self.authenticate(token(good), TokenUse.ID, nonce="n1")
        self.assertEqual(found.hop.id, "corp|alice-1")
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("n2", {}),
            ("n1", {"nonce": None}),
            ("n1", {"nonce": ["n1"]}),
        ]
        for nonce, changes in wrong:
            with self.assertRaisesRegex(AuthenticationError, "nonce"):
                self.authenticate(token(good | changes), TokenUse.ID, nonce=nonce)

    def test_type_of_id_tokens(self) -> None:
        """They may have none; an access token is none of them, and neither is a logout token."""
        good = claims(aud=CLIENT, azp=None)
        self.authenticate(token(good, typ=None), TokenUse.ID)
        events: dict[str, Any] = {
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}}
        }
        for text in (
            token(good, typ="at+jwt"),
            token(good, typ="logout+jwt"),
            token(good, typ=""),
            token(good | events, typ=None),
        ):
            with self.assertRaises(AuthenticationError):
                self.authenticate(text, TokenUse.ID)

    def test_each_use_has_its_audience(self) -> None:
        """An access token is no ID token, nor the other way round."""
        with self.assertRaisesRegex(AuthenticationError, "aud"):
            self.authenticate(token(), TokenUse.ID)
        self.assert_refused(token(claims(aud=CLIENT)), "aud")
        with self.assertRaisesRegex(AuthenticationError, "aud"):
            self.authenticate(
                token(claims(aud="")), TokenUse.ID, with_settings=settings(client_id="")
            )

    def test_confirmation_is_told(self) -> None:
        """A token that is bound to a key says so; who uses it must check."""
        found = self.authenticate(token(claims(cnf={"jkt": "x"})))
        self.assertEqual(found.confirmation, {"jkt": "x"})
        self.assert_refused(token(claims(cnf="x")), "cnf")

    def test_two_issuers(self) -> None:
        """Aliases and issuers are unique, so that ids are."""
        one = Issuer(settings(), self.keys)
        other = Issuer(settings(alias="other", issuer="https://other.example"), self.keys)
        self.assertEqual(len(Issuers.of([one, other], lambda: NOW).settings), 2)
        for twin in (settings(alias="two"), settings(issuer="https://two.example")):
            self.assertRaises(ConfigError, Issuers.of, [one, Issuer(twin, self.keys)], lambda: NOW)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


class ClaimsTests(SynchronousTestCase):
    """Tests for `check_claims`."""

    @given(
        st.dictionaries(
            st.sampled_from(
                [*claims(), "nbf", "tid", "cnf", "_claim_names", "hasgroups", "client_id", "nonce"]
            ),
            json_values,
        ),
        st.sampled_from(TokenUse),
    )
    def test_any_claims(self, changes: dict[str, Any], use: TokenUse) -> None:
        """Whatever a claim is, the outcome is somebody or an `AuthenticationError`."""
        try:
            found = check_claims(claims(**changes), settings(), use, NOW)
        except AuthenticationError:
            return
        self.assertTrue(found.hop.id.startswith("corp|"))
        self.assertLess(found.expires, NOW + 86_400)
