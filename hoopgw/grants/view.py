"""What a worker knows of the grants in force: told by control, ended by time, void when stale."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from attrs import define, field

from hoopgw.events import Principal
from hoopgw.grants.held import HeldGrant

_NEVER: Final = float("inf")
_KNOWN_LIMIT: Final = 10_000


@define(eq=False)
class GrantView:
    """All grants in force, by root. Most roots hold none, which costs one look.

    Args:
        now: seconds since the epoch; should not go back (`hoopgw.clock`).
        is_current: whether control was heard of lately: what it ended since is not known here, so
            otherwise no grant counts.

    """

    _now: Callable[[], float]
    _is_current: Callable[[], bool]
    _by_root: dict[str, dict[str, HeldGrant]] = field(factory=dict, init=False)
    _root_of: dict[str, str] = field(factory=dict, init=False)
    _next: float = field(default=_NEVER, init=False)
    """When the first of them ends."""
    _changes: int = field(default=0, init=False)
    _counts: bool = field(default=True, init=False)
    """Whether they counted when last looked at."""
    _epoch: str = field(default="", init=False)
    _known: dict[tuple[Principal, str], tuple[HeldGrant, ...]] = field(factory=dict, init=False)
    """What was found for a principal in a session, until something changes."""

    def __len__(self) -> int:
        return len(self._root_of)

    @property
    def next_end(self) -> float | None:
        """When the first grant ends; None if there is none."""
        return None if self._next == _NEVER else self._next

    @property
    def roots(self) -> frozenset[str]:
        """Whose chains hold grants."""
        return frozenset(self._by_root)

    @property
    def epoch(self) -> str:
        """Changes whenever what is held may have changed: by being told, by time, by silence."""
        if self._root_of:
            self._look()
        return self._epoch

    def held(self, principal: Principal, session: str = "") -> tuple[HeldGrant, ...]:
        """Return what a principal holds now in one of its sessions."""
        if not self._by_root:
            return ()
        found = self._by_root.get(principal.root.id)
        if found is None or not self._look():
            return ()
        key = (principal, session)
        held = self._known.get(key)
        if held is None:
            held = tuple(
                grant
                for grant in found.values()
                if grant.session in ("", session) and grant.covers(principal)
            )
            if len(self._known) >= _KNOWN_LIMIT:
                self._known.clear()
            self._known[key] = held
        return held

    def put(self, grant: HeldGrant) -> frozenset[str]:
        """Add a grant, or replace it as it stands now; return the roots that it concerns."""
        self._add(grant)
        self._changed()
        return frozenset({grant.root})

    def drop(self, grant: str) -> frozenset[str]:
        """End a grant; return the roots that it concerns."""
        root = self._forget(grant)
        self._changed()
        return frozenset() if root is None else frozenset({root})

    def replace(self, grants: Iterable[HeldGrant]) -> frozenset[str]:
        """Take these for all that there are; return the roots that held any, or do."""
        before = self.roots
        self._by_root.clear()
        self._root_of.clear()
        for grant in grants:
            self._add(grant)
        self._changed()
        return before | self.roots

    def advance(self) -> frozenset[str]:
        """Drop what time has ended; return the roots that it concerns."""
        now = self._now()
        if now < self._next:
            return frozenset()
        ended = [g for held in self._by_root.values() for g in held.values() if g.until <= now]
        for grant in ended:
            self._forget(grant.id)
        self._changed()
        return frozenset(grant.root for grant in ended)

    def _look(self) -> bool:
        """Say whether what is held counts now."""
        counts = self._is_current()
        if counts != self._counts:
            self._counts = counts
            self._changed()
        if self._now() >= self._next:
            self.advance()
        return counts

    def _add(self, grant: HeldGrant) -> None:
        self._forget(grant.id)
        if grant.until > self._now():
            self._by_root.setdefault(grant.root, {})[grant.id] = grant
            self._root_of[grant.id] = grant.root

    def _forget(self, grant: str) -> str | None:
        root = self._root_of.pop(grant, None)
        if root is not None:
            held = self._by_root[root]
            del held[grant]
            if not held:
                del self._by_root[root]
        return root

    def _changed(self) -> None:
        self._changes += 1
        self._known.clear()
        ends = (grant.until for held in self._by_root.values() for grant in held.values())
        self._next = min(ends, default=_NEVER)
        self._epoch = f"grants {self._changes}"
