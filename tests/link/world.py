"""A gateway's and an agent's side of the link in one process, joined by real sockets."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import OKPKey
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol

from hoopgw.events import Hop, Principal
from hoopgw.link.agent import AgentLink
from hoopgw.link.certificates import LINK_HOST, issue_agent, issue_listener, make_ca, moment
from hoopgw.link.floor import Floor, FloorEntry
from hoopgw.link.gateway import LinkHub
from hoopgw.link.opening import TargetOpener
from hoopgw.link.proof import AgentKey
from hoopgw.link.tickets import TicketSigner, TicketVerifier, public_keys, read_keys
from hoopgw.link.tls import agent_context, listener_context
from hoopgw.spi import AgentTarget, Opened, OpenTarget
from hoopgw.transport import Address, DataTransport, connect, listen
from tests.support.waiting import eventually, is_quiet


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(*things: x509.Certificate | ec.EllipticCurvePrivateKey) -> bytes:
    """Return certificates and keys as PEM."""
    return b"".join(
        thing.public_bytes(Encoding.PEM)
        if isinstance(thing, x509.Certificate)
        else thing.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for thing in things
    )


@frozen
class Authority:
    """The link's CA."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> Authority:
        key = new_key()
        return cls(key, make_ca(key, moment(time.time())))

    def agent(self, name: str) -> AgentKey:
        key = new_key()
        now = moment(time.time())
        issued = issue_agent(self.certificate, self.key, name, key.public_key(), now)
        return AgentKey(issued, key)


def principal(lasts: float = 3600.0, now: float | None = None) -> Principal:
    return Principal(
        chain=(Hop(id="corp|alice", name="alice", kind="person"),),
        session="sid-1",
        expires=(time.time() if now is None else now) + lasts,
    )


class Collector(Protocol):
    """Keeps what it receives, and lets a test wait for it."""

    def __init__(self) -> None:
        self.data = b""
        self.lost: Deferred[None] = Deferred()
        self._waiting: tuple[int, Deferred[bytes]] | None = None

    def take(self, transport: DataTransport) -> None:
        """Receive for a transport that stands paused."""
        transport.protocol = self
        self.makeConnection(transport)
        transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if self._waiting is not None and len(self.data) >= self._waiting[0]:
            waiting, self._waiting = self._waiting[1], None
            waiting.callback(self.data)

    def connectionLost(self, reason: object = None) -> None:
        self.lost.callback(None)

    def until(self, size: int) -> Deferred[bytes]:
        """Fire when that much has come."""
        waiting: Deferred[bytes] = Deferred()
        if len(self.data) >= size:
            waiting.callback(self.data)
        else:
            self._waiting = size, waiting
        return waiting


class Echo(Protocol):
    """A target that says what it hears."""

    def connectionMade(self) -> None:
        self.factory.connections.append(self)

    @property
    def link(self) -> DataTransport:
        return cast("DataTransport", self.transport)

    def dataReceived(self, data: bytes) -> None:
        self.link.write(bytes(data))


class Echoes(Factory):
    noisy = False
    protocol = Echo

    def __init__(self) -> None:
        self.connections: list[Echo] = []

    @property
    def open(self) -> int:
        """How many connections stand."""
        return sum(1 for echo in self.connections if echo.link.connected)

    def stop(self) -> None:
        """Close them."""
        for echo in self.connections:
            echo.link.abortConnection()


@define
class EchoLeg:
    """A protocol's target leg for `Echo`."""

    reactor: Any
    asked: list[tuple[str, Mapping[str, Any]]] = field(factory=list)
    cancelled: list[str] = field(factory=list)
    hold: Deferred[None] | None = None
    fail: Exception | None = None
    rest: bytes = b""
    facts: dict[str, Any] = field(factory=lambda: {"greeting": "hello"})

    def check(self, target: AgentTarget) -> None:
        """Take any."""

    async def open(self, target: AgentTarget, account: str, wishes: Mapping[str, Any]) -> Opened:
        self.asked.append((account, wishes))
        assert await target.accounts[account]() == b"s3cret"
        if self.fail is not None:
            raise self.fail
        transport = await connect(
            self.reactor, Address.parse(target.address), Collector(), paused=True
        )
        if self.hold is not None:
            try:
                await self.hold
            except BaseException:
                transport.abortConnection()
                raise

        async def cancel() -> None:
            self.cancelled.append(account)

        return Opened(transport=transport, rest=self.rest, facts=self.facts, cancel=cancel)


async def secret() -> bytes:
    return b"s3cret"


@define(eq=False)
class World:
    """Everything, over a unix socket or TCP."""

    reactor: Any
    tcp: bool = False
    clock: Any = None
    """Of both sides; the reactor's if not given. Sockets are real either way."""
    enrolled: set[str] = field(factory=lambda: {"local"})
    authority: Authority = field(factory=Authority.new)
    folder: Path = field(factory=lambda: Path(tempfile.mkdtemp(prefix="hgwlink")))
    ticket_key: OKPKey = field(factory=lambda: OKPKey.generate_key("Ed25519"))
    agents: list[AgentLink] = field(factory=list)
    ports: list[IListeningPort] = field(factory=list)
    asked: list[tuple[str, str]] = field(factory=list)
    hub: LinkHub = field(init=False)
    leg: EchoLeg = field(init=False)
    echoes: Echoes = field(factory=Echoes)
    address: Address = field(init=False)
    target: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.clock = self.clock or self.reactor
        self.leg = EchoLeg(self.reactor)
        self.target = f"unix:{self.folder}/echo.sock"
        self.ports.append(listen(self.reactor, Address.parse(self.target), self.echoes))
        self.hub = self.new_hub()
        self.address = self.listen(self.hub)

    def new_hub(self, uids: frozenset[int] | None = None) -> LinkHub:
        async def check(name: str, serial: str) -> bool:
            self.asked.append((name, serial))
            return name in self.enrolled

        return LinkHub(
            reactor=self.reactor,
            clock=self.clock,
            signer=TicketSigner(self.ticket_key, self.clock.seconds),
            authorities=(self.authority.certificate,),
            agents={"orders": "local", "ledger": "local", "elsewhere": "remote"},
            check_certificate=check,
            agent_uids=frozenset({os.geteuid()}) if uids is None else uids,
        )

    def listen(self, hub: LinkHub) -> Address:
        """Listen, and return where agents connect."""
        if not self.tcp:
            address = Address.parse(f"unix:{self.folder}/link.sock")
            self.ports.append(hub.listen(address))
            return address
        key = new_key()
        authority = self.authority
        now = moment(time.time())
        issued = issue_listener(authority.certificate, authority.key, key.public_key(), now)
        (self.folder / "link.crt").write_bytes(pem(issued))
        (self.folder / "link.key").write_bytes(pem(key))
        (self.folder / "ca.crt").write_bytes(pem(authority.certificate))
        context = listener_context(
            self.folder / "link.crt", self.folder / "link.key", self.folder / "ca.crt"
        )
        port = hub.listen(Address("127.0.0.1", 0), context)
        self.ports.append(port)
        return Address("127.0.0.1", port.getHost().port)  # type: ignore[attr-defined]  # of IPv4Address

    def dialler(self, key: AgentKey) -> Any:
        """Return what connects an agent's protocols."""
        context = None
        if self.tcp:
            context = agent_context(
                pem(key.key, key.certificate), pem(self.authority.certificate).decode()
            )

        async def dial(protocol: Any) -> Any:
            return await connect(
                self.reactor, self.address, protocol, tls=context, server_hostname=LINK_HOST
            )

        return dial

    def agent(self, name: str = "local", key: AgentKey | None = None) -> AgentLink:
        """Start an agent."""
        found = key or self.authority.agent(name)
        target = AgentTarget(
            name="orders", protocol="echo", address=self.target, accounts={"reader": secret}
        )
        floor = Floor(
            (FloorEntry(targets=frozenset({"orders"}), accounts=frozenset({"reader", "nobody"})),)
        )
        link = AgentLink(
            name=name,
            key=lambda: found,
            dial=self.dialler(found),
            opener=TargetOpener(
                verifier=TicketVerifier(
                    name, read_keys(public_keys([self.ticket_key])), self.clock.seconds
                ),
                floor=floor,
                targets={"orders": target},
                legs={"echo": self.leg},
            ),
            clock=self.clock,
            jitter=random.random,
        )
        self.agents.append(link)
        link.start()
        return link

    async def open(
        self,
        target: str = "orders",
        account: str = "reader",
        wishes: Mapping[str, Any] | None = None,
        lasts: float = 3600.0,
    ) -> tuple[OpenTarget, Collector]:
        """Open a target and receive from it."""
        opened = await self.hub.open(
            principal(lasts, self.clock.seconds()), "s-1", target, account, wishes or {}
        )
        collector = Collector()
        collector.take(opened.leg)
        return opened, collector

    async def stop(self) -> None:
        """Stop all, and let sockets close."""
        for agent in self.agents:
            agent.stop()
        self.hub.stop()
        for port in self.ports:
            port.stopListening()
        self.echoes.stop()
        await eventually(self.reactor, lambda: is_quiet(self.reactor))
        shutil.rmtree(self.folder)
