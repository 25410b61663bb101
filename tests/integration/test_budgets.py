"""Budgets with real clients: nobody gets more, whoever shares it, and whoever dies meanwhile."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from attrs import frozen
from psycopg import errors

from hoopgw.events import Budget
from tests.integration.test_delegation import Story
from tests.integration.test_failures import works
from tests.support import gateway, postgres
from tests.support.gateway import PSQL_15, WRITER, GatewayRig, RigTarget, process_of
from tests.support.processes import wait_until

ROWS = 50_000
LINE = 100
"""Bytes of a row in COPY's text, with the end of the line; 5 more on the wire."""
TABLE = f"CREATE TABLE t AS SELECT repeat('x', {LINE - 1}) AS a FROM generate_series(1, {ROWS})"
CARDS = (
    "CREATE TABLE c AS SELECT 4000000000000000 + n || '' AS card FROM generate_series(1, 9999) n"
)
PATIENCE = 60.0


@frozen
class Client:
    """Implements what a `Story` needs."""

    target: str = "orders"


@pytest.fixture(scope="module")
def rig() -> Iterator[GatewayRig]:
    """Start a gateway of this module's own: its worker is killed."""
    labels = {"public.c.card": ["pii.card"]}
    server = postgres.shared.get(18)
    running = gateway.start(
        RigTarget.make("orders", server, TABLE),
        RigTarget.make("cards", server, CARDS, labels=labels),
    )
    yield running
    running.stop()


@pytest.fixture
def story(rig: GatewayRig) -> Story:
    """Give a person."""
    client: Any = Client()
    return Story(rig, client)


def psql(story: Story, who: str, statement: str) -> subprocess.Popen[bytes]:
    """Begin a statement as one of them."""
    return subprocess.Popen(
        [PSQL_15, "-X", "-A", "-t", "-q", "-c", statement],
        env=story.rig.environment(story.client.target, WRITER, token=story.password(who)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def spent(story: Story, who: str) -> int:
    """Return how many bytes are charged to one of them."""
    path = story.rig.settings.paths.store
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
        found = store.execute("SELECT bytes FROM spent WHERE node = ?", [story.node(who)])
        return int(found.fetchone()[0])


def connect(story: Story, who: str) -> psycopg.Connection[Any]:
    """Connect as one of them."""
    target = story.client.target
    return story.rig.connect(target, token=story.password(who))


def test_one_answer_ends_with_the_budget(story: Story) -> None:
    """COPY to psql: what came fits, the error names the budget, and what helps."""
    story.delegate("alice", "frugal", budget=Budget(bytes=300_000))
    output, said = psql(story, "frugal", "COPY t TO STDOUT").communicate(timeout=PATIENCE)
    assert 300_000 * 0.9 * LINE / (LINE + 5) < len(output) <= 300_000
    assert len(output) % LINE == 0
    assert "the budget of frugal is used up: 300000 bytes" in said.decode()
    assert "HINT:  Who was given the budget needs a new delegation" in said.decode()
    with connect(story, "frugal") as connection, pytest.raises(errors.ConfigurationLimitExceeded):
        connection.execute("SELECT 1")


def test_rows_of_a_select(story: Story) -> None:
    """Row by row, as they come; and the session goes on to say no."""
    story.delegate("alice", "frugal", budget=Budget(bytes=100_000))
    with connect(story, "frugal") as connection, connection.cursor() as cursor:
        count = itertools.count()
        with pytest.raises(errors.ConfigurationLimitExceeded, match="100000 bytes"):
            deque(zip(cursor.stream("SELECT a FROM t"), count, strict=False), 0)
        assert 0.8 * 100_000 < next(count) * (LINE + 10) <= 100_000
        with pytest.raises(errors.ConfigurationLimitExceeded):
            cursor.execute("SELECT 1")


def test_masked_rows(story: Story) -> None:
    """Are counted as they go out, and are masked to the last."""
    client: Any = Client("cards")
    story.client = client
    story.delegate("alice", "frugal", budget=Budget(bytes=50_000))
    output, said = psql(story, "frugal", "COPY c TO STDOUT").communicate(timeout=PATIENCE)
    assert 20_000 < len(output) <= 50_000
    assert set(output.replace(b"\n", b"")) <= set(b"*0123456789")
    assert b"40000" not in output
    assert b"budget of frugal is used up" in said


def test_sessions_share_one_budget(story: Story) -> None:
    """Many at once, of parent and children, have no more than one alone."""
    story.delegate("alice", "frugal", budget=Budget(bytes=600_000))
    story.delegate("frugal", "child")
    story.delegate("frugal", "twin")
    running = [psql(story, who, "COPY t TO STDOUT") for who in ("frugal", "child", "twin") * 2]
    ended = [each.communicate(timeout=PATIENCE) for each in running]
    assert sum(len(output) for output, _ in ended) <= 600_000
    assert all(b"budget of frugal is used up" in said for _, said in ended)


def test_the_worker_is_killed_in_the_middle(story: Story) -> None:
    """What the client has got by then is charged, and no more than the rest comes afterwards."""
    budget, much = 40_000_000, "COPY (SELECT a FROM t, generate_series(1, 20)) TO STDOUT"
    story.delegate("alice", "frugal", budget=Budget(bytes=budget))
    running = psql(story, "frugal", much)
    assert running.stdout is not None
    first = running.stdout.read(1_000_000)
    os.kill(process_of(story.rig, "worker"), signal.SIGKILL)
    rest, _ = running.communicate(timeout=PATIENCE)
    got = len(first) + len(rest)
    assert got < budget * 0.9, "the worker died too late for this test"
    assert got * (LINE + 5) / LINE <= spent(story, "frugal") <= budget
    wait_until("the worker is back", lambda: works(story.rig), PATIENCE)
    output, said = psql(story, "frugal", much).communicate(timeout=PATIENCE)
    assert (got + len(output)) * (LINE + 5) / LINE <= budget
    assert b"budget of frugal is used up" in said
