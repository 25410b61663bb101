"""Targets and requests for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hoopgw.events import Operation
from hoopgw.http.messages import Headers
from hoopgw.spi import TargetSettings
from hoopgw_azure.asked import Asked
from hoopgw_azure.calls import Call, Touch
from hoopgw_azure.operations import Service

RECORDINGS: Final = Path(__file__).parent / "recordings"
SUBSCRIPTION: Final = "00000000-0000-0000-0000-000000000000"
GROUP: Final = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/shop"
COMPUTE: Final = f"{GROUP}/providers/Microsoft.Compute"
HOST: Final = "arm.gw.example:9443"


def target(
    service: str, labels: Mapping[str, tuple[str, ...]] | None = None, **options: Any
) -> TargetSettings:
    """Return the settings of a target named as its service."""
    return TargetSettings(
        name=service,
        protocol="azure",
        agent="a",
        environment="prod",
        labels=labels or {},
        options={"service": service, **options},
    )


ARM: Final = Service.of(target("arm", hosts=[HOST]))
VAULT: Final = Service.of(target("keyvault", name="Shop-KV"))
BLOBS: Final = Service.of(target("storage", name="shopdata", hosts=["blobs.gw.example"]))


def asked(
    method: str,
    url: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Asked:
    """Return a request. A body that is no text is sent as JSON."""
    sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    named = ((name.encode(), value.encode()) for name, value in (headers or {}).items())
    return Asked.of(method, url, Headers.of(named), sent)


def call(
    method: str, url: str, body: object = None, service: Service = ARM, **headers: str
) -> Call:
    """Return what a request is. Underscores in names of headers are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.call(asked(method, url, body, named))


def operation(method: str, url: str, body: object = None, service: Service = ARM) -> Operation:
    """Return the operation that a request is."""
    one = asked(method, url, body)
    return service.operation(one, service.call(one), "deployer")


def done(found: Call) -> list[tuple[str, str]]:
    """Return verbs and operations of what a request touches, in order."""
    return [(touch.verb, touch.operation) for touch in found.touches]


def verbs(found: Call) -> set[str]:
    """Return the verbs of what a request touches."""
    return {touch.verb for touch in found.touches}


def ids(found: Call, verb: str) -> list[str]:
    """Return the ids of what is touched by a verb."""
    return [touch.resource.id for touch in found.touches if touch.verb == verb]


def above(touch: Touch) -> set[tuple[str, str]]:
    """Return all that a resource is in, as types and ids."""
    found: set[tuple[str, str]] = set()
    waiting = list(touch.resource.parents)
    while waiting:
        each = waiting.pop()
        found.add((each.type, each.id))
        waiting += each.parents
    return found


def context(found: Call) -> dict[str, object]:
    """Return what a body adds to the context."""
    return dict(found.extra)


def template(*resources: object, **more: object) -> dict[str, object]:
    """Return a template."""
    return {"$schema": "s", "contentVersion": "1.0.0.0", "resources": list(resources), **more}


def deploy(content: object, group: str = GROUP, **properties: object) -> Call:
    """Return what a deployment of a template is."""
    url = f"{group}/providers/Microsoft.Resources/deployments/d?api-version=2024-03-01"
    body = {"properties": {"mode": "Incremental", "template": content, **properties}}
    return call("PUT", url, body)
