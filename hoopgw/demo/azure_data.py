"""The demonstration's Azure: two resource groups, a storage account, a key vault. Pure.

Requests and answers have the form of those that the test suite of azure-cli recorded, cut down to
what `az` reads. Names are made up, and what would be secret is made anew for each run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen

from hoopgw.demo.recorded import Exchange

MANAGER_HOST: Final = "management.azure.com"
VAULT: Final = "shop-kv"
VAULT_HOST: Final = f"{VAULT}.vault.azure.net"
SUBSCRIPTION: Final = "11111111-1111-1111-1111-111111111111"
TENANT: Final = "22222222-2222-2222-2222-222222222222"
GROUP: Final = "shop"
OLD_GROUP: Final = "shop-2019"
"""The group that is deleted."""
STORAGE: Final = "shopdata"
SECRET: Final = "database"  # noqa: S105  # its name
_ABOVE: Final = f"/subscriptions/{SUBSCRIPTION}"
_RESULT: Final = f"{_ABOVE}/operationresults/eyJqb2JJZCI6IlJFU09VUkNFR1JPVVBERUxFVElPTkpPQiJ9"


@frozen(kw_only=True)
class Call:
    """Something that people ask of Azure: with `az`, and as the request that this is."""

    az: tuple[str, ...]
    target: str
    """Of the gateway."""
    method: str
    path: str
    """With its query."""


KEYS: Final = Call(
    az=("storage", "account", "keys", "list", "-g", GROUP, "-n", STORAGE),
    target="azure",
    method="POST",
    path=f"{_ABOVE}/resourceGroups/{GROUP}/providers/Microsoft.Storage/storageAccounts/{STORAGE}"
    "/listKeys?api-version=2023-05-01",
)
SHOW_SECRET: Final = Call(
    az=("keyvault", "secret", "show", "--vault-name", VAULT, "-n", SECRET),
    target=VAULT,
    method="GET",
    path=f"/secrets/{SECRET}/?api-version=7.4",
)
DELETE_GROUP: Final = Call(
    az=("group", "delete", "--yes", "-n", OLD_GROUP),
    target="azure",
    method="DELETE",
    path=f"{_ABOVE}/resourcegroups/{OLD_GROUP}?api-version=2021-04-01",
)


@frozen(kw_only=True)
class Secrets:
    """What only Azure knows, and shows to whoever brings its token."""

    keys: tuple[str, str] = field(repr=False)
    """Of the storage account."""
    value: str = field(repr=False)
    """Of the secret in the vault."""


def exchanges(secrets: Secrets) -> list[Exchange]:
    """Return what Azure answers."""
    subscription = {
        "id": _ABOVE,
        "subscriptionId": SUBSCRIPTION,
        "tenantId": TENANT,
        "displayName": "Shop",
        "state": "Enabled",
        "authorizationSource": "RoleBased",
    }
    keys = [
        {"keyName": f"key{number}", "value": value, "permissions": "FULL"}
        for number, value in enumerate(secrets.keys, 1)
    ]
    value = {
        "value": secrets.value,
        "id": f"https://{VAULT_HOST}/secrets/{SECRET}/f72473583e5e459a92c69907340434d2",
        "attributes": {"enabled": True, "created": 1605512877, "updated": 1605512877},
    }
    polled = {"Location": f"https://{MANAGER_HOST}{_RESULT}?api-version=2021-04-01"}
    return [
        _answer("GET", "/subscriptions", {"value": [subscription]}),
        _answer("GET", "/tenants", {"value": [{"id": f"/tenants/{TENANT}", "tenantId": TENANT}]}),
        _answer("GET", f"{_ABOVE}/resourcegroups", {"value": [*map(_group, (GROUP, OLD_GROUP))]}),
        _answer(KEYS.method, KEYS.path, {"keys": keys}),
        _answer(SHOW_SECRET.method, SHOW_SECRET.path, value, host=VAULT_HOST),
        _answer(DELETE_GROUP.method, DELETE_GROUP.path, None, 202, polled | {"Retry-After": "0"}),
        _answer("GET", _RESULT, None, 200),
    ]


def _group(name: str) -> dict[str, Any]:
    return {
        "id": f"{_ABOVE}/resourceGroups/{name}",
        "name": name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": "westeurope",
        "properties": {"provisioningState": "Succeeded"},
    }


def _answer(
    method: str,
    path: str,
    body: Any,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    host: str = MANAGER_HOST,
) -> Exchange:
    kind = {} if body is None else {"Content-Type": "application/json; charset=utf-8"}
    return Exchange(
        method=method,
        url=f"https://{host}{path}",
        status=status,
        headers=tuple({**kind, **(headers or {})}.items()),
        body=b"" if body is None else json.dumps(body).encode(),
    )
