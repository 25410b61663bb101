"""Run one statement under the verdict of another: names, portals and what the server skips.

Each attack gets a DELETE, which policy holds for approval, to run as if it were something else.
That it bites without a defence is shown on the server itself, with the same bytes: there the rows
are gone.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.gateway import GatewayRig
from tests.support.raw_postgres import (
    SYNC,
    RawClient,
    bind,
    close,
    direct,
    execute,
    parse,
    query,
    through,
)

DELETE = "DELETE FROM t RETURNING a"
HARMLESS = "SELECT a FROM t"
LONG = "s" * 63

Attack = Callable[[RawClient], None]


def by_long_name(client: RawClient) -> None:
    """Use that the server compares 63 bytes of a name: two names here are one there."""
    client.ask(parse(HARMLESS, LONG + "x"), SYNC)
    client.ask(close("S", LONG + "y"), SYNC)
    client.ask(parse(DELETE, LONG + "y"), SYNC)
    client.send(bind(LONG + "x"), execute(), SYNC)


def by_long_portal(client: RawClient) -> None:
    """Do the same with portals."""
    client.ask(query("BEGIN"))
    client.ask(parse(HARMLESS, "h"), bind("h", portal=LONG + "x"), SYNC)
    client.ask(close("P", LONG + "y"), SYNC)
    client.ask(parse(DELETE, "d"), bind("d", portal=LONG + "y"), SYNC)
    client.send(execute(LONG + "x"), SYNC, query("COMMIT"))


def by_prepare_that_fails(client: RawClient) -> None:
    """Let the server refuse SQL's PREPARE, because the name is taken."""
    client.ask(parse(DELETE, "s"), SYNC)
    client.ask(query(f"PREPARE s AS {HARMLESS}"))
    client.send(bind("s"), execute(), SYNC)


def by_prepare_in_a_failed_transaction(client: RawClient) -> None:
    """Let a PREPARE never run."""
    client.ask(parse(DELETE, "s"), SYNC)
    client.ask(query("BEGIN"))
    client.ask(query("SELECT 1/0"))
    client.ask(query(f"DEALLOCATE s; PREPARE s AS {HARMLESS}"))
    client.ask(query("ROLLBACK"))
    client.send(bind("s"), execute(), SYNC)


def by_prepare_behind_an_error(client: RawClient) -> None:
    """Let the text break off before its PREPARE."""
    client.ask(parse(DELETE, "s"), SYNC)
    client.ask(query(f"SELECT 1/0; DEALLOCATE s; PREPARE s AS {HARMLESS}"))
    client.send(query("EXECUTE s"))


def by_parse_that_fails(client: RawClient) -> None:
    """Let a second Parse of a name fail, and use the name before the answer has come."""
    client.ask(parse(DELETE, "s"), SYNC)
    client.send(parse(HARMLESS, "s"), SYNC, bind("s"), execute(), SYNC)


def by_parse_that_is_skipped(client: RawClient) -> None:
    """Let the server skip Close and Parse, because of an error before them."""
    client.ask(parse(DELETE, "s"), SYNC)
    client.send(
        parse("SELECT nothing FROM nowhere", "n"),
        close("S", "s"),
        parse(HARMLESS, "s"),
        SYNC,
        bind("s"),
        execute(),
        SYNC,
    )


def by_execute_after_a_parse_that_fails(client: RawClient) -> None:
    """Use SQL's EXECUTE in the place of Bind."""
    client.ask(parse(DELETE, "s"), SYNC)
    client.send(parse(HARMLESS, "s"), SYNC, query("EXECUTE s"))


def by_deallocate_that_is_rolled_back(client: RawClient) -> None:
    """Let DEALLOCATE do nothing in a failed transaction, so that the name seems to be free."""
    client.ask(parse(DELETE, "s"), SYNC)
    client.ask(query("BEGIN"))
    client.ask(query("SELECT 1/0"))
    client.ask(query("DEALLOCATE ALL"))
    client.ask(query("ROLLBACK"))
    client.send(parse(HARMLESS, "s"), SYNC, bind("s"), execute(), SYNC)


def by_fetch_from_a_portal(client: RawClient) -> None:
    """Use that a portal is a cursor to SQL: FETCH runs what was never executed."""
    client.ask(query("BEGIN"))
    client.ask(parse(DELETE, "s"), bind("s", portal="p"), SYNC)
    client.send(query("FETCH ALL FROM p"), query("COMMIT"))


def by_move_in_a_portal(client: RawClient) -> None:
    """Use MOVE, which does not even show rows."""
    client.ask(query("BEGIN"))
    client.ask(parse(DELETE, "s"), bind("s", portal="p"), SYNC)
    client.send(query("MOVE FORWARD ALL IN p; COMMIT"))


def by_a_portal_with_parameters(client: RawClient) -> None:
    """Prepare FETCH by itself, and execute it by the protocol."""
    client.ask(query("BEGIN"))
    client.ask(parse("DELETE FROM t WHERE a < $1 RETURNING a", "s"), SYNC)
    client.ask(bind("s", "100", portal="p"), SYNC)
    client.send(parse("FETCH ALL IN p"), bind(), execute(), SYNC, query("COMMIT"))


def by_explain_analyze_execute(client: RawClient) -> None:
    """Use that EXPLAIN ANALYZE runs what it explains, and EXECUTE only names it."""
    client.ask(parse(DELETE, "s"), SYNC)
    client.send(query("EXPLAIN (ANALYZE) EXECUTE s"))


def by_prepared_execute(client: RawClient) -> None:
    """Prepare an EXECUTE, then change what its name stands for."""
    client.ask(parse(HARMLESS, "s"), SYNC)
    client.ask(parse("EXECUTE s", "e"), SYNC)
    client.ask(close("S", "s"), SYNC)
    client.ask(parse(DELETE, "s"), SYNC)
    client.send(bind("e"), execute(), SYNC)


def by_reparse_under_the_unnamed(client: RawClient) -> None:
    """Replace the unnamed statement after Bind: the portal keeps the old one."""
    client.send(parse(DELETE), bind(), parse(HARMLESS), execute(), SYNC)


def by_rebinding_a_portal(client: RawClient) -> None:
    """Bind the unnamed portal twice: the last counts."""
    client.send(
        parse(HARMLESS, "h"),
        parse(DELETE, "d"),
        bind("h"),
        bind("d"),
        execute(),
        close("S", "h"),
        SYNC,
    )


def by_close_and_parse(client: RawClient) -> None:
    """Close a harmless name and parse it anew in the same pipeline."""
    client.ask(parse(HARMLESS, "s"), SYNC)
    client.send(close("S", "s"), parse(DELETE, "s"), bind("s"), execute(), SYNC)


def by_fetch_from_a_portal_of_execute(client: RawClient) -> None:
    """Let a portal hold an EXECUTE, and change what its name stands for."""
    client.ask(query("BEGIN"))
    client.ask(parse(HARMLESS, "s"), parse("EXECUTE s", "e"), bind("e", portal="q"), SYNC)
    client.ask(close("S", "s"), parse(DELETE, "s"), SYNC)
    client.send(query("FETCH ALL FROM q"), query("COMMIT"))


def by_fetch_from_a_portal_of_explain(client: RawClient) -> None:
    """Let a portal hold an EXPLAIN ANALYZE."""
    client.ask(query("BEGIN"))
    client.ask(parse(f"EXPLAIN ANALYZE {DELETE}", "e"), bind("e", portal="q"), SYNC)
    client.send(query("FETCH ALL FROM q"), query("COMMIT"))


def by_names_that_fold(client: RawClient) -> None:
    """Use names that differ in the protocol, and are one when SQL folds them."""
    client.ask(parse(DELETE, "s"), SYNC)
    client.ask(parse(HARMLESS, "S"), SYNC)
    client.send(query("EXECUTE S"))


def by_execute_of_a_cut_name(client: RawClient) -> None:
    """Use that SQL cuts a name at 63 bytes."""
    client.ask(parse(DELETE, LONG), SYNC)
    client.send(query(f"EXECUTE {LONG}xyz"))


def by_a_name_cut_inside_a_letter(client: RawClient) -> None:
    """Use that SQL cuts a name before the letter that does not fit."""
    client.ask(parse(DELETE, "s" * 62), SYNC)
    client.send(query(f'EXECUTE "{"s" * 62}ä"'))


def by_quick_bind(client: RawClient) -> None:
    """Take the quick way of Bind to Sync in one piece, right behind SQL that changes the name."""
    client.ask(parse(HARMLESS, "s"), SYNC)
    client.ask(bind("s"), execute(), SYNC)
    client.send(query(f"DEALLOCATE s; PREPARE s AS {DELETE}"))
    client.send(bind("s"), execute(), SYNC)


def by_discard(client: RawClient) -> None:
    """Let DISCARD ALL free the name."""
    client.ask(parse(HARMLESS, "s"), SYNC)
    client.ask(query("DISCARD ALL"))
    client.ask(parse(DELETE, "s"), SYNC)
    client.send(bind("s"), execute(), SYNC)


ATTACKS = (
    by_long_name,
    by_long_portal,
    by_prepare_that_fails,
    by_prepare_in_a_failed_transaction,
    by_prepare_behind_an_error,
    by_parse_that_fails,
    by_parse_that_is_skipped,
    by_execute_after_a_parse_that_fails,
    by_deallocate_that_is_rolled_back,
    by_fetch_from_a_portal,
    by_move_in_a_portal,
    by_a_portal_with_parameters,
    by_explain_analyze_execute,
    by_prepared_execute,
    by_reparse_under_the_unnamed,
    by_rebinding_a_portal,
    by_close_and_parse,
    by_fetch_from_a_portal_of_execute,
    by_fetch_from_a_portal_of_explain,
    by_names_that_fold,
    by_execute_of_a_cut_name,
    by_a_name_cut_inside_a_letter,
    by_quick_bind,
    by_discard,
)


def left(rig: GatewayRig, target: str) -> int:
    """Count the rows of the table, past the gateway."""
    place = rig.targets[target]
    with place.server.connect(place.database) as connection:
        row = connection.execute("SELECT count(*) FROM t").fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture(params=["pg15", "pg18", "masked", "strict"])
def target(request: pytest.FixtureRequest) -> str:
    """Name a target: each attack is made on all of them."""
    return str(request.param)


@pytest.fixture
def filled(rig: GatewayRig, target: str) -> str:
    """Fill the table, and give the target."""
    place = rig.targets[target]
    with place.server.connect(place.database) as connection:
        connection.execute(
            "INSERT INTO t SELECT n FROM generate_series(1, 5) n ON CONFLICT DO NOTHING"
        )
    return target


def settle(client: RawClient) -> None:
    """Wait until the session rests: all it was sent is answered, or held, or has ended it."""
    client.send(query("ROLLBACK"), query("SELECT 424242"))
    while (got := client.read()) is not None:
        if got.kind == "D" and got.values == [b"424242"]:
            return
        if got.kind == "N" and "held for approval" in got.fields["M"]:
            return


@pytest.mark.parametrize("attack", [pytest.param(a, id=a.__name__) for a in ATTACKS])
def test_bites_without_a_gateway(rig: GatewayRig, filled: str, attack: Attack) -> None:
    """On the server itself every one of these ends with an empty table."""
    with direct(rig.targets[filled]) as client:
        attack(client)
        settle(client)
    assert left(rig, filled) == 0


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_deletes_nothing_through_the_gateway(rig: GatewayRig, filled: str, attack: Attack) -> None:
    """The statement that runs is the one that was judged: held, or refused."""
    with through(rig, filled) as client:
        attack(client)
        settle(client)
        assert left(rig, filled) == 5
