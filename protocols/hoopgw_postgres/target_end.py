"""What the transport to a session's target delivers to."""

from __future__ import annotations

from collections.abc import Callable

from twisted.python.failure import Failure


class TargetEnd:
    """The protocol of a target leg: passes on what comes.

    Args:
        received: called with what the target sent.
        lost: called when the connection is gone.

    """

    __slots__ = ("_lost", "dataReceived")

    def __init__(self, received: Callable[[memoryview], None], lost: Callable[[], None]) -> None:
        self.dataReceived = received
        self._lost = lost

    def connectionLost(self, reason: Failure) -> None:
        """Say so."""
        self._lost()
