"""Which hosts of others the listeners answer for, by what their protocols say of their options."""

from __future__ import annotations

from collections.abc import Mapping

from hoopgw.config.gateway import GatewayConfig, ListenerSettings
from hoopgw.errors import ConfigError
from hoopgw.identity.interception import covers
from hoopgw.spi import ProtocolSpec


def hosts_of(
    config: GatewayConfig, listener: ListenerSettings, protocols: Mapping[str, ProtocolSpec]
) -> frozenset[str]:
    """Return a listener's; none for most.

    Raises:
        ConfigError: its options make no sense, or ``[interception]`` does not name a host.

    """
    spec = protocols.get(listener.protocol)
    if spec is None or spec.intercepts is None:
        return frozenset()
    targets = [each for each in config.targets if each.protocol == listener.protocol]
    hosts = spec.intercepts(listener.options, targets)
    for host in sorted(hosts):
        if not covers(config.interception.names, host):
            raise ConfigError(
                f"interception.names: does not cover {host}, which a listener answers for; "
                'name it, as in names = ["management.azure.com", "*.vault.azure.net"]'
            )
    return hosts


def intercepted_hosts(
    config: GatewayConfig, protocols: Mapping[str, ProtocolSpec]
) -> frozenset[str]:
    """Return those of all listeners. Raises `ConfigError`."""
    return frozenset[str]().union(*(hosts_of(config, each, protocols) for each in config.listeners))
