"""What a template would do: every resource in it, as a touch. Pure.

A deployment writes whatever its template says, so the operation "write a deployment" says nothing.
Each resource of the template, of nested templates and of children becomes a touch of its own, at
the scope that it is written at. Conditions count as true, loops as once with a name that is not
known. What cannot be seen here (links, extensions, scopes and types that are expressions nobody but
Azure can evaluate) is a touch of the action ``unknown``, and is named in ``Findings.opaque``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import define, evolve

from hoopgw.events import Resource
from hoopgw_azure.calls import Verb
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.expressions import UNKNOWN, Environment, functions, given
from hoopgw_azure.findings import Findings
from hoopgw_azure.ids import Part, Scope
from hoopgw_azure.kinds import Kind, kinds_of
from hoopgw_azure.known import operations
from hoopgw_azure.placing import located_at, parts_of
from hoopgw_azure.resources import UNKNOWN_NAME, Place
from hoopgw_azure.roles import is_assignment
from hoopgw_azure.strict_json import Json, has_member, member

NESTING_LIMIT: Final = 8
"""Templates in templates."""

_ORDER: Final[tuple[Kind, ...]] = ("grant", "mint", "execute")
_DELETES: Final = "microsoft.resources/subscriptions/resourcegroups/delete"
_DEPLOYMENTS: Final = "microsoft.resources/deployments"
_DEPLOYING: Final = frozenset({_DEPLOYMENTS, "microsoft.resources/deploymentstacks"})
_ELSEWHERE: Final = frozenset(
    {"microsoft.solutions/applications", "microsoft.blueprint/blueprintassignments"}
)
"""Types that deploy something that is kept elsewhere."""
_ALIASES: Final = {
    "microsoft.resources/resourcegroups": "microsoft.resources/subscriptions/resourcegroups",
}
"""Types that are named otherwise in operations."""
_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(\.[A-Za-z0-9]+)*(/[A-Za-z0-9][A-Za-z0-9._-]*)+")
_VAULT: Final = re.compile(r"(?i).*/providers/microsoft\.keyvault/vaults/([^/]+)/?")

_WITHIN: Final[tuple[tuple[str, tuple[str, ...], Verb, str], ...]] = (
    (
        "microsoft.keyvault/vaults",
        ("properties", "accessPolicies"),
        "grant",
        "microsoft.keyvault/vaults/accesspolicies/write",
    ),
    (
        "microsoft.compute/virtualmachinescalesets",
        ("properties", "virtualMachineProfile", "extensionProfile", "extensions"),
        "execute",
        "microsoft.compute/virtualmachinescalesets/extensions/write",
    ),
)
"""Type, members down to what is brought, what that is, and the operation that it would be."""


@define(eq=False)
class _Named:
    """A resource of a template, with its name and place resolved as far as they can be."""

    scope: Scope
    parts: tuple[Part, ...]
    exact: bool

    @property
    def type(self) -> str:
        return self.parts[-1].type.lower()


@define(eq=False)
class Walk:
    """Goes through one template.

    Args:
        findings: where to put what is found.
        environment: what its expressions may name; its scope is where functions are evaluated.
        scope: where what it says is written; None if that is not known.
        depth: how many templates it is inside of.

    """

    findings: Findings
    environment: Environment
    scope: Scope | None
    depth: int = 0

    @property
    def here(self) -> Resource:
        """Where the deployment is, as a resource."""
        place = self.findings.place
        return place.tenant if self.scope is None else place.scope(self.scope)

    def template(self, template: Json) -> None:
        """Go through a template.

        Raises:
            UnclearRequestError: it is too big, or is none.

        """
        if not isinstance(template, Mapping):
            self.findings.hide("template", self.here)
            return
        if self.depth > NESTING_LIMIT:
            raise UnclearRequestError(f"templates are nested deeper than {NESTING_LIMIT}")
        for name in ("imports", "extensions", "extensionConfigs"):
            if member(template, name):
                self.findings.hide("extension", self.here)
        outputs = member(template, "outputs")
        self.findings.outputs |= bool(outputs)
        if self.depth == 0:  # what is nested is in it
            self._functions(template)
        for resource in _each(member(template, "resources")):
            self.resource(resource, "", "")

    def _functions(self, template: Json) -> None:
        """Take note of functions that read, and ask for what hands out secrets."""
        used = functions(template)
        self.findings.functions |= {n for n in used if n.startswith("list") or n == "reference"}
        if any(name.startswith("list") for name in used):
            self.findings.touch("mint", self.here, "microsoft.resources/deployments/list")

    def resource(self, resource: Json, type_above: str, name_above: str) -> None:
        """Go through one resource and its children."""
        self.findings.one_more()
        if not isinstance(resource, Mapping):
            self.findings.hide("resource", self.here)
            return
        if any(member(resource, name) for name in ("import", "extension", "provider")):
            self.findings.hide("extension", self.here)
            return
        written = member(resource, "type")
        kind = f"{type_above}/{written}" if type_above else written
        name = self.environment.text(member(resource, "name"))
        full = f"{name_above}/{name}" if name_above else name
        if not isinstance(written, str) or not isinstance(kind, str) or not _TYPE.fullmatch(kind):
            self.findings.hide("type", self.here)
            return
        found = self._place(resource, kind, full)
        if found is None:
            self.findings.hide("scope", self.here)
        else:
            self._found(resource, found)
        for child in _each(member(resource, "resources")):
            self.resource(child, kind, full)

    def _found(self, resource: Json, found: _Named) -> None:
        if not found.exact:
            self.findings.opaque.add("name")
        asked = self.findings.place.resource_of(found.scope, found.parts)
        if member(resource, "existing") is True:
            operation = f"{found.type}/read"
            self.findings.touch("read" if _known(operation) else "unknown", asked, operation)
            return
        self._written(resource, found, asked)
        if found.type in _DEPLOYING:
            self._nested(resource, found.scope)
        elif found.type in _ELSEWHERE:
            self.findings.hide("templateLink", asked)

    def _written(self, resource: Json, found: _Named, asked: Resource) -> None:
        operation = f"{_ALIASES.get(found.type, found.type)}/write"
        if not _known(operation):
            self.findings.opaque.add("type")
            self.findings.touch("unknown", asked, "unknown")
            return
        kinds = kinds_of((operation,))
        verbs: list[Verb] = [kind for kind in _ORDER if kind in kinds]
        for verb in verbs if verbs and self.findings.verb == "write" else [self.findings.verb]:
            self.findings.touch(verb, asked, operation)
        if is_assignment(found.type):
            self.findings.assignments.add(member(resource, "properties"), self.environment.text)
        identities(self.findings, resource, self.environment, self.scope)
        within(self.findings, found.type, resource, asked)

    def _place(self, resource: Json, kind: str, name: str) -> _Named | None:
        """Say where a resource is written; None if that is not known."""
        scope, before = self.scope, tuple[Part, ...]()
        if kind.lower() in _DEPLOYING:
            scope = self._nested_scope(resource, kind.lower())
        elif has_member(resource, "scope"):
            located = located_at(self.environment.text(member(resource, "scope")), scope)
            if located is None:
                return None
            scope, before = located.scope, located.parts
        if scope is None:
            return None
        parts = parts_of(kind, name)
        if parts is None:
            return None
        exact = UNKNOWN not in name
        return _Named(scope, (*before, *parts), exact)

    def _nested(self, resource: Json, scope: Scope) -> None:
        """Go through the template of a nested deployment."""
        properties = member(resource, "properties")
        options = member(properties, "expressionEvaluationOptions")
        match str(member(options, "scope")).lower():
            case "inner":
                environment = environment_of(properties, self.environment, scope)
            case "none" | "outer" | "notspecified":
                environment = self.environment
            case _:
                environment = Environment(None, steps=self.environment.steps)
        deployment(Walk(self.findings, environment, scope, self.depth + 1), properties)

    def _nested_scope(self, resource: Json, kind: str) -> Scope | None:
        here = self.scope
        written = member(member(resource, "properties"), "deploymentScope")
        if written is not None and kind != _DEPLOYMENTS:
            located = located_at(self.environment.text(written), here)
            return located.scope if located is not None and not located.parts else None
        if has_member(resource, "scope"):
            located = located_at(self.environment.text(member(resource, "scope")), here)
            return located.scope if located is not None and not located.parts else None
        subscription = self._word(resource, "subscriptionId")
        group = self._word(resource, "resourceGroup")
        if UNKNOWN in (subscription, group):
            return None
        if subscription is None and group is None:
            return here
        if here is None and subscription is None:
            return None
        where = subscription or (here.subscription if here is not None else "")
        if group is None:
            return Scope(subscription=where)
        return Scope(subscription=where, resource_group=group) if where else None

    def _word(self, resource: Json, name: str) -> str | None:
        """Return a member that is one segment of a path; `UNKNOWN` if it is not; None if none."""
        if member(resource, name) is None:
            return None
        text = self.environment.text(member(resource, name))
        return text.lower() if text and UNKNOWN not in text and "/" not in text else UNKNOWN


def environment_of(properties: Json, outer: Environment | None, scope: Scope | None) -> Environment:
    """Return what the template of a deployment may name.

    Args:
        properties: of the deployment.
        outer: where its parameters are evaluated, if they are.
        scope: of the deployment.

    """
    template = member(properties, "template")
    values = given(member(properties, "parameters"), outer)
    made = Environment.of(template, values, scope)
    if has_member(properties, "parametersLink"):
        made = evolve(made, parameters={})  # it says what they are, defaults or not
    return made if outer is None else evolve(made, steps=outer.steps)


def deployment(walk: Walk, properties: Json) -> None:
    """Go through the ``properties`` of a deployment: its template, or that it has a link."""
    findings, here = walk.findings, walk.here
    if has_member(properties, "templateLink"):
        findings.hide("templateLink", here)
    if has_member(properties, "parametersLink"):
        findings.hide("parametersLink", here)
    _deletes(walk, properties)
    _vault_references(walk, member(properties, "parameters"))
    if has_member(properties, "template"):
        walk.template(member(properties, "template"))
    elif not has_member(properties, "templateLink"):
        findings.hide("template", here)


def _deletes(walk: Walk, properties: Json) -> None:
    """Ask for what a deployment deletes, or another that it starts when it fails."""
    findings, here = walk.findings, walk.here
    if has_member(properties, "onErrorDeployment"):
        findings.hide("onErrorDeployment", here)
    if findings.verb != "write":
        return
    mode = member(properties, "mode")
    removed = member(properties, "actionOnUnmanage")
    if mode is not None and walk.environment.text(mode).lower() != "incremental":
        findings.touch("delete", here, _DELETES)
        findings.notes.append("mode Complete deletes what the template does not name")
    kept = removed.values() if isinstance(removed, Mapping) else [removed]
    if removed is not None and any(str(each).lower() != "detach" for each in kept):
        findings.touch("delete", here, _DELETES)
        findings.notes.append("the stack deletes what its template does not name any more")


def identities(
    findings: Findings, resource: Json, environment: Environment, scope: Scope | None
) -> None:
    """Ask for the identities that a resource is given: whoever runs code there acts as them."""
    assigned = member(member(resource, "identity"), "userAssignedIdentities")
    operation = "microsoft.managedidentity/userassignedidentities/assign/action"
    names = assigned if isinstance(assigned, Mapping) else {UNKNOWN: None} if assigned else {}
    for name, value in names.items():
        if value is None and name != UNKNOWN and isinstance(assigned, Mapping):
            continue  # takes one away
        located = located_at(environment.text(name), scope)
        if located is None or not located.parts:
            where = findings.place.tenant if scope is None else findings.place.scope(scope)
            findings.opaque.add("identity")
            findings.touch("grant", where, operation)
        else:
            findings.touch("grant", findings.place.resource(located), operation)


def within(findings: Findings, kind: str, resource: Json, asked: Resource) -> None:
    """Ask for what a resource brings with it, that elsewhere is a resource of its own."""
    for owner, path, verb, operation in _WITHIN:
        if kind == owner:
            value = resource
            for name in path:
                value = member(value, name)
            if value:
                findings.touch(verb, asked, operation)


def _vault_references(walk: Walk, parameters: Json) -> None:
    """Ask for the secrets that a deployment takes out of vaults for its parameters."""
    if not isinstance(parameters, Mapping):
        return
    for each in parameters.values():
        reference = member(each, "reference")
        if reference is None:
            continue
        vault = member(member(reference, "keyVault"), "id")
        match = _VAULT.fullmatch(walk.environment.text(vault))
        secret = walk.environment.text(member(reference, "secretName"))
        name = match[1].lower() if match and UNKNOWN not in match[1] else UNKNOWN_NAME
        walk.findings.touch(
            "getSecret",
            vault_secret(
                walk.findings.place, name, UNKNOWN_NAME if UNKNOWN in secret else secret.lower()
            ),
            "microsoft.keyvault/vaults/secrets/getsecret/action",
        )


def vault_secret(place: Place, vault: str, name: str) -> Resource:
    """Return a secret of a vault as a resource."""
    above = Resource(type="Azure::Vault", id=vault, parents=(place.target,))
    return Resource(type="Azure::Secret", id=f"{vault}/{name}", parents=(above,))


def _known(operation: str) -> bool:
    return operation in operations().spelling


def _each(resources: Json) -> Iterator[Json]:
    """Yield resources, in a list or by symbolic name."""
    if isinstance(resources, Mapping):
        yield from resources.values()
    elif isinstance(resources, Sequence) and not isinstance(resources, str):
        yield from resources
    elif resources is not None:
        yield None  # an expression, say: what is in it cannot be seen
