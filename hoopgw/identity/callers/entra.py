"""``type = "entra"`` and ``"azure-devops"``: people, applications and agents of one Entra tenant.

======================  =================  ===============  ====================================
token                   ``idtyp``          facets           is
======================  =================  ===============  ====================================
delegated               ``user``, none     none             a person
delegated, to an agent  ``user``           actor 11         an agent, with its user behind it
of an agent's user      ``user``           subject 13       an agent
app-only                ``app``            none             a workload: managed identity, service
                                                            principal
app-only                ``app``            subject 11       an agent
======================  =================  ===============  ====================================

A subject is the ``oid``, which is the same in all applications; ``sub`` is not. Everybody in a
tenant can register an application and get an app-only token for ours, so such a token is taken
only from ``clients``, or with one of the app roles in ``roles``, which our own registration gives.
What such a token says of groups is not used; an app role is our own administrator's word.

Facets are lists of numbers in one string, in any order, and those that are not known are left
alone. The blueprint of an agent is recorded, and policy may see it; Microsoft advises against
granting by it, as all agents of a blueprint have it.

An Azure DevOps job has no token for an audience of ours: what the pipeline gives is for
``api://AzureADTokenExchange``, and whoever holds it can become the service connection. So it is
exchanged at Entra ID by the job (``hoopgw login --ci``), and what comes here is an app-only token
of the connection's identity. ``azure-devops`` is that: workloads only, each named in ``clients``.

References: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference,
https://learn.microsoft.com/entra/agent-id/identity-platform/agent-token-claims,
https://learn.microsoft.com/entra/identity-platform/access-tokens ("Validate the issuer").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from attrs import field, frozen

from hoopgw.errors import AuthenticationError
from hoopgw.events import HopKind
from hoopgw.identity.callers.caller import Caller, Problem
from hoopgw.identity.callers.plain import kind_by_rule
from hoopgw.identity.claims import kept, optional_text, text, texts
from hoopgw.identity.jose import Claims
from hoopgw.identity.settings import IssuerSettings

ACTS_FOR: Final = "actsFor"
ITSELF: Final = "itself"
_GUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_AGENT: Final = "11"
_AGENT_USER: Final = "13"
_BLUEPRINT: Final = "xms_par_app_azp"
_ORIGIN: Final = (
    "oid",
    "sub",
    "appid",
    "azp",
    "idtyp",
    "uti",
    "xms_act_fct",
    "xms_sub_fct",
    "xms_mirid",
    _BLUEPRINT,
)


@frozen
class _Said:
    """What a token says of who it stands for."""

    claims: Claims = field(repr=False)
    is_id_token: bool
    is_app: bool = field(init=False)
    acting: frozenset[str] = field(init=False)
    subject: frozenset[str] = field(init=False)

    @is_app.default
    def _is_app(self) -> bool:
        if self.is_id_token:
            return False
        kind = optional_text(self.claims, "idtyp")
        if (
            kind is None
        ):  # an optional claim: only a delegated token has scopes, and a sub by client
            scopes = set((optional_text(self.claims, "scp") or "").split()) - {"/"}
            return not scopes or self.claims.get("sub") == self.claims.get("oid")
        if kind not in ("app", "user"):
            raise AuthenticationError("idtyp is neither app nor user")
        return kind == "app"

    @acting.default
    def _acting(self) -> frozenset[str]:
        return _facets(self.claims, "xms_act_fct")

    @subject.default
    def _subject(self) -> frozenset[str]:
        return _facets(self.claims, "xms_sub_fct")

    @property
    def is_agent(self) -> bool:
        """Whether an AI agent acts: by itself, as its own user, or for a person."""
        marked = _AGENT in self.acting | self.subject or _AGENT_USER in self.subject
        return marked or _BLUEPRINT in self.claims

    @property
    def acts_for(self) -> str | None:
        """For whom an agent acts; None if it is none."""
        if not self.is_agent:
            return None
        if self.is_app:
            return ITSELF
        return "user" if _AGENT_USER in self.subject else "person"

    @property
    def user(self) -> frozenset[str]:
        """The person behind an agent that was delegated to."""
        return frozenset({text(self.claims, "oid")}) if self.acts_for == "person" else frozenset()


def _facets(claims: Claims, name: str) -> frozenset[str]:
    return frozenset((optional_text(claims, name) or "").split())


@frozen
class EntraCaller:
    """Implements `hoopgw.identity.callers.caller.CallerType`."""

    workloads_only: bool = False

    def problems(self, settings: IssuerSettings) -> Iterable[Problem]:
        """Say what is wrong: the tenant must be named, by its id."""
        if not _GUID.fullmatch(settings.tenant):
            yield Problem(
                "tenant",
                f"is {settings.tenant[:80]!r}" if settings.tenant else "is missing",
                'expected the tenant\'s id, in lower case; names and "common" are not enough',
            )
        if self.workloads_only and not settings.clients:
            yield Problem(
                "clients", "is missing", "expected the client ids of the service connections"
            )
        if self.workloads_only and settings.client_id:
            yield Problem(
                "client_id", "has no meaning here", "leave it out: people log in elsewhere"
            )

    def read(self, claims: Claims, settings: IssuerSettings, *, is_id_token: bool) -> Caller:
        """Say who a token stands for."""
        said = _Said(claims, is_id_token)
        if claims.get("ver") != ("2.0" if is_id_token else settings.version):
            raise AuthenticationError("ver is another version than the issuer's")
        if self.workloads_only and not said.is_app:
            raise AuthenticationError("not a token of an application")
        client = optional_text(claims, "azp") or optional_text(claims, "appid")
        roles = texts(claims, "roles")
        if said.is_app:
            _check_app(client, roles, settings)
        oid = text(claims, "oid")
        return Caller(
            subject=oid,
            name=claims.get(settings.name_claim) or claims.get("app_displayname") or client,
            kind=_kind(said, claims, settings),
            has_groups=not said.is_app or settings.groups_claim == "roles",
            attributes={
                "tenant": settings.tenant,
                "client": client,
                "roles": roles,
                "blueprint": optional_text(claims, _BLUEPRINT),
                ACTS_FOR: said.acts_for,
            },
            origin=kept(claims, _ORIGIN),
            persons=said.user,
            any_client=said.is_app,
        )


def _kind(said: _Said, claims: Claims, settings: IssuerSettings) -> HopKind:
    if said.is_agent:
        return "agent"
    ruled = kind_by_rule(claims, settings)
    return "workload" if said.is_app and ruled == "person" else ruled


def _check_app(client: str | None, roles: frozenset[str], settings: IssuerSettings) -> None:
    """Check that we know an application, as the whole tenant can have tokens for us."""
    if client is None:
        raise AuthenticationError("an app-only token names no application")
    if client not in settings.clients and not roles & settings.roles:
        raise AuthenticationError(f"application {client!r} is not allowed, and has no role here")
