"""What happens to masks while a session lives: the policy changes, the database does, a query ends.

And what is left of it afterwards: recordings and log files hold what clients got, and no more.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hoopgw.recording.reader import Kept, LogReader
from hoopgw.recording.records import SessionEnded, SessionStarted
from hoopgw_postgres.replay import replay
from tests.adversarial.masked_attacks import ATTACKS, HARMLESS, SHOW, ask, left
from tests.adversarial.masked_gateway import ACCOUNT, CLEAR, POLICY, enter, leaks, shown
from tests.adversarial.vectors import FORMS
from tests.support.gateway import GatewayRig
from tests.support.processes import wait_until
from tests.support.raw_postgres import (
    SYNC,
    RawClient,
    bind,
    cancel_request,
    execute,
    parse,
    query,
    through,
)

TARGETS = ("pg15", "pg18")
each_target = pytest.mark.parametrize("target", TARGETS)


def change(rig: GatewayRig, target: str, *statements: str) -> None:
    """Change the database, as its owner does."""
    place = rig.targets[target]
    with place.server.connect(place.database) as connection:
        connection.execute("SET lock_timeout = '30s'")  # a session left open must not hang the test
        for statement in statements:
            connection.execute(statement.encode())


@contextmanager
def policy(rig: GatewayRig, text: str) -> Iterator[None]:
    """Put another policy in force for a while."""
    put_in_force(rig, text)
    try:
        yield
    finally:
        put_in_force(rig, POLICY)


def put_in_force(rig: GatewayRig, text: str) -> None:
    """Write a policy, and wait until it has replaced the one before."""

    def replaced() -> int:
        return (rig.folder / "gateway.log").read_text().count(" replaces ")

    before = replaced()
    (rig.folder / "policies" / "test.cedar").write_text(text)
    os.kill(rig.gateway.pid, signal.SIGHUP)
    wait_until("the policy is in force", lambda: replaced() > before)


# While a session lives


def test_policy_changes_under_a_cursor(masked_rig: GatewayRig) -> None:
    """Who saw it in clear when the session began does not fetch on when that has ended."""
    with enter(masked_rig, "pg18", CLEAR) as client:
        ask(client, query("BEGIN"))
        ask(client, query(f"DECLARE k SCROLL CURSOR WITH HOLD FOR {SHOW}"))
        ask(client, parse(SHOW, "s"), bind("s", portal="o"), execute("o", 1), SYNC)
        assert leaks(ask(client, query("FETCH ALL FROM k")))
        with policy(masked_rig, POLICY.replace('::"redact"', f'::"{CLEAR}"')):
            got = ask(client, execute("o"), SYNC, query("FETCH BACKWARD ALL FROM k"))
            assert [each.fields["C"] for each in got if each.kind == "E"] == ["57P01"], shown(got)
            assert not leaks(got)
            assert client.read() is None


@each_target
def test_a_column_is_renamed(masked_rig: GatewayRig, target: str) -> None:
    """Masks are of the attribute, whatever its name; what was prepared does not run."""
    with enter(masked_rig, target, "last4") as client:
        ask(client, parse("TABLE shop.customers", "all"), parse(SHOW, "some"), SYNC)
        change(masked_rig, target, "ALTER TABLE shop.customers RENAME ssn TO tax")
        try:
            got = ask(client, query("SELECT tax FROM shop.customers"))
            assert any(each.kind == "D" for each in got)
            got += ask(client, query("TABLE shop.customers"))
            got += ask(client, query("COPY shop.customers TO STDOUT"))
            for name in ("all", "some"):
                got += ask(client, bind(name), execute(), SYNC)
            assert not leaks(got), shown(got)
        finally:
            change(masked_rig, target, "ALTER TABLE shop.customers RENAME tax TO ssn")


@each_target
def test_columns_come_between_parse_and_bind(masked_rig: GatewayRig, target: str) -> None:
    """A star that means more by now does not run; a COPY that has more ends the session."""
    with enter(masked_rig, target, "last4") as client:
        ask(client, parse("TABLE shop.customers", "all"), SYNC)
        change(masked_rig, target, "ALTER TABLE shop.customers ADD extra text DEFAULT 'x'")
        try:
            got = ask(client, bind("all"), execute(), SYNC)
            got += ask(client, query("TABLE shop.customers"))
            assert not leaks(got), shown(got)
            got = ask(client, query("COPY shop.customers TO STDOUT"))
            assert not leaks(got), shown(got)
            assert got[-1].fields["C"] == "08P01"
        finally:
            change(masked_rig, target, "ALTER TABLE shop.customers DROP extra")


def test_a_view_is_made(masked_rig: GatewayRig) -> None:
    """The next session knows it, and its columns."""
    change(
        masked_rig,
        "pg18",
        "CREATE VIEW shop.later AS SELECT id, ssn AS x FROM shop.customers",
        f"GRANT SELECT ON shop.later TO {ACCOUNT}",
    )
    try:
        with enter(masked_rig, "pg18", "last4") as client:
            got = ask(client, query("SELECT x FROM shop.later"))
            got += ask(client, query("SELECT x || '' FROM shop.later"))
            assert not leaks(got), shown(got)
    finally:
        change(masked_rig, "pg18", "DROP VIEW shop.later")


@each_target
def test_cancelled_in_its_middle(masked_rig: GatewayRig, target: str) -> None:
    """Rows, then an error, and a session that goes on."""
    slow = "SELECT ssn, name, pg_sleep(3) FROM shop.customers, generate_series(1, 100)"
    place = masked_rig.targets[target]
    with enter(masked_rig, target, "last4") as client:
        for messages in ((query(slow),), (parse(slow), bind(), execute(), SYNC)):
            client.send(*messages)
            wait_until("it runs", lambda: place.server.is_asleep(place.database))
            with RawClient(masked_rig.port) as other:
                other.start_tls(str(masked_rig.ca)).send(cancel_request(client.key)).all()
            got = client.until("Z")
            assert "57014" in [each.fields["C"] for each in got if each.kind == "E"], shown(got)
            assert not leaks(got)
        assert not left(client)


def test_temporary_tables_hide_nothing(masked_rig: GatewayRig) -> None:
    """A table of one's own with the name of the masked one, and a search path around it."""
    with enter(masked_rig, "pg18", "last4") as client:
        got = ask(client, query("CREATE TEMP TABLE customers (ssn text, id int)"))
        for text in (
            "INSERT INTO customers VALUES ('mine', 1)",
            "TABLE customers",
            "SET search_path = pg_temp, shop",
            "COPY customers TO STDOUT",
            "SET search_path = shop, pg_temp",
            "TABLE customers",
            "COPY customers TO STDOUT",
            "COPY customers (id, ssn) TO STDOUT",
            "INSERT INTO pg_temp.customers SELECT ssn, id FROM shop.customers",
            "SET search_path = pg_temp, shop; TABLE customers; SET search_path = shop",
            "SET search_path = shop; TABLE customers",
        ):
            got += ask(client, query(text))
        assert not leaks(got), shown(got)


def test_who_may_see_it_writes_what_others_listen_to(masked_rig: GatewayRig) -> None:
    """A notification reaches them without its payload; LISTEN and NOTIFY are not refused."""
    with (
        enter(masked_rig, "pg18", "last4") as client,
        enter(masked_rig, "pg18", CLEAR) as other,
    ):
        ask(client, query("LISTEN x"))
        ask(other, query("SELECT pg_notify('x', ssn) FROM shop.customers WHERE ssn IS NOT NULL"))
        got = ask(client, query(HARMLESS)) + client.within(0.3)
        assert sum(each.kind == "A" for each in got) == 2
        assert not leaks(got), shown(got)


# Afterwards


def records(rig: GatewayRig, name: str, sessions: int) -> list[Kept]:
    """Return the records of a person's sessions, once all of these have ended."""
    found: list[Kept] = []

    def ended() -> bool:
        everything = list(LogReader(rig.settings.paths.log).walk())
        started = [each.record for each in everything if isinstance(each.record, SessionStarted)]
        ours = {each.session for each in started if each.chain[0].name == name}
        found[:] = [each for each in everything if each.record.session in ours]
        return sum(isinstance(each.record, SessionEnded) for each in found) == sessions

    wait_until("the sessions are in the log", ended)
    return found


@each_target
def test_what_is_kept_is_what_was_shown(masked_rig: GatewayRig, target: str) -> None:
    """No record of any attack holds the secret, nor a replay of it, nor a log file."""
    name = f"watched-{target}"
    for attack in ATTACKS:
        with through(masked_rig, target, ACCOUNT, name=name, groups=("last4",)) as client:
            attack(client)
            left(client)
    kept = records(masked_rig, name, len(ATTACKS))
    assert len(kept) > 5 * len(ATTACKS)
    lines = "\n".join(line.text for line in replay(each.record for each in kept))
    assert "****77Zq" in lines
    written = [each.data for each in kept] + [lines.encode()]
    written += [(masked_rig.folder / f"{log}.log").read_bytes() for log in ("gateway", "agent")]
    for text in written:
        assert not [form for form in FORMS if form in text]
