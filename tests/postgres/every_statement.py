"""One statement of each kind that PostgreSQL 18 knows, and expressions of each kind."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = (
    "ALTER COLLATION c REFRESH VERSION",
    "ALTER DATABASE d CONNECTION LIMIT 1",
    "ALTER DATABASE d REFRESH COLLATION VERSION",
    "ALTER DATABASE d SET a = 1",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO x",
    "ALTER DOMAIN d ADD CHECK (value > 0)",
    "ALTER EVENT TRIGGER e DISABLE",
    "ALTER EXTENSION e UPDATE TO '2'",
    "ALTER EXTENSION e ADD TABLE t",
    "ALTER FOREIGN DATA WRAPPER w OPTIONS (a 'b')",
    "ALTER FUNCTION f(int) COST 1",
    "ALTER FUNCTION f(int) DEPENDS ON EXTENSION e",
    "ALTER FUNCTION f(int) OWNER TO x",
    "ALTER FUNCTION f(int) RENAME TO g",
    "ALTER INDEX ALL IN TABLESPACE a SET TABLESPACE b",
    "ALTER OPERATOR + (int, int) SET (restrict = f)",
    "ALTER OPERATOR FAMILY f USING btree ADD OPERATOR 1 < (int, int)",
    "ALTER POLICY p ON t USING (true)",
    "ALTER PUBLICATION p ADD TABLE t",
    "ALTER ROLE x SET a = 1",
    "ALTER ROLE x SUPERUSER",
    "ALTER SCHEMA s OWNER TO x",
    "ALTER SEQUENCE s RESTART WITH 5",
    "ALTER SERVER s OPTIONS (a 'b')",
    "ALTER STATISTICS s SET STATISTICS 1",
    "ALTER SUBSCRIPTION s DISABLE",
    "ALTER SYSTEM SET a = 1",
    "ALTER TABLE t ADD COLUMN a int DEFAULT 1, DROP b, ALTER c TYPE text USING d::text",
    "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u (b) ON DELETE CASCADE",
    "ALTER TABLE t ATTACH PARTITION p FOR VALUES FROM (1) TO (2)",
    "ALTER TABLE t REPLICA IDENTITY FULL",
    "ALTER TABLE t SET SCHEMA s",
    "ALTER TABLESPACE s SET (seq_page_cost = 1)",
    "ALTER TEXT SEARCH CONFIGURATION c ADD MAPPING FOR word WITH d",
    "ALTER TEXT SEARCH DICTIONARY d (a = b)",
    "ALTER TYPE e ADD VALUE 'x'",
    "ALTER TYPE t SET (send = f)",
    "ALTER USER MAPPING FOR x SERVER s OPTIONS (a 'b')",
    "ANALYZE t (a)",
    "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
    "CALL p(1, b => 2)",
    "CHECKPOINT",
    "CLOSE c",
    "CLUSTER t USING i",
    "COMMENT ON COLUMN t.a IS 'x'",
    "COPY t (a) FROM STDIN (FORMAT csv, HEADER match, DEFAULT 'x') WHERE a > 1",
    "CREATE ACCESS METHOD m TYPE INDEX HANDLER h",
    "CREATE AGGREGATE a (int) (sfunc = f, stype = int)",
    "CREATE CAST (int AS t) WITHOUT FUNCTION AS IMPLICIT",
    "CREATE CONVERSION c FOR 'UTF8' TO 'LATIN1' FROM f",
    "CREATE DATABASE d TEMPLATE t",
    "CREATE DOMAIN d AS int CHECK (value > 0)",
    "CREATE EVENT TRIGGER e ON ddl_command_start WHEN tag IN ('x') EXECUTE FUNCTION f()",
    "CREATE EXTENSION e SCHEMA s",
    "CREATE FOREIGN DATA WRAPPER w HANDLER h",
    "CREATE FOREIGN TABLE t (a int OPTIONS (b 'c')) SERVER s",
    "CREATE FUNCTION f(a int = 1, OUT b int) LANGUAGE sql BEGIN ATOMIC SELECT 1; END",
    "CREATE FUNCTION f() RETURNS TABLE (a int) LANGUAGE sql IMMUTABLE AS 'select 1'",
    "CREATE UNIQUE INDEX CONCURRENTLY i ON t USING btree (a, lower(b) DESC) INCLUDE (c) WHERE d",
    "CREATE LANGUAGE l HANDLER h",
    "CREATE MATERIALIZED VIEW v AS SELECT 1 WITH NO DATA",
    "CREATE OPERATOR + (leftarg = int, function = f)",
    "CREATE OPERATOR CLASS c FOR TYPE int USING btree AS OPERATOR 1 <, FUNCTION 1 f(int, int)",
    "CREATE OPERATOR FAMILY f USING btree",
    "CREATE POLICY p ON t FOR SELECT TO x USING (a = current_user) WITH CHECK (true)",
    "CREATE PROCEDURE p() LANGUAGE sql AS 'select 1'",
    "CREATE PUBLICATION p FOR TABLE t (a) WHERE (a > 1), TABLES IN SCHEMA s",
    "CREATE ROLE x LOGIN PASSWORD 'y' VALID UNTIL 'z' IN ROLE w",
    "CREATE RULE r AS ON INSERT TO t WHERE new.a > 1 DO ALSO (INSERT INTO u VALUES (1); NOTIFY x)",
    "CREATE SCHEMA s AUTHORIZATION x CREATE TABLE t (a int) CREATE VIEW v AS SELECT 1",
    "CREATE SEQUENCE s OWNED BY t.a",
    "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (a 'b')",
    "CREATE STATISTICS s (ndistinct) ON a, (b + 1) FROM t",
    "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p",
    (
        "CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY, b int GENERATED ALWAYS AS (a) "
        "VIRTUAL, "
        'c text COLLATE "C" NOT NULL UNIQUE, EXCLUDE USING gist (c WITH &&), LIKE u INCLUDING ALL) '
        "PARTITION BY RANGE (a, (b + 1)) WITH (fillfactor = 10) ON COMMIT DROP"
    ),
    "CREATE TABLE t PARTITION OF u FOR VALUES IN (1, NULL)",
    "CREATE TABLE t OF y",
    "CREATE TABLESPACE s LOCATION '/x'",
    "CREATE TEMP TABLE t AS EXECUTE p(1)",
    "CREATE TEXT SEARCH CONFIGURATION c (parser = p)",
    "CREATE TRANSFORM FOR int LANGUAGE l (FROM SQL WITH FUNCTION f(internal))",
    (
        "CREATE TRIGGER t AFTER UPDATE OF a ON u REFERENCING OLD TABLE AS o FOR EACH ROW "
        "WHEN (old.a <> new.a) EXECUTE FUNCTION f('x')"
    ),
    "CREATE TYPE t AS (a int)",
    "CREATE TYPE t AS ENUM ('a')",
    "CREATE TYPE t AS RANGE (subtype = int)",
    "CREATE USER MAPPING FOR x SERVER s",
    "CREATE OR REPLACE RECURSIVE VIEW v (n) AS SELECT 1 UNION ALL SELECT n + 1 FROM v",
    "DEALLOCATE PREPARE ALL",
    "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT 1",
    "DELETE FROM ONLY t AS a USING u WHERE CURRENT OF c RETURNING *",
    "DISCARD TEMP",
    "DO LANGUAGE plpgsql 'begin end'",
    "DROP DATABASE d WITH (FORCE)",
    "DROP OWNED BY x",
    "DROP ROLE x",
    "DROP SUBSCRIPTION s",
    "DROP TABLE IF EXISTS t, s.u CASCADE",
    "DROP TABLESPACE s",
    "DROP USER MAPPING FOR x SERVER s",
    "EXECUTE p (1, 'x')",
    "EXPLAIN (ANALYZE, FORMAT json, WAL, SERIALIZE binary) SELECT 1",
    "FETCH RELATIVE -1 FROM c",
    "GRANT a, b TO c WITH ADMIN OPTION GRANTED BY d",
    "GRANT SELECT (a), UPDATE ON t TO x, PUBLIC",
    "IMPORT FOREIGN SCHEMA s LIMIT TO (t) FROM SERVER x INTO y",
    (
        "INSERT INTO t (a, b[1], c.d) OVERRIDING SYSTEM VALUE VALUES (1, DEFAULT, 2) "
        "ON CONFLICT (a, lower(b)) WHERE c DO UPDATE SET a = excluded.a WHERE t.b RETURNING new.*"
    ),
    "INSERT INTO t DEFAULT VALUES ON CONFLICT ON CONSTRAINT k DO NOTHING",
    "LISTEN x",
    "LOAD 'x'",
    "LOCK TABLE ONLY t, u IN ACCESS EXCLUSIVE MODE NOWAIT",
    (
        "MERGE INTO t USING (SELECT 1 AS a) s ON t.a = s.a WHEN MATCHED AND s.a > 1 THEN UPDATE "
        "SET "
        "b = s.a WHEN NOT MATCHED BY SOURCE THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1) "
        "RETURNING merge_action(), t.*"
    ),
    "NOTIFY x, 'y'",
    "PREPARE p (int) AS SELECT $1",
    "REASSIGN OWNED BY x TO y",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
    "REINDEX (VERBOSE) SCHEMA s",
    "REVOKE GRANT OPTION FOR ALL ON ALL TABLES IN SCHEMA s FROM x CASCADE",
    "SECURITY LABEL FOR p ON TABLE t IS 'x'",
    "SET CONSTRAINTS a, b IMMEDIATE",
    "SET LOCAL TIME ZONE INTERVAL '1' HOUR",
    "SET TRANSACTION SNAPSHOT 'x'",
    "SHOW TRANSACTION ISOLATION LEVEL",
    "TRUNCATE t, u RESTART IDENTITY CASCADE",
    "UNLISTEN x",
    "UPDATE t SET (a, b) = (SELECT 1, 2), c[1:2] = DEFAULT FROM u WHERE false",
    "VACUUM (FULL, ANALYZE) t (a)",
)

EXPRESSIONS: Final = (
    "a.b.c.d, (x).y[1:2].*, (f(1)).z, ARRAY[1, 2], ARRAY(SELECT 1), ROW(1, t.*), (1, 2)",
    (
        "a BETWEEN SYMMETRIC 1 AND 2, a IN (1, 2), a NOT IN (SELECT 1), a = ANY ($1), a LIKE 'x' "
        "ESCAPE '!'"
    ),
    "a IS DISTINCT FROM b, a IS NULL, a IS NOT TRUE, a IS UNKNOWN, (a, b) OVERLAPS (c, d), NOT a",
    (
        "CASE a WHEN 1 THEN 2 ELSE 3 END, COALESCE(a, 1), GREATEST(a, 1), NULLIF(a, 1), a::int[], "
        "CAST(a AS numeric(3, 1)), a COLLATE \"C\", a AT TIME ZONE 'UTC', a AT LOCAL, INTERVAL "
        "'1' DAY"
    ),
    (
        "count(*) FILTER (WHERE a), sum(DISTINCT a ORDER BY b), rank() WITHIN GROUP (ORDER BY a), "
        "sum(a) OVER (PARTITION BY b ORDER BY c ROWS BETWEEN 1 PRECEDING AND CURRENT ROW "
        "EXCLUDE TIES)"
    ),
    (
        "current_date, localtime(2), current_user, session_user, current_schema, system_user, "
        "extract(day FROM a), overlay(a PLACING b FROM 1), position(a IN b), substring(a "
        "SIMILAR b ESCAPE c), "
        "trim(BOTH a FROM b), normalize(a, NFC), a IS NORMALIZED, collation FOR (a), f(VARIADIC a)"
    ),
    (
        "xmlelement(NAME a, xmlattributes(b AS c), d), xmlforest(a AS b), xmlparse(DOCUMENT a), "
        "xmlserialize(CONTENT a AS text), xmlpi(NAME a), xmlroot(a, VERSION '1'), a IS "
        "DOCUMENT, xmlconcat(a)"
    ),
    (
        "JSON_OBJECT('a': b ABSENT ON NULL), JSON_ARRAY(a, b), JSON_ARRAY(SELECT 1), "
        "JSON_OBJECTAGG(a: b), "
        "JSON_ARRAYAGG(a ORDER BY b), JSON(a), JSON_SCALAR(a), JSON_SERIALIZE(a RETURNING text), "
        "a IS JSON OBJECT WITH UNIQUE KEYS, JSON_EXISTS(a, '$' PASSING b AS c), "
        "JSON_VALUE(a, '$' RETURNING int DEFAULT 1 ON EMPTY ERROR ON ERROR), JSON_QUERY(a, '$' "
        "WITH WRAPPER)"
    ),
    "U&'d\\0061t', E'\\n', B'1', X'1F', N'x', $q$x$q$, 1.5, 1e5, 0x1F, 1_000, true, NULL, $1",
    "GROUPING(a), a[1][2], -a, @ a, a !~~* b, a OPERATOR(pg_catalog.+) b, a || b, EXISTS (SELECT)",
)

FROMS: Final = (
    "a, ONLY s.b, c *, d AS e (f, g)",
    "a JOIN b ON true LEFT JOIN c USING (x) NATURAL FULL JOIN d CROSS JOIN e",
    "(a JOIN b USING (x) AS j) AS k (l), LATERAL (SELECT 1) m",
    "f(1) WITH ORDINALITY AS g (h), ROWS FROM (i(1), j(2) AS (k int)) AS l, generate_series(1, 2)",
    "t TABLESAMPLE system (10) REPEATABLE (1)",
    "XMLTABLE('x' PASSING a COLUMNS b int PATH 'c' DEFAULT 1 NOT NULL, d FOR ORDINALITY) AS e",
    (
        "JSON_TABLE(a, '$' AS r PASSING 1 AS x COLUMNS (b int PATH '$.b', NESTED PATH '$.c' "
        "COLUMNS "
        "(d text), e FOR ORDINALITY, f int EXISTS PATH '$.g' ERROR ON ERROR)) AS h"
    ),
    "(VALUES (1, 2), (3, 4)) v (a, b), (TABLE t) u, (SELECT 1 UNION ALL (SELECT 2 LIMIT 1)) w",
)

QUERIES: Final = (
    "SELECT",
    (
        "SELECT ALL a FROM t WHERE b GROUP BY DISTINCT ROLLUP (a), CUBE (b, c), GROUPING SETS "
        "((), (a)) "
        "HAVING true WINDOW w AS (ORDER BY a) ORDER BY 1 USING <, b DESC NULLS LAST "
        "OFFSET 1 FETCH FIRST 2 ROWS WITH TIES FOR NO KEY UPDATE OF t NOWAIT"
    ),
    (
        "WITH RECURSIVE a (n) AS MATERIALIZED (SELECT 1 UNION SELECT n + 1 FROM a) SEARCH DEPTH "
        "FIRST "
        "BY n SET o CYCLE n SET c TO true DEFAULT false USING p SELECT * FROM a"
    ),
    "SELECT 1 INTO TEMP t",
    "SELECT 1 EXCEPT ALL SELECT 2 INTERSECT SELECT 3 ORDER BY 1 LIMIT ALL",
)
