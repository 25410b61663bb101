"""What a Cedar schema declares, as values: types of entities, actions, and their attributes.

Cedar's own handle cannot be looked into, but it prints itself in one canonical form; that is what
is read here. It is not a parser of what people write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from attrs import define, field, frozen

from hoopgw.policy.schema import Schema

_TOKEN: Final = re.compile(r'"(?:\\.|[^"\\])*"|::|[A-Za-z_][A-Za-z0-9_]*|[<>{}\[\]():;,=?]')
_ANNOTATION: Final = re.compile(r'@\w+(\("(?:\\.|[^"\\])*"\))?')
_PRIMITIVES: Final = frozenset({"Bool", "Long", "String"})


@frozen
class Attribute:
    """One attribute of an entity or record."""

    type: Type
    required: bool


Record: TypeAlias = Mapping[str, Attribute]
Type: TypeAlias = "str | Record"
"""``Bool``, ``Long``, ``String``, ``Set<String>``, a record, or something else by its text."""


@frozen
class EntityKind:
    """One type of entity."""

    name: str
    parents: frozenset[str]
    """The types that it may be directly in."""
    attributes: Record


@frozen
class ActionKind:
    """One action that can be asked for."""

    name: str
    """As `hoopgw.events.Access.action`: ``Postgres::select``."""
    groups: frozenset[str]
    """All groups of actions that it is in, named alike."""
    principals: frozenset[str]
    resources: frozenset[str]
    context: Record


@frozen
class Declared:
    """All that a schema declares."""

    entities: Mapping[str, EntityKind]
    actions: Mapping[str, ActionKind]

    @classmethod
    def of(cls, schema: Schema) -> Declared:
        """Read a schema."""
        return _Reader(list(_tokens(str(schema.handle)))).read()

    def above(self, kind: str) -> frozenset[str]:
        """Return the types that entities of a type may be in, over any number of levels."""
        found: set[str] = set()
        waiting = [kind]
        while waiting:
            for parent in self.entities[waiting.pop()].parents - found:
                found.add(parent)
                waiting.append(parent)
        return frozenset(found)

    def path(self, kind: str, above: str) -> tuple[str, ...]:
        """Return the types between an entity's and one above it, the lowest first."""
        ways: list[tuple[str, ...]] = [()]
        ends = [kind]
        while ends:
            following: list[tuple[tuple[str, ...], str]] = []
            for way, end in zip(ways, ends, strict=True):
                if above in self.entities[end].parents:
                    return way
                following += [((*way, p), p) for p in self.entities[end].parents if p not in way]
            ways, ends = [way for way, _ in following], [end for _, end in following]
        raise ValueError(f"{kind} is never in {above}")


def _tokens(text: str) -> Iterator[str]:
    return (match.group() for match in _TOKEN.finditer(_ANNOTATION.sub("", text)))


@define(eq=False)
class _Reader:
    """Reads the canonical form. A token that is not expected is our own fault: it raises."""

    tokens: list[str]
    at: int = 0
    namespace: str = ""
    types: dict[str, Type] = field(factory=dict)
    entities: dict[str, tuple[str, list[str], Type]] = field(factory=dict)
    actions: dict[str, tuple[str, list[str], dict[str, list[str]], Type]] = field(factory=dict)

    def read(self) -> Declared:
        while self.at < len(self.tokens):
            self._declaration()
        kinds = {
            name: EntityKind(
                name,
                frozenset(self._entity(space, parent) for parent in parents),
                self._record(space, attributes),
            )
            for name, (space, parents, attributes) in self.entities.items()
        }
        actions = {
            name: ActionKind(
                name,
                self._groups(name),
                frozenset(self._entity(space, each) for each in applies.get("principal", [])),
                frozenset(self._entity(space, each) for each in applies.get("resource", [])),
                self._record(space, context),
            )
            for name, (space, _, applies, context) in self.actions.items()
            if applies
        }
        return Declared(kinds, actions)

    def _take(self, *expected: str) -> str:
        token = self.tokens[self.at]
        if expected and token not in expected:
            raise ValueError(f"unexpected {token!r} in the schema's own form")
        self.at += 1
        return token

    def _next_is(self, token: str) -> bool:
        return self.at < len(self.tokens) and self.tokens[self.at] == token

    def _declaration(self) -> None:
        word = self._take("namespace", "type", "entity", "action", "}")
        if word == "namespace":
            self.namespace = self._name()
            self._take("{")
        elif word == "}":
            self.namespace = ""
        elif word == "type":
            name = self._qualified(self._name())
            self._take("=")
            self.types[name] = self._type()
            self._take(";")
        elif word == "entity":
            self._entity_declaration()
        else:
            self._action_declaration()

    def _entity_declaration(self) -> None:
        name = self._qualified(self._name())
        parents: list[str] = []
        attributes: Type = {}
        if self._next_is("in"):
            self._take()
            parents = self._names()
        if self._next_is("="):
            self._take()
            attributes = self._type()
        while not self._next_is(";"):  # an enumeration, or tags: nothing that we ask for
            self._take()
        self._take(";")
        self.entities[name] = (self.namespace, parents, attributes)

    def _action_declaration(self) -> None:
        name = self._qualified(self._name())
        groups: list[str] = []
        applies: dict[str, list[str]] = {}
        context: Type = {}
        if self._next_is("in"):
            self._take()
            groups = self._action_names()
        if self._next_is("appliesTo"):
            self._take()
            self._take("{")
            while not self._next_is("}"):
                part = self._take()
                self._take(":")
                if part == "context":
                    context = self._type()
                else:
                    applies[part] = self._names()
                if self._next_is(","):
                    self._take()
            self._take("}")
        self._take(";")
        self.actions[name] = (self.namespace, groups, applies, context)

    def _qualified(self, name: str) -> str:
        return f"{self.namespace}::{name}" if self.namespace else name

    def _name(self) -> str:
        """Take a name: an identifier, a path of them, or a text."""
        name = _plain(self._take())
        while self._next_is("::"):
            self._take()
            name = f"{name}::{_plain(self._take())}"
        return name

    def _names(self) -> list[str]:
        if not self._next_is("["):
            return [self._name()]
        self._take("[")
        names = []
        while not self._next_is("]"):
            names.append(self._name())
            if self._next_is(","):
                self._take()
        self._take("]")
        return names

    def _action_names(self) -> list[str]:
        """Take ``[Action::"read"]``; each is named without the word, as accesses are."""
        names = []
        for name in self._names():
            space, _, action = name.rpartition("Action::")
            names.append(f"{space}{action}" if space else self._qualified(action))
        return names

    def _type(self) -> Type:
        if self._next_is("{"):
            self._take("{")
            fields: dict[str, Attribute] = {}
            while not self._next_is("}"):
                name = _plain(self._take())
                required = not self._next_is("?")
                if not required:
                    self._take("?")
                self._take(":")
                fields[name] = Attribute(self._type(), required)
                if self._next_is(","):
                    self._take()
            self._take("}")
            return fields
        name = self._name()
        if name == "Set" and self._next_is("<"):
            self._take("<")
            inner = self._type()
            self._take(">")
            return f"Set<{inner}>"
        return name

    def _entity(self, space: str, name: str) -> str:
        own = f"{space}::{name}"
        return own if own in self.entities else name

    def _record(self, space: str, found: Type) -> Record:
        """Resolve names of types in a record, and those of the records in it."""
        found = self._resolve(space, found)
        if isinstance(found, str):
            return {}
        return {
            name: Attribute(self._resolve(space, each.type), each.required)
            for name, each in found.items()
        }

    def _resolve(self, space: str, found: Type) -> Type:
        if not isinstance(found, str):
            return {
                name: Attribute(self._resolve(space, each.type), each.required)
                for name, each in found.items()
            }
        if found in _PRIMITIVES:
            return found
        for name in (f"{space}::{found}", found):
            if name in self.types:
                inner, _, _ = name.rpartition("::")
                return self._resolve(inner, self.types[name])
        return found

    def _groups(self, name: str) -> frozenset[str]:
        found: set[str] = set()
        waiting = [name]
        while waiting:
            known = self.actions.get(waiting.pop())
            for group in known[1] if known else ():
                if group not in found:
                    found.add(group)
                    waiting.append(group)
        return frozenset(found)


def _plain(token: str) -> str:
    return str(json.loads(token)) if token.startswith('"') else token
