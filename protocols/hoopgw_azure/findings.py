"""What is found in a body, as it is found: touches, and what cannot be seen. Pure."""

from __future__ import annotations

from typing import Final

from attrs import define, field

from hoopgw.events import Resource
from hoopgw_azure.calls import Touch, Verb
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.resources import Place
from hoopgw_azure.roles import Assignments

RESOURCES_LIMIT: Final = 800
"""Resources in one request, nested templates included; Azure's limit for one template."""


@define(eq=False)
class Findings:
    """What was found in a body."""

    place: Place
    verb: Verb = "write"
    """What is asked about resources: ``write``, or ``plan`` where nothing is written yet."""
    touches: dict[Touch, None] = field(factory=dict)
    opaque: set[str] = field(factory=set)
    """What could not be seen: ``name``, ``scope``, ``type``, ``templateLink`` ..."""
    functions: set[str] = field(factory=set)
    """Functions that read: ``listkeys``, ``reference`` ..."""
    outputs: bool = False
    """Whether a template has outputs, which whoever reads the deployment sees."""
    assignments: Assignments = field(factory=Assignments)
    notes: list[str] = field(factory=list)
    _count: int = 0

    def touch(self, verb: Verb, resource: Resource, operation: str) -> None:
        """Add what is done to a resource."""
        self.touches[Touch(verb=verb, resource=resource, operation=operation)] = None

    def hide(self, what: str, resource: Resource) -> None:
        """Say that something about a resource could not be seen."""
        self.opaque.add(what)
        self.touch("unknown", resource, "unknown")

    def one_more(self) -> None:
        """Count a resource.

        Raises:
            UnclearRequestError: there are too many.

        """
        self._count += 1
        if self._count > RESOURCES_LIMIT:
            raise UnclearRequestError(f"more than {RESOURCES_LIMIT} resources in one request")
