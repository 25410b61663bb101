"""``/v1/requests``: look at requests for approval, vote on them, withdraw one's own.

======  ============================  =====================================================
GET     requests                      ``?state=requested&limit=100``: those one may see
GET     requests/ID                   one, with the exact text
POST    requests/ID/approve           ``{comment?}``
POST    requests/ID/deny              ``{comment?}``; the requester may, too
POST    requests/ID/withdraw          by whoever asked
POST    requests/ID/reason            ``{reason}``, by whoever asked, before the first vote
======  ============================  =====================================================

Each answers with the request as it then stands (a list: ``{requests: [...], complete}``).
"""

from __future__ import annotations

import typing
from typing import Any, Final

from attrs import define

from hoopgw.control.arguments import limit, only, text
from hoopgw.control.callers import Caller, Callers
from hoopgw.control.views import request_view
from hoopgw.control.web import ApiError, Call, Route
from hoopgw.reviews.docket import Docket, NoRequestError, TooLateError, VoteRefusedError
from hoopgw.reviews.rules import may_see
from hoopgw.store.rows import Request, State, Store

_STATES: Final[tuple[State, ...]] = typing.get_args(State)
_SCAN: Final = 2_000
"""Requests that are looked through for those that the caller may see."""
_SCAN_BYTES: Final = 64 * 2**20
"""Bytes of their texts: with more, the list says that it is not complete."""


def explain_refusal(error: Exception) -> ApiError | None:
    """Return the answer for what the docket refused."""
    match error:
        case NoRequestError():
            return ApiError(404, "not_found", str(error))
        case TooLateError():
            return ApiError(409, "too_late", str(error))
        case VoteRefusedError():
            return ApiError(403, "refused", str(error))
    return None


@define(eq=False)
class RequestRoutes:
    """Serves them."""

    _callers: Callers
    _docket: Docket
    _store: Store

    def routes(self) -> list[Route]:
        """Return the routes below ``/v1``."""
        return [
            Route("GET", "requests", self._list),
            Route("GET", "requests/*", self._one),
            Route("POST", "requests/*/approve", lambda call: self._vote(call, approve=True)),
            Route("POST", "requests/*/deny", lambda call: self._vote(call, approve=False)),
            Route("POST", "requests/*/withdraw", self._withdraw),
            Route("POST", "requests/*/reason", self._reason),
        ]

    def _list(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.query, "state", "limit")
        state = call.query.get("state")
        if state is not None and state not in _STATES:
            raise ApiError(400, "invalid_request", f"state: one of {', '.join(_STATES)}")
        states = None if state is None else [known for known in _STATES if known == state]
        views: list[dict[str, Any]] = []
        wanted, size, looking = limit(call), 0, self._callers.looking(caller)
        for name in self._store.request_ids(states, _SCAN):
            if len(views) == wanted or size > _SCAN_BYTES:
                return {"requests": views, "complete": False}
            request = self._store.request(name)
            if request is None:
                continue  # it was tampered with
            size += len(request.text)
            looking.at(len(request.text))
            if may_see(request, caller.principal, oversees=caller.oversees):
                views.append(self._view(request, caller, whole=False))
        return {"requests": views, "complete": True}

    def _one(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        return self._view(self._visible(call.path[0], caller), caller, whole=True)

    def _vote(self, call: Call, *, approve: bool) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.body, "comment")
        request = self._visible(call.path[0], caller)
        comment = text(call.body, "comment", "")
        voted = self._docket.vote(request.id, caller.principal, approve=approve, comment=comment)
        return self._view(voted, caller, whole=True)

    def _withdraw(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.body)
        request = self._visible(call.path[0], caller)
        ended = self._docket.withdraw_own(request.id, caller.principal)
        return self._view(ended, caller, whole=True)

    def _reason(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.body, "reason")
        request = self._visible(call.path[0], caller)
        reason = text(call.body, "reason").strip()
        if not reason:
            raise ApiError(400, "invalid_request", "reason: expected a text that is not empty")
        given = self._docket.give_reason(request.id, caller.principal, reason)
        return self._view(given, caller, whole=True)

    def _visible(self, name: str, caller: Caller) -> Request:
        """Return a request; one that the caller may not see is as if it were not there."""
        request = self._store.request(name)
        if request is None or not may_see(request, caller.principal, oversees=caller.oversees):
            raise NoRequestError("there is no such request")
        return request

    def _view(self, request: Request, caller: Caller, *, whole: bool) -> dict[str, Any]:
        votes = self._store.votes(request.id)
        return request_view(request, votes, caller.principal, whole=whole)
