"""A grant in force, as workers and policy know it: a value."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from attrs import field, frozen
from attrs.validators import min_len

from hoopgw.events import HopKind, Principal

Scope: TypeAlias = Literal["window", "session", "call"]
SCOPES: Final[tuple[Scope, ...]] = typing.get_args(Scope)
"""Until its end; in one session of the gateway; for one operation, once."""

_KINDS: Final = typing.get_args(HopKind)


@frozen(kw_only=True, cache_hash=True)
class HeldGrant:
    """What was granted to whom. Verdicts are kept by these, so their hash is kept."""

    id: str
    template: str
    """The ``@id`` of the policy that it links."""
    terms: str
    """Digest of that policy's text: the grant is of what was approved, not of what it became."""
    target: str
    chain: tuple[tuple[HopKind, str], ...] = field(validator=min_len(1))
    """Kind and id of each hop, root first."""
    nodes: tuple[str, ...] = ()
    """Of the delegations below the root. A person's grant has none: it is good for every log-in."""
    login: str = ""
    """That a grant to a workload, or to what it started, is of (`Principal.login`): its next run is
    another one."""
    scope: Scope = "window"
    session: str = ""
    """The gateway session that a grant for one session was claimed by."""
    digest: bytes = field(default=b"", repr=bytes.hex)
    """What a grant for one call is for."""
    breakglass: bool = False
    until: float
    """Seconds since the epoch."""

    @property
    def root(self) -> str:
        """The root's id."""
        return self.chain[0][1]

    @property
    def is_ready(self) -> bool:
        """Whether it allows by itself; else it has to be used up, or claimed, before."""
        return self.scope == "window" or (self.scope == "session" and self.session != "")

    def covers(self, principal: Principal) -> bool:
        """Whether it is of this chain, or of one that this chain descends from.

        What breaks glass is for the person alone.
        """
        size = len(self.chain)
        if self.breakglass and len(principal.chain) > 1:
            return False
        return (
            principal.login == self.login
            and tuple((hop.kind, hop.id) for hop in principal.chain[:size]) == self.chain
            and tuple(node.id for node in principal.nodes[: size - 1]) == self.nodes
        )


def held_to_dict(grant: HeldGrant) -> dict[str, Any]:
    """Return a dict of plain values, for `held_from_dict`."""
    return {
        "id": grant.id,
        "template": grant.template,
        "terms": grant.terms,
        "target": grant.target,
        "chain": [list(hop) for hop in grant.chain],
        "nodes": list(grant.nodes),
        "login": grant.login,
        "scope": grant.scope,
        "session": grant.session,
        "digest": grant.digest,
        "breakglass": grant.breakglass,
        "until": grant.until,
    }


def held_from_dict(values: Mapping[str, Any]) -> HeldGrant:
    """Return the grant that `held_to_dict` was given.

    Raises:
        ValueError: a value is missing or of the wrong kind.

    """
    try:
        chain = tuple((kind, str(name)) for kind, name in values["chain"])
        if values["scope"] not in SCOPES or any(kind not in _KINDS for kind, _ in chain):
            raise ValueError("not a grant: an unknown scope or kind of hop")
        return HeldGrant(
            id=str(values["id"]),
            template=str(values["template"]),
            terms=str(values["terms"]),
            target=str(values["target"]),
            chain=chain,
            nodes=tuple(map(str, values["nodes"])),
            # Recordings have none: whoever wrote them had looked at it.
            login=str(values.get("login", "")),
            scope=values["scope"],
            session=str(values["session"]),
            digest=bytes(values["digest"]),
            breakglass=values["breakglass"] is True,
            until=float(values["until"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a grant: {error}") from error
