"""Tests for `hoopgw_postgres.operations`: what policy is asked."""

from __future__ import annotations

import re
from importlib import resources

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError
from hoopgw.events import Operation
from hoopgw.spi import TargetSettings
from hoopgw_postgres.analysis import Analyser
from hoopgw_postgres.operations import Place, check_target, operation, parse_column
from tests.adversarial.vectors import ORDINARY
from tests.postgres.every_statement import STATEMENTS

ANALYSER = Analyser()
TARGET = TargetSettings(
    name="orders",
    protocol="postgres",
    agent="local",
    environment="prod",
    labels={"public.customers.email": ("pii.email",), "public.customers.ssn": ("pii.id", "secret")},
)


def place(*schemas: str) -> Place:
    """Return a place with this search path."""
    return Place(TARGET, "shop", "reader", schemas or ("public",))


def asked(text: str, where: Place | None = None, *, in_transaction: bool = False) -> Operation:
    """Return the operation that a text is."""
    facts = ANALYSER.facts(text.encode())
    return operation(where or place(), facts, text.encode(), in_transaction=in_transaction)


def accesses(text: str, where: Place | None = None) -> set[str]:
    """Return ``action resource`` of each access."""
    return {
        f"{access.action.removeprefix('Postgres::')} {access.resource.id}"
        for access in asked(text, where).accesses
    }


class AccessTests(SynchronousTestCase):
    """Which accesses a text has."""

    def test_tables(self) -> None:
        for text, expected in {
            "SELECT * FROM customers": {"select orders/public.customers"},
            "SELECT 1": {"select orders/shop"},
            "INSERT INTO a SELECT * FROM s.b": {"insert orders/public.a", "select orders/s.b"},
            "INSERT INTO a VALUES (1)": {"insert orders/public.a", "select orders/shop"},
            "UPDATE a SET x = 1": {"update orders/public.a"},
            "COPY a TO STDOUT": {"copy_out orders/public.a"},
            "COPY (SELECT * FROM a) TO STDOUT": {"copy_out orders/shop", "select orders/public.a"},
            "EXPLAIN DELETE FROM a": {"explain orders/public.a"},
            "EXPLAIN ANALYZE DELETE FROM a": {"explain orders/shop", "delete orders/public.a"},
            "PREPARE p AS DELETE FROM a": {"delete orders/public.a"},
            "DECLARE c CURSOR FOR TABLE a": {"select orders/public.a"},
            "EXECUTE p": {"other orders/shop"},
            "FETCH c": {"other orders/shop"},
            "DEALLOCATE p": {"set orders/shop"},
            "BEGIN": {"transaction orders/shop"},
            "DO 'begin end'": {"do orders/shop"},
            "DROP TABLE a": {"ddl orders/public.a"},
            "CREATE ROLE x": {"grant orders/shop"},
            "SELECT 1 FROM pg_class, pg_catalog.pg_type": {
                "select orders/pg_catalog.pg_class",
                "select orders/pg_catalog.pg_type",
            },
            "": {"select orders/shop"},
            "SELEC": {"other orders/shop"},
        }.items():
            self.assertEqual(accesses(text), expected, text)

    def test_several_statements_are_one_operation(self) -> None:
        self.assertEqual(
            accesses("BEGIN; DELETE FROM a; DROP TABLE b"),
            {"transaction orders/shop", "delete orders/public.a", "ddl orders/public.b"},
        )
        together = asked("SELECT 1; DELETE FROM a; DELETE FROM b WHERE x = 1")
        self.assertEqual(together.action, "select, delete")
        self.assertIs(together.context["multiStatement"], True)
        self.assertIs(together.context["hasWhere"], False)

    def test_a_name_without_schema_is_all_that_it_may_be(self) -> None:
        self.assertEqual(
            accesses("TABLE a", place("app", "public")),
            {"select orders/app.a", "select orders/public.a"},
        )

    def test_what_an_execute_runs_is_asked_instead(self) -> None:
        facts = ANALYSER.facts(b"EXECUTE p")
        runs = ANALYSER.facts(b"DELETE FROM a").statements
        found = operation(place(), facts, b"EXECUTE p", in_transaction=False, runs=runs)
        self.assertEqual([a.action for a in found.accesses], ["Postgres::delete"])
        self.assertIs(found.context["hasWhere"], False)

    def test_context(self) -> None:
        context = asked("SELECT lower(x), S.f(1)", in_transaction=True).context
        self.assertEqual(
            context,
            {
                "account": "reader",
                "hasWhere": True,
                "multiStatement": False,
                "functions": ("lower", "s.f"),
                "mintsCredentials": False,
                "inTransaction": True,
            },
        )
        self.assertIs(asked("ALTER ROLE x PASSWORD 'y'").context["mintsCredentials"], True)

    def test_the_digest_binds_all(self) -> None:
        facts = ANALYSER.facts(b"SELECT 1")
        digests = {
            operation(where, facts, text, in_transaction=False, digested=more).digest
            for where in (
                place(),
                Place(TARGET, "other", "reader"),
                Place(TARGET, "shop", "writer"),
            )
            for text in (b"SELECT 1", b"SELECT 2")
            for more in ([], [("bound", b"1")], [("bound", b"2")])
        }
        self.assertEqual(len(digests), 18)


class SchemaTests(SynchronousTestCase):
    """``schema.cedarschema`` knows whatever is asked."""

    def test_every_action_is_declared(self) -> None:
        schema = resources.files("hoopgw_postgres").joinpath("schema.cedarschema").read_text()
        declared: set[str] = set()
        for names in re.findall(
            r"^  action ([a-z_, ]+?)(?: in .*)?(?: appliesTo \{|;)$", schema, re.M
        ):
            declared.update(name.strip() for name in names.split(","))
        wanted = {
            access.action.removeprefix("Postgres::")
            for text in (*STATEMENTS, *ORDINARY, "FETCH c", "EXECUTE p", "-- nothing", "SELEC")
            for access in asked(text).accesses
        }
        self.assertEqual(wanted - declared, set())
        self.assertGreaterEqual(wanted, {"select", "merge", "copy_in", "maintenance", "other"})


class ResourceTests(SynchronousTestCase):
    """What policy is told about resources."""

    def test_labels_and_parents(self) -> None:
        (access,) = asked("TABLE customers").accesses
        table = access.resource
        self.assertEqual(table.labels, {"pii.email", "pii.id", "secret"})
        (database,) = table.parents
        (target,) = database.parents
        (environment,) = target.parents
        self.assertEqual(
            [r.type for r in (table, database, target, environment)],
            ["Postgres::Table", "Postgres::Database", "Hoopgw::Target", "Hoopgw::Environment"],
        )

    def test_columns(self) -> None:
        columns = place().columns()
        email = columns["public", "customers", "email"]
        self.assertEqual(email.id, "orders/public.customers.email")
        self.assertEqual(email.labels, {"pii.email"})
        self.assertEqual(email.parents[0].id, "orders/public.customers")

    def test_labels_of_views_are_added(self) -> None:
        where = Place(TARGET, "shop", "reader", labels={("public", "v"): frozenset({"secret"})})
        self.assertEqual(where.table("public", "v").labels, {"secret"})
        self.assertIn("pii.email", where.table("public", "customers").labels)

    def test_column_names(self) -> None:
        for written, parts in {
            "a.b.c": ("a", "b", "c"),
            'a."B.x"."c ""d"""': ("a", "B.x", 'c "d"'),
        }.items():
            self.assertEqual(parse_column(written), parts)
        for wrong in (
            "",
            "a",
            "a.b",
            "a.b.c.d",
            "a..c",
            ".b.c",
            "a.b.",
            'a.b."c',
            'a."b"c.d',
            '"".b.c',
        ):
            self.assertRaises(ConfigError, parse_column, wrong)
        check_target(TARGET)
        bad = TargetSettings(name="x", protocol="postgres", agent="a", labels={"email": ("pii",)})
        self.assertRaises(ConfigError, check_target, bad)
