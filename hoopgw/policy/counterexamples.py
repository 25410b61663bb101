"""A request that breaks a query: read from what the solver found, and put to the real engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import z3
from attrs import evolve, field, frozen

from hoopgw.events import Access, Attributes, ContextValue, Hop, HopKind, Resource
from hoopgw.policy.decision import Allow, Deny, Hidden, Review, Sight, Verdict
from hoopgw.policy.explain import is_sight
from hoopgw.policy.judging import judge, judge_sights
from hoopgw.policy.links import Link
from hoopgw.policy.lint import AGENT_KIND, ISSUED, TARGET
from hoopgw.policy.offers import Offer
from hoopgw.policy.queries import Query
from hoopgw.policy.questions import Inquiry, ask
from hoopgw.policy.schema_types import Declared, Record
from hoopgw.policy.sets import Compiled, PolicySet
from hoopgw.policy.symbols import (
    GROUP,
    PERSON,
    WORKLOAD,
    Entity,
    Fields,
    Situation,
    StringSet,
    Uid,
    text_of,
)

_OURS: Final = frozenset({"chain", "approvals", "breakglass", "now"})
_DEPTH_LIMIT: Final = 8
_DEFAULTS: Final[Mapping[str, ContextValue]] = {
    "Bool": False,
    "Long": 0,
    "String": "",
    "Set<String>": (),
}


@frozen(kw_only=True)
class Counterexample:
    """One request."""

    inquiry: Inquiry | None
    """None if it cannot be put to the engine."""
    why: str = ""
    """Why it cannot."""
    place: int = 0
    """The hop that the query is about."""
    alone: frozenset[str] = frozenset()
    """Templates that are granted to the root itself, and so without its chain too."""
    outcome: Verdict | Sight | Hidden | None = field(default=None)

    def lines(self) -> Iterator[str]:
        """Say it in words."""
        inquiry = self.inquiry
        if inquiry is None:
            yield f"it cannot be shown: {self.why}"
            return
        for number, hop in enumerate(inquiry.chain):
            yield ("asked by  " if number == 0 else "  through ") + _hop_words(hop)
        for access in inquiry.accesses:
            yield f"action    {access.action}"
            yield f"on        {_resource_words(access.resource)}"
        for name, value in inquiry.context.items():
            shown = list(value) if isinstance(value, tuple) else value
            yield f"context   {name} = {shown!r}"
        if inquiry.now:
            yield f"context   now = {inquiry.now}"
        if inquiry.proved:
            yield "context   chain.proved"
        if inquiry.approvals:
            yield f"approved  {', '.join(sorted(inquiry.approvals))}"
        for template, hops in self._granted().items():
            yield f"granted   {template} to {' / '.join(hops)}"
        if inquiry.breakglass:
            yield "glass     is broken"

    def _granted(self) -> Mapping[str, list[str]]:
        """Return each template that is linked, with the hops that it is linked for."""
        granted: dict[str, list[str]] = {}
        if self.inquiry is not None:
            links = {(link.template, link.hop[1]) for link in self.inquiry.links}
            hops = [hop.id for hop in self.inquiry.chain]
            for template in sorted({template for template, _ in links}):
                granted[template] = [hop for hop in hops if (template, hop) in links]
        return granted


def read_model(
    situation: Situation, contexts: Sequence[Fields], model: Any, offers: Mapping[str, Offer]
) -> Counterexample:
    """Make a request of what the solver found."""
    try:
        return _Reading(situation, contexts, model, offers).counterexample()
    except (ValueError, KeyError) as error:
        return Counterexample(inquiry=None, why=str(error))


def confirmed(policies: PolicySet, query: Query, found: Counterexample) -> bool:
    """Say whether the real engine lets a request break a query."""
    inquiry = found.inquiry
    if inquiry is None:
        return False
    compiled = Compiled((query.rule,))
    try:
        answers = ask(compiled, policies.schema, evolve(inquiry, links=()))
    except Exception:  # it is no request: whatever the engine says of it
        return False
    about = [
        number
        for number, answer in enumerate(answers)
        if answer.is_allowed and _is_meant(query, number, inquiry.chain)
    ]
    if not about or not _breaks(policies, query, inquiry):
        return False
    if query.never != "exceeding":
        return True
    links = tuple(link for link in inquiry.links if link.template in found.alone)
    alone = evolve(inquiry, chain=inquiry.chain[:1], breakglass=False, links=links)
    return len(inquiry.chain) > 1 and not _breaks(policies, query, alone)


def _is_meant(query: Query, number: int, chain: Sequence[Hop]) -> bool:
    match query.who:
        case "root":
            return number == 0
        case "agent":
            return chain[number].kind == "agent"
        case "below":
            return number > 0
    return True


def _breaks(policies: PolicySet, query: Query, inquiry: Inquiry) -> bool:
    freely = query.never == "freely"
    if is_sight(inquiry.accesses):
        (judged,) = judge_sights(policies, inquiry)
        shown = judged.sight
        return isinstance(shown, Sight) and (shown.mask is None or not freely)
    match judge(policies, inquiry).decision:
        case Allow():
            return True
        case Review():
            return not freely
        case Deny():
            return False


@frozen
class _Reading:
    """Reads one model."""

    situation: Situation
    contexts: Sequence[Fields]
    model: Any
    offers: Mapping[str, Offer]

    def counterexample(self) -> Counterexample:
        """Return the request."""
        situation = self.situation
        depth, place = self._number(situation.depth), self._number(situation.place)
        if depth > _DEPTH_LIMIT:
            raise ValueError(f"its chain has {depth} hops")
        action = situation.declared.actions[situation.actions[self._number(situation.action)]]
        root = self._hop(situation.root, "someone", is_root=True)
        leaf = self._hop(situation.leaf, "agent", is_root=False)
        chain = (root, *(evolve(leaf, id=f"{leaf.id}{'~' * n}") for n in range(depth)))
        links = self._links(chain)
        resource = self._resource(situation.resource, in_target=bool(links))
        values = self._context(action.context)
        ours = self._ours()
        inquiry = Inquiry(
            chain=chain,
            accesses=(Access(action=action.name, resource=resource),),
            context=values,
            approvals=ours["approvals"],
            now=ours["now"],
            proved=ours["proved"],
            breakglass=ours["breakglass"],
            links=tuple(evolve(link, target=_target(resource)) for link in links),
        )
        alone = frozenset(
            template
            for (template, hop), linked in situation.granted.items()
            if hop == "alone" and self._is(linked)
        )
        return Counterexample(inquiry=inquiry, place=min(place, depth), alone=alone)

    def _hop(self, entity: Entity, usual: str, *, is_root: bool) -> Hop:
        kind_name = entity.kinds[self._number(entity.kind)]
        kinds: dict[str, HopKind] = {PERSON: "person", WORKLOAD: "workload"}
        inside = [uid for uid, variable in entity.inside.items() if self._is(variable)]
        given = (uid[1] for uid in inside if uid[0] == AGENT_KIND and ISSUED not in uid[1])
        named = next(given, usual)
        attributes = self._attributes(entity, kind_name)
        # Of a child, an issuer says something only where it attested it.
        attested = self._flag(entity, "attested") or bool(attributes)
        return Hop(
            id=self._text(entity.id) or usual,
            name=named,
            kind=kinds.get(kind_name, "agent"),
            groups=frozenset(uid[1] for uid in inside if uid[0] == GROUP),
            attributes=attributes,
            attested=not is_root and attested,
            isolated=not is_root and self._flag(entity, "isolated"),
        )

    def _flag(self, entity: Entity, name: str) -> bool:
        values = entity.attributes.values
        return name in values and self._is(values[name])

    def _attributes(self, entity: Entity, kind: str) -> Attributes:
        declared = self.situation.declared.entities[kind].attributes
        found: list[tuple[str, str | tuple[str, ...]]] = []
        for name, there in sorted(entity.attributes.optional.items()):
            if name in declared and self._is(there):
                value = entity.attributes.values.get(name)
                usual = () if declared[name].type == "Set<String>" else ""
                found.append((name, usual if value is None else self._plain_text(value)))
        return tuple(found)

    def _plain_text(self, value: Any) -> str | tuple[str, ...]:
        found = self._value(value)
        if isinstance(found, bool | int):
            raise ValueError("an attribute of an issuer is text or texts")
        return found

    def _resource(self, entity: Entity, *, in_target: bool) -> Resource:
        """Return the resource with all that it lies in."""
        kind = entity.kinds[self._number(entity.kind)]
        own = (kind, self._text(entity.id) or "something")
        above = [
            uid for uid, variable in entity.inside.items() if self._is(variable) and uid != own
        ]
        if in_target and TARGET not in {kind, *(uid[0] for uid in above)}:
            above.append((TARGET, "target"))
        labels = entity.attributes.values.get("labels")
        return Resource(
            type=own[0],
            id=own[1],
            labels=frozenset(self._members(labels))
            if isinstance(labels, StringSet)
            else frozenset(),
            parents=_parents(self.situation.declared, kind, above),
        )

    def _links(self, chain: Sequence[Hop]) -> list[Link]:
        return [
            Link(
                template=template,
                grant="?",
                hop=(each.kind, each.id),
                target="",
                slots=self.offers[template].slots,
            )
            for (template, hop), linked in self.situation.granted.items()
            if hop != "alone" and self._is(linked)
            for each in (chain[:1] if hop == "root" else chain[1:])
        ]

    def _context(self, record: Record) -> dict[str, ContextValue]:
        values: dict[str, ContextValue] = {}
        for name, attribute in record.items():
            if name in _OURS:
                continue
            if not attribute.required and not any(
                name in each.optional and self._is(each.optional[name]) for each in self.contexts
            ):
                continue
            found = next((c.values[name] for c in self.contexts if name in c.values), None)
            if found is None:
                if not isinstance(attribute.type, str) or attribute.type not in _DEFAULTS:
                    raise ValueError(f"context.{name} is of a type that hoopgw does not fill")
                values[name] = _DEFAULTS[attribute.type]
            else:
                values[name] = self._value(found)
        return values

    def _ours(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "approvals": frozenset(),
            "now": 0,
            "proved": False,
            "breakglass": False,
        }
        for context in self.contexts:
            values = {**context.values, **context.values["chain"].values}
            if "approvals" in values:
                found["approvals"] |= frozenset(self._members(values["approvals"]))
            if "now" in values:
                found["now"] = self._number(values["now"])
            for name in ("proved", "breakglass"):
                if name in values:
                    found[name] |= self._is(values[name])
        return found

    def _value(self, value: Any) -> ContextValue:
        if isinstance(value, StringSet):
            return tuple(self._members(value))
        if z3.is_bool(value):
            return self._is(value)
        if z3.is_int(value):
            return self._number(value)
        if z3.is_string(value):
            return self._text(value)
        raise ValueError("a value that hoopgw does not fill")

    def _members(self, value: StringSet) -> list[str]:
        return sorted(text for text, inside in value.members.items() if self._is(inside))

    def _is(self, term: Any) -> bool:
        return bool(z3.is_true(self.model.eval(term, model_completion=True)))

    def _number(self, term: Any) -> int:
        return int(self.model.eval(term, model_completion=True).as_long())

    def _text(self, term: Any) -> str:
        found = self.model.eval(term)
        return text_of(found) if z3.is_string_value(found) else ""


def _parents(declared: Declared, kind: str, above: Sequence[Uid]) -> tuple[Resource, ...]:
    """Return what a resource is directly in, so that it is in all of these."""
    if not above:
        return ()
    order = {each: len(declared.above(each)) for each, _ in above}
    lowest = max(above, key=lambda uid: order[uid[0]])
    rest = [uid for uid in above if uid != lowest]
    siblings = [uid for uid in rest if uid[0] == lowest[0]]
    higher = [uid for uid in rest if uid[0] != lowest[0]]
    made = Resource(type=lowest[0], id=lowest[1], parents=_parents(declared, lowest[0], higher))
    for between in reversed(declared.path(kind, lowest[0])):
        made = Resource(type=between, id="between", parents=(made,))
    others = (Resource(type=uid[0], id=uid[1]) for uid in siblings)
    return (made, *others)


def _target(resource: Resource) -> str:
    waiting = [resource]
    while waiting:
        each = waiting.pop()
        if each.type == TARGET:
            return each.id
        waiting += each.parents
    return "target"


def _hop_words(hop: Hop) -> str:
    said: list[str] = [hop.kind]
    if hop.groups:
        said.append(f"in {', '.join(sorted(hop.groups))}")
    said += [name for name in ("attested", "isolated") if getattr(hop, name)]
    said += [f"{name} = {value!r}" for name, value in hop.attributes]
    name = hop.id if hop.name in hop.id else f"{hop.id} called {hop.name}"
    return f"{name} ({', '.join(said)})"


def _resource_words(resource: Resource) -> str:
    said = f'{resource.type}::"{resource.id}"'
    if resource.labels:
        said += f" labelled {', '.join(sorted(resource.labels))}"
    for parent in resource.parents:
        said += f", in {_resource_words(parent)}"
    return said
