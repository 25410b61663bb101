"""Tests for the parser process and its client: hostile text, and a parser that is lost."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from typing import cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from hoopgw.errors import UnavailableError
from hoopgw_postgres.parser_client import (
    PATIENCE,
    QUEUE_LIMIT,
    QUEUE_PATIENCE,
    STARVED,
    TEXT_LIMIT,
    ParserPool,
)
from hoopgw_postgres.statements import Facts
from tests.support.processes import python_environment


class PoolTestCase(TestCase):
    """Starts a pool, and stops it."""

    def setUp(self) -> None:
        """Let the children find our code."""
        for name, value in python_environment().items():
            self.patch_environment(name, value)

    def patch_environment(self, name: str, value: str) -> None:
        """Set a variable until the end of the test."""
        before = os.environ.get(name)
        os.environ[name] = value
        self.addCleanup(
            lambda: os.environ.pop(name) if before is None else os.environ.update({name: before})
        )

    def make_pool(
        self, program: str | None = None, size: int = 1, clock: IReactorTime | None = None
    ) -> ParserPool:
        """Start a pool; with ``program`` as Python code instead of the parser."""
        on_clock = clock or cast("IReactorTime", reactor)
        if program is None:
            pool = ParserPool(reactor, on_clock, size)
        else:
            command = (sys.executable, "-c", textwrap.dedent(program))
            pool = ParserPool(reactor, on_clock, size, command)
        self.addCleanup(self.end, pool)
        pool.start()
        return pool

    async def end(self, pool: ParserPool) -> None:
        """Stop the pool, and wait until its processes are reaped."""
        alive = [worker for worker in pool._workers if worker._alive]
        pool.stop()
        while any(worker._alive for worker in alive):
            await soon()

    async def fails(self, answer: Deferred[Facts]) -> str:
        """Expect that nobody could answer, and return why."""
        try:
            await answer
        except UnavailableError as error:
            return str(error)
        raise self.failureException("the text was answered")


def soon(seconds: float = 0.01) -> Deferred[None]:
    """Let the reactor work."""
    waiting: Deferred[None] = Deferred()
    reactor.callLater(seconds, waiting.callback, None)
    return waiting


class ParserTests(PoolTestCase):
    """The real parser."""

    async def test_answers_in_order(self) -> None:
        pool = self.make_pool(size=2)
        texts = [f"SELECT * FROM t{n}" for n in range(50)]
        answers = await gatherResults([pool.classify(text.encode()) for text in texts])
        names = [facts.statements[0].relations[0].name for facts in answers]
        self.assertEqual(names, [f"t{n}" for n in range(50)])

    async def test_hostile_texts(self) -> None:
        """What crashes or stalls the C code elsewhere gives an error, and the parser lives on."""
        pool = self.make_pool(clock=Clock())  # however busy the machine is
        await pool.classify(b"SELECT 1")
        pid = pool._workers[0].transport.pid  # type: ignore[union-attr]  # it is a process's
        for text in (
            b"SELECT 1" + b"+1" * 30_000,
            b"SELECT 1" + b"::int" * 60_000,
            b"SELECT 1" + b" UNION SELECT 1" * 5_000,
            b"SELECT " + b"(" * 50_000 + b"1" + b")" * 50_000,
            b"SELECT * FROM a" + b" CROSS JOIN a" * 5_000,
            b"SELECT " + b"NOT " * 20_000 + b"true",
            b"/*" * 30_000,
            b"SELECT '" + b"\\" * 100_000,
            b"SELECT 1\0",
            b"\xff",
        ):
            facts = await pool.classify(text)
            self.assertTrue(facts.error, text[:40])
        facts = await pool.classify(b"SELECT 1" + b"+1" * 500)
        self.assertFalse(facts.error)
        self.assertEqual(pool._workers[0].transport.pid, pid)  # type: ignore[union-attr]  # as above

    async def test_too_long_never_reaches_it(self) -> None:
        pool = self.make_pool("import time; time.sleep(100)")
        facts = await pool.classify(b" " * (TEXT_LIMIT + 1))
        self.assertIn("longer", facts.error)

    async def test_a_killed_parser_is_replaced(self) -> None:
        pool = self.make_pool()
        await pool.classify(b"SELECT 1")
        worker = pool._workers[0]
        os.kill(worker.transport.pid, signal.SIGKILL)  # type: ignore[union-attr]  # as above
        while worker.idle:
            await soon()
        facts = await pool.classify(b"SELECT 2")
        self.assertEqual(facts.statements[0].kind, "select")

    async def test_short_texts_do_not_wait_for_long_ones(self) -> None:
        pool = self.make_pool(size=2)
        await gatherResults([pool.classify(b"SELECT 1") for _ in range(9)])
        bulk = b"INSERT INTO t VALUES " + b",".join([b"(1, 'x')"] * 20_000)
        order: list[str] = []
        waiting = [
            pool.classify(bulk).addCallback(lambda _: order.append("long")) for _ in range(3)
        ]
        waiting.append(pool.classify(b"SELECT 1").addCallback(lambda _: order.append("short")))
        await gatherResults(waiting)
        self.assertEqual(order, ["short", "long", "long", "long"])

    async def test_a_cancelled_text_disturbs_nobody(self) -> None:
        pool = self.make_pool()
        first, second, third = (pool.classify(b"SELECT %d" % n) for n in range(3))
        for cancelled in (first, second):
            cancelled.addErrback(lambda _: None)
            cancelled.cancel()
        self.assertEqual((await third).statements[0].kind, "select")


READY = """
import socket, sys
s = socket.socket(fileno=0)
s.sendall(b"\\0\\0\\0\\4\\x93\\x90\\xa0\\0")  # no facts
s.recv(1)
"""
"""A program that says that it is ready, and waits for a text."""


class LostTests(PoolTestCase):
    """Parsers that do not do what they should."""

    async def test_one_that_is_busy_for_too_long(self) -> None:
        pool = self.make_pool(READY + "while True: pass")
        self.assertIn("too long", await self.fails(pool.classify(b"SELECT 1")))
        self.assertFalse(pool._workers[0].idle)

    async def test_one_that_waits(self) -> None:
        """It gets longer: others may have the processor. But not for ever."""
        clock = Clock()
        pool = self.make_pool(READY + "s.recv(100); s.recv(100)", clock=clock)
        while not pool._workers[0].idle:
            await soon()
        answer = pool.classify(b"SELECT 1")
        clock.pump([PATIENCE / 2] * int(2 * STARVED - 1))
        self.assertNoResult(answer)
        clock.pump([PATIENCE / 2] * 2)
        self.assertIn("too long", self.failureResultOf(answer, UnavailableError).getErrorMessage())
        self.assertFalse(pool._workers[0].idle)

    async def test_an_answer_that_is_read_late(self) -> None:
        """A gateway that was busy itself does not take that for the parser's fault."""
        clock = Clock()
        pool = self.make_pool(clock=clock)
        while not pool._workers[0].idle:
            await soon()
        answer = pool.classify(b"SELECT 1")
        clock.advance(PATIENCE * STARVED / 2)
        self.assertEqual((await answer).statements[0].kind, "select")

    async def test_one_that_dies(self) -> None:
        pool = self.make_pool(READY + "sys.exit(1)")
        self.assertIn("died", await self.fails(pool.classify(b"SELECT 1")))

    async def test_nonsense(self) -> None:
        pool = self.make_pool(READY + r"s.sendall(b'\0\0\0\2no'); s.recv(100)")
        error = await self.fails(pool.classify(b"SELECT 1"))
        self.assertIn("nonsense", error)

    async def test_a_huge_answer(self) -> None:
        pool = self.make_pool(READY + r"s.sendall(b'\xff\xff\xff\xff'); s.recv(100)")
        await self.fails(pool.classify(b"SELECT 1"))

    def test_one_that_does_not_start(self) -> None:
        """Texts wait for a while, then fail; and only so many wait."""
        clock = Clock()
        pool = self.make_pool("import time; time.sleep(100)", clock=clock)
        waiting = [pool.classify(b"SELECT 1") for _ in range(QUEUE_LIMIT)]
        self.failureResultOf(pool.classify(b"SELECT 1"), UnavailableError)
        clock.pump([QUEUE_PATIENCE / 40] * 50)
        for answer in waiting:
            self.failureResultOf(answer, UnavailableError)

    def test_stopping_fails_what_waits(self) -> None:
        clock = Clock()
        pool = self.make_pool("import time; time.sleep(100)", clock=clock)
        waiting = pool.classify(b"SELECT 1")
        pool.stop()
        self.failureResultOf(waiting, UnavailableError)
        self.failureResultOf(pool.classify(b"SELECT 1"), UnavailableError)
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_each_death_is_followed_by_a_longer_wait(self) -> None:
        clock = Clock()
        pool = self.make_pool("raise SystemExit(1)", clock=clock)
        worker = pool._workers[0]
        pauses = []
        for _ in range(4):
            while worker._alive:
                await soon()
            assert worker._delayed is not None
            pauses.append(round(worker._delayed.getTime() - clock.seconds(), 3))
            clock.advance(pauses[-1])
        self.assertEqual(pauses, [0.05, 0.1, 0.2, 0.4])
