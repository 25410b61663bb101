"""What a request to an API server is: verb, group, resource, name, as the server itself reads it.

The server classifies a request by its path and method before it does anything else; this does the
same with the path as it will be sent (`hoopgw.http.path` refuses what two readers could read in
different ways). What kubectl is told to do never crosses the wire: ``kubectl delete pods --all`` is
one ``deletecollection``, ``kubectl cp`` an ``exec``, ``kubectl edit`` a ``get`` and a ``patch``.

Pure. Reference: k8s.io/apiserver, pkg/endpoints/request/requestinfo.go; Kubernetes API Concepts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from attrs import evolve, field, frozen

from hoopgw.http.path import Locator
from hoopgw_kubernetes.errors import UnclearRequestError

_VERBS: Final = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_OF_NAMESPACE: Final = frozenset({"status", "finalize"})
"""What follows ``namespaces/NAME`` as a subresource, and is no resource in it."""
STREAMS: Final = frozenset({"exec", "attach", "portforward"})
"""Subresources of pods that change the protocol, by GET (WebSocket) or POST (SPDY)."""
PROXIES: Final = frozenset({"proxy"})
_TRUTHS: Final = {"": True, "1": True, "true": True, "True": True, "0": False, "false": False}
"""The server takes whatever is not 0 or false for true; what nobody writes is not taken here."""
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]{0,252})?")
_GROUP: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?")
_VERSION: Final = re.compile(r"v[0-9]+((alpha|beta)[0-9]+)?")
_BY_NAME: Final = re.compile(r"metadata\.name==?([^,!=]+)")


@frozen(kw_only=True)
class ApiRequest:
    """One request, classified."""

    verb: str
    """``get list watch create update patch delete deletecollection``; of what is no resource, the
    method in small letters, as the server has it."""
    path: tuple[str, ...] = ()
    """Decoded segments."""
    group: str = ""
    """Empty for the core group."""
    version: str = ""
    resource: str = ""
    """In the plural, as it is in paths; empty of what is no resource: ``/healthz``, ``/apis``."""
    subresource: str = ""
    namespace: str = ""
    """Empty for what is in none, and for what is asked of all."""
    name: str = ""
    """Empty for collections, unless a field selector names the one that is wanted."""
    dry_run: bool = False
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def is_resource(self) -> bool:
        """Whether it is about a resource."""
        return bool(self.resource)

    @property
    def kind(self) -> str:
        """The resource with its group, as RBAC and kubectl write it: ``deployments.apps``."""
        return f"{self.resource}.{self.group}" if self.group else self.resource

    @property
    def action(self) -> str:
        """The verb, and the subresource if there is one: ``create pods/exec`` is ``exec``."""
        return f"{self.verb} {self.full}" if self.resource else self.verb

    @property
    def full(self) -> str:
        """The kind with its subresource: ``pods/log``."""
        return f"{self.kind}/{self.subresource}" if self.subresource else self.kind

    def values(self, name: str) -> tuple[str, ...]:
        """Return all values of a parameter; names are compared as they are written."""
        return tuple(value for key, value in self.query if key == name)


def read(method: str, place: Locator) -> ApiRequest:
    """Classify a request.

    Args:
        method: of HTTP, in capitals.
        place: its path and query, decoded.

    Raises:
        UnclearRequestError: it could mean more than one thing, or nothing that is known.

    """
    segments = place.segments
    if place.slash and segments:
        # The server takes most of them as if there were none, and some as another path.
        raise UnclearRequestError("a path of the API does not end in a slash")
    plain = ApiRequest(verb=method.lower(), path=segments, query=place.query)
    rooted = _group_of(segments)
    if rooted is None:
        return plain
    group, version, rest = rooted
    if _VERSION.fullmatch(version) is None or (group and _GROUP.fullmatch(group) is None):
        raise UnclearRequestError("the path names no group and version of the API")
    if not rest:
        return plain  # what resources there are
    if method not in _VERBS:
        raise UnclearRequestError(f"{method} is no method of the API")
    return _of_resource(evolve(plain, verb=_VERBS[method], group=group, version=version), rest)


def _group_of(segments: Sequence[str]) -> tuple[str, str, Sequence[str]] | None:
    """Return group, version and what follows; None: the path is of no resource."""
    if segments[:1] == ("api",) and len(segments) >= 2:
        return "", segments[1], segments[2:]
    if segments[:1] == ("apis",) and len(segments) >= 3:
        return segments[1], segments[2], segments[3:]
    return None


def _of_resource(request: ApiRequest, rest: Sequence[str]) -> ApiRequest:
    if rest[0] in ("watch", "proxy"):
        # Old ways to ask: /api/v1/watch/pods; the proxy is gone since 1.10, and refused.
        if rest[0] == "proxy" or len(rest) < 2 or request.verb != "get":
            raise UnclearRequestError("the path is of an old API that is not taken")
        request, rest = evolve(request, verb="watch"), rest[1:]
    if rest[0] == "namespaces" and len(rest) > 1:
        request = evolve(request, namespace=rest[1])
        if len(rest) > 2 and rest[2] not in _OF_NAMESPACE:
            rest = rest[2:]
    request = evolve(
        request,
        resource=rest[0],
        name=rest[1] if len(rest) > 1 else "",
        subresource=rest[2] if len(rest) > 2 else "",
    )
    _check_names(request)
    if len(rest) > 3 and request.subresource not in PROXIES:
        raise UnclearRequestError("the path goes on behind a subresource")
    request = evolve(request, dry_run=_is_dry(request))
    return _collected(request)


def _check_names(request: ApiRequest) -> None:
    for each in (request.namespace, request.resource, request.subresource, request.name):
        if each and _NAME.fullmatch(each) is None:
            raise UnclearRequestError("the path has a name that no object can have")


def _is_dry(request: ApiRequest) -> bool:
    """Whether nothing is kept of it: only if each value says so, and the server knows it."""
    said = request.values("dryRun")
    if any(each != "All" for each in said):
        raise UnclearRequestError("dryRun is All, or not there")
    return bool(said)


def _collected(request: ApiRequest) -> ApiRequest:
    """Tell get from list and watch, and delete from deletecollection."""
    watches = [_truth(value) for value in request.values("watch")]
    if len(set(watches)) > 1:
        raise UnclearRequestError("watch is there twice, with different values")
    is_watch = request.verb == "watch" or (bool(watches) and watches[0])
    if request.verb in ("get", "watch") and not request.subresource:
        if is_watch:
            # The server takes a watch with a name for one with a field selector.
            request = evolve(request, verb="watch")
        elif not request.name:
            request = evolve(request, verb="list")
    if request.verb == "delete" and not request.name:
        request = evolve(request, verb="deletecollection")
    if request.verb in ("list", "watch", "deletecollection") and not request.name:
        request = evolve(request, name=_selected(request))
    return request


def _selected(request: ApiRequest) -> str:
    """Return the one name that a field selector leaves, if it does."""
    selectors = request.values("fieldSelector")
    if len(selectors) != 1 or "," in selectors[0]:
        return ""
    found = _BY_NAME.fullmatch(selectors[0])
    name = found.group(1) if found else ""
    return name if _NAME.fullmatch(name) else ""


def _truth(value: str) -> bool:
    found = _TRUTHS.get(value)
    if found is None:
        raise UnclearRequestError("watch is true or false")
    return found
