"""Azure Resource Manager: from method, path and query to the RBAC operation and what it touches.

The rule: the last provider in the path, its types, then ``read`` for GET and HEAD, ``write`` for
PUT and PATCH, ``delete`` for DELETE; a POST that ends in a type is that action. Where Azure's
services do otherwise, a table has the exceptions. What the rule makes and no table knows is
unknown, which is an action of its own that no ordinary policy permits. Bodies are read elsewhere.
Pure.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Final

from attrs import frozen

from hoopgw.events import Resource
from hoopgw_azure.calls import NO_SECRETS, Call, Query, Secrets, Touch, Verb
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.ids import RESOURCES, ArmPath, Part, Scope, parse
from hoopgw_azure.kinds import Kind, kinds_of, returns_secrets
from hoopgw_azure.known import operations, secrets
from hoopgw_azure.polls import is_poll
from hoopgw_azure.resources import Place

METHODS: Final = {
    "GET": "read",
    "HEAD": "read",
    "PUT": "write",
    "PATCH": "write",
    "DELETE": "delete",
    "POST": "action",
}
UNKNOWN: Final = "unknown"
QUERY_LIMIT: Final = 100

_VERSION: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(-[A-Za-z0-9.]{1,32})?")
_ASKS: Final = re.compile(
    r".*/check\w*availability/action|microsoft\.resourcegraph/\w+/action"
    r"|microsoft\.costmanagement/query/action|microsoft\.policyinsights/.*/queryresults/action"
    r"|microsoft\.resources/(checkresourcename|calculatetemplatehash)/action"
)
"""POSTs that only ask, and that RBAC calls actions all the same."""
_KINDS: Final[tuple[Kind, ...]] = ("grant", "mint", "execute")
_OUTPUTS: Final = Secrets(paths=("properties.outputs.*.value",))
_OURS: Final[dict[str, Secrets]] = {
    # list*() in a template puts keys into the outputs, for everybody who may read the deployment.
    "microsoft.resources/deployments": _OUTPUTS,
    "microsoft.resources/deploymentstacks": _OUTPUTS,
    "microsoft.resources/deployments/operations": Secrets(
        paths=("properties.request.content", "properties.response.content")
    ),
    "microsoft.resources/deploymentscripts": Secrets(paths=("properties.outputs",)),
    "microsoft.resources/deploymentscripts/logs": Secrets(paths=("properties.log",)),
    "microsoft.solutions/applications": Secrets(paths=("properties.outputs.*.value",)),
    "microsoft.web/sites/config": Secrets(everything=True),
    "microsoft.web/sites/slots/config": Secrets(everything=True),
}
"""Types whose readable secrets are in no table."""


@frozen(kw_only=True)
class Reading:
    """What a path means, before it is known what its body says."""

    method: str
    path: ArmPath
    api_version: str
    operation: str
    """As the rule makes it, as Azure spells it where that is known."""
    others: tuple[str, ...]
    """Further operations that a table names for this path, in lower case."""
    known: bool
    poll: bool

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All its operations in lower case, with what the rule alone would say."""
        return tuple(
            dict.fromkeys(
                (self.operation.lower(), *self.others, ruled(self.method, self.path).lower())
            )
        )

    @property
    def kinds(self) -> frozenset[Kind]:
        """What is dangerous about it."""
        return kinds_of(self.names)

    @property
    def verb(self) -> Verb:
        """What it does, as the operation's last word says, and never less than its method."""
        if self.poll:
            return "poll"
        if not self.known:
            return "unknown"
        word = self.operation.lower().rpartition("/")[2]
        if word == "read" and self.method in ("PUT", "PATCH", "DELETE"):
            return "unknown"
        if word == "action" and _ASKS.fullmatch(self.operation.lower()):
            return "read"
        verbs: dict[str, Verb] = {
            "read": "read",
            "write": "write",
            "delete": "delete",
            "action": "action",
        }
        return verbs.get(word, "unknown")

    @property
    def is_action(self) -> bool:
        """Whether its path ends in the name of an action."""
        return self.method == "POST" and _tail(self.path).is_open


def read(method: str, segments: tuple[str, ...], query: Query) -> Reading:
    """Say what a request means.

    Args:
        method: as it came.
        segments: of its path, decoded once.
        query: decoded once.

    Raises:
        UnclearRequestError: it may be read in more than one way.

    """
    path = parse(segments)
    if method not in METHODS:
        raise UnclearRequestError(f"Resource Manager has no method {method!r}")
    version = api_version(query)
    tables = operations()
    rule = ruled(method, path)
    listed = tables.exception(method, path.segments) or _on_any_scope(method, path)
    made = tuple(_filled(name, path).lower() for name in listed or (rule,))
    known = [name for name in made if name in tables.spelling or _registers(name)]
    # Of several candidates, the one of the namespace that the path names.
    known.sort(key=lambda name: name.partition("/")[0] != rule.lower().partition("/")[0])
    first = known[0] if known else rule.lower()
    return Reading(
        method=method,
        path=path,
        api_version=version,
        operation=tables.spelling.get(first, first if listed and known else rule),
        others=tuple(name for name in known if name != first),
        known=bool(known),
        poll=is_poll(method, path),
    )


def ruled(method: str, path: ArmPath) -> str:
    """Return the operation that the rule makes of a path."""
    part = _tail(path)
    verb = METHODS[method]
    if method == "POST" and not part.is_open:
        verb = "write"
    return f"{part.type}/{verb}"


def api_version(query: Query) -> str:
    """Return ``api-version``, or nothing.

    Raises:
        UnclearRequestError: it is there twice, or is none.

    """
    if len(query) > QUERY_LIMIT:
        raise UnclearRequestError(f"more than {QUERY_LIMIT} parameters in a query")
    found = [value for name, value in query if name.lower() == "api-version"]
    if len(found) > 1:
        raise UnclearRequestError("the query has api-version more than once")
    if found and not _VERSION.fullmatch(found[0]) and not re.fullmatch(r"[0-9.]{1,8}", found[0]):
        raise UnclearRequestError(f"this is no api-version: {found[0]!r}")
    return found[0] if found else ""


def call(reading: Reading, place: Place) -> Call:
    """Return what a request does, by its path alone."""
    kinds = reading.kinds
    resource = resource_of(reading, place)
    verbs: tuple[Verb, ...] = tuple(kind for kind in _KINDS if kind in kinds)
    if not reading.known or reading.poll or not verbs:
        verbs = (reading.verb,)
    return Call(
        operation=reading.operation,
        type=_described(reading),
        touches=tuple(
            Touch(verb=verb, resource=resource, operation=_operation(reading)) for verb in verbs
        ),
        api_version=reading.api_version,
        poll=reading.poll,
        secrets=secrets_of(reading),
        mints="mint" in kinds,
        executes="execute" in kinds,
        grants="grant" in kinds,
    )


def type_of(path: ArmPath) -> str:
    """Return the full type that a path ends in, in lower case, an action's name included.

    Paths without a provider are an older form of those of Microsoft.Resources:
    ``/subscriptions/{}/resourcegroups/{}/deployments/{}`` deploys, too.
    """
    if path.parts or not path.plain:
        return _tail(path).type.lower()
    return "/".join((RESOURCES, *path.plain[0::2])).lower()


def resource_of(reading: Reading, place: Place) -> Resource:
    """Return what a request is about: of an action, what it acts on."""
    path = reading.path
    if not reading.is_action or not path.parts:
        return place.resource(path)
    last = path.parts[-1].without_tail()
    if last.types:
        return place.resource_of(path.scope, (*path.parts[:-1], last))
    # POST /subscriptions/{}/providers/Microsoft.Storage/checkNameAvailability
    return place.resource_of(path.scope, path.parts)


def secrets_of(reading: Reading) -> Secrets:
    """Return where secrets are in its answer."""
    tables = secrets()
    part = _tail(reading.path)
    found = NO_SECRETS
    if reading.poll or any(returns_secrets(name) for name in reading.names):
        found = Secrets(everything=True)
    if part.is_open and (reading.method == "POST" or part.type.count("/") > 1):
        owner = part.without_tail().type.lower()
        paths = tables.actions.get((owner, part.types[-1].lower()))
        if paths is not None:
            found |= Secrets(paths=paths) if paths else Secrets(everything=True)
    kind = _described(reading)
    if reading.method != "HEAD":
        found |= Secrets(paths=tables.fields.get(kind, ())) | _OURS.get(kind, NO_SECRETS)
    return found


def _described(reading: Reading) -> str:
    """Return the type of what a request is about, in lower case."""
    kind = type_of(reading.path)
    return kind.rpartition("/")[0] if reading.is_action else kind


def _operation(reading: Reading) -> str:
    return reading.operation.lower() if reading.known else UNKNOWN


def _tail(path: ArmPath) -> Part:
    """Return the part that names the operation. What has no provider is Microsoft.Resources'."""
    if path.parts:
        return path.parts[-1]
    if path.scope.management_group and not path.plain:
        return Part("Microsoft.Management", ("managementGroups",), (path.scope.management_group,))
    words: list[str] = []
    if path.scope.subscription:
        words += ["subscriptions", path.scope.subscription]
    if path.scope.resource_group:
        words += ["resourceGroups", path.scope.resource_group]
    words += path.plain
    return Part(RESOURCES, tuple(words[0::2]), tuple(words[1::2]))


def _on_any_scope(method: str, path: ArmPath) -> tuple[str, ...] | None:
    """Look the last part up in the templates that hold for any scope."""
    if not path.parts or path.id == path.parts[-1].path:
        return None
    own = tuple(path.parts[-1].path.strip("/").split("/"))
    return operations().exception(method, ("{}", *own))


def _registers(name: str) -> bool:
    """Whether an operation is the (un)registration of some provider."""
    return bool(re.fullmatch(r"[a-z][a-z0-9.]*/(un)?register/action", name))


def _filled(name: str, path: ArmPath) -> str:
    """Put the provider that a path names in the place of ``{}``."""
    if "{}" not in name:
        return name
    return name.replace("{}", path.parts[-1].namespace if path.parts else RESOURCES)


__all__ = ["METHODS", "UNKNOWN", "Reading", "Scope", "api_version", "call", "read", "ruled"]
