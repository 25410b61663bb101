"""Tests for `hoopgw_postgres.catalog`: the closure of what is classified, on real servers."""

from __future__ import annotations

from typing import Any, ClassVar

import psycopg
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import LinkError
from hoopgw.policy.decision import Hidden, Sight
from hoopgw_postgres.catalog import Row, answer, questions
from hoopgw_postgres.masked import ClassifiedRelation, ClassifiedSet, Key
from hoopgw_postgres.view_trees import TreeError, parse, view_columns
from tests.support import postgres

SSN: Key = ("public", "customers", "ssn")
CITY: Key = ("public", "customers", "city")
SCHEMA = (
    "CREATE DOMAIN number AS varchar(11)",
    "CREATE TABLE customers (id int PRIMARY KEY, gone int, name text, ssn number, city text)",
    "ALTER TABLE customers ADD low text GENERATED ALWAYS AS (lower(ssn)) STORED",
    "ALTER TABLE customers DROP gone",
    "CREATE TABLE vip (level int) INHERITS (customers)",
    "CREATE TABLE orders (id int, customer int, note text)",
    "ALTER TABLE customers ADD UNIQUE (ssn), ADD UNIQUE (city, ssn)",
    "CREATE TABLE calls (id int, who varchar REFERENCES customers (ssn), town text UNIQUE)",
    (
        "CREATE TABLE letters (town text, whose varchar UNIQUE, "
        "FOREIGN KEY (town, whose) REFERENCES customers (city, ssn))"
    ),
    "CREATE TABLE stamps (letter varchar REFERENCES letters (whose), town text)",
    "CREATE VIEW called AS SELECT who FROM calls",
    "CREATE TABLE parts (k int, ssn text, x int) PARTITION BY RANGE (k)",
    "CREATE TABLE parts_1 (x int, ssn text, k int NOT NULL)",
    "ALTER TABLE parts ATTACH PARTITION parts_1 FOR VALUES FROM (0) TO (10)",
    "CREATE VIEW renamed AS SELECT city AS ssn, ssn AS city, id FROM customers",
    "CREATE VIEW on_it AS SELECT r.city AS number FROM renamed r WHERE id > 0",
    "CREATE VIEW on_it_clean AS SELECT r.id FROM renamed r",
    "CREATE VIEW clean AS SELECT id, name FROM customers",
    "CREATE VIEW joined AS SELECT o.note, c.ssn FROM orders o JOIN customers c USING (id)",
    "CREATE VIEW whole AS SELECT c.id, row_to_json(c) AS j FROM customers c",
    "CREATE VIEW used AS SELECT id FROM customers WHERE ssn LIKE '1%'",
    "CREATE VIEW sorted AS SELECT id, ssn FROM customers ORDER BY ssn",
    "CREATE VIEW grouped AS SELECT ssn, count(*) FROM customers GROUP BY ssn",
    "CREATE VIEW changed AS SELECT upper(ssn) AS u FROM customers",
    "CREATE VIEW nested AS SELECT * FROM (SELECT id, ssn FROM customers) x",
    "CREATE VIEW either AS SELECT ssn FROM customers UNION SELECT note FROM orders",
    "CREATE VIEW merged AS SELECT * FROM customers JOIN (SELECT id FROM orders) o USING (id)",
    "CREATE VIEW on_opaque AS SELECT u FROM changed",
    "CREATE MATERIALIZED VIEW kept AS SELECT id, ssn FROM customers",
    "CREATE TABLE log (t text)",
    "CREATE RULE r AS ON INSERT TO log DO ALSO INSERT INTO orders (note) SELECT ssn FROM customers",
    "CREATE FUNCTION lower(int) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
    "CREATE OPERATOR @#@ (rightarg = int, function = lower)",
    "CREATE FUNCTION unlike_any(int) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
    "CREATE FUNCTION harmless(int) RETURNS text LANGUAGE sql AS 'SELECT lpad($1::text, 3)'",
    (
        "CREATE FUNCTION reads(int) RETURNS text LANGUAGE sql "
        "AS 'SELECT ssn::text FROM Customers WHERE id = $1'"
    ),
    ("CREATE FUNCTION around(int) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN Reads($1); END'"),
    (
        "CREATE FUNCTION atomic(int) RETURNS text LANGUAGE sql "
        "BEGIN ATOMIC SELECT ssn::text FROM customers WHERE id = $1; END"
    ),
    (
        "CREATE FUNCTION dynamic(text) RETURNS text LANGUAGE plpgsql "
        "AS 'DECLARE x text; BEGIN EXECUTE $1 INTO x; RETURN x; END'"
    ),
    "CREATE FUNCTION of_row(orders) RETURNS text LANGUAGE sql AS 'SELECT around($1.customer)'",
    "CREATE FUNCTION of_any(anyelement, int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION of_two(orders, int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OPERATOR ### (rightarg = int, function = reads)",
    "CREATE VIEW by_code AS SELECT id, reads(customer) AS ssn FROM orders",
    "CREATE VIEW by_code_around AS SELECT id FROM orders WHERE around(id) > ''",
    "CREATE VIEW by_code_atomic AS SELECT atomic(id) FROM orders",
    "CREATE VIEW by_text AS SELECT dynamic(note) FROM orders",
    "CREATE VIEW by_operator AS SELECT ### id FROM orders",
    "CREATE VIEW by_row AS SELECT o.of_row FROM orders o",
    "CREATE VIEW on_code AS SELECT id FROM by_code",
    "CREATE VIEW by_harmless AS SELECT harmless(id) FROM orders",
)
CODE = (
    "by_code",
    "by_code_around",
    "by_code_atomic",
    "by_text",
    "by_operator",
    "by_row",
    "on_code",
)


def ask(connection: psycopg.Connection[Any], keys: list[Key]) -> list[list[Row]]:
    """Ask as the gateway does: one simple query, several results, all in text."""
    cursor = connection.cursor()
    cursor.execute(b";".join(questions(keys)))
    results: list[list[Row]] = []
    while True:
        result = cursor.pgresult
        assert result is not None
        results.append(
            [
                [result.get_value(row, column) for column in range(result.nfields)]
                for row in range(result.ntuples)
            ]
        )
        if not cursor.nextset():
            return results


class CatalogTests(SynchronousTestCase):
    """On PostgreSQL 18; `Catalog15Tests` and `Catalog17Tests` run the same."""

    version: ClassVar[postgres.Version] = 18
    found: ClassVar[ClassifiedSet]
    database: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        """Make a database, and ask once."""
        server = postgres.shared.get(cls.version)
        cls.database = server.new_database(*SCHEMA)
        cls.addClassCleanup(server.drop_database, cls.database)
        with server.connect(cls.database) as connection:
            cls.found = answer(ask(connection, [SSN, ("public", "parts_1", "ssn")]))

    def relation(self, name: str) -> ClassifiedRelation:
        """Return a relation of those found."""
        (relation,) = (r for r in self.found.relations if r.name == name)
        return relation

    def columns(self, name: str) -> set[str]:
        """Return the names of a relation's classified columns."""
        relation = self.relation(name)
        return {a.name for a in relation.attributes if a.number in relation.classified}

    def test_which_relations(self) -> None:
        self.assertEqual(
            {r.name for r in self.found.relations},
            {
                *("customers", "vip", "parts", "parts_1", "renamed", "on_it", "joined", "whole"),
                *("used", "sorted", "grouped", "changed", "nested", "either", "merged"),
                *("on_opaque", "kept", "log"),
                *CODE,
                *("calls", "letters", "stamps", "called"),
            },
        )

    def test_the_table(self) -> None:
        table = self.relation("customers")
        self.assertEqual(
            [(a.number, a.name) for a in table.attributes],
            [(1, "id"), (3, "name"), (4, "ssn"), (5, "city"), (6, "low")],
        )
        self.assertEqual(table.classified, {4: {SSN}, 6: {SSN}})
        self.assertEqual(table.derived, {6})
        ssn = table.attributes[2]
        self.assertEqual((ssn.type, ssn.typmod, ssn.text, ssn.generated), (1043, 15, True, False))
        self.assertTrue(table.attributes[4].generated)

    def test_inheritance_both_ways_by_name(self) -> None:
        self.assertEqual(self.columns("vip"), {"ssn", "low"})
        self.assertEqual(self.relation("parts").classified, {2: {("public", "parts_1", "ssn")}})
        self.assertEqual(self.columns("parts_1"), {"ssn"})

    def test_foreign_keys(self) -> None:
        """What refers to the column holds its values; what else it refers to does not."""
        for name, expected in {
            "calls": {"who"},
            "letters": {"whose"},
            "stamps": {"letter"},
            "called": {"who"},
        }.items():
            self.assertEqual(self.columns(name), expected, name)

    def test_views_that_show_it_as_it_is(self) -> None:
        for name, expected in {
            "renamed": {"city"},
            "on_it": {"number"},
            "joined": {"ssn"},
            "kept": {"ssn"},
            "merged": {"ssn", "low"},
        }.items():
            self.assertEqual(self.columns(name), expected, name)
            self.assertEqual(self.relation(name).opaque, frozenset(), name)

    def test_views_that_use_it_are_opaque(self) -> None:
        for name in (
            *("whole", "used", "sorted", "grouped", "changed", "nested", "either"),
            *("on_opaque", "log"),
            *CODE,
        ):
            self.assertIn(SSN, self.relation(name).opaque, name)

    def test_what_calls_code_of_somebody_s_own(self) -> None:
        self.assertEqual(self.found.shadowed, {"lower"})
        self.assertEqual(self.found.operators, {"@#@", "###"})
        self.assertEqual(self.found.row_functions, {"of_row", "of_any"})

    def test_a_column_that_is_not_there(self) -> None:
        with postgres.shared.get(self.version).connect(self.database) as connection:
            for key in (
                ("public", "customers", "phone"),
                ("public", "nothing", "ssn"),
                ("nowhere", "customers", "ssn"),
                ("public", "customers", "gone"),
                ("public", "customers", "ctid"),
                ("public", "customers", "x'; DROP TABLE orders; --"),
            ):
                error = self.assertRaises(LinkError, answer, ask(connection, [SSN, key]))
                self.assertIn("do not exist", str(error))

    def test_what_a_principal_sees(self) -> None:
        with postgres.shared.get(self.version).connect(self.database) as connection:
            found = answer(ask(connection, [SSN, CITY]))
        clear = found.seen({SSN: Sight(mask=None), CITY: Sight(mask=None)})
        self.assertFalse(clear)
        some = found.seen({SSN: Sight(mask="last4"), CITY: Sight(mask=None)})
        (table,) = some.relations["customers"]
        self.assertEqual({n: m.kind for n, m in table.masks.items()}, {4: "last4", 6: "null"})
        self.assertEqual(table.names, {"ssn", "low"})
        (view,) = some.relations["renamed"]
        self.assertEqual(view.names, {"city"})
        self.assertEqual(some.masks[table.oid, 4].kind, "last4")
        self.assertTrue(some.relations["whole"][0].opaque)
        hidden = found.seen({SSN: Hidden(reason="no"), CITY: Sight(mask="redact")})
        (table,) = hidden.relations["customers"]
        self.assertEqual(table.hidden, {4, 6})
        self.assertEqual(found.seen({}).relations["customers"][0].hidden, {4, 5, 6})

    def test_labels_of_relations(self) -> None:
        labels = self.found.labels({SSN: frozenset({"pii"})})
        self.assertEqual(labels["public", "renamed"], {"pii"})
        self.assertEqual(labels["public", "changed"], {"pii"})


class Catalog15Tests(CatalogTests):
    """On PostgreSQL 15."""

    version = 15


class Catalog17Tests(CatalogTests):
    """On PostgreSQL 17."""

    version = 17


class TreeTests(SynchronousTestCase):
    """What is not understood is not believed."""

    def test_parse(self) -> None:
        tree = parse(r"({A :x 1 :y (1 2) :z {B :n a\ b} :w <> :v 4 [ 1 0 ]})")
        assert isinstance(tree, list)
        (node,) = tree
        self.assertEqual(getattr(node, "label", None), "A")

    def test_malformed(self) -> None:
        for text in ("", "(", ")", "{A", "{A x}", "{A :x", "() ()", "}", "(" * 600):
            self.assertRaises(TreeError, parse, text)
        for text in ("1", "(1)", "({A :x 1})", "({QUERY :x 1})"):
            self.assertRaises(TreeError, view_columns, text, {}, frozenset())

    def test_an_answer_of_another_shape(self) -> None:
        self.assertRaises(LinkError, answer, [])
        missing = [(b"a", b"b", b"c", None, None)]
        self.assertRaises(LinkError, answer, [missing, [], [], [], [], [(b"UTF8",)]])

    def test_names_that_another_encoding_folds(self) -> None:
        """A single-byte server makes lower case of more letters than our grammar does."""
        found: list[Row] = [(b"s", b"t", b"c", b"1", b"1")]
        for name in ("stra\u00dfe", "plain"):
            column: Row = (b"1", b"s", name.encode(), b"1", b"c", b"25", b"-1", b"t", b"f")
            columns: list[Row] = [(b"1", b"1", b"s", b"t", b"c", b"f")]
            for encoding in (b"UTF8", b"LATIN1"):
                results: list[list[Row]] = [[], found, columns, [column], [], [], [(encoding,)]]
                if encoding == b"LATIN1" and not name.isascii():
                    self.assertRaises(LinkError, answer, results)
                else:
                    self.assertEqual(answer(results).relations[0].name, name)
