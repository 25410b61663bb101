"""Clocks that somebody sets: what was ended, used up or forgotten must not come back by it."""

from __future__ import annotations

import sqlite3
import time

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from hoopgw.clock import EvenClock, ForwardClock
from hoopgw.control.live import OUTAGE_GRACE
from hoopgw.control.service import SETTLED, ControlService
from hoopgw.errors import ConfigError, UnavailableError
from hoopgw.identity.hops import node_id
from hoopgw.store.sqlite_revocations import FORGET_AFTER
from tests.cli.support import run
from tests.control.gateway_case import ALICE, GatewayCase
from tests.control.test_delegations import ChainCase
from tests.control.world import URL, WorkerEnd, WorldCase
from tests.identity.lineage import SESSION, Family, key
from tests.store.values import CAROL


class ViewTests(WorldCase):
    """A worker that control does not answer any more."""

    def test_the_clock_is_set_back(self) -> None:
        """Its view of what was revoked is as old as it is, and nobody logs in by it."""
        self.steady = Clock()
        worker, cuts = self.worker(), list[str]()
        worker.sessions.opened("s-1", CAROL, "orders", cuts.append)
        self.assertTrue(worker.client.is_current)
        self.kill()
        self.clock.rightNow -= 500.0
        self.steady.advance(2.1)
        self.assertFalse(worker.client.is_current)
        with self.assertRaises(UnavailableError):
            worker.sessions.opened("s-2", CAROL, "orders", cuts.append)
        self.steady.advance(OUTAGE_GRACE)
        self.clock.advance(501.0)
        self.assertEqual(len(cuts), 1)

    def test_the_clock_is_set_forward(self) -> None:
        """Who control answers goes on."""
        self.steady = Clock()
        worker = self.worker()
        self.clock.rightNow += 500.0
        self.assertTrue(worker.client.is_current)

    def test_a_worker_is_not_earlier_than_control(self) -> None:
        """What control has forgotten because it is over must be over here too."""
        worker = self.worker()
        self.assertEqual(worker.times, [1000.0])
        self.wait(2)
        self.assertEqual(worker.times[-1], self.clock.seconds())


class ProofTests(ChainCase):
    """A pop that was used, and is shown again."""

    def test_the_clock_is_set_back_after_it_was_forgotten(self) -> None:
        """Control remembers until when it has forgotten, also after a restart."""
        worker, chain = self.worker(), self.shown("alice", "planner")
        self.successResultOf(self.begin_login(worker, chain))
        now = self.clock.seconds()
        self.clock.advance(120.0 + FORGET_AFTER + 1.0)
        self.store.purge(self.clock.seconds(), 0.0)
        [left] = self.store._db.rows("SELECT count(*) FROM used_jti")[0]
        self.assertEqual(left, 0)
        self.clock.rightNow = now
        self.assertIn("used before", self.refused(worker, chain))
        self.kill()
        self.begin()
        self.wait(5)
        self.assertIn("used before", self.refused(worker, chain))

    def test_others_log_in(self) -> None:
        """While the clock is behind, as long as it is not known better."""
        worker = self.worker()
        self.store.purge(self.clock.seconds(), 0.0)
        self.family = Family(self.signer, url=URL, now=self.clock.seconds())
        self.successResultOf(self.begin_login(worker, self.shown("alice", "planner")))


class SetClock(Clock):
    """A reactor's time as a process of the gateway has it, over a clock that somebody sets."""

    def __init__(self, at: float, wrong: float) -> None:
        super().__init__()
        self.rightNow, self.wrong = at, wrong
        self.forward = ForwardClock(self.wall, lambda: self.rightNow)

    def wall(self) -> float:
        """Return what the system says."""
        return self.rightNow + self.wrong

    def seconds(self) -> float:
        return self.forward()


STEPS = st.tuples(
    st.sampled_from(["log in", "log in", "revoke", "pass", "pass", "set", "purge", "restart"]),
    st.integers(0, 2),
    st.sampled_from([0.0, 100.0, 200.0, 3_000.0, -200.0, -3_000.0, -3_200.0]),
)
FORGOTTEN = [("log in", 0, 0.0), ("pass", 0, 200.0), ("purge", 0, 0.0), ("set", 0, -200.0)]
"""After which nobody knows of the pop any more, and it would be good."""


class AnyOrderTests(ChainCase):
    """The clock is set, control and workers start again, things are forgotten: in any order."""

    def begin_all(self, at: float, wrong: float) -> WorkerEnd:
        """Start control and a worker, whose time is that of the system, and what control kept."""
        self.clock = self.set_clock = SetClock(at, wrong)
        self.begin()
        self.set_clock.forward.is_at_least(self.store.time)
        for worker in self.workers:
            worker.client.stop()
        return self.worker()

    @settings(max_examples=40)
    @given(st.lists(STEPS, min_size=2, max_size=14))
    @example([*FORGOTTEN, ("restart", 0, 0.0)])
    @example([("revoke", 0, 0.0), *FORGOTTEN[1:], ("restart", 0, 0.0), ("log in", 0, 0.0)])
    def test_nothing_comes_back(self, steps: list[tuple[str, int, float]]) -> None:
        """A pop is good once, and what was revoked opens nothing."""
        self.setUp()
        worker = self.begin_all(50_000.0, 0.0)
        used, revoked = list[str](), set[str]()
        for step, number, seconds in steps:
            name = f"child-{number}"
            match step:
                case "log in":
                    self.family = Family(self.signer, url=URL, now=self.clock.seconds())
                    chain = self.shown("alice", name)
                    if name in revoked:
                        self.refused(worker, chain)
                    else:
                        self.successResultOf(self.begin_login(worker, chain))
                        used.append(chain)
                case "revoke":
                    node = node_id(SESSION, key(name).thumbprint())
                    self.board.delegations.revoke(node, "test")
                    self.carry()
                    revoked.add(name)
                case "pass":
                    self.clock.advance(abs(seconds))
                    self.carry()
                case "set":
                    self.set_clock.wrong = seconds
                case "purge":
                    self.store.purge(self.clock.seconds(), 0.0)
                case _:
                    self.kill()
                    worker = self.begin_all(self.clock.rightNow, self.set_clock.wrong)
            for chain in used:
                self.refused(worker, chain)
        for each in self.workers:
            each.client.stop()


class RestartTests(GatewayCase):
    """Control is started again, and the clock was set back meanwhile."""

    def again(self) -> None:
        """Start control again."""
        self.stopped = None
        self.service = ControlService(self.config, self.service._reactor, self.recorder)
        self.service.start()
        self.store = self.service.store

    async def restart(self) -> None:
        await self.stop()
        self.again()

    async def test_what_has_ended_stays_so(self) -> None:
        """A token that was over when control last looked is not good again."""
        token = self.token(ALICE)
        self.assertEqual((await self.call("GET", "/v1/sessions", token)).status, 200)
        self.store.note_time(time.time() + 3600.0)
        await self.restart()
        self.assertEqual((await self.call("GET", "/v1/sessions", token)).status, 401)

    async def test_control_keeps_the_time(self) -> None:
        """Once it has run evenly for a while; not when it was wrong for a moment."""
        passed, wrong = 0.0, 0.0
        self.service._even = EvenClock(lambda: passed + wrong, lambda: passed)
        passed = SETTLED - 1.0
        self.service._note_time()
        self.assertEqual(self.store.time, 0.0)
        passed, wrong = 2 * SETTLED, 90_000.0
        self.service._note_time()
        self.service.tidy()
        self.assertEqual(self.store.time, 0.0)
        self.assertEqual(len(self.flushLoggedErrors()), 0)
        passed = 4 * SETTLED
        self.service._note_time()
        self.assertLess(abs(self.store.time - time.time()), 60.0)
        kept = self.store.time
        self.service._clock.is_at_least(time.time() + 3600.0)
        self.service._note_time()
        self.service.tidy()
        self.assertEqual(self.store.time, kept)

    async def test_revocations_that_were_deleted(self) -> None:
        """Control does not start; what the operator accepts ends every log-in."""
        self.store.revoke("login-x", time.time() + 900)
        await self.stop()
        database = sqlite3.connect(self.config.paths.store, isolation_level=None)
        database.execute("DELETE FROM revoked")
        database.close()
        with self.assertRaisesRegex(ConfigError, "hoopgw store accept"):
            ControlService(self.config, self.service._reactor, self.recorder)
        config = self.folder / "hoopgw.toml"
        checked = run("store", "check", "--config", config, "--json")
        self.assertEqual((checked.status, checked.json["complete"]), (1, False))
        self.assertEqual(run("store", "accept", "--config", config, text="n\n").status, 1)
        self.assertEqual(run("store", "accept", "--config", config, "--yes").status, 0)
        self.assertEqual(run("store", "check", "--config", config).status, 0)
        self.again()
