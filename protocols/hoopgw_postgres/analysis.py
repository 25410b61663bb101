"""From raw parse trees to facts.

Every node and field that the walk meets must be one that the grammar's own schema lists
(``nodes.txt``), and every statement one that `kinds.KINDS` lists; anything else makes the statement
`UNKNOWN`. Most nodes are only walked through; those that name something have a visitor.

The walk knows the scopes of CTEs, because a name that is taken for a CTE is a relation missed. It
resolves nothing else: no catalogue is at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from hoopgw_postgres.grammar import GrammarError, parse
from hoopgw_postgres.kinds import KINDS, Fields, load_nodes
from hoopgw_postgres.relations import Naming, column_names, integers, settings_row, strings
from hoopgw_postgres.statements import UNKNOWN, Facts, Output, Statement
from hoopgw_postgres.utility import describe

DEPTH: Final = 3000
"""Nodes that a tree may be deep."""
STATEMENTS_LIMIT: Final = 1000
"""Statements in one text: who takes the facts is not to be held up by them."""
NAMES_LIMIT: Final = 20_000
"""Names in one text, with those that are said twice in different ways."""

Body: TypeAlias = dict[str, Any]
"""A node without its tag: field to value, as JSON gives it."""
Scope: TypeAlias = frozenset[str]
"""Names of the CTEs that a query can see."""


class UnknownNodeError(Exception):
    """The tree holds what we do not understand."""


class Analyser:
    """Makes facts of texts. Keeps the grammar's schema, and nothing of the texts."""

    def __init__(self) -> None:
        self._nodes = load_nodes()
        self._names = 0  # found so far in the text

    def facts(self, text: bytes) -> Facts:
        """Return the facts of ``text``; whatever it holds, nothing is raised for it."""
        try:
            trees = parse(text)
            if len(trees) > STATEMENTS_LIMIT:
                return Facts(error=f"more than {STATEMENTS_LIMIT} statements in one text")
            self._names = 0
            return Facts(tuple(self._statement(tree, text) for tree in trees))
        except GrammarError as error:
            return Facts(error=error.message, position=error.position)
        except RecursionError:
            return Facts(error="the statement nests too deep")
        except (LookupError, TypeError, ValueError, AttributeError):
            # A tree of a shape that the walk does not expect: not understood, so refused; and the
            # parser, which others use too, lives on.
            return Facts(error="hoopgw does not understand this statement")

    def _statement(self, tree: Body, text: bytes) -> Statement:
        start = tree.get("stmt_location", 0)
        length = tree.get("stmt_len", 0) or len(text) - start
        ((node, body),) = tree["stmt"].items()
        try:
            walk = Walk(self._nodes)
            walk.statement(node, body)
        except UnknownNodeError:
            return Statement(kind=UNKNOWN, node=node, start=start, length=length)
        self._names += walk.names.count()
        if self._names > NAMES_LIMIT:
            raise GrammarError(f"the statement names more than {NAMES_LIMIT} things")
        return walk.finish(node, body, start, length)


class Walk:
    """One pass over one statement."""

    def __init__(self, nodes: Mapping[str, Fields]) -> None:
        self._nodes = nodes
        self._depth = 0
        self._top = False
        self.names = Naming()
        self.kinds: set[str] = set()
        self.statement_nodes: set[str] = set()
        self.has_where = True
        self.parameters = 0

    # The statement as a whole.

    def statement(self, node: str, body: Body) -> None:
        """Walk a whole statement."""
        if node not in KINDS:
            raise UnknownNodeError(node)
        shows = node in {"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"}
        self._top = shows or node in {
            "ExplainStmt",
            "PrepareStmt",
            "DeclareCursorStmt",
            "CopyStmt",
        }
        self._struct(node, body, frozenset())

    def finish(self, node: str, body: Body, start: int, length: int) -> Statement:
        """Return what was found, with what the statement's own fields say."""
        found = Statement(
            kind=KINDS[node],
            node=node,
            start=start,
            length=length,
            kinds=frozenset(self.kinds),
            nodes=frozenset(self.statement_nodes),
            has_where=self.has_where,
            parameters=self.parameters,
        )
        return describe(self.names.complete(found), body)

    # Going through.

    def _any(self, node: Body, scope: Scope) -> None:
        for tag, body in node.items():  # one, or none for a null
            if tag != "A_Const":
                self._struct(tag, body, scope)

    def _each(self, nodes: Iterable[Body], scope: Scope) -> None:
        for node in nodes:
            self._any(node, scope)

    def _struct(self, tag: str, body: Body, scope: Scope) -> None:
        kind = KINDS.get(tag)
        if kind is not None:
            self._count_statement(tag, kind, body)
        visit = _VISITORS.get(tag)
        if visit is None:
            self._fields(tag, body, scope)
        else:
            visit(self, body, scope)

    def _count_statement(self, tag: str, kind: str, body: Body) -> None:
        self.kinds.add(kind)
        self.statement_nodes.add(tag)
        for field in ("removeType", "renameType", "objectType", "objtype", "kind", "target"):
            if field in body:
                self.statement_nodes.add(f"{tag} {body[field]}")
        self.names.enter_statement(tag, kind, body)
        if tag in {"CreateTableAsStmt", "ViewStmt"}:
            self._top = False  # what a query gives goes into a relation, not to the client

    def _fields(self, tag: str, body: Body, scope: Scope, but: Iterable[str] = ()) -> None:
        """Walk the fields of a node, except those in ``but``."""
        fields = self._nodes.get(tag)
        if fields is None:
            raise UnknownNodeError(tag)
        self._depth += 1
        if self._depth > DEPTH:
            raise RecursionError
        if tag == "AlterTableCmd":
            self.statement_nodes.add(f"{tag} {body.get('subtype', '')}")
        for field, value in body.items():
            try:
                kind = fields[field]
            except KeyError:
                raise UnknownNodeError(f"{tag}.{field}") from None
            if kind is None or field in but:
                continue
            for item in value if type(value) is list else (value,):
                if kind == "Node":
                    self._any(item, scope)
                else:
                    self._struct(kind, item, scope)
        self._depth -= 1

    # Queries. What is `_top` when one begins is taken by it, so that what is nested is not.

    def _take_top(self) -> bool:
        top, self._top = self._top, False
        return top

    def _select(self, body: Body, scope: Scope) -> None:
        top = self._take_top()
        if "intoClause" in body:
            top = False
            self.kinds.add("ddl")
            self.statement_nodes.add("IntoClause")
        role, level = self.names.enter_query()
        outer, self.names.settings_row = self.names.settings_row, settings_row(body)
        scope = self._with(body, scope)
        if "intoClause" in body:
            self.names.relation(body["intoClause"].get("rel", {}), "ddl")
        self._each(body.get("fromClause", ()), scope)
        self._targets(body.get("targetList", ()), scope, top)
        if top:
            self._top_facts(body)
        self._fields(
            "SelectStmt",
            body,
            scope,
            but=("withClause", "intoClause", "fromClause", "targetList"),
        )
        self.names.settings_row = outer
        self.names.leave_query(role, level)

    def _top_facts(self, body: Body) -> None:
        names = self.names
        names.set_operation = body.get("op", "SETOP_NONE") != "SETOP_NONE"
        names.distinct = "distinctClause" in body
        for field in ("sortClause", "groupClause", "distinctClause"):
            names.positions.update(integers(body.get(field, ())))

    def _with(self, body: Body, scope: Scope) -> Scope:
        """Walk the CTEs of a query, and return the scope of its main part."""
        clause = body.get("withClause")
        if clause is None:
            return scope
        expressions = [node["CommonTableExpr"] for node in clause.get("ctes", ())]
        if clause.get("recursive"):
            scope |= {expression["ctename"] for expression in expressions}
        for expression in expressions:
            # In a plain WITH, a name is known only to what follows it.
            self._fields("CommonTableExpr", expression, scope, but=("aliascolnames",))
            scope |= {expression["ctename"]}
        return scope

    def _targets(self, targets: Iterable[Body], scope: Scope, top: bool) -> None:
        """Walk a select list or RETURNING list; at the top, keep what stands bare."""
        for target in targets:
            item = target["ResTarget"]
            value = item.get("val", {})
            column = column_names(value["ColumnRef"]) if "ColumnRef" in value else None
            if column is None:
                self._any(value, scope)
                output = Output("", item.get("name", ""))
            elif column[-1] is None:
                output = Output("", "", star=True)
                if not top:
                    self.names.nested_star(column[:-1])
            else:
                output = Output(column[-1], item.get("name", ""))
                self.names.reference(column, mentioned=not top)
            if top:
                self.names.outputs.append(output)

    def _insert(self, body: Body, scope: Scope) -> None:
        top = self._take_top()
        role, level = self.names.enter_query()
        self.names.relation(body["relation"], "insert")
        scope = self._with(body, scope)
        conflict = body.get("onConflictClause")
        if conflict is not None:
            self.names.alias("excluded", body["relation"])
            if conflict.get("action") == "ONCONFLICT_UPDATE":
                self.kinds.add("update")
                self.names.relation(body["relation"], "update")
        self._fields(
            "InsertStmt", body, scope, but=("withClause", "relation", "cols", "returningClause")
        )
        self._returning(body, scope, top)
        self.names.leave_query(role, level)

    def _update(self, body: Body, scope: Scope) -> None:
        self._write("UpdateStmt", "update", body, scope)
        self.has_where &= "whereClause" in body

    def _delete(self, body: Body, scope: Scope) -> None:
        self._write("DeleteStmt", "delete", body, scope)
        self.has_where &= "whereClause" in body

    def _merge(self, body: Body, scope: Scope) -> None:
        self._write("MergeStmt", "merge", body, scope)
        for clause in body.get("mergeWhenClauses", ()):
            action = clause["MergeWhenClause"].get("commandType", "")
            kind = {"CMD_INSERT": "insert", "CMD_UPDATE": "update", "CMD_DELETE": "delete"}.get(
                action
            )
            if kind is not None:
                self.kinds.add(kind)
                self.names.relation(body["relation"], kind)

    def _write(self, tag: str, kind: str, body: Body, scope: Scope) -> None:
        top = self._take_top()
        role, level = self.names.enter_query()
        self.names.relation(body["relation"], kind)
        scope = self._with(body, scope)
        self._fields(tag, body, scope, but=("withClause", "relation", "returningClause"))
        self._returning(body, scope, top)
        self.names.leave_query(role, level)

    def _returning(self, body: Body, scope: Scope, top: bool) -> None:
        clause = body.get("returningClause")
        if clause is None:
            return
        relation = body["relation"]
        self.names.relation(relation, "select")
        for alias in ("old", "new"):
            self.names.alias(alias, relation)
        for option in clause.get("options", ()):
            self.names.alias(option["ReturningOption"]["value"], relation)
        self._targets(clause.get("exprs", ()), scope, top)

    # What names something.

    def _range_var(self, body: Body, scope: Scope) -> None:
        if "schemaname" in body or body["relname"] not in scope:
            self.names.relation(body)

    def _join(self, body: Body, scope: Scope) -> None:
        self.names.natural_join |= bool(body.get("isNatural"))
        if "isNatural" in body or "usingClause" in body:
            self.names.operators.add("=")
        self.names.join_alias |= "alias" in body or "join_using_alias" in body
        self.names.mentions.update(strings(body.get("usingClause", ())))
        self._fields("JoinExpr", body, scope, but=("usingClause",))

    def _column(self, body: Body, _scope: Scope) -> None:
        self.names.reference(column_names(body), mentioned=True)

    def _indirection(self, body: Body, scope: Scope) -> None:
        names = strings(body.get("indirection", ()))
        self.names.mentions.update(names)
        self.names.selected.update(names)
        self._fields("A_Indirection", body, scope)

    def _function(self, body: Body, scope: Scope) -> None:
        self.names.function(strings(body["funcname"]), body.get("args", ()))
        self._fields("FuncCall", body, scope, but=("funcname",))

    def _expression(self, body: Body, scope: Scope) -> None:
        if "BETWEEN" in body.get("kind", ""):
            self.names.operators.update((">=", "<=", "<", ">"))
        self._operator("A_Expr", "name", body, scope)

    def _sub_link(self, body: Body, scope: Scope) -> None:
        if "operName" not in body:
            self.names.operators.add("=")  # IN
        self._operator("SubLink", "operName", body, scope)

    def _sort(self, body: Body, scope: Scope) -> None:
        self._operator("SortBy", "useOp", body, scope)

    def _case(self, body: Body, scope: Scope) -> None:
        if "arg" in body:
            self.names.operators.add("=")
        self._fields("CaseExpr", body, scope)

    def _operator(self, tag: str, field: str, body: Body, scope: Scope) -> None:
        self.names.operator(strings(body.get(field, ())))
        self._fields(tag, body, scope, but=(field,))

    def _index_element(self, body: Body, scope: Scope) -> None:
        if "name" in body:
            self.names.mentions.add(body["name"])
        self._fields("IndexElem", body, scope)

    def _parameter(self, body: Body, _scope: Scope) -> None:
        self.parameters = max(self.parameters, body.get("number", 0))

    def _assignment(self, body: Body, scope: Scope) -> None:
        """``SET name = value``: the name is written, not read."""
        self._any(body.get("val", {}), scope)
        self._each(body.get("indirection", ()), scope)

    def _lock(self, body: Body, scope: Scope) -> None:
        self.kinds.add("lock")

    def _nothing(self, body: Body, scope: Scope) -> None:
        """Names nothing; or, as in FOR UPDATE OF, an alias that a FROM has named."""


_VISITORS: Final[Mapping[str, Callable[[Walk, Body, Scope], None]]] = {
    "SelectStmt": Walk._select,
    "InsertStmt": Walk._insert,
    "UpdateStmt": Walk._update,
    "DeleteStmt": Walk._delete,
    "MergeStmt": Walk._merge,
    "RangeVar": Walk._range_var,
    "JoinExpr": Walk._join,
    "ColumnRef": Walk._column,
    "A_Indirection": Walk._indirection,
    "FuncCall": Walk._function,
    "A_Expr": Walk._expression,
    "SubLink": Walk._sub_link,
    "SortBy": Walk._sort,
    "CaseExpr": Walk._case,
    "IndexElem": Walk._index_element,
    "ParamRef": Walk._parameter,
    "ResTarget": Walk._assignment,
    "LockingClause": Walk._lock,
    "Alias": Walk._nothing,
    "String": Walk._nothing,
}
