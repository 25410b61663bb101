"""The gateway's side of the link, in the data worker: agents connect, sessions ask for targets.

`LinkHub` implements `hoopgw.spi.Link`. For each session it takes a data connection that the
target's agent has made beforehand, writes a ticket for exactly that connection, and hands the bare
transport to the protocol once the agent has logged in. It never sees a credential.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from attrs import define, evolve, field
from cryptography import x509
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import LinkError, TicketError, UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.rate import network_of
from hoopgw.link.incoming import Arrival, Doorkeeper, Incoming
from hoopgw.link.lines import (
    BEAT,
    Line,
    Prove,
    SpareConnection,
    SpareLostError,
    cannot_prove,
)
from hoopgw.link.tickets import Ticket, TicketSigner
from hoopgw.spi import OpenTarget
from hoopgw.transport import Address, listen

log = Logger()

DOORSTEP_LIMIT: Final = 512
"""Connections at once that have not said who they are."""
DOORSTEP_LIMIT_ADDRESS: Final = 128
"""And from one address: a stranger there must not keep agents out. An agent makes 64 at most."""
_ENROLLED_FOR: Final = 30.0
"""Seconds for which control's word that an agent is enrolled is taken; then it is asked again."""
_TRIES: Final = 2
"""Data connections that are tried for a session when one turns out to be dead."""


@define(eq=False, kw_only=True)
class LinkHub:
    """All agents of this gateway."""

    reactor: Any = field(repr=False)
    clock: IReactorTime = field(repr=False)
    signer: TicketSigner = field(repr=False)
    authorities: tuple[x509.Certificate, ...] = field(repr=False)
    """The link's CAs; replaced as a whole when they rotate, for who connects from then on."""
    agents: Mapping[str, str]
    """Target to the name of the agent that alone may open it."""
    check_certificate: Callable[[str, str], Awaitable[bool]] = field(repr=False)
    """Asks control whether an agent's certificate (name, serial number in hex) is enrolled."""
    agent_uids: frozenset[int] = frozenset()
    """For a unix socket: the users that agents run as."""
    changed: Callable[[], None] = field(default=lambda: None, repr=False)
    """Called when an agent comes or goes; see `status`."""
    prove: Prove = field(default=cannot_prove, repr=False)
    """Proves to agents that the log goes on; see `show`."""
    _lines: dict[str, Line] = field(factory=dict, init=False, repr=False)
    _note: bytes = field(default=b"", init=False, repr=False)
    _handovers: tuple[bytes, ...] = field(default=(), init=False, repr=False)
    _trust: str = field(default="", init=False)
    _doorstep: dict[Incoming, str] = field(factory=dict, init=False, repr=False)
    """Who has not said who it is, with the address that it came from."""
    _enrolled: dict[tuple[str, str], float] = field(factory=dict, init=False, repr=False)
    _ticking: IDelayedCall | None = field(default=None, init=False, repr=False)
    _rechecks: dict[str, Deferred[None]] = field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for name in self.agents.values():
            self._line(name)

    def listen(self, address: Address, tls: ssl.SSLContext | None = None) -> IListeningPort:
        """Let agents connect: with mutual TLS, or to a unix socket without.

        Raises:
            ValueError: TCP without TLS.
            OSError: the address cannot be had.

        """
        if tls is None and not address.path:
            raise ValueError("the link needs TLS on TCP")
        if self._ticking is None:
            self._ticking = self.clock.callLater(BEAT, self._tick)
        # Who may connect to a unix socket is decided by `agent_uids`, not by its mode.
        return listen(self.reactor, address, _Incomings(self._incoming), tls=tls, mode=0o666)

    def open(
        self,
        principal: Principal,
        session: str,
        target: str,
        account: str,
        wishes: Mapping[str, Any],
        digest: bytes | None = None,
    ) -> Deferred[OpenTarget]:
        """Open a target; see `hoopgw.spi.Link`. Cancelling gives the attempt up."""
        name = self.agents.get(target)
        if name is None:
            unknown: Deferred[OpenTarget] = Deferred()
            unknown.errback(LinkError(f"no agent is configured for target {target}"))
            return unknown
        line = self._line(name)
        plan = Ticket(
            agent=name,
            nonce=b"",
            target=target,
            account=account,
            session=session,
            session_end=principal.expires,
            principal=principal,
            digest=digest,
        )
        return Deferred.fromCoroutine(self._open(line, plan, wishes))

    def renew(self, principal: Principal, session: str, opened: OpenTarget) -> Deferred[None]:
        """Tell the agent that a session may last longer: until ``principal.expires``."""
        return Deferred.fromCoroutine(self._renew(principal, session, opened))

    def cut(self, session: str, reason: str) -> None:
        """Tell every agent to end a session and cancel what its target does for it."""
        for line in self._lines.values():
            line.tell("cut", session=session, reason=reason)

    def show(self, note: bytes, handovers: tuple[bytes, ...] = ()) -> None:
        """Show every agent the log's newest checkpoint, for them to keep."""
        self._note, self._handovers = note, handovers
        for line in self._lines.values():
            line.show(note, handovers)

    def refresh(self, trust: str) -> None:
        """Let every agent fetch what it should trust, if that is not what it has."""
        self._trust = trust
        for line in self._lines.values():
            line.refresh(trust)

    def drop_agent(self, name: str, reason: str) -> None:
        """End an agent's connections and its sessions, as when its enrolment is revoked."""
        self._enrolled = {key: at for key, at in self._enrolled.items() if key[0] != name}
        line = self._lines.get(name)
        if line is not None:
            line.drop(reason)
            line.cut()

    def status(self) -> list[dict[str, Any]]:
        """Return what `hoopgw.ipc` tells control of the agents."""
        return [line.status() for _name, line in sorted(self._lines.items())]

    def stop(self) -> None:
        """Close every connection."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        for asking in list(self._rechecks.values()):
            asking.cancel()
        for incoming in list(self._doorstep):
            incoming.refuse(UnavailableError("the gateway stops"))
        for line in self._lines.values():
            line.stop()

    async def _open(self, line: Line, plan: Ticket, wishes: Mapping[str, Any]) -> OpenTarget:
        for left in reversed(range(_TRIES)):
            spare = await line.take()
            try:
                return await self._open_with(line, spare, plan, wishes)
            except SpareLostError:
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _open_with(
        self, line: Line, spare: SpareConnection, plan: Ticket, wishes: Mapping[str, Any]
    ) -> OpenTarget:
        nonce = spare.nonce
        try:
            ticket = self.signer.sign(evolve(plan, nonce=nonce))
            facts = await spare.open(ticket, wishes)
        except TicketError as error:
            spare.close()
            raise LinkError(str(error)) from error
        except BaseException:  # a cancelled wait too: whatever it was, this one is used up
            spare.close()
            raise
        transport = spare.release()
        line.opened(nonce, transport)
        return OpenTarget(
            leg=transport,
            agent=line.name,
            facts=facts,
            cancel=lambda: line.tell("cancel", connection=nonce),
        )

    async def _renew(self, principal: Principal, session: str, opened: OpenTarget) -> None:
        line = self._line(opened.agent)
        found = line.connection(opened.leg)
        if found is None:
            raise LinkError("the session is not open any more")
        await line.call(
            "renew",
            connection=found,
            ticket=self.signer.sign(
                Ticket(
                    agent=line.name,
                    nonce=found,
                    use="renew",
                    target="",
                    account="",
                    session=session,
                    session_end=principal.expires,
                    principal=principal,
                )
            ),
        )

    def _line(self, name: str) -> Line:
        if name not in self._lines:
            self._lines[name] = Line(
                name,
                self.clock,
                self.changed,
                self.prove,
                self._note,
                self._handovers,
                self._trust,
            )
        return self._lines[name]

    def _incoming(self, address: str) -> Incoming | None:
        source = network_of(address)
        same = sum(other == source for other in self._doorstep.values())
        if len(self._doorstep) >= DOORSTEP_LIMIT or (address and same >= DOORSTEP_LIMIT_ADDRESS):
            log.warn("too many connections to the link have not said who they are")
            return None
        doorkeeper = Doorkeeper(
            authorities=self.authorities,
            clock=self.clock,
            is_enrolled=self._is_enrolled,
            agent_uids=self.agent_uids,
        )
        incoming = Incoming(doorkeeper, self._arrived, self._stepped_in)
        self._doorstep[incoming] = source
        return incoming

    def _stepped_in(self, incoming: Incoming) -> None:
        self._doorstep.pop(incoming, None)

    async def _is_enrolled(self, name: str, serial: str) -> bool:
        if self._enrolled.get((name, serial), 0.0) > self.clock.seconds():
            return True
        if not await self.check_certificate(name, serial):
            self._enrolled.pop((name, serial), None)
            return False
        now = self.clock.seconds()
        self._enrolled = {key: until for key, until in self._enrolled.items() if until > now}
        self._enrolled[name, serial] = now + _ENROLLED_FOR
        return True

    def _arrived(self, arrival: Arrival) -> None:
        line = self._line(arrival.proved.agent)
        if arrival.hello.kind == "control":
            line.control(arrival.proved, arrival.transport)
        else:
            line.data(arrival.hello.nonce, arrival.transport)

    def _tick(self) -> None:
        self._ticking = self.clock.callLater(BEAT, self._tick)
        for line in self._lines.values():
            line.tick()
            if line.is_connected and line.name not in self._rechecks:
                asking = Deferred.fromCoroutine(self._recheck(line))
                self._rechecks[line.name] = asking
                asking.addErrback(self._not_rechecked, line.name)
                asking.addCallback(self._rechecked, line.name)

    async def _recheck(self, line: Line) -> None:
        """Drop an agent whose enrolment has been revoked since it connected."""
        proved = line.proved
        if proved is not None and not await self._is_enrolled(proved.agent, proved.serial):
            self.drop_agent(line.name, "it is no longer enrolled")

    def _rechecked(self, _result: None, name: str) -> None:
        del self._rechecks[name]

    def _not_rechecked(self, failure: Failure, name: str) -> None:
        """Control cannot be asked just now; the agent was enrolled, and is asked about again."""
        log.warn("agent {name} could not be checked: {why}", name=name, why=failure.value)


class _Incomings(Factory):
    """Builds the protocols of the listener."""

    noisy = False

    def __init__(self, make: Callable[[str], Incoming | None]) -> None:
        self._make = make

    def buildProtocol(self, addr: Any) -> Incoming | None:
        """Return a protocol, or `None` when too many are on the doorstep."""
        return self._make(str(getattr(addr, "host", "")))
