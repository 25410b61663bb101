"""From principals and operations to Cedar's questions, and from its answers to rules.

One question is put per access and hop of the chain, root first, all in one batch. Whatever Cedar
does not answer plainly is an error, and an error is never an allowance:

- Cedar skips a forbid that errs and may then say Allow, with the error in its diagnostics;
- a request that the schema refuses gets ``NoDecision``, which is not ``Deny``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import cedarpy
from attrs import field, frozen
from attrs.validators import min_len
from cedarpy import pst

from hoopgw.events import Access, ContextValue, Hop, Resource
from hoopgw.policy.annotations import Rule
from hoopgw.policy.links import ENTITY_TYPES, Link
from hoopgw.policy.lint import AGENT_KIND, TARGET
from hoopgw.policy.offers import Offer
from hoopgw.policy.schema import Schema
from hoopgw.policy.sets import Compiled, PolicySet, Slice
from hoopgw.wire_values import attributes_to_dict

BATCH_LIMIT: Final = 2000
"""Questions in one batch; about 60 µs each, while the worker does nothing else."""

_NONE: Final = frozenset[str]()
_OURS: Final = ("chain", "approvals", "breakglass", "now")
"""What the context has from us, and from no protocol."""


@frozen(kw_only=True)
class Inquiry:
    """What is asked: whether this chain may do all of this."""

    chain: tuple[Hop, ...] = field(validator=min_len(1))
    accesses: tuple[Access, ...] = field(validator=min_len(1))
    context: Mapping[str, ContextValue] = field(factory=dict)
    approvals: frozenset[str] = frozenset()
    """Rules whose approval was given."""
    now: int
    """Seconds since the epoch."""
    proved: bool = False
    """As `hoopgw.events.Principal.proved`."""
    links: tuple[Link, ...] = ()
    """Templates that are linked for the chain: what it was granted for a while."""
    breakglass: bool = False
    """Whether who asks has broken glass here."""

    @property
    def targets(self) -> frozenset[str]:
        """The targets that it is about."""
        resources = _with_parents(access.resource for access in self.accesses)
        return frozenset(resource.id for resource in resources if resource.type == TARGET)


@frozen(kw_only=True)
class Answer:
    """Cedar's answer on one access for one hop."""

    hop: Hop
    access: Access
    is_allowed: bool
    rules: tuple[Rule, ...]
    """The permits that hold, or the forbids, in the set's order. None: no permit holds."""
    errors: tuple[str, ...] = ()


def ask(asked: Compiled, schema: Schema, inquiry: Inquiry) -> tuple[Answer, ...]:
    """Put all questions of an inquiry, in the order accesses, then hops.

    Raises:
        ValueError: it cannot be put as it is; the same as an error in every answer.

    """
    if len(inquiry.accesses) * len(inquiry.chain) > BATCH_LIMIT:
        raise ValueError(f"more than {BATCH_LIMIT} questions of policy in one operation")
    contexts = [_context(inquiry, number) for number in range(len(inquiry.chain))]
    put = [
        (hop, access, context)
        for access in inquiry.accesses
        for hop, context in zip(inquiry.chain, contexts, strict=True)
    ]
    resources = _with_parents(access.resource for access in inquiry.accesses)
    applicable = asked.for_targets(
        frozenset(resource.id for resource in resources if resource.type == TARGET), inquiry.links
    )
    results = cedarpy.is_authorized_batch(
        [
            {
                "principal": {"type": ENTITY_TYPES[hop.kind], "id": hop.id},
                "action": _action(access.action),
                "resource": {"type": access.resource.type, "id": access.resource.id},
                "context": context,
            }
            for hop, access, context in put
        ],
        applicable.handle,
        _entities(schema, inquiry.chain, resources),
        schema.handle,
    )
    return tuple(
        _answer(applicable, hop, access, result)
        for (hop, access, _), result in zip(put, results, strict=True)
    )


def _answer(asked: Slice, hop: Hop, access: Access, result: cedarpy.AuthzResult) -> Answer:
    errors = list(result.diagnostics.errors)
    if result.decision not in (cedarpy.Decision.Allow, cedarpy.Decision.Deny):
        errors.append("Cedar came to no decision")
    rules = []
    for name in sorted(result.diagnostics.reasons):  # Cedar has them in no order
        rule = asked.rules.get(name)
        if rule is None:
            errors.append(f"Cedar names a policy that is not known: {name}")
        else:
            rules.append(rule)
    return Answer(
        hop=hop,
        access=access,
        is_allowed=result.allowed and not errors,
        rules=tuple(sorted(rules, key=lambda rule: rule.order)),
        errors=tuple(errors),
    )


def _context(inquiry: Inquiry, number: int) -> str:
    """Return the context for one hop as JSON.

    Raises:
        ValueError: the protocol gives a value that is none of `ContextValue`, or a name of ours.

    """
    values: dict[str, Any] = {}
    for name, value in inquiry.context.items():
        if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
            values[name] = list(value)
        elif isinstance(value, str | bool | int):
            values[name] = value
        else:
            raise ValueError(f"context.{name} is neither text, truth, number nor texts")
    if not values.keys().isdisjoint(_OURS):
        names = ", .".join(_OURS)
        raise ValueError(f"an operation must not bring context.{names} itself")
    values["chain"] = {
        "depth": len(inquiry.chain) - 1,
        "hop": number,
        "kinds": sorted({hop.kind for hop in inquiry.chain}),
        "proved": inquiry.proved,
    }
    values["approvals"] = sorted(inquiry.approvals)
    values["breakglass"] = inquiry.breakglass
    values["now"] = inquiry.now
    return json.dumps(values)


def _action(name: str) -> dict[str, str]:
    namespace, separator, action = name.rpartition("::")
    return {"type": f"{namespace}{separator}Action", "id": action}


def _entities(
    schema: Schema, chain: Iterable[Hop], resources: Iterable[Resource]
) -> cedarpy.Entities:
    """Return the chain's hops, the resources and all above them.

    Raises:
        ValueError: one resource comes with different labels or parents, or is not as the schema
            says.

    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for number, hop in enumerate(chain):
        _put(found, _principal(hop, is_root=number == 0))
    for resource in resources:
        parents = [{"type": each.type, "id": each.id} for each in resource.parents]
        _put(found, schema.entity(resource.type, resource.id, parents, resource.labels))
    return schema.nothing.with_added_json_str(json.dumps(list(found.values())), schema.handle)


def _principal(hop: Hop, *, is_root: bool) -> dict[str, Any]:
    """Return a hop as Cedar's JSON. A root proved itself, and has no parent to be kept from."""
    parents = [{"type": "Hoopgw::Group", "id": group} for group in sorted(hop.groups)]
    attributes: dict[str, Any] = dict(attributes_to_dict(hop.attributes))
    if hop.kind != "person":
        attributes["attested"] = is_root or hop.attested
        attributes["isolated"] = is_root or hop.isolated
        if not is_root:
            parents.append({"type": AGENT_KIND, "id": kind_of(hop)})
    return {
        "uid": {"type": ENTITY_TYPES[hop.kind], "id": hop.id},
        "attrs": attributes,
        "parents": parents,
    }


def kind_of(hop: Hop) -> str:
    """Return what a hop below the root is a kind of: the name that its parent gave it.

    One that proved an identity of its own is the kind of its id: its name is for people, and an
    agent of any other issuer may be shown by the same. No parent can give such a name.
    """
    return hop.id if hop.attested else hop.name


def _put(found: dict[tuple[str, str], dict[str, Any]], entity: dict[str, Any]) -> None:
    key = entity["uid"]["type"], entity["uid"]["id"]
    if found.setdefault(key, entity) != entity:
        raise ValueError(f'{key[0]}::"{key[1]}" is described in two ways')


def _with_parents(resources: Iterable[Resource]) -> Collection[Resource]:
    found: dict[Resource, None] = {}
    waiting: list[Resource] = list(resources)
    while waiting:
        resource = waiting.pop()
        if resource not in found:
            found[resource] = None
            waiting += resource.parents
    return found.keys()


def see_of(resource: Resource) -> Access:
    """Return the question whether a field may be seen: its own namespace's ``see``."""
    namespace, separator, _ = resource.type.rpartition("::")
    return Access(action=f"{namespace}{separator}see", resource=resource)


def in_batches(fields: Sequence[Resource], hops: int) -> Iterable[Sequence[Resource]]:
    """Cut fields so that each part, asked for this many hops, is one batch at most."""
    size = max(1, BATCH_LIMIT // hops)
    return (fields[start : start + size] for start in range(0, len(fields), size))


def offers_action(policies: PolicySet, offer: Offer, action: str) -> bool:
    """Whether an offer's template names an action or group of actions, or a group that it is in.

    Args:
        policies: that the offer is of.
        offer: the one.
        action: as ``select``, or with its namespace: ``Postgres::select``.

    """
    rule = next((each for each in policies.all.templates if each.id == offer.template), None)
    if rule is None:
        return False
    parsed = cedarpy.PolicySet.from_str(rule.text).to_pst()
    (template,) = parsed.templates.values()
    match template.action:
        case pst.ActionEq(entity=entity):
            named = [entity]
        case pst.ActionIn(entities=entities):
            named = list(entities)
        case _:
            return True
    names = {str(entity.type).removesuffix("Action") + entity.id for entity in named}
    asked = {action} if "::" in action else {f"{n.rpartition('::')[0]}::{action}" for n in names}
    return any(name in names or policies.schema.groups.get(name, _NONE) & names for name in asked)
