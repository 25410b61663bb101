"""Principals as plain MessagePack values, for calls between our processes and for tickets."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from hoopgw.events import Hop, HopKind, Principal

_KINDS = typing.get_args(HopKind)


def principal_to_dict(principal: Principal) -> dict[str, Any]:
    """Return a dict of plain values, for `principal_from_dict`."""
    return {
        "chain": [
            {"id": hop.id, "name": hop.name, "kind": hop.kind, "groups": sorted(hop.groups)}
            for hop in principal.chain
        ],
        "session": principal.session,
        "expires": principal.expires,
    }


def principal_from_dict(values: Mapping[str, Any]) -> Principal:
    """Return the principal that `principal_to_dict` was given.

    Raises:
        ValueError: a value is missing or of the wrong kind.

    """
    try:
        hops = [_hop(hop) for hop in values["chain"]]
        return Principal(
            chain=tuple(hops), session=str(values["session"]), expires=float(values["expires"])
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a principal: {error}") from error


def _hop(values: Mapping[str, Any]) -> Hop:
    kind = values["kind"]
    if kind not in _KINDS:
        raise ValueError(f"not a kind of principal: {kind!r}")
    return Hop(
        id=str(values["id"]),
        name=str(values["name"]),
        kind=kind,
        groups=frozenset(map(str, values["groups"])),
    )
