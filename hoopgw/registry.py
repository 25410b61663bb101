"""Find the protocols and plug-ins that are installed, and load those that are named.

A package announces a value under an entry-point group; nothing registers itself on import, and
nothing is imported that the configuration does not name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from hoopgw.errors import PluginError
from hoopgw.spi import API, ProtocolSpec

PROTOCOLS: Final = "hoopgw.protocols"
SECRETS: Final = "hoopgw.secrets"


def names(group: str) -> frozenset[str]:
    """Name what is installed in an entry-point group, without loading any of it."""
    return frozenset(entry.name for entry in entry_points(group=group))


def load(
    wanted: Iterable[str], installed: Iterable[EntryPoint] | None = None
) -> Mapping[str, ProtocolSpec]:
    """Load the protocols that the configuration names, and no others.

    Raises:
        PluginError: one is not there, is there twice, or does not load. A gateway that lacks a
            configured protocol must not start.

    """
    known: dict[str, EntryPoint] = {}
    for entry in entry_points(group=PROTOCOLS) if installed is None else installed:
        first = known.setdefault(entry.name, entry)
        if first.value != entry.value:
            raise PluginError(f"protocol {entry.name!r} is both {first.value} and {entry.value}")
    return {name: _load_one(name, known) for name in wanted}


def _load_one(name: str, known: Mapping[str, EntryPoint]) -> ProtocolSpec:
    if name not in known:
        there = ", ".join(sorted(known)) or "none"
        raise PluginError(f"protocol {name!r} is not installed; these are: {there}")
    where = f"protocol {name!r} ({known[name].value})"
    try:
        spec = known[name].load()
    except Exception as error:
        raise PluginError(f"{where} does not load: {error}") from error
    if not isinstance(spec, ProtocolSpec):
        raise PluginError(f"{where} is no ProtocolSpec")
    if spec.api != API:
        raise PluginError(f"{where} is made for API {spec.api}, and this is API {API}")
    if spec.name != name:
        raise PluginError(f"{where} calls itself {spec.name!r}")
    return spec
