"""The control process in trouble: killed while people vote, and without a disk to write to."""

from __future__ import annotations

import contextlib
import random
import resource
import time
from typing import Any

import requests
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from hoopgw.control.desk import FiledReview
from hoopgw.errors import UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.keyfiles import load_secret
from hoopgw.policy.decision import Review
from hoopgw.spi import ReviewOutcome
from hoopgw.store.sqlite import SqliteStore
from tests.control.gateway_case import ALICE, CAROL, DAVE
from tests.control.test_process import ProcessCase
from tests.control.world import operation
from tests.store.values import DBA
from tests.support.processes import PATIENCE

TWO = evolve(DBA, needed=2)
ROUNDS = 6


class TroubleCase(ProcessCase):
    """Reviews that are asked for, and what comes of them."""

    def setUp(self) -> None:
        super().setUp()
        self.outcomes: dict[str, list[ReviewOutcome]] = {}

    async def ask(self, text: str, review: Review) -> FiledReview:
        """Hold an operation."""
        found = await self.desk.ask(ALICE, "s-1", operation(text), review)
        assert isinstance(found, FiledReview)
        self.outcomes[found.request] = []
        found.settled.addCallback(self.outcomes[found.request].append)
        return found

    async def vote(self, request: str, who: Principal) -> int:
        """Approve; return the answer's status, or 0 if there was none."""
        try:
            answer = await self.answer("POST", f"/v1/requests/{request}/approve", who)
        except requests.RequestException:
            return 0
        status: int = answer.status_code
        return status

    def store(self) -> SqliteStore:
        """Open the store beside the process, to look at it."""
        found = SqliteStore.open(
            self.settings.paths.store, load_secret(self.settings.paths.store_key)
        )
        self.addCleanup(found.close)
        return found


class KillTests(TroubleCase):
    """SIGKILL at any point of a vote."""

    timeout = 120

    async def test_votes_are_whole_or_not_there(self) -> None:
        """Each operation runs once at most, after both persons' votes, however often control dies.

        It does not run if control died between the approval and its use: nobody knows then whether
        it was used up. It is asked for again.
        """
        self.client.start()
        self.desk.start()
        running = await self.start()
        chance = random.Random(4711)  # not a secret
        for number in range(ROUNDS):
            review = await self.ask(f"delete {number}", Review(remedies=(TWO,)))
            votes = [Deferred.fromCoroutine(self.vote(review.request, w)) for w in (CAROL, DAVE)]
            await deferLater(self.loop, chance.random() * 0.08)
            await deferToThread(running.kill)
            statuses = [await vote for vote in votes]
            running = await self.start()
            if not self.outcomes[review.request]:
                for who in (CAROL, DAVE):
                    self.assertIn(await self.vote(review.request, who), (200, 409), statuses)
            await review.settled.addTimeout(60, self.loop)
            (outcome,) = self.outcomes[review.request]
            lost = "could not be confirmed" in outcome.reason
            self.assertTrue(outcome.approved or lost, f"{outcome} after {statuses}")
        store = self.store()
        for request, (outcome,) in self.outcomes.items():
            kept = store.request(request)
            assert kept is not None
            self.assertIn(kept.state, ("consumed", "approved"))
            self.assertTrue(kept.state == "consumed" or not outcome.approved, kept.state)
            persons = {vote.person for vote in store.votes(request)}
            self.assertEqual(persons, {CAROL.root.id, DAVE.root.id})

    async def test_one_vote_of_two_is_not_enough_after_a_crash_either(self) -> None:
        self.client.start()
        self.desk.start()
        running = await self.start()
        review = await self.ask("delete", Review(remedies=(TWO,)))
        for _ in range(3):
            self.assertIn(await self.vote(review.request, CAROL), (200, 409))
            await deferToThread(running.kill)
            running = await self.start()
        self.assertEqual(self.outcomes[review.request], [])
        self.assertEqual(self.store().count_states(), {"requested": 1})


class DiskTests(TroubleCase):
    """Nothing can be written, as on a full disk (RLIMIT_FSIZE of 0 has the same effect)."""

    timeout = 120

    async def test_nothing_is_approved_and_everybody_is_told(self) -> None:
        self.client.start()
        self.desk.start()
        running = await self.start()
        review = await self.ask("delete 1", Review(remedies=(DBA,)))
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        for who in (CAROL, DAVE):
            answer = await self.answer("POST", f"/v1/requests/{review.request}/approve", who)
            self.assertEqual((answer.status_code, answer.json()["error"]), (503, "unavailable"))
            self.assertIn("store", answer.json()["detail"])
        with contextlib.suppress(UnavailableError):
            await self.ask("delete 2", Review(remedies=(DBA,)))
            self.fail("a request was taken that is nowhere")
        self.assertFalse((await self.ready())["parts"]["store"]["ok"])
        listed = await self.call("GET", "/v1/requests", CAROL)
        self.assertEqual([r["state"] for r in listed["requests"]], ["requested"])
        self.assertEqual(self.outcomes[review.request], [])

        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, unlimited)
        self.assertEqual(await self.vote(review.request, CAROL), 200)
        await review.settled.addTimeout(60, self.loop)
        self.assertTrue(self.outcomes[review.request][0].approved)
        deadline = time.monotonic() + PATIENCE
        while not (await self.ready())["parts"]["store"]["ok"]:  # it looks once a second
            self.assertLess(time.monotonic(), deadline)

    async def ready(self) -> Any:
        """Ask whether the gateway is ready."""
        answer = await self.answer("GET", "/readyz", CAROL)
        return answer.json()
