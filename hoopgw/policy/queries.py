"""Queries for ``hoopgw policy prove``: what must never happen, in YAML. See hoopgw-policy(7)."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, TypeAlias

import cedarpy
import msgspec
from attrs import frozen
from cedarpy import pst

from hoopgw.errors import PolicyError
from hoopgw.policy import strict_yaml
from hoopgw.policy.annotations import Rule
from hoopgw.policy.schema import Schema
from hoopgw.policy.text import FILE_LIMIT, BrokenTextError, SourceFile, statements

QUERIES_LIMIT: Final = 500

Never: TypeAlias = Literal["allowed", "freely", "exceeding"]
"""What must not be: allowed, if only after an approval or masked; allowed without approval and in
clear; allowed for a chain where its root alone is refused."""
Who: TypeAlias = Literal["root", "below", "agent", "anyone"]
"""Whom ``principal`` in the condition means: the chain's root, a hop below it, an agent
wherever it stands, or any hop."""


Grants: TypeAlias = bool | Literal["root"]
"""Whether grants and broken glass count: all, none, or those to the root itself alone."""


class _Query(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    never: Never = "allowed"
    who: Who = "root"
    action: list[str] = []
    on: str | None = None
    when: str | None = None
    grants: Grants = True


class _File(msgspec.Struct, forbid_unknown_fields=True):
    queries: list[_Query]


@frozen(kw_only=True)
class Query:
    """One thing that must never happen."""

    name: str
    file: str
    line: int
    never: Never
    who: Who
    grants: Grants
    """Whether it must not happen through just-in-time grants and broken glass either."""
    condition: pst.Template
    """The requests that it is about, as a permit of Cedar."""
    rule: Rule
    """The same as text, to ask the engine."""

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"


def read_queries(path: Path, schema: Schema) -> tuple[Query, ...]:
    """Read a file of queries.

    Raises:
        PolicyError: it cannot be read, or a query is not one; the text names the place.

    """
    try:
        with path.open("rb") as stream:
            data = stream.read(FILE_LIMIT + 1)
        if len(data) > FILE_LIMIT:
            raise PolicyError(f"{path} is bigger than {FILE_LIMIT} bytes; split it")
        found, lines = strict_yaml.load(data.decode(), str(path))
        file = msgspec.convert(found, _File)
    except OSError as error:
        raise PolicyError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # of msgspec and UTF-8
        raise PolicyError(f"{path} is not a file of queries: {error}") from error
    if len(file.queries) > QUERIES_LIMIT:
        raise PolicyError(f"{path} has more than {QUERIES_LIMIT} queries; split it")
    return tuple(
        _query(each, path.name, lines[id(raw)], schema)
        for each, raw in zip(file.queries, found["queries"], strict=True)
    )


def _query(query: _Query, file: str, line: int, schema: Schema) -> Query:
    text = _cedar(query)
    where = f"{file}:{line}: query {query.name!r}"
    try:
        # Counts nesting, which would crash Cedar's parser, before that sees it.
        found = list(statements(SourceFile(name=file, text=text)))
        parsed = cedarpy.policies_to_pst(text)
    except (BrokenTextError, ValueError) as error:
        raise PolicyError(f"{where}: this is not Cedar: {error}") from error
    if len(found) != 1 or len(parsed.static_policies) != 1:
        raise PolicyError(f"{where}: `when` and `on` are each one expression of Cedar")
    validated = cedarpy.validate_policies(text, schema.handle)
    if not validated.validation_passed:
        said = validated.errors[0].error if validated.errors else "it does not fit the schema"
        raise PolicyError(f"{where}: {said[:300]}")
    (condition,) = parsed.static_policies.values()
    return Query(
        name=query.name,
        file=file,
        line=line,
        never=query.never,
        who=query.who,
        grants=query.grants,
        condition=condition,
        rule=Rule(id="query", effect="permit", file=file, line=line, order=0, text=text),
    )


def _cedar(query: _Query) -> str:
    """Write the requests that a query is about as a permit."""
    action = "action"
    if query.action:
        named = (name.rpartition("::") for name in query.action)
        uids = (f"{space}{dots}Action::{_quoted(name)}" for space, dots, name in named)
        action = f"action in [{', '.join(uids)}]"
    resource = f"resource in {query.on}" if query.on else "resource"
    when = f"\nwhen {{ {query.when}\n}}" if query.when else ""
    return f'@id("query")\npermit (principal, {action}, {resource}){when};'


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
