"""The live sessions of a data worker: counted, limited, and cut when their time is over."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from hoopgw.control.client import ControlClient
from hoopgw.errors import UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.shares import SharedCount, has_already
from hoopgw.ipc import Body
from hoopgw.sessions.ends import EXPIRED, REVOKED, SHUTDOWN
from hoopgw.sessions.living import Freeze
from hoopgw.wire_values import principal_to_dict

log = Logger()

OUTAGE_GRACE: Final = 60.0
"""Seconds without control after which live sessions are cut: they may have been revoked."""


@define(eq=False)
class _Live:
    """One session, from log-in to end."""

    principal: Principal
    target: str
    account: str
    address: str
    lineage: frozenset[str]
    """What ends it when it is revoked."""
    opened: float
    cut: Callable[[str], None] = field(repr=False)
    reconsider: Callable[[], str | None] | None = field(default=None, repr=False)
    freeze: Freeze | None = field(default=None, repr=False)
    timer: IDelayedCall | None = field(default=None, repr=False)
    was_cut: bool = False


@define(eq=False)
class SessionRegistry:
    """Implements `hoopgw.sessions.living.Sessions`."""

    _control: ControlClient
    _clock: IReactorTime
    _protocols: Mapping[str, str]
    """Target to its protocol."""
    limit: int
    limit_per_principal: int
    """For one root: what its agents open counts as its own, and they have a share."""
    _live: dict[str, _Live] = field(factory=dict, init=False)
    _by_root: SharedCount = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._by_root = SharedCount(self.limit_per_principal)
        self._control.on_tell("cut", self._told_to_cut)
        self._control.on_tell("freeze", self._told_to_freeze)
        self._control.on_connected(self._cut_revoked)
        self._control.on_connected(self._announce_all)
        self._control.on_beat(self._look_at_control)

    def __len__(self) -> int:
        return len(self._live)

    def opened(
        self,
        session: str,
        principal: Principal,
        target: str,
        cut: Callable[[str], None],
        account: str = "",
        address: str = "",
        reconsider: Callable[[], str | None] | None = None,
        credential: str = "",
        freeze: Freeze | None = None,
    ) -> None:
        """Announce a session. ``cut`` is called, once at most, when it must end.

        ``reconsider`` says whether it must, when what its principal was granted has changed;
        ``freeze`` stops it for a while.

        Raises:
            UnavailableError: there are too many, the log-in is over or was revoked, or whether
                it was cannot be known now.

        """
        if session in self._live:
            raise ValueError(f"session {session} is open already")
        root, left = principal.root.id, principal.expires - self._clock.seconds()
        if left <= 0:
            raise UnavailableError(EXPIRED)
        lineage = frozenset({*principal.lineage, credential} - {""})
        if self._control.is_revoked(lineage):
            raise UnavailableError(REVOKED)
        if not self._control.is_current:
            raise UnavailableError("the gateway's control process is not there; try again")
        if len(self._live) >= self.limit:
            raise UnavailableError(f"the gateway has {self.limit} sessions already, its limit")
        generation = self._by_root.exceeded(root, principal)
        if generation is not None:
            limit = self.limit_per_principal
            raise UnavailableError(has_already(principal.root.name, limit, generation, "sessions"))
        live = _Live(
            principal,
            target,
            account,
            address,
            lineage,
            self._clock.seconds(),
            cut,
            reconsider,
            freeze,
        )
        live.timer = self._clock.callLater(left, self.cut, session, EXPIRED)
        self._live[session] = live
        self._by_root.add(root, principal)
        self._announce(session, live)

    def closed(self, session: str, reason: str = "") -> None:
        """Announce its end; harmless if it is not known."""
        live = self._live.pop(session, None)
        if live is None:
            return
        if live.timer is not None and live.timer.active():
            live.timer.cancel()
        self._by_root.remove(live.principal.root.id, live.principal)
        self._control.tell("session_closed", session=session, reason=reason)

    def cut(self, session: str, reason: str) -> None:
        """End a session; harmless if it is not known. It is counted until it says `closed`."""
        live = self._live.get(session)
        if live is None or live.was_cut:
            return
        live.was_cut = True
        log.info("cutting session {session}: {reason}", session=session, reason=reason)
        try:
            live.cut(reason)
        except Exception:  # others must be cut all the same
            log.failure("cutting session {session} failed", session=session)

    def cut_all(self, reason: str = SHUTDOWN) -> None:
        """End all sessions."""
        for session in list(self._live):
            self.cut(session, reason)

    def reconsider(self, roots: Collection[str]) -> None:
        """Look at the sessions of some roots, whose grants have changed; end what must end."""
        for session, live in list(self._live.items()):
            if live.principal.root.id not in roots or live.reconsider is None:
                continue
            try:
                reason = live.reconsider()
            except Exception:  # whether it may go on is not known then
                log.failure("reconsidering session {session} failed", session=session)
                reason = "the gateway cannot tell whether it may go on"
            if reason is not None:
                self.cut(session, reason)

    def cut_lineage(self, node: str, reason: str) -> None:
        """End all sessions of one log-in or delegation, and of all that descends from it."""
        for session, live in list(self._live.items()):
            if node in live.lineage:
                self.cut(session, reason)

    def _told_to_cut(self, body: Body) -> None:
        if "node" in body:
            self._control.revoke(str(body["node"]), float(body["expires"]))
            self.cut_lineage(str(body["node"]), str(body["reason"]))
        else:
            self.cut(str(body["session"]), str(body["reason"]))

    def _told_to_freeze(self, body: Body) -> None:
        session, frozen = str(body["session"]), bool(body["frozen"])
        live = self._live.get(session)
        if live is None or live.freeze is None:
            return
        by, reason = str(body["by"]), str(body["reason"])
        try:
            live.freeze(frozen=frozen, by=by, by_id=str(body["by_id"]), reason=reason)
        except Exception:  # whether anything goes through is not known then
            log.failure("freezing or thawing session {session} failed", session=session)
            self.cut(session, "the gateway could not freeze it, or let it go on")

    def _cut_revoked(self) -> None:
        """Cut what was revoked while control could not tell us."""
        for session, live in list(self._live.items()):
            if self._control.is_revoked(live.lineage):
                self.cut(session, REVOKED)

    def _look_at_control(self) -> None:
        if self._control.silence > OUTAGE_GRACE:
            self.cut_all("the gateway cannot tell any more whether the log-in still holds")

    def _announce_all(self) -> None:
        for session, live in self._live.items():
            self._announce(session, live)

    def _announce(self, session: str, live: _Live) -> None:
        self._control.tell(
            "session_opened",
            session=session,
            principal=principal_to_dict(live.principal),
            target=live.target,
            protocol=self._protocols.get(live.target, ""),
            account=live.account,
            address=live.address,
            opened=live.opened,
        )
