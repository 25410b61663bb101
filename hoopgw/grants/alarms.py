"""What people must hear of at once."""

from __future__ import annotations

from typing import Protocol

from attrs import define, field, frozen
from twisted.logger import Logger

log = Logger()


@frozen(kw_only=True)
class GlassBroken:
    """Somebody took access in an emergency, without being asked."""

    grant: str
    name: str
    person: str
    """The person's id."""
    person_name: str
    target: str
    reason: str
    until: float
    """Seconds since the epoch."""
    reviewers: frozenset[str]
    """Groups that look at it afterwards."""


class Alarm(Protocol):
    """Where alarms go. What fails there must not keep others from hearing."""

    def __call__(self, event: GlassBroken, /) -> None:
        """Raise the alarm. Must neither wait nor raise."""
        ...


@define(eq=False)
class Alarms:
    """Raises every alarm in the operators' log, counts it, and hands it to channels."""

    channels: list[Alarm] = field(factory=list)
    raised: int = 0
    """Since the start, for ``/metrics``."""

    def __call__(self, event: GlassBroken) -> None:
        """Raise an alarm."""
        self.raised += 1
        log.critical(
            "{person} broke glass on {target} with {name}: grant {grant}",
            person=event.person,
            target=event.target,
            name=event.name,
            grant=event.grant,
            reason=event.reason,
            until=event.until,
        )
        for channel in self.channels:
            try:
                channel(event)
            except Exception:  # the next channel must hear of it all the same
                log.failure("an alarm did not reach a channel")
