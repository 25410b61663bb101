"""Bytes that came, and are read in slices."""

from __future__ import annotations

from collections import deque

from attrs import define, field

from hoopgw.documents.limits import SLICE
from hoopgw.errors import DocumentError, DocumentLimitError


@define(eq=False)
class Arrivals:
    """Holds what came until it is taken."""

    total: int
    """Bytes that may be taken in all."""
    taken: int = field(default=0, init=False)
    is_ended: bool = field(default=False, init=False)
    """Whether nothing follows what is held."""
    _pieces: deque[bytes] = field(factory=deque, init=False, repr=False)

    def __bool__(self) -> bool:
        """Say whether there is something to take."""
        return bool(self._pieces)

    def put(self, data: bytes) -> None:
        """Hold what came."""
        if data:
            self._pieces.append(data)

    def end(self) -> None:
        """Note that nothing follows."""
        self.is_ended = True

    def take(self, size: int = SLICE) -> bytes:
        """Take a slice; nothing if nothing is there.

        Raises:
            DocumentLimitError: it was too much.

        """
        if not self._pieces:
            return b""
        data = self._pieces.popleft()
        if len(data) > size:
            self._pieces.appendleft(data[size:])
            data = data[:size]
        self.taken += len(data)
        if self.taken > self.total:
            raise beyond(f"it is longer than {self.total} bytes")
        return data

    def give_back(self, rest: bytes) -> None:
        """Put the end of what was taken back."""
        if rest:
            self.taken -= len(rest)
            self._pieces.appendleft(rest)

    def clear(self) -> None:
        """Forget what is held."""
        self._pieces.clear()


def fault(what: str, at: int | None = None) -> DocumentError:
    """Return the error that says what is wrong, and at which byte."""
    place = "" if at is None else f", at byte {at}"
    return DocumentError(f"the answer cannot be masked: {what}{place}")


def beyond(what: str) -> DocumentLimitError:
    """Return the error that says of what there is too much."""
    return DocumentLimitError(f"the answer is beyond a limit: {what}")
