"""What the store and the log hold, as the JSON that the admin API gives."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from attrs import asdict

from hoopgw.control.fleet import AgentStatus
from hoopgw.control.reach import Reachable
from hoopgw.events import Hop, Node, Principal
from hoopgw.grants import rules as grants_rules
from hoopgw.policy.offers import Offer
from hoopgw.recording.index import SessionSummary
from hoopgw.recording.records import AnyRecord, encode
from hoopgw.reviews.rules import groups_asked, is_own, objection
from hoopgw.spi import ReplayLine, TargetSettings
from hoopgw.store.grant_rows import GrantRow
from hoopgw.store.rows import AgentRow, Request, SessionHead, Vote

SHORT: Final = 300
"""Characters of an operation's text in a list."""
_NANO: Final = 1e9


def principal_view(principal: Principal) -> dict[str, Any]:
    """Show a principal; groups are shown to the principal itself only, by ``/v1/me``."""
    nodes = (None, *principal.nodes)
    return {
        "path": principal.trail,
        "chain": [_hop_view(hop, node) for hop, node in zip(principal.chain, nodes, strict=True)],
    }


def _hop_view(hop: Hop, node: Node | None) -> dict[str, Any]:
    view: dict[str, Any] = {"id": hop.id, "name": hop.name, "kind": hop.kind}
    if node is None:
        return view
    return {**view, "node": node.id, "attested": hop.attested, "purpose": node.purpose}


def request_view(
    request: Request, votes: Iterable[Vote], caller: Principal, *, whole: bool
) -> dict[str, Any]:
    """Show a request to someone who may see it.

    Args:
        request: the one.
        votes: on it.
        caller: who looks.
        whole: the exact text too, which may be long.

    """
    text = request.text.decode("utf-8", "backslashreplace")
    against = objection(request, caller, approve=True)
    view = {
        "id": request.id,
        "state": request.state,
        "principal": principal_view(request.principal),
        "session": request.session,
        "protocol": request.protocol,
        "target": request.target,
        "action": request.action,
        "text": text if whole or len(text) <= SHORT else text[:SHORT] + "…",
        "digest": request.digest.hex(),
        "reason": request.reason,
        "groups": groups_asked(request.remedies),
        "remedies": [
            {
                "rule": remedy.rule,
                "groups": sorted(remedy.groups),
                "needed": remedy.needed,
                "prompt": remedy.prompt,
            }
            for remedy in request.remedies
        ],
        "created": request.created,
        "expires": request.expires,
        "settled": request.settled,
        "note": request.note,
        "own": is_own(request, caller),
        "may_approve": request.state == "requested" and against is None,
        "objection": against,
        "votes": [
            {
                "person": vote.person,
                "name": vote.name,
                "approve": vote.approve,
                "comment": vote.comment,
                "at": vote.at,
            }
            for vote in votes
        ],
    }
    if whole:
        view["text_base64"] = base64.b64encode(request.text).decode()
        view["context"] = dict(request.context)
    return view


def grant_view(
    grant: GrantRow, request: Request | None, votes: Iterable[Vote], caller: Principal
) -> dict[str, Any]:
    """Show a grant to someone who may see it.

    Args:
        grant: the one.
        request: what people vote on, if it is there.
        votes: on it.
        caller: who looks.

    """
    against = None if request is None else objection(request, caller, approve=True)
    waits = grant.state == "requested" and request is not None
    return {
        "id": grant.id,
        "state": grant.state,
        "grant": grant.name,
        "policy": grant.template,
        "principal": principal_view(grant.principal),
        "purposes": [node.purpose for node in grant.principal.nodes],
        "target": grant.target,
        "scope": grant.scope,
        "digest": grant.digest.hex(),
        "text": grant.text.decode("utf-8", "backslashreplace"),
        "seconds": grant.seconds,
        "reason": grant.reason,
        "extends": grant.extends,
        "session": grant.session,
        "breakglass": grant.breakglass,
        "groups": sorted(grant.approvers),
        "created": grant.created,
        "expires": request.expires if request is not None and waits else None,
        "began": grant.began,
        "until": grant.ends,
        "ended": grant.ended,
        "note": grant.note,
        "review": grant.review,
        "reviewer": grant.reviewer,
        "review_comment": grant.comment,
        "reviewed": grant.reviewed,
        "own": grants_rules.is_own(grant, caller),
        "may_approve": waits and against is None,
        "objection": against if waits else None,
        "votes": [
            {"name": vote.name, "approve": vote.approve, "comment": vote.comment, "at": vote.at}
            for vote in votes
        ],
    }


def offer_view(offer: Offer) -> dict[str, Any]:
    """Show what can be asked for."""
    return {
        "grant": offer.name,
        "policy": offer.template,
        "seconds": offer.limit,
        "scopes": sorted(offer.scopes),
        "groups": sorted(offer.approvers),
        "needed": offer.needed,
        "breakglass": bool(offer.breakglass),
    }


def head_view(head: SessionHead) -> dict[str, Any]:
    """Show a live session that the index may not know yet."""
    return {
        "id": head.id,
        "live": True,
        "path": head.principal.trail,
        "purpose": head.principal.purposes,
        "root": head.principal.root.id,
        "login": head.principal.session,
        "target": head.target,
        "protocol": head.protocol,
        "account": head.account,
        "address": head.address,
        "agent": "",
        "started": head.opened,
        "ended": None,
        "reason": "",
        "refused": False,
        "operations": 0,
        "denied": 0,
        "held": 0,
    }


def summary_view(summary: SessionSummary, *, live: bool) -> dict[str, Any]:
    """Show a session as the log's index knows it; times are seconds since the epoch."""
    return {
        "id": summary.id,
        "live": live,
        "path": summary.path,
        "purpose": summary.purpose,
        "root": summary.root_id,
        "login": summary.login,
        "target": summary.target,
        "protocol": summary.protocol,
        "account": summary.account,
        "address": summary.address,
        "agent": summary.agent,
        "started": None if summary.started is None else summary.started / _NANO,
        "ended": None if summary.ended is None else summary.ended / _NANO,
        "reason": summary.reason,
        "refused": summary.refused,
        "operations": summary.intents,
        "denied": summary.denied,
        "held": summary.held,
    }


def record_view(record: AnyRecord) -> dict[str, Any]:
    """Show a record: its fields for people, and ``raw``, the very bytes, for programs."""
    view: dict[str, Any] = {"kind": record.__struct_config__.tag}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, bytes):
            hashed = name in ("digest", "input", "id")
            value = value.hex() if hashed else value.decode("utf-8", "backslashreplace")
        view[name] = _named(value)
    view["raw"] = base64.b64encode(encode(record)).decode()
    return view


def _named(value: Any) -> Any:
    """Show the arrays inside a record with the names of their fields."""
    if isinstance(value, list):
        return [_named(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return {name: _named(getattr(value, name)) for name in value.__struct_fields__}
    return value


def replay_view(lines: Iterable[ReplayLine]) -> list[dict[str, Any]]:
    """Show the lines of a replay."""
    return [{"at": line.at, "kind": line.kind, "text": line.text} for line in lines]


def agent_view(row: AgentRow | None, status: AgentStatus | None) -> dict[str, Any]:
    """Show an agent, enrolled or at least connected."""
    assert row is not None or status is not None
    return {
        "name": row.name if row is not None else status.name if status is not None else "",
        "enrolled": None if row is None else row.enrolled,
        "expires": None if row is None else row.expires,
        "serial": None if row is None else row.serial,
        "revoked": None if row is None else row.revoked,
        "connected": status is not None and status.connected,
        "idle": 0 if status is None else status.idle,
        "targets": [] if status is None else sorted(status.targets),
    }


def target_view(
    target: TargetSettings,
    agents: Mapping[str, AgentStatus],
    listen: str | None,
    found: Reachable,
) -> dict[str, Any]:
    """Show a target.

    Args:
        target: the one.
        agents: that are connected.
        listen: where the gateway takes callers of its protocol.
        found: as whom the caller may connect, and what must be granted first.

    """
    agent = agents.get(target.agent)
    return {
        "name": target.name,
        "protocol": target.protocol,
        "environment": target.environment,
        "listen": listen,
        "agent": target.agent,
        "connected": agent is not None and agent.connected,
        "accounts": sorted(found.accounts),
        "access": "open" if found.is_open else "on request",
        "offers": [] if found.is_open else sorted(found.offers),
    }


def plain(value: Any) -> Any:
    """Return attrs values as JSON."""
    return msgspec.to_builtins(asdict(value, value_serializer=_serialise))


def _serialise(_instance: Any, _attribute: Any, value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else value
