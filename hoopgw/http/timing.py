"""How long a connection is waited for, and what counts it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen
from attrs.validators import gt
from twisted.internet.interfaces import IDelayedCall, IReactorTime


@frozen(kw_only=True)
class Timeouts:
    """How long one connection lets us wait, in seconds."""

    idle: float = field(default=120.0, validator=gt(0))
    """Without a request."""
    head: float = field(default=20.0, validator=gt(0))
    """From the first byte of a head to its last."""
    stall: float = field(default=30.0, validator=gt(0))
    """In which a request's body must bring `pace` bytes, and a full queue get shorter."""
    pace: int = field(default=4_096, validator=gt(0))
    """Bytes."""
    answer: float = field(default=240.0, validator=gt(0))
    """From the last byte of a request to the head of the target's answer."""
    quiet: float = field(default=300.0, validator=gt(0))
    """Without a byte of an answer's body; who knows that one may be quiet for longer says so."""


@define(eq=False)
class Deadline:
    """One moment by which something must have happened; moving it costs nothing."""

    _clock: IReactorTime
    _expired: Callable[[], None]
    _at: float | None = None
    _call: IDelayedCall | None = None

    def set(self, seconds: float) -> None:
        """Expire after so many seconds, instead of when it was to expire."""
        self._at = at = self._clock.seconds() + seconds
        if self._call is None:
            self._call = self._clock.callLater(seconds, self._fire)
        elif self._call.getTime() > at:
            self._call.reset(seconds)

    def clear(self) -> None:
        """Do not expire."""
        self._at = None

    def stop(self) -> None:
        """Never expire again."""
        self._at = None
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _fire(self) -> None:
        self._call = None
        if self._at is None:
            return
        left = self._at - self._clock.seconds()
        if left > 0:
            self._call = self._clock.callLater(left, self._fire)
        else:
            self._at = None
            self._expired()


@define(eq=False)
class Pace:
    """Counts how long a body was waited for, and ends the wait for one that comes too slowly.

    A body may be waited for `Timeouts.stall` seconds, and as long again for each `Timeouts.pace`
    bytes of it. Time in which nobody wanted it is not counted.
    """

    _clock: IReactorTime
    _deadline: Deadline
    _timeouts: Timeouts
    _waited: float = 0.0
    _since: float | None = None

    def start(self, size: int) -> None:
        """Wait for a body of which ``size`` bytes have come."""
        if self._since is None:
            self._since = self._clock.seconds()
            self._deadline.set(max(0.0, self._allowed(size) - self._waited))

    def stop(self) -> None:
        """Wait no more, for now."""
        if self._since is not None:
            self._waited += self._clock.seconds() - self._since
            self._since = None
            self._deadline.clear()

    def is_over(self, size: int) -> bool:
        """Say, at the deadline, whether it came too slowly; else wait on."""
        if self._since is None:
            return False
        left = self._allowed(size) - self._waited - (self._clock.seconds() - self._since)
        if left <= 0:
            return True
        self._deadline.set(left)
        return False

    def _allowed(self, size: int) -> float:
        return self._timeouts.stall * (1 + size // self._timeouts.pace)
