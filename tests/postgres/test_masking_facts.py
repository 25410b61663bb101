"""Tests for `hoopgw_postgres.analysis`: the facts that masking is judged by."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hoopgw_postgres.statements import Output
from tests.postgres.test_statements import one


class MaskingFactTests(SynchronousTestCase):
    """What masking is judged by."""

    def test_outputs(self) -> None:
        statement = one("SELECT a, c.b AS x, *, c.*, a + 1 AS y FROM c")
        self.assertEqual(
            statement.outputs,
            (
                Output("a"),
                Output("b", "x"),
                Output("", star=True),
                Output("", star=True),
                Output("", "y"),
            ),
        )
        self.assertEqual(statement.mentions, {"a"})
        self.assertEqual(statement.row_stars, frozenset())
        for text in (
            "SELECT (SELECT x FROM (SELECT c.*) x) FROM c",
            "SELECT (SELECT s.c.*) FROM c",
        ):
            self.assertEqual(one(text).row_stars, {"c"}, text)
        self.assertEqual(statement.singles, {"a"})
        self.assertEqual(statement.qualified, {("c", "b")})
        self.assertEqual(one("SELECT (c).a, (f(c.b)).d.e").selected, {"a", "d", "e"})
        self.assertEqual(
            one("DELETE FROM c RETURNING a, *").outputs, (Output("a"), Output("", star=True))
        )
        self.assertEqual(one("EXPLAIN SELECT a FROM c").outputs, (Output("a"),))
        self.assertEqual(one("PREPARE p AS SELECT a FROM c").outputs, (Output("a"),))
        self.assertEqual(one("DECLARE p CURSOR FOR SELECT a FROM c").outputs, (Output("a"),))

    def test_what_goes_into_a_relation_is_no_output(self) -> None:
        for text in (
            "CREATE TABLE t AS SELECT a, c.* FROM c",
            "SELECT a, c.* INTO t FROM c",
            "CREATE VIEW v AS SELECT a, c.* FROM c",
            "INSERT INTO t SELECT a, c.* FROM c",
            "SELECT * FROM (SELECT a, c.* FROM c) t",
            "WITH t AS (SELECT a, c.* FROM c) TABLE t",
            "SELECT 1 UNION SELECT a, c.* FROM c",
            "EXPLAIN ANALYZE CREATE TABLE t AS SELECT a, c.* FROM c",
        ):
            statement = one(text)
            self.assertNotIn(Output("a"), statement.outputs, text)
            self.assertIn("a", statement.mentions, text)
            self.assertIn("c", statement.nested_stars, text)

    def test_mentions(self) -> None:
        for text in (
            "SELECT 1 FROM c WHERE ssn = 'x'",
            "SELECT 1 FROM c ORDER BY ssn",
            "SELECT count(*) FROM c GROUP BY ssn",
            "SELECT 1 FROM c HAVING max(ssn) > ''",
            "SELECT DISTINCT ON (ssn) 1 FROM c",
            "SELECT sum(1) OVER (PARTITION BY ssn) FROM c",
            "SELECT sum(1) OVER w FROM c WINDOW w AS (ORDER BY ssn)",
            "SELECT upper(ssn) FROM c",
            "SELECT ssn || '' FROM c",
            "SELECT ssn::text FROM c",
            "SELECT (c).ssn FROM c",
            "SELECT 1 FROM c JOIN d USING (ssn)",
            "SELECT 1 FROM c JOIN d ON c.ssn = d.x",
            "SELECT 1 FROM c LIMIT (SELECT length(ssn) FROM c)",
            "UPDATE c SET name = ssn",
            "INSERT INTO c (ssn) VALUES ('x') ON CONFLICT (ssn) DO NOTHING",
            "INSERT INTO c VALUES (1) ON CONFLICT (id) DO UPDATE SET name = excluded.ssn",
            "MERGE INTO t USING c ON t.id = c.id WHEN MATCHED AND ssn > '' THEN DELETE",
            "VALUES ((SELECT ssn FROM c))",
            "CREATE INDEX ON c (ssn)",
            "COPY c FROM STDIN WHERE ssn > ''",
            "SELECT ssn[1] FROM c",
            "SELECT CASE WHEN ssn > '' THEN 1 END FROM c",
            "SELECT JSON_OBJECT('a': ssn) FROM c",
            "SELECT 1 FROM c TABLESAMPLE system (length(ssn))",
            "SELECT 1 FROM c, LATERAL f(ssn)",
            "SELECT xmlelement(name x, ssn) FROM c",
            "SELECT JSON_VALUE(ssn, '$') FROM c",
            "CALL p(ssn)",
            "EXECUTE p(ssn)",
        ):
            self.assertIn("ssn", one(text).mentions, text)
        self.assertNotIn("ssn", one("UPDATE c SET ssn = 'x' WHERE id = 1 RETURNING ssn").mentions)
        self.assertNotIn("ssn", one("INSERT INTO c (ssn) VALUES ('x')").mentions)

    def test_whole_rows(self) -> None:
        self.assertEqual(one("SELECT c FROM s.customers c").singles, {"c"})
        self.assertEqual(
            one("SELECT row_to_json(c) FROM customers AS c").aliases, {("c", "customers")}
        )
        self.assertEqual(one("SELECT ROW(c.*) FROM c").row_stars, {"c"})
        self.assertEqual(one("SELECT f(s.c.*) FROM s.c").row_stars, {"c"})
        statement = one("INSERT INTO c VALUES (1) RETURNING WITH (OLD AS o) o, new.x")
        self.assertIn(("o", "c"), statement.aliases)
        self.assertIn(("new", "x"), statement.qualified)

    def test_joins_and_top(self) -> None:
        self.assertTrue(one("SELECT 1 FROM a NATURAL JOIN b").natural_join)
        self.assertTrue(one("SELECT 1 FROM (a CROSS JOIN b) AS j").join_alias)
        self.assertTrue(one("SELECT 1 FROM a JOIN b USING (x) AS j").join_alias)
        self.assertEqual(one("SELECT 1 FROM c AS t(a, b)").renamed, {"c"})
        self.assertTrue(one("SELECT a FROM c UNION SELECT 1").set_operation)
        self.assertTrue(one("SELECT DISTINCT a FROM c").distinct)
        self.assertEqual(one("SELECT a, b FROM c ORDER BY 2 DESC").positions, {2})
        self.assertEqual(one("SELECT a, b FROM c GROUP BY ROLLUP (1, (2))").positions, {1, 2})
        self.assertEqual(one("SELECT DISTINCT ON (1) a FROM c").positions, {1})
