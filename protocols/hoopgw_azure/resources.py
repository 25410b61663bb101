"""Resources of the Cedar schema, made from ids. Pure.

What policy asks about is an `Azure::Resource` (or a resource group, subscription ...), which is in
an `Azure::Type` and in an `Azure::Scope`. Types are not reached through scopes: a role assignment
on a virtual machine is in the machine's scope, and is no virtual machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import define, field

from hoopgw.events import Resource
from hoopgw_azure.ids import ArmPath, Part, Scope

UNKNOWN_NAME: Final = "*"
"""Stands in an id for a name that only Azure will know."""


@define(eq=False)
class Place:
    """A target, as far as resources need it.

    Args:
        target: its resource, with its environment.
        labels: ids in lower case to labels; they hold for all that is below.

    """

    target: Resource
    labels: Mapping[str, frozenset[str]] = field(factory=dict)

    @property
    def tenant(self) -> Resource:
        """Return what is asked about where no narrower scope is."""
        return Resource(type="Azure::Tenant", id=self.target.id, parents=(self.target,))

    def scope(self, scope: Scope) -> Resource:
        """Return a scope that is no resource."""
        if scope.management_group:
            return Resource(
                type="Azure::ManagementGroup", id=scope.management_group, parents=(self.tenant,)
            )
        if not scope.subscription:
            return self.tenant
        subscription = Resource(
            type="Azure::Subscription", id=scope.subscription, parents=(self.tenant,)
        )
        if not scope.resource_group:
            return subscription
        return Resource(
            type="Azure::ResourceGroup",
            id=f"{scope.subscription}/{scope.resource_group}",
            parents=(subscription,),
            labels=self.labels_of(scope.path),
        )

    def resource(self, path: ArmPath) -> Resource:
        """Return what a path names: a resource, a collection of them, or a scope."""
        if not path.parts:
            return self.scope(path.scope)
        return self.resource_of(path.scope, path.parts)

    def resource_of(self, scope: Scope, parts: tuple[Part, ...]) -> Resource:
        """Return the resource, or the collection of resources, at the end of some parts."""
        above = self.scope(scope)
        written = scope.path
        for number, part in enumerate(parts):
            for level in range(len(part.names)):
                words = Part(part.namespace, part.types[: level + 1], part.names[: level + 1])
                identifier = written + words.path
                above = Resource(type="Azure::Scope", id=identifier, parents=(above,))
            if number < len(parts) - 1:
                written += part.path
        last = parts[-1]
        identifier = written + last.path
        return Resource(
            type="Azure::Resource",
            id=identifier,
            parents=(above, type_of(last)),
            labels=self.labels_of(identifier),
        )

    def labels_of(self, identifier: str) -> frozenset[str]:
        """Return the labels of an id, and of all that it is below."""
        if not self.labels:
            return frozenset()
        found: frozenset[str] = frozenset()
        for above in _above(identifier):
            found |= self.labels.get(above, frozenset())
        return found


def type_of(part: Part) -> Resource:
    """Return a type, in its provider and in the types that it is a child of; in lower case."""
    found = Resource(type="Azure::Type", id=part.namespace.lower())
    name = found.id
    for kind in part.types:
        name = f"{name}/{kind.lower()}"
        found = Resource(type="Azure::Type", id=name, parents=(found,))
    return found


def _above(identifier: str) -> Iterator[str]:
    end = len(identifier)
    while end > 0:
        yield identifier[:end]
        end = identifier.rfind("/", 0, end)
