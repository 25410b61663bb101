"""Which statements may run where columns are masked, and how their answers are masked.

A result column is masked if the server says that it comes from a masked column. That holds only if
a masked column reaches the answer in no other way; so a statement that touches a relation with
masked columns may name these only as bare output columns at its top. Everything is judged by name,
without the server: whatever might be a masked column counts as one, whatever is not understood is
refused, and so is what could carry data sideways (functions that are not known to be harmless, code
that runs later, catalogues that hold values).

The ways in which a masked value could enter a statement otherwise, and what stops each:

- its name anywhere else: `Statement.mentions`, with USING, ON CONFLICT and the names after a dot;
- a whole row, ``c``, ``c.*`` in an expression, or a function written as a column, ``c.to_json``;
- a star below the top, whose columns are named otherwise outside;
- another name for it: lists of column aliases, aliases of joins, and its own alias in ORDER BY;
- its position in ORDER BY or GROUP BY; DISTINCT; NATURAL JOIN;
- a function that reads tables by name or text: only listed functions are called;
- a view, partition, generated column or rule: the closure that `catalog` makes.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from attrs import field, frozen

from hoopgw_postgres.copy import OPTIONS
from hoopgw_postgres.functions import FUNCTIONS
from hoopgw_postgres.masked import Attribute, MaskedRelation, MaskedSet
from hoopgw_postgres.masking import ColumnMask
from hoopgw_postgres.statements import Copy, Facts, Statement


@frozen
class Untouched:
    """It has nothing to do with what is masked."""


@frozen
class ByOrigin:
    """Mask result columns by where the server says that they come from.

    Texts of errors must be withheld until the transaction ends: they can quote values.
    """


@frozen
class ByIndex:
    """Mask the fields of a COPY by their place."""

    count: int
    """Fields of each row."""
    masks: Mapping[int, tuple[Attribute, ColumnMask]] = field(factory=dict)


@frozen
class Refused:
    """It must not run."""

    reason: str
    hint: str = ""


MaskRule: TypeAlias = Untouched | ByOrigin | ByIndex | Refused

_UNTOUCHED: Final = Untouched()
_BY_ORIGIN: Final = ByOrigin()

_STATEMENTS: Final = frozenset(
    """
    SelectStmt InsertStmt UpdateStmt DeleteStmt MergeStmt TruncateStmt CopyStmt IntoClause
    VariableSetStmt VariableShowStmt ConstraintsSetStmt ExplainStmt TransactionStmt
    PrepareStmt ExecuteStmt DeallocateStmt DeclareCursorStmt FetchStmt ClosePortalStmt
    ListenStmt UnlistenStmt NotifyStmt LockStmt DiscardStmt
    VacuumStmt ReindexStmt ClusterStmt CheckPointStmt RefreshMatViewStmt
    GrantStmt GrantRoleStmt AlterDefaultPrivilegesStmt CreateRoleStmt AlterRoleStmt DropRoleStmt
    CreateSchemaStmt CreateStmt CreateTableAsStmt ViewStmt AlterTableStmt IndexStmt CreateSeqStmt
    AlterSeqStmt CreateStatsStmt DropStmt CommentStmt CreateDomainStmt AlterDomainStmt
    CreateEnumStmt AlterEnumStmt RenameStmt AlterObjectSchemaStmt
    """.split()  # noqa: SIM905 - a list of these would fill a page
)
"""What may run at all: neither code that runs later, nor other ways to the data."""
_KINDS_OF: Final[Mapping[str, frozenset[str]]] = {
    "RenameStmt": frozenset(
        f"OBJECT_{kind}" for kind in ("TABLE", "COLUMN", "INDEX", "SEQUENCE", "TABCONSTRAINT")
    ),
    "AlterObjectSchemaStmt": frozenset({"OBJECT_TABLE", "OBJECT_SEQUENCE"}),
}
"""Objects that these may change; a function that is renamed could pass for a listed one."""
_NOT_THESE: Final = frozenset(
    {
        "TransactionStmt TRANS_STMT_PREPARE",
        "TransactionStmt TRANS_STMT_COMMIT_PREPARED",
        "TransactionStmt TRANS_STMT_ROLLBACK_PREPARED",
        "AlterTableCmd AT_GenericOptions",
        "AlterTableCmd AT_AlterColumnGenericOptions",
    }
)
_VALUE_CATALOGS: Final = frozenset(
    """
    pg_stats pg_statistic pg_stats_ext pg_stats_ext_exprs pg_statistic_ext_data pg_largeobject
    pg_stat_activity pg_stat_statements pg_stat_statements_info pg_prepared_statements pg_cursors
    pg_authid pg_shadow pg_user_mapping user_mapping_options
    _pg_user_mappings pg_replication_slots
    """.split()  # noqa: SIM905 - as above
)
"""Catalogues that hold values of columns, statements of others, or credentials."""
_VALUE_COLUMNS: Final[Mapping[str, frozenset[str]]] = {
    "pg_subscription": frozenset({"subconninfo"}),
    "pg_user_mappings": frozenset({"umoptions"}),
}
"""Catalogues of which only some columns do; tools read the others."""
_PINNED: Final = frozenset({"role", "session_authorization", "session_replication_role"})
_SYSTEM_COLUMNS: Final = frozenset({"tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"})
_HARMLESS_ROLES: Final = frozenset({"lock", "maintenance", "grant", "truncate"})


def judge_facts(facts: Facts, masked: MaskedSet) -> MaskRule:
    """Judge a whole text: the rule of its statements, or the first refusal.

    A COPY whose rows are masked must stand alone, because only one rule comes back.
    """
    rules = [judge_masking(statement, masked) for statement in facts.statements]
    for rule in rules:
        if isinstance(rule, Refused):
            return rule
    for rule in rules:
        if isinstance(rule, ByIndex):
            if len(rules) > 1:
                return Refused(
                    "a COPY of masked columns cannot share its text with other statements",
                    "Send it alone.",
                )
            return rule
    return _BY_ORIGIN if _BY_ORIGIN in rules else _UNTOUCHED


def judge_masking(statement: Statement, masked: MaskedSet) -> MaskRule:
    """Say whether a statement may run where this is masked, and how its answer is masked."""
    for objection in _general_objections(statement, masked):
        return objection
    touched = _touched(statement, masked)
    if not touched:
        return _UNTOUCHED
    for objection in _objections(statement, touched):
        return objection
    if statement.copy is not None and not statement.copy.into:
        return _copied(statement, statement.copy, touched)
    return _BY_ORIGIN


def _touched(statement: Statement, masked: MaskedSet) -> list[MaskedRelation]:
    """Return the masked relations that the statement may name; by name alone, in any schema."""
    names = {relation.name for relation in statement.relations}
    return [relation for name in names for relation in masked.relations.get(name, ())]


# What holds for every statement of a session that has masks


def _general_objections(statement: Statement, masked: MaskedSet) -> Iterator[Refused]:
    for node in sorted(statement.nodes):
        yield from _node_objections(node)
    if {"CreateTableAsStmt", "ExecuteStmt"} <= statement.nodes:
        yield Refused("CREATE TABLE AS EXECUTE is not possible where columns are masked")
    if statement.copy is not None and statement.copy.outside:
        yield Refused("COPY with a file or program is not possible where columns are masked")
    for setting in statement.settings:
        odd = setting.computed or not setting.name
        if odd or setting.name in _PINNED or setting.name.startswith("debug_"):
            what = "what set_config is given as no literal" if odd else setting.name
            yield Refused(f"{what} cannot be set where columns are masked")
    yield from _code_objections(statement, masked)
    for relation in statement.relations:
        toast = relation.schema == "pg_toast" or relation.name.startswith("pg_toast_")
        if toast or relation.name in _VALUE_CATALOGS:
            yield Refused(f"{relation.written} may hold values of masked columns")
        if _shows(statement, relation.name, _VALUE_COLUMNS.get(relation.name, frozenset())):
            yield Refused(f"{relation.written} holds credentials", "Name its other columns.")


def _shows(statement: Statement, relation: str, columns: frozenset[str]) -> bool:
    """Whether a statement may show or use columns of a relation, by name, star or row."""
    if not columns:
        return False
    aliases = {alias for alias, name in statement.aliases if name == relation} | {""}
    named = statement.mentions.union(output.name for output in statement.outputs)
    whole = statement.singles | statement.row_stars
    star = any(output.star for output in statement.outputs)
    nested = relation in statement.nested_stars | statement.renamed
    return bool(named & columns or whole & aliases or star or nested or statement.join_alias)


def _code_objections(statement: Statement, masked: MaskedSet) -> Iterator[Refused]:
    """Object to what may run code that is not known to be harmless."""
    for schema, name in sorted(statement.functions):
        if not _is_listed(schema, name, masked):
            written = f"{schema}.{name}" if schema else name
            yield Refused(
                f"function {written} is not known to be harmless where columns are masked",
                "Functions of pg_catalog that read no tables can be called.",
            )
    for schema in sorted(statement.operator_schemas - {"pg_catalog"}):
        yield Refused(f"operators of schema {schema} cannot be used where columns are masked")
    for name in sorted(statement.operators & masked.operators):
        yield Refused(
            f"operator {name} may call a function of somebody's own, where columns are masked"
        )
    fields = statement.selected.union(column for _, column in statement.qualified)
    for name in sorted(fields & masked.row_functions):
        yield Refused(
            f'"{name}" may be somebody\'s own function of a row, where columns are masked',
            "If it is a column, write it without the relation before it.",
        )


def _node_objections(node: str) -> Iterator[Refused]:
    tag, _, kind = node.partition(" ")
    if node in _NOT_THESE:
        yield Refused("this statement is not possible where columns are masked")
    if tag == "AlterTableCmd":
        return
    if tag not in _STATEMENTS:
        yield Refused(
            "this kind of statement is not possible where columns are masked",
            "It could define code that reads them, or open another way to them.",
        )
    if kind and kind not in _KINDS_OF.get(tag, (kind,)):
        yield Refused("objects of this kind cannot be changed where columns are masked")


def _is_listed(schema: str, name: str, masked: MaskedSet) -> bool:
    if schema == "information_schema":
        return name.startswith("_pg_")  # drivers use them to ask about keys
    if schema not in ("", "pg_catalog") or name not in FUNCTIONS:
        return False
    return bool(schema) or name not in masked.shadowed


# What holds for a statement that touches a relation with masked columns


def _objections(statement: Statement, touched: list[MaskedRelation]) -> Iterator[Refused]:
    names = {relation.name for relation in touched}
    yield from _role_objections(statement, touched)
    columns = frozenset().union(*(relation.names for relation in touched))
    # An output's alias means the column in ORDER BY and GROUP BY.
    also = {output.alias for output in statement.outputs if output.name in columns}
    for name in sorted(statement.mentions & (columns | also)):
        yield _mentioned(name)
    yield from _row_objections(statement, touched, names)
    if statement.nested_stars & names:
        yield Refused(
            "a star below the top of a statement would pass masked columns on",
            "Name the columns, without those that are masked.",
        )
    if statement.natural_join:
        yield Refused("NATURAL JOIN could compare masked columns", "Use JOIN ... USING or ON.")
    if statement.renamed & names or statement.join_alias:
        yield Refused(
            "a list of column aliases, or an alias of a join, would rename masked columns",
            "Give aliases to the relations only.",
        )
    yield from _order_objections(statement, columns)
    yield from _hidden_objections(statement, touched)


def _mentioned(name: str) -> Refused:
    return Refused(
        f'column "{name}" is masked, and can be used only as an output column',
        "Select it as it is; not in WHERE, JOIN, ORDER BY, GROUP BY, expressions or sub-queries.",
    )


def _role_objections(statement: Statement, touched: list[MaskedRelation]) -> Iterator[Refused]:
    roles = {
        (relation.role, found.opaque)
        for relation in statement.relations
        for found in touched
        if found.name == relation.name
    }
    if any(opaque and role not in _HARMLESS_ROLES | {"ddl"} for role, opaque in roles):
        yield Refused(
            "this relation computes its rows from masked columns, or with code that may read them",
            "So it cannot be read here.",
        )
    if "ddl" in {role for role, _ in roles} and statement.nodes.isdisjoint({"DropStmt"}):
        yield Refused("a relation with masked columns cannot be changed by who sees it masked")
    if "ViewStmt" in statement.nodes:
        yield Refused("a view of a relation with masked columns cannot be made here")
    if "ClusterStmt" in statement.nodes:
        yield Refused("CLUSTER would bring rows into the order of a masked column")


def _row_objections(
    statement: Statement, touched: list[MaskedRelation], names: set[str]
) -> Iterator[Refused]:
    by_alias: dict[str, set[str]] = {}
    for alias, name in statement.aliases:
        if name in names:
            columns = (relation.columns for relation in touched if relation.name == name)
            by_alias.setdefault(alias, set()).update(*columns)
    for alias in sorted(by_alias):
        if alias in statement.singles or alias in statement.row_stars:
            yield Refused(
                f'a whole row of "{alias}" holds masked columns',
                "Name the columns; if this is a column, give the relation an alias.",
            )
    if "" in statement.row_stars:
        yield Refused("a star in an expression would hold masked columns", "Name the columns.")
    for alias, column in sorted(statement.qualified):
        if alias in by_alias and column not in by_alias[alias] | _SYSTEM_COLUMNS:
            yield Refused(f'"{alias}.{column}" is no column: it could be a function of a row')


def _order_objections(statement: Statement, columns: frozenset[str]) -> Iterator[Refused]:
    outputs = statement.outputs
    if statement.distinct and any(output.star or output.name in columns for output in outputs):
        yield Refused("DISTINCT would compare masked columns", "Leave them out, or DISTINCT.")
    for position in sorted(statement.positions):
        before = outputs[:position]
        star = any(output.star for output in before)
        if star or (0 < position <= len(outputs) and outputs[position - 1].name in columns):
            yield Refused(
                f"position {position} may be a masked column", "Name the column to sort by."
            )


def _hidden_objections(statement: Statement, touched: list[MaskedRelation]) -> Iterator[Refused]:
    hidden = {
        attribute.name
        for relation in touched
        for attribute in relation.attributes
        if attribute.number in relation.hidden
    }
    if not hidden:
        return
    listed = ", ".join(sorted(hidden))
    for output in statement.outputs:
        if output.name in hidden:
            yield Refused(f'policy does not show you column "{output.name}"')
        if output.star:
            yield Refused(f"policy does not show you: {listed}", "Name the other columns.")


# COPY ... TO STDOUT has no description of its rows, so the statement must say where the columns are


def _copied(statement: Statement, copy: Copy, touched: list[MaskedRelation]) -> MaskRule:
    if copy.options - OPTIONS:
        return Refused(
            "COPY of a relation with masked columns is possible only with FORMAT and HEADER"
        )
    if copy.format not in ("text", "csv", "binary"):
        return Refused(f"COPY has no format {copy.format}")
    if copy.query:
        return _copied_query(statement, touched)
    return _copied_relation(statement, copy, touched)


def _copied_query(statement: Statement, touched: list[MaskedRelation]) -> MaskRule:
    if any(output.star for output in statement.outputs):
        return Refused("COPY of a star cannot be masked", "Name the columns.")
    found: dict[int, tuple[Attribute, ColumnMask]] = {}
    for index, output in enumerate(statement.outputs):
        candidates = list(_named(touched, output.name)) if output.name else []
        if len(candidates) > 1:
            return Refused(f'column "{output.name}" may be one of several that are masked')
        if candidates:
            found[index] = candidates[0]
    return ByIndex(len(statement.outputs), found) if found else _BY_ORIGIN


def _copied_relation(statement: Statement, copy: Copy, touched: list[MaskedRelation]) -> MaskRule:
    (written,) = statement.relations
    if written.schema:
        exact = [relation for relation in touched if relation.schema == written.schema]
        touched = exact or touched
    if len(touched) > 1:
        return Refused(f"{written.name} may be one of several relations", "Name its schema.")
    (relation,) = touched
    attributes = {attribute.name: attribute for attribute in relation.attributes}
    names = copy.columns or tuple(a.name for a in relation.attributes if not a.generated)
    if not attributes.keys() >= set(names):
        return Refused(f"{written.name} has no such columns")
    found: dict[int, tuple[Attribute, ColumnMask]] = {}
    for index, name in enumerate(names):
        attribute = attributes[name]
        if attribute.number in relation.hidden:
            return Refused(f'policy does not show you column "{name}"', "Name the other columns.")
        if attribute.number in relation.masks:
            found[index] = attribute, relation.masks[attribute.number]
    return ByIndex(len(names), found) if found else _BY_ORIGIN


def _named(touched: Iterable[MaskedRelation], name: str) -> Iterator[tuple[Attribute, ColumnMask]]:
    for relation in touched:
        for attribute in relation.attributes:
            if attribute.name == name and attribute.number in relation.masks:
                yield attribute, relation.masks[attribute.number]
