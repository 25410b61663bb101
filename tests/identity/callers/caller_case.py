"""One issuer and what is made of its tokens, for the tests of each type of issuer."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError
from hoopgw.events import Hop, Principal
from hoopgw.identity.callers import problems
from hoopgw.identity.oidc import Authenticated, TokenUse
from hoopgw.policy.decision import Allow
from hoopgw.policy.engine import CedarPolicy
from tests.identity.callers.shapes import (
    issuers_of,
    settings_of,
)
from tests.identity.forge import NOW, run, token
from tests.policy.world import PERMIT_ALL, operation, policies, shelf

PERMIT = CedarPolicy(policies(PERMIT_ALL), lambda: NOW)


def declared(*hops: Hop) -> None:
    """Check that policy can be asked about hops, with all that they have."""
    for hop in hops:
        who = Principal(chain=(hop,), session="s", expires=NOW)
        verdict = PERMIT.decide(who, operation("take", shelf("a")))
        if not isinstance(verdict.decision, Allow):
            raise AssertionError(verdict)


class CallerCase(SynchronousTestCase):
    """One issuer of one type."""

    kind: str

    def authenticate(
        self,
        claims: dict[str, Any],
        use: TokenUse = TokenUse.ACCESS,
        *,
        header: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Authenticated:
        """Say who a token stands for."""
        issuers = issuers_of(settings_of(self.kind, **changes))
        return run(issuers.authenticate(token(claims, **(header or {})), use))

    def assert_refused(self, claims: dict[str, Any], why: str, **changes: Any) -> None:
        with self.subTest(why), self.assertRaisesRegex(AuthenticationError, why):
            self.authenticate(claims, **changes)

    def lacks(self, **changes: Any) -> list[str]:
        """Name the keys that are wrong in settings."""
        return [problem.key for problem in problems(settings_of(self.kind, **changes))]
