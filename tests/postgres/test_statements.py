"""Tests for `hoopgw_postgres.analysis`: facts of statements."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_postgres.analysis import Analyser, UnknownNodeError, Walk
from hoopgw_postgres.kinds import KINDS, load_nodes
from hoopgw_postgres.statements import Facts, Setting, Statement, decode, encode

ANALYSER = Analyser()


def one(text: str) -> Statement:
    """Return the facts of a text of one statement."""
    facts = ANALYSER.facts(text.encode())
    assert not facts.error, facts.error
    (statement,) = facts.statements
    return statement


def roles(text: str) -> set[str]:
    """Return ``role name`` of each relation in a statement."""
    return {f"{relation.role} {relation.written}" for relation in one(text).relations}


class KindTests(SynchronousTestCase):
    """Which action a statement is."""

    def test_each_kind(self) -> None:
        for text, kind in {
            "SELECT 1": "select",
            "TABLE t": "select",
            "VALUES (1)": "select",
            "INSERT INTO t VALUES (1)": "insert",
            "UPDATE t SET a = 1": "update",
            "DELETE FROM t": "delete",
            "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE": "merge",
            "TRUNCATE t": "truncate",
            "COPY t TO STDOUT": "copy_out",
            "COPY t FROM STDIN": "copy_in",
            "SET x TO 1": "set",
            "SET CONSTRAINTS ALL DEFERRED": "set",
            "SHOW x": "show",
            "EXPLAIN SELECT 1": "explain",
            "BEGIN": "transaction",
            "PREPARE p AS SELECT 1": "prepare",
            "EXECUTE p": "execute",
            "DEALLOCATE p": "deallocate",
            "DECLARE c CURSOR FOR SELECT 1": "declare",
            "FETCH c": "fetch",
            "MOVE c": "fetch",
            "CLOSE c": "close",
            "LISTEN x": "listen",
            "UNLISTEN *": "set",
            "NOTIFY x, 'y'": "notify",
            "LOCK t": "lock",
            "DISCARD ALL": "discard",
            "DO 'begin end'": "do",
            "CALL p()": "call",
            "VACUUM t": "maintenance",
            "ANALYZE t": "maintenance",
            "REINDEX TABLE t": "maintenance",
            "CLUSTER t": "maintenance",
            "CHECKPOINT": "maintenance",
            "REFRESH MATERIALIZED VIEW v": "maintenance",
            "GRANT SELECT ON t TO x": "grant",
            "REVOKE a FROM b": "grant",
            "ALTER TABLE t OWNER TO x": "ddl",
            "CREATE TABLE t (a int)": "ddl",
            "CREATE TABLE t AS SELECT 1": "ddl",
            "CREATE INDEX ON t (a)": "ddl",
            "DROP FUNCTION f": "ddl",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1": "ddl",
            "ALTER SYSTEM SET x = 1": "other",
            "LOAD 'x'": "other",
            "CREATE DATABASE x": "other",
        }.items():
            self.assertEqual(one(text).kind, kind, text)

    def test_what_is_nested_counts(self) -> None:
        self.assertEqual(
            one("WITH gone AS (DELETE FROM a RETURNING *) SELECT * FROM gone").kinds,
            {"select", "delete"},
        )
        self.assertEqual(one("EXPLAIN ANALYZE DELETE FROM a").kinds, {"explain", "delete"})
        self.assertEqual(one("EXPLAIN (ANALYZE on) DELETE FROM a").kinds, {"explain", "delete"})
        self.assertEqual(one("PREPARE p AS UPDATE t SET a = 1").kinds, {"prepare", "update"})
        self.assertEqual(
            one("COPY (DELETE FROM t RETURNING *) TO STDOUT").kinds, {"copy_out", "delete"}
        )
        self.assertEqual(one("CREATE VIEW v AS SELECT 1").kinds, {"ddl", "select"})
        self.assertEqual(one("SELECT 1 INTO t").kinds, {"ddl", "select"})
        self.assertEqual(
            one("INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 1").kinds,
            {"insert", "update", "select"},
        )
        self.assertEqual(
            one("CREATE SCHEMA s CREATE TABLE t (a int) GRANT SELECT ON t TO x").kinds,
            {"ddl", "grant"},
        )

    def test_plain_explain_runs_nothing(self) -> None:
        for text in ("EXPLAIN DELETE FROM a", "EXPLAIN (ANALYZE false, VERBOSE) DELETE FROM a"):
            self.assertEqual(one(text).kinds, {"explain"}, text)
            self.assertEqual(roles(text), {"explain a"}, text)

    def test_every_statement_of_the_grammar_has_a_kind(self) -> None:
        """A statement that a new grammar adds is refused until somebody says what it is."""
        inner = {"RawStmt", "ReturnStmt"}
        statements = {name for name in load_nodes() if name.endswith("Stmt")}
        self.assertEqual(
            statements - inner - {"ReplicaIdentityStmt"}, set(KINDS) - {"ReplicaIdentityStmt"}
        )

    def test_unknown_nodes_are_refused(self) -> None:
        walk = Walk(load_nodes())
        self.assertRaises(UnknownNodeError, walk.statement, "FreshStmt", {})
        odd: dict[str, Any] = {"whereClause": {"FreshExpr": {}}}
        self.assertRaises(UnknownNodeError, Walk(load_nodes()).statement, "SelectStmt", odd)
        odd_field: dict[str, Any] = {"freshClause": []}
        self.assertRaises(UnknownNodeError, Walk(load_nodes()).statement, "SelectStmt", odd_field)

    def test_several(self) -> None:
        facts = ANALYSER.facts(b" SELECT 1;\n drop table x ; ")
        self.assertEqual([s.kind for s in facts.statements], ["select", "ddl"])
        texts = [
            b" SELECT 1;\n drop table x ; "[s.start : s.start + s.length] for s in facts.statements
        ]
        self.assertEqual([text.strip() for text in texts], [b"SELECT 1", b"drop table x"])

    def test_errors(self) -> None:
        facts = ANALYSER.facts(b"SELEC 1")
        self.assertEqual((facts.statements, facts.position), ((), 1))
        self.assertFalse(facts.understood)
        self.assertTrue(ANALYSER.facts(b"-- nothing").understood)

    def test_facts_stay_small(self) -> None:
        """Whoever takes them works for other sessions too."""
        for text in (
            ";".join(["SELECT 1"] * 1001),
            "SELECT " + ",".join(f"c{n}" for n in range(15_000)),
            ";".join("SELECT " + ",".join(f"c{n}" for n in range(m, m + 30)) for m in range(500)),
        ):
            self.assertIn("more than", ANALYSER.facts(text.encode()).error)
        bulk = "INSERT INTO t VALUES " + ",".join("(1, 'x', now())" for _ in range(20_000))
        self.assertTrue(ANALYSER.facts(bulk.encode()).understood)

    @given(st.text(max_size=80))
    def test_nothing_is_raised_and_facts_survive_the_wire(self, text: str) -> None:
        facts = ANALYSER.facts(text.encode("utf-8", "replace"))
        self.assertEqual(decode(encode(facts)), facts)
        self.assertIsInstance(facts, Facts)


class RelationTests(SynchronousTestCase):
    """Which relations a statement touches, and how."""

    def test_roles(self) -> None:
        for text, expected in {
            "SELECT * FROM a, s.b c": {"select a", "select s.b"},
            "SELECT (SELECT 1 FROM a) WHERE EXISTS (TABLE b)": {"select a", "select b"},
            "INSERT INTO a SELECT * FROM b": {"insert a", "select b"},
            "INSERT INTO a VALUES (1) RETURNING *": {"insert a", "select a"},
            "UPDATE a SET x = 1 FROM b": {"update a", "select b"},
            "DELETE FROM a USING b": {"delete a", "select b"},
            "MERGE INTO a USING b ON true WHEN MATCHED THEN UPDATE SET x = 1 "
            "WHEN NOT MATCHED THEN INSERT VALUES (1)": {
                "merge a",
                "update a",
                "insert a",
                "select b",
            },
            "TRUNCATE a, b": {"truncate a", "truncate b"},
            "COPY a TO STDOUT": {"copy_out a"},
            "COPY (SELECT * FROM a) TO STDOUT": {"select a"},
            "COPY a FROM STDIN": {"copy_in a"},
            "LOCK a": {"lock a"},
            "VACUUM a": {"maintenance a"},
            "GRANT SELECT ON a TO x": {"grant a"},
            "CREATE VIEW a AS SELECT * FROM b": {"ddl a", "select b"},
            "CREATE TABLE a AS SELECT * FROM b": {"ddl a", "select b"},
            "SELECT * INTO a FROM b": {"ddl a", "select b"},
            "CREATE TABLE a (x int REFERENCES b, LIKE c) INHERITS (d)": {
                "ddl a",
                "ddl b",
                "ddl c",
                "ddl d",
            },
            "ALTER TABLE s.a ADD x int": {"ddl s.a"},
            "CREATE INDEX ON a (x)": {"ddl a"},
            "DROP TABLE a, s.b": {"ddl a", "ddl s.b"},
            "DROP TRIGGER t ON s.a": {"ddl s.a"},
            "DROP FUNCTION f": set(),
            "COMMENT ON TABLE a IS 'x'": set(),
            "DECLARE c CURSOR FOR SELECT * FROM a FOR UPDATE OF a": {"select a"},
            "SELECT 1 FROM a TABLESAMPLE system (1)": {"select a"},
            "SELECT 1 FROM ROWS FROM (f(1), g(2)) WITH ORDINALITY": set(),
        }.items():
            self.assertEqual(roles(text), expected, text)

    def test_a_cte_is_no_relation_in_its_scope(self) -> None:
        for text, expected in {
            "WITH a AS (SELECT 1) SELECT * FROM a": set(),
            "WITH a AS (SELECT 1) SELECT * FROM s.a": {"select s.a"},
            # Its own body, and what comes before it, do not see it ...
            "WITH a AS (SELECT * FROM a) SELECT * FROM a": {"select a"},
            "WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a, b": {"select b"},
            # ... unless it is recursive.
            "WITH RECURSIVE a AS (SELECT 1 UNION ALL SELECT * FROM a) SELECT * FROM a": set(),
            "WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a": set(),
            "SELECT * FROM (WITH a AS (SELECT 1) SELECT * FROM a) x, a": {"select a"},
            "WITH a AS (SELECT 1) SELECT (SELECT max(x) FROM a)": set(),
            "WITH a AS (SELECT 1) INSERT INTO a SELECT * FROM a": {"insert a"},
            "WITH a AS (SELECT 1) DELETE FROM a": {"delete a"},
            "WITH a AS (SELECT 1) UPDATE b SET x = 1 FROM a": {"update b"},
        }.items():
            self.assertEqual(roles(text), expected, text)

    def test_functions(self) -> None:
        statement = one(
            "SELECT lower(x), s.f(1), count(*), extract(day FROM d), max(a) "
            "OVER (PARTITION BY g(b)) FROM h(1) WHERE k(x) ORDER BY l(y)"
        )
        self.assertEqual(
            statement.functions,
            {
                *(("", name) for name in ("lower", "count", "max", "g", "h", "k", "l")),
                ("s", "f"),
                ("pg_catalog", "extract"),
            },
        )
        self.assertEqual(one("SELECT 1 OPERATOR(evil.+) 2").operator_schemas, {"evil"})
        self.assertEqual(
            one("SELECT x FROM a ORDER BY x USING OPERATOR(evil.<)").operator_schemas, {"evil"}
        )
        self.assertEqual(one("SELECT 1 OPERATOR(evil.=) ANY (SELECT 2)").operator_schemas, {"evil"})

    def test_operators(self) -> None:
        for text, expected in {
            "SELECT 1 + 2 - -3": {"+", "-"},
            "SELECT 1 IN (2)": {"="},
            "SELECT 1 IN (SELECT 2)": {"="},
            "SELECT 1 BETWEEN 2 AND 3": {"<=", ">=", "<", ">", "BETWEEN"},
            "SELECT CASE 1 WHEN 2 THEN 3 END": {"="},
            "SELECT 'a' LIKE 'b'": {"~~"},
            "SELECT NULLIF(1, 2)": {"="},
            "SELECT 1 FROM a JOIN b USING (x)": {"="},
            "SELECT 1 = ANY (ARRAY[1])": {"="},
            "SELECT 1 < ALL (SELECT 1)": {"<"},
        }.items():
            self.assertEqual(one(text).operators, expected, text)

    def test_where(self) -> None:
        self.assertTrue(one("DELETE FROM a WHERE x = 1").has_where)
        self.assertTrue(one("UPDATE a SET x = 1 WHERE CURRENT OF c").has_where)
        self.assertFalse(one("DELETE FROM a").has_where)
        self.assertFalse(one("WITH x AS (UPDATE a SET b = 1) SELECT 1").has_where)
        self.assertTrue(one("SELECT 1").has_where)


class UtilityTests(SynchronousTestCase):
    """What utility statements say."""

    def test_settings(self) -> None:
        for text, expected in {
            "SET a TO 'b'": [Setting("a", "b")],
            "SET LOCAL a.B = 1, 2": [Setting("a.b", "1, 2", local=True)],
            'SET search_path = x, "Y"': [Setting("search_path", "x, Y")],
            "SET x TO DEFAULT": [Setting("x", None)],
            "SET TIME ZONE 'UTC'": [Setting("timezone", "UTC")],
            "SET ROLE x": [Setting("role", "x")],
            "SET SESSION AUTHORIZATION x": [Setting("session_authorization", "x")],
            "SET NAMES 'SJIS'": [Setting("client_encoding", "SJIS")],
            "RESET x": [Setting("x", None)],
            "RESET ALL": [Setting("all", None)],
            "SET TRANSACTION READ ONLY": [Setting("transaction_read_only", "1")],
            "SELECT set_config('A', 'b', true)": [Setting("a", "b", local=True)],
            "SELECT pg_catalog.set_config('a', '', false)": [Setting("a", "")],
            "SELECT set_config('a', x, false) FROM t": [Setting("a", None, computed=True)],
            "SELECT set_config('a', $1, false)": [Setting("a", None, computed=True)],
            "SELECT set_config($1, 'a', false)": [Setting("", "a")],
        }.items():
            settings = [
                s if s.local or s.computed else Setting(s.name, s.value) for s in one(text).settings
            ]
            self.assertEqual(settings, expected, text)

    def test_a_setting_where_the_server_knows_it(self) -> None:
        """As pg_dump has it; nothing else says which setting it is."""
        name = "restrict_nonsystem_relation_kind"
        text = "SELECT set_config(name, 'view', false) FROM {} WHERE {}"
        (setting,) = one(text.format("pg_settings", f"name = '{name}'")).settings
        self.assertEqual((setting.name, setting.value, setting.computed), (name, "view", False))
        inner = "(SELECT set_config(name, 'x', false) FROM t)"
        for other in (
            text.format("pg_settings", "name = 'client_encoding'"),
            text.format("pg_settings", f"name = '{name}' OR true"),
            text.format("pg_settings", f"name = ANY ('{{{name}}}')"),
            text.format("pg_settings", f"name <> '{name}'"),
            text.format("pg_settings", f"setting = '{name}'"),
            text.format("pg_settings, t", f"name = '{name}'"),
            text.format("t", f"name = '{name}'"),
            f"SELECT {inner} FROM pg_settings WHERE name = '{name}'",
        ):
            self.assertEqual([setting.name for setting in one(other).settings], [""], other)

    def test_transactions(self) -> None:
        for text, expected in {
            "BEGIN": "begin",
            "START TRANSACTION READ ONLY": "begin",
            "COMMIT": "commit",
            "END": "commit",
            "ROLLBACK": "rollback",
            "ABORT": "rollback",
            "SAVEPOINT a": "savepoint",
            "RELEASE a": "release",
            "ROLLBACK TO a": "rollback_to",
            "PREPARE TRANSACTION 'a'": "prepare",
            "COMMIT PREPARED 'a'": "commit_prepared",
            "ROLLBACK PREPARED 'a'": "rollback_prepared",
            "SELECT 1": "",
        }.items():
            self.assertEqual(one(text).transaction, expected, text)

    def test_names(self) -> None:
        for text, expected in {
            'PREPARE "P" AS SELECT $1': "P",
            "EXECUTE p(1)": "p",
            "DEALLOCATE p": "p",
            "DEALLOCATE ALL": "",
            "DECLARE c CURSOR FOR SELECT 1": "c",
            "FETCH ALL FROM c": "c",
            "CLOSE c": "c",
            "CLOSE ALL": "",
            "LISTEN x": "x",
            "UNLISTEN *": "",
            "SHOW ALL": "all",
        }.items():
            self.assertEqual(one(text).name, expected, text)
        self.assertEqual(one("SELECT $1, $3").parameters, 3)
        self.assertTrue(one("DECLARE c BINARY CURSOR WITH HOLD FOR SELECT 1").holds)
        self.assertTrue(one("DECLARE c BINARY CURSOR FOR SELECT 1").binary_cursor)

    def test_credentials(self) -> None:
        for text, minted in {
            "ALTER ROLE x PASSWORD 'y'": True,
            "CREATE USER x ENCRYPTED PASSWORD 'y'": True,
            "ALTER ROLE x PASSWORD NULL": False,
            "ALTER ROLE x SUPERUSER": False,
        }.items():
            self.assertEqual(one(text).mints_credentials, minted, text)

    def test_copy(self) -> None:
        copy = one("COPY t (a, \"B\") TO STDOUT (FORMAT csv, HEADER, DELIMITER ';')").copy
        assert copy is not None
        self.assertEqual((copy.into, copy.outside, copy.query), (False, False, False))
        self.assertEqual((copy.columns, copy.format, copy.header), (("a", "B"), "csv", True))
        self.assertEqual(copy.options, {"format", "header", "delimiter"})
        for text in (
            "COPY t FROM '/etc/passwd'",
            "COPY t TO PROGRAM 'sh'",
            "COPY (SELECT 1) TO '/x'",
        ):
            copy = one(text).copy
            assert copy is not None
            self.assertTrue(copy.outside, text)
        copy = one("COPY t FROM STDIN BINARY").copy
        assert copy is not None
        self.assertEqual((copy.into, copy.format), (True, "binary"))
