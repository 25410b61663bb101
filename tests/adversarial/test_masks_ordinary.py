"""Ordinary work where columns are masked: what mappers, drivers and tools send runs, and is masked.

The lists are in `tests.adversarial.ordinary`; psql and pg_dump are the real programs.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg
import pytest

from tests.adversarial.masked_gateway import ACCOUNT, enter, extended, leaks, simple
from tests.adversarial.ordinary import METADATA, QUERIES, SESSION
from tests.adversarial.test_masking_vectors import PSQL
from tests.adversarial.vectors import FORMS
from tests.support import postgres
from tests.support.gateway import PSQL_15, GatewayRig
from tests.support.raw_postgres import DEADLINE, SSL_REQUEST, Message, RawClient

TARGETS = ("pg15", "pg18")
each_target = pytest.mark.parametrize("target", TARGETS)
COPIES: Final = (
    r"\copy shop.customers to stdout",
    r"\copy shop.customers (id, ssn) to stdout csv header",
    r"\copy (select id, ssn from shop.customers) to stdout",
)


def errors(messages: list[Message]) -> list[str]:
    """Return the errors."""
    return [got.fields["M"] for got in messages if got.kind == "E"]


def runs(client: RawClient, text: str) -> None:
    """Run it in each way, or fail; in a transaction, of which nothing is left."""
    for code in (None, 0, 1):
        simple(client, "SAVEPOINT before")
        got = simple(client, text) if code is None else extended(client, text, code)
        assert errors(got) == [], text
        assert not leaks(got), text
        simple(client, "ROLLBACK TO before")


@each_target
@pytest.mark.parametrize("texts", [QUERIES, METADATA], ids=["queries", "metadata"])
def test_statements(masked_rig: GatewayRig, target: str, texts: tuple[str, ...]) -> None:
    """Each by both protocols and in both formats."""
    with enter(masked_rig, target, "last4") as client:
        simple(client, "BEGIN")
        for text in texts:
            runs(client, text)


@each_target
def test_sessions(masked_rig: GatewayRig, target: str) -> None:
    """What is set and shown around them."""
    with enter(masked_rig, target, "last4") as client:
        simple(client, "BEGIN")
        for text in SESSION:
            assert errors(simple(client, text)) == [], text


@each_target
def test_psycopg(masked_rig: GatewayRig, target: str) -> None:
    """Prepared often, in binary, by a server cursor, copied, in a pipeline."""
    who = {"name": "driver", "groups": ("last4",)}
    with masked_rig.connect(target, ACCOUNT, autocommit=False, **who) as connection:
        text = "SELECT ssn FROM shop.customers WHERE id = %s"
        for _ in range(7):
            assert connection.execute(text, [1]).fetchone() == ("****77Zq",)
        assert connection.execute(text, [1], binary=True).fetchone() == ("****77Zq",)
        with connection.cursor("named", binary=True) as cursor:
            cursor.execute("SELECT ssn FROM shop.customers ORDER BY id")
            assert [cursor.fetchone(), *cursor.fetchmany(1)] == [("****77Zq",), ("****3333",)]
        copying = "COPY (SELECT id, ssn FROM shop.customers ORDER BY id) TO STDOUT (FORMAT binary)"
        with connection.cursor().copy(copying) as copy:
            copy.set_types(["int4", "text"])
            assert list(copy.rows())[:2] == [(1, "****77Zq"), (2, "****3333")]
        with connection.pipeline():
            found = [connection.execute(text, [number]) for number in (1, 2)]
        assert [cursor.fetchone() for cursor in found] == [("****77Zq",), ("****3333",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT id FROM shop.customers WHERE ssn = %s", ["x"])


@each_target
def test_psql(masked_rig: GatewayRig, target: str) -> None:
    """Its backslash commands, and its copies."""
    settings = masked_rig.environment(target, ACCOUNT, name="psql", groups=("last4",))
    # What psql 15 asks about databases is not known to a newer server.
    commands = [each for each in PSQL if target == "pg15" or not each.startswith(r"\l")]
    done = subprocess.run(
        [PSQL_15, "-X"],
        input="\n".join((*commands, *COPIES)),
        env=settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "ERROR" not in done.stderr
    assert "1,****77Zq" in done.stdout
    assert not any(form.decode() in done.stdout for form in FORMS)


@each_target
def test_pg_dump(masked_rig: GatewayRig, target: str) -> None:
    """The definitions are whole, and the data are masked."""
    version: postgres.Version = 15 if target == "pg15" else 18
    programs = postgres.programs(version)
    assert programs is not None
    with without_tls(masked_rig) as port:
        who = {"name": "dumper", "groups": ("last4",)}
        settings = masked_rig.environment(target, ACCOUNT, **who)
        settings |= {"PGPORT": str(port), "PGSSLMODE": "disable"}
        for options in ("--schema-only",), (), ("--inserts",), ("--serializable-deferrable",):
            done = subprocess.run(
                [programs / "pg_dump", *options],
                env=settings,
                capture_output=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert b"CREATE TABLE shop.customers" in done.stdout
            assert (b"****77Zq" in done.stdout) == ("--schema-only" not in options)
            assert not any(form in done.stdout for form in FORMS), options


@contextmanager
def without_tls(rig: GatewayRig) -> Iterator[int]:
    """Give a port for programs that are built without TLS: what comes there goes on in TLS."""
    context = ssl.create_default_context(cafile=str(rig.ca))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind = await asyncio.open_connection("127.0.0.1", rig.port)
        behind.write(SSL_REQUEST)
        assert await behind_reader.readexactly(1) == b"S"
        await behind.start_tls(context, server_hostname="127.0.0.1")
        try:
            await asyncio.gather(carry(reader, behind), carry(behind_reader, writer))
        finally:  # a session that is left open keeps its locks
            behind.transport.abort()
            writer.transport.abort()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    opening = asyncio.start_server(serve, "127.0.0.1", 0)
    server = asyncio.run_coroutine_threadsafe(opening, loop).result(DEADLINE)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(DEADLINE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE)
        loop.close()


async def _end(server: asyncio.Server) -> None:
    """Close a server, and end what it does."""
    server.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)  # what was aborted is closed in the loop's next turn
