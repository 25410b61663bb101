"""What a text says that it will do: facts about statements, as values.

Facts come from the raw grammar only: no catalogue was asked, so every name is as written. They are
made in the parser process (`parser_process`), cross to the worker as MessagePack, and may be cached
by text there: the same text gives the same facts, whatever the session. They never hold a literal,
except the value of a setting.

Which columns an answer may show is judged from them by `masking_rules`; so they say which names
stand as bare output columns at the top, and list every other mention of anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

UNKNOWN: Final = "unknown"
"""Kind of a statement that we do not understand; it is always refused."""


class Relation(msgspec.Struct, frozen=True, array_like=True):
    """A relation that a statement names; never a CTE in its scope."""

    schema: str
    """As written; empty if it was not."""
    name: str
    role: str
    """What is done to it, as an action: ``select``, ``insert``, ``copy_out``, ``explain`` ..."""

    @property
    def written(self) -> str:
        """The name as the statement writes it."""
        return f"{self.schema}.{self.name}" if self.schema else self.name


class Output(msgspec.Struct, frozen=True, array_like=True):
    """One item of the select list or RETURNING list at the top of a statement."""

    name: str
    """The column's name if the item is a bare column; empty for an expression or a star."""
    alias: str = ""
    """From ``AS``."""
    star: bool = False


class Setting(msgspec.Struct, frozen=True, array_like=True):
    """One change of a setting, by SET, RESET or ``set_config`` with literals."""

    name: str
    """Lower case; ``all`` for RESET ALL."""
    value: str | None
    """None for DEFAULT and RESET, and if it is `computed`."""
    local: bool = False
    computed: bool = False
    """By ``set_config``, to what only the server will know."""


class Copy(msgspec.Struct, frozen=True, array_like=True):
    """A COPY statement."""

    into: bool
    """Data goes into the database: COPY FROM."""
    outside: bool
    """It reads or writes a file or program of the server's host."""
    query: bool
    """It copies a query's answer, not a relation."""
    columns: tuple[str, ...]
    """As listed; none means all."""
    format: str
    """``text``, ``csv`` or ``binary``."""
    options: frozenset[str]
    """Names of all options given."""
    header: bool
    force_quote: bool


class Statement(msgspec.Struct, frozen=True, array_like=True):
    """The facts of one statement."""

    kind: str
    """The main action: ``select``, ``insert``, ``ddl``, ``transaction`` ...; or `UNKNOWN`."""
    node: str
    """The grammar's name of the statement: ``SelectStmt``, ``CreateFunctionStmt`` ..."""
    start: int
    """Byte offset in the text."""
    length: int
    """In bytes, without the semicolon."""
    kinds: frozenset[str] = frozenset()
    """All actions that it will carry out, nested ones included."""
    nodes: frozenset[str] = frozenset()
    """All statement nodes in it, nested ones included, with the object type of a DROP or RENAME:
    ``RenameStmt OBJECT_TABLE``."""
    relations: tuple[Relation, ...] = ()
    functions: frozenset[tuple[str, str]] = frozenset()
    """Schema (empty if not written) and name of everything that is called."""
    operators: frozenset[str] = frozenset()
    """Operators used, with those that IN, BETWEEN, CASE and USING stand for."""
    operator_schemas: frozenset[str] = frozenset()
    """Schemas written in OPERATOR(schema.+)."""
    has_where: bool = True
    """False if an UPDATE or DELETE in it has no WHERE."""
    settings: tuple[Setting, ...] = ()
    transaction: str = ""
    """``begin``, ``commit``, ``rollback``, ``savepoint``, ``release``, ``rollback_to``,
    ``prepare``, ``commit_prepared``, ``rollback_prepared``; empty if it is no such statement."""
    name: str = ""
    """Of PREPARE, EXECUTE, DEALLOCATE, DECLARE, FETCH, CLOSE, LISTEN, NOTIFY or SHOW; empty if
    they say ALL or ``*``."""
    mints_credentials: bool = False
    copy: Copy | None = None
    holds: bool = False
    """DECLARE ... WITH HOLD."""
    binary_cursor: bool = False
    """DECLARE ... BINARY."""
    parameters: int = 0
    """The highest ``$n``."""
    explains: bool = False
    """It is an EXPLAIN; the plan is shown, and nothing runs unless `analyze`."""
    analyze: bool = False

    outputs: tuple[Output, ...] = ()
    """At the top, in order."""
    mentions: frozenset[str] = frozenset()
    """Every name that may be a column, anywhere but as a bare output at the top."""
    singles: frozenset[str] = frozenset()
    """References of one name: a column, or a whole row of the relation with that name or alias."""
    qualified: frozenset[tuple[str, str]] = frozenset()
    """References of several names, the last two: alias and column; or a function of the row."""
    selected: frozenset[str] = frozenset()
    """Names behind an expression, as in ``(x).name``: a field of it, or a function of it."""
    aliases: frozenset[tuple[str, str]] = frozenset()
    """Alias (or name) of every relation in a FROM or as a target, and the relation's name."""
    nested_stars: frozenset[str] = frozenset()
    """Relations whose columns a star expands elsewhere than in the outputs at the top."""
    row_stars: frozenset[str] = frozenset()
    """Aliases in ``ROW(a.*)``, ``f(a.*)``; empty string for an unqualified star."""
    renamed: frozenset[str] = frozenset()
    """Relations with a list of column aliases."""
    natural_join: bool = False
    join_alias: bool = False
    """A join as a whole has an alias."""
    set_operation: bool = False
    """UNION, INTERSECT or EXCEPT at the top."""
    distinct: bool = False
    """At the top."""
    positions: frozenset[int] = frozenset()
    """Outputs at the top that ORDER BY, GROUP BY or DISTINCT ON name by number."""


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """The facts of one text."""

    statements: tuple[Statement, ...] = ()
    error: str = ""
    """Why there are none: the grammar's own message, for the client."""
    position: int = 0
    """Of the error: a character of the text, from 1; 0 is unknown."""

    @property
    def understood(self) -> bool:
        """Whether every statement is of a kind that we know."""
        return not self.error and all(s.kind != UNKNOWN for s in self.statements)


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Facts)

encode = _ENCODER.encode
"""Facts to bytes."""


def decode(data: bytes) -> Facts:
    """Bytes to facts.

    Raises:
        msgspec.MsgspecError: they are none.

    """
    return _DECODER.decode(data)


def executed(statements: Iterable[Statement]) -> tuple[str, ...]:
    """Return what EXECUTE in a text runs, and no PREPARE before it in the same text has made."""
    return _made_elsewhere(statements, "execute", "prepare", "deallocate")


def fetched(statements: Iterable[Statement]) -> tuple[str, ...]:
    """Return what FETCH and MOVE in a text read, and no DECLARE before them has opened there."""
    return _made_elsewhere(statements, "fetch", "declare", "close")


def _made_elsewhere(
    statements: Iterable[Statement], using: str, making: str, ending: str
) -> tuple[str, ...]:
    """Return the names that statements use, and none before them in the same text has made.

    What one has made is what its name means from then on: it fails, and all behind it, if the name
    is taken. So its own facts, which are a part of the text's, say what is run.
    """
    made: set[str] = set()
    found: list[str] = []
    for each in statements:
        if each.kind == making:
            made.add(each.name)
        elif each.kind == "discard" or (each.kind == ending and not each.name):
            made.clear()
        elif each.kind == ending:
            made.discard(each.name)
        elif each.kind == using and each.name not in made:
            found.append(each.name)
    return tuple(found)
