"""``/v1/nodes``: delegations, and how to end them.

======  ====================  ==============================================================
GET     nodes                 those that the caller may end, and that live, newest first:
                              ``root``, ``limit``
POST    nodes/ID/revoke       ``{reason?, thumbprints?}``: end one, with all below it
======  ====================  ==============================================================

Who may end a delegation: an administrator, the person at the root of it, and whoever acts in a
delegation above it, or in that one itself. What somebody may not end does not exist to it. Control
learns of a delegation when a chain with it is first shown; one that was not shown yet can be ended
by whoever knows the keys below its own: ``thumbprints`` (RFC 7638) lead from the caller down to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define

from hoopgw.control.arguments import limit, only, text
from hoopgw.control.callers import Caller, Callers
from hoopgw.control.delegations import Delegations
from hoopgw.control.web import ApiError, Call, Route
from hoopgw.identity.hops import node_id
from hoopgw.identity.tokens import CHAIN_LIMIT
from hoopgw.reviews.rules import is_person
from hoopgw.store.rows import NodeRow, NodeStore

_NODE: Final = re.compile(r"[A-Za-z0-9_-]{22}")
_REASON_LIMIT: Final = 200


@define(eq=False)
class NodeRoutes:
    """Serves them."""

    _callers: Callers
    _nodes: NodeStore
    _delegations: Delegations
    _now: Callable[[], float]

    def routes(self) -> list[Route]:
        """Return the routes below ``/v1``."""
        return [
            Route("GET", "nodes", self._list),
            Route("POST", "nodes/*/revoke", self._revoke),
        ]

    def _list(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.query, "root", "limit")
        root: str | None = caller.principal.root.id
        if caller.oversees:
            root = call.query.get("root")
        rows = self._nodes.list(root, self._now(), limit(call))
        mine = [row for row in rows if caller.oversees or self._may(caller, row)]
        return {"nodes": [node_view(row) for row in mine if not self._delegations.is_over(row)]}

    def _revoke(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.body, "reason", "thumbprints")
        node = call.path[0]
        row = self._nodes.find(node)
        if not self._knows(caller, node, row, call.body):
            raise ApiError(404, "not_found", "there is no such delegation that you may end")
        name = "a delegation" if row is None else f"the delegation to {row.name}"
        said = text(call.body, "reason", "")[:_REASON_LIMIT]
        reason = f"{name} was revoked by {caller.principal.trail}" + (f": {said}" if said else "")
        by = None if caller.is_admin else caller.principal
        self._delegations.revoke(node, reason, by)
        return {"node": node, "revoked": True}

    def _knows(
        self, caller: Caller, node: str, row: NodeRow | None, body: Mapping[str, Any]
    ) -> bool:
        """Whether there is a delegation of that name that the caller may end."""
        if row is not None:
            return caller.is_admin or self._may(caller, row)
        if not _NODE.fullmatch(node):
            return False
        return caller.is_admin or node in _below(caller, body.get("thumbprints", []))

    def _may(self, caller: Caller, row: NodeRow) -> bool:
        """Whether the caller is the root of a delegation, or acts in it or in one above it."""
        who = caller.principal
        if is_person(who) and who.root.id == row.root:
            return True
        own = who.lineage[-1]
        at: NodeRow | None = row
        for _ in range(CHAIN_LIMIT):
            if at is None:
                return False
            if own in (at.id, at.parent):
                return True
            at = self._nodes.find(at.parent)
        return False


def _below(caller: Caller, thumbprints: object) -> list[str]:
    """Return the caller's own delegation, and those that lead from it down over these keys."""
    if not isinstance(thumbprints, list) or len(thumbprints) >= CHAIN_LIMIT:
        raise ApiError(400, "invalid_request", "thumbprints: expected a short list")
    *_, node = lineage = caller.principal.lineage
    found = [node] if len(lineage) > 1 else []
    for thumbprint in thumbprints:
        if not isinstance(thumbprint, str) or len(thumbprint) > 64 or not thumbprint.isascii():
            raise ApiError(400, "invalid_request", "thumbprints: expected thumbprints of RFC 7638")
        node = node_id(node, thumbprint)
        found.append(node)
    return found


def node_view(row: NodeRow) -> dict[str, Any]:
    """Show a delegation; times are seconds since the epoch."""
    return {
        "id": row.id,
        "parent": row.parent,
        "login": row.login,
        "root": row.root,
        "hop": row.hop,
        "name": row.name,
        "kind": row.kind,
        "attested": row.attested,
        "purpose": row.purpose,
        "first_seen": row.first_seen,
        "expires": row.expires,
    }
