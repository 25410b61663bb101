"""The sessions that an agent has open, and those that ended a moment ago.

A gateway that ends a session closes its data connection and asks to cancel what the target is
doing, on two sockets: the second may be read after the first. So a session can still be cancelled
for `LATE` seconds after its end; otherwise a cut statement would run on in the target.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from hoopgw.link.tickets import Ticket

LATE: Final = 5.0
"""Seconds after its end for which a session can be cancelled."""
LATE_LIMIT: Final = 4_096
"""Sessions that are remembered so; the oldest are forgotten first."""


class Session(Protocol):
    """See `hoopgw.link.serving.AgentSession`."""

    @property
    def ticket(self) -> Ticket:
        """What it was opened with."""
        ...

    def cut(self, reason: str) -> None:
        """End it now."""
        ...

    def cancel(self) -> None:
        """Ask the target to stop what it is doing."""
        ...

    def last_until(self, end: float) -> None:
        """Move its end."""
        ...


@define(eq=False)
class OpenSessions:
    """Sessions by the nonce of their data connection."""

    clock: IReactorTime = field(repr=False)
    _live: dict[bytes, Session] = field(factory=dict, init=False, repr=False)
    _late: dict[bytes, tuple[float, Session]] = field(factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._live.values()))

    def begin(self, nonce: bytes, session: Session) -> None:
        """Take a session in."""
        self._live[nonce] = session

    def end(self, nonce: bytes) -> None:
        """Let a session go; it can still be cancelled for a while."""
        session = self._live.pop(nonce, None)
        if session is None:
            return
        self._late[nonce] = self.clock.seconds(), session
        if len(self._late) > LATE_LIMIT:
            del self._late[next(iter(self._late))]

    def get(self, nonce: bytes) -> Session | None:
        """Return an open session."""
        return self._live.get(nonce)

    def cancel(self, nonce: bytes) -> None:
        """Cancel what the target does for a session, if it is open or was a moment ago."""
        self.forget()
        session = self._live.get(nonce)
        if session is None and nonce in self._late:
            session = self._late[nonce][1]
        if session is not None:
            session.cancel()

    def forget(self) -> None:
        """Forget what ended too long ago. Called now and then."""
        oldest = self.clock.seconds() - LATE
        self._late = {n: found for n, found in self._late.items() if found[0] > oldest}
