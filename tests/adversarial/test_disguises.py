"""A statement that policy holds, in disguise: in other words, other letters, another encoding.

Every text here deletes rows when it is sent to the server itself, which the first test shows. The
gateway must hold or refuse all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest

from tests.adversarial.test_other_statement import left, settle
from tests.support.gateway import GatewayRig
from tests.support.raw_postgres import (
    SYNC,
    RawClient,
    bind,
    codes,
    direct,
    execute,
    message,
    parse,
    query,
    rows,
    startup,
    through,
)

TEXTS: Final = (
    "SELECT 1; DELETE FROM t",
    "DELETE FROM t; SELECT 1",
    ";;DELETE FROM t;;",
    "/* SELECT 1 */ DELETE /* FROM u */ FROM t",
    "/* /* nested */ SELECT 1; */ DELETE FROM t",
    "-- SELECT 1;\nDELETE FROM t",
    "SELECT 1 --\r; DELETE FROM t",
    "SELECT $x$;$x$; DELETE FROM t --$x$",
    "SELECT $$'$$; DELETE FROM t --'",
    r"SELECT E'\''; DELETE FROM t --'",
    r"SELECT '\'; DELETE FROM t; SELECT '\'",
    "SELECT 'a'\n'b'; DELETE FROM t",
    'SELECT 1 AS "; --"; DELETE FROM t',
    r"""SELECT U&'!0027' UESCAPE '!'; DELETE FROM t --'""",
    "dElEtE\tfRoM\fonly\r\npublic . t",
    'DELETE FROM"t"',
    r'DELETE FROM U&"\0074"',
    "DELETE FROM t AS x USING t AS y WHERE x.a = y.a",
    "WITH d AS (DELETE FROM t RETURNING a) SELECT count(*) FROM d",
    "WITH d AS (DELETE FROM t RETURNING *) INSERT INTO copied SELECT * FROM d",
    "WITH d AS MATERIALIZED (DELETE FROM t RETURNING a) UPDATE copied SET b = '' FROM d",
    "EXPLAIN ANALYZE DELETE FROM t",
    "EXPLAIN (COSTS off, ANALYZE on) WITH d AS (DELETE FROM t RETURNING a) SELECT * FROM d",
    "EXPLAIN (ANALYZE 1) DELETE FROM t",
    "EXPLAIN (ANALYZE off, ANALYZE) DELETE FROM t",
    "COPY (DELETE FROM t RETURNING a) TO STDOUT",
    "COPY (WITH d AS (DELETE FROM t RETURNING a) SELECT * FROM d) TO STDOUT (FORMAT binary)",
    "PREPARE x AS DELETE FROM t; EXECUTE x",
    "PREPARE x (int) AS DELETE FROM t WHERE a < $1; EXECUTE x (100)",
    "PREPARE x AS SELECT 1; DEALLOCATE x; PREPARE x AS DELETE FROM t; EXECUTE x",
    "BEGIN; DELETE FROM t; COMMIT",
    "BEGIN; SAVEPOINT s; DELETE FROM t; RELEASE s; COMMIT",
    "BEGIN READ WRITE; SELECT 1; COMMIT AND CHAIN; DELETE FROM t; COMMIT",
    "SELECT 1; COMMIT; DELETE FROM t",
    "MERGE INTO t USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
)
ONLY_SIMPLE: Final = tuple(text for text in TEXTS if ";" in text.strip(";"))
"""Of several statements, or with a semicolon anywhere: Parse takes one."""

TRICK: Final = r"SELECT '\' , '; DELETE FROM t; --'"
"""Two harmless strings, unless backslashes quote."""
SETTINGS: Final = (
    "SET standard_conforming_strings = off",
    "SET standard_conforming_strings = 0",
    "SET standard_conforming_strings TO 'off'",
    "SET SESSION standard_conforming_strings = f",
    "BEGIN; SET LOCAL standard_conforming_strings = no",
    'SET "standard_conforming_strings" = off',
    'SET "STANDARD_conforming_strings" = off',
    "SELECT set_config('standard_conforming_strings', 'off', false)",
    "SELECT pg_catalog.set_config('standard_conforming_' || 'strings', 'off', false)",
    "SELECT set_config(n, 'off', false) FROM (VALUES ('standard_conforming_strings')) v (n)",
    "UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'",
    "UPDATE pg_catalog.pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'",
    "WITH u AS (SELECT 1) UPDATE pg_settings SET setting = 'off' WHERE name ~ '^standard_conf'",
)


@pytest.fixture
def filled(rig: GatewayRig, target: str) -> str:
    """Fill the table, and give the target."""
    place = rig.targets[target]
    with place.server.connect(place.database) as connection:
        connection.execute(
            "INSERT INTO t SELECT n FROM generate_series(1, 5) n ON CONFLICT DO NOTHING"
        )
    return target


@pytest.mark.parametrize("text", TEXTS)
def test_in_other_words(rig: GatewayRig, filled: str, text: str) -> None:
    """What a text does is what its grammar says, whichever way it is written."""
    messages = [[query(text)]]
    if text not in ONLY_SIMPLE:
        messages.append([parse(text), bind(), execute(), SYNC])
    for number, sent in enumerate(messages):
        with through(rig, filled) as client:
            client.send(*sent)
            settle(client)
            assert left(rig, filled) == 5, f"way {number}"
    with direct(rig.targets[filled]) as client:
        client.send(query(text))
        settle(client)
    assert left(rig, filled) == 0, "it does not bite"


@pytest.mark.parametrize("setting", SETTINGS)
def test_with_another_lexer(rig: GatewayRig, filled: str, setting: str) -> None:
    """A setting changes where strings end; the next text is sent before the change is reported."""
    with direct(rig.targets[filled]) as client:
        client.send(query(setting), query(TRICK), query("COMMIT"))
        settle(client)
    assert left(rig, filled) == 0, "it does not bite"
    place = rig.targets[filled]
    with place.server.connect(place.database) as connection:
        connection.execute("INSERT INTO t SELECT n FROM generate_series(1, 5) n")
    with through(rig, filled) as client:
        client.ask(query(TRICK))  # known from now on, it follows without a pause
        client.send(query(setting), query(TRICK), query("COMMIT"))
        settle(client)
    assert left(rig, filled) == 5


@pytest.mark.parametrize("who", ["ROLE app_writer", "DATABASE {database}"])
def test_with_another_lexer_from_the_start(rig: GatewayRig, filled: str, who: str) -> None:
    """The server's own configuration may begin a session with quoting backslashes."""
    place = rig.targets[filled]
    subject = who.format(database=place.database)
    with place.server.connect(place.database) as connection:
        connection.execute(f"ALTER {subject} SET standard_conforming_strings = off".encode())
    try:
        with direct(place) as client:
            assert client.parameters["standard_conforming_strings"] == "off", "it does not bite"
        with through(rig, filled) as client:
            assert client.parameters["standard_conforming_strings"] == "on"
            for reset in ("RESET ALL", "DISCARD ALL", "RESET standard_conforming_strings"):
                client.ask(query(reset))
                assert len(rows(client.ask(query(TRICK)))) == 1
        assert left(rig, filled) == 5
    finally:
        with place.server.connect(place.database) as connection:
            connection.execute(f"ALTER {subject} RESET standard_conforming_strings".encode())


@pytest.mark.parametrize("encoding", ["SJIS", "BIG5", "GBK", "GB18030", "UHC", "JOHAB", "LATIN1"])
def test_with_another_encoding(rig: GatewayRig, target: str, encoding: str) -> None:
    """In these the second byte of a letter may be a quote or a backslash: only UTF8 is spoken."""
    with RawClient(rig.port).start_tls(str(rig.ca)) as client:
        asked = startup(user="app_writer", database=target, client_encoding=encoding)
        assert codes(client.send(asked).all()) == ["0A000"]
    with RawClient(rig.port).start_tls(str(rig.ca)) as client:
        options = f"-c client_encoding={encoding}"
        asked = startup(user="app_writer", database=target, options=options)
        assert codes(client.send(asked).all()) == ["0A000"]
    for text in (
        f"SET client_encoding = '{encoding}'",
        f"SET NAMES '{encoding}'",
        f"SELECT set_config('client_encoding', '{encoding}', false)",
    ):
        with through(rig, target) as client:
            assert codes(client.ask(query(text))) == ["42501"]
            assert rows(client.ask(query("SHOW client_encoding"))) == [[b"UTF8"]]


@pytest.mark.parametrize(
    "text",
    [b"SELECT 1\0; DELETE FROM t", b"\0DELETE FROM t", b"DELETE FROM t\0\0", b"DELETE FROM t"],
)
def test_with_a_nul(rig: GatewayRig, filled: str, text: bytes) -> None:
    """The last byte of a Query is its one NUL; PostgreSQL refuses others, too."""
    assert b"\0" in text or not text.endswith(b"\0")
    with through(rig, filled) as client:
        assert codes(client.send(message("Q", text)).until("Z", "E")) == ["08P01"]
    assert left(rig, filled) == 5


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT '\xbf\x27; DELETE FROM t --'",
        b"SELECT '\xc0\xa7; DELETE FROM t; --'",
        b"DELETE FROM t -- \xff",
        b"\xef\xbb\xbfDELETE FROM t",
        b"\xfeDELETE FROM t",
        b"SELECT '\xed\xa0\x80'; DELETE FROM t",
    ],
)
def test_with_bytes_that_are_no_utf8(rig: GatewayRig, filled: str, text: bytes) -> None:
    """Refused, or taken as the server takes it: in no case is there a quote that only one sees."""
    with through(rig, filled) as client:
        client.send(message("Q", text + b"\0"))
        settle(client)
    assert left(rig, filled) == 5


def test_in_a_transaction_nothing_is_held(rig: GatewayRig, filled: str) -> None:
    """Locks that a harmless beginning took would be held while people think."""
    with through(rig, filled) as client:
        client.ask(query("BEGIN"))
        client.ask(query("LOCK TABLE t"))
        answers: Sequence[object] = codes(client.ask(query("DELETE FROM t")))
        assert answers == ["42501"]
        assert codes(client.ask(query("SELECT 1"))) == ["25P02"]
    assert left(rig, filled) == 5
