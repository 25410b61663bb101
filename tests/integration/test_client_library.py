"""`hoopgw.client` against a real gateway, with psycopg and asyncpg; and the example of the docs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from hoopgw.client import AsyncIdentity, Budget, Identity, Refused
from tests.support.delegating import Person
from tests.support.gateway import READER, GatewayRig
from tests.support.processes import TOP

COUNT = "SELECT count(*) FROM customers"
EXAMPLE = TOP / "docs" / "examples" / "report.py"


@pytest.fixture(scope="module")
def alice(rig: GatewayRig) -> Iterator[Person]:
    """Log alice in."""
    with tempfile.TemporaryDirectory(prefix="hg-alice-") as home:
        yield Person.log_in(rig, Path(home))


@pytest.fixture
def me(alice: Person) -> Identity:
    """Return alice's identity, as a program finds it."""
    return Identity.from_environment({"HOOPGW_HOME": str(alice.home)})


def test_a_person(me: Identity, target: str) -> None:
    """Who has logged in gets in, with a password that is good once."""
    assert me.path == "alice"
    access = me.password(target, READER)
    with psycopg.connect(**access.psycopg()) as connection:
        assert connection.execute(COUNT.encode()).fetchone() == (3,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(**access.psycopg())


def test_a_child_and_a_grandchild(me: Identity, target: str) -> None:
    """Made offline; each may do what all of its caps leave."""
    planner = me.delegate("planner", caps=[f"{target}:Postgres::read", f"{target}:Postgres::write"])
    reader = planner.delegate("reader", caps=[f"{target}:Postgres::read"], ttl=60)
    assert reader.path == "alice / planner / reader"
    with psycopg.connect(
        **reader.password(target, READER).psycopg(), autocommit=True
    ) as connection:
        assert connection.execute(COUNT.encode()).fetchone() == (3,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="caps that planner gave"):
            connection.execute("DELETE FROM notes")


def test_refusals(me: Identity) -> None:
    """Each has a code that a program can act on."""
    planner = me.delegate("planner", caps=["pg15:Postgres::read"], ttl=60, nest=0)
    for code, ask in (
        ("unknown_target", lambda: me.password("nowhere", READER)),
        ("unknown_account", lambda: me.password("pg15")),
        ("not_in_caps", lambda: planner.password("pg18", READER)),
        ("too_deep", lambda: planner.delegate("more")),
        ("bad_request", lambda: me.delegate("Not A Name")),
    ):
        with pytest.raises(Refused) as refused:
            ask()
        assert refused.value.code == code
    with pytest.raises(Refused) as refused:
        Identity.from_environment({"HOOPGW_HOME": "/nowhere"})
    assert refused.value.code == "not_logged_in"
    with pytest.raises(Refused) as refused:
        Identity.from_environment({"HOOPGW_BROKER": "/nowhere/broker.sock"}).standing()
    assert refused.value.code == "unreachable"


def test_with_asyncio(alice: Person, target: str) -> None:
    """The same with ``await``, and asyncpg."""

    async def ask() -> object:
        me = await AsyncIdentity.from_environment({"HOOPGW_HOME": str(alice.home)})
        child = await me.delegate("reader", budget=Budget(operations=100), purpose="a test")
        assert (await child.standing()).path == "alice / reader"
        assert {t.name for t in await child.targets()} >= {"pg15", "pg18"}
        access = await child.password(target, READER)
        connection = await asyncpg.connect(**access.asyncpg())
        try:
            return await connection.fetchval(COUNT)
        finally:
            await connection.close()

    assert asyncio.run(ask()) == 3


@pytest.mark.parametrize("inside", [False, True])
def test_the_example(alice: Person, inside: bool) -> None:
    """As a person runs it, and as an agent inside ``hoopgw delegate``, where a broker answers."""
    command = [sys.executable, str(EXAMPLE), "pg15", READER, COUNT]
    if inside:
        done = alice.delegate(
            "--to", "planner", "--allow", "pg15:Postgres::read", "-q", "--", *command
        )
    else:
        done = subprocess.run(
            command, env=alice.environment(), capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "I am alice / planner" if inside else "I am alice"
    assert lines[1:3] == ["psycopg: [(3,)]", "asyncpg: [(3,)]"]
    assert lines[3].startswith('refused: {"error": "' + ("not_in_caps" if inside else "unknown"))


def test_nothing_of_the_environment_is_needed(alice: Person) -> None:
    """Inside, a program with an empty environment but for the broker's socket is the child."""
    code = (
        "import os; from hoopgw.client import Identity\n"
        "me = Identity.from_environment({'HOOPGW_BROKER': os.environ['HOOPGW_BROKER']})\n"
        "print(me.path, len(me.targets()))"
    )
    command = ("--", sys.executable, "-c", code)
    clean = ("--clean-env", "--keep-env", "PYTHONPATH", "-q")
    done = alice.delegate("--to", "planner", "--allow", "pg15:*", *clean, *command)
    assert done.stdout == "alice / planner 1\n", done.stderr
