"""Requests to Azure: any method, path, query and body, for each kind of target.

Invariant: a request is classified or refused with `UnclearRequestError`, nothing else is raised;
what is classified has a digest, and asks policy about something.
"""

from __future__ import annotations

from typing import Final

from hoopgw.http.messages import NO_HEADERS
from hoopgw.spi import TargetSettings
from hoopgw_azure.asked import Asked
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.operations import Service

_RULES: Final = [{"name": "read", "method": "GET", "path": "/a/{b}"}]
_OPTIONS: Final = (
    {"service": "arm", "hosts": ["h"]},
    {"service": "keyvault"},
    {"service": "storage"},
    {"service": "rest", "operations": _RULES},
)
_SERVICES: Final = tuple(
    Service.of(TargetSettings(name="t", protocol="azure", agent="a", options=options))
    for options in _OPTIONS
)
_GROUP: Final = b"/subscriptions/s/resourceGroups/g"
_DEPLOYMENT: Final = b"PUT " + _GROUP + b"/providers/Microsoft.Resources/deployments/d\n"
_ASSIGNMENT: Final = b"Microsoft.Authorization/roleAssignments"
SEEDS: Final = (
    b"\0GET " + _GROUP + b"/providers/Microsoft.Compute/virtualMachines?api-version=2024-07-01\n",
    b"\0POST " + _GROUP + b"/providers/Microsoft.Storage/storageAccounts/a/listKeys\n",
    b"\0PUT " + _GROUP + b"/providers/" + _ASSIGNMENT + b'/r\n{"properties": {"principalId": "x"}}',
    b"\0"
    + _DEPLOYMENT
    + b'{"properties": {"template": {"resources": [{"type": "'
    + _ASSIGNMENT
    + b'", "name": "[concat(parameters(\'a\'), guid())]", "scope": "/"}]}}}',
    b"\0"
    + _DEPLOYMENT
    + b'{"properties": {template: {"resources": [] // x\n}, "mode": "Complete"}}',
    b'\0POST /batch\n{"requests": [{"httpMethod": "GET", "url": "https://h/subscriptions?a=b"}]}',
    b"\0GET /subscriptions/s/providers/Microsoft.Compute/locations/w/operations/1\n",
    b"\1GET /secrets/name/?api-version=7.4\n",
    b"\1POST /keys/k/ed8f06981f094eda8b27df1fb8606a46/sign\n",
    b"\2PUT /c/a%20b?comp=block&blockid=QQ==\n",
    b"\2POST /?restype=service&comp=userdelegationkey\n",
    b"\3GET /a/b\n",
)


def fuzz(data: bytes) -> None:
    """Classify one request: which target, the request line, the body."""
    if not data:
        return
    service = _SERVICES[data[0] % len(_SERVICES)]
    line, _, body = data[1:].partition(b"\n")
    method, _, target = line.decode("latin-1").partition(" ")
    try:
        asked = Asked.of(method, target, NO_HEADERS, body)
        call = service.call(asked)
    except UnclearRequestError:
        return
    operation = service.operation(asked, call, "account")
    assert operation.accesses
    assert len(operation.digest) == 32
    assert all(field.id for field in service.fields(call))
    assert call.operation
