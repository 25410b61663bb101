"""Stop and go on reading one leg, for reasons that are counted.

Two parties may want a leg to stop: the other leg's send buffer is full, or an operation is under
review. A plain ``resumeProducing`` from one would undo the other's pause, and bytes would run past
the review.
"""

from __future__ import annotations

import enum
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


class Hold(enum.Enum):
    """Why a leg is not read."""

    NOT_READY = enum.auto()
    PEER_FULL = enum.auto()
    UNDECIDED = enum.auto()
    PIPELINE = enum.auto()
    UNPAID = enum.auto()


class Pausable(Protocol):
    """The part of a transport that a gate uses."""

    def pauseProducing(self) -> None:
        """Deliver nothing."""

    def resumeProducing(self) -> None:
        """Deliver again."""


@implementer(IPushProducer)
@define(eq=False)
class ReadGate:
    """Lets a leg be read while nobody holds it. Given to the other leg as its producer."""

    _transport: Pausable
    _holds: set[Hold] = field(factory=set, init=False)

    @property
    def is_open(self) -> bool:
        """Whether the leg is read."""
        return not self._holds

    def hold(self, why: Hold) -> None:
        """Stop reading until ``why`` is released."""
        if not self._holds:
            self._transport.pauseProducing()
        self._holds.add(why)

    def release(self, why: Hold) -> None:
        """Drop one reason; with the last one gone, read on."""
        if why in self._holds:
            self._holds.discard(why)
            if not self._holds:
                self._transport.resumeProducing()

    def pauseProducing(self) -> None:
        """Hold: the other leg's send buffer is full."""
        self.hold(Hold.PEER_FULL)

    def resumeProducing(self) -> None:
        """Release: the other leg's send buffer has drained."""
        self.release(Hold.PEER_FULL)

    def stopProducing(self) -> None:
        """Do nothing: the other leg is gone, and the session ends this one with a good word."""
