"""Azure's own names, for listeners whose clients are told nothing of the gateway. Pure.

Options of a listener with ``mode = "transparent"``:

``tenant``
    The id of the tenant that clients are of. Clients of Key Vault compare it with their own.
``targets``
    Which targets it serves; all, if not given. Of two for the same host, one has to be chosen.
``login``
    The host of the log-in; that of other clouds is another than Microsoft's public one.
``direct``, ``require_credential``
    See `hoopgw.http.transparent`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from hoopgw.errors import ConfigError
from hoopgw.identity.interception import NAME
from hoopgw.spi import TargetSettings
from hoopgw_azure.operations import GENUINE, Service

TRANSPARENT: Final = "transparent"
LOGIN: Final = "login.microsoftonline.com"
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MODES: Final = ("door", TRANSPARENT)
_MANAGERS: Final = ("management.core.windows.net",)
"""A host that no request goes to, and by which `az` asks for tokens for Resource Manager."""


def is_transparent(options: Mapping[str, Any]) -> bool:
    """Say whether a listener is one. Raises `ConfigError`."""
    mode = options.get("mode", _MODES[0])
    if mode not in _MODES:
        raise ConfigError(f"listeners.mode: expected one of {', '.join(_MODES)}")
    return bool(mode == TRANSPARENT)


def intercepts(options: Mapping[str, Any], targets: Sequence[TargetSettings]) -> frozenset[str]:
    """Return the hosts that a listener answers for; for `hoopgw.spi.ProtocolSpec`."""
    if not is_transparent(options):
        return frozenset()
    return frozenset({*served(options, targets), GenuinePlace.of(options).login})


def genuine_host(service: Service) -> str:
    """Return the host of a target in the public cloud; empty for what is not of Azure."""
    if service.account is not None:
        return service.account.host
    return GENUINE[service.kind].format(name=service.name)


def hosts_of(service: Service) -> list[str]:
    """Return the hosts that a target is known by to clients, in order."""
    named = sorted(host.removesuffix(":443") for host in service.hosts)
    return [host for host in named or [genuine_host(service)] if NAME.fullmatch(host)]


def served(options: Mapping[str, Any], targets: Iterable[TargetSettings]) -> dict[str, Service]:
    """Return what a listener serves, by host.

    Raises:
        ConfigError: the options make no sense, or two targets have one host.

    """
    wanted = options.get("targets")
    known = {target.name: target for target in targets}
    if wanted is None:
        wanted = list(known)
    if not isinstance(wanted, list) or any(name not in known for name in wanted):
        raise ConfigError("listeners.targets: expected names of targets of this protocol")
    found: dict[str, Service] = {}
    for name in wanted:
        service = Service.of(known[name])
        for host in hosts_of(service):
            other = found.setdefault(host, service)
            if other is not service:
                raise ConfigError(
                    f"listeners.targets: {other.target.name} and {name} are both {host}: name the "
                    "targets that this listener serves"
                )
    if not found:
        raise ConfigError("listeners.targets: none has a host that clients know")
    return found


@frozen(kw_only=True)
class GenuinePlace:
    """Names of Azure itself. Implements `hoopgw_azure.pages.Place`."""

    tenant: str
    """Id of the tenant that clients are of."""
    login: str = LOGIN
    cloud: str = "AzureCloud"
    domain: str = "core.windows.net"
    vaults: str = "vault.azure.net"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> GenuinePlace:
        """Read a listener's options. Raises `ConfigError`."""
        login = options.get("login", LOGIN)
        if not isinstance(login, str) or NAME.fullmatch(login) is None:
            raise ConfigError(f"listeners.login: expected a host name, as {LOGIN}")
        tenant = options.get("tenant")
        if not isinstance(tenant, str) or _ID.fullmatch(tenant) is None:
            raise ConfigError(
                "listeners.tenant: expected the id of your tenant, as "
                '"72f988bf-86f1-41af-91ab-2d7cd011db47": clients of Key Vault compare it'
            )
        return cls(login=login, tenant=tenant)

    def with_port(self, host: str) -> str:
        """Return a host as clients write it."""
        return host

    def name_of(self, service: Service) -> str:
        """Return a target's host; empty if it has none here."""
        return next(iter(hosts_of(service)), "")

    def audiences(self, service: Service) -> Collection[str]:
        """Return the hosts of resources by which clients ask for its tokens."""
        hosts = hosts_of(service)
        match service.kind:
            case "keyvault":
                # Other clouds have another domain: it is what follows the vault's name.
                return dict.fromkeys((*hosts, *(host.partition(".")[2] for host in hosts)))
            case "arm":
                return (*hosts, *_MANAGERS)
            case "storage" | "rest":
                return hosts
