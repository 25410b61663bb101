"""What a broker and its clients say to each other: a line of JSON each way. Pure.

A request is ``{"op": ..., ...}``, an answer ``{"ok": {...}}`` or a refusal as `Refused.as_dict`.
Whatever the bytes, the only exception is `Refused`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from hoopgw.client.errors import BAD_REQUEST, Refused
from hoopgw.client.signers import ChildTerms, Standing
from hoopgw.wire_values import budget_from_dict, budget_to_dict, cap_from_dict, cap_to_dict

VERSION: Final = 1
LINE_LIMIT: Final = 64 * 1024
"""Bytes of a request or an answer."""
_KINDS: Final = ("agent", "workload")


def encode(values: Mapping[str, Any]) -> bytes:
    """Return a line."""
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Read a line."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Refused(BAD_REQUEST, "not a line of JSON") from error
    if not isinstance(values, dict):
        raise Refused(BAD_REQUEST, "not a JSON object")
    return values


def answer_of(line: bytes) -> dict[str, Any]:
    """Return what a broker answered; raises the `Refused` that it sent."""
    values = decode(line)
    given = values.get("ok")
    if isinstance(given, dict):
        return given
    raise Refused.from_dict(values)


def standing_to_dict(standing: Standing) -> dict[str, Any]:
    """Return plain values."""
    return {
        "path": standing.path,
        "node": standing.node,
        "expires": standing.expires,
        "gateway": standing.gateway,
        "ca": standing.ca,
        "caps": None if standing.caps is None else [cap_to_dict(cap) for cap in standing.caps],
        "nest": standing.nest,
        "isolated": standing.isolated,
    }


def standing_from_dict(values: Mapping[str, Any]) -> Standing:
    """Return what `standing_to_dict` was given."""
    try:
        caps = values["caps"]
        return Standing(
            path=str(values["path"]),
            node=str(values["node"]),
            expires=float(values["expires"]),
            gateway=str(values["gateway"]),
            ca=None if values["ca"] is None else str(values["ca"]),
            caps=None if caps is None else tuple(cap_from_dict(cap) for cap in caps),
            nest=int(values["nest"]),
            isolated=values["isolated"] is True,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused(BAD_REQUEST, f"not a standing: {error}") from error


def terms_to_dict(terms: ChildTerms) -> dict[str, Any]:
    """Return plain values."""
    return {
        "name": terms.name,
        "expires": terms.expires,
        "caps": None if terms.caps is None else [cap_to_dict(cap) for cap in terms.caps],
        "nest": terms.nest,
        "budget": None if terms.budget is None else budget_to_dict(terms.budget),
        "purpose": terms.purpose,
        "isolated": terms.isolated,
        "kind": terms.kind,
    }


def terms_from_dict(values: Any) -> ChildTerms:
    """Return what `terms_to_dict` was given; each kind of value is checked."""
    try:
        caps, nest, budget = values["caps"], values["nest"], values["budget"]
        expires = values["expires"]
        if type(expires) not in (int, float) or not 0 <= expires < 1e11:
            raise ValueError("expires is no moment")
        if nest is not None and type(nest) is not int:
            raise ValueError("nest is no number")
        if values["kind"] not in _KINDS or not isinstance(values["name"], str):
            raise ValueError("no such kind or name")
        return ChildTerms(
            name=values["name"],
            expires=float(expires),
            caps=None if caps is None else tuple(cap_from_dict(cap) for cap in caps),
            nest=nest,
            budget=None if budget is None else budget_from_dict(budget),
            purpose=str(values["purpose"]),
            isolated=values["isolated"] is True,
            kind=values["kind"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused(BAD_REQUEST, f"no terms for a child: {error}") from error
