"""Ways to a masked column through other relations, writes and code."""

from __future__ import annotations

from typing import Final

from tests.adversarial.masked_table import SECRET, TABLE, Vector, each

RELATIONS: Final = (
    *each(
        17,
        "SELECT tax_no FROM shop.renamed",
        "SELECT * FROM shop.renamed",
        "SELECT upper(tax_no), tax_no || '' FROM shop.renamed",
        "SELECT r FROM shop.renamed r",
        "SELECT tax_no FROM shop.computed",
        "SELECT * FROM shop.computed",
    ),
    *each(18, "SELECT tax_no FROM shop.kept", "SELECT tax_no || '' FROM shop.kept"),
    *each(
        19,
        "SELECT ssn FROM shop.people_low",
        "SELECT ssn || '' FROM shop.people_low",
        "SELECT * FROM shop.people",
        "SELECT p FROM shop.people_low p",
    ),
    Vector(
        20, (f"CREATE VIEW pg_temp.v AS SELECT ssn AS x FROM {TABLE}", "SELECT x FROM pg_temp.v")
    ),
    Vector(20, (f"CREATE TEMP VIEW v AS SELECT * FROM {TABLE}", "SELECT * FROM v")),
    Vector(20, (f"CREATE VIEW shop.w AS SELECT c AS x FROM {TABLE} c", "SELECT x FROM shop.w")),
    Vector(20, (f"CREATE MATERIALIZED VIEW shop.m AS TABLE {TABLE}", "SELECT * FROM shop.m")),
    Vector(
        20,
        (
            f"CREATE RULE r AS ON INSERT TO shop.sink DO INSTEAD SELECT ssn FROM {TABLE}",
            "INSERT INTO shop.sink VALUES ('x')",
        ),
    ),
    Vector(21, (f"CREATE TEMP TABLE t AS SELECT ssn AS x FROM {TABLE}", "SELECT x FROM t")),
    Vector(21, (f"CREATE TEMP TABLE t AS TABLE {TABLE}", "TABLE t")),
    Vector(21, (f"SELECT ssn INTO TEMP t FROM {TABLE}", "SELECT * FROM t")),
    Vector(21, (f"SELECT * INTO TEMP t FROM {TABLE}", "SELECT * FROM t")),
    Vector(21, (f"INSERT INTO shop.sink (a) SELECT ssn FROM {TABLE}", "TABLE shop.sink")),
    Vector(21, (f"INSERT INTO shop.sink SELECT * FROM {TABLE}", "TABLE shop.sink")),
    Vector(21, (f"INSERT INTO shop.sink TABLE {TABLE}", "TABLE shop.sink")),
    Vector(
        21,
        (
            f"INSERT INTO shop.sink VALUES ((SELECT ssn FROM {TABLE} WHERE id = 1))",
            "SELECT a FROM shop.sink",
        ),
    ),
    Vector(
        21, (f"PREPARE p AS SELECT ssn FROM {TABLE}", "CREATE TEMP TABLE t AS EXECUTE p", "TABLE t")
    ),
    *each(
        22,
        f"UPDATE {TABLE} SET city = 'x' RETURNING ssn",
        f"UPDATE {TABLE} SET city = 'x' RETURNING *",
        f"UPDATE {TABLE} c SET city = 'x' RETURNING c",
        f"UPDATE {TABLE} SET city = 'x' RETURNING ssn || ''",
        "DELETE FROM shop.orders USING shop.customers c RETURNING c.ssn",
        "DELETE FROM shop.orders USING shop.customers c RETURNING upper(c.ssn), lower(c.ssn)",
        f"WITH w AS (UPDATE {TABLE} SET city = 'x' RETURNING *) SELECT ssn FROM w",
        f"WITH w AS (UPDATE {TABLE} SET city = 'x' RETURNING ssn AS x) SELECT x || '' FROM w",
        f"INSERT INTO {TABLE} (id, ssn) SELECT 9, reverse(ssn) FROM {TABLE} WHERE id = 1 "
        "RETURNING ssn || ''",
    ),
    *each(
        22,
        f"UPDATE {TABLE} SET city = 'x' RETURNING old.ssn, new.ssn",
        f"UPDATE {TABLE} SET city = 'x' RETURNING old",
        f"UPDATE {TABLE} SET city = 'x' RETURNING WITH (OLD AS o) o",
        f"UPDATE {TABLE} SET city = 'x' RETURNING WITH (OLD AS o) o.*",
        f"UPDATE {TABLE} SET city = 'x' RETURNING old.ssn || ''",
        f"MERGE INTO {TABLE} c USING shop.orders o ON o.customer = c.id WHEN MATCHED THEN "
        "UPDATE SET city = 'x' RETURNING c.ssn",
        f"MERGE INTO {TABLE} c USING shop.orders o ON o.customer = c.id WHEN MATCHED THEN "
        "UPDATE SET city = 'x' RETURNING merge_action(), c",
        since=18,
    ),
    Vector(23, (f"UPDATE {TABLE} SET name = ssn", f"SELECT name FROM {TABLE}")),
    Vector(23, (f"UPDATE {TABLE} SET (name, city) = (ssn, ssn)", f"SELECT name FROM {TABLE}")),
    Vector(
        23,
        (
            (
                f"UPDATE {TABLE} a SET (name, city) = (SELECT b.ssn, '' FROM {TABLE} b "
                "WHERE b.id = a.id)"
            ),
            f"SELECT name FROM {TABLE}",
        ),
    ),
    Vector(
        23,
        (
            f"UPDATE shop.orders o SET item = c.ssn FROM {TABLE} c WHERE c.id = o.customer",
            "SELECT item FROM shop.orders",
        ),
    ),
    Vector(
        23,
        (
            (
                f"MERGE INTO shop.orders o USING {TABLE} c ON c.id = o.customer WHEN MATCHED THEN "
                "UPDATE SET item = c.ssn"
            ),
            "SELECT item FROM shop.orders",
        ),
    ),
    Vector(
        23,
        (
            (
                f"MERGE INTO shop.sink s USING {TABLE} c ON false WHEN NOT MATCHED THEN "
                "INSERT VALUES (c.id, c.name, c.ssn)"
            ),
            "TABLE shop.sink",
        ),
    ),
    Vector(
        23,
        (
            (
                f"INSERT INTO {TABLE} (id, ssn) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE "
                "SET name = customers.ssn"
            ),
            f"SELECT name FROM {TABLE}",
        ),
    ),
    Vector(
        23,
        (
            (
                f"INSERT INTO {TABLE} AS c (id) VALUES (1) ON CONFLICT (id) DO UPDATE "
                "SET name = c::text"
            ),
            f"SELECT name FROM {TABLE}",
        ),
    ),
    Vector(
        24,
        (
            f"ALTER TABLE {TABLE} ADD g text GENERATED ALWAYS AS (ssn || '') STORED",
            f"SELECT g FROM {TABLE}",
        ),
    ),
    Vector(24, (f"ALTER TABLE {TABLE} RENAME ssn TO x", f"SELECT x FROM {TABLE}")),
    Vector(24, (f"ALTER TABLE {TABLE} RENAME TO other", "SELECT ssn || '' FROM shop.other")),
    Vector(
        24, (f"ALTER TABLE {TABLE} SET SCHEMA public", "SELECT ssn || '' FROM public.customers")
    ),
    Vector(
        24,
        (
            f"ALTER TABLE {TABLE} ALTER note TYPE varchar USING ssn",
            f"SELECT note FROM {TABLE}",
        ),
    ),
    *each(
        24,
        f"CREATE TABLE shop.child () INHERITS ({TABLE})",
        f"CREATE INDEX ON {TABLE} (lower(ssn))",
        f"CREATE STATISTICS shop.st ON ssn, city FROM {TABLE}",
        f"ALTER TABLE {TABLE} ADD CHECK (ssn > '')",
        leaks=False,
    ),
)

CODE: Final = (
    *each(
        25,
        "SELECT shop.get_ssn(1)",
        "SELECT get_ssn(1)",
        "SELECT * FROM shop.everybody()",
        "SELECT (everybody()).ssn",
        "SELECT ssn FROM shop.everybody() AS e",
        "SELECT 1 FROM shop.orders ORDER BY get_ssn(1)::int",
        "SELECT initcap(1)",
        "SELECT * FROM ROWS FROM (generate_series(1, 2), shop.get_ssn(1)) AS t(a, b)",
    ),
    *each(
        26,
        "DO $$DECLARE x text; BEGIN EXECUTE 'SELECT s' || 'sn FROM shop.customers WHERE id = 1' "
        "INTO x; RAISE NOTICE '%', x; END$$",
    ),
    *each(
        27,
        "DO $$DECLARE x text; BEGIN PERFORM set_config('client_min_messages', 'error', true); "
        "SELECT ssn INTO x FROM shop.customers WHERE id = 1; "
        "RAISE EXCEPTION 'x' USING DETAIL = x; END$$",
    ),
    Vector(
        27,
        (
            (
                "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql "
                "AS 'SELECT ssn FROM shop.customers WHERE id = 1'"
            ),
            "SELECT pg_temp.f()",
        ),
    ),
    Vector(
        27,
        (
            (
                "CREATE PROCEDURE shop.p(INOUT x text) LANGUAGE sql "
                "AS 'SELECT ssn FROM shop.customers WHERE id = 1'"
            ),
            "CALL shop.p('')",
        ),
    ),
    Vector(27, ("ALTER FUNCTION shop.get_ssn(int) RENAME TO upper", "SELECT shop.upper(1)")),
    *each(28, "SELECT 1 OPERATOR(shop.+) 2"),
    Vector(28, ("SET search_path = shop, pg_catalog", "SELECT 1 + 2")),
    Vector(
        28,
        (
            "CREATE AGGREGATE shop.cat(text) (sfunc = textcat, stype = text, initcond = '')",
            f"SELECT shop.cat(ssn) FROM {TABLE} WHERE id = 1",
        ),
    ),
    Vector(
        28,
        (
            "CREATE OPERATOR shop.=# (leftarg = int, rightarg = int, function = shop.plus)",
            "SELECT 1",
        ),
        leaks=False,
    ),
    Vector(
        29,
        (
            (
                "CREATE FUNCTION shop.t() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN NEW.name = NEW.ssn; RETURN NEW; END'"
            ),
            f"CREATE TRIGGER t BEFORE UPDATE ON {TABLE} FOR EACH ROW EXECUTE FUNCTION shop.t()",
            f"UPDATE {TABLE} SET city = 'x' RETURNING name",
        ),
    ),
    *each(
        30,
        "SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE attname = 'ssn'",
        "SELECT * FROM pg_catalog.pg_stats WHERE tablename = 'customers'",
    ),
    *each(
        31,
        f"EXPLAIN SELECT 1 FROM {TABLE} WHERE ssn = '{SECRET}'",
        f"EXPLAIN (ANALYZE, TIMING off) SELECT 1 FROM {TABLE} WHERE ssn LIKE 'S3%'",
        f"EXPLAIN SELECT * FROM {TABLE} ORDER BY ssn",
        leaks=False,
    ),
    *each(
        32,
        f"SELECT query FROM pg_stat_activity WHERE query LIKE '%{SECRET}%'",
        f"SELECT query FROM pg_stat_get_activity(NULL) WHERE query LIKE '%{SECRET}%'",
    ),
    *each(
        32,
        "SELECT statement FROM pg_prepared_statements",
        "SELECT statement FROM pg_cursors",
        leaks=False,
    ),
)
