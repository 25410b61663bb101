"""Write ``protocols/hoopgw_postgres/nodes.txt``: the nodes that PostgreSQL's raw grammar makes.

Run it by hand after an upgrade of postgast, and read the difference: a node or a field that is new
has to be understood by the statement walk before it is let in. One line is one node type with its
fields; ``field:Type`` is a struct without a tag, ``field:Node`` a tagged node, ``*`` a list, and a
field without a type is a scalar.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

_SCHEMA: Final[Any] = import_module("postgast.pg_query_pb2").DESCRIPTOR  # not typed

_ANALYSED = """
Var Param Aggref WindowFunc WindowFuncRunCondition SubscriptingRef FuncExpr OpExpr DistinctExpr
NullIfExpr ScalarArrayOpExpr SubPlan AlternativeSubPlan FieldSelect FieldStore RelabelType
CoerceViaIO ArrayCoerceExpr ConvertRowtypeExpr CollateExpr CaseTestExpr ArrayExpr RowCompareExpr
JsonConstructorExpr JsonExpr JsonTablePath JsonTablePathScan JsonTableSiblingJoin CoerceToDomain
CoerceToDomainValue NextValueExpr InferenceElem ReturningExpr TargetEntry RangeTblRef FromExpr
OnConflictExpr Query RangeTblEntry RTEPermissionInfo RangeTblFunction TableSampleClause
TableFunc WithCheckOption SortGroupClause WindowClause RowMarkClause MergeAction IntList OidList
InlineCodeBlock CallContext SetOperationStmt PLAssignStmt Node ParseResult ScanResult ScanToken
SummaryResult
"""
ANALYSED_ONLY = frozenset(_ANALYSED.split())
"""Types that only analysis or planning makes: in a raw tree, they are not understood."""


def lines() -> list[str]:
    """Return the table, one line a node type."""
    found = []
    for name, message in sorted(_SCHEMA.message_types_by_name.items()):
        if name not in ANALYSED_ONLY:
            found.append(" ".join([name, *_fields(message)]))
    return found


def _fields(message: Any) -> list[str]:
    fields = []
    for field in message.fields:
        kind = f":{field.message_type.name}" if field.message_type else ""
        fields.append(field.json_name + kind + ("*" if field.is_repeated else ""))
    return fields


if __name__ == "__main__":
    target = Path(__file__).parents[1] / "protocols/hoopgw_postgres/nodes.txt"
    target.write_text("\n".join(lines()) + "\n")
    sys.stdout.write(f"{target.name}: {len(lines())} node types\n")
