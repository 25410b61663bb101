"""Views, as the server keeps them: which of their columns are masked columns of other relations.

``pg_rewrite.ev_action`` holds the analysed query of a view in PostgreSQL's ``nodeToString`` form:
``{LABEL :field value ...}``. It differs between major versions; what is not understood is a
`TreeError`, and the view is then not readable where something is masked.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from attrs import field, frozen

Tree: TypeAlias = "Node | list[Tree] | str"

_TOKEN: Final = re.compile(r"[{}()]|(?:\\.|[^\s{}()\\])+", re.DOTALL)
_DEPTH: Final = 500
_RELATION: Final = "0"  # RTEKind
_JOIN: Final = "2"


class TreeError(Exception):
    """The tree is not understood."""


@frozen
class Node:
    """One node: its label and its fields."""

    label: str
    fields: Mapping[str, Tree] = field(repr=False)


@frozen
class Shown:
    """A column of a view that is a masked column, as it is."""

    number: int
    """Attribute number in the view."""
    relation: int
    attribute: int


def view_columns(
    action: str, masked: Mapping[int, frozenset[int]], opaque: frozenset[int]
) -> list[Shown] | None:
    """Return which columns of a view are masked ones; None if it uses those in any other way.

    Args:
        action: ``ev_action`` of the view's rule.
        masked: relation OID to masked attribute numbers.
        opaque: OIDs of relations that must not be read at all.

    Raises:
        TreeError: it is not understood.

    """
    tree = parse(action)
    if not isinstance(tree, list):
        raise TreeError("no list of queries")
    use = _Use(masked, opaque)
    shown: list[Shown] = []
    for query in tree:
        if not isinstance(query, Node) or query.label != "QUERY":
            raise TreeError("no query")
        shown += use.outputs(query)
        use.walk(query, [])
    if use.opaque or use.uses != len(shown):
        return None
    return shown


class _Use:
    """Counts the references to masked columns in a tree."""

    def __init__(self, masked: Mapping[int, frozenset[int]], opaque: frozenset[int]) -> None:
        self._masked = masked
        self._forbidden = opaque
        self.uses = 0
        self.opaque = False

    def outputs(self, query: Node) -> Iterator[Shown]:
        """Yield the outputs that are masked columns, and nothing sorts or groups by."""
        tables = _nodes(query, "rtable")
        for target in _nodes(query, "targetList"):
            variable = target.fields.get("expr")
            if (
                isinstance(variable, Node)
                and variable.label == "VAR"
                and target.fields.get("resjunk") == "false"
                and target.fields.get("ressortgroupref") == "0"
                and _number(variable, "varlevelsup") == 0
            ):
                relation = _relation(_table(tables, _number(variable, "varno")))
                attribute = _number(variable, "varattno")
                if relation is not None and attribute in self._masked.get(relation, ()):
                    yield Shown(_number(target, "resno"), relation, attribute)

    def walk(self, tree: Tree, scopes: list[Sequence[Node]]) -> None:
        """Count in a tree; ``scopes`` are the range tables around it, innermost last."""
        if isinstance(tree, list):
            for item in tree:
                self.walk(item, scopes)
        elif isinstance(tree, Node):
            if tree.label == "VAR":
                self._variable(tree, scopes)
            elif tree.label == "QUERY":
                tables = _nodes(tree, "rtable")
                self._tables(tables)
                scopes = [*scopes, tables]
            for name, value in tree.fields.items():
                if name != "joinaliasvars":  # all columns of a join, used or not
                    self.walk(value, scopes)

    def _tables(self, tables: Sequence[Node]) -> None:
        self.opaque |= any(_relation(table) in self._forbidden for table in tables)

    def _variable(self, variable: Node, scopes: list[Sequence[Node]]) -> None:
        level = _number(variable, "varlevelsup")
        if level >= len(scopes):
            raise TreeError("a variable of no query")
        tables = scopes[-1 - level]
        table = _table(tables, _number(variable, "varno"))
        attribute = _number(variable, "varattno")
        relation = _relation(table)
        if relation is not None:
            masked = self._masked.get(relation, frozenset())
            self.uses += bool(masked) if attribute == 0 else attribute in masked
        elif table.fields.get("rtekind") == _JOIN:
            # A merged column, or one of a join with an alias: look at what it stands for.
            columns = table.fields.get("joinaliasvars")
            if not isinstance(columns, list):
                raise TreeError("a join without columns")
            self.walk(
                columns if attribute == 0 else columns[attribute - 1], scopes[: len(scopes) - level]
            )


def _nodes(node: Node, name: str) -> list[Node]:
    """Return a field that is a list of nodes, or none."""
    value = node.fields.get(name)
    if value == "<>":
        return []
    if not isinstance(value, list) or not all(isinstance(item, Node) for item in value):
        raise TreeError(f"{node.label} without {name}")
    return [item for item in value if isinstance(item, Node)]


def _number(node: Node, name: str) -> int:
    value = node.fields.get(name)
    try:
        return int(value) if isinstance(value, str) else _fail(f"{node.label} without {name}")
    except ValueError:
        return _fail(f"{node.label} without {name}")


def _fail(reason: str) -> int:
    raise TreeError(reason)


def _table(tables: Sequence[Node], number: int) -> Node:
    if not 0 < number <= len(tables):
        raise TreeError("a variable of no relation")
    return tables[number - 1]


def _relation(table: Node) -> int | None:
    """Return the OID of a range-table entry that is a relation; of a view's own, too."""
    if table.fields.get("rtekind") != _RELATION:
        return None
    return _number(table, "relid")


# Reading nodeToString


def parse(text: str) -> Tree:
    """Return the tree that a text stands for.

    Raises:
        TreeError: it stands for none.

    """
    tokens = [match.group() for match in _TOKEN.finditer(text)]
    reader = _Reader(tokens)
    tree = reader.value(0)
    if reader.place != len(tokens):
        raise TreeError("more than one tree")
    return tree


class _Reader:
    """Reads tokens into trees."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self.place = 0

    def value(self, depth: int) -> Tree:
        """Read one value."""
        if depth > _DEPTH:
            raise TreeError("too deep")
        word = self._next()
        if word == "{":
            return self._node(depth)
        if word == "(":
            items: list[Tree] = []
            while self._peek() != ")":
                items.append(self.value(depth + 1))
            self.place += 1
            return items
        if word in ("}", ")"):
            raise TreeError("closed too early")
        return word

    def _node(self, depth: int) -> Node:
        label = self._next()
        fields: dict[str, Tree] = {}
        while (name := self._next()) != "}":
            if not name.startswith(":"):
                raise TreeError(f"{label}: a field without a name")
            values: list[Tree] = []
            while not self._peek().startswith(":") and self._peek() != "}":
                values.append(self.value(depth + 1))
            # Most have one value; constants and bitmaps are written as several.
            fields[name[1:]] = values[0] if len(values) == 1 else values
        return Node(label, fields)

    def _peek(self) -> str:
        if self.place >= len(self._tokens):
            raise TreeError("ends too early")
        return self._tokens[self.place]

    def _next(self) -> str:
        token = self._peek()
        self.place += 1
        return token
