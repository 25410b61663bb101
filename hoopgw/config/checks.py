"""What can only be judged by looking at several keys together."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

from hoopgw.config.address import socket_path_problem
from hoopgw.config.agent import SOURCES, AgentConfig, FloorRule
from hoopgw.config.findings import Findings, listed
from hoopgw.config.gateway import GatewayConfig, ListenerSettings, name_problem
from hoopgw.identity.callers import problems
from hoopgw.identity.issuers import confusion
from hoopgw.identity.settings import IssuerSettings
from hoopgw.spi import TargetSettings
from hoopgw.transport import Address

_LABEL: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
DEVICE_CODE: Final = "device_code"
"""A listener's option: the alias of the issuer that gives device codes to its clients."""
_DURABILITIES: Final = frozenset({"grouped", "strict"})


def check_gateway(config: GatewayConfig, installed: Collection[str], findings: Findings) -> None:
    """Note what contradicts itself in a gateway's configuration.

    Args:
        config: as read.
        installed: the protocols that are there.
        findings: takes what is wrong.

    """
    _once(findings, "targets", "name", (target.name for target in config.targets))
    _issuers(findings, config.identity.issuers)
    _once(findings, "listeners", "listen", (listener.listen for listener in config.listeners))
    for index, listener in enumerate(config.listeners):
        where = f"listeners[{index}]"
        _protocol(findings, f"{where}.protocol", listener.protocol, installed)
        if listener.listen == config.control.listen:
            findings.error(f"{where}.listen", "is also control.listen", "give each its own port")
        _device_code(findings, where, listener, config.identity.issuers)
    for index, target in enumerate(config.targets):
        _target(findings, f"targets[{index}]", target, installed)
    _link(findings, config)
    if (config.tls.certificate is None) != (config.tls.key is None):
        missing = "certificate" if config.tls.certificate is None else "key"
        findings.error(f"tls.{missing}", "is missing", "give both certificate and key, or neither")
    if not config.tls.names and config.tls.certificate is None:
        findings.error("tls.names", "is empty", "name the hosts that the certificate is for")
    if config.identity.token_lifetime > config.identity.login_lifetime:
        findings.error(
            "identity.token_lifetime",
            "is above identity.login_lifetime",
            "lower it (900 is usual: tokens are refreshed), or raise that",
        )
    if config.limits.sessions_per_principal > config.limits.sessions:
        findings.error(
            "limits.sessions_per_principal", "is above limits.sessions", "lower it, or raise that"
        )
    for socket in (config.paths.control_socket, config.paths.recorder_socket):
        if problem := socket_path_problem(socket):
            findings.error("state", "is too long for the sockets in it", problem)
            break


def _issuers(findings: Findings, issuers: Sequence[IssuerSettings]) -> None:
    for index, settings in enumerate(issuers):
        where = f"identity.issuers[{index}]"
        for problem in problems(settings):
            findings.error(f"{where}.{problem.key}", problem.found, problem.expected)
        for before, other in enumerate(issuers[:index]):
            for clash in confusion(settings, other):
                found = f"{clash.found}, as in identity.issuers[{before}]"
                findings.error(f"{where}.{clash.key}", found, clash.expected)


def _device_code(
    findings: Findings, where: str, listener: ListenerSettings, issuers: Sequence[IssuerSettings]
) -> None:
    """See that there is the issuer whose device codes a listener gives to its clients."""
    alias = listener.options.get(DEVICE_CODE)
    if alias is None:
        return
    known = [settings.alias for settings in issuers if settings.client_id]
    if alias not in known:
        expected = f"expected the alias of an issuer with a client_id: {listed(known) or 'none is'}"
        findings.error(f"{where}.{DEVICE_CODE}", f"found {str(alias)[:80]!r}", expected)


def _target(
    findings: Findings, where: str, target: TargetSettings, installed: Collection[str]
) -> None:
    for key, name in (("name", target.name), ("agent", target.agent)):
        if problem := name_problem(name):
            findings.error(f"{where}.{key}", f"found {name[:80]!r}", problem)
    if target.environment and (problem := name_problem(target.environment)):
        findings.error(f"{where}.environment", f"found {target.environment[:80]!r}", problem)
    if target.durability not in _DURABILITIES:
        expected = f"expected one of {listed(_DURABILITIES)}"
        findings.error(f"{where}.durability", f"found {target.durability[:80]!r}", expected)
    _protocol(findings, f"{where}.protocol", target.protocol, installed)
    for name, labels in target.labels.items():
        for label in labels:
            if not _LABEL.fullmatch(label):
                place, expected = (
                    f'{where}.labels."{name[:80]}"',
                    'expected labels like "pii.email"',
                )
                findings.error(place, f"found {label[:80]!r}", expected)


def _link(findings: Findings, config: GatewayConfig) -> None:
    link = config.link
    if link.listen.path and not link.agent_uids:
        findings.error(
            "link.agent_uids", "is missing", "name the numeric users of the agents, as [1001]"
        )
    if not link.listen.path and link.agent_uids:
        findings.error(
            "link.agent_uids", "has no meaning over TCP", "leave it out: agents show certificates"
        )
    for uid in link.agent_uids:
        if not 0 <= uid < 2**32 - 1:
            findings.error("link.agent_uids", f"found {uid}", "expected numeric users")
    if link.listen == config.control.listen:
        findings.error("link.listen", "is also control.listen", "give each its own port")
    for index, listener in enumerate(config.listeners):
        if listener.listen == link.listen:
            where = f"listeners[{index}].listen"
            findings.error(where, "is also link.listen", "give each its own port")


def check_agent(
    config: AgentConfig,
    installed: Collection[str],
    findings: Findings,
    sources: Collection[str] = SOURCES,
) -> None:
    """Note what contradicts itself in an agent's configuration."""
    _once(findings, "targets", "name", (target.name for target in config.targets))
    for index, target in enumerate(config.targets):
        where = f"targets[{index}]"
        _protocol(findings, f"{where}.protocol", target.protocol, installed)
        if not target.accounts:
            findings.error(f"{where}.accounts", "is empty", "name an account, with its source")
        for name, account in target.accounts.items():
            scheme = account.source.partition(":")[0]
            if account.source and scheme not in sources:
                place = f'{where}.accounts."{name[:80]}".source'
                expected = f"expected one of {listed(f'{s}:' for s in sources)}"
                findings.error(place, "has a scheme that is not known here", expected)
    for index, rule in enumerate(config.floor):
        _floor(findings, f"floor[{index}]", rule, config)


def _floor(findings: Findings, where: str, rule: FloorRule, config: AgentConfig) -> None:
    accounts = {target.name: target.accounts.keys() for target in config.targets}
    for name in rule.targets - accounts.keys():
        findings.error(f"{where}.targets", f"names {name[:80]!r}", _instead(name, accounts))
    there = {a for name in rule.targets & accounts.keys() for a in accounts[name]}
    for name in rule.accounts - there:
        findings.error(f"{where}.accounts", f"names {name[:80]!r}", _instead(name, there))
    for key, names in (("targets", rule.targets), ("accounts", rule.accounts)):
        if not names:
            findings.error(f"{where}.{key}", "is empty", "name at least one, or drop the rule")


def warn_gateway(config: GatewayConfig, findings: Findings) -> None:
    """Note what works, and is probably not meant. For ``hoopgw config check``."""
    served = {listener.protocol for listener in config.listeners}
    wanted = {target.protocol for target in config.targets}
    for index, listener in enumerate(config.listeners):
        if listener.protocol not in wanted:
            findings.warn(f"listeners[{index}]", "has no target", "callers can reach nothing there")
    for index, target in enumerate(config.targets):
        if target.protocol not in served:
            expected = f'callers need a listener with protocol = "{target.protocol}"'
            findings.warn(f"targets[{index}]", "has no listener", expected)
    _warn_issuers(config.identity.issuers, findings)
    host = urlsplit(config.control.url).hostname or ""
    named = {host, "*." + host.partition(".")[2]}
    if config.tls.certificate is None and named.isdisjoint(map(str.lower, config.tls.names)):
        expected = "name that host there too, or clients do not trust the certificate"
        findings.warn("control.url", f"has the host {host!r}, which tls.names has not", expected)
    if not config.control.admins:
        findings.warn("control.admins", "is empty", "nobody can enrol agents or end sessions")
    if not config.policy.directory.is_dir():
        place = config.policy.directory
        findings.warn("policy.directory", f"{place} is no directory", "everything is denied")
    if not config.state.is_dir():
        findings.warn("state", f"{config.state} is not there", "run hoopgw init")
    elif config.state.stat().st_mode & 0o077:
        findings.warn("state", f"{config.state} is open to others", f"chmod 0700 {config.state}")


def _warn_issuers(issuers: Sequence[IssuerSettings], findings: Findings) -> None:
    if not issuers:
        findings.warn("identity.issuers", "is empty", "nobody can log in")
    for index, settings in enumerate(issuers):
        where = f"identity.issuers[{index}]"
        if settings.type == "github-actions" and settings.persons is None:
            expected = "whoever sets a job off can approve what it asks"
            findings.warn(f"{where}.persons", "is missing", expected)
        if settings.type == "entra" and settings.groups_claim == "groups" and not settings.graph:
            expected = "people in more than 200 groups cannot log in"
            findings.warn(f"{where}.graph", "is missing", expected)


def warn_agent(config: AgentConfig, findings: Findings) -> None:
    """Note what works, and is probably not meant."""
    if not config.targets:
        findings.warn("targets", "is empty", "the agent opens nothing")
    if not config.floor:
        findings.warn("floor", "is empty", "the agent has no rule of its own")
    for index, target in enumerate(config.targets):
        if target.tls not in (None, "verify-full") and not _is_near(target.address):
            where = f"targets[{index}].tls"
            findings.warn(where, "does not keep others out of the way", 'use "verify-full"')


def _is_near(address: Address) -> bool:
    return bool(address.path) or address.host in ("localhost", "::1") or address.host[:4] == "127."


def _protocol(findings: Findings, where: str, name: str, installed: Collection[str]) -> None:
    if name not in installed:
        findings.error(where, f"found {name[:80]!r}, not installed here", _instead(name, installed))


def _instead(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {near[0]!r}?" if near else f"these are there: {listed(known)}"


def _once(findings: Findings, where: str, key: str, values: Iterable[Hashable]) -> None:
    first: dict[Hashable, int] = {}
    for index, value in enumerate(values):
        if value in first:
            place = f"{where}[{index}].{key}"
            problem = f"is {str(value)[:80]!r} again, as in {where}[{first[value]}]"
            findings.error(place, problem, "give each its own")
        first.setdefault(value, index)
