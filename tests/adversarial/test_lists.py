"""What is long to look through, or large to keep, asked for again and again."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.control.callers import BYTES_AT_ONCE, ROWS_AT_ONCE
from hoopgw.policy import engine
from hoopgw.store.grant_rows import GrantRow
from hoopgw_postgres.judge import _ACCESSES_LIMIT, _FACTS_BYTES, FACTS_TEXT_LIMIT, FactsCache
from hoopgw_postgres.statements import Facts
from tests.control.gateway_case import ALICE, CAROL
from tests.grants.case import EVE, GrantCase, child
from tests.policy.world import EVE as SHOP_EVE
from tests.policy.world import PERMIT_ALL, operation, policies, shelf
from tests.policy.world import principal as shop_principal
from tests.postgres.conversation import Conversation
from tests.store.values import ask

ROWS = 2_000
"""As many as a list looks through."""


class ListTests(GrantCase):
    """Control does nothing else meanwhile, and a gateway that does not hear of it refuses all."""

    async def fill(self, text: bytes = b"") -> None:
        """Keep what somebody else was granted, and asked for, over weeks."""
        row = self.row((await self.ask(ALICE)).body["id"])
        with self.store.grants.change():
            for number in range(ROWS):
                self.store.grants.add(self.other(row, number, text))

    @staticmethod
    def other(row: GrantRow, number: int, text: bytes) -> GrantRow:
        return evolve(row, id=f"g-{number:016x}", state="revoked", text=text)

    async def test_an_agent_that_lists(self) -> None:
        """It is told to slow down after a few, and who is above it is still answered."""
        await self.fill()
        agent = child(EVE, "planner")
        answers = [(await self.call("GET", "/v1/grants", agent)).status for _ in range(10)]
        self.assertEqual((answers[0], answers[-1]), (200, 429))
        paid = answers.count(200) * ROWS / ROWS_AT_ONCE
        self.assertLess(paid, 300)
        self.assertEqual((await self.call("GET", "/v1/grants?limit=1", CAROL)).status, 200)
        self.assertEqual((await self.ask(EVE)).status, 200)

    async def test_requests(self) -> None:
        """What is long to read costs more."""
        text = "select 1 -- " + "x" * (BYTES_AT_ONCE // 5)
        for number in range(40):
            self.docket.file(ask(f"{text}{number}", ALICE))
        answers = [(await self.call("GET", "/v1/requests", EVE)).status for _ in range(60)]
        self.assertEqual((answers[0], answers[-1]), (200, 429))
        self.assertLess(answers.count(200), 50)


class KeptTests(SynchronousTestCase):
    """Statements that touch very much, each another one: what is kept of them is bounded."""

    ONE = 600
    """Accesses of one statement; each keeps about 650 bytes."""

    def test_by_policy(self) -> None:
        """By how much they touch, not by how many they are."""
        limit = 5 * self.ONE
        self.assertLess(engine.VERDICTS_LIMIT, 50_000)
        self.patch(engine, "VERDICTS_LIMIT", limit)
        policy = engine.CedarPolicy(policies(PERMIT_ALL), lambda: 0.0)
        for number in range(limit // self.ONE + 3):
            on = [shelf(f"s{number}-{each}") for each in range(self.ONE)]
            policy.decide(shop_principal(SHOP_EVE), operation("take", *on))
        self.assertEqual(len(policy._verdicts), limit // self.ONE)

    def test_by_a_session(self) -> None:
        """By how much its statements touch, however few they are."""
        judge: Any = Conversation().session._judge
        for number in range(_ACCESSES_LIMIT // 100 + 20):
            tables = ", ".join(f"t{number}_{each}" for each in range(100))
            text = f"SELECT 1 FROM {tables}".encode()
            judged = self.successResultOf(Deferred.fromCoroutine(judge.judge(text, False)))
            self.assertGreaterEqual(len(judged.accesses), 100)
        kept = sum(len(judged.accesses) for judged in judge._decided.values())
        self.assertTrue(0 < kept <= _ACCESSES_LIMIT, kept)

    def test_by_what_parsers_said(self) -> None:
        """By the length of the texts; the latest are kept."""
        cache = FactsCache(lambda text: succeed(Facts()))
        long = FACTS_TEXT_LIMIT - 10
        texts = [b"%08d" % number + b"x" * long for number in range(_FACTS_BYTES // long + 20)]
        for text in (*texts, texts[-1]):
            key = text[:FACTS_TEXT_LIMIT]
            self.successResultOf(Deferred.fromCoroutine(cache.find(text, key)))
        self.assertIsNone(cache.known(texts[0][:FACTS_TEXT_LIMIT]))
        self.assertIsNotNone(cache.known(texts[-1][:FACTS_TEXT_LIMIT]))
        self.assertLessEqual(sum(map(len, cache._kept)), _FACTS_BYTES)
        self.assertEqual(cache._size, sum(map(len, cache._kept)))
