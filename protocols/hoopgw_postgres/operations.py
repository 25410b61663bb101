"""From facts to operations: what policy is asked about a text.

Every relation that a statement names becomes an access to a `Postgres::Table`; what has no relation
becomes an access to the `Postgres::Database`. A name without a schema is looked up by the server
along its search path, which we do not see; so it counts as that name in every schema on the path,
and each of these accesses must be allowed.

Pure: nothing here asks the server or the policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import Final

from attrs import define, field

from hoopgw.errors import ConfigError
from hoopgw.events import Access, ContextValue, Operation, Resource, operation_digest
from hoopgw.spi import TargetSettings
from hoopgw_postgres.functions import called_action
from hoopgw_postgres.statements import Facts, Relation, Statement, executed, fetched

_CACHE_LIMIT: Final = 10_000

_DATABASE_ACTIONS: Final[Mapping[str, str]] = {
    # State of the session; the statements that PREPARE and DECLARE name have accesses of their own.
    "deallocate": "set",
    "close": "set",
    "discard": "set",
    # What these run was judged when it was prepared, and is judged again by its own facts. Alone
    # they are not understood.
    "execute": "other",
    "fetch": "other",
    "unknown": "other",
}
_TWO_PHASE: Final = frozenset({"prepare", "commit_prepared", "rollback_prepared"})
_WITHOUT_ACCESS: Final = frozenset({"prepare", "declare"})


def parse_column(written: str) -> tuple[str, str, str]:
    """Split ``schema.table.column``; a part with a dot or an upper-case letter is quoted as in SQL.

    Raises:
        ConfigError: it is not of this form.

    """
    parts: list[str] = []
    rest = written
    while rest:
        if rest.startswith('"'):
            end = 1
            while (end := rest.find('"', end)) >= 0 and rest[end + 1 : end + 2] == '"':
                end += 2
            part, rest = rest[1:end].replace('""', '"') if end > 0 else "", rest[end + 1 :]
        else:
            part, dot, rest = rest.partition(".")
            rest = dot + rest
        parts.append(part)
        if rest and (not rest.startswith(".") or rest == "."):
            break
        rest = rest[1:]
    if len(parts) != 3 or rest or not all(parts):
        raise ConfigError(f"labels: {written!r} is not schema.table.column")
    return parts[0], parts[1], parts[2]


def column_labels(target: TargetSettings) -> dict[tuple[str, str, str], frozenset[str]]:
    """Return a target's classified columns, as schema, table and column, with their labels."""
    return {parse_column(name): frozenset(labels) for name, labels in target.labels.items()}


def check_target(target: TargetSettings) -> None:
    """Validate the labels of a target; see `hoopgw.spi.ProtocolSpec`.

    Raises:
        ConfigError: a label is not of a column.

    """
    column_labels(target)


@define(eq=False)
class Place:
    """Where a session works: the resources that its statements can name.

    Args:
        target: the target's settings.
        database: on the server.
        account: on the server.
        schemas: the effective search path, without ``pg_catalog``.
        labels: labels of relations, by schema and name; with views that pass classified columns on.

    """

    target: TargetSettings
    database: str
    account: str
    schemas: tuple[str, ...] = ("public",)
    labels: Mapping[tuple[str, str], frozenset[str]] = field(factory=dict)
    resource: Resource = field(init=False)
    """The database."""
    _tables: dict[tuple[str, str], Resource] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        environment = self.target.environment
        above = (Resource(type="Hoopgw::Environment", id=environment),) if environment else ()
        target = Resource(type="Hoopgw::Target", id=self.target.name, parents=above)
        self.resource = Resource(
            type="Postgres::Database", id=f"{self.target.name}/{self.database}", parents=(target,)
        )
        merged: dict[tuple[str, str], frozenset[str]] = {}
        for (schema, table, _), labels in column_labels(self.target).items():
            merged[schema, table] = merged.get((schema, table), frozenset()) | labels
        for name, labels in self.labels.items():
            merged[name] = merged.get(name, frozenset()) | labels
        self.labels = merged

    def table(self, schema: str, name: str) -> Resource:
        """Return the resource of a relation."""
        found = self._tables.get((schema, name))
        if found is None:
            if len(self._tables) >= _CACHE_LIMIT:
                self._tables.clear()
            found = self._tables[schema, name] = Resource(
                type="Postgres::Table",
                id=f"{self.target.name}/{schema}.{name}",
                parents=(self.resource,),
                labels=self.labels.get((schema, name), frozenset()),
            )
        return found

    def tables(self, relation: Relation) -> Iterator[Resource]:
        """Yield what a relation, as written, may be."""
        if relation.schema:
            yield self.table(relation.schema, relation.name)
        elif relation.name in CATALOGS:
            yield self.table("pg_catalog", relation.name)
        else:
            for schema in self.schemas or ("public",):
                yield self.table(schema, relation.name)

    def columns(self) -> dict[tuple[str, str, str], Resource]:
        """Return the classified columns, as resources for `hoopgw.spi.Policy.sights`."""
        return {
            (schema, table, column): Resource(
                type="Postgres::Column",
                id=f"{self.target.name}/{schema}.{table}.{column}",
                parents=(self.table(schema, table),),
                labels=labels,
            )
            for (schema, table, column), labels in column_labels(self.target).items()
        }


def operation(
    place: Place,
    facts: Facts,
    text: bytes,
    *,
    in_transaction: bool,
    runs: Iterable[Statement] = (),
    digested: Iterable[tuple[str, bytes]] = (),
) -> Operation:
    """Return the operation that a text is.

    Args:
        place: where it would run.
        facts: of the text.
        text: the exact bytes.
        in_transaction: whether a transaction block is open.
        runs: the statements that an EXECUTE or FETCH in the text stands for, if they are elsewhere;
            with these given, it has their accesses instead of its own.
        digested: what else an approval is bound to: chain, bound values, settings.

    """
    runs = tuple(runs)
    statements = (*facts.statements, *runs)
    resolved = bool(runs) or not (executed(facts.statements) or fetched(facts.statements))
    accesses = dict.fromkeys(_accesses(place, statements, resolved=resolved))
    if not accesses:
        action = "select" if facts.understood else "other"
        accesses[Access(action=f"Postgres::{action}", resource=place.resource)] = None
    parts = (
        ("protocol", b"postgres"),
        ("target", place.target.name.encode()),
        ("database", place.database.encode()),
        ("account", place.account.encode()),
        ("text", text),
        *digested,
    )
    return Operation(
        protocol="postgres",
        target=place.target.name,
        action=", ".join(dict.fromkeys(s.kind for s in facts.statements)) or "empty",
        accesses=tuple(accesses),
        text=text.decode(errors="backslashreplace"),
        context=_context(place, statements, len(facts.statements), in_transaction),
        digest=operation_digest(parts),
    )


def would_connect(target: TargetSettings, account: str, database: str) -> Operation:
    """Return the operation that opening a session would be; see `hoopgw.spi.ProtocolSpec`."""
    return connecting(Place(target, database, account))


def connecting(place: Place) -> Operation:
    """Return the operation that opening a session is."""
    parts = (
        ("protocol", b"postgres"),
        ("target", place.target.name.encode()),
        ("database", place.database.encode()),
        ("account", place.account.encode()),
        ("connect", b""),
    )
    return Operation(
        protocol="postgres",
        target=place.target.name,
        action="connect",
        accesses=(Access(action="Postgres::connect", resource=place.resource),),
        text="",
        context=_context(place, (), 0, in_transaction=False),
        digest=operation_digest(parts),
    )


def _accesses(place: Place, statements: Iterable[Statement], *, resolved: bool) -> Iterator[Access]:
    for statement in statements:
        placed = set()
        for relation in statement.relations:
            placed.add(relation.role)
            for resource in place.tables(relation):
                yield Access(action=f"Postgres::{relation.role}", resource=resource)
        actions = set()
        for kind in statement.kinds or {statement.kind}:
            if kind in _WITHOUT_ACCESS or (resolved and kind in {"execute", "fetch"}):
                continue
            actions.add(_DATABASE_ACTIONS.get(kind, kind))
        # In a stable order, so that the same text asks the same question.
        for action in sorted(actions - placed | _besides(statement)):
            yield Access(action=f"Postgres::{action}", resource=place.resource)


def _besides(statement: Statement) -> set[str]:
    """Return what a statement does to the database besides what its kind says."""
    actions = {called_action(schema, name) for schema, name in statement.functions}
    if statement.copy is not None and statement.copy.outside:
        actions.add("other")  # a file or program of the server's host
    if statement.transaction in _TWO_PHASE:
        actions.add("other")  # its locks outlive the session
    return {action for action in actions if action is not None}


def _context(
    place: Place, statements: Iterable[Statement], count: int, in_transaction: bool
) -> dict[str, ContextValue]:
    functions: set[str] = set()
    has_where, mints = True, False
    for statement in statements:
        has_where &= statement.has_where
        mints |= statement.mints_credentials
        for schema, name in statement.functions:
            functions.add(f"{schema}.{name}".lower() if schema else name.lower())
    return {
        "account": place.account,
        "hasWhere": has_where,
        "multiStatement": count > 1,
        "functions": tuple(sorted(functions)),
        "mintsCredentials": mints,
        "inTransaction": in_transaction,
    }


def _catalogs() -> frozenset[str]:
    text = resources.files(__package__).joinpath("catalogs.txt").read_text("ascii")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


CATALOGS: Final = _catalogs()
"""Relations of ``pg_catalog``, which comes first on every search path that does not name it."""
