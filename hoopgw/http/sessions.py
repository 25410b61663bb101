"""Sessions over HTTP: one principal with one account on one target, over any number of connections.

A session begins with a principal's first request and ends a while after its last connection, or
when it is cut. Connections to the target belong to one session and are never another's
(``docs/threat-model.md``, mixing).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from hoopgw.errors import RecorderError, UnavailableError
from hoopgw.events import Operation, Principal
from hoopgw.http.callers import LoggedIn
from hoopgw.http.client import UpstreamConnection
from hoopgw.http.messages import RequestHead
from hoopgw.http.model import Caller, Model, Plan
from hoopgw.http.paying import Lists
from hoopgw.http.pool import Key as PoolKey
from hoopgw.http.pool import Pool
from hoopgw.policy.decision import Allow, Deny, Sights, Verdict
from hoopgw.recording.inputs import InputBook
from hoopgw.sessions.admission import ConnectRefusedError, admit
from hoopgw.sessions.deciding import Decider
from hoopgw.sessions.journal import Opening, SessionJournal
from hoopgw.sessions.purses import Purse
from hoopgw.sessions.refusals import Refusal, RefusedError
from hoopgw.spi import GatewayContext, TargetSettings
from hoopgw.transport import DataTransport

log = Logger()

IDLE: Final = 60.0
"""Seconds for which a session waits for another connection."""
BODIES_LIMIT: Final = 64 * 2**20
"""Bytes of bodies of one session that are stored at the same time: what is held waits with them."""
GRANT_OVER: Final = "the access that was granted for a while is over"


@frozen(kw_only=True)
class Site:
    """One target, as the gateway leg needs it."""

    target: TargetSettings
    model: Model
    protocol: str
    account: str
    """That is meant where a caller names none."""
    connecting: Callable[[str], Operation]
    """The operation that using the target at all is, for an account."""


class Client(Protocol):
    """A client's connection, as its sessions see it."""

    def cut(self, reason: str) -> None:
        """End it: a session that it uses is over."""
        ...


@frozen
class Running:
    """One request that the target has not answered whole."""

    plan: Plan
    client: Client
    sights: Sights
    """How its answer is shown."""
    once: bool
    """Whether it was granted for this one time: then the grant is used up while it runs."""


@define(eq=False)
class HttpSession:
    """One session."""

    id: str
    site: Site
    login: LoggedIn
    journal: SessionJournal
    decider: Decider
    purse: Purse | None
    lists: Lists
    _context: GatewayContext
    _pool: Pool
    _on_over: Callable[[HttpSession], None]
    pooled: PoolKey = field(init=False)
    """Whom its connections to the target serve."""
    uncompared: frozenset[bytes] = field(init=False, repr=False)
    """Names of fields in which requests that are alike may differ; proofs are compared besides."""
    over: str = field(default="", init=False)
    """Why it has ended, once it has."""
    stored: int = field(default=0, init=False)
    """Bytes of bodies that are read whole, or may be."""
    running: dict[int, Running] = field(factory=dict, init=False)
    """Requests that the target has not answered whole, by the sequence of their intent."""
    _clients: set[Client] = field(factory=set, init=False)
    _idle: IDelayedCall | None = field(default=None, init=False)
    _caller: tuple[bytes, Caller] | None = field(default=None, init=False, repr=False)
    """With the key that its seal was made with."""

    def __attrs_post_init__(self) -> None:
        self.pooled = PoolKey(self.site.target.name, self.login.account, self.id)
        self.uncompared = self.site.model.unread | {b"authorization"}

    @property
    def principal(self) -> Principal:
        """Whose it is."""
        return self.login.principal

    @property
    def clock(self) -> IReactorTime:
        """Of the worker."""
        return self._context.clock

    def join(self, client: Client) -> None:
        """Count a connection that uses it."""
        self._clients.add(client)
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def leave(self, client: Client) -> None:
        """Take note that a connection is gone; with the last one the session ends soon."""
        self._clients.discard(client)
        if not self._clients and not self.over and self._idle is None:
            self._idle = self._context.clock.callLater(IDLE, self._rested)

    def cut(self, reason: str) -> None:
        """End it, with all that is under way."""
        if self.over:
            return
        self.over = reason
        if self._idle is not None and self._idle.active():
            self._idle.cancel()
        self._idle = None
        clients, self._clients = self._clients, set()
        for client in clients:
            client.cut(reason)
        self.decider.close()
        self._pool.drop(self.pooled.__eq__)
        if self.purse is not None:
            self.purse.close()
        self.lists.close()
        try:
            self.journal.ended(reason)
        except RecorderError as error:
            log.error("the end of a session could not be recorded: {error}", error=error)
        self._context.sessions.closed(self.id, reason)
        self._on_over(self)

    def store(self, size: int) -> None:
        """Count a body that is read whole; who does it takes as much away at the end.

        Raises:
            RefusedError: there are too many at the moment.

        """
        if self.stored and self.stored + size > BODIES_LIMIT:
            text = "too much is being sent at once in this session"
            raise RefusedError(Refusal(kind="unavailable", text=text, retry_after=5))
        self.stored += size

    def caller(self, key: bytes, authority: str) -> Caller:
        """Return what a model may know of who asks; the last is kept, as most are alike.

        Args:
            key: that seals are made with.
            authority: by which the client reached us.

        """
        known = self._caller
        if known is None or known[0] != key or known[1].authority != authority:
            chain = tuple(hop.id for hop in self.principal.chain)
            about = "\0".join((self.site.target.name, self.login.account, *chain))
            caller = Caller(
                account=self.login.account,
                chain=chain,
                session=self.id,
                authority=authority,
                seal=hashlib.blake2b(about.encode(), key=key, digest_size=32).digest(),
            )
            known = self._caller = key, caller
        return known[1]

    def with_host(self, head: RequestHead) -> RequestHead:
        """Return a request as it is sent: with a host, in whose place the agent puts its own."""
        if b"host" in head.headers:
            return head
        headers = head.headers.added((b"Host", self.site.target.name.encode()))
        return RequestHead(head.method, head.target, headers, head.version)

    async def connect(self) -> UpstreamConnection:
        """Return a connection to the target, for one request.

        Raises:
            LinkError, UnavailableError: there is none to be had.

        """
        if self.over:  # while this request waited for something: the pool would open another one
            raise UnavailableError(self.over)
        return await self._pool.take(self.pooled, self._open)

    async def _open(self) -> DataTransport:
        site, principal = self.site, self.principal
        opened = await self._context.link.open(
            principal, self.id, site.target.name, self.login.account, {}
        )
        leg: DataTransport = opened.leg
        return leg

    def reconsider(self) -> str | None:
        """Say why it must end by what its principal is granted now, or None.

        What is under way and would not be allowed now is cut by itself.
        """
        if self.over:
            return None
        connect = self.site.connecting(self.login.account)
        if not isinstance(self._judge(connect).decision, Allow):
            return GRANT_OVER
        for each in list(self.running.values()):
            plan = each.plan
            if not each.once and isinstance(self._judge(plan.operation).decision, Deny):
                each.client.cut(GRANT_OVER)
            elif plan.fields and self._sights(plan) != each.sights:
                each.client.cut("what may be seen has changed")
        return None

    def _sights(self, plan: Plan) -> Sights:
        return self._context.policy.sights(self.principal, plan.fields, self.id)

    def _judge(self, operation: Operation) -> Verdict:
        return self._context.policy.decide(self.principal, operation, self.id)

    def _rested(self) -> None:
        self._idle = None
        if self.decider.waits:
            # A client was told to come again once people have decided.
            self._idle = self._context.clock.callLater(IDLE, self._rested)
        else:
            self.cut("it was not used any more")


Key: TypeAlias = tuple[str, LoggedIn]


@define(eq=False)
class HttpSessions:
    """The live sessions of one listener."""

    _context: GatewayContext
    _patience: float
    """Seconds that a client is let wait for people."""
    _pool: Pool
    inputs: InputBook = field(factory=InputBook, init=False)
    """What policy was asked, as far as it is in the log."""
    _live: dict[Key, HttpSession] = field(factory=dict, init=False)
    _opening: dict[Key, DeferredLock] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._live)

    def find(self, site: Site, login: LoggedIn) -> HttpSession | None:
        """Return the session of a log-in on a target, if it has one."""
        return self._live.get((site.target.name, login))

    async def get(self, site: Site, login: LoggedIn, address: str) -> HttpSession:
        """Return the session of a log-in on a target; one is opened if it has none.

        Args:
            site: the target.
            login: who asks, and for which account.
            address: the client's.

        Raises:
            RefusedError: it may not use the target.

        """
        key = site.target.name, login
        if (found := self._live.get(key)) is not None:
            return found
        lock = self._opening.setdefault(key, DeferredLock())
        acquired: Deferred[DeferredLock] = lock.acquire()
        await acquired
        try:
            return self._live.get(key) or await self._open(key, site, login, address)
        finally:
            lock.release()
            if not lock.locked and not lock.waiting:
                self._opening.pop(key, None)

    async def _open(self, key: Key, site: Site, login: LoggedIn, address: str) -> HttpSession:
        context, principal = self._context, login.principal
        session = self._make(site, login, address)
        try:
            context.sessions.opened(
                session.id,
                principal,
                site.target.name,
                session.cut,
                login.account,
                address,
                session.reconsider,
                login.credential,
            )
        except UnavailableError as error:
            refusal = Refusal(kind="unavailable", text=str(error), retry_after=5)
            raise RefusedError(refusal) from error
        try:
            operation = site.connecting(login.account)
            verdict = await self._admit(session, operation)
            if session.over:
                raise RefusedError(Refusal(kind="unauthenticated", text=session.over))
            session.journal.started()
            session.journal.connected(operation.accesses, operation.context, verdict)
        except RecorderError as error:
            context.sessions.closed(session.id)
            text = f"the session cannot be recorded: {error}"
            raise RefusedError(Refusal(kind="unavailable", text=text)) from error
        except BaseException:
            context.sessions.closed(session.id)
            raise
        session.purse = session.decider.purse = context.budgets.open(principal)
        self._live[key] = session
        return session

    def _make(self, site: Site, login: LoggedIn, address: str) -> HttpSession:
        context, target = self._context, site.target
        session = context.new_session()
        opening = Opening(
            session=session,
            protocol=site.protocol,
            target=target.name,
            account=login.account,
            principal=login.principal,
            method=login.method,
            address=address,
            agent=target.agent,
        )
        journal = SessionJournal(context.recorder, opening, self.inputs)
        decider = Decider(
            context=context,
            principal=login.principal,
            session=session,
            journal=journal,
            purse=None,
            strict=target.durability == "strict",
            patience=self._patience,
            lasts=site.model.lasts,
        )
        lists = Lists(context.budgets, login.principal)
        return HttpSession(
            session, site, login, journal, decider, None, lists, context, self._pool, self._forget
        )

    async def _admit(self, session: HttpSession, operation: Operation) -> Verdict:
        """Return the verdict that lets a session begin."""
        try:
            return await admit(self._context, session.principal, operation, session.id)
        except ConnectRefusedError as error:
            hint, detail = (error.cure.hint, error.cure.told) if error.cure else ("", {})
            refusal = Refusal(kind="denied", text=str(error), hint=hint, detail=detail)
            raise RefusedError(refusal) from error

    def _forget(self, session: HttpSession) -> None:
        self._live.pop((session.site.target.name, session.login), None)
