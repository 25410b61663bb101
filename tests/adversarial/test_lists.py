"""Lists that are long to look through, asked for again and again."""

from __future__ import annotations

from attrs import evolve

from hoopgw.control.callers import BYTES_AT_ONCE, ROWS_AT_ONCE
from hoopgw.store.grant_rows import GrantRow
from tests.control.gateway_case import ALICE, CAROL
from tests.grants.case import EVE, GrantCase, child
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
