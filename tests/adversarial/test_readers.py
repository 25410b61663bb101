"""Somebody who may only read, and the many ways in which reading changes something.

The policy permits the actions of the group ``read``, and what a session needs; so whatever writes,
locks, tells others or ends them is refused for want of a permit.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support.gateway import GatewayRig
from tests.support.raw_postgres import SYNC, bind, codes, execute, kinds, parse, query, through

TARGET: Final = "pg18"
PLAIN: Final = (
    "INSERT INTO copied VALUES (1)",
    "UPDATE t SET b = 'x'",
    "DELETE FROM t",
    "MERGE INTO t USING (SELECT 1) s ON false WHEN NOT MATCHED THEN INSERT VALUES (9)",
    "WITH w AS (INSERT INTO copied VALUES (1) RETURNING a) SELECT * FROM w",
    "EXPLAIN ANALYZE INSERT INTO copied VALUES (1)",
    "PREPARE p AS INSERT INTO copied VALUES (1)",
    "SELECT a INTO x FROM t",
    "CREATE TABLE x AS SELECT 1",
    "CREATE TEMP TABLE x (a int)",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "COPY copied FROM STDIN",
    "NOTIFY bell",
    "LISTEN bell",
    "LOCK TABLE t",
    "CALL somebody()",
    "ANALYZE t",
    "REFRESH MATERIALIZED VIEW m",
    "COMMENT ON TABLE t IS 'x'",
    "ALTER ROLE app_writer SET work_mem = '1MB'",
    "ALTER SYSTEM SET work_mem = '1MB'",
    "CHECKPOINT",
    "LOAD 'x'",
    "REASSIGN OWNED BY app_writer TO app_reader",
    "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
    "IMPORT FOREIGN SCHEMA x FROM SERVER y INTO z",
)
HIDDEN: Final = (
    "SELECT setval('s', 999)",
    "SELECT nextval('s')",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT lo_create(0)",
    "SELECT pg_notify('bell', 'x')",
    "SELECT pg_terminate_backend(1)",
    "SELECT pg_cancel_backend(1)",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_logical_emit_message(true, 'a', 'b')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT pg_reload_conf()",
    "SELECT pg_rotate_logfile()",
    "SELECT pg_create_logical_replication_slot('x', 'test_decoding')",
    "SELECT dblink('dbname=x', 'DELETE FROM t')",
    "SELECT * FROM somebodys_function()",
    "SELECT a FROM t WHERE somebodys_function(a)",
    "SELECT a FROM t ORDER BY public.somebodys_function(a)",
    "SELECT a FROM t FOR UPDATE",
    "SELECT a FROM t FOR KEY SHARE",
    "COPY t TO PROGRAM 'id'",
    "COPY t TO '/nowhere/x'",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "BEGIN; PREPARE TRANSACTION 'x'",
    "COMMIT PREPARED 'x'",
    "ROLLBACK PREPARED 'x'",
)
READING: Final = (
    "SELECT a, upper(b) FROM t WHERE a = any('{1,2}') ORDER BY length(b)",
    "SELECT count(*), max(a), string_agg(b, ',') FROM t",
    "SELECT now(), current_user, current_schema(), version(), pg_typeof(1)",
    "SELECT * FROM generate_series(1, 2), pg_class LIMIT 1",
    "SELECT random(), clock_timestamp(), gen_random_uuid()",
    "SELECT pg_total_relation_size('t'), pg_table_is_visible('t'::regclass)",
    "SELECT has_table_privilege('t', 'select'), to_regclass('t'), obj_description(1, 'pg_class')",
    "COPY t TO STDOUT",
    "COPY (SELECT 1) TO STDOUT",
    "EXPLAIN ANALYZE SELECT 1",
    "BEGIN READ ONLY; SELECT 1; COMMIT",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "SHOW work_mem",
    "SET work_mem = '1MB'",
    "VALUES (1)",
    "TABLE t",
    "PREPARE q AS SELECT 1",
)


def client_of(rig: GatewayRig) -> Any:
    """Log in as somebody who may only read."""
    return through(rig, TARGET, name="rita", groups=["readers"])


@pytest.mark.parametrize("text", PLAIN)
def test_what_says_that_it_writes(rig: GatewayRig, text: str) -> None:
    """It is refused for want of a permit, in both protocols."""
    with client_of(rig) as client:
        assert codes(client.ask(query(text))) == ["42501"]
        assert codes(client.ask(parse(text), bind(), execute(), SYNC)) == ["42501"]


@pytest.mark.parametrize("text", HIDDEN)
def test_what_does_not_say_it(rig: GatewayRig, text: str) -> None:
    """Functions, files, locks and prepared transactions need permits of their own."""
    with client_of(rig) as client:
        (error,) = [got for got in client.ask(query(text)) if got.kind == "E"]
        assert error.fields["C"] == "42501"
        assert "no policy permits" in error.fields["M"]


@pytest.mark.parametrize("text", READING)
def test_reading_is_permitted(rig: GatewayRig, text: str) -> None:
    """What only reads is not in the way of that."""
    with client_of(rig) as client:
        answers = client.ask(query(text))
        assert codes(answers) == []
        assert kinds(answers)[-1] == "Z"
