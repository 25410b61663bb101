"""Ways for a masked value to leave by something else than a row; and what came up later."""

from __future__ import annotations

from typing import Final

from tests.adversarial.masked_table import SECRET, TABLE, Vector, each

SIDEWAYS: Final = (
    *each(
        41,
        f"SELECT ssn::int FROM {TABLE}",
        f"SELECT ssn::date FROM {TABLE}",
        f"SELECT ssn::regclass FROM {TABLE} WHERE id = 1",
        f"SELECT ssn::inet FROM {TABLE}",
        f"SELECT * FROM shop.orders WHERE amount = (SELECT ssn::numeric FROM {TABLE} WHERE id = 1)",
    ),
    *each(
        41,
        f"SELECT to_date(ssn, 'YYYY') FROM {TABLE}",
        f"SELECT ssn::json FROM {TABLE}",
        leaks=False,  # the error quotes a part of it
    ),
    *each(41, f"SELECT message FROM {TABLE}, pg_input_error_info(ssn, 'int4')", since=16),
    *each(
        42,
        f"UPDATE {TABLE} SET id = NULL WHERE id = 1",
        f"INSERT INTO {TABLE} (id, ssn) VALUES (8, '{SECRET}')",
    ),
    Vector(
        42,
        (
            "CREATE TEMP TABLE u (x text UNIQUE)",
            f"INSERT INTO u SELECT ssn FROM {TABLE} WHERE id = 1",
            f"INSERT INTO u SELECT ssn FROM {TABLE} WHERE id = 1",
        ),
    ),
    Vector(45, (f"SELECT set_config('application_name', ssn, false) FROM {TABLE} WHERE id = 1",)),
    Vector(
        46,
        (
            f"SELECT set_config('my.x', ssn, false) FROM {TABLE} WHERE id = 1",
            "SELECT current_setting('my.x')",
        ),
    ),
    Vector(47, ("LISTEN x", f"SELECT pg_notify('x', ssn) FROM {TABLE} WHERE id = 1", "COMMIT")),
    *each(
        48,
        f"COPY {TABLE} TO STDOUT",
        f"COPY {TABLE} (ssn) TO STDOUT",
        f"COPY {TABLE} (id, ssn) TO STDOUT (FORMAT csv, HEADER)",
        f"COPY {TABLE} TO STDOUT (FORMAT binary)",
        f"COPY {TABLE} TO STDOUT (DELIMITER '~')",
        f"COPY {TABLE} TO STDOUT (FORMAT csv, QUOTE '~', FORCE_QUOTE *)",
        f"COPY (SELECT ssn FROM {TABLE}) TO STDOUT",
        f"COPY (SELECT id, ssn AS x FROM {TABLE}) TO STDOUT (FORMAT csv)",
        f"COPY (SELECT * FROM {TABLE}) TO STDOUT",
        f"COPY (SELECT ssn || '' FROM {TABLE}) TO STDOUT",
        f"COPY (SELECT c FROM {TABLE} c) TO STDOUT",
        f"COPY (TABLE {TABLE}) TO STDOUT (FORMAT binary)",
        f"COPY (UPDATE {TABLE} SET city = 'x' RETURNING ssn) TO STDOUT",
        "COPY (SELECT tax_no FROM shop.renamed) TO STDOUT",
        "COPY shop.people_low TO STDOUT",
    ),
    Vector(
        49,
        (
            f"SELECT lo_from_bytea(4711, convert_to(ssn, 'UTF8')) FROM {TABLE} WHERE id = 1",
            "SELECT convert_from(lo_get(4711), 'UTF8')",
        ),
    ),
    Vector(
        51,
        (
            (
                "DO $$BEGIN EXECUTE format('CREATE TABLE shop.%I ()', "
                "(SELECT ssn FROM shop.customers WHERE id = 1)); END$$"
            ),
            "SELECT relname FROM pg_class WHERE relname LIKE 'S3%'",
        ),
    ),
    Vector(53, (f"PREPARE p AS SELECT ssn FROM {TABLE}", "EXECUTE p")),
    Vector(53, (f"PREPARE p AS SELECT ssn || '' FROM {TABLE}", "EXECUTE p")),
    Vector(53, (f"PREPARE p AS UPDATE {TABLE} SET name = ssn RETURNING name", "EXECUTE p")),
    Vector(54, (f"DECLARE k CURSOR FOR SELECT ssn FROM {TABLE}", "FETCH ALL k")),
    Vector(54, (f"DECLARE k CURSOR WITH HOLD FOR TABLE {TABLE}", "COMMIT", "FETCH ALL k")),
    Vector(54, (f"DECLARE k BINARY CURSOR FOR SELECT ssn FROM {TABLE}", "FETCH ALL k")),
    Vector(54, (f"DECLARE k CURSOR FOR SELECT ssn || '' FROM {TABLE}", "FETCH ALL k")),
    Vector(
        56,
        (
            "SET search_path = shop, pg_catalog",
            "SELECT initcap(1)",
        ),
    ),
    Vector(
        56,
        (
            f"CREATE TEMP TABLE customers AS SELECT id, ssn AS name FROM {TABLE}",
            "SELECT name FROM customers",
        ),
    ),
    Vector(57, ("SET ROLE app", "SELECT 1"), leaks=False),
    Vector(57, ("SET SESSION AUTHORIZATION app",), leaks=False),
    Vector(66, (f"SELECT 1; SELECT ssn || '' FROM {TABLE}",)),
    Vector(66, (f"SELECT 1; SELECT ssn FROM {TABLE}; SELECT 2",)),
    Vector(67, (f"SELECT/**/ssn/*x*/||/*/**/*/''FROM {TABLE}",)),
    Vector(67, (f"SELECT $x$;$x$, E'\\'', ssn || '' FROM {TABLE} -- ;",)),
    Vector(72, (f"EXPLAIN ANALYZE CREATE TEMP TABLE t AS TABLE {TABLE}", "TABLE t")),
    Vector(91, (f"UPDATE {TABLE} SET city = 'x'", "PREPARE TRANSACTION 'x'"), leaks=False),
)

LATER: Final = (
    # A star in a lower query can mean a relation of a higher one.
    *each(
        4,
        f"SELECT (SELECT row_to_json(x) FROM (SELECT c.*) x) FROM {TABLE} c",
        f"SELECT (SELECT x::text FROM (SELECT {TABLE}.*) x) FROM {TABLE}",
        f"SELECT x.b || '' FROM {TABLE} c, LATERAL (SELECT c.*) AS x(i, n, b)",
        f"SELECT x.b FROM {TABLE} c, LATERAL (SELECT c.* OFFSET 0) AS x(i, n, b) WHERE x.b > 'A'",
        f"SELECT x FROM {TABLE} c, LATERAL (SELECT c.*) x",
        f"SELECT x.* FROM {TABLE} c CROSS JOIN LATERAL (SELECT c.* UNION ALL SELECT c.*) x",
        f"SELECT y::text FROM {TABLE} c, LATERAL (WITH z AS (SELECT c.*) SELECT * FROM z) y",
        "SELECT x::text FROM shop.renamed r, LATERAL (SELECT r.*) x",
        f"DELETE FROM shop.orders USING {TABLE} c RETURNING (SELECT x::text FROM (SELECT c.*) x)",
    ),
    *each(
        3,
        f"SELECT b || '' FROM ONLY {TABLE} c(x, y, b)",
        "SELECT b || '' FROM shop.renamed r(a, b)",
    ),
    *each(
        4,
        f"SELECT s FROM {TABLE}, LATERAL (SELECT ssn AS s) x",
        f"SELECT (SELECT x.s FROM (SELECT ssn AS s) AS x) FROM {TABLE} WHERE id = 1",
        f"SELECT max(x) FROM (SELECT ssn AS x FROM {TABLE}) y",
        f"SELECT row_to_json(x) FROM (TABLE {TABLE}) x",
        f"SELECT array_to_json(array_agg(x.*)) FROM (SELECT * FROM {TABLE}) x",
        f"COPY (VALUES ((SELECT ssn FROM {TABLE} WHERE id = 1))) TO STDOUT",
    ),
    *each(
        13,
        f"SELECT (c.*)::text FROM {TABLE} c",
        f"SELECT x.ssn || '' FROM {TABLE} x WHERE x = ANY (SELECT c FROM {TABLE} c)",
        f"SELECT r.ssn FROM {TABLE} c, jsonb_to_record(to_jsonb(c)) AS r(ssn text)",
        f"SELECT r.* FROM {TABLE} c, jsonb_populate_record(NULL::shop.customers, to_jsonb(c)) AS r",
    ),
    *each(
        13,
        f"SELECT JSON_ARRAYAGG(ssn) FROM {TABLE}",
        f"SELECT JSON_OBJECT('a': ssn) FROM {TABLE}",
        f"SELECT JSON_ARRAY(SELECT ssn FROM {TABLE})",
        since=16,
    ),
    *each(
        13,
        f"SELECT j.x FROM {TABLE} c, JSON_TABLE(to_jsonb(c), '$' COLUMNS (x text PATH '$.ssn')) j",
        f"SELECT JSON_VALUE(to_jsonb(c), '$.ssn') FROM {TABLE} c",
        since=17,
    ),
    *each(19, "SELECT ssn || '' FROM shop.people", "SELECT p.ssn::int FROM shop.people p"),
    *each(
        30,
        "SELECT stavalues1 FROM pg_statistic",
        "SELECT * FROM pg_toast.pg_toast_1",
        "TABLE pg_largeobject",
        "SELECT * FROM pg_stats_ext",
        leaks=False,
    ),
    *each(
        33,
        f"PREPARE p (text) AS SELECT id FROM {TABLE} WHERE ssn = $1",
        f"DECLARE k CURSOR FOR SELECT id FROM {TABLE} ORDER BY ssn",
        f"SELECT id FROM {TABLE} c WHERE c.* IS NOT NULL",
        f"SELECT id FROM {TABLE} WHERE ssn BETWEEN 'A' AND 'Z'",
        f"SELECT id FROM {TABLE} WHERE ssn ~ '^S'",
        f"SELECT id FROM {TABLE} WHERE 'S' ^@ ssn",
        f"SELECT id FROM {TABLE} WHERE ssn IS NOT DISTINCT FROM 'x'",
        f"SELECT id FROM {TABLE} WHERE GREATEST(ssn, 'M') = 'M'",
        leaks=False,
    ),
    *each(
        35,
        f"SELECT DISTINCT ON (1) ssn FROM {TABLE}",
        f"SELECT ssn FROM {TABLE} ORDER BY 1 USING <",
        f"SELECT id, ssn FROM {TABLE} GROUP BY 1, 2",
        f"SELECT id, ssn FROM {TABLE} GROUP BY ROLLUP (1, (2))",
        f"SELECT c.*, 1 FROM {TABLE} c ORDER BY 3",
        f"(SELECT id, ssn FROM {TABLE}) ORDER BY 2",
        f'SELECT ssn AS x FROM {TABLE} ORDER BY x COLLATE "C"',
        f"SELECT ssn FROM {TABLE} FETCH FIRST (SELECT length(ssn) FROM {TABLE} LIMIT 1) ROWS ONLY",
        leaks=False,
    ),
    Vector(
        24,
        (
            "ALTER VIEW shop.renamed RENAME COLUMN tax_no TO x",
            "SELECT x || '' FROM shop.renamed",
        ),
    ),
    Vector(24, ("ALTER VIEW shop.renamed RENAME TO other", "SELECT tax_no || '' FROM shop.other")),
    Vector(24, ("ALTER SCHEMA shop RENAME TO moved", "SELECT ssn || '' FROM moved.customers")),
)
"""Thought of after the rules were written."""
