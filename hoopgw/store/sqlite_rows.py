"""How the store's values lie in SQLite's tables: columns, and the way there and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from attrs import field, frozen

from hoopgw.store.coding import (
    compact,
    principal_text,
    read_context,
    read_principal,
    read_remedies,
    remedies_text,
)
from hoopgw.store.rows import AgentRow, PasswordRow, Request, SessionHead, Vote
from hoopgw.store.seals import Value

V = TypeVar("V")


@frozen
class Column(Generic[V]):
    """One column: where its value comes from, and how it is read back."""

    name: str
    write: Callable[[V], Value]
    read: Callable[[Any], Any] = lambda value: value
    attribute: str = ""
    """Of the value, if it is not called like the column."""


@frozen
class Table(Generic[V]):
    """One table of values."""

    name: str
    make: Callable[..., V]
    columns: tuple[Column[V], ...]
    sealed: bool = field(default=True, kw_only=True)

    @property
    def names(self) -> str:
        """The columns for a statement, with the seal last."""
        seal = ("seal",) if self.sealed else ()
        return ", ".join((*(column.name for column in self.columns), *seal))

    def row(self, value: V) -> tuple[Value, ...]:
        """Return a value's columns, without the seal."""
        return tuple(column.write(value) for column in self.columns)

    def value(self, row: tuple[Any, ...]) -> V:
        """Return the value of a row; a seal behind it is not looked at."""
        pairs = zip(self.columns, row, strict=False)
        return self.make(**{c.attribute or c.name: c.read(cell) for c, cell in pairs})


def _groups(text: str) -> frozenset[str]:
    return frozenset(map(str, json.loads(text)))


REQUESTS: Final = Table(
    "requests",
    Request,
    (
        Column("id", lambda r: r.id),
        Column("join_key", lambda r: r.join_key),
        Column("principal", lambda r: principal_text(r.principal), read_principal),
        Column("session", lambda r: r.session),
        Column("protocol", lambda r: r.protocol),
        Column("target", lambda r: r.target),
        Column("action", lambda r: r.action),
        Column("operation", lambda r: r.text, attribute="text"),
        Column("digest", lambda r: r.digest),
        Column("context", lambda r: compact(dict(r.context)), read_context),
        Column("remedies", lambda r: remedies_text(r.remedies), read_remedies),
        Column("reason", lambda r: r.reason),
        Column("state", lambda r: r.state),
        Column("created", lambda r: r.created),
        Column("expires", lambda r: r.expires),
        Column("settled", lambda r: r.settled),
        Column("usable_until", lambda r: r.usable_until),
        Column("note", lambda r: r.note),
    ),
)

VOTES: Final = Table(
    "votes",
    Vote,
    (
        Column("request", lambda v: v.request),
        Column("person", lambda v: v.person),
        Column("name", lambda v: v.name),
        Column("groups", lambda v: compact(sorted(v.groups)), _groups),
        Column("approve", lambda v: int(v.approve), bool),
        Column("comment", lambda v: v.comment),
        Column("at", lambda v: v.at),
    ),
)

PASSWORDS: Final = Table(
    "session_passwords",
    PasswordRow,
    (
        Column("handle", lambda p: p.handle),
        Column("target", lambda p: p.target),
        Column("account", lambda p: p.account),
        Column("principal", lambda p: principal_text(p.principal), read_principal),
        Column("salt", lambda p: p.salt),
        Column("iterations", lambda p: p.iterations),
        Column("stored_key", lambda p: p.stored_key),
        Column("server_key", lambda p: p.server_key),
        Column("expires", lambda p: p.expires),
    ),
)

AGENTS: Final = Table(
    "agents",
    AgentRow,
    (
        Column("name", lambda a: a.name),
        Column("serial", lambda a: a.serial),
        Column("previous", lambda a: a.previous),
        Column("enrolled", lambda a: a.enrolled),
        Column("expires", lambda a: a.expires),
        Column("revoked", lambda a: a.revoked),
    ),
)


@frozen(kw_only=True)
class JoinTokenRow:
    """A join token that may be used once."""

    hash: bytes = field(repr=False)
    agent: str
    expires: float


JOIN_TOKENS: Final = Table(
    "join_tokens",
    JoinTokenRow,
    (
        Column("hash", lambda j: j.hash),
        Column("agent", lambda j: j.agent),
        Column("expires", lambda j: j.expires),
    ),
)

HEADS: Final = Table(
    "sessions",
    SessionHead,
    (
        Column("id", lambda h: h.id),
        Column("worker", lambda h: h.worker),
        Column("principal", lambda h: principal_text(h.principal), read_principal),
        Column("target", lambda h: h.target),
        Column("protocol", lambda h: h.protocol),
        Column("account", lambda h: h.account),
        Column("address", lambda h: h.address),
        Column("opened", lambda h: h.opened),
    ),
    sealed=False,
)
