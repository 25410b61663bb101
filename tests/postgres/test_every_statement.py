"""Facts of one statement of each kind, against the raw trees: nothing that is named is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from hoopgw_postgres.analysis import Analyser
from hoopgw_postgres.grammar import parse
from hoopgw_postgres.kinds import KINDS
from hoopgw_postgres.statements import Statement
from tests.adversarial.vectors import ORDINARY, VECTORS
from tests.postgres.every_statement import EXPRESSIONS, FROMS, QUERIES, STATEMENTS
from tests.support import postgres

ANALYSER = Analyser()
TEXTS = (
    *STATEMENTS,
    *(f"SELECT {expression}" for expression in EXPRESSIONS),
    *(f"SELECT 1 WHERE EXISTS (SELECT {expression})" for expression in EXPRESSIONS),
    *(f"SELECT 1 FROM {source}" for source in FROMS),
    *QUERIES,
    *ORDINARY,
    *(text for vector in VECTORS for text in vector.statements),
)


def nodes(tree: Any, tag: str) -> Iterator[dict[str, Any]]:
    """Yield every node of a type, wherever it stands; knows nothing of the grammar."""
    if isinstance(tree, list):
        for item in tree:
            yield from nodes(item, tag)
    elif isinstance(tree, dict):
        for name, value in tree.items():
            if name == tag:
                yield value
            yield from nodes(value, tag)


def last_name(names: list[dict[str, Any]]) -> str | None:
    """Return the last of several names; None for a star."""
    found: dict[str, str] | None = names[-1].get("String")
    return None if found is None else found.get("sval", "")


class EveryStatementTests(SynchronousTestCase):
    """Tests for `Analyser` over all texts."""

    def pairs(self) -> Iterator[tuple[str, Any, Statement]]:
        """Yield each text with its raw tree and its facts."""
        for text in TEXTS:
            facts = ANALYSER.facts(text.encode())
            self.assertTrue(facts.understood, f"{text}: {facts.error}")
            for tree, statement in zip(parse(text.encode()), facts.statements, strict=True):
                yield text, tree, statement

    def test_all_kinds_are_understood(self) -> None:
        seen = set[str]().union(*(statement.nodes for _, _, statement in self.pairs()))
        self.assertEqual(set(KINDS) - seen, set())

    def test_no_column_is_lost(self) -> None:
        for text, tree, statement in self.pairs():
            known = statement.mentions | {output.name for output in statement.outputs}
            for column in nodes(tree, "ColumnRef"):
                name = last_name(column["fields"])
                self.assertTrue(name is None or name in known, f"{text}: {name}")
                stars = statement.row_stars | statement.nested_stars
                at_top = any(output.star for output in statement.outputs)
                self.assertTrue(name or stars or at_top or "FROM" not in text, text)

    def test_no_function_is_lost(self) -> None:
        for text, tree, statement in self.pairs():
            names = {name for _, name in statement.functions}
            for call in nodes(tree, "FuncCall"):
                self.assertIn(last_name(call["funcname"]), names, text)

    def test_no_relation_is_lost(self) -> None:
        for text, tree, statement in self.pairs():
            names = {relation.name for relation in statement.relations}
            expressions = {node["ctename"] for node in nodes(tree, "CommonTableExpr")}
            locked = {
                relation["relname"]
                for clause in nodes(tree, "LockingClause")
                for relation in nodes(clause, "RangeVar")
            }
            for field in ("RangeVar", "relation", "rel", "view", "sequence", "pktable"):
                for relation in nodes(tree, field):
                    if isinstance(relation, dict) and "relname" in relation:
                        name = relation["relname"]
                        self.assertIn(name, names | expressions | locked, f"{text}: {name}")

    def test_no_operator_is_lost(self) -> None:
        for text, tree, statement in self.pairs():
            for expression in nodes(tree, "A_Expr"):
                self.assertIn(last_name(expression["name"]), statement.operators, text)

    def test_names_are_cut_as_the_server_cuts_them(self) -> None:
        """Names longer than 63 bytes, and letters that only some locales fold."""
        with postgres.shared.get(18).connect() as connection:
            for name in (
                *("x" * 80, "é" * 40, "x" + "é" * 40, "xx" + "漢" * 40, "a" * 62 + "é"),
                *("É", "ÄbC", "İ", "Straße"),
            ):
                for written in (name, f'"{name}"'):
                    connection.execute(f"CREATE TEMP TABLE {written} ()".encode())
                    rows = connection.execute(
                        "SELECT relname FROM pg_class "
                        "WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r'"
                    ).fetchall()
                    facts = ANALYSER.facts(f"TABLE {written}".encode())
                    self.assertEqual(facts.statements[0].relations[0].name, rows[0][0])
                    connection.execute(f"DROP TABLE {written}".encode())
