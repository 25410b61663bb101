"""Tests of `hoopgw.control.token_keys`: rotation, with workers in memory and under load."""

from __future__ import annotations

import random
import time
from typing import Any

from joserfc.jwk import OKPKey
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.threads import deferToThread

from hoopgw.cli.api import GatewayApi
from hoopgw.control.calls import TAKE_TIMEOUT
from hoopgw.control.client import ControlClient
from hoopgw.control.logins import ControlLogins
from hoopgw.control.token_keys import TokenKeys
from hoopgw.identity.login import target_form
from hoopgw.identity.tokens import GATEWAY, GatewayToken, TokenVerifier, target_audience
from tests.control.gateway_case import ALICE as ALICE_NOW
from tests.control.gateway_case import GatewayCase
from tests.control.world import URL, WorldCase
from tests.store.values import ALICE

reactor: Any = installed


class RotationTests(WorldCase):
    """Each step, and who knows what after it."""

    def setUp(self) -> None:
        super().setUp()
        self.old, self.new = self.signer._key, OKPKey.generate_key("Ed25519")
        self.keys = TokenKeys(self.signer, TokenVerifier(self.signer.jwks, URL), self.board.fleet)

    def token(self) -> str:
        token = GatewayToken(
            principal=ALICE, audience=target_audience("orders"), issued=1000.0, expires=2000.0
        )
        return self.signer.sign(token)

    def test_every_worker_knows_the_key_before_it_signs(self) -> None:
        workers = [self.worker("w1"), self.worker("w2")]
        before = self.token()
        done = Deferred.fromCoroutine(self.keys.publish([self.new]))
        self.assertNoResult(done)
        self.carry()
        self.assertEqual(self.successResultOf(done), ["w1", "w2"])
        self.keys.switch(self.new)
        after = self.token()
        self.assertEqual(self.signer.kid, self.new.thumbprint())
        for worker in workers:
            for token in (before, after):
                worker.logins.token(token, "orders")
        for token in (before, after):
            self.keys.verifier.verify(token, target_audience("orders"), 1000.0)

    def test_in_the_end_the_old_one_is_not_believed(self) -> None:
        worker, before = self.worker(), self.token()
        Deferred.fromCoroutine(self.keys.publish([self.new]))
        self.keys.switch(self.new)
        self.assertEqual(len(self.signer.jwks["keys"]), 2)
        Deferred.fromCoroutine(self.keys.publish([]))
        self.carry()
        self.assertEqual([k["kid"] for k in self.signer.jwks["keys"]], [self.new.thumbprint()])
        with self.assertRaisesRegex(Exception, "not signed by a key"):
            worker.logins.token(before, "orders")
        worker.logins.token(self.token(), "orders")

    def test_a_key_that_nobody_knows_does_not_sign(self) -> None:
        self.assertRaises(ValueError, self.keys.switch, self.new)
        self.assertEqual(self.signer.kid, self.old.thumbprint())

    def test_no_private_part_is_published(self) -> None:
        Deferred.fromCoroutine(self.keys.publish([self.new]))
        for key in self.signer.jwks["keys"]:
            self.assertNotIn("d", key)

    def test_a_worker_that_does_not_answer_is_disconnected(self) -> None:
        """It could not verify the next tokens; when it comes back it is told in the greeting."""
        worker = self.worker()
        worker.client.on_tell("token_keys", lambda _body: None)
        worker.client._handlers["token_keys"] = lambda _body: Deferred()
        done = Deferred.fromCoroutine(self.keys.publish([self.new]))
        self.carry()
        self.assertNoResult(done)
        self.clock.advance(TAKE_TIMEOUT)
        self.carry()
        self.assertEqual(self.successResultOf(done), [])
        self.keys.switch(self.new)
        self.wait(5)
        self.assertTrue(worker.client.is_connected)
        worker.logins.token(self.token(), "orders")

    def test_a_worker_that_greets_meanwhile_knows_both(self) -> None:
        Deferred.fromCoroutine(self.keys.publish([self.new]))
        worker = self.worker()
        self.keys.switch(self.new)
        worker.logins.token(self.token(), "orders")


class LoadTests(GatewayCase):
    """Rotation while people log in, over HTTPS and a real control socket."""

    async def test_no_log_in_fails(self) -> None:
        """Three rotations; tokens of every age are shown to the endpoint, the API and a worker."""
        client = ControlClient(
            UNIXClientEndpoint(reactor, str(self.config.paths.control_socket)),
            reactor,
            random.random,
            "w1",
        )
        logins = ControlLogins(client, reactor)
        connected: Deferred[None] = Deferred()
        client.on_connected(lambda: connected.callback(None))
        client.start()
        self.addCleanup(client.stop)
        await connected
        holder, shown, over = OKPKey.generate_key("Ed25519"), [0], [False]
        bound = {"jkt": holder.thumbprint()}

        async def keep_logging_in() -> None:
            earlier = self.sign(bound)
            while not over[0]:
                for token in (earlier, self.sign(bound)):
                    api = GatewayApi(
                        url=self.url,
                        ca=self.config.paths.ca_certificate,
                        token=token,
                        key=holder,
                    )
                    form = target_form(token, "orders")
                    given = await deferToThread(api.form, "/sts/token", form)
                    logins.token(given["access_token"], "orders")
                    await deferToThread(api.get, "/v1/me")
                    shown[0] += 1

        callers = [Deferred.fromCoroutine(keep_logging_in()) for _ in range(4)]
        keys = self.service.token_keys
        retired = [keys.signer._key]
        try:
            for _ in range(3):
                following, at_first = OKPKey.generate_key("Ed25519"), shown[0]
                self.assertEqual(await keys.publish([following, *retired]), ["w1"])
                keys.switch(following)
                retired.append(following)
                while shown[0] < at_first + 8:
                    await deferToThread(time.sleep, 0.01)
                    for caller in callers:
                        self.assertFalse(caller.called)
        finally:
            over[0] = True
            await gatherResults(callers)
        self.assertGreater(shown[0], 24)

    def sign(self, bound: dict[str, str]) -> str:
        now = time.time()
        token = GatewayToken(
            principal=ALICE_NOW, audience=GATEWAY, issued=now, expires=now + 60, confirmation=bound
        )
        return self.service.signer.sign(token)
