"""The client leg of every protocol on HTTPS: from a request to its answer.

A protocol gives `Sites`: which target, or which page of the gateway's own, a host name is. The rest
is the same for all: who asks, is it allowed, is it recorded, then to the target and back through
what masks.
"""

from __future__ import annotations

import ssl
import typing
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias, cast

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import LinkError, RecorderError, UnavailableError
from hoopgw.http.callers import Callers, Identifies, LoggedIn
from hoopgw.http.doors import Doors
from hoopgw.http.errors import UpstreamError
from hoopgw.http.exchange import Exchange
from hoopgw.http.lasting import ANSWER_LIMIT, Lasting
from hoopgw.http.messages import Limits, Request, RequestHead, Response
from hoopgw.http.model import Caller, Plan
from hoopgw.http.passing import Passing
from hoopgw.http.pool import Pool
from hoopgw.http.reading import Reading, in_thread_of
from hoopgw.http.server import ServerConnection, Task
from hoopgw.http.sessions import HttpSession, HttpSessions, Site
from hoopgw.http.shelf import Shelf
from hoopgw.http.standing import Onward, Poll
from hoopgw.http.straight import Proved, Straight, Ways
from hoopgw.http.timing import Timeouts
from hoopgw.sessions.deciding import Permission
from hoopgw.sessions.held import HeldError
from hoopgw.sessions.refusals import Refusal, RefusedError
from hoopgw.spi import GatewayContext

log = Logger()

Page: TypeAlias = Callable[[Request, str], Awaitable[Response]]
"""Answers in the gateway's own name: request, and the client's address."""

PATIENCE: Final = 55.0
"""Seconds that a client is let wait for people; load balancers and clients give up at 60."""
WAIT: Final = b"x-hoopgw-wait"
"""Seconds that a client itself wants to wait; 0 for programs that come again."""
PAGE_LIMIT: Final = 98_304
"""Bytes of a request to a page of the gateway's own, which strangers may send, too."""
HELD_LIMIT: Final = 16 * 2**20
"""Bytes of a body that is read whole because its request is to be held."""


class Sites(typing.Protocol):
    """What a listener serves."""

    def find(self, head: RequestHead) -> Site | Page | None:
        """Return what a request is for: by its host, and pages of our own by their path."""
        ...

    def refuse(self, head: RequestHead | None, refusal: Refusal) -> Response:
        """Say a refusal where no target is known."""
        ...


class Connection(ServerConnection):
    """One client's connection."""

    own: HttpsFactory

    def connectionMade(self) -> None:
        """Speak TLS: there is nothing outside it."""
        super().connectionMade()
        self.sessions: dict[tuple[str, LoggedIn], HttpSession] = {}
        self.is_lost = False
        self.proved: Proved | None = None
        self.callers: Identifies = Callers(self.own.context, self.data_transport)
        self.address = str(getattr(self.data_transport.getPeer(), "host", "local"))
        self.secure()

    def secure(self) -> None:
        """Begin TLS."""
        self.data_transport.startTLS(self.own.context.tls, server_side=True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Leave its sessions."""
        if reason.check(ssl.SSLError):
            log.info("a handshake failed: {why}", why=reason.value, address=self.address)
        self.is_lost = True
        self.proved = None
        sessions, self.sessions = self.sessions, {}
        for session in sessions.values():
            session.leave(self)
        super().connectionLost(reason)

    def begin_shortly(self, exchange: Exchange) -> Task | None:
        """Send a request straight that is like an earlier one."""
        proved = self.proved
        return None if proved is None else self.own.ways.begin(self, self, exchange, proved)

    def cut(self, reason: str) -> None:
        """End it: a session that it uses is over."""
        if self.is_idle:
            self.stop()
        else:
            self.data_transport.abortConnection()

    def lives(self, target: str, login: LoggedIn) -> bool:
        """Say whether a log-in that it has shown for a target has its session there still."""
        session = self.sessions.get((target, login))
        return session is not None and not session.over


class HttpsFactory(Factory):
    """Accepts HTTPS clients.

    Args:
        context: of the gateway.
        sites: of the protocol.

    """

    def __init__(self, context: GatewayContext, sites: Sites) -> None:
        self.context = context
        self.connections: set[ServerConnection] = set()
        self.sites = sites
        patience = float(context.listener.get("patience", PATIENCE))
        self.pool = Pool(clock=context.clock)
        self.live = HttpSessions(context, patience, self.pool)
        self.ways = Ways(context, self.pool, self._go_on)
        self.lasting = Lasting(context)
        self._reading = Reading(in_thread_of(context.reactor))
        self._limits, self._timeouts, self._doors = Limits(), Timeouts(), Doors()
        cast("ssl.SSLContext", context.tls).set_alpn_protocols(["http/1.1"])

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Make a connection's protocol; None if there are too many."""
        address = str(getattr(addr, "host", ""))
        if not self._doors.enter(address):
            log.warn("too many clients are connected", address=address)
            return None

        def lost(connection: ServerConnection) -> None:
            self.connections.discard(connection)
            self._doors.leave(address)

        connection = Connection(
            self._handle,
            self.context.clock,
            self._limits,
            self._timeouts,
            self._refuse_malformed,
            lost,
        )
        connection.own = self
        self.connections.add(connection)
        return connection

    def doStop(self) -> None:
        """Close every connection to targets."""
        self.pool.stop()

    async def _handle(self, exchange: Exchange) -> None:
        connection = cast("Connection", exchange.connection)
        site = self.sites.find(exchange.head)
        if site is None:
            refusal = Refusal(
                kind="malformed", text="this host name is none of the gateway's", status=421
            )
            exchange.respond(self.sites.refuse(exchange.head, refusal))
        elif isinstance(site, Site):
            await self._serve(site, exchange, connection)
        else:
            request = await exchange.collect(PAGE_LIMIT)
            exchange.respond(await site(request, connection.address))

    async def _serve(self, site: Site, exchange: Exchange, connection: Connection) -> None:
        """Do what is asked of a target, or say why not."""

        async def serve() -> None:
            session = await self._session(site, exchange.head, connection)
            await self._serving(session, exchange, connection).run()

        await self._refusing(site, exchange, serve())

    async def _go_on(self, way: Straight) -> None:
        """Go on with what was begun straight."""
        connection = cast("Connection", way.exchange.connection)
        serving = self._serving(way.session, way.exchange, connection)
        answer = serving.pass_on(way.plan, way.permission, way.caller, way)
        await self._refusing(way.session.site, way.exchange, answer)

    def _serving(self, session: HttpSession, exchange: Exchange, connection: Connection) -> Serving:
        return Serving(
            self.context, session, exchange, connection, self._reading, self.ways, self.lasting
        )

    async def _refusing(self, site: Site, exchange: Exchange, work: Awaitable[None]) -> None:
        try:
            await work
        except RefusedError as error:
            self._respond(site, exchange, error.refusal)
        except (LinkError, UnavailableError) as error:
            status = error.status if isinstance(error, UpstreamError) else 0
            refusal = Refusal(kind="unavailable", text=str(error), status=status, retry_after=5)
            self._respond(site, exchange, refusal)
        except RecorderError as error:
            refusal = Refusal(kind="unavailable", text=f"it cannot be recorded: {error}")
            self._respond(site, exchange, refusal)

    async def _session(self, site: Site, head: RequestHead, connection: Connection) -> HttpSession:
        target = site.target.name
        login = await connection.callers.identify(
            head, target, site.account, partial(connection.lives, target)
        )
        # One log-in may be good for several targets: each has a session of its own.
        session = connection.sessions.get((target, login))
        if session is None or session.over:
            session = await self.live.get(site, login, connection.address)
            session.join(connection)
            if connection.is_lost:  # while it was opened: nobody would leave it later
                session.leave(connection)
                raise CancelledError
            connection.sessions[target, login] = session
        connection.proved = None
        if (known := connection.callers.last) is not None:
            by_name = head.headers.by_name
            hosts, proofs = by_name[b"host"], by_name[b"authorization"]
            connection.proved = Proved(hosts, proofs, known.until, session)
        return session

    def _respond(self, site: Site, exchange: Exchange, refusal: Refusal) -> None:
        if exchange.started:
            exchange.abort()
        else:
            exchange.respond(site.model.refuse(exchange.head, refusal))

    def _refuse_malformed(self, head: RequestHead | None, status: int, text: str) -> Response:
        refusal = Refusal(kind="malformed", text=text, status=status)
        site = None if head is None else self.sites.find(head)
        if isinstance(site, Site):
            return site.model.refuse(head, refusal)
        return self.sites.refuse(head, refusal)


@define(eq=False)
class Serving:
    """One request to a target."""

    _context: GatewayContext
    _session: HttpSession
    _exchange: Exchange
    _connection: Connection
    _reading: Reading
    _ways: Ways
    _lasting: Lasting
    _head: RequestHead = field(init=False)
    """What is asked: what came, or what answers it."""
    _body: bytes | None = field(default=None, init=False)
    _stored: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._head = self._exchange.head

    async def run(self) -> None:
        """Decide, pass on, and answer. Raises as `_run`."""
        try:
            await self._run()
        finally:
            self._session.stored -= self._stored

    async def _collect(self, limit: int) -> bytes:
        """Return all of the body, if the session may store it."""
        said = self._exchange.head.content_length
        size = 0 if self._exchange.body.ended else limit if said is None else min(said, limit)
        self._session.store(size)
        self._stored += size
        return await self._exchange.body.collect(limit)

    async def _plan(self, caller: Caller) -> Plan:
        """Return what the request is; that may take a while."""
        session = self._session
        plan = await self._reading.plan(session.site.model, self._head, self._body, caller)
        if session.over:
            raise UnavailableError(session.over)
        return plan

    async def _run(self) -> None:
        """Decide, pass on, and answer.

        Raises:
            RefusedError: it is refused.
            LinkError, UnavailableError: the target cannot be reached, or not now.
            MessageError: the client's body is not as it should be.

        """
        session, exchange = self._session, self._exchange
        caller = session.caller(self._context.mask_key(), exchange.head.host)
        if (poll := session.site.model.follow(exchange.head, caller)) is not None:
            await self._follow(poll, caller)
            return
        limit = session.site.model.collects(exchange.head)
        if limit:
            self._body = await self._collect(limit)
        plan = await self._plan(caller)
        if self._body is None and not exchange.body.ended and session.decider.needs_all(plan):
            # An approval covers all that is sent, so all of it must be here.
            self._body = await self._collect(HELD_LIMIT)
            plan = await self._plan(caller)
        epoch = self._context.policy.epoch
        try:
            permission = await session.decider.decide(plan, _patience(self._head))
        except HeldError as error:
            standing = None
            if error.lasts:
                standing = self._lasting.keep(session, plan, self._body, caller, error.held)
            if standing is None:  # the client has to come again
                raise
            model = session.site.model
            exchange.respond(model.begun(plan, standing, self._lasting.worker, caller))
            return
        # What goes straight is over soon.
        if not (self._body or exchange.body.size or plan.follows) and exchange.body.ended:
            self._ways.learn(session, exchange.head, plan, permission, epoch)
        await self.pass_on(plan, permission, caller)

    async def pass_on(
        self,
        plan: Plan,
        permission: Permission,
        caller: Caller,
        way: Straight | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        """Pass an allowed request on, and answer.

        Args:
            plan: the request.
            permission: to do so.
            caller: on whose behalf.
            way: by which it is under way already.
            shelf: takes the answer, if the client does not.

        Raises:
            RefusedError: its answer is.
            LinkError, UnavailableError: the target cannot be reached, or not now.
            MessageError: the client's body is not as it should be.

        """
        passing = Passing(
            context=self._context,
            session=self._session,
            exchange=self._exchange if shelf is None else shelf.exchange,
            client=self._connection,
            plan=plan,
            caller=caller,
            body=self._body,
        )
        await passing.run(permission, way)

    async def _follow(self, poll: Poll, caller: Caller) -> None:
        """Say how a held request stands, or let the target say it. Raises as `_run`."""
        session, model = self._session, self._session.site.model
        model.collects(self._head)
        standing = await self._lasting.find(poll, session)
        if session.over:
            raise UnavailableError(session.over)
        found = model.stands(poll, standing, self._head, caller)
        while isinstance(found, Onward):
            self._head = found.head
            plan = await self._plan(caller)
            permission = await session.decider.decide(plan, 0.0)
            if found.read is None:
                await self.pass_on(plan, permission, caller)
                return
            shelf = Shelf(found.head, session.clock, ANSWER_LIMIT)
            await self.pass_on(plan, permission, caller, shelf=shelf)
            assert shelf.response is not None  # else it was raised why not
            found = found.read(shelf.response)
        self._exchange.respond(found)


def _patience(head: RequestHead) -> float | None:
    """Return how long the client itself wants to wait for people."""
    values = head.headers.all(WAIT)
    if not values:
        return None
    if len(values) > 1 or not values[0].isdigit() or len(values[0]) > 6:
        text = "X-Hoopgw-Wait is a number of seconds"
        raise RefusedError(Refusal(kind="malformed", text=text))
    return float(values[0])
