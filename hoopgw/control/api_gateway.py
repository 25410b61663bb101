"""The rest of ``/v1``: who one is, targets, agents, log-ins, and why policy says what it says.

======  =======================  ===========================================================
GET     me                       the caller, with groups and rights
GET     targets                  what the caller may connect to, as which accounts, and whether its
                                 agent is connected; ``?all=true`` for administrators and auditors
GET     agents                   administrators and auditors
POST    agents/NAME/revoke       administrators
POST    join-tokens              ``{agent}``, administrators: ``{agent, token, expires}``
POST    logins/SID/revoke        administrators; anybody their own, also as ``logins/mine``
POST    policy/explain           ``{target, protocol?, action?, accesses, context?, chain?}``
======  =======================  ===========================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define

from hoopgw.control.arguments import flag, only, text
from hoopgw.control.callers import Caller, Callers
from hoopgw.control.delegations import Delegations
from hoopgw.control.enrolment import Enrolment
from hoopgw.control.fleet import Fleet
from hoopgw.control.questions import Questions
from hoopgw.control.reach import Reach
from hoopgw.control.views import agent_view, principal_view, target_view
from hoopgw.control.web import ApiError, Call, Route
from hoopgw.errors import AuthenticationError
from hoopgw.spi import TargetSettings
from hoopgw.store.rows import Store
from hoopgw.wire_values import attributes_to_dict


@define(eq=False)
class GatewayRoutes:
    """Serves them."""

    _callers: Callers
    _store: Store
    _fleet: Fleet
    _enrolment: Enrolment
    _targets: Mapping[str, TargetSettings]
    _listeners: Mapping[str, str]
    """A protocol to the address of its listener."""
    _questions: Questions
    _reach: Reach
    _delegations: Delegations

    def routes(self) -> list[Route]:
        """Return the routes below ``/v1``."""
        return [
            Route("GET", "me", self._me),
            Route("GET", "targets", self._list_targets),
            Route("GET", "agents", self._list_agents),
            Route("POST", "agents/*/revoke", self._revoke_agent),
            Route("POST", "join-tokens", self._join_token),
            Route("POST", "logins/*/revoke", self._revoke_login),
            Route("POST", "policy/explain", self._explain),
        ]

    def _me(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        return {
            **principal_view(caller.principal),
            "groups": sorted(caller.principal.root.groups),
            "attributes": attributes_to_dict(caller.principal.root.attributes),
            "persons": sorted(caller.principal.origin.persons),
            "login": caller.principal.session,
            "expires": caller.principal.expires,
            "admin": caller.is_admin,
            "auditor": caller.oversees,
        }

    async def _list_targets(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.query, "all")
        everything = flag(call, "all") is True
        if everything and not caller.oversees:
            raise ApiError(403, "refused", "only administrators and auditors see all targets")
        agents, reach = self._fleet.agents(), self._reach
        found = reach.all(agents) if everything else await reach.of(caller.principal, agents)
        return {
            "targets": [
                target_view(target, agents, self._listeners.get(target.protocol), found[name])
                for name, target in self._targets.items()
                if name in found
            ]
        }

    def _list_agents(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        if not caller.oversees:
            raise ApiError(403, "refused", "only administrators and auditors see agents")
        rows = {row.name: row for row in self._store.agents()}
        status = self._fleet.agents()
        names = sorted(rows.keys() | status.keys())
        return {"agents": [agent_view(rows.get(name), status.get(name)) for name in names]}

    def _revoke_agent(self, call: Call) -> dict[str, Any]:
        self._admin(call)
        only(call.body)
        if not self._enrolment.revoke(call.path[0]):
            raise ApiError(404, "not_found", "no such agent is enrolled")
        return {"agent": call.path[0], "revoked": True}

    def _join_token(self, call: Call) -> dict[str, Any]:
        self._admin(call)
        only(call.body, "agent")
        try:
            token, expires = self._enrolment.make_token(text(call.body, "agent"))
        except AuthenticationError as error:
            raise ApiError(400, "invalid_request", str(error)) from error
        return {"agent": token.name, "token": token.encode(), "expires": expires}

    def _revoke_login(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.body)
        mine = caller.principal.session
        login = mine if call.path[0] == "mine" else call.path[0]
        if len(caller.principal.chain) > 1:
            raise ApiError(
                403, "refused", "a child ends delegations (nodes), not its root's log-in"
            )
        if login != mine and not caller.is_admin:
            raise ApiError(403, "refused", "only administrators revoke the log-ins of others")
        if len(login) > 256:
            raise ApiError(400, "invalid_request", "no log-in is called so")
        by = None if caller.is_admin else caller.principal
        self._delegations.revoke(login, "the log-in was revoked", by)
        return {"login": login, "revoked": True}

    async def _explain(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        return await self._questions.explain(call.body, caller)

    def _admin(self, call: Call) -> Caller:
        caller = self._callers.identify(call)
        if not caller.is_admin:
            raise ApiError(403, "refused", "only administrators may do this")
        return caller
