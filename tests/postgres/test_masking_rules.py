"""Tests for `hoopgw_postgres.masking_rules`: each rule by itself, with what it says.

That the rules together hold is shown on real servers: `tests.adversarial.test_masking_vectors`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hoopgw_postgres.analysis import Analyser
from hoopgw_postgres.functions import FUNCTIONS
from hoopgw_postgres.masked import Attribute, MaskedRelation, MaskedSet
from hoopgw_postgres.masking import ColumnMask
from hoopgw_postgres.masking_rules import (
    ByIndex,
    ByOrigin,
    MaskRule,
    Refused,
    Untouched,
    judge_facts,
)

ANALYSER = Analyser()


def attributes(*names: str) -> tuple[Attribute, ...]:
    """Return columns, numbered from 1."""
    return tuple(
        Attribute(number, name, 25, -1, True, name == "made")
        for number, name in enumerate(names, 1)
    )


CUSTOMERS = MaskedRelation(
    oid=1,
    schema="shop",
    name="customers",
    attributes=attributes("id", "name", "ssn", "made", "phone"),
    masks={3: ColumnMask("last4"), 4: ColumnMask("null")},
)
OLD = MaskedRelation(
    oid=2,
    schema="old",
    name="customers",
    attributes=attributes("ssn", "id"),
    masks={1: ColumnMask("redact")},
)
OPAQUE = MaskedRelation(
    oid=3, schema="shop", name="opaque", attributes=attributes("x"), masks={}, opaque=True
)
SECRETS = MaskedRelation(
    oid=4,
    schema="shop",
    name="secrets",
    attributes=attributes("id", "key"),
    masks={2: ColumnMask("null")},
    hidden=frozenset({2}),
)
MASKED = MaskedSet(
    relations={"customers": (CUSTOMERS,), "opaque": (OPAQUE,), "secrets": (SECRETS,)},
    shadowed=frozenset({"lower"}),
    operators=frozenset({"@#@"}),
    row_functions=frozenset({"payer"}),
)
TWO = MaskedSet(relations={"customers": (CUSTOMERS, OLD)})


def judge(text: str, masked: MaskedSet = MASKED) -> MaskRule:
    """Judge a text."""
    facts = ANALYSER.facts(text.encode())
    assert facts.understood, (text, facts.error)
    return judge_facts(facts, masked)


class RuleTestCase(SynchronousTestCase):
    """With shorter ways to say what is expected."""

    def assert_refused(self, text: str, reason: str, masked: MaskedSet = MASKED) -> None:
        rule = judge(text, masked)
        assert isinstance(rule, Refused), text
        self.assertIn(reason, rule.reason, text)

    def assert_passes(self, text: str, rule: type[MaskRule], masked: MaskedSet = MASKED) -> None:
        judged = judge(text, masked)
        self.assertTrue(isinstance(judged, rule), f"{text}: {judged}")


class SessionTests(RuleTestCase):
    """What holds for every statement of a session with masks."""

    def test_kinds_of_statements(self) -> None:
        for text in (
            "DO 'begin end'",
            "CALL p()",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'select 1'",
            "CREATE TRIGGER t BEFORE INSERT ON a EXECUTE FUNCTION f()",
            "CREATE RULE r AS ON INSERT TO a DO NOTHING",
            "CREATE AGGREGATE a (int) (sfunc = f, stype = int)",
            "CREATE CAST (int AS text) WITH FUNCTION f(int)",
            "CREATE TYPE t AS (a int)",
            "CREATE TYPE t AS RANGE (subtype = int)",
            "CREATE POLICY p ON a",
            "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f()",
            "LOAD 'x'",
            "ALTER SYSTEM SET a = 1",
            "ALTER ROLE a SET b = 1",
            "ALTER DATABASE a SET b = 1",
            "CREATE SERVER s FOREIGN DATA WRAPPER w",
            "CREATE FOREIGN TABLE f (a int) SERVER s",
            "IMPORT FOREIGN SCHEMA a FROM SERVER s INTO b",
            "CREATE EXTENSION dblink",
            "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p",
            "CREATE PUBLICATION p FOR ALL TABLES",
            "SECURITY LABEL ON TABLE a IS 'x'",
            "ALTER FUNCTION f() SECURITY DEFINER",
            "PREPARE TRANSACTION 'x'",
            "COMMIT PREPARED 'x'",
        ):
            self.assert_refused(text, "not possible where columns are masked")
        for text in (
            "ALTER FUNCTION f() RENAME TO lower",
            "ALTER VIEW v RENAME TO w",
            "ALTER FUNCTION f() SET SCHEMA pg_temp",
        ):
            self.assert_refused(text, "cannot be changed")
        self.assert_refused("CREATE TABLE t AS EXECUTE p", "CREATE TABLE AS EXECUTE")
        self.assert_refused("COPY t TO PROGRAM 'sh'", "file or program")
        self.assert_refused("COPY t FROM '/etc/passwd'", "file or program")

    def test_settings(self) -> None:
        for text in (
            "SET ROLE x",
            "RESET ROLE",
            "SET SESSION AUTHORIZATION x",
            "SET debug_print_parse = on",
            "SELECT set_config('role', 'x', false)",
            "SELECT set_config(name, 'x', false) FROM t",
        ):
            self.assert_refused(text, "cannot be set")
        self.assert_passes("SET work_mem = '8MB'", Untouched)

    def test_functions(self) -> None:
        for text in (
            "SELECT f(1)",
            "SELECT shop.upper('x')",
            "SELECT pg_read_file('x')",
            "SELECT query_to_xml('x', true, true, '')",
            "SELECT ts_stat('x')",
            "SELECT lo_get(1)",
            "SELECT pg_notify('a', 'b')",
            "SELECT dblink('a', 'b')",
            "SELECT lower('X')",  # somebody has one of their own
            "SELECT pg_terminate_backend(1)",
            "CREATE TABLE t (a text DEFAULT f())",
        ):
            self.assert_refused(text, "not known to be harmless")
        for text in (
            "SELECT pg_catalog.lower('X'), upper('x'), count(*), now(), random()",
            "SELECT information_schema._pg_expandarray(ARRAY[1])",
            "SELECT extract(day FROM now()), substring('a' FROM 1), trim('a'), current_user",
        ):
            self.assert_passes(text, Untouched)
        self.assertGreater(len(FUNCTIONS), 2000)
        self.assertTrue(
            FUNCTIONS.isdisjoint(
                {"pg_read_file", "lo_get", "ts_stat", "table_to_xml", "pg_stat_get_activity"}
            )
        )

    def test_operators(self) -> None:
        self.assert_refused("SELECT 1 OPERATOR(shop.+) 2", "operators of schema shop")
        self.assert_refused("SELECT @#@ 2", "operator @#@")
        self.assert_passes("SELECT 1 OPERATOR(pg_catalog.+) 2", Untouched)

    def test_catalogues_with_values(self) -> None:
        for text in (
            "SELECT * FROM pg_stats",
            "SELECT * FROM pg_catalog.pg_statistic",
            "SELECT query FROM pg_stat_activity",
            "SELECT * FROM pg_toast.pg_toast_16401",
            "COPY pg_largeobject TO STDOUT",
            "EXPLAIN SELECT * FROM pg_stats_ext",
        ):
            self.assert_refused(text, "may hold values")
        self.assert_passes("SELECT * FROM pg_class, pg_statistic_ext", Untouched)


class TouchTests(RuleTestCase):
    """What holds for a statement that names a relation with masked columns."""

    def test_as_output_it_may_stand(self) -> None:
        for text in (
            "SELECT ssn FROM customers",
            "SELECT * FROM shop.customers WHERE id = 1 ORDER BY name",
            "SELECT c.ssn AS x FROM anywhere.customers c",
            "DELETE FROM customers WHERE id = 1 RETURNING *",
            "UPDATE customers SET ssn = 'x' WHERE id = 1 RETURNING ssn",
            "EXPLAIN SELECT ssn FROM customers",
            "PREPARE p AS SELECT ssn FROM customers",
            "COPY customers FROM STDIN",
            "SELECT id FROM customers ORDER BY 1",
            "SELECT ssn, id FROM customers ORDER BY 2",
            "SELECT DISTINCT id FROM customers",
            "SELECT tableoid, ctid, c.xmin, ssn FROM customers c",
            "DROP TABLE customers",
            "GRANT SELECT ON customers TO x",
            "LOCK customers",
            "CREATE TABLE t AS SELECT id FROM customers",
        ):
            self.assert_passes(text, ByOrigin)

    def test_elsewhere_not(self) -> None:
        self.assert_refused("SELECT 1 FROM customers WHERE ssn = 'x'", '"ssn" is masked')
        self.assert_refused("SELECT 1 FROM a, customers WHERE a.ssn = 'x'", '"ssn" is masked')
        self.assert_refused("SELECT ssn AS n FROM customers ORDER BY n", '"n" is masked')
        self.assert_refused("SELECT upper(made) FROM customers", '"made" is masked')
        self.assert_refused("SELECT c FROM customers c", 'whole row of "c"')
        self.assert_refused("SELECT customers FROM customers", "whole row")
        self.assert_refused("SELECT ROW(c.*) FROM customers c", "whole row")
        self.assert_refused("SELECT c.to_json FROM customers c", "is no column")
        self.assert_refused("INSERT INTO t SELECT * FROM customers", "a star below")
        self.assert_refused("SELECT * FROM customers NATURAL JOIN t", "NATURAL JOIN")
        self.assert_refused("SELECT a FROM customers AS c (a, b)", "column aliases")
        self.assert_refused("SELECT 1 FROM (customers CROSS JOIN t) AS j", "column aliases")
        self.assert_refused("SELECT DISTINCT ssn FROM customers", "DISTINCT")
        self.assert_refused("SELECT DISTINCT * FROM customers", "DISTINCT")
        self.assert_refused("SELECT id, ssn FROM customers ORDER BY 2", "position 2")
        self.assert_refused("SELECT *, id FROM customers ORDER BY 2", "position 2")
        self.assert_refused("CREATE VIEW v AS SELECT id FROM customers", "a view")
        self.assert_refused("ALTER TABLE customers ADD x int", "cannot be changed")
        self.assert_refused("CREATE TABLE x () INHERITS (customers)", "cannot be changed")
        self.assert_refused("CLUSTER customers", "CLUSTER")

    def test_relations_that_cannot_be_followed(self) -> None:
        self.assert_refused("SELECT 1 FROM opaque", "computes its rows")
        self.assert_refused("INSERT INTO opaque VALUES (1)", "computes its rows")
        self.assert_passes("DROP VIEW opaque", ByOrigin)

    def test_catalogues_with_columns_of_that_sort(self) -> None:
        """Tools ask for the other columns of pg_subscription."""
        for text in (
            "SELECT subconninfo FROM pg_subscription",
            "TABLE pg_user_mappings",
            "SELECT m.umoptions FROM pg_catalog.pg_user_mappings m",
            "SELECT * FROM pg_subscription",
            "SELECT s.oid FROM pg_subscription s WHERE s.subconninfo LIKE 'h%'",
            "SELECT s FROM pg_subscription s",
            "SELECT pg_subscription::text FROM pg_subscription",
            "SELECT row_to_json(s.*) FROM pg_subscription s",
            "SELECT a FROM pg_subscription AS s(a, b, c)",
            "SELECT x.d FROM (SELECT * FROM pg_subscription) AS x(a, b, c, d)",
            "SELECT j.subname FROM (pg_subscription CROSS JOIN t) AS j",
        ):
            self.assert_refused(text, "holds credentials")
        text = "SELECT count(*), max(s.subname) FROM pg_subscription s WHERE subdbid = 1"
        self.assert_passes(text, Untouched)
        self.assert_passes("SELECT srvname, usename FROM pg_user_mappings", Untouched)

    def test_functions_of_rows(self) -> None:
        """A function can be written as if it were a column, of whatever relation."""
        for text in (
            "SELECT o.payer FROM orders o",
            "SELECT shop.orders.payer FROM shop.orders",
            "SELECT 1 FROM orders o WHERE o.payer > 'a'",
            "SELECT (o).payer FROM orders o",
            "UPDATE orders o SET item = o.payer",
        ):
            self.assert_refused(text, "function of a row")
        self.assert_passes("SELECT payer, o.item FROM orders o", Untouched)

    def test_hidden_columns(self) -> None:
        self.assert_refused("SELECT key FROM secrets", "does not show you")
        self.assert_refused("SELECT * FROM secrets", "does not show you: key")
        self.assert_refused("COPY secrets TO STDOUT", "does not show you")
        self.assert_passes("SELECT id FROM secrets", ByOrigin)
        self.assert_passes("COPY secrets (id) TO STDOUT", ByOrigin)

    def test_a_cte_of_the_same_name_is_another(self) -> None:
        self.assert_passes(
            "WITH customers AS (SELECT 1 AS ssn) SELECT ssn + 1 FROM customers", Untouched
        )

    def test_texts_of_several_statements(self) -> None:
        self.assert_refused("SELECT 1; SELECT upper(ssn) FROM customers", '"ssn" is masked')
        self.assert_passes("SELECT 1; SELECT ssn FROM customers", ByOrigin)
        self.assert_passes("SELECT 1; SELECT 2", Untouched)
        self.assert_refused("SELECT 1; COPY customers TO STDOUT", "cannot share")


class CopyTests(RuleTestCase):
    """Where masked columns stand in the rows of a COPY."""

    def indexes(self, text: str, masked: MaskedSet = MASKED) -> tuple[int, dict[int, str]]:
        rule = judge(text, masked)
        assert isinstance(rule, ByIndex), f"{text}: {rule}"
        return rule.count, {i: mask.kind for i, (_, mask) in rule.masks.items()}

    def test_relations(self) -> None:
        self.assertEqual(self.indexes("COPY customers TO STDOUT"), (4, {2: "last4"}))
        self.assertEqual(self.indexes("COPY customers (ssn, id) TO STDOUT"), (2, {0: "last4"}))
        self.assertEqual(
            self.indexes("COPY customers (made, ssn) TO STDOUT (FORMAT csv, HEADER)"),
            (2, {0: "null", 1: "last4"}),
        )
        self.assert_passes("COPY customers (id, name) TO STDOUT", ByOrigin)
        self.assert_refused("COPY customers (nothing) TO STDOUT", "no such columns")
        self.assertEqual(self.indexes("COPY old.customers TO STDOUT", TWO), (2, {0: "redact"}))
        self.assert_refused("COPY customers TO STDOUT", "one of several", TWO)

    def test_queries(self) -> None:
        self.assertEqual(
            self.indexes("COPY (SELECT id, ssn FROM customers) TO STDOUT"), (2, {1: "last4"})
        )
        self.assertEqual(
            self.indexes("COPY (DELETE FROM customers RETURNING ssn AS x) TO STDOUT"),
            (1, {0: "last4"}),
        )
        self.assert_passes("COPY (SELECT id FROM customers) TO STDOUT", ByOrigin)
        self.assert_passes("COPY (SELECT * FROM orders) TO STDOUT (DELIMITER ';')", Untouched)
        self.assert_refused("COPY (SELECT * FROM customers) TO STDOUT", "a star")
        self.assert_refused("COPY (SELECT ssn FROM customers) TO STDOUT", "one of several", TWO)
        self.assert_refused("COPY (SELECT ssn || '' FROM customers) TO STDOUT", "masked")

    def test_options(self) -> None:
        for options in ("DELIMITER ';'", "FORMAT csv, QUOTE '~'", "NULL 'x'", "ENCODING 'latin1'"):
            self.assert_refused(f"COPY customers TO STDOUT ({options})", "only with FORMAT")
        self.assert_refused("COPY customers TO STDOUT (FORMAT parquet)", "no format")
