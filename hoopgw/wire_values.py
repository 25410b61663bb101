"""Principals as plain MessagePack values, for calls between our processes and for tickets."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, Final

from hoopgw.events import AMOUNTS, Attributes, Budget, Cap, Hop, HopKind, Node, Origin, Principal

_KINDS: Final = typing.get_args(HopKind)


def principal_to_dict(principal: Principal) -> dict[str, Any]:
    """Return a dict of plain values, for `principal_from_dict`."""
    values: dict[str, Any] = {
        "chain": [hop_to_dict(hop) for hop in principal.chain],
        "nodes": [node_to_dict(node) for node in principal.nodes],
        "session": principal.session,
        "expires": principal.expires,
        "proved": principal.proved,
    }
    if principal.origin != Origin():
        values["origin"] = origin_to_dict(principal.origin)
    return values


def principal_from_dict(values: Mapping[str, Any]) -> Principal:
    """Return the principal that `principal_to_dict` was given.

    Raises:
        ValueError: a value is missing or of the wrong kind.

    """
    try:
        return Principal(
            chain=tuple(hop_from_dict(hop) for hop in values["chain"]),
            nodes=tuple(node_from_dict(node) for node in values.get("nodes", ())),
            session=str(values["session"]),
            expires=float(values["expires"]),
            proved=values.get("proved") is True,
            origin=origin_from_dict(values.get("origin", {})),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a principal: {error}") from error


def hop_to_dict(hop: Hop) -> dict[str, Any]:
    """Return a hop as plain values; what is as usual is left out."""
    values: dict[str, Any] = {
        "id": hop.id,
        "name": hop.name,
        "kind": hop.kind,
        "groups": sorted(hop.groups),
    }
    if hop.caps is not None:
        values["caps"] = [cap_to_dict(cap) for cap in hop.caps]
    if hop.attested:
        values["attested"] = True
    if hop.isolated:
        values["isolated"] = True
    if hop.attributes:
        values["attributes"] = attributes_to_dict(hop.attributes)
    return values


def hop_from_dict(values: Mapping[str, Any]) -> Hop:
    """Return the hop that `hop_to_dict` was given; raises `ValueError`, `KeyError`, `TypeError`."""
    kind = values["kind"]
    if kind not in _KINDS:
        raise ValueError(f"not a kind of principal: {kind!r}")
    caps = values.get("caps")
    return Hop(
        id=str(values["id"]),
        name=str(values["name"]),
        kind=kind,
        groups=frozenset(map(str, values["groups"])),
        caps=None if caps is None else tuple(cap_from_dict(cap) for cap in caps),
        attested=values.get("attested") is True,
        isolated=values.get("isolated") is True,
        attributes=attributes_from_dict(values.get("attributes", {})),
    )


def attributes_to_dict(attributes: Attributes) -> dict[str, str | list[str]]:
    """Return attributes as plain values."""
    return {name: v if isinstance(v, str) else list(v) for name, v in attributes}


def attributes_from_dict(values: Mapping[str, Any]) -> Attributes:
    """Return what `attributes_to_dict` was given.

    Raises:
        ValueError: a value is neither text nor texts.

    """
    found: list[tuple[str, str | tuple[str, ...]]] = []
    for name, value in sorted(values.items()):
        if isinstance(value, str):
            found.append((name, value))
        elif isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
            found.append((name, tuple(value)))
        else:
            raise ValueError(f"the attribute {name!r} is neither text nor texts")
    return tuple(found)


def origin_to_dict(origin: Origin) -> dict[str, Any]:
    """Return an origin as plain values."""
    return {"persons": sorted(origin.persons), "attributes": dict(origin.attributes)}


def origin_from_dict(values: Mapping[str, Any]) -> Origin:
    """Return what `origin_to_dict` was given.

    Raises:
        ValueError, TypeError, AttributeError: a value is of the wrong kind.

    """
    persons = values.get("persons", ())
    if isinstance(persons, str):
        raise ValueError("persons are a list")
    return Origin(
        persons=frozenset(map(str, persons)),
        attributes=tuple(
            (str(name), str(value)) for name, value in sorted(values.get("attributes", {}).items())
        ),
    )


def cap_to_dict(cap: Cap) -> dict[str, Any]:
    """Return a cap as plain values."""
    return {"target": cap.target, "actions": sorted(cap.actions)}


def cap_from_dict(values: Mapping[str, Any]) -> Cap:
    """Return the cap that `cap_to_dict` was given; raises `ValueError`, `KeyError`, `TypeError`."""
    actions = values["actions"]
    if isinstance(actions, str):
        raise ValueError("actions are a list")  # as all that is wrong here
    return Cap(target=str(values["target"]), actions=frozenset(map(str, actions)))


def node_to_dict(node: Node) -> dict[str, Any]:
    """Return a node as plain values; what is not there is left out."""
    values: dict[str, Any] = {"id": node.id}
    if node.budget is not None:
        values["budget"] = budget_to_dict(node.budget)
    if node.purpose:
        values["purpose"] = node.purpose
    return values


def node_from_dict(values: Mapping[str, Any]) -> Node:
    """Return what `node_to_dict` was given; raises `ValueError`, `KeyError`, `TypeError`."""
    budget = values.get("budget")
    return Node(
        id=str(values["id"]),
        budget=None if budget is None else budget_from_dict(budget),
        purpose=str(values.get("purpose", "")),
    )


def budget_to_dict(budget: Budget) -> dict[str, int]:
    """Return a budget as plain values; what is not limited is left out."""
    amounts = {name: getattr(budget, name) for name in AMOUNTS}
    return {name: amount for name, amount in amounts.items() if amount is not None}


def budget_from_dict(values: Mapping[str, Any]) -> Budget:
    """Return the budget that `budget_to_dict` was given.

    Raises:
        ValueError: an amount is no number that can be, or its name is not known.

    """
    for name, amount in values.items():
        if name not in AMOUNTS:
            raise ValueError(f"a budget has no {name!r}")
        if type(amount) is not int or not 0 <= amount < 2**62:
            raise ValueError(f"a budget of {name} is a whole number, not {amount!r}")
    return Budget(**values)
