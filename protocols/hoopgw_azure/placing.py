"""Where the resources of a template are: ids, scopes, types and names, as far as known. Pure."""

from __future__ import annotations

from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.expressions import UNKNOWN
from hoopgw_azure.ids import ArmPath, Part, Scope, parse
from hoopgw_azure.resources import UNKNOWN_NAME


def located_at(text: str, here: Scope | None) -> ArmPath | None:
    """Return what an id in a template means, absolute or below a scope; None if not known."""
    if text == "/":
        return ArmPath(Scope(), ())
    absolute = text.startswith("/")
    segments = tuple(text.strip("/").split("/"))
    if not absolute:
        segments = ("providers", *segments)
    try:
        path = parse(tuple(segment.replace(UNKNOWN, UNKNOWN_NAME) for segment in segments))
    except UnclearRequestError:
        return None
    scope = path.scope if absolute else here
    if scope is None or path.plain or any(part.is_open for part in path.parts):
        return None
    certain = (scope.path, *(part.type for part in path.parts))
    if any(UNKNOWN_NAME in each for each in certain):
        return None
    if path.parts and path.parts[-1].type.lower() == "microsoft.management/managementgroups":
        group = path.parts[-1].names[0].lower()
        return None if UNKNOWN_NAME in group else ArmPath(Scope(management_group=group), ())
    return ArmPath(scope, path.parts)


def parts_of(kind: str, name: str) -> tuple[Part, ...] | None:
    """Return a type and a name as parts; a name that is not known whole gets ``*``.

    The old form of extensions has them in one: ``Microsoft.Sql/servers/providers/locks`` with the
    name ``server/Microsoft.Authorization/lock``.
    """
    namespace, *types = kind.split("/")
    names = [UNKNOWN_NAME if UNKNOWN in each else each for each in name.split("/")]
    if "providers" not in [each.lower() for each in types]:
        if len(names) != len(types):
            if UNKNOWN not in name:
                return None
            names = [UNKNOWN_NAME] * len(types)
        return (Part(namespace, tuple(types), tuple(each or UNKNOWN_NAME for each in names)),)
    if len(names) != len(types):
        return None
    found: list[Part] = []
    kinds, own = list[str](), list[str]()
    for each, called in zip(types, names, strict=True):
        if each.lower() == "providers":
            if called == UNKNOWN_NAME or not kinds:
                return None
            found.append(Part(namespace, tuple(kinds), tuple(own)))
            namespace, kinds, own = called, [], []
        else:
            kinds.append(each)
            own.append(called or UNKNOWN_NAME)
    return (*found, Part(namespace, tuple(kinds), tuple(own))) if kinds else None
