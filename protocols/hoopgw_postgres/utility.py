"""What the fields of utility statements say: names, options, COPY, credentials (see `analysis`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from hoopgw_postgres.kinds import TRANSACTIONS
from hoopgw_postgres.relations import strings
from hoopgw_postgres.statements import Copy, Statement

Body: TypeAlias = dict[str, Any]

_NAME_FIELDS: Final[Mapping[str, str]] = {
    "PrepareStmt": "name",
    "ExecuteStmt": "name",
    "DeallocateStmt": "name",
    "DeclareCursorStmt": "portalname",
    "FetchStmt": "portalname",
    "ClosePortalStmt": "portalname",
    "ListenStmt": "conditionname",
    "UnlistenStmt": "conditionname",
    "NotifyStmt": "conditionname",
    "VariableShowStmt": "name",
}
# Of src/include/nodes/parsenodes.h.
_CURSOR_OPT_BINARY: Final = 0x0001
_CURSOR_OPT_HOLD: Final = 0x0020


def describe(statement: Statement, body: Body) -> Statement:
    """Return ``statement`` with what the fields of its own node say."""
    node = statement.node
    changes: dict[str, Any] = {"name": body.get(_NAME_FIELDS.get(node, ""), "")}
    if node == "CopyStmt":
        copy = _copy(body)
        changes["copy"] = copy
        changes["kind"] = kind = "copy_in" if copy.into else "copy_out"
        changes["kinds"] = statement.kinds - {"copy"} | {kind}
    elif node == "ExplainStmt":
        changes |= _explain(statement, body)
    elif node == "TransactionStmt":
        changes["transaction"] = TRANSACTIONS.get(body.get("kind", ""), "")
    elif node == "DeclareCursorStmt":
        options = body.get("options", 0)
        changes["holds"] = bool(options & _CURSOR_OPT_HOLD)
        changes["binary_cursor"] = bool(options & _CURSOR_OPT_BINARY)
    elif node in {"CreateRoleStmt", "AlterRoleStmt"}:
        # PASSWORD NULL takes one away, and has no argument.
        changes["mints_credentials"] = bool(_options(body).get("password"))
    return msgspec.structs.replace(statement, **changes)


def _options(body: Body) -> dict[str, Body]:
    """Return a statement's options: lower-case name to argument, empty if it has none."""
    found = {}
    for item in body.get("options", ()):
        option = item.get("DefElem", {})
        found[option.get("defname", "").lower()] = option.get("arg", {})
    return found


def _truth(argument: Body) -> bool:
    """Return what PostgreSQL's ``defGetBoolean`` makes of an option's argument."""
    if "Integer" in argument:
        return bool(argument["Integer"].get("ival", 0))
    if "Boolean" in argument:
        return bool(argument["Boolean"].get("boolval"))
    words = strings([argument])
    return not words or words[0].lower() not in {"false", "off", "no", "0", "f", "n"}


def _explain(statement: Statement, body: Body) -> dict[str, Any]:
    options = _options(body)
    analyze = "analyze" in options and _truth(options["analyze"])
    if analyze:
        return {"explains": True, "analyze": True}
    # Nothing runs: all that is named is looked at only.
    relations = {
        msgspec.structs.replace(relation, role="explain"): None for relation in statement.relations
    }
    return {"explains": True, "kinds": frozenset({"explain"}), "relations": tuple(relations)}


def _copy(body: Body) -> Copy:
    options = _options(body)
    words = strings([options.get("format", {})])
    header = options.get("header")
    return Copy(
        into=bool(body.get("is_from")),
        outside=bool(body.get("filename")) or bool(body.get("is_program")),
        query="query" in body,
        columns=tuple(strings(body.get("attlist", ()))),
        format=words[0].lower() if words else "text",
        options=frozenset(options),
        header=header is not None and _truth(header),
        force_quote="force_quote" in options,
    )
