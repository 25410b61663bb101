"""A small world to make policies for: who may ask, and of what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hoopgw.events import Access, ContextValue, Hop, HopKind, Node, Operation, Principal, Resource
from hoopgw.policy.schema import Schema
from hoopgw.policy.sets import PolicySet
from hoopgw.policy.text import SourceFile

ROOT: Final = Path(__file__).parents[2]
SHOP_SCHEMA: Final = """
namespace Shop {
  entity Shelf in [Hoopgw::Target] = { labels: Set<String> };
  entity Field in [Shelf] = { labels: Set<String> };
  type Order = {
    chain: Hoopgw::Chain, approvals: Set<String>, breakglass: Bool, now: Long,
    bulk: Bool, count: Long, words: Set<String>, note?: String,
  };
  action read, write;
  action take, look in [read] appliesTo {
    principal: [Hoopgw::Person, Hoopgw::Workload, Hoopgw::Agent],
    resource: [Shelf], context: Order,
  };
  action put in [write] appliesTo {
    principal: [Hoopgw::Person, Hoopgw::Workload, Hoopgw::Agent],
    resource: [Shelf], context: Order,
  };
  action see appliesTo {
    principal: [Hoopgw::Person, Hoopgw::Workload, Hoopgw::Agent],
    resource: [Field],
    context: { chain: Hoopgw::Chain, approvals: Set<String>, breakglass: Bool, now: Long },
  };
}
"""
SHOP: Final = Resource(
    type="Hoopgw::Target",
    id="shop",
    parents=(Resource(type="Hoopgw::Environment", id="prod"),),
)
CONTEXT: Final[Mapping[str, ContextValue]] = {"bulk": False, "count": 1, "words": ()}

PERMIT_ALL: Final = '@id("all") permit (principal, action, resource);'
"""A permit that hides nothing of what a forbid does."""


def schema() -> Schema:
    """Return the schema of a protocol made for tests."""
    return Schema.load({"shop": SHOP_SCHEMA})


def policies(text: str, **files: str) -> PolicySet:
    """Return a set of one file, or several."""
    texts = {"test": text, **files}
    return PolicySet.from_files(
        [SourceFile(name=f"{name}.cedar", text=each) for name, each in texts.items()], schema()
    )


def hop(name: str, *groups: str, kind: HopKind = "person") -> Hop:
    return Hop(id=f"corp|{name}", name=name, kind=kind, groups=frozenset(groups))


def principal(*chain: Hop) -> Principal:
    nodes = tuple(Node(id=f"node-{each.name}") for each in chain[1:])
    return Principal(chain=chain, nodes=nodes, session="sid-1", expires=2e9)


ALICE: Final = hop("alice", "developers")
EVE: Final = hop("eve")
PLANNER: Final = hop("planner", kind="agent")


def shelf(name: str = "books", *labels: str) -> Resource:
    return Resource(
        type="Shop::Shelf", id=f"shop/{name}", parents=(SHOP,), labels=frozenset(labels)
    )


def place(name: str, *labels: str) -> Resource:
    """Return a labelled field of a shelf."""
    return Resource(
        type="Shop::Field", id=f"shop/{name}", parents=(shelf(),), labels=frozenset(labels)
    )


def operation(
    action: str, *resources: Resource, context: Mapping[str, ContextValue] = CONTEXT
) -> Operation:
    on = resources or (shelf(),)
    return Operation(
        protocol="shop",
        target="shop",
        action=action,
        accesses=tuple(Access(action=f"Shop::{action}", resource=each) for each in on),
        text=f"{action} it",
        context=context,
        digest=b"\0" * 32,
    )
