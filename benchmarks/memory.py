"""What sessions hold: a thousand idle ones with TLS, and one whose client does not read.

Each idle session has run a statement. Memory is what is resident for the process, above what it was
before the first session; so the agent's and the worker's share are told apart. For the client that
does not read, it is the most that was seen while a gigabyte waited.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.progress import Progress

from benchmarks import processors
from benchmarks.figures import Figure, Section, Target, at_most
from tests.support import gateway, postgres
from tests.support.raw_postgres import RawClient, query, through

SESSIONS: Final = 1000
BIG: Final = "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"
"""A gigabyte."""
_WATCH: Final = 6.0
"""Seconds for which the gateway is watched while its client does not read."""
_SETTLE: Final = 2.0
_KB: Final = 1024
_MB: Final = 2**20
_EACH: Final[Target] = at_most(40.0)
_ALL: Final[Target] = at_most(100.0)
_DESCRIPTORS: Final = 8192


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Measure once: memory does not depend on the hour."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _hard_limit()))
    task = progress.add_task("memory", total=SESSIONS + 1)
    server = postgres.start(15, max_connections=str(SESSIONS + 100))
    try:
        with started(server) as rig:
            idle = [*_idle(rig, lambda: progress.advance(task))]
        with started(server) as rig:
            slow = [*_slow_reader(rig)]
        progress.advance(task)
    finally:
        server.stop()
    return [
        Section(name=f"{SESSIONS:,} idle sessions with TLS", method="once", figures=idle),
        Section(name="a client that does not read a gigabyte", method="once", figures=slow),
    ]


@contextmanager
def started(server: postgres.Server) -> Iterator[gateway.GatewayRig]:
    """Start a gateway that takes on so many sessions."""
    limits = f"[limits]\nsessions = {2 * SESSIONS}\nsessions_per_principal = {2 * SESSIONS}"
    target = gateway.RigTarget.make("bench", server)
    rig = gateway.start(target, link="unix", extra=limits)
    try:
        yield rig
    finally:
        rig.stop()


def _idle(rig: gateway.GatewayRig, advance: Callable[[], None]) -> Iterator[Figure]:
    roles = processors.roles(rig)
    pids = {role: roles[role][0] for role in ("worker", "agent")}
    with through(rig, "bench") as first:  # what the first one loads is no session's
        first.ask(query("SELECT 1"))
    time.sleep(_SETTLE)
    before = {role: processors.resident(pid) for role, pid in pids.items()}
    clients: list[RawClient] = []
    for _ in range(SESSIONS):
        client = through(rig, "bench")
        client.ask(query("SELECT 1"))
        clients.append(client)
        advance()
    time.sleep(_SETTLE)
    grown = {role: processors.resident(pid) - before[role] for role, pid in pids.items()}
    for client in clients:
        assert client.ask(query("SELECT 1"))[-1].kind == "Z"  # all of them live
        client.close()
    for role in pids:
        yield Figure(name=f"{role}, before", samples=(before[role] / _MB,), unit="MB")
        yield Figure(
            name=f"{role}, for each session",
            samples=(grown[role] / SESSIONS / _KB,),
            unit="KB",
            target=_EACH if role == "worker" else None,
        )


def _slow_reader(rig: gateway.GatewayRig) -> Iterator[Figure]:
    roles = processors.roles(rig)
    most = dict.fromkeys(("worker", "agent"), 0)
    with through(rig, "bench") as client:
        client.ask(query("SELECT 1"))
        client.send(query(BIG))
        end = time.monotonic() + _WATCH
        while time.monotonic() < end:
            for role in most:
                most[role] = max(most[role], processors.resident(roles[role][0]))
            time.sleep(0.02)
        assert client.read() is not None  # the answer does wait
    for role, size in most.items():
        yield Figure(name=f"{role}, at most", samples=(size / _MB,), unit="MB", target=_ALL)


def _hard_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]
