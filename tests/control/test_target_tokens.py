"""Tests for `hoopgw.control.target_tokens`: what workers get for clients of a cloud."""

from __future__ import annotations

from typing import Any

from hoopgw.control.target_tokens import TargetTokens
from hoopgw.identity.forms import FormLimits
from hoopgw.identity.rate import RateLimit
from hoopgw.identity.tokens import target_audience
from tests.identity.forge import NOW, run, token
from tests.identity.test_exchange import ExchangeTestCase


class TargetTokensTests(ExchangeTestCase):
    """A worker that asks for `az`."""

    def setUp(self) -> None:
        super().setUp()
        self.limits = FormLimits()
        self.tokens = TargetTokens(self.exchange, self.limits, lambda: self.now)

    def give(self, proof: str, *targets: str, **changes: str) -> dict[str, Any]:
        """Ask, as a worker does."""
        body = {"proof": proof, "targets": list(targets or ("orders",)), "account": ""}
        give: Any = self.tokens.handlers()["target_token"]
        found: dict[str, Any] = run(give({**body, "address": "127.0.0.1", **changes}))
        return found

    def test_an_issuers_token(self) -> None:
        given = self.give(token(), account="reader")
        read = self.verifier.read(given["token"], target_audience("orders"), NOW)
        self.assertEqual(read.account, "reader")
        self.assertEqual(read.principal.root.id, "corp|alice-1")
        self.assertEqual(given["expires_in"], 300)

    def test_the_same_proof_is_the_same_log_in(self) -> None:
        """What is granted to a job holds for all of its calls; another job is another log-in."""
        shown, other = token(), token(jti="another")

        def session(proof: str) -> str:
            audience = target_audience("orders")
            text = self.give(proof)["token"]
            return self.verifier.read(text, audience, self.now).principal.session

        first = session(shown)
        self.now += 30
        self.assertEqual(session(shown), first)
        self.assertNotEqual(session(other), first)

    def test_a_proof_that_is_over_is_not_remembered(self) -> None:
        shown = token()
        self.give(shown)
        self.now = NOW + 3600
        self.assertEqual(self.give(shown)["error"], "invalid_grant")

    def test_a_forged_signature_is_not_the_same_proof(self) -> None:
        shown = token()
        self.give(shown)
        head, _, signature = shown.rpartition(".")
        forged = f"{head}.{signature[:-8]}AAAAAAAA"
        self.assertEqual(self.give(forged)["error"], "invalid_grant")

    def test_a_gateway_token(self) -> None:
        self.assertIn("token", self.give(self.log_in()))

    def test_a_log_in_that_was_revoked(self) -> None:
        shown = token()
        given = self.give(shown)["token"]
        session = self.verifier.read(given, target_audience("orders"), NOW).principal.session
        self.revoked.end(session, "over")
        self.assertEqual(self.give(shown)["error"], "invalid_grant")

    def test_a_target_token_gives_nothing(self) -> None:
        given = self.give(token())["token"]
        self.assertEqual(self.give(given)["error"], "invalid_grant")

    def test_what_is_not_there(self) -> None:
        for targets, changes in ((("other",), {}), (("orders",), {"account": "root"}), (("",), {})):
            with self.subTest(targets=targets):
                answer = self.give(token(), *targets, **changes)
                self.assertEqual(answer["error"], "invalid_target")
        for bad in ("", "x", "a.b.c", "~", token() + "x"):
            with self.subTest(bad=bad):
                self.assertEqual(self.give(bad)["error"], "invalid_grant")

    def test_who_is_refused_again_and_again_waits(self) -> None:
        self.limits.refused = RateLimit(burst=3.0, per_second=0.1)
        answers = [self.give("x")["error"] for _ in range(4)]
        self.assertEqual(answers, ["invalid_grant"] * 3 + ["slow_down"])
        self.assertIn("token", self.give(token()))
