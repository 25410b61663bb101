"""Role assignments: who gets which role, as far as a body says. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from attrs import define, field

from hoopgw_azure.expressions import UNKNOWN
from hoopgw_azure.known import roles
from hoopgw_azure.strict_json import Json, member

UNKNOWN_WORD: Final = "unknown"
_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DEFINITION: Final = re.compile(r"(?:.*/)?roledefinitions/([^/]+)/?|([^/]+)")
_KINDS: Final = frozenset({"user", "group", "serviceprincipal", "foreigngroup", "device"})
_TYPES: Final = frozenset(
    {
        "microsoft.authorization/roleassignments",
        "microsoft.authorization/roleassignmentschedulerequests",
        "microsoft.authorization/roleeligibilityschedulerequests",
        "microsoft.authorization/roleassignmentapprovals",
        "microsoft.blueprint/blueprints/artifacts",
    }
)


def is_assignment(kind: str) -> bool:
    """Whether a type, in lower case, gives somebody a role."""
    return kind in _TYPES


@define(eq=False)
class Assignments:
    """What the role assignments of one request say together."""

    roles: set[str] = field(factory=set)
    """Ids of role definitions in lower case, names of built-in ones, or ``unknown``."""
    principals: set[str] = field(factory=set)
    """Object ids in lower case, or ``unknown``."""
    principal_types: set[str] = field(factory=set)
    """``User``, ``Group``, ``ServicePrincipal`` ..., in lower case, or ``unknown``."""

    def add(self, properties: Json, text: Callable[[Json], str]) -> None:
        """Take the properties of one assignment; ``text`` evaluates what they say."""
        self.roles |= _roles(text(member(properties, "roleDefinitionId")))
        principal = text(member(properties, "principalId")).lower()
        self.principals.add(principal if _ID.fullmatch(principal) else UNKNOWN_WORD)
        kind = text(member(properties, "principalType")).lower()
        self.principal_types.add(kind if kind in _KINDS else UNKNOWN_WORD)


def _roles(written: str) -> set[str]:
    match = _DEFINITION.fullmatch(written.lower())
    identifier = (match[1] or match[2]) if match else ""
    if UNKNOWN in identifier or not _ID.fullmatch(identifier):
        return {UNKNOWN_WORD}
    name = roles().get(identifier)
    return {identifier} if name is None else {identifier, name}
