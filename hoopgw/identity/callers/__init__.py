"""Every kind of caller: one module for each type of issuer, with the vendor's own claims.

What all tokens must pass (signature, issuer, audience, times, client) is in `hoopgw.identity.oidc`;
a type says what its settings need, whom a token stands for, and what policy and recordings learn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from hoopgw.identity.audiences import is_foreign
from hoopgw.identity.callers.caller import Caller, CallerType, Problem, attributes
from hoopgw.identity.callers.entra import ACTS_FOR, ITSELF, EntraCaller
from hoopgw.identity.callers.github import GitHubCaller
from hoopgw.identity.callers.kubernetes import KubernetesCaller
from hoopgw.identity.callers.plain import PlainCaller
from hoopgw.identity.callers.spiffe import SpiffeCaller, trust_domain
from hoopgw.identity.presets import IssuerType
from hoopgw.identity.settings import IssuerSettings

__all__ = [
    "ACTS_FOR",
    "CALLERS",
    "ITSELF",
    "Caller",
    "CallerType",
    "Problem",
    "attributes",
    "problems",
    "trust_domain",
]

CALLERS: Final[Mapping[IssuerType, CallerType]] = {
    "oidc": PlainCaller(),
    "entra": EntraCaller(),
    "azure-devops": EntraCaller(workloads_only=True),
    "github-actions": GitHubCaller(),
    "kubernetes": KubernetesCaller(),
    "spiffe": SpiffeCaller(),
}

_ENTRA: Final = frozenset({"entra", "azure-devops"})
_ONLY_FOR: Final[Mapping[str, frozenset[str]]] = {
    "version": _ENTRA,
    "roles": _ENTRA,
    "graph": frozenset({"entra"}),
    "service_accounts": frozenset({"kubernetes"}),
    "unbound": frozenset({"kubernetes"}),
    "trust_domain": frozenset({"spiffe"}),
    "paths": frozenset({"spiffe"}),
}
"""Keys that mean something for these types only; elsewhere one would hope in vain."""
_WORKLOADS: Final = frozenset({"azure-devops", "github-actions", "kubernetes", "spiffe"})


def problems(settings: IssuerSettings) -> Iterator[Problem]:
    """Say what is wrong with the settings of an issuer; nothing if they can be used."""
    yield from CALLERS[settings.type].problems(settings)
    usual = IssuerSettings.usual()
    for name, types in _ONLY_FOR.items():
        if settings.type not in types and getattr(settings, name) != getattr(usual, name):
            yield Problem(name, f'has no meaning with type = "{settings.type}"', "leave it out")
    if settings.type in _WORKLOADS:
        if settings.kind == "person":
            yield Problem("kind", 'is "person"', 'expected "workload" or "agent"')
        if settings.groups_claim:
            yield Problem("groups_claim", "is given", "no group claim of workloads is trusted")
    if settings.persons is not None and settings.kind == "person":
        yield Problem("persons", "is given", "leave it out: a person stands for nobody else")
    if foreign := sorted(a for a in settings.audiences if is_foreign(a)):
        yield Problem(
            "audiences",
            f"has {foreign[0]!r}, which is another service's",
            "expected one that only the gateway has: such tokens would be good there, too",
        )
    if settings.jwks_url and settings.jwks_file is not None:
        yield Problem("jwks_file", "is given, and jwks_url too", "give one of them")
