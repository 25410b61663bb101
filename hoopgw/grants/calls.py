"""Operations that were refused lately, so that one of them can be asked for by its digest.

Whoever approves one call must read what will run, and not what the requester says that it is. So
the bytes come from the worker that refused them, and are kept here for a while, in memory.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from attrs import define, field, frozen

from hoopgw.events import Principal

KEPT_FOR: Final = 900.0
"""Seconds."""
KEPT_ROOT: Final = 20
KEPT_ALL: Final = 2_000
TEXT_LIMIT: Final = 64 * 1024
"""Bytes of an operation that can be asked for."""


@frozen(kw_only=True)
class RefusedCall:
    """One operation that was refused."""

    principal: Principal
    target: str
    action: str
    digest: bytes
    text: bytes = field(repr=False)
    at: float


@define(eq=False)
class RefusedCalls:
    """Keeps the last ones of each root."""

    _kept: OrderedDict[tuple[str, bytes], RefusedCall] = field(factory=OrderedDict, init=False)

    def note(self, call: RefusedCall) -> None:
        """Keep one; too many push out the oldest, first of the same root."""
        if len(call.text) > TEXT_LIMIT:
            return
        root = call.principal.root.id
        self._kept.pop((root, call.digest), None)
        mine = [key for key in self._kept if key[0] == root]
        if len(mine) >= KEPT_ROOT:
            del self._kept[mine[0]]
        self._kept[root, call.digest] = call
        if len(self._kept) > KEPT_ALL:
            self._kept.popitem(last=False)

    def find(
        self, principal: Principal, target: str, digest: bytes, now: float
    ) -> RefusedCall | None:
        """Return what this very chain was refused on a target, if it is not long ago."""
        found = self._kept.get((principal.root.id, digest))
        if found is None or found.target != target or now - found.at > KEPT_FOR:
            return None
        same = [hop.id for hop in found.principal.chain] == [
            hop.id for hop in principal.chain
        ] and found.principal.nodes == principal.nodes
        return found if same else None
