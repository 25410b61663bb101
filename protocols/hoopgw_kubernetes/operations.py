"""From requests to operations: what policy is asked about one, and what an approval is bound to.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import define, field

from hoopgw.documents.paths import parse_path
from hoopgw.errors import ConfigError, PolicyError
from hoopgw.events import Access, ContextValue, Operation, Resource, operation_digest
from hoopgw.spi import TargetSettings
from hoopgw_kubernetes.requests import STREAMS, ApiRequest

PROTOCOL: Final = "kubernetes"
SECRET_LABEL: Final = "kubernetes.secret"  # noqa: S105  # the label of secrets, and none itself
SECRETS: Final = "secrets"
TEXT_LIMIT: Final = 16_384
"""Characters of a body that a reviewer is shown."""
_OPTIONS: Final = frozenset({"account", "name"})
_SECRET_PATHS: Final = ("data", "stringData")
_RBAC: Final = "rbac.authorization.k8s.io"
_CERTIFICATES: Final = "certificatesigningrequests.certificates.k8s.io"
_REVIEWS: Final = frozenset({"authorization.k8s.io", "authentication.k8s.io"})
_OF_SUBRESOURCE: Final[Mapping[str, str]] = {
    **{name: name for name in STREAMS},
    "proxy": "proxy",
    "ephemeralcontainers": "debug",
    "eviction": "evict",
    "scale": "scale",
    "token": "mint",
    "approval": "mint",
    "log": "logs",
}
_AS_ITS_OBJECT: Final = frozenset({"", "status", "finalize", "binding", "resize"})
_WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_DISCOVERED: Final = frozenset(
    {"api", "apis", "openapi", "version", "healthz", "livez", "readyz", "swagger-2.0.0.pb-v1"}
)
"""First segments of paths that tell what a server is, and nothing of what is in it."""


@define(eq=False)
class Cluster:
    """One target, and how its requests are judged."""

    target: TargetSettings
    entity: Resource
    labelled: Mapping[str, Mapping[str, frozenset[str]]] = field(factory=dict)
    """Kind to JSON paths to labels, from labels of the form ``KIND#PATH``."""

    @classmethod
    def of(cls, target: TargetSettings) -> Cluster:
        """Read a target's options and labels.

        Raises:
            ConfigError: they are not of the format.

        """
        strange = sorted(set(target.options) - _OPTIONS)
        if strange:
            raise ConfigError(f"options.{strange[0]} is not known for protocol kubernetes")
        above = Resource(type="Hoopgw::Target", id=target.name)
        entity = Resource(type="Kubernetes::Cluster", id=target.name, parents=(above,))
        return cls(target, entity, _labelled(target))

    def connecting(self, account: str) -> Operation:
        """Return the operation that using the cluster at all is."""
        request = ApiRequest(verb="connect")
        return Operation(
            protocol=PROTOCOL,
            target=self.target.name,
            action="connect",
            accesses=(Access(action="Kubernetes::connect", resource=self.entity),),
            text=f"connect to {self.target.name}",
            context=_context(request, account),
            digest=operation_digest([("connect", self.target.name.encode())]),
        )

    def operation(
        self, request: ApiRequest, account: str, text: str, parts: Iterable[tuple[str, bytes]]
    ) -> Operation:
        """Return what a request is.

        Args:
            request: classified.
            account: whose credential is used.
            text: for people.
            parts: all that will be sent, for the digest.

        """
        action = action_of(request)
        resource = self._object(request) if request.is_resource else self._path(request)
        return Operation(
            protocol=PROTOCOL,
            target=self.target.name,
            action=request.action,
            accesses=(Access(action=f"Kubernetes::{action}", resource=resource),),
            text=text,
            context=_context(request, account),
            digest=operation_digest([("target", self.target.name.encode()), *parts]),
        )

    def fields(self, request: ApiRequest) -> tuple[Resource, ...]:
        """Return what of an answer is classified; it follows from the request alone."""
        paths = self.labelled.get(request.kind, {})
        kind = _kind(request)
        return tuple(
            Resource(
                type="Kubernetes::Field",
                id=f"{self.target.name}/{request.kind}#{path}",
                parents=(kind, self.entity),
                labels=labels,
            )
            for path, labels in paths.items()
        )

    def _object(self, request: ApiRequest) -> Resource:
        where: tuple[Resource, ...] = (self.entity,)
        if request.namespace:
            space = Resource(
                type="Kubernetes::Namespace",
                id=f"{self.target.name}/{request.namespace}",
                parents=(self.entity,),
                labels=self._labels(f"namespaces/{request.namespace}"),
            )
            where = (space, *where)
        name = f"{request.namespace or '-'}/{request.kind}/{request.name or '*'}"
        return Resource(
            type="Kubernetes::Object",
            id=f"{self.target.name}/{name}",
            parents=(_kind(request), *where),
            labels=self._labels(name),
        )

    def _labels(self, name: str) -> frozenset[str]:
        return frozenset(self.target.labels.get(name, ()))

    def _path(self, request: ApiRequest) -> Resource:
        found = self.entity
        for size in range(1, len(request.path) + 1):
            name = "/".join((self.target.name, *request.path[:size]))
            found = Resource(type="Kubernetes::Path", id=name, parents=(found,))
        if found is self.entity:
            name = f"{self.target.name}/"
            found = Resource(type="Kubernetes::Path", id=name, parents=(found,))
        return found


def action_of(request: ApiRequest) -> str:
    """Return the Cedar action of a request, without its namespace."""
    if not request.is_resource:
        first = request.path[0] if request.path else "api"
        is_read = request.verb in ("get", "head")
        return "discover" if first in _DISCOVERED and is_read else "unknown"
    if request.subresource in _OF_SUBRESOURCE:
        found = _OF_SUBRESOURCE[request.subresource]
        is_read = found in ("scale", "debug") and request.verb == "get"
        return "get" if is_read else found
    if request.subresource not in _AS_ITS_OBJECT:
        return "unknown"
    if request.verb in _WRITES:
        if request.group == _RBAC:
            return "grant"
        if request.kind == _CERTIFICATES and request.verb == "create":
            return "mint"
        if request.group in _REVIEWS and request.verb == "create":
            return "review"
    return request.verb


def check_target(target: TargetSettings) -> None:
    """Check a target; for `hoopgw.spi.ProtocolSpec`. Raises `ConfigError`."""
    Cluster.of(target)


def _kind(request: ApiRequest) -> Resource:
    group = Resource(type="Kubernetes::Group", id=request.group or "core")
    return Resource(type="Kubernetes::Kind", id=request.kind, parents=(group,))


def _labelled(target: TargetSettings) -> Mapping[str, Mapping[str, frozenset[str]]]:
    """Return what the operator has classified, and Secrets."""
    secret = frozenset({SECRET_LABEL})
    found: dict[str, dict[str, frozenset[str]]] = {
        SECRETS: dict.fromkeys(_SECRET_PATHS, secret),
    }
    for where, labels in target.labels.items():
        kind, mark, path = where.partition("#")
        if not mark:
            continue
        try:
            parse_path(path)
        except PolicyError as error:
            raise ConfigError(f"labels.{where}: {error}") from error
        of_kind = found.setdefault(kind, {})
        of_kind[path] = of_kind.get(path, frozenset()) | frozenset(labels)
    return found


def _context(request: ApiRequest, account: str) -> dict[str, ContextValue]:
    return {
        "account": account,
        "verb": request.verb,
        "group": request.group,
        "version": request.version,
        "kind": request.kind,
        "subresource": request.subresource,
        "namespace": request.namespace,
        "name": request.name,
        "dryRun": request.dry_run,
        "fieldSelector": ",".join(request.values("fieldSelector")),
        "labelSelector": ",".join(request.values("labelSelector")),
    }
