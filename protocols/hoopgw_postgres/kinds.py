"""Which action each statement of the grammar is, and what the grammar's nodes look like.

An action is the word that policy uses (``schema.cedarschema``). A statement that is not listed has
no action, so it is not understood and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Final, TypeAlias

Fields: TypeAlias = Mapping[str, str | None]
"""Field to the type in it; None for a scalar. Lists are not told apart: the tree shows them."""

_BY_KIND: Final[Mapping[str, str]] = {
    "select": "SelectStmt",
    "insert": "InsertStmt",
    "update": "UpdateStmt",
    "delete": "DeleteStmt",
    "merge": "MergeStmt",
    "truncate": "TruncateStmt",
    "copy": "CopyStmt",  # copy_in or copy_out, as its direction says
    "set": "VariableSetStmt ConstraintsSetStmt UnlistenStmt",
    "show": "VariableShowStmt",
    "explain": "ExplainStmt",
    "transaction": "TransactionStmt",
    "prepare": "PrepareStmt",
    "execute": "ExecuteStmt",
    "deallocate": "DeallocateStmt",
    "declare": "DeclareCursorStmt",
    "fetch": "FetchStmt",
    "close": "ClosePortalStmt",
    "listen": "ListenStmt",
    "notify": "NotifyStmt",
    "lock": "LockStmt",
    "discard": "DiscardStmt",
    "do": "DoStmt",
    "call": "CallStmt",
    "maintenance": "VacuumStmt ClusterStmt ReindexStmt CheckPointStmt RefreshMatViewStmt",
    # Who may do what; roles and their passwords count as that.
    "grant": """GrantStmt GrantRoleStmt AlterDefaultPrivilegesStmt CreateRoleStmt AlterRoleStmt
        AlterRoleSetStmt DropRoleStmt DropOwnedStmt ReassignOwnedStmt AlterOwnerStmt
        CreatePolicyStmt AlterPolicyStmt SecLabelStmt""",
    # What reaches beyond one database.
    "other": """AlterSystemStmt LoadStmt CreatedbStmt AlterDatabaseStmt AlterDatabaseSetStmt
        AlterDatabaseRefreshCollStmt DropdbStmt CreateTableSpaceStmt DropTableSpaceStmt
        AlterTableSpaceOptionsStmt AlterTableMoveAllStmt""",
    "ddl": """CreateSchemaStmt CreateStmt CreateForeignTableStmt CreateTableAsStmt ViewStmt
        AlterTableStmt IndexStmt CreateSeqStmt AlterSeqStmt CreateStatsStmt AlterStatsStmt DropStmt
        RenameStmt AlterObjectSchemaStmt AlterObjectDependsStmt CommentStmt CreateDomainStmt
        AlterDomainStmt CreateEnumStmt AlterEnumStmt CreateRangeStmt CompositeTypeStmt AlterTypeStmt
        CreateFunctionStmt AlterFunctionStmt CreateTrigStmt CreateEventTrigStmt AlterEventTrigStmt
        RuleStmt DefineStmt CreateCastStmt CreateOpClassStmt CreateOpFamilyStmt AlterOpFamilyStmt
        AlterOperatorStmt AlterCollationStmt CreateConversionStmt CreateTransformStmt
        CreatePLangStmt CreateAmStmt CreateExtensionStmt AlterExtensionStmt
        AlterExtensionContentsStmt CreateFdwStmt AlterFdwStmt CreateForeignServerStmt
        AlterForeignServerStmt CreateUserMappingStmt AlterUserMappingStmt DropUserMappingStmt
        ImportForeignSchemaStmt CreatePublicationStmt AlterPublicationStmt CreateSubscriptionStmt
        AlterSubscriptionStmt DropSubscriptionStmt AlterTSDictionaryStmt
        AlterTSConfigurationStmt ReplicaIdentityStmt""",
}

KINDS: Final[Mapping[str, str]] = {
    node: kind for kind, nodes in _BY_KIND.items() for node in nodes.split()
}
"""Statement node to its action."""

TRANSACTIONS: Final[Mapping[str, str]] = {
    "TRANS_STMT_BEGIN": "begin",
    "TRANS_STMT_START": "begin",
    "TRANS_STMT_COMMIT": "commit",
    "TRANS_STMT_ROLLBACK": "rollback",
    "TRANS_STMT_SAVEPOINT": "savepoint",
    "TRANS_STMT_RELEASE": "release",
    "TRANS_STMT_ROLLBACK_TO": "rollback_to",
    "TRANS_STMT_PREPARE": "prepare",
    "TRANS_STMT_COMMIT_PREPARED": "commit_prepared",
    "TRANS_STMT_ROLLBACK_PREPARED": "rollback_prepared",
}


def load_nodes() -> Mapping[str, Fields]:
    """Read ``nodes.txt``, which ``tools/postgres_nodes.py`` wrote from libpg_query's own schema."""
    text = resources.files(__package__).joinpath("nodes.txt").read_text("ascii")
    nodes: dict[str, Fields] = {}
    for line in text.splitlines():
        name, *fields = line.split()
        parts = [field.rstrip("*").partition(":") for field in fields]
        nodes[name] = {field: kind or None for field, _, kind in parts}
    return nodes
