"""Any sequence of well formed messages is answered as the server itself answers it.

A differential test: hypothesis makes conversations, with refused ones, skipped ones and copies in
every place; each is put to PostgreSQL directly, and to the gateway under a policy that permits it
all, whole, message by message, and byte by byte. Types of messages, tags, SQLSTATEs and transaction
states must be the same. A gateway whose idea of the conversation differs from the server's can be
made to judge one thing while another runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.support.gateway import GatewayRig
from tests.support.raw_postgres import (
    COPY_DONE,
    COPY_FAIL,
    FLUSH,
    SYNC,
    Message,
    RawClient,
    bind,
    close,
    copy_data,
    describe,
    direct,
    execute,
    parse,
    query,
    through,
)

TEXTS: Final = (
    "SELECT a FROM t ORDER BY a",
    "SELECT 1/0",
    "SELECT nope",
    "SELEC",
    "",
    "INSERT INTO copied VALUES (1, 'x')",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "COPY copied FROM STDIN",
    "COPY t TO STDOUT",
    "PREPARE one AS SELECT a FROM t",
    "EXECUTE one",
    "DEALLOCATE one",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "DECLARE cur CURSOR FOR SELECT a FROM t",
    "DECLARE cur CURSOR WITH HOLD FOR SELECT a FROM t",
    "FETCH 2 FROM cur",
    "FETCH 1 FROM port",
    "CLOSE cur",
    "SHOW work_mem",
    "SET application_name = 'x'",
    "SET LOCAL work_mem = '1MB'",
    "LISTEN bell",
    "NOTIFY bell, 'ding'",
    "CREATE TEMP TABLE mine (a int)",
    "INSERT INTO mine VALUES (1) RETURNING a",
    "SELECT 1; SELECT 2",
    "SELECT 1; SELECT 1/0; SELECT 2",
    "BEGIN; SELECT 1",
    "SELECT 1; COMMIT; SELECT 2",
    "INSERT INTO copied VALUES (2, 'y'); SELECT 1/0",
    "COPY copied FROM STDIN; SELECT 1",
    "COPY t TO STDOUT; COPY copied FROM STDIN",
    "EXPLAIN SELECT a FROM t",
    "VALUES (1), (2), (3)",
)
NAMES: Final = st.sampled_from(["", "one", "two"])
PORTALS: Final = st.sampled_from(["", "port"])
SIMPLE: Final = st.sampled_from(TEXTS)
NOT_PARSED: Final = ("EXECUTE", "FETCH")
"""What these run is judged by Parse, so a name that is unknown is told then, and not by Execute as
the server does."""
TEXT: Final = st.sampled_from([text for text in TEXTS if not text.startswith(NOT_PARSED)])
LIMITS: Final = st.sampled_from([0, 1, 2])

ONE: Final = st.one_of(
    SIMPLE.map(query),
    st.builds(parse, TEXT, NAMES),
    st.builds(lambda name, portal: bind(name, portal=portal), NAMES, PORTALS),
    st.builds(execute, PORTALS, LIMITS),
    st.builds(describe, st.just("S"), NAMES),
    st.builds(describe, st.just("P"), PORTALS),
    st.builds(close, st.just("S"), NAMES),
    st.builds(close, st.just("P"), PORTALS),
    st.sampled_from([FLUSH, SYNC, copy_data(b"1\tone\n"), copy_data(b"nonsense\n")]),
    st.sampled_from([COPY_DONE, COPY_FAIL]),
).map(lambda message: [message])
COPY: Final = "COPY copied FROM STDIN"
SEVERAL: Final = st.one_of(
    st.builds(lambda text: [parse(text), bind(), describe("P"), execute()], TEXT),
    st.builds(lambda text: [parse(text), bind(), execute(), SYNC], TEXT),
    st.builds(lambda text, name: [parse(text, name), SYNC], TEXT, NAMES),
    st.builds(
        lambda name, portal, limit: [bind(name, portal=portal), execute(portal, limit)],
        *(NAMES, PORTALS, LIMITS),
    ),
    st.builds(lambda name, text: [close("S", name), parse(text, name)], NAMES, TEXT),
    st.sampled_from(
        [
            [query(COPY), copy_data(b"1\tone\n"), COPY_DONE],
            [query(COPY), copy_data(b"1\tone\n"), COPY_FAIL],
            [parse(COPY), bind(), execute(), copy_data(b"1\tone\n"), COPY_DONE, SYNC],
            [parse(COPY), bind(), execute(), SYNC, copy_data(b"1\tone\n"), COPY_DONE, SYNC],
            [query("BEGIN"), parse("SELECT a FROM t"), bind(portal="port"), execute("port", 2)],
            [query("BEGIN"), query("DECLARE cur CURSOR FOR SELECT a FROM t"), query("FETCH cur")],
            [query("BEGIN"), query("SAVEPOINT s"), query("SELECT 1/0"), query("ROLLBACK TO s")],
        ]
    ),
)
CONVERSATIONS: Final = st.lists(st.one_of(ONE, SEVERAL), max_size=10).map(
    lambda parts: [message for part in parts for message in part]
)
END: Final = COPY_FAIL + SYNC + query("ROLLBACK") + query("SELECT 424242")
"""Ends a copy, an error and a transaction, whichever there is."""

TARGETS: Final = ["pg15", "pg18", "masked", "strict"]
"""The last two are PostgreSQL 18, with what the gateway does besides: it asks for descriptions of
its own, and waits for the disk."""

Way = Callable[[RawClient, Sequence[bytes]], list[str]]


def whole(client: RawClient, messages: Sequence[bytes]) -> list[str]:
    """Send all at once."""
    client.send(*messages, END)
    return heard(client, [])


def one_by_one(client: RawClient, messages: Sequence[bytes]) -> list[str]:
    """Send a message, take the answer, and go on."""
    found: list[Message] = []
    for message in messages:
        try:
            client.send(message)
        except OSError:  # it has ended the session
            break
        found += client.within(0.004)
    try:
        client.send(END)
    except OSError:
        return heard(client, found)
    return heard(client, found)


def by_segments(client: RawClient, messages: Sequence[bytes]) -> list[str]:
    """Send what belongs together at once, as drivers do: it may go a short way."""
    found: list[Message] = []
    segment: list[bytes] = []
    for message in messages:
        segment.append(message)
        if message == SYNC or message[:1] == b"Q":
            try:
                client.send(*segment)
            except OSError:
                return heard(client, found)
            segment = []
            while got := client.within(0.05):
                found += got
                if got[-1].kind == "Z":
                    break
    try:
        client.send(*segment, END)
    except OSError:
        return heard(client, found)
    return heard(client, found)


def in_bytes(client: RawClient, messages: Sequence[bytes]) -> list[str]:
    """Send every byte by itself."""
    try:
        for byte in b"".join(messages) + END:
            client.send(bytes([byte]))
    except OSError:
        return heard(client, [])
    return heard(client, [])


def heard(client: RawClient, found: list[Message]) -> list[str]:
    """Return the gist of all answers."""
    while not any(m.kind == "D" and m.values == [b"424242"] for m in found[-3:-2]):
        got = client.read()
        if got is None:
            break
        found.append(got)
    gists: list[str] = []
    for message in found:
        if message.kind == "E" and (
            message.fields["V"] == "FATAL" or "during COPY from stdin" in message.fields["M"]
        ):
            return [*gists, "FATAL"]  # the server says this twice, and we once
        gists.append(message.gist)
    return gists


def same(rig: GatewayRig, target: str, messages: Sequence[bytes], *ways: Way) -> None:
    """Put a conversation to both, and compare."""
    with direct(rig.targets[target]) as client:
        expected = whole(client, messages)
    for way in ways:
        with through(rig, target) as client:
            said = way(client, messages)
            if expected != said:
                assert [_known_first(*pair) for pair in zip(said, expected, strict=True)] == (
                    expected
                ), way.__name__


def _known_first(ours: str, theirs: str) -> str:
    """Allow that in a failed transaction we say first that a name is not known."""
    return theirs if theirs == "E25P02" and ours in ("E26000", "E34000") else ours


FOUND: Final = {
    "a copy in a pipeline": [
        parse("COPY copied FROM STDIN"),
        bind(),
        execute(),
        copy_data(b"1\tx\n"),
        COPY_DONE,
        SYNC,
    ],
    "a copy in a simple pipeline": [
        query("COPY copied FROM STDIN"),
        copy_data(b"1\tx\n"),
        COPY_DONE,
        query("SELECT 1"),
    ],
    "a sync before the data": [
        query("COPY copied FROM STDIN"),
        SYNC,
        copy_data(b"1\tx\n"),
        COPY_DONE,
    ],
    "a sync inside the data": [
        *(parse("COPY copied FROM STDIN"), bind(), execute(), SYNC),
        *(copy_data(b"1\tx\n"), SYNC, FLUSH, copy_data(b"2\ty\n"), COPY_DONE, SYNC),
    ],
    "a copy that fails at the server": [
        query("COPY copied FROM STDIN"),
        *(copy_data(b"nonsense\n"), copy_data(b"1\tx\n"), COPY_DONE, query("SELECT 1")),
    ],
    "two copies in a text": [
        query("COPY copied FROM STDIN; COPY copied FROM STDIN"),
        *(copy_data(b"1\tx\n"), COPY_DONE, copy_data(b"2\tx\n"), COPY_FAIL),
    ],
    "a query while the server skips": [
        *(parse("SELECT nope"), FLUSH, query("SELECT 1"), bind(), execute(), SYNC),
    ],
    "an error in the middle of two batches": [
        *(parse("SELECT 1", "one"), bind("one"), execute(), parse("SELECT nope"), bind("one")),
        *(execute(), SYNC, bind("one"), execute(), SYNC),
    ],
    "suspended portals": [
        *(query("BEGIN"), parse("SELECT a FROM t"), bind(portal="port"), execute("port", 2), SYNC),
        *(query("SELECT 1"), execute("port", 1), execute("port"), execute("port"), SYNC),
    ],
    "a portal over a commit": [
        *(query("BEGIN"), parse("SELECT a FROM t"), bind(portal="port"), execute("port", 2), SYNC),
        *(query("COMMIT"), execute("port", 1), SYNC),
    ],
    "a savepoint": [
        *(query("BEGIN"), query("SAVEPOINT s"), query("SELECT 1/0"), query("SELECT 1")),
        *(query("ROLLBACK TO s"), query("SELECT 1"), query("COMMIT")),
    ],
    "prepared by SQL, bound by the protocol": [
        *(query("PREPARE one AS SELECT a FROM t"), describe("S", "one"), bind("one"), execute()),
        *(SYNC, query("DEALLOCATE one"), bind("one"), SYNC),
    ],
    "other plans forgotten": [
        *(parse("SELECT 1", "one"), SYNC, query("DISCARD PLANS"), bind("one"), execute(), SYNC),
        *(query("BEGIN"), query("DISCARD ALL"), query("ROLLBACK"), bind("one"), execute(), SYNC),
    ],
    "a statement that is closed twice": [
        *(parse("SELECT 1", "one"), SYNC, close("S", "one"), close("S", "one"), bind("one"), SYNC),
    ],
    "a close that is skipped": [
        *(parse("SELECT 1", "one"), SYNC, parse("SELECT nope"), close("S", "one"), SYNC),
        *(bind("one"), execute(), SYNC),
    ],
    "a cursor by the protocol": [
        *(query("BEGIN; DECLARE cur CURSOR FOR SELECT a FROM t"), describe("P", "cur")),
        *(execute("cur", 2), execute("cur"), SYNC, query("CLOSE cur"), query("COMMIT")),
    ],
    "the unnamed statement outlives the others": [
        *(parse("DEALLOCATE ALL"), bind(), execute(), SYNC, bind(), execute(), SYNC),
        *(parse("DISCARD ALL"), bind(), execute(), SYNC, bind(), execute(), SYNC),
    ],
    "a portal that began a transaction": [
        *(parse("BEGIN"), bind(), execute(), SYNC, query("COMMIT")),
        *(parse("BEGIN"), bind(), execute(), SYNC, execute(), SYNC, query("ROLLBACK")),
        *(parse("BEGIN"), bind(), execute(), SYNC, describe("P"), close("P"), execute(), SYNC),
    ],
    "a portal of a name that began a transaction": [
        *(parse("BEGIN", "one"), SYNC, bind("one"), execute(), SYNC, query("COMMIT")),
        *(bind("one"), describe("P"), execute(), SYNC, execute(), SYNC, query("ROLLBACK")),
        *(bind("one"), execute(), SYNC, close("S", "one"), describe("P"), execute(), SYNC),
    ],
    "prepared and run in one text": [
        *(query("PREPARE one AS SELECT a FROM t; EXECUTE one"), query("EXECUTE one")),
        query("DEALLOCATE one; PREPARE one AS SELECT 5; EXECUTE one; EXECUTE one"),
        query("EXECUTE one; DEALLOCATE one; PREPARE one AS SELECT 1/0; EXECUTE one; SELECT 1"),
        query("PREPARE two AS SELECT 2; EXECUTE two; PREPARE two AS SELECT 3; EXECUTE two"),
    ],
    "a cursor in one text": [
        query("BEGIN; DECLARE cur CURSOR FOR SELECT a FROM t; FETCH 1 FROM cur; FETCH 1 FROM cur"),
        *(query("FETCH 1 FROM cur"), query("MOVE 1 FROM cur; CLOSE cur; COMMIT")),
        query("DECLARE cur CURSOR WITH HOLD FOR SELECT a FROM t; FETCH cur; CLOSE ALL"),
    ],
    "an implicit transaction": [
        *(parse("INSERT INTO copied VALUES (1)"), bind(), execute(), parse("BEGIN"), bind()),
        *(execute(), SYNC, query("ROLLBACK")),
    ],
}
"""Conversations in which gateways go wrong, this one's first version or others."""


def _found() -> list[object]:
    return [
        pytest.param(
            FOUND[name],
            id=name.replace(" ", "-"),
        )
        for name in FOUND
    ]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("messages", _found())
def test_found(rig: GatewayRig, target: str, messages: Sequence[bytes]) -> None:
    """What was found once stays found."""
    if target == "masked" and execute("cur", 2) in messages:
        pytest.skip("where columns are masked, a cursor of SQL is read by FETCH only")
    same(rig, target, messages, whole, one_by_one, by_segments, in_bytes)


@pytest.mark.parametrize("target", TARGETS)
def test_any_conversation(rig: GatewayRig, target: str) -> None:
    """Whatever is said, both answer the same."""
    shrink = (Phase.shrink,) if os.environ.get("HOOPGW_HYPOTHESIS") == "thorough" else ()

    @settings(max_examples=40, phases=(Phase.explicit, Phase.reuse, Phase.generate, *shrink))
    @given(CONVERSATIONS, st.sampled_from([one_by_one, by_segments, in_bytes]))
    def run(messages: Sequence[bytes], way: Way) -> None:
        same(rig, target, messages, whole, way)

    run()
