"""Operations that were refused lately, so that one of them can be asked for by its digest.

Whoever approves one call must read what will run, and not what the requester says that it is. So
the bytes come from the worker that refused them, and are kept here for a while, in memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, TypeAlias

from attrs import define, field, frozen

from hoopgw.events import Principal
from hoopgw.identity.shares import generation_of, shares

KEPT_FOR: Final = 900.0
"""Seconds."""
KEPT_EACH: Final = 20
"""Of one chain."""
KEPT_ROOT: Final = 100
KEPT_ALL: Final = 2_000
TEXT_LIMIT: Final = 64 * 1024
"""Bytes of an operation that can be asked for."""


_Asker: TypeAlias = tuple[str, ...]


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
    """Keeps the last ones of each chain."""

    _kept: OrderedDict[tuple[_Asker, bytes], RefusedCall] = field(factory=OrderedDict, init=False)

    def __len__(self) -> int:
        return len(self._kept)

    def note(self, call: RefusedCall) -> None:
        """Keep one; too many push out the oldest, first of the same chain, then of its root."""
        if len(call.text) > TEXT_LIMIT:
            return
        asker = _asker(call.principal)
        self._kept.pop((asker, call.digest), None)
        self._make_room([key for key in self._kept if key[0] == asker], KEPT_EACH)
        # What is of this generation, or below it, gives way: not what those above were refused.
        for generation, limit in reversed(list(enumerate(shares(KEPT_ROOT, _generation(call))))):
            mine = [
                key
                for key, each in self._kept.items()
                if key[0][0] == asker[0] and _generation(each) >= generation
            ]
            self._make_room(mine, limit)
        self._kept[asker, call.digest] = call
        if len(self._kept) > KEPT_ALL:
            self._kept.popitem(last=False)

    def find(
        self, principal: Principal, target: str, digest: bytes, now: float
    ) -> RefusedCall | None:
        """Return what this very chain was refused on a target, if it is not long ago."""
        found = self._kept.get((_asker(principal), digest))
        if found is None or found.target != target or now - found.at > KEPT_FOR:
            return None
        return found

    def _make_room(self, mine: Sequence[tuple[_Asker, bytes]], limit: int) -> None:
        if len(mine) >= limit:
            del self._kept[mine[0]]


def _asker(principal: Principal) -> _Asker:
    """Return what two principals have in common that are one: the root's id first."""
    hops = [hop.id for hop in principal.chain]
    return (*hops, principal.login, *(node.id for node in principal.nodes))


def _generation(call: RefusedCall) -> int:
    return generation_of(call.principal)
