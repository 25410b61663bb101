"""Grants as a data worker has them: told by control, ended by time, used up by asking."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.control.client import ControlClient
from hoopgw.errors import HoopgwError
from hoopgw.events import Operation, Principal
from hoopgw.grants.calls import TEXT_LIMIT
from hoopgw.grants.held import held_from_dict
from hoopgw.grants.view import GrantView
from hoopgw.identity.shares import SharedRate
from hoopgw.ipc import Body
from hoopgw.policy.decision import Use
from hoopgw.wire_values import principal_to_dict

log = Logger()

_CALLS_BURST: Final = 50.0
_CALLS_PER_SECOND: Final = 1.0
"""Refused statements of one root that control is told of: it keeps fewer."""
_TOLD_LIMIT: Final = 10_000
"""Pairs of grant and session that control was told of, so that it is told once."""


@define(eq=False)
class WorkerGrants:
    """Implements `hoopgw.spi.Grants`.

    Args:
        control: the connection.
        clock: for timers.
        view: what is known; policy asks it.
        url: of the gateway, without a slash at the end.
        reconsider: told of the roots whose grants have changed, to look at their sessions.

    """

    _control: ControlClient
    _clock: IReactorTime
    view: GrantView
    _url: str
    _reconsider: Callable[[Collection[str]], None]
    _timer: IDelayedCall | None = field(default=None, init=False)
    _due: set[str] = field(factory=set, init=False)
    """Roots whose sessions are to be looked at."""
    _told_of: set[tuple[str, str]] = field(factory=set, init=False)
    _calls: SharedRate = field(
        factory=lambda: SharedRate(_CALLS_BURST, _CALLS_PER_SECOND), init=False
    )

    def __attrs_post_init__(self) -> None:
        self._control.on_tell("grant", self._told)
        self._control.on_tell("grant_ended", self._told_of_end)
        self._control.on_connected(self._greeted)
        self._control.on_beat(self._look_at_sessions)

    @property
    def url(self) -> str:
        """Where grants are asked for."""
        return f"{self._url}/v1/grants"

    def use(self, use: Use, session: str, digest: bytes) -> Deferred[bool]:
        """Use a grant for an operation; true if it may run by it. Never fails."""
        if use.digest is not None and use.digest != digest:
            return Deferred.fromCoroutine(_no())
        asked = self._control.call("grant_use", grant=use.grant, session=session, digest=digest)
        return asked.addCallbacks(lambda answer: answer.get("ok") is True, _not_used)

    def used(self, grants: Collection[str], session: str) -> None:
        """Say that grants have allowed something in a session."""
        for grant in grants:
            if (grant, session) not in self._told_of:
                if len(self._told_of) >= _TOLD_LIMIT:
                    self._told_of.clear()
                self._told_of.add((grant, session))
                self._control.tell("grant_used", grant=grant, session=session)

    def refused(self, principal: Principal, operation: Operation) -> None:
        """Say what was refused, so that it can be asked for as one call."""
        text = operation.text.encode("utf-8", "surrogateescape")
        now = self._clock.seconds()
        if len(text) <= TEXT_LIMIT and self._calls.charge(principal.root.id, principal, 1.0, now):
            self._control.tell(
                "call_refused",
                principal=principal_to_dict(principal),
                target=operation.target,
                action=operation.action,
                digest=operation.digest,
                text=text,
            )

    def stop(self) -> None:
        """Drop the timer."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _greeted(self) -> None:
        grants = map(held_from_dict, self._control.greeting.get("grants", ()))
        self._look(self.view.replace(grants))

    def _told(self, body: Body) -> None:
        self._look(self.view.put(held_from_dict(body)))

    def _told_of_end(self, body: Body) -> None:
        self._look(self.view.drop(str(body["grant"])))

    def _look(self, roots: Collection[str]) -> None:
        """Have sessions looked at, now and when the next grant ends."""
        self.stop()
        end = self.view.next_end
        if end is not None:
            left = max(0.0, end - self._clock.seconds())
            self._timer = self._clock.callLater(left + 0.01, self._timed)
        self._due |= set(roots)
        self._look_at_sessions()

    def _look_at_sessions(self) -> None:
        """Have sessions looked at, unless control is silent: what is granted is not known then.

        They can do nothing by it meanwhile, and are cut if the silence lasts.
        """
        if self._due and self._control.is_current:
            due, self._due = self._due, set()
            self._reconsider(due)

    def _timed(self) -> None:
        self._look(self.view.advance())


async def _no() -> bool:
    return False


def _not_used(failure: Failure) -> bool:
    if failure.check(HoopgwError) is None:
        log.failure("a grant could not be used", failure)
    else:
        log.warn("a grant could not be used: {why}", why=failure.getErrorMessage())
    return False
