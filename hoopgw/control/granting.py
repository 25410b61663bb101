"""Grants in the control process: the ledger, with those who wait for it and those who must know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from hoopgw.clock import ForwardClock, steady
from hoopgw.control.fleet import Fleet
from hoopgw.errors import UnavailableError
from hoopgw.events import Principal
from hoopgw.grants.alarms import Alarms
from hoopgw.grants.calls import RefusedCalls
from hoopgw.grants.held import HeldGrant, held_to_dict
from hoopgw.grants.journal import GrantJournal
from hoopgw.grants.ledger import Ledger, is_grant
from hoopgw.identity.shares import SharedCount
from hoopgw.ipc import Body
from hoopgw.policy.sets import PolicySet
from hoopgw.reviews.docket import Docket
from hoopgw.spi import Recorder
from hoopgw.store.grant_rows import GrantRow
from hoopgw.store.rows import Request, Store, Vote

log = Logger()

WAITERS_LIMIT: Final = 500
"""Callers that may wait for a grant to be decided at one time, in all."""
WAITERS_LIMIT_GRANT: Final = 10
WAITERS_LIMIT_ROOT: Final = 50
"""For grants of one root; its agents have a share."""


@define(eq=False)
class Granting:
    """One in the control process."""

    _store: Store
    _docket: Docket
    _fleet: Fleet
    _now: Callable[[], float]
    _recorder: Recorder
    _new_session: Callable[[], str]
    _steady: Callable[[], float] = steady
    alarms: Alarms = field(factory=Alarms, init=False)
    calls: RefusedCalls = field(factory=RefusedCalls, init=False)
    ledger: Ledger = field(init=False)
    journal: GrantJournal = field(init=False)
    clock: ForwardClock = field(init=False)
    _waiters: dict[str, list[Deferred[None]]] = field(factory=dict, init=False)
    _waiting: SharedCount = field(factory=lambda: SharedCount(WAITERS_LIMIT_ROOT), init=False)

    def __attrs_post_init__(self) -> None:
        self.clock = ForwardClock(self._now, self._steady)
        self.journal = GrantJournal(self._recorder, self._new_session, self.clock)
        self.ledger = Ledger(
            self._store, self._docket, self.clock, self.journal, self.alarms, self._changed
        )

    def take_up(self) -> None:
        """Take up what the store holds from before. It is not earlier than that."""
        self.clock.is_at_least(self.ledger.take_up())

    def in_force(self) -> list[Body]:
        """Return all grants in force, for a worker that greets."""
        return [held_to_dict(grant) for grant in self.ledger.in_force()]

    def held(self, principal: Principal) -> tuple[HeldGrant, ...]:
        """Return what somebody holds now."""
        return tuple(grant for grant in self.ledger.in_force() if grant.covers(principal))

    def settled(self, request: Request, votes: tuple[Vote, ...]) -> bool:
        """Take what became of a request; say whether it is for a grant."""
        if not is_grant(request.id):
            return False
        self.ledger.settled(request, votes)
        return True

    def look_at_policy(self, policies: PolicySet) -> None:
        """End the grants whose template is gone, or is not what was approved."""
        for held in self.ledger.in_force():
            offer = policies.offers.get(held.template)
            if offer is None or offer.terms != held.terms:
                self.ledger.end_named(
                    held.id, "revoked", "the policy does not offer it any more, or not so"
                )

    async def decided(self, grant: str, seconds: float, clock: IReactorTime) -> GrantRow:
        """Wait until a grant is decided on, or for so long; return it as it stands then.

        Raises:
            NoGrantError: there is none.
            UnavailableError: too many wait already.

        """
        row = self.ledger.find(grant)
        if row.state != "requested" or seconds <= 0:
            return row
        waiting = sum(map(len, self._waiters.values()))
        same = len(self._waiters.get(grant, ()))
        who, root = row.principal, row.principal.root.id
        full = self._waiting.exceeded(root, who) is not None
        if full or same >= WAITERS_LIMIT_GRANT or waiting >= WAITERS_LIMIT:
            raise UnavailableError("too many wait for grants already; ask again without waiting")
        mine = self._waiters.setdefault(grant, [])
        woken: Deferred[None] = Deferred()
        mine.append(woken)
        self._waiting.add(root, who)
        late = clock.callLater(seconds, _wake, woken)
        try:
            await woken
        finally:
            if late.active():
                late.cancel()
            mine.remove(woken)
            self._waiting.remove(root, who)
            if not mine and self._waiters.get(grant) is mine:
                del self._waiters[grant]
        return self.ledger.find(grant)

    def _changed(self, grant: str, held: HeldGrant | None) -> None:
        """Tell workers, and whoever waits."""
        if held is not None:
            self._fleet.tell_all("grant", held_to_dict(held))
        else:
            self._fleet.tell_all("grant_ended", {"grant": grant})
        log.info("grant {grant} is in force: {held}", grant=grant, held=held is not None)
        for waiter in list(self._waiters.get(grant, ())):
            _wake(waiter)


def _wake(waiter: Deferred[None]) -> None:
    if not waiter.called:
        waiter.callback(None)
