"""A bounded map that forgets what was not used for longest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Keeps the entries that were used last, as many as weigh ``limit`` together."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError("a map of nothing")
        self._limit = limit
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._weight = 0
        self._heavy: dict[K, int] = {}
        """What weighs more than one."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return the entry, or None."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Add an entry; at the limit the stalest ones go. What alone is too heavy is not kept."""
        self.drop(key)
        if weight > self._limit:
            return
        self._entries[key] = value
        self._weight += weight
        if weight != 1:
            self._heavy[key] = weight
        while self._weight > self._limit:
            stalest, _ = self._entries.popitem(last=False)
            self._weight -= self._heavy.pop(stalest, 1)

    def drop(self, key: K) -> None:
        """Forget an entry, if it is there."""
        if self._entries.pop(key, None) is not None:
            self._weight -= self._heavy.pop(key, 1)
