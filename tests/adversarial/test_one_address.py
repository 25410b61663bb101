"""Who calls from the same address as others, as a child does from its parent's machine."""

from __future__ import annotations

import requests
from twisted.internet.threads import deferToThread

from hoopgw.identity.tokens import target_audience
from hoopgw.identity.urns import ACCESS_TOKEN, GRANT
from tests.control.gateway_case import ALICE
from tests.control.test_token_site import INTROSPECT, REVOKE, TokenSiteCase

ORDERS = target_audience("orders")
PLENTY = 30


class StarvingTests(TokenSiteCase):
    """What gives nothing and ends nothing must not use up what the address may be given."""

    def setUp(self) -> None:
        super().setUp()
        self.service._limits.given.burst = 20.0
        self.service._limits.given.per_second = 0.0

    async def get_token(self) -> int:
        """Ask for what a parent needs, and return the status."""
        form = {
            "grant_type": GRANT,
            "subject_token": self.token(ALICE),
            "subject_token_type": ACCESS_TOKEN,
            "audience": ORDERS,
        }
        answer = await deferToThread(
            requests.post,
            f"{self.url}/sts/token",
            data=form,
            verify=str(self.config.paths.ca_certificate),
            timeout=60,
        )
        return int(answer.status_code)

    async def test_garbage_that_is_revoked(self) -> None:
        """By anybody, as a token that is not good is no error."""
        for _ in range(PLENTY):
            await self.post(REVOKE, "garbage")
        self.assertEqual(await self.get_token(), 200)
        self.assertEqual((await self.post(REVOKE, "garbage")).status, 429)

    async def test_one_token_that_is_revoked_again_and_again(self) -> None:
        token = self.token(ALICE, ORDERS)
        for _ in range(PLENTY):
            await self.post(REVOKE, token)
        self.assertEqual(await self.get_token(), 200)

    async def test_asking_what_one_may_not_know(self) -> None:
        asked = self.token(ALICE, ORDERS)
        for _ in range(PLENTY):
            await self.post(INTROSPECT, asked, caller=self.token(ALICE))
        self.assertEqual(await self.get_token(), 200)
