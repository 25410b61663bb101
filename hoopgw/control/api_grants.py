"""``/v1/grants``: ask for access for a while, wait for it, decide on it, end it.

======  ============================  =====================================================
GET     grants                        ``?state=&limit=``: those one may see, newest first
POST    grants                        ``{target, grant | action, seconds, reason, scope?,
                                      digest?, wait?}``: ask for one
GET     grants/offers                 ``?target=``: what the caller can ask for
GET     grants/reviews                broken glass that nobody has looked at yet
GET     grants/ID                     ``?wait=30``: one, once it is decided on
POST    grants/ID/approve             ``{comment?}``
POST    grants/ID/deny                ``{comment?}``; who asked may, too
POST    grants/ID/extend              ``{seconds, reason, wait?}``: ask for more of the same
POST    grants/ID/revoke              ``{comment?}``: end it, or take the request back
POST    grants/ID/close               ``{comment}``: close the review of broken glass
======  ============================  =====================================================

``seconds`` and ``wait`` are numbers; ``wait`` is no more than `WAIT_LIMIT`. What breaks glass is
asked for by its name and answered at once. People and agents ask for themselves only: an agent's
grant is for its whole chain, and for this delegation of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import define
from twisted.internet.interfaces import IReactorTime

from hoopgw.control.arguments import NAME_LIMIT, limit, number, only, text
from hoopgw.control.callers import Caller, Callers
from hoopgw.control.granting import Granting
from hoopgw.control.policy_files import PolicyFiles
from hoopgw.control.views import grant_view, offer_view
from hoopgw.control.web import ApiError, Call, Route
from hoopgw.errors import PolicyError
from hoopgw.grants.held import SCOPES
from hoopgw.grants.ledger import (
    GrantAsk,
    GrantOverError,
    GrantRefusedError,
    NoGrantError,
)
from hoopgw.grants.rules import is_own, may_revoke, may_see
from hoopgw.policy.offers import Offer
from hoopgw.policy.questions import offers_action
from hoopgw.policy.sets import PolicySet
from hoopgw.reviews.docket import Docket
from hoopgw.store.grant_rows import GRANT_STATES, GrantRow
from hoopgw.store.rows import Store

WAIT_LIMIT: Final = 50
"""Seconds that a call waits for people."""
_SCAN: Final = 2_000
_SECONDS_LIMIT: Final = 7 * 86_400


def explain_grant(error: Exception) -> ApiError | None:
    """Return the answer for what the ledger refused."""
    match error:
        case NoGrantError():
            return ApiError(404, "not_found", str(error))
        case GrantOverError():
            return ApiError(409, "too_late", str(error))
        case GrantRefusedError():
            return ApiError(403, "refused", str(error))
        case PolicyError():
            return ApiError(503, "unavailable", "the policy is not valid now")
    return None


@define(eq=False)
class GrantRoutes:
    """Serves them."""

    _callers: Callers
    _granting: Granting
    _docket: Docket
    _store: Store
    _files: PolicyFiles
    _targets: frozenset[str]
    _clock: IReactorTime

    def routes(self) -> list[Route]:
        """Return the routes below ``/v1``."""
        return [
            Route("GET", "grants", self._list),
            Route("POST", "grants", self._ask),
            Route("GET", "grants/offers", self._offers),
            Route("GET", "grants/reviews", self._reviews),
            Route("GET", "grants/*", self._one),
            Route("POST", "grants/*/approve", lambda call: self._vote(call, approve=True)),
            Route("POST", "grants/*/deny", lambda call: self._vote(call, approve=False)),
            Route("POST", "grants/*/extend", self._extend),
            Route("POST", "grants/*/revoke", self._revoke),
            Route("POST", "grants/*/close", self._close),
        ]

    def _list(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.query, "state", "limit")
        state = call.query.get("state")
        if state is not None and state not in GRANT_STATES:
            raise ApiError(400, "invalid_request", f"state: one of {', '.join(GRANT_STATES)}")
        states = None if state is None else [state]
        return self._shown(self._store.grants.ids(states, _SCAN), caller, limit(call))

    def _reviews(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.query, "limit")
        return self._shown(self._store.grants.open_reviews(_SCAN), caller, limit(call))

    def _shown(self, names: Any, caller: Caller, wanted: int) -> dict[str, Any]:
        views: list[dict[str, Any]] = []
        looking = self._callers.looking(caller)
        for name in names:
            if len(views) == wanted:
                return {"grants": views, "complete": False}
            row = self._store.grants.find(name)
            looking.at(0 if row is None else len(row.text))
            if row is not None and may_see(row, caller.principal, oversees=caller.oversees):
                views.append(self._view(row, caller))
        return {"grants": views, "complete": True}

    async def _offers(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.query, "target")
        target = self._target(call.query)
        policies = await self._files.current()
        chain = caller.principal.chain
        offers = [o for o in policies.offers.values() if o.refuses(chain, target) is None]
        return {"target": target, "offers": [offer_view(offer) for offer in offers]}

    async def _ask(self, call: Call) -> dict[str, Any]:
        caller, body = self._callers.identify(call), call.body
        only(body, "target", "grant", "action", "seconds", "reason", "scope", "digest", "wait")
        target, wait = self._target(body), _wait(body)
        scope = text(body, "scope", "window")
        if scope not in SCOPES:
            raise ApiError(400, "invalid_request", f"scope: one of {', '.join(SCOPES)}")
        seconds, reason = _seconds(body), text(body, "reason", "")
        digest = _digest(body)
        policies = await self._files.current()
        call_ = None
        if digest is not None:
            now = self._granting.clock()
            call_ = self._granting.calls.find(caller.principal, target, digest, now)
        asked = GrantAsk(
            principal=caller.principal,
            offer=_offer(policies, body, caller, target),
            target=target,
            seconds=seconds,
            reason=reason,
            scope=scope,
            call=call_,
        )
        return await self._answered(self._granting.ledger.ask(asked), caller, wait)

    async def _extend(self, call: Call) -> dict[str, Any]:
        caller, body = self._callers.identify(call), call.body
        only(body, "seconds", "reason", "wait")
        old = self._visible(call.path[0], caller)
        seconds, reason, wait = _seconds(body), text(body, "reason", ""), _wait(body)
        offer = (await self._files.current()).offer(old.name)
        if offer is None:
            raise ApiError(404, "not_found", "the policy does not offer this grant any more")
        asked = GrantAsk(
            principal=caller.principal,
            offer=offer,
            target=old.target,
            seconds=seconds,
            reason=reason,
            scope=old.scope,
            extends=old.id,
        )
        return await self._answered(self._granting.ledger.ask(asked), caller, wait)

    async def _one(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.query, "wait")
        row = self._visible(call.path[0], caller)
        return await self._answered(row, caller, number(call, "wait", 0, 0, WAIT_LIMIT))

    async def _answered(self, row: GrantRow, caller: Caller, wait: float) -> dict[str, Any]:
        return self._view(await self._granting.decided(row.id, wait, self._clock), caller)

    def _vote(self, call: Call, *, approve: bool) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.body, "comment")
        row = self._visible(call.path[0], caller)
        if row.breakglass:
            raise ApiError(409, "too_late", "glass was broken: close its review instead")
        comment = text(call.body, "comment", "")
        self._docket.vote(row.id, caller.principal, approve=approve, comment=comment)
        return self._view(self._granting.ledger.find(row.id), caller)

    def _revoke(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.body, "comment")
        row = self._visible(call.path[0], caller)
        if not may_revoke(row, caller.principal, is_admin=caller.is_admin):
            raise ApiError(403, "refused", "auditors look on; they do not end grants")
        if row.state == "requested" and not (caller.is_admin or is_own(row, caller.principal)):
            raise ApiError(403, "refused", "only who asked takes a request back; deny it instead")
        comment = text(call.body, "comment", "")
        ended = self._granting.ledger.revoke(row.id, caller.principal, comment)
        return self._view(ended, caller)

    def _close(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.body, "comment")
        row = self._visible(call.path[0], caller)
        comment = text(call.body, "comment", "")
        closed = self._granting.ledger.close_review(row.id, caller.principal, comment)
        return self._view(closed, caller)

    def _visible(self, name: str, caller: Caller) -> GrantRow:
        """Return a grant; one that the caller may not see is as if it were not there."""
        row = self._store.grants.find(name)
        if row is None or not may_see(row, caller.principal, oversees=caller.oversees):
            raise NoGrantError("there is no such grant")
        return row

    def _view(self, row: GrantRow, caller: Caller) -> dict[str, Any]:
        request = None if row.breakglass else self._store.request(row.id)
        votes = [] if request is None else self._store.votes(row.id)
        return grant_view(row, request, votes, caller.principal)

    def _target(self, values: Mapping[str, Any]) -> str:
        target = text(values, "target")
        if target not in self._targets:
            raise ApiError(404, "not_found", "no such target is configured")
        return target


def _offer(policies: PolicySet, body: Mapping[str, Any], caller: Caller, target: str) -> Offer:
    """Return what is asked for, by its name or by what it would permit."""
    if ("grant" in body) == ("action" in body):
        raise ApiError(400, "invalid_request", "name a grant, or an action")
    if "grant" in body:
        named = policies.offer(text(body, "grant"))
        if named is None:
            raise ApiError(404, "not_found", "the policy offers no grant of this name")
        return named
    action = text(body, "action")[:NAME_LIMIT]
    fitting = [
        offer
        for offer in policies.offers.values()
        if not offer.breakglass
        and offer.refuses(caller.principal.chain, target) is None
        and offers_action(policies, offer, action)
    ]
    if len(fitting) != 1:
        names = ", ".join(offer.name for offer in fitting) or "none"
        raise ApiError(404, "not_found", f"not one grant is for this action, but: {names}")
    return fitting[0]


def _seconds(body: Mapping[str, Any]) -> float:
    return _number(body, "seconds", None, _SECONDS_LIMIT)


def _wait(body: Mapping[str, Any]) -> float:
    return _number(body, "wait", 0, WAIT_LIMIT)


def _number(body: Mapping[str, Any], name: str, default: int | None, most: int) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ApiError(400, "invalid_request", f"{name}: expected a number from 0 to {most}")
    return float(value)


def _digest(body: Mapping[str, Any]) -> bytes | None:
    if "digest" not in body:
        return None
    try:
        digest = bytes.fromhex(text(body, "digest"))
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ApiError(400, "invalid_request", "digest: expected 64 hexadecimal digits")
    return digest
