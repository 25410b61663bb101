"""Who has frozen which live session, and who may let it go on.

Whoever may end a session may freeze it. It goes on only when somebody says so who stands as high as
who froze it: an administrator from outside of the session, above its person, above that one's
agents. So nobody frees what somebody else has stopped at their hands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field

from hoopgw.control.callers import Caller
from hoopgw.events import Principal

OUTSIDE: Final = 0
"""The standing of an administrator who has no part in a session."""


def standing(caller: Caller, session: Principal) -> int:
    """Return how high somebody stands towards a session of a principal: less is higher.

    Administrators whose own session it is, or who set off the workload that has it, stand no
    higher than other persons.
    """
    own = {hop.id for hop in session.chain} | session.origin.persons
    if caller.is_admin and caller.principal.root.id not in own:
        return OUTSIDE
    return len(caller.principal.chain)


@define(eq=False)
class Freezes:
    """What is frozen, by how high a standing. Kept in memory, for sessions that live.

    What is not known here, as control was started anew, was frozen from `OUTSIDE`.
    """

    _lives: Callable[[str], bool]
    """Whether a session lives."""
    _by: dict[str, int] = field(factory=dict, init=False)

    def froze(self, session: str, by: int) -> None:
        """Take note of a freeze; the highest who has frozen a session holds it."""
        self._by = {each: kept for each, kept in self._by.items() if self._lives(each)}
        self._by[session] = min(by, self._by.get(session, by))

    def may_thaw(self, session: str, by: int) -> bool:
        """Whether somebody of that standing may let it go on."""
        return by <= self._by.get(session, OUTSIDE)

    def thawed(self, session: str) -> None:
        """Take note that it goes on."""
        self._by.pop(session, None)
