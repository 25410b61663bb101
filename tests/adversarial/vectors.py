"""Ways to get at a masked column, as SQL that runs; and ordinary statements that must stay allowed.

The column is ``shop.customers.ssn``; `SECRET` is in one of its rows. A vector is one or more
statements that a client sends one after another, as ``simple`` queries or with ``binary`` results.
Most deliver the secret, plainly or in a trivial encoding, when nothing defends it; the others ask
yes-or-no questions of it (`Vector.leaks` is false), which only a refusal stops.

The numbers are the rows of the table of attack classes that the design was made from: 1 to 65 are
about values.
"""

from __future__ import annotations

import base64
from typing import Final

from attrs import frozen

SECRET: Final = "S3CRET-77Zq"
KEY: Final = ("shop", "customers", "ssn")
PEOPLE_KEY: Final = ("shop", "people", "ssn")

SCHEMA: Final = (
    "CREATE SCHEMA shop",
    (
        "CREATE TABLE shop.customers (id int PRIMARY KEY, name text, ssn text UNIQUE, city text, "
        "note text, born date)"
    ),
    (
        "CREATE TABLE shop.orders (id int PRIMARY KEY, customer int REFERENCES shop.customers, "
        "item text, amount numeric, placed date)"
    ),
    "CREATE TABLE shop.people (id int NOT NULL, ssn text, name text) PARTITION BY RANGE (id)",
    "CREATE TABLE shop.people_low (name text, id int NOT NULL, ssn text)",
    "ALTER TABLE shop.people ATTACH PARTITION shop.people_low FOR VALUES FROM (0) TO (1000)",
    "CREATE VIEW shop.renamed AS SELECT id, ssn AS tax_no, name FROM shop.customers",
    "CREATE VIEW shop.computed AS SELECT id, ssn || '' AS tax_no FROM shop.customers",
    "CREATE MATERIALIZED VIEW shop.kept AS SELECT id, ssn AS tax_no FROM shop.customers",
    "CREATE TABLE shop.sink (a text, b text, c text, d text, e text, f text)",
    f"INSERT INTO shop.customers VALUES (1, 'Ann', '{SECRET}', 'Oslo', 'x', '1970-05-06')",
    "INSERT INTO shop.customers VALUES (2, 'Bob', '111-22-3333', 'Bonn', 'y', '1980-01-02')",
    "INSERT INTO shop.customers VALUES (3, 'Cid', NULL, 'Rome', NULL, NULL)",
    "INSERT INTO shop.orders VALUES (1, 1, 'pen', 2.5, '2024-01-01'), (2, 2, 'ink', 4, now())",
    f"INSERT INTO shop.people VALUES (1, '{SECRET}', 'Ann')",
    "REFRESH MATERIALIZED VIEW shop.kept",
    (
        "CREATE FUNCTION shop.get_ssn(int) RETURNS text LANGUAGE sql SECURITY DEFINER "
        "AS 'SELECT ssn FROM shop.customers WHERE id = $1'"
    ),
    (
        "CREATE FUNCTION shop.everybody() RETURNS SETOF shop.customers LANGUAGE sql "
        "AS 'SELECT * FROM shop.customers'"
    ),
    "CREATE FUNCTION shop.tax_of(shop.customers) RETURNS text LANGUAGE sql AS 'SELECT $1.ssn'",
    # A name of pg_catalog, with other arguments.
    "CREATE FUNCTION shop.initcap(int) RETURNS text LANGUAGE sql AS 'SELECT shop.get_ssn($1)'",
    "CREATE FUNCTION shop.plus(int, int) RETURNS text LANGUAGE sql AS 'SELECT shop.get_ssn($1)'",
    "CREATE OPERATOR shop.+ (leftarg = int, rightarg = int, function = shop.plus)",
    "ALTER TABLE shop.customers OWNER TO app",
    "ALTER TABLE shop.sink OWNER TO app",
    "ALTER TABLE shop.orders OWNER TO app",
    "GRANT ALL ON ALL TABLES IN SCHEMA shop TO app",
    "GRANT ALL ON SCHEMA shop TO app",
    "GRANT ALL ON SCHEMA public TO app",
    "ANALYZE",
)
"""Run by the superuser. ``app``, an ordinary role, then has its search path set to ``shop``."""


@frozen
class Vector:
    """One way."""

    row: int
    """Of the table of attack classes."""
    statements: tuple[str, ...]
    leaks: bool = True
    """Without a defence, the answers hold the secret in one of `FORMS`."""
    binary: bool = False
    since: int = 15
    """PostgreSQL version."""
    not_in: tuple[int, ...] = ()
    """Versions that are built without what it needs."""

    @property
    def name(self) -> str:
        """What a failing test shows."""
        return f"{self.row}: {'; '.join(self.statements)}"


_TRANSLATED = SECRET.translate(str.maketrans("0123456789", "ABCDEFGHIJ"))

FORMS: Final = tuple(
    form.encode()
    for form in (
        SECRET,
        SECRET.encode().hex(),
        base64.b64encode(SECRET.encode()).decode(),
        SECRET[::-1],
        SECRET.lower(),
        " ".join(SECRET),
        _TRANSLATED,
    )
)
"""The secret in clear, hexadecimal, base64, reversed, lower case, spaced, and translated."""


def _each(row: int, *texts: str, leaks: bool = True, since: int = 15) -> tuple[Vector, ...]:
    return tuple(Vector(row, (text,), leaks=leaks, since=since) for text in texts)


_C = "shop.customers"

PLAIN: Final = (
    *_each(
        1,
        f"SELECT ssn FROM {_C}",
        f"SELECT * FROM {_C}",
        "SELECT customers.ssn FROM customers",
        f"SELECT shop.customers.ssn FROM {_C}",
        f"SELECT c.* FROM {_C} c JOIN shop.orders o ON o.customer = c.id",
        f'SELECT "ssn" FROM {_C}',
        f'SELECT U&"\\0073sn" FROM {_C}',
        'SELECT SSN FROM "shop"."customers"',
    ),
    *_each(2, f"SELECT ssn AS city FROM {_C}", f"SELECT city AS ssn, ssn AS city FROM {_C}"),
    *_each(
        3,
        f"SELECT c FROM {_C} AS t(a, b, c, d, e, f)",
        f"SELECT t.c || '' FROM {_C} AS t(a, b, c)",
        f"TABLE {_C}",
        "SELECT x.b FROM (shop.customers c CROSS JOIN shop.orders o) AS x(i, n, b)",
    ),
    *_each(
        4,
        f"SELECT ssn FROM (SELECT * FROM {_C}) t",
        f"SELECT x FROM (SELECT ssn AS x FROM {_C}) t",
        f"SELECT * FROM (SELECT * FROM {_C}) t(a, b, c)",
        f"SELECT c FROM (SELECT * FROM {_C}) t(a, b, c)",
        f"WITH t AS (SELECT * FROM {_C}) SELECT ssn FROM t",
        f"WITH t(a, b, c) AS (SELECT * FROM {_C}) SELECT c FROM t",
        f"WITH t AS MATERIALIZED (SELECT ssn x FROM {_C}) SELECT upper(x), x FROM t",
        f"SELECT l.x FROM {_C} c, LATERAL (SELECT c.ssn AS x) l",
        f"SELECT l.x FROM {_C} c, LATERAL (VALUES (c.ssn)) l(x)",
        f"SELECT ssn FROM {_C} a JOIN {_C} b USING (ssn)",
        f"SELECT j.ssn FROM {_C} a JOIN {_C} b USING (id, ssn) AS j",
        f"SELECT * FROM {_C} a FULL JOIN {_C} b USING (ssn)",
        f"SELECT ssn FROM {_C} NATURAL JOIN (SELECT 1 AS id) x",
        f"WITH customers AS (SELECT * FROM {_C}) SELECT ssn || '' FROM customers",
        "WITH customers AS (SELECT * FROM customers) SELECT customers FROM customers",
    ),
    *_each(
        5,
        f"WITH RECURSIVE r(n, x) AS (SELECT 1, ssn FROM {_C} UNION ALL SELECT n + 1, x FROM r "
        "WHERE n < 2) SELECT x FROM r",
        f"WITH RECURSIVE r AS (SELECT * FROM {_C} UNION SELECT * FROM r) SELECT ssn FROM r",
    ),
    *_each(
        6,
        f"SELECT city FROM {_C} UNION ALL SELECT ssn FROM {_C}",
        f"SELECT '' AS a UNION SELECT ssn FROM {_C}",
        f"TABLE {_C} UNION ALL TABLE {_C}",
        f"SELECT ssn FROM {_C} INTERSECT SELECT ssn FROM {_C}",
        f"SELECT ssn FROM {_C} EXCEPT SELECT city FROM {_C}",
        f"(SELECT ssn FROM {_C}) UNION ALL (VALUES ('x')) ORDER BY 1 DESC",
    ),
    *_each(
        7,
        f"VALUES ((SELECT ssn FROM {_C} WHERE id = 1))",
        f"SELECT (SELECT ssn FROM {_C} WHERE id = 1)",
        f"SELECT ARRAY(SELECT ssn FROM {_C})",
        f"SELECT 1, (SELECT c.ssn FROM {_C} c LIMIT 1) AS id",
    ),
)

EXPRESSIONS: Final = (
    *_each(
        8,
        f"SELECT ssn || '' FROM {_C}",
        f"SELECT ssn::varchar FROM {_C}",
        f'SELECT ssn::text COLLATE "C" FROM {_C}',
        f"SELECT coalesce(ssn, '') FROM {_C}",
        f"SELECT CASE WHEN true THEN ssn END FROM {_C}",
        f"SELECT format('%s', ssn) FROM {_C}",
        f"SELECT nullif(ssn, 'x') FROM {_C}",
        f"SELECT greatest(ssn) FROM {_C}",
        f"SELECT concat(ssn) FROM {_C}",
        f"SELECT ARRAY[ssn] FROM {_C}",
    ),
    *_each(
        9,
        f"SELECT max(ssn) FROM {_C}",
        f"SELECT string_agg(ssn, ',') FROM {_C}",
        f"SELECT array_agg(ssn) FROM {_C}",
        f"SELECT json_agg(ssn) FROM {_C}",
        f"SELECT first_value(ssn) OVER (ORDER BY id) FROM {_C}",
        f"SELECT lag(ssn) OVER (ORDER BY id) FROM {_C}",
        f"SELECT mode() WITHIN GROUP (ORDER BY ssn) FROM {_C} WHERE id = 1",
        f"SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY ssn) FROM {_C}",
    ),
    *_each(
        10,
        f"SELECT reverse(ssn) FROM {_C}",
        f"SELECT encode(ssn::bytea, 'hex') FROM {_C}",
        f"SELECT encode(ssn::bytea, 'base64') FROM {_C}",
        f"SELECT ssn::bytea FROM {_C}",
        f"SELECT lower(ssn) FROM {_C}",
        f"SELECT translate(ssn, '0123456789', 'ABCDEFGHIJ') FROM {_C}",
        f"SELECT regexp_replace(ssn, '(.)', '\\1 ', 'g') FROM {_C}",
        f"SELECT substr(ssn, 1) FROM {_C}",
        f"SELECT regexp_split_to_table(ssn, 'x') FROM {_C}",
    ),
    *_each(
        10,
        f"SELECT md5(ssn) FROM {_C}",
        f"SELECT ascii(substr(ssn, 1, 1)) FROM {_C}",
        f"SELECT length(ssn) FROM {_C}",
        f"SELECT ssn IS NULL FROM {_C}",
        leaks=False,
    ),
    Vector(11, (f"SELECT ssn FROM {_C}",), binary=True),
    Vector(11, (f"SELECT * FROM {_C}",), binary=True),
    Vector(12, (f"SELECT ROW(c.*) FROM {_C} c",), binary=True),
    Vector(12, (f"SELECT ARRAY[ssn] FROM {_C}",), binary=True),
    Vector(12, (f"SELECT ARRAY(SELECT c FROM {_C} c)",), binary=True),
    *_each(
        13,
        f"SELECT c FROM {_C} c",
        "SELECT customers FROM customers",
        f"SELECT c::text FROM {_C} c",
        f"SELECT ROW(c.ssn) FROM {_C} c",
        f"SELECT ROW(c.*) FROM {_C} c",
        f"SELECT row_to_json(c) FROM {_C} c",
        f"SELECT to_jsonb(c) ->> 'ssn' FROM {_C} c",
        f"SELECT to_json(c.*) FROM {_C} c",
        f"SELECT (jsonb_each_text(to_jsonb(c))).value FROM {_C} c",
        f"SELECT ssn(c) FROM {_C} c",
        f"SELECT c.row_to_json FROM {_C} c",
        f"SELECT c.to_jsonb FROM {_C} c",
        f"SELECT c.tax_of FROM {_C} c",
        f"SELECT (c).ssn FROM {_C} c",
        f"SELECT (c).* FROM {_C} c",
        f"SELECT (t.x).ssn FROM (SELECT c AS x FROM {_C} c) t",
        f"SELECT (jsonb_populate_record(c, '{{}}')).* FROM {_C} c",
        f"SELECT count(c.*), max(c::text) FROM {_C} c WHERE id = 1",
        f"SELECT t FROM (SELECT * FROM {_C}) t",
        f"SELECT array_agg(c) FROM {_C} c",
        f"SELECT json_build_object('x', c) FROM {_C} c",
        f"SELECT r FROM (SELECT ROW(t.*) AS r FROM {_C} t) x",
    ),
    *_each(
        14,
        "SELECT query_to_xml('SELECT ssn FROM shop.customers', true, true, '')",
        "SELECT table_to_xml('shop.customers', true, true, '')",
        "SELECT schema_to_xml('shop', true, true, '')",
        leaks=False,  # one of the servers that the tests use is built without XML
    ),
    *_each(
        15,
        "SELECT word FROM ts_stat('SELECT to_tsvector(''simple'', ssn) FROM shop.customers')",
        "SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, to_tsquery(''simple'', "
        "quote_literal(ssn)) FROM shop.customers WHERE id = 1')",
    ),
)

RELATIONS: Final = (
    *_each(
        17,
        "SELECT tax_no FROM shop.renamed",
        "SELECT * FROM shop.renamed",
        "SELECT upper(tax_no), tax_no || '' FROM shop.renamed",
        "SELECT r FROM shop.renamed r",
        "SELECT tax_no FROM shop.computed",
        "SELECT * FROM shop.computed",
    ),
    *_each(18, "SELECT tax_no FROM shop.kept", "SELECT tax_no || '' FROM shop.kept"),
    *_each(
        19,
        "SELECT ssn FROM shop.people_low",
        "SELECT ssn || '' FROM shop.people_low",
        "SELECT * FROM shop.people",
        "SELECT p FROM shop.people_low p",
    ),
    Vector(20, (f"CREATE VIEW pg_temp.v AS SELECT ssn AS x FROM {_C}", "SELECT x FROM pg_temp.v")),
    Vector(20, (f"CREATE TEMP VIEW v AS SELECT * FROM {_C}", "SELECT * FROM v")),
    Vector(20, (f"CREATE VIEW shop.w AS SELECT c AS x FROM {_C} c", "SELECT x FROM shop.w")),
    Vector(20, (f"CREATE MATERIALIZED VIEW shop.m AS TABLE {_C}", "SELECT * FROM shop.m")),
    Vector(
        20,
        (
            f"CREATE RULE r AS ON INSERT TO shop.sink DO INSTEAD SELECT ssn FROM {_C}",
            "INSERT INTO shop.sink VALUES ('x')",
        ),
    ),
    Vector(21, (f"CREATE TEMP TABLE t AS SELECT ssn AS x FROM {_C}", "SELECT x FROM t")),
    Vector(21, (f"CREATE TEMP TABLE t AS TABLE {_C}", "TABLE t")),
    Vector(21, (f"SELECT ssn INTO TEMP t FROM {_C}", "SELECT * FROM t")),
    Vector(21, (f"SELECT * INTO TEMP t FROM {_C}", "SELECT * FROM t")),
    Vector(21, (f"INSERT INTO shop.sink (a) SELECT ssn FROM {_C}", "TABLE shop.sink")),
    Vector(21, (f"INSERT INTO shop.sink SELECT * FROM {_C}", "TABLE shop.sink")),
    Vector(21, (f"INSERT INTO shop.sink TABLE {_C}", "TABLE shop.sink")),
    Vector(
        21,
        (
            f"INSERT INTO shop.sink VALUES ((SELECT ssn FROM {_C} WHERE id = 1))",
            "SELECT a FROM shop.sink",
        ),
    ),
    Vector(
        21, (f"PREPARE p AS SELECT ssn FROM {_C}", "CREATE TEMP TABLE t AS EXECUTE p", "TABLE t")
    ),
    *_each(
        22,
        f"UPDATE {_C} SET city = 'x' RETURNING ssn",
        f"UPDATE {_C} SET city = 'x' RETURNING *",
        f"UPDATE {_C} c SET city = 'x' RETURNING c",
        f"UPDATE {_C} SET city = 'x' RETURNING ssn || ''",
        "DELETE FROM shop.orders USING shop.customers c RETURNING c.ssn",
        "DELETE FROM shop.orders USING shop.customers c RETURNING upper(c.ssn), lower(c.ssn)",
        f"WITH w AS (UPDATE {_C} SET city = 'x' RETURNING *) SELECT ssn FROM w",
        f"WITH w AS (UPDATE {_C} SET city = 'x' RETURNING ssn AS x) SELECT x || '' FROM w",
        f"INSERT INTO {_C} (id, ssn) SELECT id + 10, reverse(ssn) FROM {_C} RETURNING ssn || ''",
    ),
    *_each(
        22,
        f"UPDATE {_C} SET city = 'x' RETURNING old.ssn, new.ssn",
        f"UPDATE {_C} SET city = 'x' RETURNING old",
        f"UPDATE {_C} SET city = 'x' RETURNING WITH (OLD AS o) o",
        f"UPDATE {_C} SET city = 'x' RETURNING WITH (OLD AS o) o.*",
        f"UPDATE {_C} SET city = 'x' RETURNING old.ssn || ''",
        f"MERGE INTO {_C} c USING shop.orders o ON o.customer = c.id WHEN MATCHED THEN "
        "UPDATE SET city = 'x' RETURNING c.ssn",
        f"MERGE INTO {_C} c USING shop.orders o ON o.customer = c.id WHEN MATCHED THEN "
        "UPDATE SET city = 'x' RETURNING merge_action(), c",
        since=18,
    ),
    Vector(23, (f"UPDATE {_C} SET name = ssn", f"SELECT name FROM {_C}")),
    Vector(23, (f"UPDATE {_C} SET (name, city) = (ssn, ssn)", f"SELECT name FROM {_C}")),
    Vector(
        23,
        (
            f"UPDATE {_C} a SET (name, city) = (SELECT b.ssn, '' FROM {_C} b WHERE b.id = a.id)",
            f"SELECT name FROM {_C}",
        ),
    ),
    Vector(
        23,
        (
            f"UPDATE shop.orders o SET item = c.ssn FROM {_C} c WHERE c.id = o.customer",
            "SELECT item FROM shop.orders",
        ),
    ),
    Vector(
        23,
        (
            (
                f"MERGE INTO shop.orders o USING {_C} c ON c.id = o.customer WHEN MATCHED THEN "
                "UPDATE SET item = c.ssn"
            ),
            "SELECT item FROM shop.orders",
        ),
    ),
    Vector(
        23,
        (
            (
                f"MERGE INTO shop.sink s USING {_C} c ON false WHEN NOT MATCHED THEN "
                "INSERT VALUES (c.id, c.name, c.ssn)"
            ),
            "TABLE shop.sink",
        ),
    ),
    Vector(
        23,
        (
            (
                f"INSERT INTO {_C} (id, ssn) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE "
                "SET name = customers.ssn"
            ),
            f"SELECT name FROM {_C}",
        ),
    ),
    Vector(
        23,
        (
            f"INSERT INTO {_C} AS c (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = c::text",
            f"SELECT name FROM {_C}",
        ),
    ),
    Vector(
        24,
        (
            f"ALTER TABLE {_C} ADD g text GENERATED ALWAYS AS (ssn || '') STORED",
            f"SELECT g FROM {_C}",
        ),
    ),
    Vector(24, (f"ALTER TABLE {_C} RENAME ssn TO x", f"SELECT x FROM {_C}")),
    Vector(24, (f"ALTER TABLE {_C} RENAME TO other", "SELECT ssn || '' FROM shop.other")),
    Vector(24, (f"ALTER TABLE {_C} SET SCHEMA public", "SELECT ssn || '' FROM public.customers")),
    Vector(
        24,
        (
            f"ALTER TABLE {_C} ALTER note TYPE varchar USING ssn",
            f"SELECT note FROM {_C}",
        ),
    ),
    *_each(
        24,
        f"CREATE TABLE shop.child () INHERITS ({_C})",
        f"CREATE INDEX ON {_C} (lower(ssn))",
        f"CREATE STATISTICS shop.st ON ssn, city FROM {_C}",
        f"ALTER TABLE {_C} ADD CHECK (ssn > '')",
        leaks=False,
    ),
)

CODE: Final = (
    *_each(
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
    *_each(
        26,
        "DO $$DECLARE x text; BEGIN EXECUTE 'SELECT s' || 'sn FROM shop.customers WHERE id = 1' "
        "INTO x; RAISE NOTICE '%', x; END$$",
    ),
    *_each(
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
    *_each(28, "SELECT 1 OPERATOR(shop.+) 2"),
    Vector(28, ("SET search_path = shop, pg_catalog", "SELECT 1 + 2")),
    Vector(
        28,
        (
            "CREATE AGGREGATE shop.cat(text) (sfunc = textcat, stype = text, initcond = '')",
            f"SELECT shop.cat(ssn) FROM {_C} WHERE id = 1",
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
            f"CREATE TRIGGER t BEFORE UPDATE ON {_C} FOR EACH ROW EXECUTE FUNCTION shop.t()",
            f"UPDATE {_C} SET city = 'x' RETURNING name",
        ),
    ),
    *_each(
        30,
        "SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE attname = 'ssn'",
        "SELECT * FROM pg_catalog.pg_stats WHERE tablename = 'customers'",
    ),
    *_each(
        31,
        f"EXPLAIN SELECT 1 FROM {_C} WHERE ssn = '{SECRET}'",
        f"EXPLAIN (ANALYZE, TIMING off) SELECT 1 FROM {_C} WHERE ssn LIKE 'S3%'",
        f"EXPLAIN SELECT * FROM {_C} ORDER BY ssn",
        leaks=False,
    ),
    *_each(
        32,
        f"SELECT query FROM pg_stat_activity WHERE query LIKE '%{SECRET}%'",
        f"SELECT query FROM pg_stat_get_activity(NULL) WHERE query LIKE '%{SECRET}%'",
    ),
    *_each(
        32,
        "SELECT statement FROM pg_prepared_statements",
        "SELECT statement FROM pg_cursors",
        leaks=False,
    ),
)

ORACLES: Final = (
    *_each(
        33,
        f"SELECT count(*) FROM {_C} WHERE ssn LIKE 'S%'",
        f"SELECT id FROM {_C} WHERE ssn > 'M'",
        f"SELECT id FROM {_C} WHERE (ssn, id) > ('M', 0)",
        f"SELECT id FROM {_C} c WHERE c.ssn = '{SECRET}'",
        f"SELECT id FROM {_C} c WHERE c IS NOT NULL",
        f"SELECT id FROM {_C} c WHERE c::text LIKE '%S3%'",
        f"UPDATE {_C} SET city = 'x' WHERE ssn = 'a' RETURNING id",
        f"DELETE FROM {_C} WHERE ssn = 'a'",
        leaks=False,
    ),
    *_each(
        34,
        f"SELECT g.x FROM {_C} c JOIN (VALUES ('{SECRET}'), ('b')) g(x) ON g.x = c.ssn",
        f"SELECT ssn FROM (VALUES ('{SECRET}')) g(ssn) JOIN {_C} c USING (ssn)",
        f"SELECT g.ssn FROM (VALUES ('{SECRET}')) g(ssn) NATURAL JOIN {_C} c",
        f"SELECT g.* FROM (VALUES ('{SECRET}')) g(x) WHERE x IN (SELECT ssn FROM {_C})",
        f"SELECT x FROM (VALUES ('{SECRET}')) g(x) INTERSECT SELECT ssn FROM {_C}",
    ),
    *_each(
        35,
        f"SELECT id FROM {_C} ORDER BY ssn",
        f"SELECT id, ssn FROM {_C} ORDER BY 2",
        f"SELECT ssn AS x, id FROM {_C} ORDER BY x",
        f"SELECT * FROM {_C} ORDER BY 3",
        f"SELECT DISTINCT ssn FROM {_C}",
        f"SELECT DISTINCT ON (ssn) id FROM {_C}",
        f"SELECT DISTINCT c.* FROM {_C} c",
        f"SELECT count(*) FROM {_C} GROUP BY ssn",
        f"SELECT ssn, count(*) FROM {_C} GROUP BY 1",
        f"SELECT ssn AS x, count(*) FROM {_C} GROUP BY x",
        f"SELECT count(*) FROM {_C} GROUP BY GROUPING SETS ((ssn), (id))",
        f"SELECT id, rank() OVER (ORDER BY ssn) FROM {_C}",
        f"SELECT id, count(*) OVER w FROM {_C} WINDOW w AS (PARTITION BY ssn)",
        f"SELECT id FROM {_C} c ORDER BY c",
        f"CLUSTER {_C} USING customers_ssn_key",
        leaks=False,
    ),
    *_each(
        36,
        f"SELECT 1 WHERE EXISTS (SELECT FROM {_C} WHERE ssn LIKE 'S%')",
        f"SELECT id FROM shop.orders WHERE 'S' < (SELECT max(ssn) FROM {_C})",
        f"UPDATE shop.orders SET item = 'x' FROM {_C} c WHERE c.ssn > 'M'",
        f"INSERT INTO {_C} (id, ssn) VALUES (9, '{SECRET}') ON CONFLICT (ssn) DO NOTHING",
        leaks=False,
    ),
    *_each(
        37,
        f"SELECT 1 / (CASE WHEN ssn LIKE 'S%' THEN 0 ELSE 1 END) FROM {_C}",
        f"SELECT id FROM {_C} LIMIT (SELECT length(ssn) FROM {_C} WHERE id = 1)",
        f"SELECT generate_series(1, ascii(ssn)) FROM {_C} WHERE id = 1",
        f"SELECT id FROM {_C} TABLESAMPLE bernoulli "
        f"((SELECT length(ssn) FROM {_C} WHERE id = 1)) REPEATABLE (1)",
        f"SELECT pg_sleep(CASE WHEN ssn LIKE 'S%' THEN 0.01 ELSE 0 END) FROM {_C}",
        leaks=False,
    ),
)

SIDEWAYS: Final = (
    *_each(
        41,
        f"SELECT ssn::int FROM {_C}",
        f"SELECT ssn::date FROM {_C}",
        f"SELECT ssn::regclass FROM {_C} WHERE id = 1",
        f"SELECT ssn::inet FROM {_C}",
        f"SELECT * FROM shop.orders WHERE amount = (SELECT ssn::numeric FROM {_C} WHERE id = 1)",
    ),
    *_each(
        41,
        f"SELECT to_date(ssn, 'YYYY') FROM {_C}",
        f"SELECT ssn::json FROM {_C}",
        leaks=False,  # the error quotes a part of it
    ),
    *_each(41, f"SELECT message FROM {_C}, pg_input_error_info(ssn, 'int4')", since=16),
    *_each(
        42,
        f"UPDATE {_C} SET id = NULL WHERE id = 1",
        f"INSERT INTO {_C} (id, ssn) VALUES (8, '{SECRET}')",
    ),
    Vector(
        42,
        (
            "CREATE TEMP TABLE u (x text UNIQUE)",
            f"INSERT INTO u SELECT ssn FROM {_C} WHERE id = 1",
            f"INSERT INTO u SELECT ssn FROM {_C} WHERE id = 1",
        ),
    ),
    Vector(45, (f"SELECT set_config('application_name', ssn, false) FROM {_C} WHERE id = 1",)),
    Vector(
        46,
        (
            f"SELECT set_config('my.x', ssn, false) FROM {_C} WHERE id = 1",
            "SELECT current_setting('my.x')",
        ),
    ),
    Vector(47, ("LISTEN x", f"SELECT pg_notify('x', ssn) FROM {_C} WHERE id = 1", "COMMIT")),
    *_each(
        48,
        f"COPY {_C} TO STDOUT",
        f"COPY {_C} (ssn) TO STDOUT",
        f"COPY {_C} (id, ssn) TO STDOUT (FORMAT csv, HEADER)",
        f"COPY {_C} TO STDOUT (FORMAT binary)",
        f"COPY {_C} TO STDOUT (DELIMITER '~')",
        f"COPY {_C} TO STDOUT (FORMAT csv, QUOTE '~', FORCE_QUOTE *)",
        f"COPY (SELECT ssn FROM {_C}) TO STDOUT",
        f"COPY (SELECT id, ssn AS x FROM {_C}) TO STDOUT (FORMAT csv)",
        f"COPY (SELECT * FROM {_C}) TO STDOUT",
        f"COPY (SELECT ssn || '' FROM {_C}) TO STDOUT",
        f"COPY (SELECT c FROM {_C} c) TO STDOUT",
        f"COPY (TABLE {_C}) TO STDOUT (FORMAT binary)",
        f"COPY (UPDATE {_C} SET city = 'x' RETURNING ssn) TO STDOUT",
        "COPY (SELECT tax_no FROM shop.renamed) TO STDOUT",
        "COPY shop.people_low TO STDOUT",
    ),
    Vector(
        49,
        (
            f"SELECT lo_from_bytea(4711, convert_to(ssn, 'UTF8')) FROM {_C} WHERE id = 1",
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
    Vector(53, (f"PREPARE p AS SELECT ssn FROM {_C}", "EXECUTE p")),
    Vector(53, (f"PREPARE p AS SELECT ssn || '' FROM {_C}", "EXECUTE p")),
    Vector(53, (f"PREPARE p AS UPDATE {_C} SET name = ssn RETURNING name", "EXECUTE p")),
    Vector(54, (f"DECLARE k CURSOR FOR SELECT ssn FROM {_C}", "FETCH ALL k")),
    Vector(54, (f"DECLARE k CURSOR WITH HOLD FOR TABLE {_C}", "COMMIT", "FETCH ALL k")),
    Vector(54, (f"DECLARE k BINARY CURSOR FOR SELECT ssn FROM {_C}", "FETCH ALL k")),
    Vector(54, (f"DECLARE k CURSOR FOR SELECT ssn || '' FROM {_C}", "FETCH ALL k")),
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
            f"CREATE TEMP TABLE customers AS SELECT id, ssn AS name FROM {_C}",
            "SELECT name FROM customers",
        ),
    ),
    Vector(57, ("SET ROLE app", "SELECT 1"), leaks=False),
    Vector(57, ("SET SESSION AUTHORIZATION app",), leaks=False),
    Vector(66, (f"SELECT 1; SELECT ssn || '' FROM {_C}",)),
    Vector(66, (f"SELECT 1; SELECT ssn FROM {_C}; SELECT 2",)),
    Vector(67, (f"SELECT/**/ssn/*x*/||/*/**/*/''FROM {_C}",)),
    Vector(67, (f"SELECT $x$;$x$, E'\\'', ssn || '' FROM {_C} -- ;",)),
    Vector(72, (f"EXPLAIN ANALYZE CREATE TEMP TABLE t AS TABLE {_C}", "TABLE t")),
    Vector(91, (f"UPDATE {_C} SET city = 'x'", "PREPARE TRANSACTION 'x'"), leaks=False),
)

VECTORS: Final = PLAIN + EXPRESSIONS + RELATIONS + CODE + ORACLES + SIDEWAYS

ORDINARY: Final = (
    "SELECT 1",
    "SELECT now(), current_user, version(), current_database(), pg_backend_pid()",
    "SELECT * FROM shop.customers",
    "SELECT id, name, ssn FROM shop.customers WHERE id = 1",
    "SELECT c.ssn, c.name FROM shop.customers c WHERE c.city = 'Oslo' ORDER BY c.name LIMIT 10",
    "SELECT ssn AS number FROM shop.customers ORDER BY id DESC",
    "SELECT count(*) FROM shop.customers",
    "SELECT count(*) FROM shop.customers c WHERE c.city = 'Oslo'",
    "SELECT city, count(*) FROM shop.customers GROUP BY city HAVING count(*) > 0 ORDER BY 2",
    "SELECT c.name, o.item FROM shop.customers c JOIN shop.orders o ON o.customer = c.id",
    "SELECT c.*, o.amount FROM shop.customers c LEFT JOIN shop.orders o ON o.customer = c.id",
    (
        "SELECT c.name, sum(amount) FROM shop.customers c JOIN shop.orders o ON o.customer = c.id "
        "GROUP BY c.name"
    ),
    "SELECT DISTINCT city FROM shop.customers",
    "SELECT name FROM shop.customers WHERE id IN (SELECT customer FROM shop.orders)",
    (
        "SELECT name FROM shop.customers c WHERE EXISTS (SELECT * FROM shop.orders o WHERE "
        "o.customer = c.id)"
    ),
    (
        "WITH o AS (SELECT customer, sum(amount) AS s FROM shop.orders GROUP BY 1) "
        "SELECT c.name, c.ssn, o.s FROM shop.customers c JOIN o ON o.customer = c.id ORDER BY o.s"
    ),
    (
        "WITH o AS (SELECT * FROM shop.orders) SELECT o.*, c.ssn FROM o JOIN shop.customers c "
        "ON c.id = o.customer"
    ),
    "SELECT o FROM shop.orders o",
    "SELECT row_to_json(o) FROM shop.orders o",
    "SELECT upper(name), length(city), coalesce(note, '') FROM shop.customers",
    "SELECT name, row_number() OVER (PARTITION BY city ORDER BY name) FROM shop.customers",
    "SELECT extract(year FROM born), date_trunc('month', born) FROM shop.customers",
    "SELECT name FROM shop.customers UNION SELECT item FROM shop.orders",
    "SELECT x.name FROM (SELECT id, name FROM shop.customers) x",
    "SELECT x FROM (SELECT id, name FROM shop.customers) x",
    "SELECT tax_no, name FROM shop.renamed",
    "SELECT * FROM shop.renamed WHERE id = 1",
    "SELECT * FROM shop.kept",
    "SELECT id, ssn FROM shop.people WHERE id < 10",
    "SELECT * FROM shop.people_low",
    "INSERT INTO shop.customers (id, name, ssn) VALUES (100, 'Dan', '1-2-3')",
    "INSERT INTO shop.customers (id, name, ssn) VALUES (101, 'Eve', '4-5-6') RETURNING id, ssn",
    (
        "INSERT INTO shop.customers (id, name) VALUES (1, 'Fay') ON CONFLICT (id) DO UPDATE "
        "SET name = excluded.name RETURNING *"
    ),
    "INSERT INTO shop.sink (a, b) SELECT id::text, name FROM shop.customers",
    "UPDATE shop.customers SET ssn = '7-8-9' WHERE id = 2",
    "UPDATE shop.customers SET city = upper(city) WHERE id = 2 RETURNING *",
    "DELETE FROM shop.orders WHERE id = 2 RETURNING *",
    (
        "MERGE INTO shop.orders o USING (VALUES (1, 'cap')) v(id, item) ON v.id = o.id "
        "WHEN MATCHED THEN UPDATE SET item = v.item"
    ),
    "EXPLAIN SELECT * FROM shop.customers WHERE city = 'Oslo'",
    "EXPLAIN (ANALYZE, BUFFERS) SELECT name FROM shop.customers",
    "COPY shop.customers TO STDOUT",
    "COPY shop.customers (id, ssn, name) TO STDOUT (FORMAT csv, HEADER)",
    "COPY (SELECT id, ssn FROM shop.customers WHERE id < 10) TO STDOUT",
    "COPY (SELECT * FROM shop.orders) TO STDOUT (FORMAT csv, DELIMITER ';')",
    "CREATE TEMP TABLE t1 AS SELECT id, name FROM shop.customers",
    "CREATE TEMP TABLE t2 (id int PRIMARY KEY, ssn text)",
    "CREATE INDEX ON shop.orders (placed)",
    "CREATE VIEW shop.sales AS SELECT customer, sum(amount) FROM shop.orders GROUP BY 1",
    "ALTER TABLE shop.orders ADD COLUMN extra text DEFAULT 'x'",
    "COMMENT ON TABLE shop.orders IS 'x'",
    "PREPARE p1 AS SELECT name, ssn FROM shop.customers WHERE id = $1",
    "EXECUTE p1 (1)",
    "DEALLOCATE p1",
    "DECLARE k1 CURSOR FOR SELECT * FROM shop.customers",
    "FETCH 2 FROM k1",
    "CLOSE k1",
    "SAVEPOINT a",
    "RELEASE a",
    "SET work_mem = '8MB'",
    "SET LOCAL statement_timeout = 10000",
    "SHOW search_path",
    "SELECT set_config('statement_timeout', '10000', true)",
    "SELECT pg_catalog.set_config('search_path', 'shop', false)",
    "SELECT current_setting('search_path')",
    "LISTEN changes",
    "NOTIFY changes, 'x'",
    "LOCK TABLE shop.customers IN SHARE MODE",
    "TRUNCATE shop.sink",
    "ANALYZE shop.customers",
    "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'shop'::regnamespace",
    "SELECT column_name FROM information_schema.columns WHERE table_name = 'customers'",
    "SELECT pg_get_viewdef('shop.renamed'::regclass)",
    "SELECT pg_size_pretty(pg_total_relation_size('shop.customers'))",
    "SELECT gen_random_uuid() IS NOT NULL, random() < 2, clock_timestamp() IS NOT NULL",
    "SELECT nextval('shop.s')",
    "SELECT generate_series(1, 3)",
    "SELECT * FROM generate_series(1, 3) AS g(x), unnest(ARRAY[1, 2]) AS u",
    "SELECT pg_advisory_lock(1), pg_advisory_unlock(1)",
    "SELECT jsonb_build_object('a', 1) ->> 'a', to_json(ARRAY[1])",
)
"""Run in this order, in one transaction that is rolled back; all must run and none may show it."""
