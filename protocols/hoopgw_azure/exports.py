"""How much one answer may show: items of a list, and bytes. Pure.

The target's options ``max_items`` and ``max_bytes`` say it for all that is asked of a target, and
``@max_rows`` of the policy for one operation; the smaller number of items holds. What is more is
refused, or broken off where it has begun. A page of a list is an answer of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import define, field, frozen

from hoopgw.documents.limits import Limits
from hoopgw.documents.rules import Count, Rule
from hoopgw.errors import ConfigError, DocumentLimitError

ITEMS: Final = "items"
_DOCUMENTS: Final = "documents"
_LISTS: Final[Mapping[str, tuple[str, ...]]] = {
    "arm": ("value[*]", "data[*]", "data.rows[*]", "responses[*].content.value[*]"),
    "keyvault": ("value[*]",),
    "storage": (),
    "rest": ("$[*]", "*[*]"),
}
"""Where an answer has a list, by kind of target: for the unknown ones of REST services, the answer
itself or any of its members."""


@frozen(kw_only=True)
class Export:
    """What an answer may hold at most; None is no limit."""

    items: int | None = None
    size: int | None = None
    """Bytes of its body: without content encoding where it is read, else as it comes."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Export:
        """Read a target's options.

        Raises:
            ConfigError: they are not of the format.

        """
        return cls(items=_number(options, "max_items"), size=_number(options, "max_bytes"))

    def narrowed(self, items: int | None) -> Export:
        """Return what holds where an operation has a limit of its own, too."""
        given = [each for each in (self.items, items) if each is not None]
        return Export(items=min(given, default=None), size=self.size)

    def limits(self) -> Limits:
        """Return it for what reads documents."""
        usual = Limits()
        # Lines of JSON are a list, too; other answers are one document.
        items = self.items
        counts = {} if items is None else {ITEMS: items, _DOCUMENTS: max(items, 1)}
        total = usual.total if self.size is None else min(usual.total, self.size)
        return Limits(counts=counts, total=total)

    def check(self, length: int | None) -> None:
        """Refuse a body whose length is known.

        Raises:
            DocumentLimitError: it is too long.

        """
        if self.size is not None and length is not None and length > self.size:
            raise _too_long(self.size)


def counting(kind: str) -> Iterator[Rule]:
    """Yield the rules that count the items of an answer, for a kind of target."""
    yield Rule("$", Count(_DOCUMENTS))
    for path in _LISTS[kind]:
        yield Rule(path, Count(ITEMS))


@define(eq=False)
class Bounded:
    """Passes so many bytes and no more. Implements `hoopgw.http.model.Transform`."""

    size: int
    masked: int = 0
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
