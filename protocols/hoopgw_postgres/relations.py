"""What a statement names, as its walk collects it (see `analysis`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from attrs import define, field

from hoopgw_postgres.statements import Output, Relation, Setting, Statement

Body: TypeAlias = dict[str, Any]

_DROPPED_RELATIONS: Final = frozenset(
    f"OBJECT_{kind}" for kind in ("TABLE", "VIEW", "MATVIEW", "SEQUENCE", "INDEX", "FOREIGN_TABLE")
)
_DROPPED_PARTS: Final = frozenset(f"OBJECT_{kind}" for kind in ("TRIGGER", "POLICY", "RULE"))

_QUERIES: Final = frozenset({"select", "insert", "update", "delete", "merge"})


@define(eq=False)
class Naming:
    """Names found so far in one statement."""

    role: str = "select"
    """What is done to relations that the walk meets now."""
    level: set[str] = field(factory=set)
    """Relations named directly in the FROM, or as the target, of the query walked now."""
    relations: dict[Relation, None] = field(factory=dict)
    functions: set[tuple[str, str]] = field(factory=set)
    operators: set[str] = field(factory=set)
    operator_schemas: set[str] = field(factory=set)
    settings: list[Setting] = field(factory=list)
    settings_row: str | None = None
    """The value of ``name``, where the query walked now reads one row of pg_settings."""
    outputs: list[Output] = field(factory=list)
    mentions: set[str] = field(factory=set)
    singles: set[str] = field(factory=set)
    qualified: set[tuple[str, str]] = field(factory=set)
    selected: set[str] = field(factory=set)
    aliases: set[tuple[str, str]] = field(factory=set)
    nested_stars: set[str] = field(factory=set)
    row_stars: set[str] = field(factory=set)
    renamed: set[str] = field(factory=set)
    positions: set[int] = field(factory=set)
    natural_join: bool = False
    join_alias: bool = False
    set_operation: bool = False
    distinct: bool = False

    def enter_statement(self, tag: str, kind: str, body: Body) -> None:
        """Take note of a statement, the whole one or one within another."""
        if kind in _QUERIES:
            return  # these set the role themselves, and give it back
        if kind == "copy":
            self.role = "copy_in" if body.get("is_from") else "copy_out"
        elif kind in {"truncate", "lock", "maintenance", "grant"}:
            self.role = kind
        else:
            self.role = "ddl"
        if tag == "DropStmt":
            self._drop(body)
        elif tag == "VariableSetStmt":
            self._set(body)

    def enter_query(self) -> tuple[str, set[str]]:
        """Begin a level of FROM; give what this returns to `leave_query`."""
        before = self.role, self.level
        self.role, self.level = "select", set()
        return before

    def leave_query(self, role: str, level: set[str]) -> None:
        """End a level of FROM."""
        self.role, self.level = role, level

    def nested_star(self, before: Sequence[str | None]) -> None:
        """Take note of a star that expands the relations of this level, not at the top.

        With a name before it, it may also expand a relation of a level around this one.
        """
        self.nested_stars |= self.level
        self.row_stars.update(name or "" for name in before[-1:])

    def relation(self, body: Body, role: str | None = None) -> None:
        """Take note of a relation; ``body`` is a RangeVar."""
        name = body["relname"]
        self.relations[Relation(body.get("schemaname", ""), name, role or self.role)] = None
        alias = body.get("alias", {})
        self.aliases.add((alias.get("aliasname", name), name))
        self.level.add(name)
        if alias.get("colnames"):
            self.renamed.add(name)

    def alias(self, alias: str, relation: Body) -> None:
        """Take note of a name that stands for a relation's rows."""
        self.aliases.add((alias, relation["relname"]))

    def reference(self, names: Sequence[str | None], *, mentioned: bool) -> None:
        """Take note of a column reference; None in ``names`` is the star at its end."""
        *before, last = names
        if last is None:
            self.row_stars.add((before[-1] if before else None) or "")
            return
        if mentioned:
            self.mentions.add(last)
        if before:
            self.qualified.add((before[-1] or "", last))
        else:
            self.singles.add(last)

    def operator(self, names: Sequence[str]) -> None:
        """Take note of an operator."""
        self.operators.update(names[-1:])
        if len(names) > 1:
            self.operator_schemas.add(names[0])

    def function(self, names: Sequence[str], arguments: Sequence[Body]) -> None:
        """Take note of a call."""
        schema, name = ".".join(names[:-1]), names[-1]
        self.functions.add((schema, name))
        if name == "set_config" and schema in {"", "pg_catalog"}:
            literals = [_literal(argument) for argument in arguments]
            setting, value, local = literals if len(literals) == 3 else (None, None, None)
            if setting is None and _is_column(arguments[0] if arguments else {}, "name"):
                setting = self.settings_row
            self.settings.append(
                Setting((setting or "").lower(), value, local == "true", value is None)
            )

    def count(self) -> int:
        """Return how many names there are, of all sorts."""
        named = (self.relations, self.functions, self.settings, self.outputs, self.mentions)
        said = (self.singles, self.qualified, self.selected, self.aliases, self.row_stars)
        return sum(map(len, (*named, *said)))

    def complete(self, statement: Statement) -> Statement:
        """Return ``statement`` with all that was named."""
        return msgspec.structs.replace(
            statement,
            relations=tuple(self.relations),
            functions=frozenset(self.functions),
            operators=frozenset(self.operators),
            operator_schemas=frozenset(self.operator_schemas),
            settings=tuple(self.settings),
            outputs=tuple(self.outputs),
            mentions=frozenset(self.mentions),
            singles=frozenset(self.singles),
            qualified=frozenset(self.qualified),
            selected=frozenset(self.selected),
            aliases=frozenset(self.aliases),
            nested_stars=frozenset(self.nested_stars),
            row_stars=frozenset(self.row_stars),
            renamed=frozenset(self.renamed),
            natural_join=self.natural_join,
            join_alias=self.join_alias,
            set_operation=self.set_operation,
            distinct=self.distinct,
            positions=frozenset(self.positions),
        )

    def _drop(self, body: Body) -> None:
        """DROP names relations in lists of strings."""
        kind = body.get("removeType", "")
        for item in body.get("objects", ()):
            names = strings(item.get("List", {}).get("items", ()))
            if kind in _DROPPED_PARTS:
                del names[-1:]
            elif kind not in _DROPPED_RELATIONS:
                continue
            if names:
                schema = names[-2] if len(names) > 1 else ""
                self.relations[Relation(schema, names[-1], "ddl")] = None

    def _set(self, body: Body) -> None:
        name, kind = body.get("name", "").lower(), body.get("kind", "")
        local = bool(body.get("is_local"))
        if kind == "VAR_SET_MULTI":  # SET TRANSACTION and SET SESSION CHARACTERISTICS
            for node in body.get("args", ()):
                option = node.get("DefElem", {})
                value = _literal(option.get("arg", {}))
                self.settings.append(Setting(option.get("defname", "").lower(), value, local))
            return
        if kind == "VAR_RESET_ALL":
            name = "all"
        values = [_literal(node) for node in body.get("args", ())]
        known = values and None not in values
        value = ", ".join(str(value) for value in values) if known else None
        self.settings.append(Setting(name, value, local))


def strings(nodes: Iterable[Body]) -> list[str]:
    """Return the values of the String nodes among ``nodes``."""
    return [node["String"].get("sval", "") for node in nodes if "String" in node]


def column_names(body: Body) -> list[str | None]:
    """Return the names of a column reference; None stands for a star."""
    return [
        node["String"].get("sval", "") if "String" in node else None
        for node in body.get("fields", ())
    ]


_WHERE_IT_IS: Final = frozenset({"restrict_nonsystem_relation_kind"})
"""Settings that pg_dump sets only where the server knows them."""


def settings_row(body: Body) -> str | None:
    """Return x of ``SELECT .. FROM pg_settings WHERE name = 'x'``, as pg_dump has it.

    None if a SelectStmt is another. Only certain names count, because what is compared may be a
    relation of somebody's own, with a collation to which other names are equal.
    """
    tables = body.get("fromClause", ())
    condition = body.get("whereClause", {}).get("A_Expr", {})
    if (
        [table.get("RangeVar", {}).get("relname") for table in tables] == ["pg_settings"]
        and strings(condition.get("name", ())) == ["="]
        and condition.get("kind") == "AEXPR_OP"
        and _is_column(condition.get("lexpr", {}), "name")
    ):
        name = _literal(condition.get("rexpr", {}))
        return name if name in _WHERE_IT_IS else None
    return None


def _is_column(node: Body, name: str) -> bool:
    return column_names(node.get("ColumnRef", {})) == [name]


_POSITIONS_IN: Final = {
    "SortBy": "node",
    "GroupingSet": "content",
    "List": "items",
    "RowExpr": "args",
}


def integers(nodes: Iterable[Body]) -> Iterable[int]:
    """Yield the integer constants that ORDER BY, GROUP BY or DISTINCT ON take for positions."""
    for node in nodes:
        for tag, body in node.items():
            if tag == "A_Const" and "ival" in body:
                yield body["ival"].get("ival", 0)
            elif tag in _POSITIONS_IN:
                inner = body.get(_POSITIONS_IN[tag], [])
                yield from integers(inner if isinstance(inner, list) else [inner])


def _literal(node: Body) -> str | None:
    """Return the text of a constant, possibly cast; None if it is none."""
    while "TypeCast" in node:
        node = node["TypeCast"].get("arg", {})
    constant = node.get("A_Const", node)
    if "sval" in constant:
        return str(constant["sval"].get("sval", ""))
    if "ival" in constant:
        return str(constant["ival"].get("ival", 0))
    if "fval" in constant:
        return str(constant["fval"].get("fval", ""))
    if "boolval" in constant:
        return "true" if constant["boolval"].get("boolval") else "false"
    if "String" in node:
        return str(node["String"].get("sval", ""))
    return None
