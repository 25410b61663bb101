"""What comes on a channel while somebody holds it. No I/O, no clock.

Data is bounded by the channel's window, which is not given back meanwhile; pieces are put together,
and those that cannot be are counted, as a client that asks much in small messages would else need
more room than it may have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import define, field

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh.wire import Bytes

ASKING_LIMIT: Final = 512 * 1024
"""Bytes of requests that wait on one channel, or of all that waits behind a hold besides data: no
window bounds them."""
_TOGETHER: Final = 32_768
"""Bytes of data up to which pieces are put together."""
_COST: Final = 128
"""Bytes that anything that waits takes at least."""


@define(eq=False)
class _Data:
    """Data that came."""

    data: bytearray
    code: int | None


@define(eq=False)
class Behind:
    """Keeps what comes behind a hold, in order."""

    _take: Callable[[Bytes, int | None], None] = field(repr=False)
    """Takes data; ``code`` is of extended data."""
    _holds: int = field(default=0, init=False)
    _events: deque[tuple[int, Callable[[], None]]] = field(factory=deque, init=False, repr=False)
    """With their bytes besides data."""
    _size: int = field(default=0, init=False)
    """Those bytes together."""
    _last: _Data | None = field(default=None, init=False, repr=False)
    """The last event, if it is data."""
    _releasing: bool = field(default=False, init=False)

    @property
    def is_empty(self) -> bool:
        """Whether what comes is handed on at once."""
        return not self._holds and not self._events

    def hold(self) -> None:
        """Keep all that comes from now on, until `release` is said as often as this."""
        self._holds += 1

    def release(self) -> None:
        """Hand on what was kept, and what comes from now on, if nobody else holds it."""
        self._holds -= 1
        if self._releasing:
            return  # what was handed on held the channel, and let it go again
        self._releasing = True
        try:
            while self._events and not self._holds:
                size, event = self._events.popleft()
                self._size -= size
                event()
        finally:
            self._releasing = False

    def event(self, event: Callable[[], None], size: int = _COST) -> None:
        """Hand an event on, or keep it; ``size`` is in bytes, besides what a window counts.

        Raises:
            ProtocolViolationError: too much waits.

        """
        if not self._holds and not self._events:
            event()
            return
        if self._size > ASKING_LIMIT:
            raise ProtocolViolationError("too much waits behind a held request")
        self._events.append((size, event))
        self._size += size
        self._last = None

    def data(self, data: Bytes, code: int | None) -> None:
        """Hand data on, or keep it.

        Raises:
            ProtocolViolationError: too much waits.

        """
        if not self._holds and not self._events:
            self._take(data, code)
            return
        last = self._last
        if last is not None and last.code == code and len(last.data) + len(data) <= _TOGETHER:
            last.data += data
            return
        kept = _Data(bytearray(data), code)
        self.event(lambda: self._hand_on(kept))
        self._last = kept

    def clear(self) -> None:
        """Drop it: nobody takes it any more."""
        self._events.clear()
        self._last, self._size = None, 0

    def _hand_on(self, kept: _Data) -> None:
        if kept is self._last:
            self._last = None
        self._take(bytes(kept.data), kept.code)
