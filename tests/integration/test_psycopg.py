"""psycopg 3 (libpq 18): simple and extended queries, binary, pipelines, COPY, cancel."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.rows import dict_row

from tests.support.gateway import GatewayRig
from tests.support.processes import wait_until


def test_who_serves(rig: GatewayRig, target: str) -> None:
    """It is the target's own server, under the account that was asked for."""
    with rig.connect(target) as connection:
        assert connection.info.server_version // 10_000 == int(target[2:])
        assert connection.execute("SELECT current_user").fetchone() == ("app_writer",)
        assert connection.info.encoding == "utf-8"
        assert connection.pgconn.ssl_in_use


def test_values_and_types(rig: GatewayRig, target: str) -> None:
    """Values survive the way both ways, in text and in binary."""
    values = (1, "Søren ☃", Decimal("1.50"), True, None, b"\0\xff", ["a", None])
    select = "SELECT %s::int, %s::text, %s::numeric, %s::bool, %s::text, %s::bytea, %s::text[]"
    with rig.connect(target) as connection:
        for binary in (False, True):
            got = connection.execute(select, values, binary=binary).fetchone()
            assert got == values


def test_statements_of_every_kind(rig: GatewayRig, target: str, notes: str) -> None:
    """Insert, update, delete, with what they return."""
    with rig.connect(target) as connection:
        new = connection.execute("INSERT INTO notes (note) VALUES (%s) RETURNING id", ["one"])
        assert new.fetchone() == (1,)
        changed = connection.execute("UPDATE notes SET note = 'two' WHERE id = 1")
        assert changed.statusmessage == "UPDATE 1"
        assert connection.execute("TABLE notes").fetchall() == [(1, "two")]
        assert connection.execute("DELETE FROM notes WHERE id = 1").rowcount == 1


def test_errors_leave_the_session_usable(rig: GatewayRig, target: str) -> None:
    """The server's errors come with their code; the next statement works."""
    with rig.connect(target) as connection:
        with pytest.raises(errors.UndefinedTable) as caught:
            connection.execute("SELECT * FROM nothing_here")
        assert caught.value.diag.statement_position == "15"
        with pytest.raises(errors.DivisionByZero):
            connection.execute("SELECT 1 / %s", [0])
        with pytest.raises(errors.SyntaxError):
            connection.execute("SELEKT 1")
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_transactions(rig: GatewayRig, target: str, notes: str) -> None:
    """Commit keeps, rollback does not, a failed transaction says so, savepoints work."""
    with rig.connect(target, autocommit=False) as connection:
        connection.execute("INSERT INTO notes (note) VALUES ('kept')")
        connection.commit()
        connection.execute("INSERT INTO notes (note) VALUES ('lost')")
        with pytest.raises(errors.UniqueViolation), connection.transaction():
            connection.execute("INSERT INTO notes (note) VALUES ('kept')")
        connection.rollback()
        with pytest.raises(errors.DivisionByZero):
            connection.execute("SELECT 1/0")
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        with pytest.raises(errors.InFailedSqlTransaction):
            connection.execute("SELECT 1")
        connection.rollback()
        assert connection.execute("SELECT note FROM notes").fetchall() == [("kept",)]


def test_prepared_statements(rig: GatewayRig, target: str) -> None:
    """Named statements are prepared once, and used again."""
    with rig.connect(target) as connection:
        for number in range(20):
            row = connection.execute("SELECT %s::int + 1", [number], prepare=True).fetchone()
            assert row == (number + 1,)
        names = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
        assert names is not None
        assert names[0] >= 1


def test_pipeline(rig: GatewayRig, target: str, notes: str) -> None:
    """Statements sent ahead are answered in order; an error ends its part only."""
    with rig.connect(target) as connection:
        with connection.pipeline():
            cursors = [connection.execute("SELECT %s::int", [n]) for n in range(50)]
            assert [cursor.fetchone() for cursor in cursors] == [(n,) for n in range(50)]
        # Where the error shows depends on how far the server has come, so this is tried often.
        for _ in range(20):
            with pytest.raises(errors.DivisionByZero):
                _fail_in_a_pipeline(connection)
            assert connection.execute("SELECT count(*) FROM notes").fetchone() == (0,)


def _fail_in_a_pipeline(connection: psycopg.Connection[Any]) -> None:
    with connection.pipeline():
        connection.execute("SELECT 1")
        connection.execute("SELECT 1/0")
        connection.execute("INSERT INTO notes (note) VALUES ('aborted')")
        connection.execute("SELECT %s::int", [2]).fetchone()


def test_cursor_on_the_server(rig: GatewayRig, target: str) -> None:
    """DECLARE and FETCH pass rows in pieces."""
    with rig.connect(target, autocommit=False) as connection:
        with connection.cursor("numbers_cursor") as cursor:
            cursor.execute("SELECT n FROM numbers ORDER BY n")
            assert cursor.fetchmany(3) == [(1,), (2,), (3,)]
            assert cursor.fetchone() == (4,)
        connection.rollback()


def test_a_large_result(rig: GatewayRig, target: str) -> None:
    """100,000 rows come whole and in order."""
    with rig.connect(target) as connection:
        rows = connection.execute("SELECT n, pad FROM numbers ORDER BY n").fetchall()
    assert len(rows) == 100_000
    assert [row[0] for row in rows] == list(range(1, 100_001))
    assert all(len(row[1]) == 90 for row in rows)


def test_a_large_value(rig: GatewayRig, target: str) -> None:
    """One value of megabytes, both ways."""
    value = "snow ☃ " * 500_000
    with rig.connect(target) as connection:
        row = connection.execute("SELECT %s::text AS value, length(%s)", [value, value]).fetchone()
    assert row == (value, len(value))


def test_copy(rig: GatewayRig, target: str, notes: str) -> None:
    """COPY in and out, and one that the client breaks off."""
    with rig.connect(target) as connection:
        cursor = connection.cursor()
        with cursor.copy("COPY notes (note) FROM STDIN") as copy:
            for number in range(5000):
                copy.write_row([f"note {number}"])
        assert cursor.rowcount == 5000
        with cursor.copy("COPY (SELECT note FROM notes ORDER BY id) TO STDOUT") as copy:
            lines = b"".join(bytes(data) for data in copy).split(b"\n")
        assert lines[4999] == b"note 4999"
        with pytest.raises(KeyboardInterrupt):
            _break_off(cursor)
        count = connection.execute("SELECT count(*) FROM notes").fetchone()
    assert count == (5000,)


def _break_off(cursor: psycopg.Cursor[Any]) -> None:
    with cursor.copy("COPY notes (note) FROM STDIN") as copy:
        copy.write_row(["never"])
        raise KeyboardInterrupt


def cancel_once_asleep(rig: GatewayRig, target: str, connection: psycopg.Connection[Any]) -> None:
    """Cancel what a connection does, once it has begun at the target."""
    place = rig.targets[target]
    wait_until("the statement runs", lambda: place.server.is_asleep(place.database))
    connection.cancel_safe()


def test_cancel(rig: GatewayRig, target: str) -> None:
    """A cancel request reaches the statement, and the session goes on."""
    with rig.connect(target) as connection:
        canceller = threading.Thread(target=cancel_once_asleep, args=(rig, target, connection))
        canceller.start()
        with pytest.raises(errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(300)")
        canceller.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_rows_as_dicts(rig: GatewayRig, target: str) -> None:
    """Column names come through."""
    with rig.connect(target) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        row = cursor.execute("SELECT id, name FROM customers WHERE id = 2").fetchone()
    assert row == {"id": 2, "name": "Søren"}


def test_settings_at_start(rig: GatewayRig, target: str) -> None:
    """What a client may set when it connects reaches the target."""
    options = rig.options(target) | {"options": "-c statement_timeout=12345 -c TimeZone=UTC"}
    with psycopg.connect(**options, application_name="nightly") as connection:
        for name, value in {
            "statement_timeout": "12345ms",
            "TimeZone": "UTC",
            "application_name": "nightly",
        }.items():
            assert connection.execute(f"SHOW {name}".encode()).fetchone() == (value,)


def test_direct_tls(rig: GatewayRig, target: str) -> None:
    """TLS without asking first, as PostgreSQL 17 has it."""
    options = rig.options(target) | {"sslnegotiation": "direct"}
    with psycopg.connect(**options) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_newest_protocol(rig: GatewayRig, target: str) -> None:
    """Protocol 3.2, with its longer cancel keys."""
    options = rig.options(target) | {"min_protocol_version": "3.2", "max_protocol_version": "3.2"}
    with psycopg.connect(autocommit=True, **options) as connection:
        canceller = threading.Thread(target=cancel_once_asleep, args=(rig, target, connection))
        canceller.start()
        with pytest.raises(errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(300)")
        canceller.join()


def test_many_at_once(rig: GatewayRig, target: str) -> None:
    """Twenty sessions side by side each see their own answers."""
    connections = [rig.connect(target) for _ in range(20)]
    try:
        for number, connection in enumerate(connections):
            connection.execute("SELECT set_config('application_name', %s, false)", [f"c{number}"])
        for number, connection in enumerate(connections):
            row = connection.execute("SHOW application_name").fetchone()
            assert row == (f"c{number}",)
    finally:
        for connection in connections:
            connection.close()
