"""Ways to a masked column that are ways of the protocol: names, portals, formats, order, timing.

Each attack takes a logged-in client and returns what it got. Without a defence all of them deliver
the secret, which `tests.adversarial.test_masks_by_protocol` shows first.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, TypeAlias

from tests.adversarial.masked_gateway import answers, leaks
from tests.support.raw_postgres import (
    FLUSH,
    SYNC,
    Message,
    RawClient,
    bind,
    close,
    describe,
    execute,
    message,
    parse,
    query,
)

Attack: TypeAlias = Callable[[RawClient], list[Message]]

SHOW: Final = "SELECT name, ssn, city FROM shop.customers"
HARMLESS: Final = "SELECT name, city, note FROM shop.customers"
FAILING: Final = "UPDATE shop.people_low SET id = 5000"
"""Its error quotes the row."""
HUGE: Final = 17_000_000
"""Characters: more than a gateway looks at in one row."""


def ask(client: RawClient, *messages: bytes) -> list[Message]:
    """Send what ends with one Sync or is one Query; return the answers."""
    client.send(*messages)
    return answers(client)


def formatted(statement: str, *codes: int, portal: str = "") -> bytes:
    """Encode a Bind without values, with a result format for each column, or for all."""
    body = f"{portal}\0{statement}\0".encode() + struct.pack(">HHH", 0, 0, len(codes))
    return message("B", body + b"".join(code.to_bytes(2, "big") for code in codes))


# Names that mean something else later


def execute_is_swapped(client: RawClient) -> list[Message]:
    """Parse an EXECUTE, then prepare its name anew."""
    ask(client, query(f"PREPARE p AS {HARMLESS}"))
    ask(client, parse("EXECUTE p", "s"), describe("S", "s"), SYNC)
    ask(client, query("DEALLOCATE p"))
    ask(client, query(f"PREPARE p AS {SHOW}"))
    return ask(client, bind("s"), execute(), SYNC)


def execute_is_swapped_under_a_portal(client: RawClient) -> list[Message]:
    """Bind an EXECUTE, then prepare its name anew: what it means is looked up when it runs."""
    ask(client, query("BEGIN"))
    ask(client, query(f"PREPARE p AS {HARMLESS}"))
    ask(client, parse("EXECUTE p", "s"), bind("s", portal="o"), describe("P", "o"), SYNC)
    ask(client, query("DEALLOCATE p"))
    ask(client, query(f"PREPARE p AS {SHOW}"))
    return ask(client, execute("o"), SYNC)


def execute_is_swapped_in_one_pipeline(client: RawClient) -> list[Message]:
    """Do the same without waiting for any answer."""
    client.send(
        *(query("BEGIN"), query(f"PREPARE p AS {HARMLESS}")),
        *(parse("EXECUTE p", "s"), bind("s", portal="o"), SYNC),
        *(query("DEALLOCATE p"), query(f"PREPARE p AS {SHOW}")),
        *(execute("o"), SYNC),
    )
    return [got for _ in range(6) for got in answers(client)]


def fetch_is_swapped(client: RawClient) -> list[Message]:
    """Parse a FETCH, then declare its cursor anew."""
    ask(client, query("BEGIN"))
    ask(client, query(f"DECLARE k CURSOR FOR {HARMLESS}"))
    ask(client, parse("FETCH ALL FROM k", "s"), SYNC)
    ask(client, query("CLOSE k"))
    ask(client, query(f"DECLARE k CURSOR FOR {SHOW}"))
    return ask(client, bind("s"), execute(), SYNC)


def unnamed_is_parsed_anew(client: RawClient) -> list[Message]:
    """Bind one statement while another takes its name, all in one pipeline."""
    return ask(
        client,
        *(parse(HARMLESS), bind(portal="a"), parse(SHOW), bind(portal="b"), parse(HARMLESS)),
        *(execute("a"), execute("b"), SYNC),
    )


def closed_and_parsed_anew(client: RawClient) -> list[Message]:
    """Close a name and use it again before anything is answered."""
    ask(client, parse(HARMLESS, "s"), SYNC)
    return ask(client, close("S", "s"), parse(SHOW, "s"), bind("s"), execute(), SYNC)


def name_after_discard(client: RawClient) -> list[Message]:
    """Forget all names, and use one again."""
    ask(client, query(f"PREPARE p AS {HARMLESS}"))
    ask(client, query("DISCARD ALL"))
    ask(client, query(f"PREPARE p AS {SHOW}"))
    return ask(client, bind("p"), execute(), SYNC)


def prepared_by_sql(client: RawClient) -> list[Message]:
    """Bind by the protocol what SQL has prepared."""
    ask(client, query(f"PREPARE p AS {SHOW}"))
    return ask(client, formatted("p", 1), execute(), SYNC)


def executed_by_sql(client: RawClient) -> list[Message]:
    """Run by SQL what the protocol has parsed."""
    ask(client, parse(SHOW, "s"), SYNC)
    return ask(client, query("EXECUTE s"))


def executed_in_its_text(client: RawClient) -> list[Message]:
    """Prepare and run in one text, under a name that means two things there."""
    text = f"PREPARE p AS {HARMLESS}; EXECUTE p; DEALLOCATE p; PREPARE p AS {SHOW}; EXECUTE p"
    return ask(client, query(text))


def cursor_in_its_text(client: RawClient) -> list[Message]:
    """Open and read in one text, where two cursors have had the name."""
    text = (
        f"DECLARE c CURSOR FOR {HARMLESS}; CLOSE c; DECLARE c CURSOR FOR {SHOW}; FETCH ALL FROM c"
    )
    return ask(client, query(f"BEGIN; {text}"))


def copy_by_execute(client: RawClient) -> list[Message]:
    """Run by SQL a COPY that the protocol has parsed."""
    ask(client, parse("COPY shop.customers TO STDOUT", "s"), SYNC)
    return ask(client, query("EXECUTE s"))


def copy_by_prepared_execute(client: RawClient) -> list[Message]:
    """Do the same by the protocol alone."""
    ask(client, parse("COPY shop.customers TO STDOUT (FORMAT binary)", "s"), SYNC)
    return ask(client, parse("EXECUTE s", "e"), bind("e"), execute(), SYNC)


# Portals, formats, pieces


def some_formats(client: RawClient) -> list[Message]:
    """Ask for the columns in different formats."""
    return ask(client, parse(SHOW, "s"), formatted("s", 1, 0, 1), execute(), SYNC)


def other_formats(client: RawClient) -> list[Message]:
    """Describe a portal of one format, and run another."""
    return ask(
        client,
        *(parse(SHOW, "s"), formatted("s", 0, 0, 0), describe("P")),
        *(formatted("s", 0, 1, 0), execute(), SYNC),
    )


def row_by_row(client: RawClient) -> list[Message]:
    """Take one row at a time, with a Flush after each."""
    client.send(parse(SHOW), bind(portal="o"), FLUSH)
    for _ in range(4):
        client.send(execute("o", 1), FLUSH)
    return ask(client, SYNC)


def portal_by_fetch(client: RawClient) -> list[Message]:
    """Begin a portal by the protocol, and go on by SQL."""
    ask(client, query("BEGIN"))
    got = ask(client, parse(SHOW), formatted("", 1, portal="o"), execute("o", 1), SYNC)
    got += ask(client, query("FETCH 1 FROM o"))
    return got + ask(client, parse("FETCH ALL FROM o"), formatted("", 1), execute(), SYNC)


def scrolled(client: RawClient) -> list[Message]:
    """Go back and forth in a cursor."""
    ask(client, query("BEGIN"))
    ask(client, query(f"DECLARE k SCROLL CURSOR FOR {SHOW}"))
    got: list[Message] = []
    for step in ("LAST", "ABSOLUTE 1", "RELATIVE 0", "BACKWARD ALL", "NEXT", "PRIOR", "FIRST"):
        got += ask(client, query(f"FETCH {step} FROM k"))
    ask(client, query("MOVE ABSOLUTE 0 IN k"))
    return got + ask(client, parse("FETCH FORWARD 3 FROM k"), formatted("", 1), execute(), SYNC)


def binary_cursor(client: RawClient) -> list[Message]:
    """Let the cursor choose the format."""
    ask(client, query("BEGIN"))
    ask(client, query(f"DECLARE k BINARY INSENSITIVE SCROLL CURSOR FOR {SHOW}"))
    got = ask(client, query("FETCH 1 FROM k"))
    return got + ask(client, parse("FETCH ALL FROM k"), formatted("", 0, 1, 0), execute(), SYNC)


def held_cursor(client: RawClient) -> list[Message]:
    """Fetch after the transaction, when the portal holds rows and no plan."""
    ask(client, query("BEGIN"))
    ask(client, query(f"DECLARE k BINARY CURSOR WITH HOLD FOR {SHOW}"))
    got = ask(client, query("COMMIT"))
    got += ask(client, query("FETCH 1 FROM k"))
    return got + ask(client, parse("FETCH ALL FROM k"), formatted("", 1), execute(), SYNC)


def cursor_by_execute(client: RawClient) -> list[Message]:
    """Run SQL's cursor by the protocol's Execute, undescribed."""
    ask(client, query("BEGIN"))
    ask(client, query(f"DECLARE k CURSOR FOR {SHOW}"))
    return ask(client, execute("k"), SYNC)


def returning_row_by_row(client: RawClient) -> list[Message]:
    """Take the rows of a write in pieces."""
    ask(client, query("BEGIN"))
    text = "UPDATE shop.customers SET note = note RETURNING ssn AS x, *"
    got = ask(client, parse(text), bind(portal="o"), execute("o", 1), SYNC)
    return got + ask(client, execute("o", 1), query("FETCH ALL FROM o"))


def undescribed(client: RawClient) -> list[Message]:
    """Describe the statement only, before it is bound in another format."""
    ask(client, parse(SHOW, "s"), describe("S", "s"), SYNC)
    return ask(client, formatted("s", 1), execute(), SYNC)


def plan_is_made_anew(client: RawClient) -> list[Message]:
    """Run often enough for a generic plan, then after its plans were dropped."""
    ask(client, parse(f"{SHOW} WHERE id = $1", "s"), SYNC)
    got: list[Message] = []
    for _ in range(7):
        got += ask(client, bind("s", "1"), execute(), SYNC)
    ask(client, query("DISCARD PLANS"))
    return got + ask(client, bind("s", "1"), execute(), SYNC)


# COPY


def copies(client: RawClient) -> list[Message]:
    """Copy in each format, by both protocols."""
    got: list[Message] = []
    for what in ("shop.customers (id, ssn, name)", f"({SHOW})", "shop.people_low"):
        for options in ("", " (FORMAT csv, HEADER)", " (FORMAT binary)"):
            text = f"COPY {what} TO STDOUT{options}"
            got += ask(client, query(text))
            got += ask(client, parse(text), bind(), execute(), SYNC)
    return got


def copy_among_others(client: RawClient) -> list[Message]:
    """Copy one thing, and show another, in one text."""
    got = ask(client, query(f"COPY shop.orders TO STDOUT; {SHOW}"))
    got += ask(client, query(f"{SHOW}; COPY (SELECT id FROM shop.orders) TO STDOUT; {SHOW}"))
    return got + ask(client, query(f"SELECT 1; COPY shop.customers TO STDOUT; {SHOW}"))


# Errors, notices, notifications


def error_behind_another_transaction(client: RawClient) -> list[Message]:
    """Send what fails before the transaction in front of it has ended."""
    client.send(query("SELECT 1"), query(FAILING))
    return answers(client) + answers(client)


def error_behind_another_segment(client: RawClient) -> list[Message]:
    """Do the same with the extended protocol."""
    client.send(parse("SELECT 1"), bind(), execute(), SYNC, parse(FAILING), bind(), execute(), SYNC)
    return answers(client) + answers(client)


def error_of_a_bound_value(client: RawClient) -> list[Message]:
    """Let a value that was bound make it fail."""
    text = "UPDATE shop.people_low SET id = $1::int"
    return ask(client, parse(text), bind("", "5000"), execute(), SYNC)


def error_at_commit(client: RawClient) -> list[Message]:
    """Let a deferred trigger raise what it knows, under a harmless SQLSTATE."""
    ask(client, query("BEGIN"))
    ask(client, query("UPDATE shop.customers SET city = 'error'"))
    return ask(client, query("COMMIT"))


def error_at_sync(client: RawClient) -> list[Message]:
    """Let it raise at the end of an implicit transaction."""
    text = "UPDATE shop.customers SET city = 'error'"
    return ask(client, parse(text), bind(), execute(), SYNC)


def error_at_set_constraints(client: RawClient) -> list[Message]:
    """Let it raise in a statement that names no relation, behind a savepoint."""
    ask(client, query("BEGIN"))
    ask(client, query("UPDATE shop.customers SET city = 'error'"))
    ask(client, query("SAVEPOINT s"))
    got = ask(client, query("SET CONSTRAINTS ALL IMMEDIATE"))
    got += ask(client, query("ROLLBACK TO s"))
    return got + ask(client, query("SET CONSTRAINTS ALL IMMEDIATE"))


def notice_at_commit(client: RawClient) -> list[Message]:
    """Let the trigger tell it as a notice."""
    ask(client, query("SET client_min_messages = debug5"))
    ask(client, query("BEGIN"))
    ask(client, query("UPDATE shop.customers SET city = 'notice'"))
    return ask(client, query("COMMIT AND CHAIN"))


def notification(client: RawClient) -> list[Message]:
    """Let the trigger send it to whoever listens."""
    ask(client, query("LISTEN told"))
    got = ask(client, query("UPDATE shop.customers SET city = 'notify' WHERE id = 1"))
    got += ask(client, query("UPDATE shop.customers SET city = 'Oslo' WHERE id = 1"))
    return got + client.within(0.3)


def error_after_a_savepoint(client: RawClient) -> list[Message]:
    """Fail, go back, and fail again."""
    ask(client, query("BEGIN"))
    ask(client, query("SAVEPOINT s"))
    got = ask(client, query(FAILING))
    got += ask(client, query("ROLLBACK TO s"))
    return got + ask(client, parse(FAILING), bind(), execute(), SYNC)


# Refusals, cancels, sizes


def behind_a_refusal(client: RawClient) -> list[Message]:
    """Ask behind what is refused, and in the next segment."""
    client.send(
        *(parse(HARMLESS), bind(), execute()),
        *(parse(f"{SHOW} WHERE ssn > ''"), bind(), execute()),
        *(parse(SHOW), bind(), execute(), SYNC),
        *(parse(SHOW), bind(), execute(), SYNC),
    )
    return answers(client) + answers(client)


def in_a_failed_transaction(client: RawClient) -> list[Message]:
    """Ask where the transaction has failed, and after it."""
    got = ask(client, query("BEGIN")) + ask(client, query("SELECT 1/0"))
    got += ask(client, parse(SHOW), bind(), execute(), SYNC)
    got += ask(client, query("ROLLBACK"))
    return got + ask(client, parse(SHOW), bind(), execute(), SYNC)


def huge_row(client: RawClient) -> list[Message]:
    """Make the row longer than a gateway looks at."""
    ask(client, query("BEGIN"))
    ask(client, query(f"UPDATE shop.customers SET note = repeat('x', {HUGE})"))
    return ask(client, query("SELECT ssn, note FROM shop.customers"))


def large_rows(client: RawClient) -> list[Message]:
    """Make rows that come in many pieces."""
    ask(client, query("BEGIN"))
    ask(client, query("UPDATE shop.customers SET note = repeat('x', 3000000)"))
    got = ask(client, query("SELECT note, ssn FROM shop.customers"))
    return got + ask(client, query("COPY (SELECT note, ssn FROM shop.customers) TO STDOUT"))


ATTACKS: Final[tuple[Attack, ...]] = (
    *(execute_is_swapped, execute_is_swapped_under_a_portal, execute_is_swapped_in_one_pipeline),
    *(fetch_is_swapped, unnamed_is_parsed_anew, closed_and_parsed_anew, name_after_discard),
    *(prepared_by_sql, executed_by_sql, copy_by_execute, copy_by_prepared_execute),
    *(executed_in_its_text, cursor_in_its_text),
    *(some_formats, other_formats, row_by_row, portal_by_fetch, scrolled, binary_cursor),
    *(held_cursor, cursor_by_execute, returning_row_by_row, undescribed, plan_is_made_anew),
    *(copies, copy_among_others, error_behind_another_transaction, error_behind_another_segment),
    *(error_of_a_bound_value, error_at_commit, error_at_sync, error_at_set_constraints),
    *(notice_at_commit, notification, error_after_a_savepoint, behind_a_refusal),
    *(in_a_failed_transaction, huge_row, large_rows),
)


def left(client: RawClient) -> bool:
    """Whether what is still on its way holds the secret."""
    client.send(query("ROLLBACK"), query("SELECT 424242"))
    found: list[Message] = []
    while (got := client.read()) is not None:
        found.append(got)
        if got.kind == "D" and got.values == [b"424242"]:
            break
    return leaks(found)
