"""Wait, in the reactor, for what gives no sign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.task import deferLater

from hoopgw.transport import DataTransport
from tests.support.processes import PATIENCE

_POLL: Final = 0.005


def is_quiet(reactor: Any) -> bool:
    """Say whether no transport of ours is open, and no deadline runs for one."""
    watched = [*reactor.getReaders(), *reactor.getWriters()]
    timed = [getattr(call.func, "__qualname__", "") for call in reactor.getDelayedCalls()]
    return not any(isinstance(each, DataTransport) for each in watched) and not any(
        name.startswith(("DataTransport.", "Deferred.addTimeout.")) for name in timed
    )


async def eventually(
    reactor: Any, condition: Callable[[], object], seconds: float = PATIENCE
) -> None:
    """Look often whether something is so, and fail when it is not in time."""
    until = reactor.seconds() + seconds
    while not condition():
        if reactor.seconds() > until:
            raise AssertionError(f"it was not so in {seconds:.0f} s")
        await deferLater(reactor, _POLL)
