"""ARM paths: the scope that a request is about, and the chain of types and names below it. Pure.

A path is read from its front: scope, then ``providers/NAMESPACE``, then types and names in turn. A
provider may follow in the place of a type (an extension: a role assignment on a virtual machine).
Where a name is the word ``providers``, reading from the front and looking for the last
``/providers/`` disagree about what is meant, so such a path is refused.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import field, frozen

from hoopgw_azure.errors import UnclearRequestError

PROVIDERS: Final = "providers"
RESOURCES: Final = "Microsoft.Resources"
"""The namespace of paths that name none."""
SEGMENTS_LIMIT: Final = 64
PATH_LIMIT: Final = 8192
"""Characters of a path."""

_NAMESPACE: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(\.[A-Za-z0-9]+)*")
_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,127}")
_MANAGEMENT_GROUPS: Final = (PROVIDERS, "microsoft.management", "managementgroups")


@frozen
class Scope:
    """Where something is: tenant, management group, subscription or resource group.

    All in lower case, as Azure compares them. A scope without any of these is the tenant.
    """

    subscription: str = ""
    resource_group: str = ""
    management_group: str = ""

    @property
    def path(self) -> str:
        """Return it as Azure writes it, in lower case; nothing for the tenant."""
        if self.management_group:
            return f"/{'/'.join(_MANAGEMENT_GROUPS)}/{self.management_group}"
        if not self.subscription:
            return ""
        group = f"/resourcegroups/{self.resource_group}" if self.resource_group else ""
        return f"/subscriptions/{self.subscription}{group}"


@frozen
class Part:
    """What one provider has in a path: ``Microsoft.Compute``, ``virtualMachines``, ``vm1`` ..."""

    namespace: str
    types: tuple[str, ...]
    names: tuple[str, ...]
    """As many as types, or one fewer: then the last type is a collection, or an action."""

    @property
    def is_open(self) -> bool:
        """Whether it ends in a type."""
        return len(self.types) > len(self.names)

    @property
    def type(self) -> str:
        """Return the full type: ``Microsoft.Compute/virtualMachines``."""
        return "/".join((self.namespace, *self.types))

    def without_tail(self) -> Part:
        """Return it without the type that it ends in."""
        return Part(self.namespace, self.types[: len(self.names)], self.names)

    @property
    def path(self) -> str:
        """Return it as in a path, in lower case."""
        words = [PROVIDERS, self.namespace]
        for number, kind in enumerate(self.types):
            words.append(kind)
            words += self.names[number : number + 1]
        return ("/" + "/".join(words)).lower()


@frozen
class ArmPath:
    """A whole path."""

    scope: Scope
    parts: tuple[Part, ...]
    """The resource, and before it what it extends; none if the scope itself is meant."""
    plain: tuple[str, ...] = ()
    """Segments behind the scope that belong to no provider, as written."""
    segments: tuple[str, ...] = field(default=(), repr=False)
    """All of it, in lower case."""

    @property
    def id(self) -> str:
        """Return the path as Azure's id, in lower case."""
        return "/" + "/".join(self.segments)


def parse(segments: tuple[str, ...]) -> ArmPath:
    """Read the segments of a canonical path, decoded once.

    Raises:
        UnclearRequestError: it may be read in more than one way, or is no path of ARM's.

    """
    if len(segments) > SEGMENTS_LIMIT or sum(map(len, segments)) > PATH_LIMIT:
        raise UnclearRequestError("this path is longer than any of Azure's")
    for segment in segments:
        _check(segment)
    lower = tuple(segment.lower() for segment in segments)
    scope, used = _scope(lower)
    rest, low = segments[used:], lower[used:]
    if low[:1] != (PROVIDERS,):
        if PROVIDERS in low:
            raise UnclearRequestError("this path names a provider behind a scope that is not known")
        return ArmPath(scope, (), rest, lower)
    return ArmPath(scope, tuple(_parts(rest, low)), (), lower)


def _check(segment: str) -> None:
    if not segment:
        raise UnclearRequestError("this path has an empty segment")
    if segment in (".", "..") or segment != segment.strip() or "\\" in segment or "/" in segment:
        raise UnclearRequestError(f"this path has a segment that is not clear: {segment!r}")
    if not segment.isprintable():
        raise UnclearRequestError("this path has characters that cannot be shown")
    if not segment.isascii() and has_double(segment):
        raise UnclearRequestError(f"this path has letters that pass for others: {segment!r}")


def has_double(text: str) -> bool:
    """Whether a letter beyond ASCII is one of ASCII's in the other case (the Kelvin sign is k)."""
    return any(not c.isascii() and (c.lower().isascii() or c.upper().isascii()) for c in text)


def _scope(lower: tuple[str, ...]) -> tuple[Scope, int]:
    """Return the scope at the front, and how many segments it takes."""
    if lower[:1] == ("subscriptions",) and len(lower) > 1:
        if lower[2:3] == ("resourcegroups",) and len(lower) > 3:
            return Scope(subscription=_place(lower[1]), resource_group=_place(lower[3])), 4
        return Scope(subscription=_place(lower[1])), 2
    if lower[:3] == _MANAGEMENT_GROUPS and len(lower) > 3:
        # It is a resource, too: what is below it has a provider of its own.
        scope = Scope(management_group=_place(lower[3]))
        return scope, 4 if lower[4:5] == (PROVIDERS,) else 0
    return Scope(), 0


def _place(name: str) -> str:
    if name == PROVIDERS:
        raise UnclearRequestError("this path has the word `providers` where a name belongs")
    return name


def _parts(segments: tuple[str, ...], lower: tuple[str, ...]) -> list[Part]:
    found: list[Part] = []
    at = 0
    while at < len(segments):
        if len(segments) == at + 1:  # GET /subscriptions/{}/providers
            return [*found, Part(RESOURCES, (PROVIDERS,), ())]
        namespace = segments[at + 1]
        if not _NAMESPACE.fullmatch(namespace):
            raise UnclearRequestError(f"this is no namespace of a provider: {namespace!r}")
        end = at + 2
        types: list[str] = []
        names: list[str] = []
        while end < len(segments) and lower[end] != PROVIDERS:
            if not _TYPE.fullmatch(segments[end]):
                raise UnclearRequestError(f"this is no type of a resource: {segments[end]!r}")
            types.append(segments[end])
            names += [_name(name) for name in segments[end + 1 : end + 2]]
            end += 2
        found.append(Part(namespace, tuple(types), tuple(names)))
        at = end
    return found


def _name(name: str) -> str:
    if name.lower() == PROVIDERS:
        raise UnclearRequestError("this path has the word `providers` where a name belongs")
    return name
