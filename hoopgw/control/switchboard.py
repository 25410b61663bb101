"""Brings together what workers wait for and what people, time and restarts do to it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.logger import Logger

from hoopgw.control.attendance import GONE, Attendance
from hoopgw.control.calls import WorkerCalls, settled_body
from hoopgw.control.delegations import Delegations
from hoopgw.control.fleet import Fleet
from hoopgw.control.granting import Granting
from hoopgw.grants.ledger import is_grant
from hoopgw.identity.tokens import TokenSigner
from hoopgw.reviews.docket import WAITING_LIMIT, Docket
from hoopgw.spi import Recorder
from hoopgw.store.rows import WAITING, Request, Store, Vote

log = Logger()


@define(eq=False)
class Switchboard:
    """The docket, who waits for what of it, and the workers. One in the control process."""

    _store: Store
    _signer: TokenSigner
    _now: Callable[[], float]
    _recorder: Recorder
    _new_session: Callable[[], str]
    fleet: Fleet = field(init=False)
    attendance: Attendance = field(init=False)
    docket: Docket = field(init=False)
    delegations: Delegations = field(init=False)
    granting: Granting = field(init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.fleet = Fleet(self._now)
        self.attendance = Attendance(self._now)
        self.docket = Docket(self._store, self._now, self._settled)
        self.delegations = Delegations(self._store, self.docket, self.fleet, self._now)
        self.granting = Granting(
            self._store, self.docket, self.fleet, self._now, self._recorder, self._new_session
        )

    def take_up(self) -> None:
        """Take up what the store holds from before: nobody lives, but somebody may come back."""
        self._store.drop_sessions()
        waiting = self._store.request_ids(WAITING, 2 * WAITING_LIMIT)
        self.attendance.expect(request for request in waiting if not is_grant(request))
        self.granting.take_up()

    def make_calls(self) -> WorkerCalls:
        """Return what serves a new connection."""
        return WorkerCalls(
            self._store,
            self.docket,
            self.attendance,
            self.fleet,
            self.delegations,
            self.granting,
            self._signer,
            self._now,
        )

    def gone(self, calls: WorkerCalls) -> None:
        """Take it that a connection is lost."""
        if not self._closed:
            calls.lost()

    def sweep(self) -> None:
        """Move on what time has ended, and what nobody waits for. Call it every second."""
        for request in self.attendance.silent():
            self.docket.withdraw(request, GONE)
        self.docket.expire()
        self.granting.ledger.sweep()

    def close(self) -> None:
        """From now on, connections are lost because we go: who waits comes back after a restart."""
        self._closed = True

    def _settled(self, request: Request, votes: tuple[Vote, ...]) -> None:
        """Tell whoever waits how a request ended."""
        log.info("request {id} is {state}", id=request.id, state=request.state)
        if self.granting.settled(request, votes):
            return
        body = settled_body(request, votes)
        for waiter in self.attendance.waiters(request.id):
            if isinstance(waiter, WorkerCalls):
                waiter.tell("review_settled", body)
        self.attendance.forget(request.id)
