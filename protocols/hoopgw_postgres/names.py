"""What names mean at the target: prepared statements, or portals.

The client's messages are judged long before the target has answered them, so what a name will mean
is not always certain. Inside one segment (up to Sync) the last word is believed: if it fails, the
target skips the rest of the segment. What was said in an earlier segment that is not answered yet,
or by SQL, is doubtful: whoever needs such a name waits until the target has answered all.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from attrs import define, field

T = TypeVar("T")


@define(eq=False)
class Names(Generic[T]):
    """One namespace of a session."""

    known: dict[bytes, T] = field(factory=dict)
    """What the target has confirmed."""
    _fresh: dict[bytes, T | None] = field(factory=dict)
    """What was said since the last Sync; None: it was closed."""
    _doubtful: set[bytes] = field(factory=set)
    _all_doubtful: bool = False

    def __len__(self) -> int:
        return len(self.known) + len(self._fresh)

    def say(self, name: bytes, value: T | None) -> None:
        """Note what a forwarded message makes of a name, if it succeeds."""
        self._fresh[name] = value

    def is_certain(self, name: bytes) -> bool:
        """Whether `find` can be believed."""
        return name in self._fresh or not (self._all_doubtful or name in self._doubtful)

    def find(self, name: bytes) -> T | None:
        """Return what a name means; None if nothing."""
        if name in self._fresh:
            return self._fresh[name]
        return self.known.get(name)

    def doubt(self, name: bytes) -> None:
        """Note that SQL may change a name."""
        self._fresh.pop(name, None)
        self._doubtful.add(name)

    def doubt_all(self) -> None:
        """Note that SQL may change every name."""
        self._fresh.clear()
        self._all_doubtful = True

    def end_segment(self) -> None:
        """Note that a Sync, or a simple query, was forwarded."""
        if self._fresh:
            self._doubtful.update(self._fresh)
            self._fresh.clear()

    def settle(self) -> None:
        """Note that the target has answered everything."""
        if self._doubtful:
            self._doubtful.clear()
        self._all_doubtful = False
