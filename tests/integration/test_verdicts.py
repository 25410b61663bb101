"""Refused, masked and held: what a client sees of a verdict, and that its session goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import requests
from psycopg import errors

from tests.support.gateway import GatewayRig
from tests.support.processes import wait_until


def test_a_refused_statement(rig: GatewayRig, target: str) -> None:
    """The reason is the policy's; the next statement works, in simple and extended queries."""
    with rig.connect(target) as connection:
        for prepare in (False, True):
            with pytest.raises(errors.InsufficientPrivilege) as caught:
                connection.execute("DO $$ BEGIN END $$", prepare=prepare)
            assert "anonymous code blocks are not allowed here" in str(caught.value)
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_refused_statement_in_a_transaction(rig: GatewayRig, target: str, notes: str) -> None:
    """The transaction fails as for an error of the server, and nothing of it is kept."""
    with rig.connect(target, autocommit=False) as connection:
        connection.execute("INSERT INTO notes (note) VALUES ('before')")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("DO $$ BEGIN END $$")
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        with pytest.raises(errors.InFailedSqlTransaction):
            connection.execute("SELECT 1")
        connection.rollback()
        assert connection.execute("SELECT count(*) FROM notes").fetchone() == (0,)


def test_a_refused_statement_in_a_pipeline(rig: GatewayRig, target: str) -> None:
    """What was sent behind it is skipped until the sync; then all is as before."""
    with rig.connect(target) as connection:
        for _ in range(10):
            with pytest.raises(errors.InsufficientPrivilege):
                _refused_in_a_pipeline(connection)
            assert connection.execute("SELECT 3").fetchone() == (3,)


def _refused_in_a_pipeline(connection: psycopg.Connection[Any]) -> None:
    with connection.pipeline():
        connection.execute("SELECT 1")
        connection.execute("DO $$ BEGIN END $$")
        connection.execute("SELECT %s::int", [2]).fetchone()


def test_masks(rig: GatewayRig, masked: str) -> None:
    """A masked column comes back masked: by name, by star, renamed, in binary, in a COPY or not."""
    with rig.connect(masked) as connection:
        for statement in (
            "SELECT card FROM customers ORDER BY id",
            "SELECT card AS name FROM customers ORDER BY id",
            "SELECT c.card FROM customers c ORDER BY c.id",
        ):
            for binary in (False, True):
                cards = connection.execute(statement.encode(), binary=binary).fetchall()
                assert [card for (card,) in cards if card] == [
                    "****1111",
                    "****4242",
                ]
                assert cards[2] == (None,)
        row = connection.execute("SELECT * FROM customers WHERE id = 1").fetchone()
        assert row == (1, "Ada", "ada@example.com", "****1111")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT name FROM customers WHERE card LIKE '4111%'",
        "SELECT upper(card) FROM customers",
        "SELECT name FROM customers ORDER BY card",
        "SELECT customers::text FROM customers",
        "SELECT row_to_json(c) FROM customers c",
        "SELECT max(card) FROM customers",
        "INSERT INTO notes (note) SELECT card FROM customers",
        "UPDATE customers SET name = card",
        "CREATE TEMP TABLE t AS SELECT card FROM customers",
        "SELECT * FROM customers UNION SELECT 1, '', '', ''",
    ],
)
def test_clear_values_do_not_come_out(rig: GatewayRig, masked: str, statement: str) -> None:
    """A masked column in any other place is refused, or redacted."""
    with rig.connect(masked, autocommit=False) as connection:
        try:
            rows = connection.execute(statement.encode())
            said = repr(rows.fetchall()) if rows.description else ""
        except errors.Error as error:
            said = str(error)
        assert "411111111111" not in said
        assert "424242424242" not in said
        connection.rollback()
        connection.execute("SELECT 1")
        connection.rollback()
    assert _names(rig, masked) == ["Ada", "Søren", "Yara"]


def _names(rig: GatewayRig, target: str) -> list[str]:
    place = rig.targets[target]
    with place.server.connect(place.database) as connection:
        rows = connection.execute("SELECT name FROM customers ORDER BY id").fetchall()
    return [name for (name,) in rows]


class Held:
    """A statement that another thread runs, and that is held."""

    def __init__(self, connection: psycopg.Connection[Any], statement: str) -> None:
        self.outcome: Any = None
        self._connection = connection
        self._statement = statement
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.outcome = self._connection.execute(self._statement.encode()).statusmessage
        except errors.Error as error:
            self.outcome = error

    def wait(self) -> Any:
        """Return what came of it."""
        self._thread.join(60)
        assert not self._thread.is_alive(), "the statement is still held"
        return self.outcome


def pending(rig: GatewayRig, target: str) -> list[dict[str, Any]]:
    """Return the open requests of a target."""
    found = rig.api("GET", "/v1/requests")["requests"]
    return [r for r in found if r["target"] == target and r["state"] == "requested"]


def request_of(rig: GatewayRig, target: str) -> dict[str, Any]:
    """Wait for the one open request of a target."""
    wait_until("a request is filed", lambda: len(pending(rig, target)) == 1)
    return pending(rig, target)[0]


def settle(rig: GatewayRig, request: dict[str, Any], how: str, **who: Any) -> Any:
    """Vote on a request."""
    return rig.api("POST", f"/v1/requests/{request['id']}/{how}", {}, **who)


def filled(rig: GatewayRig, target: str) -> Callable[[], int]:
    """Put three notes in, and return what counts them past the gateway."""
    place = rig.targets[target]
    with place.server.connect(place.database) as connection:
        connection.execute("INSERT INTO notes (note) VALUES ('a'), ('b'), ('c')")

    def count() -> int:
        with place.server.connect(place.database) as connection:
            row = connection.execute("SELECT count(*) FROM notes").fetchone()
            assert row is not None
            return int(row[0])

    return count


def test_approved(rig: GatewayRig, target: str, notes: str) -> None:
    """The statement runs once somebody of the group approves it, and not before."""
    count = filled(rig, target)
    with rig.connect(target) as connection:
        held = Held(connection, "TRUNCATE notes")
        request = request_of(rig, target)
        assert count() == 3
        settle(rig, request, "approve", name="dora", groups=["dba"])
        assert held.wait() == "TRUNCATE TABLE"
        assert count() == 0
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_denied(rig: GatewayRig, target: str, notes: str) -> None:
    """A denial is an error for the client; nothing ran; the session goes on."""
    count = filled(rig, target)
    with rig.connect(target) as connection:
        held = Held(connection, "TRUNCATE notes")
        settle(rig, request_of(rig, target), "deny", name="dora", groups=["dba"])
        assert isinstance(held.wait(), errors.InsufficientPrivilege)
        assert count() == 3
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_nobody_approves_the_own_statement(rig: GatewayRig, target: str, notes: str) -> None:
    """Not even a member of the group."""
    count = filled(rig, target)
    with rig.connect(target, groups=["developers", "dba"]) as connection:
        held = Held(connection, "TRUNCATE notes")
        request = request_of(rig, target)
        with pytest.raises(requests.HTTPError, match=r"40[34]"):
            settle(rig, request, "approve", name="alice", groups=["dba"])
        with pytest.raises(requests.HTTPError, match=r"40[34]"):
            settle(rig, request, "approve", name="mallory", groups=["strangers"])
        settle(rig, request, "deny", name="dora", groups=["dba"])
        assert isinstance(held.wait(), errors.InsufficientPrivilege)
    assert count() == 3


def test_cancel_withdraws(rig: GatewayRig, target: str, notes: str) -> None:
    """Ctrl-C while a statement is held ends the wait, and takes the request back."""
    count = filled(rig, target)
    with rig.connect(target) as connection:
        held = Held(connection, "TRUNCATE notes")
        request_of(rig, target)
        connection.cancel_safe()
        assert isinstance(held.wait(), errors.QueryCanceled)
        assert connection.execute("SELECT 1").fetchone() == (1,)
    wait_until("the request is withdrawn", lambda: not pending(rig, target))
    assert count() == 3


def test_going_away_withdraws(rig: GatewayRig, target: str, notes: str) -> None:
    """A client that is gone waits for nothing."""
    count = filled(rig, target)
    connection = rig.connect(target)
    held = Held(connection, "TRUNCATE notes")
    request_of(rig, target)
    connection.close()
    held.wait()
    wait_until("the request is withdrawn", lambda: not pending(rig, target))
    assert count() == 3
