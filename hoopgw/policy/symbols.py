"""A request that is not known yet, as terms of an SMT solver: who asks, for what, of what.

Everything that a policy can look at is a variable here, with what hoopgw and the schema say of it
as facts: an action applies to certain types; an entity is only in entities that its type may be in;
a resource lies in one target and one environment; whoever was delegated to is an agent or a
workload without groups and without attributes of an issuer; breaking glass is for a person alone.
A variable that no policy mentions is not made.

Needs ``z3-solver``, which comes with ``hoopgw[prove]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import z3
from attrs import define, field, frozen

from hoopgw.policy.lint import AGENT_KIND, ISSUED, TARGET
from hoopgw.policy.schema_types import Declared, Record

PERSON: Final = "Hoopgw::Person"
AGENT: Final = "Hoopgw::Agent"
WORKLOAD: Final = "Hoopgw::Workload"
PRINCIPALS: Final = (PERSON, WORKLOAD, AGENT)
GROUP: Final = "Hoopgw::Group"
ENVIRONMENT: Final = "Hoopgw::Environment"
KINDS: Final = {"person": PERSON, "workload": WORKLOAD, "agent": AGENT}
LONG: Final = 2**63
_ESCAPE: Final = re.compile(r"\\u\{([0-9a-fA-F]+)\}")

Uid: TypeAlias = tuple[str, str]
"""Type and id of an entity."""
Bool: TypeAlias = Any
"""A z3 formula; z3 has no types of its own."""


class UnsupportedError(Exception):
    """Something of Cedar that has no term; the caller puts a free boolean in its place."""


_LAST_CHARACTER: Final = 0x2FFFF
"""Of z3's strings."""


def text_term(text: str) -> Any:
    r"""Return a text as a term: z3 wants ``\u{...}`` beyond ASCII, and for a backslash.

    Raises:
        UnsupportedError: it has a character that z3 does not know.

    """
    if any(ord(character) > _LAST_CHARACTER for character in text):
        raise UnsupportedError("a character beyond U+2FFFF")
    escaped = (c if " " <= c <= "~" and c != "\\" else f"\\u{{{ord(c):x}}}" for c in text)
    return z3.StringVal("".join(escaped))


def text_of(term: Any) -> str:
    """Return the text that a term is."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), str(term.as_string()))


@define(eq=False)
class StringSet:
    """A set of texts: for each text that is looked for, whether it is in."""

    name: str
    members: dict[str, Bool] = field(factory=dict)

    def contains(self, text: str) -> Bool:
        """Say whether a text is in it."""
        found = self.members.get(text)
        if found is None:
            found = self.members[text] = z3.Bool(f"{self.name}.contains({text!r})")
        return found


@define(eq=False)
class Fields:
    """The attributes of something whose type is not known yet.

    Args:
        name: begins the names of variables.
        alternatives: under which condition it is which record.

    """

    name: str
    alternatives: Sequence[tuple[Bool, Record]]
    values: dict[str, Any] = field(factory=dict, init=False)
    optional: dict[str, Bool] = field(factory=dict, init=False)
    facts: list[Bool] = field(factory=list, init=False)

    def has(self, name: str) -> Bool:
        """Say whether the attribute is there."""
        cases = []
        for guard, record in self.alternatives:
            found = record.get(name)
            if found is not None:
                cases.append(guard if found.required else z3.And(guard, self._optional(name)))
        return z3.Or(cases)

    def get(self, name: str) -> Any:
        """Return the attribute's value, which means something only where it is there.

        Raises:
            UnsupportedError: its type has no term, or depends on what this is.

        """
        known = self.values.get(name)
        if known is None:
            types = [record[name].type for _, record in self.alternatives if name in record]
            if not types or any(each != types[0] for each in types):
                raise UnsupportedError(f"{self.name}.{name} has no one type")
            known = self.values[name] = self._make(f"{self.name}.{name}", name, types[0])
        return known

    def _optional(self, name: str) -> Bool:
        return self.optional.setdefault(name, z3.Bool(f"{self.name}.{name}?"))

    def _make(self, path: str, name: str, kind: Any) -> Any:
        match kind:
            case "Bool":
                return z3.Bool(path)
            case "Long":
                number = z3.Int(path)
                self.facts += [number >= -LONG, number < LONG]
                return number
            case "String":
                return z3.String(path)
            case "Set<String>":
                return StringSet(path)
            case str():
                raise UnsupportedError(f"{path} is of type {kind}")
        inner = [(guard, record[name].type) for guard, record in self.alternatives]
        return Fields(path, [(guard, each) for guard, each in inner if not isinstance(each, str)])


@define(eq=False)
class Entity:
    """One entity that is not known yet."""

    name: str
    kinds: tuple[str, ...]
    declared: Declared
    kind: Any = field(init=False)
    id: Any = field(init=False)
    attributes: Fields = field(init=False)
    inside: dict[Uid, Bool] = field(factory=dict, init=False)
    facts: list[Bool] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.kind = z3.Int(f"{self.name}.type")
        self.id = z3.String(f"{self.name}.id")
        self.facts.append(z3.And(self.kind >= 0, self.kind < len(self.kinds)))
        self.attributes = Fields(
            self.name,
            [(self.is_a(kind), self.declared.entities[kind].attributes) for kind in self.kinds],
        )

    def is_a(self, *kinds: str) -> Bool:
        """Say whether it is of one of some types."""
        return z3.Or([self.kind == n for n, each in enumerate(self.kinds) if each in kinds])

    def equals(self, uid: Uid) -> Bool:
        """Say whether it is a certain one."""
        return z3.And(self.is_a(uid[0]), self.has_id(uid[1]))

    def has_id(self, text: str) -> Bool:
        """Say whether its id is a certain one, whatever its type."""
        try:
            return self.id == text_term(text)
        except UnsupportedError:
            return z3.Bool(f"{self.name}.id is {text!r}")

    def is_in(self, uid: Uid) -> Bool:
        """Say whether it is a certain one, or below it."""
        found = self.inside.get(uid)
        if found is None:
            found = self.inside[uid] = z3.Bool(f"{self.name} in {uid[0]}::{uid[1]!r}")
            below = [each for each in self.kinds if uid[0] in self.declared.above(each)]
            self.facts.append(z3.Implies(found, z3.Or(self.is_a(*below), self.equals(uid))))
            self.facts.append(z3.Implies(self.equals(uid), found))
        return found

    def all_facts(self) -> Iterable[Bool]:
        """Yield what holds of it, as far as it was looked at."""
        yield from self.facts
        yield from self.attributes.facts
        for kind in (TARGET, ENVIRONMENT):
            # Only of one, unless it is one itself: then it is in itself.
            mine = [inside for uid, inside in self.inside.items() if uid[0] == kind]
            if len(mine) > 1:
                yield z3.AtMost(*mine, 1)


@frozen(eq=False)
class Situation:
    """What all questions about one operation share, and the two hops that are looked at.

    The root, and one hop below it, which stands for any of them.
    """

    declared: Declared
    action: Any
    actions: tuple[str, ...]
    resource: Entity
    root: Entity
    leaf: Entity
    contexts: Sequence[tuple[Bool, Record]]
    """Under which condition the context is which record."""
    depth: Any
    place: Any
    """The number of the leaf in the chain."""
    granted: dict[tuple[str, str], Bool]
    """Template and hop to whether it is linked for it: ``root`` and ``leaf`` of the chain, or
    ``alone``, the root without its chain."""

    @classmethod
    def of(cls, declared: Declared) -> Situation:
        """Make the variables."""
        actions = tuple(declared.actions)
        action = z3.Int("action")
        resources = sorted({each for kind in declared.actions.values() for each in kind.resources})
        groups: list[tuple[list[Bool], Record]] = []
        for number, name in enumerate(actions):
            record = declared.actions[name].context
            same = next((guards for guards, other in groups if other == record), None)
            if same is None:
                groups.append(([action == number], record))
            else:
                same.append(action == number)
        return cls(
            declared,
            action,
            actions,
            Entity("resource", tuple(resources), declared),
            Entity("root", PRINCIPALS, declared),
            Entity("leaf", PRINCIPALS, declared),
            [(z3.Or(guards), record) for guards, record in groups],
            z3.Int("depth"),
            z3.Int("place"),
            {},
        )

    def is_action(self, *names: str) -> Bool:
        """Say whether the action is one of some, or in one of some groups."""
        return z3.Or(
            [
                self.action == number
                for number, name in enumerate(self.actions)
                if name in names or self.declared.actions[name].groups & set(names)
            ]
        )

    def is_granted(self, template: str, hop: str) -> Bool:
        """Say whether a template is linked for a hop and this resource's target."""
        return self.granted.setdefault((template, hop), z3.Bool(f"granted {template} to {hop}"))

    def facts(self) -> Iterable[Bool]:
        """Yield all that holds, as far as it was looked at."""
        yield z3.And(self.action >= 0, self.action < len(self.actions))
        yield z3.And(self.depth >= 0, self.depth < LONG, self.place >= 1)
        for number, name in enumerate(self.actions):
            kind = self.declared.actions[name]
            applies = [
                self.resource.is_a(*kind.resources),
                self.root.is_a(*kind.principals),
                z3.Or(self.depth == 0, self.leaf.is_a(*kind.principals)),
            ]
            yield z3.Implies(self.action == number, z3.And(applies))
        yield from self._facts_of_chain()
        for entity in (self.resource, self.root, self.leaf):
            yield from entity.all_facts()

    def _facts_of_chain(self) -> Iterable[Bool]:
        root, leaf = self.root, self.leaf
        yield z3.Not(leaf.is_a(PERSON))
        yield z3.Implies(self.depth >= 1, self.place <= self.depth)
        for uid, inside in leaf.inside.items():
            if uid[0] == GROUP:
                yield z3.Not(inside)
        for uid, inside in root.inside.items():
            if uid[0] == AGENT_KIND:
                yield z3.Not(inside)
        yield from self._facts_of_names()
        attested = leaf.attributes.values.get("attested")
        if attested is not None:  # only then does an issuer say anything of a child
            for optional in leaf.attributes.optional.values():
                yield z3.Implies(optional, attested)
        for name in ("attested", "isolated"):
            if name in root.attributes.values:
                yield root.attributes.values[name]  # a root proved itself, and has no parent

    def _facts_of_names(self) -> Iterable[Bool]:
        """Yield of which kind the leaf can be: of its id if it is attested, else of its name."""
        leaf = self.leaf
        kinds = {uid[1]: found for uid, found in leaf.inside.items() if uid[0] == AGENT_KIND}
        if len(kinds) > 1:
            yield z3.AtMost(*kinds.values(), 1)
        for kind, inside in kinds.items():
            attested = leaf.attributes.get("attested")
            if ISSUED in kind:
                yield inside == z3.And(attested, leaf.has_id(kind))
            else:
                yield z3.Implies(inside, z3.Not(attested))

    def context(self, place: Any) -> Fields:
        """Return the context as one hop's question has it: all but its place is shared."""
        context = Fields("context", self.contexts)
        chain = self._chain(context)
        chain.values["depth"], chain.values["hop"] = self.depth, place
        return context

    def context_alone(self) -> Fields:
        """Return the context that the root would have without its chain."""
        context = Fields("context", self.contexts)
        chain = self._chain(context)
        chain.values["depth"] = chain.values["hop"] = z3.IntVal(0)
        chain.values["kinds"] = StringSet("kinds of the root alone")
        context.values["breakglass"] = z3.BoolVal(False)
        return context

    @staticmethod
    def _chain(context: Fields) -> Fields:
        chain = context.get("chain")
        assert isinstance(chain, Fields)  # each context declares it
        return chain

    def facts_of_context(self, context: Fields) -> Iterable[Bool]:
        """Yield what holds of one hop's context."""
        chain = self._chain(context)
        yield from context.facts
        yield from chain.facts
        kinds = chain.values.get("kinds")
        if kinds is not None:
            yield from self._facts_of_kinds(kinds, chain.values["depth"])
        now = context.values.get("now")
        if now is not None:
            yield now >= 0
        breaks = context.values.get("breakglass")
        if breaks is not None:
            yield z3.Implies(breaks, z3.And(self.depth == 0, self.root.is_a(PERSON)))

    def _facts_of_kinds(self, kinds: StringSet, depth: Any) -> Iterable[Bool]:
        for text, inside in kinds.members.items():
            kind = KINDS.get(text)
            if kind is None:
                yield z3.Not(inside)
                continue
            is_root, is_leaf = self.root.is_a(kind), self.leaf.is_a(kind)
            yield z3.Implies(is_root, inside)
            yield z3.Implies(depth == 0, inside == is_root)
            yield z3.Implies(depth == 1, inside == z3.Or(is_root, is_leaf))
            yield z3.Implies(z3.And(depth >= 1, is_leaf), inside)
            if kind == PERSON:
                yield inside == is_root
