"""Local doors: how the clients of a protocol, unchanged, get in with a child's identity.

A protocol announces its door under the entry-point group ``hoopgw.doors``, apart from its
`hoopgw.spi.ProtocolSpec`: who delegates needs neither legs nor policy. PostgreSQL's is a socket in
the folder, SSH's an agent's socket with certificates; Kubernetes' can be a kubeconfig, Azure's a
loopback identity endpoint.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, Protocol

from attrs import frozen

from hoopgw.client.signers import Signer
from hoopgw.client.values import ANY, Target
from hoopgw.errors import PluginError
from hoopgw.events import Cap

GROUP: Final = "hoopgw.doors"


@frozen(kw_only=True)
class Place:
    """Where a door is opened, and for whom."""

    folder: Path
    """Private; what the door makes goes there."""
    uid: int
    """The user whose processes come; files must be readable, and sockets usable, for it."""
    signer: Signer
    """Speaks for the child. Its calls block: not on the loop."""
    targets: Sequence[Target]
    """Those of the door's protocol that the child may reach."""
    accounts: Mapping[str, str]
    """Target to the account that is used when a client names none."""
    admit: Callable[[socket.socket], None]
    """Raises `Refused` for a connection that does not come from the child."""
    file_mode: int
    """For files: 0600, or 0644 where another user must read them."""


class Door(Protocol):
    """One protocol's way in, for one child."""

    async def open(self, place: Place) -> Mapping[str, str]:
        """Begin to serve, and return environment variables for the child."""
        ...

    async def close(self) -> None:
        """Stop; live connections end."""
        ...


@frozen(kw_only=True)
class DoorSpec:
    """One protocol's door, as announced."""

    protocol: str
    needs: frozenset[str]
    """Actions that every client of the protocol needs around its work; they are added to caps that
    name other actions of the protocol."""
    make: Callable[[], Door]


def installed_doors() -> Mapping[str, DoorSpec]:
    """Load all doors, by protocol.

    Raises:
        PluginError: one does not load.

    """
    found: dict[str, DoorSpec] = {}
    for entry in entry_points(group=GROUP):
        try:
            spec = entry.load()
        except Exception as error:
            raise PluginError(f"the door {entry.name!r} does not load: {error}") from error
        if not isinstance(spec, DoorSpec) or spec.protocol in found:
            raise PluginError(f"{entry.value} is no door, or {entry.name!r} is there twice")
        found[spec.protocol] = spec
    return found


def with_needs(caps: Sequence[Cap] | None, doors: Mapping[str, DoorSpec]) -> tuple[Cap, ...] | None:
    """Add to caps what a protocol's clients do around their work, where they name its actions."""
    if caps is None:
        return None
    return tuple(
        Cap(target=cap.target, actions=cap.actions | _needed(cap.actions, doors)) for cap in caps
    )


def _needed(actions: Collection[str], doors: Mapping[str, DoorSpec]) -> frozenset[str]:
    if ANY in actions:
        return frozenset()
    spaces = {action.partition("::")[0] for action in actions}
    needs = frozenset[str]().union(*(spec.needs for spec in doors.values()))
    return frozenset(need for need in needs if need.partition("::")[0] in spaces)
