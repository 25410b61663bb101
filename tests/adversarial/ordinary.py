"""What object mappers, drivers and tools send, which must run where columns are masked.

Written down from SQLAlchemy, Django, Rails, Hibernate, JDBC, Npgsql, asyncpg, Prisma and the like,
some of it shortened; the tables are those of `tests.adversarial.masked_table`.
"""

from __future__ import annotations

from typing import Final


def _texts(lines: str) -> tuple[str, ...]:
    """Split at empty lines."""
    return tuple(" ".join(text.split()) for text in lines.strip().split("\n\n"))


QUERIES: Final = _texts("""
SELECT customers.id AS customers_id, customers.name AS customers_name, customers.ssn AS
customers_ssn FROM shop.customers WHERE customers.id = 1

SELECT c.id AS c_id, c.ssn AS c_ssn, o.id AS o_id, o.item AS o_item FROM shop.customers AS c LEFT
OUTER JOIN shop.orders AS o ON c.id = o.customer WHERE c.name ILIKE 'a%' ORDER BY c.id

SELECT "customers"."id", "customers"."name", "customers"."ssn" FROM "customers" WHERE
"customers"."city" IN ('Oslo', 'Bonn') ORDER BY "customers"."name" ASC LIMIT 21 OFFSET 0

SELECT (1) AS "a" FROM "customers" WHERE "customers"."id" = 1 LIMIT 1

SELECT COUNT(*) AS "__count" FROM "customers"

SELECT COUNT(*) FROM (SELECT "customers"."id" AS "col1" FROM "customers" LIMIT 5) subquery

SELECT "customers".* FROM "customers" WHERE "customers"."id" = 1 LIMIT 1

SELECT DISTINCT "customers"."city" FROM "customers"

SELECT "orders".* FROM "orders" WHERE "orders"."customer" IN (1, 2, 3)

SELECT "customers"."id", "customers"."ssn" FROM "customers" INNER JOIN "orders" ON
"customers"."id" = "orders"."customer" GROUP BY "customers"."id" HAVING COUNT(*) > 0

select c1_0.id, c1_0.city, c1_0.name, c1_0.ssn from shop.customers c1_0 where c1_0.id=1

select c1_0.id, c1_0.ssn from customers c1_0 offset 0 rows fetch first 10 rows only

SELECT t0.id, t0.ssn, t1.total FROM shop.customers t0 JOIN LATERAL (SELECT sum(o.amount) AS total
FROM shop.orders o WHERE o.customer = t0.id) t1 ON true

SELECT c.id, c.ssn, coalesce(o.n, 0) FROM customers c LEFT JOIN (SELECT customer, count(*) n FROM
orders GROUP BY customer) o ON o.customer = c.id ORDER BY o.n DESC NULLS LAST

WITH recent AS (SELECT * FROM orders WHERE placed > now() - interval '10 years') SELECT c.ssn, r.*
FROM recent r JOIN customers c ON c.id = r.customer

SELECT jsonb_build_object('id', c.id, 'name', c.name) FROM customers c

SELECT array_agg(c.name ORDER BY c.id) FROM customers c WHERE c.born IS NOT NULL

SELECT id, ssn, lag(name) OVER (ORDER BY id) FROM customers

SELECT id, ssn FROM customers WHERE (name, id) > ('A', 0) ORDER BY name, id LIMIT 2

SELECT ssn FROM customers WHERE id = 1 FOR UPDATE SKIP LOCKED

SELECT CASE WHEN city = 'Oslo' THEN 1 ELSE 0 END, ssn FROM customers

SELECT id::text, to_char(born, 'YYYY-MM'), ssn FROM customers WHERE born BETWEEN '1900-01-01' AND
now()

SELECT id, ssn FROM customers TABLESAMPLE system (100)

SELECT EXISTS (SELECT 1 FROM customers WHERE name = 'Ann')

INSERT INTO customers (id, name, ssn) VALUES (50, 'x', '1'), (51, 'y', '2') RETURNING id

INSERT INTO customers (id, name, ssn) VALUES (50, 'z', '3') ON CONFLICT (id) DO UPDATE SET name =
EXCLUDED.name RETURNING customers.id, customers.ssn

UPDATE "customers" SET "name" = 'Q', "ssn" = '9' WHERE "customers"."id" = 50

UPDATE customers SET note = o.item FROM orders o WHERE o.customer = customers.id RETURNING
customers.*

DELETE FROM customers WHERE customers.id = 51

select nextval('shop.s'), currval('shop.s')
""")
"""Of data. Those that show the column show it masked."""

METADATA: Final = _texts("""
select pg_catalog.version()

show standard_conforming_strings

select current_schema()

SELECT 'x' AS some_label

SELECT pg_catalog.pg_class.relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON
pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace WHERE pg_catalog.pg_class.relname =
'customers' AND pg_catalog.pg_class.relkind = ANY (ARRAY['r', 'p', 'f', 'v', 'm']) AND
pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid)

SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), (SELECT
pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.adrelid =
a.attrelid AND d.adnum = a.attnum AND a.atthasdef) AS "DEFAULT", a.attnotnull, a.attrelid,
pgd.description FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_description pgd ON
(pgd.objoid = a.attrelid AND pgd.objsubid = a.attnum) WHERE a.attrelid =
'shop.customers'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum

SELECT r.conname, pg_catalog.pg_get_constraintdef(r.oid, true), n.nspname FROM
pg_catalog.pg_constraint r, pg_namespace n, pg_class c WHERE r.conrelid = 'shop.orders'::regclass
AND r.contype = 'f' AND c.oid = confrelid AND n.oid = c.relnamespace ORDER BY 1

SELECT i.relname, ix.indisunique, ix.indexprs, a.attname, ix.indkey::varchar,
pg_get_expr(ix.indpred, ix.indrelid) FROM pg_class t JOIN pg_index ix ON t.oid = ix.indrelid JOIN
pg_class i ON i.oid = ix.indexrelid LEFT JOIN pg_attribute a ON t.oid = a.attrelid AND a.attnum =
ANY (ix.indkey) WHERE t.relname = 'customers'

SELECT n.nspname, t.typname, e.enumlabel FROM pg_catalog.pg_type t LEFT JOIN
pg_catalog.pg_namespace n ON n.oid = t.typnamespace JOIN pg_catalog.pg_enum e ON t.oid =
e.enumtypid

SELECT c.relname, CASE WHEN c.relispartition THEN 'p' WHEN c.relkind IN ('m', 'v') THEN 'v' ELSE
't' END, obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_class c LEFT JOIN
pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('f', 'm', 'p', 'r', 'v')
AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND pg_catalog.pg_table_is_visible(c.oid)

SELECT a.attname AS column_name, NOT (a.attnotnull OR (t.typtype = 'd' AND t.typnotnull)) AS
is_nullable, pg_get_expr(ad.adbin, ad.adrelid) AS column_default, CASE WHEN collname = 'default'
THEN NULL ELSE collname END AS collation FROM pg_attribute a LEFT JOIN pg_attrdef ad ON a.attrelid
= ad.adrelid AND a.attnum = ad.adnum LEFT JOIN pg_collation co ON a.attcollation = co.oid JOIN
pg_type t ON a.atttypid = t.oid JOIN pg_class c ON a.attrelid = c.oid WHERE c.relname =
'customers' AND a.attnum > 0 AND NOT a.attisdropped

SELECT t.oid, t.typname, t.typelem, t.typdelim, t.typinput, r.rngsubtype, t.typtype, t.typbasetype
FROM pg_type as t LEFT JOIN pg_range as r ON oid = rngtypid WHERE t.typname IN ('int4', 'text',
'bool')

SELECT a.attnum, a.attname FROM (SELECT indrelid, indkey, generate_subscripts(indkey, 1) idx FROM
pg_index WHERE indrelid = '"customers"'::regclass AND indisprimary) i JOIN pg_attribute a ON
a.attrelid = i.indrelid AND a.attnum = i.indkey[i.idx] ORDER BY i.idx

SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, c.relname AS TABLE_NAME, CASE n.nspname ~
'^pg_' OR n.nspname = 'information_schema' WHEN true THEN 'SYSTEM TABLE' WHEN false THEN CASE
c.relkind WHEN 'r' THEN 'TABLE' WHEN 'v' THEN 'VIEW' ELSE NULL END ELSE NULL END AS TABLE_TYPE,
d.description AS REMARKS FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c LEFT JOIN
pg_catalog.pg_description d ON (c.oid = d.objoid AND d.objsubid = 0 AND d.classoid =
'pg_class'::regclass) WHERE c.relnamespace = n.oid AND c.relname LIKE 'cust%' ORDER BY TABLE_TYPE,
TABLE_SCHEM, TABLE_NAME

SELECT * FROM (SELECT n.nspname, c.relname, a.attname, a.atttypid, a.attnotnull OR (t.typtype =
'd' AND t.typnotnull) AS attnotnull, a.atttypmod, a.attlen, t.typtypmod, row_number() OVER
(PARTITION BY a.attrelid ORDER BY a.attnum) AS attnum, nullif(a.attidentity, '') AS attidentity,
pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS adsrc, dsc.description, t.typbasetype, t.typtype
FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON (c.relnamespace = n.oid) JOIN
pg_catalog.pg_attribute a ON (a.attrelid = c.oid) JOIN pg_catalog.pg_type t ON (a.atttypid =
t.oid) LEFT JOIN pg_catalog.pg_attrdef def ON (a.attrelid = def.adrelid AND a.attnum = def.adnum)
LEFT JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid) WHERE
c.relkind IN ('r', 'p', 'v', 'f', 'm') AND a.attnum > 0 AND NOT a.attisdropped AND c.relname LIKE
'customers') c WHERE true ORDER BY nspname, c.relname, attnum

SELECT result.TABLE_CAT, result.COLUMN_NAME, result.KEY_SEQ FROM (SELECT NULL AS TABLE_CAT,
a.attname AS COLUMN_NAME, (information_schema._pg_expandarray(i.indkey)).n AS KEY_SEQ,
information_schema._pg_expandarray(i.indkey) AS KEYS, a.attnum AS A_ATTNUM FROM
pg_catalog.pg_class ct JOIN pg_catalog.pg_attribute a ON (ct.oid = a.attrelid) JOIN
pg_catalog.pg_index i ON (a.attrelid = i.indrelid) WHERE ct.relname = 'customers' AND
i.indisprimary) result WHERE result.A_ATTNUM = (result.KEYS).x ORDER BY result.KEY_SEQ

SELECT nspname AS TABLE_SCHEM, current_database() AS TABLE_CATALOG FROM pg_catalog.pg_namespace
WHERE nspname <> 'pg_toast' AND (nspname !~ '^pg_temp_' OR nspname =
(pg_catalog.current_schemas(true))[1]) ORDER BY TABLE_SCHEM

SELECT typinput = 'pg_catalog.array_in'::regproc AS is_array, typtype, typname, pg_type.oid FROM
pg_catalog.pg_type LEFT JOIN (SELECT ns.oid AS nspoid, ns.nspname, r.r FROM pg_namespace AS ns
JOIN (SELECT s.r, (current_schemas(false))[s.r] AS nspname FROM generate_series(1,
array_upper(current_schemas(false), 1)) AS s(r)) AS r USING (nspname)) AS sp ON sp.nspoid =
typnamespace WHERE typname = 'text' ORDER BY sp.r, pg_type.oid DESC

SELECT ns.nspname, t.oid, t.typname, t.typtype, t.typnotnull, t.elemtypoid FROM (SELECT typ.oid,
typ.typnamespace, typ.typname, typ.typtype, typ.typrelid, typ.typnotnull, typ.relkind, elemtyp.oid
AS elemtypoid FROM (SELECT t.oid, typnamespace, typname, typrelid, typnotnull, relkind, typelem AS
elemoid, CASE WHEN proc.proname = 'array_recv' THEN 'a' ELSE typtype END AS typtype FROM pg_type
AS t LEFT JOIN pg_class AS cls ON (cls.oid = typrelid) LEFT JOIN pg_proc AS proc ON proc.oid =
typreceive) AS typ LEFT JOIN pg_type AS elemtyp ON elemtyp.oid = elemoid) AS t JOIN pg_namespace
AS ns ON (ns.oid = typnamespace) LIMIT 20

WITH RECURSIVE typeinfo_tree(oid, ns, name, kind, basetype, depth) AS (SELECT t.oid, n.nspname,
t.typname, t.typtype, t.typbasetype, 0 FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON
n.oid = t.typnamespace WHERE t.oid = ANY (ARRAY[25]::oid[]) UNION ALL SELECT t.oid, n.nspname,
t.typname, t.typtype, t.typbasetype, 1 FROM pg_catalog.pg_type t JOIN
pg_catalog.pg_namespace n ON n.oid = t.typnamespace, typeinfo_tree tt WHERE tt.basetype = t.oid)
SELECT DISTINCT *, basetype::regtype::text FROM typeinfo_tree ORDER BY depth DESC

SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema =
'shop'

SELECT column_name, data_type, udt_name, is_nullable, column_default, character_maximum_length
FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = 'customers' ORDER BY
ordinal_position

SELECT kcu.column_name, ccu.table_name FROM information_schema.table_constraints tc JOIN
information_schema.key_column_usage kcu ON tc.constraint_name = kcu.constraint_name JOIN
information_schema.constraint_column_usage ccu
ON ccu.constraint_name = tc.constraint_name WHERE
tc.constraint_type = 'FOREIGN KEY'

SELECT routine_name, routine_definition FROM information_schema.routines WHERE routine_schema =
'shop'

SELECT view_definition FROM information_schema.views WHERE table_name = 'renamed'

SELECT schemaname, relname, n_live_tup, last_analyze FROM pg_stat_user_tables

SELECT indexrelname, idx_scan FROM pg_stat_user_indexes WHERE relname = 'customers'

SELECT * FROM pg_locks WHERE NOT granted

SELECT datname, pg_size_pretty(pg_database_size(datname)) FROM pg_database WHERE datallowconn

SELECT name, setting FROM pg_settings WHERE name LIKE 'max_%'

SELECT extname, extversion FROM pg_extension

SELECT rolname, rolsuper, rolcanlogin FROM pg_roles

SELECT inhrelid::regclass, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits JOIN pg_class c ON
c.oid = inhrelid

SELECT has_table_privilege('shop.customers', 'select')

SELECT pg_try_advisory_lock(7), pg_advisory_unlock(7)
""")
"""Of the catalogue. None of it holds values of the column."""

SESSION: Final = _texts("""
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED

SET extra_float_digits = 3

SET application_name = 'PostgreSQL JDBC Driver'

SET DateStyle = 'ISO'

SET client_min_messages TO warning

SET standard_conforming_strings = on

SET TIME ZONE 'UTC'

SET statement_timeout TO '30s'

SET search_path TO shop, public

SET NAMES 'UTF8'

SHOW max_identifier_length

SHOW TRANSACTION ISOLATION LEVEL

SAVEPOINT sa_savepoint_1

SELECT 1

ROLLBACK TO SAVEPOINT sa_savepoint_1

RELEASE SAVEPOINT sa_savepoint_1
""")
"""Of the session, in this order, in a transaction."""
