"""The values of the store as columns: JSON texts that are the same for the same value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hoopgw.errors import UnavailableError
from hoopgw.events import ContextValue, Principal
from hoopgw.policy.decision import Remedy
from hoopgw.wire_values import principal_from_dict, principal_to_dict


def compact(value: Any) -> str:
    """Return canonical JSON: sorted names, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def principal_text(principal: Principal) -> str:
    """Return a principal as text, for `read_principal`."""
    return compact(principal_to_dict(principal))


def read_principal(text: str) -> Principal:
    """Return the principal that `principal_text` was given."""
    try:
        return principal_from_dict(json.loads(text))
    except ValueError as error:
        raise UnavailableError("the store holds a principal that cannot be read") from error


def remedies_to_list(remedies: Iterable[Remedy]) -> list[dict[str, Any]]:
    """Return remedies as plain values, for `remedies_from_list`."""
    return [
        {
            "rule": remedy.rule,
            "groups": sorted(remedy.groups),
            "needed": remedy.needed,
            "patience": remedy.patience,
            "prompt": remedy.prompt,
        }
        for remedy in remedies
    ]


def remedies_from_list(values: Iterable[Mapping[str, Any]]) -> tuple[Remedy, ...]:
    """Return the remedies that `remedies_to_list` was given.

    Raises:
        ValueError: a value is missing or of the wrong kind.

    """
    try:
        return tuple(
            Remedy(
                rule=str(value["rule"]),
                groups=frozenset(map(str, value["groups"])),
                needed=int(value["needed"]),
                patience=float(value["patience"]),
                prompt=None if value["prompt"] is None else str(value["prompt"]),
            )
            for value in values
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a remedy: {error}") from error


def remedies_text(remedies: Iterable[Remedy]) -> str:
    """Return remedies as text, for `read_remedies`."""
    return compact(remedies_to_list(remedies))


def read_remedies(text: str) -> tuple[Remedy, ...]:
    """Return the remedies that `remedies_text` was given."""
    try:
        return remedies_from_list(json.loads(text))
    except ValueError as error:
        raise UnavailableError("the store holds remedies that cannot be read") from error


def context_from_dict(values: Mapping[str, Any]) -> dict[str, ContextValue]:
    """Return attributes for policy as they were before they crossed a process or the store.

    Raises:
        ValueError: a value is of a kind that policy does not have.

    """
    return {str(name): _context_value(value) for name, value in values.items()}


def _context_value(value: Any) -> ContextValue:
    if isinstance(value, str | bool | int):
        return value
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ValueError(f"policy has no values of this kind: {type(value).__name__}")


def read_context(text: str) -> dict[str, ContextValue]:
    """Return the context that `compact` was given."""
    try:
        return context_from_dict(json.loads(text))
    except (ValueError, AttributeError) as error:
        raise UnavailableError("the store holds a context that cannot be read") from error
