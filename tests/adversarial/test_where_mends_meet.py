"""What one defence takes for granted of another: proofs that are over, clocks that are set."""

from __future__ import annotations

import time
from typing import Any

import requests
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from hoopgw.clock import EvenClock
from hoopgw.control import delegations
from hoopgw.control.service import SETTLED
from hoopgw.control.target_tokens import TargetTokens
from hoopgw.events import Principal
from hoopgw.identity.forms import FormLimits
from hoopgw.identity.issuers import Issuer, Issuers
from hoopgw.identity.jose import PublicKey
from hoopgw.identity.token_parts import Lifetimes
from hoopgw.identity.tokens import GATEWAY, target_audience
from hoopgw.store.sqlite_revocations import FORGET_AFTER
from tests.control.gateway_case import ALICE, CAROL, DAVE, ROOT, GatewayCase
from tests.identity.forge import NOW, rsa_key, run, settings, token
from tests.identity.test_exchange import ExchangeTestCase
from tests.identity.test_oidc import FixedKeys

ORDERS = target_audience("orders")


class SlowKeys(FixedKeys):
    """An issuer whose keys come late."""

    def __init__(self) -> None:
        super().__init__({"one": PublicKey(rsa_key())})
        self.waiting: list[Deferred[None]] = []

    async def find(self, kid: str) -> PublicKey:
        late: Deferred[None] = Deferred()
        self.waiting.append(late)
        await late
        return await super().find(kid)


class ProofTests(ExchangeTestCase):
    """A job's token, which lives minutes while the job's log-in lasts an hour, as at GitHub."""

    def begin(self, keys: FixedKeys) -> TargetTokens:
        """Ask as workers do from now on."""
        issuers = Issuers.of([Issuer(settings(session_lifetime=3600.0), keys)], lambda: self.now)
        self.with_parts(issuers=issuers)
        return TargetTokens(self.exchange, FormLimits(), lambda: self.now)

    async def give(self, tokens: TargetTokens, proof: str) -> dict[str, Any]:
        give: Any = tokens.handlers()["target_token"]
        body = {"proof": proof, "targets": ["orders"], "account": "", "address": "127.0.0.1"}
        found: dict[str, Any] = await give(body)
        return found

    def session(self, given: dict[str, Any]) -> str:
        return self.verifier.read(given["token"], ORDERS, self.now).principal.session

    def test_a_token_that_is_over(self) -> None:
        """Whoever finds it in a job's log is not the job: that it was good once does not count."""
        tokens = self.begin(FixedKeys({"one": PublicKey(rsa_key())}))
        stolen = token()  # until NOW + 600
        self.now = NOW + 590
        self.assertIn("token", run(self.give(tokens, stolen)))
        self.now = NOW + 700
        self.assertEqual(run(self.give(tokens, stolen)).get("error"), "invalid_grant")

    def test_a_log_in_that_was_ended(self) -> None:
        """The same token does not bring it back when the first tokens for it are over."""
        issuers = self.begin(FixedKeys({"one": PublicKey(rsa_key())}))._exchange.parts.issuers
        self.with_parts(issuers=issuers, lifetimes=Lifetimes(token=60.0))
        tokens, proof = TargetTokens(self.exchange, FormLimits(), lambda: self.now), token()
        session = self.session(run(self.give(tokens, proof)))
        self.now += 90
        self.assertEqual(self.session(run(self.give(tokens, proof))), session)
        self.revoked.end(session, "ended")
        self.now += 90
        self.assertEqual(run(self.give(tokens, proof)).get("error"), "invalid_grant")

    def test_asked_at_once(self) -> None:
        """A job that asks several times before the first answer is one log-in all the same."""
        keys = SlowKeys()
        tokens, proof = self.begin(keys), token()
        asked = [Deferred.fromCoroutine(self.give(tokens, proof)) for _ in range(3)]
        for late in keys.waiting:
            late.callback(None)
        self.assertEqual(len({self.session(self.successResultOf(each)) for each in asked}), 1)


class WrongForAMomentTests(GatewayCase):
    """A clock that is set far forward, just before control forgets what is over."""

    async def test_nothing_is_forgotten(self) -> None:
        """It ran evenly when it was last looked at, which is not now."""
        passed, wrong = 0.0, 0.0
        self.service._even = EvenClock(lambda: passed + wrong, lambda: passed)
        passed = 2 * SETTLED
        self.service._note_time()
        end = time.time() + 900.0
        self.store.revoke("login-x", end)
        passed, wrong = passed + 10.0, 90_000.0
        self.service._clock.is_at_least(end + FORGET_AFTER + 1.0)
        self.patch(time, "time", self.service._now)
        self.service.tidy()
        self.assertTrue(self.store.is_revoked(["login-x"]))
        self.assertEqual(len(self.flushLoggedErrors()), 0)


class OwnLoginsTests(GatewayCase):
    """A job that logs in and ends that, again and again: each worker keeps what was ended."""

    def setUp(self) -> None:
        self.patch(delegations, "REVOKED_BURST", 4.0)
        self.patch(delegations, "UNKNOWN_LIMIT", 6)
        super().setUp()

    async def end_login(self, who: Principal, number: int) -> int:
        again = evolve(who, session=f"{who.root.name}-{number:016}")
        return (await self.call("POST", "/v1/logins/mine/revoke", again)).status

    async def revoke(self, token: str) -> int:
        path, form = f"{self.url}/sts/revoke", {"token": token}
        ca = str(self.config.paths.ca_certificate)
        answer = await deferToThread(requests.post, path, data=form, verify=ca, timeout=60)
        return int(answer.status_code)

    async def test_log_ins(self) -> None:
        """Nobody fills the list with them; others, and administrators, still end theirs."""
        found = [await self.end_login(ALICE, number) for number in range(9)]
        self.assertEqual(found[:6], [200] * 6)  # beyond its share as long as there is room
        self.assertNotIn(200, found[6:])
        self.assertEqual(self.store.count_revoked(), 6)
        self.assertEqual(await self.end_login(CAROL, 1), 200)
        self.assertEqual(await self.end_login(ROOT, 1), 200)
        path = f"/v1/logins/{ALICE.root.name}-{8:016}/revoke"
        self.assertEqual((await self.call("POST", path, ROOT)).status, 200)

    async def test_tokens(self) -> None:
        """Nor with tokens that are ended by who has them: for the gateway, and for a target."""
        for audience in (GATEWAY, target_audience("orders")):
            for number in range(9):
                who = evolve(DAVE, session=f"dave-{number:017}")
                await self.revoke(self.token(who, audience))
            self.assertEqual(self.store.count_revoked(), 6)
        self.assertEqual(await self.revoke(self.token(CAROL, target_audience("orders"))), 200)
