"""asyncpg and pg8000: drivers that are not libpq, with their own idea of the protocol."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pg8000.dbapi
import pg8000.native
import pytest

from tests.support.gateway import GatewayRig


def trust(rig: GatewayRig) -> ssl.SSLContext:
    """Return a context that trusts the gateway's CA only."""
    return ssl.create_default_context(cafile=str(rig.ca))


def with_asyncpg(rig: GatewayRig, target: str, work: Callable[[Any], Awaitable[None]]) -> None:
    """Run something with an asyncpg connection through the gateway."""

    async def main() -> None:
        options = rig.options(target)
        connection = await asyncpg.connect(
            host=options["host"],
            port=options["port"],
            user=options["user"],
            password=options["password"],
            database=options["dbname"],
            ssl=trust(rig),
            timeout=60,
        )
        try:
            await work(connection)
        finally:
            await connection.close(timeout=60)

    asyncio.run(main())


def test_asyncpg_queries(rig: GatewayRig, target: str, notes: str) -> None:
    """Prepared, binary, with its own look at the types."""

    async def work(connection: Any) -> None:
        assert await connection.fetchval("SELECT $1::int + 1", 41) == 42
        rows = await connection.fetch("SELECT id, name FROM customers ORDER BY id")
        assert [tuple(row) for row in rows] == [(1, "Ada"), (2, "Søren"), (3, "Yara")]
        await connection.executemany(
            "INSERT INTO notes (note) VALUES ($1)", [(f"n{i}",) for i in range(100)]
        )
        async with connection.transaction():
            cursor = connection.cursor("SELECT note FROM notes ORDER BY id", prefetch=10)
            assert [row["note"] async for row in cursor] == [f"n{i}" for i in range(100)]

    with_asyncpg(rig, target, work)


def test_asyncpg_errors_and_transactions(rig: GatewayRig, target: str, notes: str) -> None:
    """An error ends the transaction, and the connection goes on."""

    async def work(connection: Any) -> None:
        async def fail() -> None:
            async with connection.transaction():
                await connection.execute("INSERT INTO notes (note) VALUES ('lost')")
                await connection.fetchval("SELECT 1/0")

        with pytest.raises(asyncpg.DivisionByZeroError):
            await fail()
        assert await connection.fetchval("SELECT count(*) FROM notes") == 0

    with_asyncpg(rig, target, work)


def test_asyncpg_copy(rig: GatewayRig, target: str, notes: str) -> None:
    """COPY in binary, both ways."""

    async def work(connection: Any) -> None:
        records = [(f"note {i}",) for i in range(1000)]
        done = await connection.copy_records_to_table("notes", columns=["note"], records=records)
        assert done == "COPY 1000"
        received = bytearray()

        async def keep(data: bytes) -> None:
            received.extend(data)

        await connection.copy_from_query("SELECT note FROM notes ORDER BY id", output=keep)
        assert received.count(b"note ") == 1000

    with_asyncpg(rig, target, work)


def test_asyncpg_timeout_cancels(rig: GatewayRig, target: str) -> None:
    """Its time-out sends a cancel request, and the connection goes on."""

    async def work(connection: Any) -> None:
        with pytest.raises(TimeoutError):
            await connection.fetchval("SELECT pg_sleep(20)", timeout=0.5)
        assert await connection.fetchval("SELECT 1") == 1

    with_asyncpg(rig, target, work)


def test_pg8000(rig: GatewayRig, target: str, notes: str) -> None:
    """A driver in pure Python: queries, errors, transactions."""
    options = rig.options(target)
    connection = pg8000.native.Connection(
        options["user"],
        host=options["host"],
        port=options["port"],
        database=options["dbname"],
        password=options["password"],
        ssl_context=trust(rig),
    )
    try:
        assert connection.run("SELECT :a::int + 1", a=41) == [[42]]
        names = connection.run("SELECT name FROM customers ORDER BY id")
        assert names == [["Ada"], ["Søren"], ["Yara"]]
        with pytest.raises(pg8000.exceptions.DatabaseError) as caught:
            connection.run("SELECT 1/0")
        assert caught.value.args[0]["C"] == "22012"
        connection.run("START TRANSACTION")
        connection.run("INSERT INTO notes (note) VALUES (:note)", note="lost")
        connection.run("ROLLBACK")
        assert connection.run("SELECT count(*) FROM notes") == [[0]]
    finally:
        connection.close()
