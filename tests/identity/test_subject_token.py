"""Tests for `hoopgw.identity.login.subject_token`: which of an issuer's tokens is used."""

from __future__ import annotations

from typing import Any

from joserfc.jwk import OKPKey
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.identity.jose import sign
from hoopgw.identity.login import LoginError, LoginIssuer, subject_token
from hoopgw.identity.urns import ACCESS_TOKEN, ID_TOKEN

ISSUER = LoginIssuer(
    alias="corp",
    issuer="https://login.example",
    client_id="cli",
    audiences=frozenset({"hoopgw"}),
)


def token(**claims: Any) -> str:
    key = OKPKey.generate_key("Ed25519", private=True)
    return sign({"typ": "JWT", "alg": "EdDSA", "kid": "k"}, {"sub": "alice", **claims}, key)


class SubjectTokenTests(SynchronousTestCase):
    """Tests for `subject_token`."""

    def setUp(self) -> None:
        self.told = token(aud="cli", nonce="n")

    def used(self, access: object) -> str:
        given = {"id_token": self.told, "access_token": access}
        return subject_token(given, ISSUER, "n").kind

    def test_an_access_token_for_the_gateway(self) -> None:
        """Is taken: it has the groups."""
        self.assertEqual(self.used(token(aud="hoopgw")), ACCESS_TOKEN)
        self.assertEqual(self.used(token(aud=["other", "hoopgw"])), ACCESS_TOKEN)

    def test_any_other_access_token(self) -> None:
        """Is never sent to the gateway: it would be good for something else."""
        for access in (token(aud="https://graph.example"), token(), token(aud=5), "opaque", None):
            self.assertEqual(self.used(access), ID_TOKEN)

    def test_the_id_token_is_looked_at_in_any_case(self) -> None:
        """It shows that the answer is for this log-in, whatever else came with it."""
        good = token(aud="hoopgw")
        self.assertRaises(LoginError, subject_token, {"access_token": good}, ISSUER)
        given = {"id_token": self.told, "access_token": good}
        self.assertRaises(LoginError, subject_token, given, ISSUER, "other")
