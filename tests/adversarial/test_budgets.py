"""Ways to get more than a budget of bytes has; without it each of them gets many times as much."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import pytest
from attrs import frozen

from hoopgw.events import Budget
from tests.integration.test_delegation import Story
from tests.support.gateway import WRITER, GatewayRig
from tests.support.raw_postgres import (
    PROTOCOL_3_0,
    SYNC,
    Message,
    RawClient,
    bind,
    describe,
    execute,
    parse,
    query,
    startup,
)

Attack: TypeAlias = Callable[[RawClient], list[Message]]

ROOM: Final = 50_000
"""Bytes that each attack may get."""
BESIDES: Final = 1000
"""What is not data, and errors of our own: tags, descriptions of columns, states."""
ROWS: Final = "SELECT repeat('x', 500) || n AS a FROM generate_series(1, 2000) n"
LINES: Final = "FOR n IN 1..2000 LOOP RAISE NOTICE '%', repeat('x', 500); END LOOP"


@frozen
class Target:
    """What a `Story` needs to know."""

    target: str = "pg18"


def one_answer(client: RawClient) -> list[Message]:
    return client.ask(query(ROWS))


def one_answer_by_parts(client: RawClient) -> list[Message]:
    return client.ask(parse(ROWS), bind(), describe("P"), execute(), SYNC)


def one_row(client: RawClient) -> list[Message]:
    """Longer than all that is left, and than any buffer."""
    return client.ask(query("SELECT repeat('x', 3000000)"))


def copied_out(client: RawClient) -> list[Message]:
    return client.ask(query(f"COPY ({ROWS}) TO STDOUT"))


def copied_out_in_binary(client: RawClient) -> list[Message]:
    return client.ask(query(f"COPY ({ROWS}) TO STDOUT (FORMAT binary)"))


def many_in_one_text(client: RawClient) -> list[Message]:
    return client.ask(query("SELECT repeat('x', 5000);" * 100))


def many_in_one_pipeline(client: RawClient) -> list[Message]:
    """Sent before the first is answered."""
    one = (bind("s"), execute())
    return client.ask(parse("SELECT repeat('x', 5000)", "s"), *one * 100, SYNC)


def many_pipelines(client: RawClient) -> list[Message]:
    client.send(parse("SELECT repeat('x', 5000)", "s"), *(bind("s"), execute(), SYNC) * 100)
    return [each for _ in range(100) for each in client.until("Z")]


def one_portal_by_parts(client: RawClient) -> list[Message]:
    """Take a few rows with each Execute."""
    some = (execute("p", 10),) * 200
    return client.ask(query("BEGIN")) + client.ask(parse(ROWS), bind(portal="p"), *some, SYNC)


def one_cursor(client: RawClient) -> list[Message]:
    client.ask(query(f"BEGIN; DECLARE c CURSOR FOR {ROWS}"))
    return [each for _ in range(20) for each in client.ask(query("FETCH 100 FROM c"))]


def what_was_changed(client: RawClient) -> list[Message]:
    client.ask(query("CREATE TEMP TABLE mine (a text)"))
    return client.ask(query(f"INSERT INTO mine {ROWS} RETURNING a"))


def notices(client: RawClient) -> list[Message]:
    return client.ask(query(f"DO $$ BEGIN {LINES}; END $$"))


def an_error(client: RawClient) -> list[Message]:
    return client.ask(query("DO $$ BEGIN RAISE EXCEPTION '%', repeat('x', 900000); END $$"))


def an_error_behind_a_notice(client: RawClient) -> list[Message]:
    some = "RAISE NOTICE '%', repeat('x', 40000); RAISE EXCEPTION '%', repeat('x', 900000)"
    return client.ask(query(f"DO $$ BEGIN {some}; END $$"))


def notifications(client: RawClient) -> list[Message]:
    client.ask(query("LISTEN bell"))
    some = "SELECT pg_notify('bell', repeat('x', 7000) || n) FROM generate_series(1, 200) n"
    return client.ask(query(some)) + client.ask(query("SELECT 1"))


ATTACKS: Final[tuple[Attack, ...]] = (
    *(one_answer, one_answer_by_parts, one_row, copied_out, copied_out_in_binary),
    *(many_in_one_text, many_in_one_pipeline, many_pipelines, one_portal_by_parts, one_cursor),
    *(what_was_changed, notices, an_error, an_error_behind_a_notice, notifications),
)
each_attack = pytest.mark.parametrize("attack", [pytest.param(a, id=a.__name__) for a in ATTACKS])


@pytest.fixture
def story(rig: GatewayRig) -> Story:
    """Give a person, with an agent that has a budget, and one that has none."""
    target: Any = Target()
    made = Story(rig, target)
    made.delegate("alice", "frugal", budget=Budget(bytes=ROOM))
    made.delegate("alice", "free")
    return made


def enter(story: Story, who: str) -> RawClient:
    """Log in."""
    client = RawClient(story.rig.port).start_tls(str(story.rig.ca))
    client.send(startup(PROTOCOL_3_0, user=WRITER, database=story.client.target))
    return client.log_in(story.password(who))


def size(messages: list[Message]) -> int:
    """Return how many bytes messages are, but for those that only refuse."""
    refusing = ("53400", "25P02")
    given = (m for m in messages if m.kind != "E" or m.fields["C"] not in refusing)
    return sum(5 + len(each.body) for each in given)


@each_attack
def test_bites(story: Story, attack: Attack) -> None:
    """Without a budget it gets far more than the others may have."""
    with enter(story, "free") as client:
        assert size(attack(client)) > 10 * ROOM


@each_attack
def test_gets_no_more(story: Story, attack: Attack) -> None:
    """It gets what there is, and is told; the session goes on, and says no."""
    with enter(story, "frugal") as client:
        got = attack(client)
        assert size(got) <= ROOM + BESIDES
        told = any(each.kind == "E" and each.fields["C"] == "53400" for each in got)
        assert told or attack is notifications
        client.send(SYNC)
        client.until("Z")
        client.ask(query("ROLLBACK"))
        for _ in range(100):  # a few bytes may be left that no row fitted in
            more = client.ask(query("SELECT repeat('x', 1000)"))
            got += more
            if any(each.kind == "E" for each in more):
                break
        assert [each.fields["C"] for each in more if each.kind == "E"] in (["53400"], ["25P02"])
        assert size(got) <= ROOM + BESIDES


def test_leaving_in_the_middle(story: Story) -> None:
    """Again and again, with what has come by then."""
    got = 0
    for _ in itertools.repeat(None, 20):
        with enter(story, "frugal") as client:
            client.send(query(ROWS))
            while got <= 2 * ROOM and (each := client.read()) is not None and each.kind in "TD":
                got += 5 + len(each.body)
                if got % 3 == 0:
                    break
    assert 0 < got <= ROOM + BESIDES
