"""How much of a list may be shown: items, and bytes. Pure.

The target's options ``max_items`` and ``max_bytes`` say it for all that is asked of a target, and
``@max_rows`` of the policy for one operation; the smaller number of items holds. What is more is
refused, or broken off where it has begun.

It holds for one answer, and in any ``window`` (an hour) for all answers to requests of one path.
So pages, filters and sizes that a caller makes up, and whatever else is in a query or body, make no
other list of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import define, evolve, field, frozen

from hoopgw.documents.limits import Limits
from hoopgw.documents.rules import Count, Rule
from hoopgw.errors import ConfigError, DocumentLimitError
from hoopgw.http.model import ITEMS
from hoopgw.sessions.purses import Listing
from hoopgw_azure import blob_masking

_DOCUMENTS: Final = "documents"
WINDOW: Final = 3600
"""Seconds, where a target says nothing."""
WINDOW_LIMIT: Final = 86_400
_QUERIED: Final = ("value[*]", "data[*]", "data.rows[*]", "properties.rows[*]", "tables[*].rows[*]")
"""Lists of Resource Manager, and rows of its queries: of resources, costs and logs."""
_LISTS: Final[Mapping[str, tuple[str, ...]]] = {
    "arm": (*_QUERIED, *(f"responses[*].content.{path}" for path in _QUERIED)),
    "keyvault": ("value[*]",),
    "storage": blob_masking.ITEMS,
    "rest": ("$[*]", "*[*]", "*.*[*]", "*.*.*[*]", "*.*.*.*[*]"),
}
"""Where an answer has a list, by kind of target: for the unknown ones of REST services, the answer
itself or what is in it, as ``_embedded.orders`` (HAL), ``hits.hits``, or ``data.orders.nodes``
(GraphQL). A list inside of a list belongs to the item that has it."""


@frozen(kw_only=True)
class Export:
    """What an answer may hold at most; None is no limit."""

    items: int | None = None
    size: int | None = None
    """Bytes of its body: without content encoding where it is read, else as it comes."""
    window: int = WINDOW
    """Seconds in which all answers about one list count; 0: each is by itself."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Export:
        """Read a target's options.

        Raises:
            ConfigError: they are not of the format.

        """
        window = options.get("window", WINDOW)
        if type(window) is not int or not 0 <= window <= WINDOW_LIMIT:
            raise ConfigError(f"options.window must be a number of seconds, 0 to {WINDOW_LIMIT}")
        items, size = _number(options, "max_items"), _number(options, "max_bytes")
        return cls(items=items, size=size, window=window)

    def narrowed(self, items: int | None) -> Export:
        """Return what holds where an operation has a limit of its own, too."""
        given = [each for each in (self.items, items) if each is not None]
        return evolve(self, items=min(given, default=None))

    def limits(self) -> Limits:
        """Return it for what reads documents."""
        usual = Limits()
        counts = {} if self.items is None else {ITEMS: self.items}
        total = usual.total if self.size is None else min(usual.total, self.size)
        return Limits(counts=counts, total=total)

    def listing(self, target: str, name: str) -> Listing | None:
        """Return what may be shown of a list by and by; None if that is not limited.

        Args:
            target: that has it.
            name: of the list, the same for all its pages.

        """
        if not self.window or (self.items is None and self.size is None):
            return None
        return Listing(
            target=target, name=name, rows=self.items, bytes=self.size, window=self.window
        )

    def check(self, length: int | None) -> None:
        """Refuse a body whose length is known.

        Raises:
            DocumentLimitError: it is too long.

        """
        if self.size is not None and length is not None and length > self.size:
            raise _too_long(self.size)


def counting(kind: str, *, lines: bool = False) -> Iterator[Rule]:
    """Yield the rules that count the items of an answer.

    Args:
        kind: of target.
        lines: whether it is lines of JSON, which are a list, too.

    """
    # Where nothing is a list, this one sees to it that the answer is read at all, or refused.
    yield Rule("$", Count(ITEMS if lines else _DOCUMENTS))
    for path in _LISTS[kind]:
        yield Rule(path, Count(ITEMS))


@define(eq=False)
class Bounded:
    """Passes so many bytes and no more. Implements `hoopgw.http.model.Transform`."""

    size: int
    masked: int = 0
    counts: Mapping[str, int] = field(factory=dict)
    _taken: int = field(default=0, init=False)
    _pieces: deque[bytes] = field(factory=deque, init=False, repr=False)

    def receive_data(self, data: bytes) -> None:
        """Take a piece."""
        self._pieces.append(data)

    def receive_end(self) -> None:
        """Take note of the end."""

    def next_piece(self) -> bytes | None:
        """Give the next piece. Raises `DocumentLimitError`: it is too much."""
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        self._taken += len(piece)
        if self._taken > self.size:
            raise _too_long(self.size)
        return piece


def _too_long(size: int) -> DocumentLimitError:
    return DocumentLimitError(f"the answer is beyond a limit: it is longer than {size} bytes")


def _number(options: Mapping[str, Any], name: str) -> int | None:
    value = options.get(name)
    if value is not None and (type(value) is not int or value < 1):
        raise ConfigError(f"options.{name} must be a number from 1")
    return value
