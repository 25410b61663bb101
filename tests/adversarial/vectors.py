"""Ways to get at a masked column, as SQL that runs; and ordinary statements that must stay allowed.

`tests.adversarial.masked_table` has the table that they are about, and what a vector is.
"""

from __future__ import annotations

from typing import Final

from tests.adversarial.masked_table import FORMS, KEY, PEOPLE_KEY, SCHEMA, SECRET, Vector
from tests.adversarial.vectors_reading import EXPRESSIONS, ORACLES, PLAIN
from tests.adversarial.vectors_relations import CODE, RELATIONS
from tests.adversarial.vectors_sideways import LATER, SIDEWAYS

__all__ = ["FORMS", "KEY", "ORDINARY", "PEOPLE_KEY", "SCHEMA", "SECRET", "VECTORS", "Vector"]

VECTORS: Final = PLAIN + EXPRESSIONS + RELATIONS + CODE + ORACLES + SIDEWAYS + LATER

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
