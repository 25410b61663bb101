"""Bodies of ARM requests: what they do beyond what the path says. Pure.

Looked into are deployments and what else carries templates, role assignments, moves of resources
and the identities that a resource is given. Everything else that is written is read as JSON, too,
so that its identity is seen; what is not JSON goes by its path alone, where its type is not one of
these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from attrs import evolve

from hoopgw.events import ContextValue
from hoopgw_azure import arm
from hoopgw_azure.arm import Reading
from hoopgw_azure.asked import Asked
from hoopgw_azure.calls import Call, Verb
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.expressions import UNKNOWN, Environment
from hoopgw_azure.findings import RESOURCES_LIMIT, Findings
from hoopgw_azure.ids import Scope
from hoopgw_azure.placing import located_at
from hoopgw_azure.resources import Place
from hoopgw_azure.roles import is_assignment
from hoopgw_azure.strict_json import SIZE_LIMIT, Document, Json, decode, has_member, member
from hoopgw_azure.templates import Walk, deployment, environment_of, identities, within

Look: TypeAlias = Callable[[Findings, Reading, Json], None]

_JSON: Final = frozenset({"", "application/json", "text/json"})
_WRITING: Final = frozenset({"PUT", "PATCH", "POST"})
_PLANS: Final = frozenset({"validate", "whatif"})
CARRIED: Final = SIZE_LIMIT
"""Bytes of a body that must be held to look into it."""


def call(reading: Reading, asked: Asked, place: Place) -> Call:
    """Return what a request does, by its path and its body.

    Raises:
        UnclearRequestError: its body cannot be judged.

    """
    plain = arm.call(reading, place)
    look = _look(reading)
    if look is None and (reading.is_action or reading.method not in _WRITING):
        return plain
    if look is None and not asked.body:
        return plain
    document = _read(asked, must=look is not None)
    if document is None:
        return evolve(plain, extra=(("opaque", ("body",)),))
    findings = Findings(place, verb=_verb(reading))
    if look is not None:
        look(findings, reading, document.value)
    else:
        _written(findings, reading, document.value)
    return joined(evolve(plain, body=document.plain), findings)


def joined(call: Call, findings: Findings) -> Call:
    """Add what was found in a body to what the path says."""
    extra: dict[str, ContextValue] = dict(call.extra)
    extra.update(
        opaque=tuple(sorted(findings.opaque)),
        functions=tuple(sorted(findings.functions)),
        roles=tuple(sorted(findings.assignments.roles)),
        principals=tuple(sorted(findings.assignments.principals)),
        principalTypes=tuple(sorted(findings.assignments.principal_types)),
        outputs=findings.outputs,
    )
    verbs = {touch.verb for touch in findings.touches}
    return evolve(
        call,
        touches=tuple(dict.fromkeys((*call.touches, *findings.touches))),
        mints=call.mints or bool(verbs & {"mint", "getSecret"}),
        executes=call.executes or "execute" in verbs,
        grants=call.grants or "grant" in verbs,
        extra=tuple(sorted(extra.items())),
        notes=(*call.notes, *findings.notes),
    )


def _look(reading: Reading) -> Look | None:
    """Return what reads the body of a request, if it must be read."""
    kind = arm.type_of(reading.path)
    if reading.is_action:
        owner, _, action = kind.rpartition("/")
        if kind == "microsoft.resources/moveresources":
            return _moves
        return _LOOKS.get(owner) if action in _PLANS else None
    if reading.method not in _WRITING:
        return None
    return _LOOKS.get(kind) or (_assignment if is_assignment(kind) else None)


def _verb(reading: Reading) -> Verb:
    plans = reading.is_action or "templatespecs" in reading.operation.lower()
    return "plan" if plans else "write"


def _read(asked: Asked, *, must: bool) -> Document | None:
    """Read a body; None if it is no JSON, and need not be."""
    if not asked.body:
        raise UnclearRequestError("this request needs a body")
    says_json = asked.media_type in _JSON
    if must and not says_json:
        raise UnclearRequestError("the body of this request must be application/json")
    # Services exist that do not look at the type: what looks like JSON is read as JSON.
    if says_json or asked.body.lstrip()[:1] in (b"{", b"["):
        return decode(asked.body, relaxed=True)
    return None


def _written(findings: Findings, reading: Reading, body: Json) -> None:
    scope = reading.path.scope
    identities(findings, body, Environment(scope), scope)
    within(findings, arm.type_of(reading.path), body, arm.resource_of(reading, findings.place))


def _deployment(findings: Findings, reading: Reading, body: Json) -> None:
    properties = member(body, "properties")
    scope = reading.path.scope
    walk = Walk(findings, environment_of(properties, None, scope), scope)
    if len(reading.path.parts) > 1:
        findings.hide("scope", walk.here)
    deployment(walk, properties)
    identities(findings, body, Environment(scope), scope)


def _stack(findings: Findings, reading: Reading, body: Json) -> None:
    properties = member(body, "properties")
    scope: Scope | None = reading.path.scope
    if has_member(properties, "deploymentScope"):
        written = member(properties, "deploymentScope")
        located = located_at(written, scope) if isinstance(written, str) else None
        scope = located.scope if located is not None and not located.parts else None
    walk = Walk(findings, environment_of(properties, None, scope), scope)
    if scope is None:
        findings.hide("scope", walk.here)
    deployment(walk, properties)


def _stored(findings: Findings, reading: Reading, template: Json) -> None:
    """Look into a template that is only kept."""
    scope = reading.path.scope
    Walk(findings, Environment.of(template, {}, scope), scope).template(template)


def _nothing(findings: Findings, reading: Reading) -> Walk:
    """Return what goes through no template, for what stands beside one."""
    return Walk(findings, Environment(reading.path.scope), reading.path.scope)


def _template_spec(findings: Findings, reading: Reading, body: Json) -> None:
    properties = member(body, "properties")
    linked = member(properties, "linkedTemplates")
    templates = [member(properties, "mainTemplate")]
    if isinstance(linked, Sequence) and not isinstance(linked, str):
        templates += [member(each, "template") for each in linked]
    for template in templates:
        if template is not None:
            _stored(findings, reading, template)


def _definition(findings: Findings, reading: Reading, body: Json) -> None:
    """Look into the definition of a managed application."""
    properties = member(body, "properties")
    walk = _nothing(findings, reading)
    template = member(properties, "mainTemplate")
    if isinstance(template, str):
        template = decode(template.encode(), relaxed=True).value
    if template is not None:
        _stored(findings, reading, template)
    if has_member(properties, "packageFileUri") or template is None:
        findings.hide("templateLink", walk.here)
    if member(properties, "authorizations"):
        findings.touch("grant", walk.here, "microsoft.authorization/roleassignments/write")


def _hidden(findings: Findings, reading: Reading, body: Json) -> None:
    """Say of what deploys something that is kept elsewhere that it cannot be seen."""
    walk = _nothing(findings, reading)
    findings.hide("templateLink", walk.here)
    identities(findings, body, walk.environment, walk.scope)


def _artifact(findings: Findings, reading: Reading, body: Json) -> None:
    """Look into an artifact of a blueprint: a template, or role assignments."""
    properties = member(body, "properties")
    kind = str(member(body, "kind")).lower()
    walk = _nothing(findings, reading)
    if kind == "template":
        _stored(findings, reading, member(properties, "template"))
    elif kind == "roleassignment":
        people = member(properties, "principalIds")
        findings.assignments.add(
            properties, lambda value: value if isinstance(value, str) else UNKNOWN
        )
        if isinstance(people, Sequence) and not isinstance(people, str):
            findings.assignments.principals |= {str(each).lower() for each in people}
        findings.touch("grant", walk.here, "microsoft.authorization/roleassignments/write")


def _assignment(findings: Findings, reading: Reading, body: Json) -> None:
    properties = member(body, "properties")
    findings.assignments.add(
        body if properties is None else properties,
        lambda value: value if isinstance(value, str) else UNKNOWN,
    )


def _moves(findings: Findings, reading: Reading, body: Json) -> None:
    """Look into a move: what leaves its group is written where it goes."""
    place = findings.place
    target = member(body, "targetResourceGroup")
    located = located_at(target, None) if isinstance(target, str) else None
    moved = member(body, "resources")
    if (
        located is None
        or located.parts
        or not isinstance(moved, Sequence)
        or isinstance(moved, str)
    ):
        findings.hide("scope", place.scope(reading.path.scope))
        return
    operation = "microsoft.resources/subscriptions/resourcegroups/write"
    findings.touch("write", place.scope(located.scope), operation)
    if len(moved) > RESOURCES_LIMIT:
        raise UnclearRequestError(f"more than {RESOURCES_LIMIT} resources in one request")
    for each in moved:
        resource = located_at(each, None) if isinstance(each, str) else None
        if resource is None or not resource.parts:
            findings.hide("name", place.scope(reading.path.scope))
        else:
            kind = f"{resource.parts[-1].type.lower()}/write"
            findings.touch("write", place.resource(resource), kind)


_LOOKS: Final[dict[str, Look]] = {
    "microsoft.resources/deployments": _deployment,
    "microsoft.resources/deploymentstacks": _stack,
    "microsoft.resources/templatespecs/versions": _template_spec,
    "microsoft.solutions/applicationdefinitions": _definition,
    "microsoft.solutions/applications": _hidden,
    "microsoft.blueprint/blueprintassignments": _hidden,
    "microsoft.blueprint/blueprints/artifacts": _artifact,
}
