"""``policy/explain``: what the policy says of an operation that nobody asks for now.

The question names accesses as policy sees them, ``{action: "Postgres::select", resource: {type,
id, labels?, parents?}}``. It is asked for the caller; administrators and auditors may ask for any
chain. The files are read anew if they changed, so the answer is of what workers use a moment later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import define

from hoopgw.control.arguments import only, text
from hoopgw.control.callers import Caller
from hoopgw.control.policy_files import PolicyFiles
from hoopgw.control.views import plain
from hoopgw.control.web import ApiError
from hoopgw.errors import PolicyError
from hoopgw.events import Access, Operation, Principal, Resource
from hoopgw.grants.held import HeldGrant
from hoopgw.policy.decision import Allow, Deny, Hidden, Review, Sight, Verdict
from hoopgw.policy.explain import Explanation, explain
from hoopgw.store.coding import context_from_dict
from hoopgw.wire_values import principal_from_dict

ACCESSES_LIMIT: Final = 50
_DEPTH_LIMIT: Final = 8
_NO_DIGEST: Final = b"\0" * 32


@define(eq=False)
class Questions:
    """Asks the policy."""

    _files: PolicyFiles
    _protocols: Mapping[str, str]
    """Target to its protocol."""
    _now: Callable[[], float]
    _held: Callable[[Principal], tuple[HeldGrant, ...]]
    """Gives what somebody holds."""

    async def explain(self, body: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Answer a question.

        Raises:
            ApiError: it is malformed, not the caller's to ask, or there is no valid policy.

        """
        only(body, "target", "protocol", "action", "accesses", "context", "chain", "approvals")
        principal = self._principal(body, caller)
        operation = self._operation(body)
        approvals = frozenset(_texts(body.get("approvals", []), "approvals"))
        try:
            held, now = self._held(principal), int(self._now())
            answer = await self._files.ask(
                lambda policies: (
                    explain(policies, principal, operation, now, approvals, held),
                    policies.version,
                )
            )
        except PolicyError as error:
            raise ApiError(503, "unavailable", f"the policy is not valid: {error}") from error
        explanation, version = answer
        return {
            "decision": decision_word(explanation),
            "policy": version,
            "outcome": plain(explanation.outcome),
            "lines": list(explanation.lines()),
            "steps": [plain(step) for step in explanation.steps],
        }

    def _principal(self, body: Mapping[str, Any], caller: Caller) -> Principal:
        if "chain" not in body:
            return caller.principal
        if not caller.oversees:
            raise ApiError(403, "refused", "only administrators and auditors ask for others")
        chain = body["chain"]
        delegations = len(chain) - 1 if isinstance(chain, list) else 0
        try:
            return principal_from_dict(
                {
                    "chain": chain,
                    "nodes": [{"id": "explain"}] * delegations,
                    "session": "explain",
                    "expires": self._now() + 60.0,
                }
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise ApiError(400, "invalid_request", f"chain: {error}") from error

    def _operation(self, body: Mapping[str, Any]) -> Operation:
        target = text(body, "target")
        if target not in self._protocols:
            raise ApiError(404, "not_found", "no such target is configured")
        accesses = body.get("accesses")
        if not isinstance(accesses, list) or not 0 < len(accesses) <= ACCESSES_LIMIT:
            raise ApiError(400, "invalid_request", f"accesses: expected 1 to {ACCESSES_LIMIT}")
        context = body.get("context", {})
        if not isinstance(context, dict):
            raise ApiError(400, "invalid_request", "context: expected an object")
        try:
            values = context_from_dict(context)
        except ValueError as error:
            raise ApiError(400, "invalid_request", f"context: {error}") from error
        return Operation(
            protocol=self._protocols[target],
            target=target,
            action=text(body, "action", "explain"),
            accesses=tuple(_access(access) for access in accesses),
            text="",
            context=values,
            digest=_NO_DIGEST,
        )


def _access(value: Any) -> Access:
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_request", "accesses: expected objects")
    only(value, "action", "resource")
    return Access(action=text(value, "action"), resource=_resource(value.get("resource"), 0))


def _resource(value: Any, depth: int) -> Resource:
    if not isinstance(value, dict) or depth > _DEPTH_LIMIT:
        raise ApiError(400, "invalid_request", "resource: expected {type, id, labels?, parents?}")
    only(value, "type", "id", "labels", "parents")
    parents = value.get("parents", [])
    if not isinstance(parents, list) or len(parents) > _DEPTH_LIMIT:
        raise ApiError(400, "invalid_request", "parents: expected a short list of resources")
    return Resource(
        type=text(value, "type"),
        id=text(value, "id"),
        parents=tuple(_resource(parent, depth + 1) for parent in parents),
        labels=frozenset(_texts(value.get("labels", []), "labels")),
    )


def _texts(value: Any, name: str) -> Sequence[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ApiError(400, "invalid_request", f"{name}: expected a list of texts")
    return value


def decision_word(explanation: Explanation) -> str:
    """Return ``allow``, ``review`` or ``deny``; of a field that is shown masked ``mask``."""
    outcome: Verdict | Sight | Hidden = explanation.outcome
    match outcome:
        case Sight():
            return "mask" if outcome.mask else "allow"
        case Hidden():
            return "deny"
        case Verdict():
            words = {Allow: "allow", Review: "review", Deny: "deny"}
            return words[type(outcome.decision)]
