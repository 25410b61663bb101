"""The configuration of gateway and agent: TOML, parsed once into frozen values.

All that is wrong with a file is told at once, each with the path to its key, what was found and
what was expected. Unknown keys are errors. Relative paths are relative to the file. Secrets are
given by reference; a credential written into a file is refused, and never repeated in an error.

`load` and `load_agent` raise `ConfigError`, whatever is in the file; `check` and `check_agent_file`
give findings, with warnings, for ``hoopgw config check``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeVar

from attrs import evolve

from hoopgw import registry
from hoopgw.config.agent import (
    AGENT_REST,
    SOURCES,
    AccountSettings,
    AgentConfig,
    AgentGateway,
    AgentTargetSettings,
    FloorRule,
)
from hoopgw.config.checks import check_agent, check_gateway, warn_agent, warn_gateway
from hoopgw.config.findings import Finding, Findings
from hoopgw.config.gateway import (
    GATEWAY_REST,
    ControlSettings,
    GatewayConfig,
    GatewayPaths,
    IdentitySettings,
    InterceptionSettings,
    LimitSettings,
    LinkSettings,
    ListenerSettings,
    PolicySettings,
    RecordingSettings,
    ReviewSettings,
    TlsSettings,
)
from hoopgw.config.intercepting import hosts_of
from hoopgw.config.reader import TableReader, read_toml
from hoopgw.errors import ConfigError, PluginError
from hoopgw.transport import Address

__all__ = [
    "AccountSettings",
    "Address",
    "AgentConfig",
    "AgentGateway",
    "AgentTargetSettings",
    "ControlSettings",
    "Finding",
    "FloorRule",
    "GatewayConfig",
    "GatewayPaths",
    "IdentitySettings",
    "InterceptionSettings",
    "LimitSettings",
    "LinkSettings",
    "ListenerSettings",
    "PolicySettings",
    "RecordingSettings",
    "ReviewSettings",
    "TlsSettings",
    "check",
    "check_agent_file",
    "load",
    "load_agent",
]

C = TypeVar("C", GatewayConfig, AgentConfig)


def load(path: Path, installed: Collection[str] | None = None) -> GatewayConfig:
    """Read a gateway's configuration.

    Args:
        path: of ``hoopgw.toml``.
        installed: the protocols that may be named; those that are installed, if not given.

    Raises:
        ConfigError: with all that is wrong.

    """
    findings = Findings(path)
    config = _gateway(path, installed, findings)
    findings.raise_errors()
    assert config is not None
    return config


def load_agent(path: Path, installed: Collection[str] | None = None) -> AgentConfig:
    """Read an agent's configuration; see `load`."""
    findings = Findings(path)
    config = _agent(path, installed, findings)
    findings.raise_errors()
    assert config is not None
    return config


def check(path: Path, installed: Collection[str] | None = None) -> list[Finding]:
    """Say all that is wrong, or probably not meant, in a gateway's configuration."""
    findings = Findings(path)
    config = _gateway(path, installed, findings)
    if config is not None:
        warn_gateway(config, findings)
        if installed is None:
            _check_options(config, findings)
    return findings.found


def check_agent_file(path: Path, installed: Collection[str] | None = None) -> list[Finding]:
    """Say all that is wrong, or probably not meant, in an agent's configuration."""
    findings = Findings(path)
    config = _agent(path, installed, findings)
    if config is not None:
        warn_agent(config, findings)
    return findings.found


def _check_options(config: GatewayConfig, findings: Findings) -> None:
    """Ask protocols about their part of the tables, as the gateway does at its start."""
    known = registry.names(registry.PROTOCOLS)
    for index, listener in enumerate(config.listeners):
        if listener.protocol in known:
            try:
                loaded = registry.load([listener.protocol])
                if (check_listener := loaded[listener.protocol].check_listener) is not None:
                    check_listener(listener.options)
                hosts_of(config, listener, loaded)
            except (ConfigError, PluginError) as error:
                told = f"listeners[{index}]"
                findings.error(told, str(error), "the gateway does not start with it")
    for index, target in enumerate(config.targets):
        if target.protocol not in known:
            continue  # told already
        try:
            registry.load([target.protocol])[target.protocol].check_target(target)
        except (ConfigError, PluginError) as error:
            findings.error(f"targets[{index}]", str(error), "the gateway does not start with it")


def _gateway(
    path: Path, installed: Collection[str] | None, findings: Findings
) -> GatewayConfig | None:
    config = _read(GatewayConfig, GATEWAY_REST, path, findings)
    if config is not None:
        known = registry.names(registry.PROTOCOLS) if installed is None else installed
        check_gateway(config, known, findings)
    return config


def _agent(path: Path, installed: Collection[str] | None, findings: Findings) -> AgentConfig | None:
    config = _read(AgentConfig, AGENT_REST, path, findings)
    if config is not None:
        known = registry.names(registry.PROTOCOLS) if installed is None else installed
        check_agent(config, known, findings, SOURCES | registry.names(registry.SECRETS))
    return config


def _read(cls: type[C], rest: Mapping[type, str], path: Path, findings: Findings) -> C | None:
    table = read_toml(path, findings)
    if findings.errors:
        return None
    config = TableReader(findings, path.absolute().parent, rest).read(cls, table)
    return None if config is None else evolve(config, path=path.absolute())
