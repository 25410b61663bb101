"""The client leg of SSH in memory: real keys and certificates, and a client's transport.

Link, policy, recorder and control are the test itself.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from attrs import define, evolve, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.service import SSHService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from hoopgw.events import Operation
from hoopgw.identity.ssh_certificates import (
    Restrictions,
    SshCaller,
    SshHost,
    issue_host,
    issue_user,
    verify_user,
)
from hoopgw.policy.decision import Allow, Sight, Verdict
from hoopgw.sessions.living import Freeze
from hoopgw.spi import GatewayContext, TargetSettings
from hoopgw_ssh.client import ClientTransport
from hoopgw_ssh.framing import FrameReader, encode_frame
from hoopgw_ssh.gateway import ClientConnection, SshFactory, make_factory
from hoopgw_ssh.user_login import CERTIFICATE, USERAUTH_BANNER, USERAUTH_REQUEST
from hoopgw_ssh.wire import Reader, string
from tests.fakes import FakeContents, FakeRecorder
from tests.http.fakes import FakeTransport
from tests.ssh.ends import End, Taker
from tests.ssh.pairs import Pipe
from tests.ssh.test_user_login import CERTIFIED, NOW, URL

ALLOW = Verdict(decision=Allow(), because=("p",), policy="v1")


class _Auth(SSHService):
    """The client's part of the log-in: keeps what comes."""

    name = b"ssh-userauth"

    def __init__(self) -> None:
        self.messages: list[tuple[int, bytes]] = []

    def packetReceived(self, messageNum: int, payload: bytes) -> None:
        """Keep it."""
        self.messages.append((messageNum, bytes(payload)))


class _Client(ClientTransport):
    """Keeps why it was disconnected."""

    told = ""

    def ssh_DISCONNECT(self, packet: bytes) -> None:
        """Keep why."""
        self.told = Reader(packet[4:]).string().decode()
        super().ssh_DISCONNECT(packet)


@define(eq=False)
class Hosts:
    """What the client knows of the gateway."""

    algorithms: tuple[bytes, ...]
    seen: list[bytes] = field(factory=list)

    def check(self, blob: bytes) -> bytes:
        """Take whatever comes; return the plain key."""
        self.seen.append(blob)
        reader = Reader(blob)
        if reader.string() != CERTIFICATE:
            return blob
        reader.string()  # a nonce
        return string(b"ssh-ed25519") + string(reader.string())


@define(eq=False)
class Visitor:
    """One client's connection."""

    world: World
    server: ClientConnection
    client: _Client
    hosts: Hosts
    key: Ed25519PrivateKey = field(factory=Ed25519PrivateKey.generate)
    lost: bool = False

    @property
    def auth(self) -> _Auth:
        """The client's part of the log-in."""
        service = self.client.service
        assert isinstance(service, _Auth)
        return service

    @property
    def numbers(self) -> list[int]:
        """Of the messages of the log-in that came."""
        return [number for number, _ in self.auth.messages]

    @property
    def banner(self) -> str:
        """What was printed at the log-in."""
        found = [p for n, p in self.auth.messages if n == USERAUTH_BANNER]
        return "".join(Reader(each).string().decode() for each in found)

    def run(self) -> Visitor:
        """Carry all there is."""
        one, other = cast("Pipe", self.server.transport), cast("Pipe", self.client.transport)
        while one.written or other.written:
            if data := one.take():
                self.client.dataReceived(memoryview(data))
            if data := other.take():
                self.server.dataReceived(memoryview(data))
        if one.closed and not self.lost:
            self.leave()
        return self

    def start(self, command: bytes) -> Talk:
        """Open a channel, and start a command; the target takes both."""
        talk = Talk(self)
        self.client.service = talk
        taker = Taker()
        taker.channel = channel = talk.near.connection.open(b"session", b"", taker)
        talk.run()
        channel.request(b"exec", string(command))
        return talk.run()

    def leave(self) -> None:
        """Lose the connection."""
        self.lost = True
        self.server.connectionLost()
        self.client.connectionLost()

    def certificate(self, **options: Any) -> bytes:
        """Return a certificate's blob, of the world's CA."""
        certified = evolve(CERTIFIED, targets=frozenset({"web1", "web9"}))
        ca, key, restrictions = self.world.ca, self.key.public_key(), Restrictions(**options)
        text, _ = issue_user(ca, certified, key, ["deploy"], NOW, restrictions)
        return _blob(text)

    def log_in(self, user: bytes = b"deploy+web1", **options: Any) -> Visitor:
        """Show a certificate, and prove its key."""
        blob = self.certificate(**options)
        body = b"".join(
            (
                *map(string, (user, b"ssh-connection", b"publickey")),
                b"\1",
                *map(string, (CERTIFICATE, blob)),
            )
        )
        session = self.client.sessionID
        assert session is not None
        signed = string(session) + bytes([USERAUTH_REQUEST]) + body
        signature = string(b"ssh-ed25519") + string(self.key.sign(signed))
        self.client.sendPacket(USERAUTH_REQUEST, body + string(signature))
        return self.run()


class Talk:
    """What the client and the target say once they are joined."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.near, self.far = End(), End()
        self._frames = FrameReader(self.far.connection.received)

    def packetReceived(self, number: int, payload: bytes) -> None:
        """Take a message for the client."""
        self.near.connection.received(number, payload)

    def serviceStopped(self) -> None:
        """Do nothing."""

    def run(self) -> Talk:
        """Carry all there is."""
        link = self.visitor.world.links[-1]
        while self.near.sent or self.far.sent or link.written:
            while self.near.sent:
                self.visitor.client.sendPacket(*self.near.sent.popleft())
            self.visitor.run()
            self._frames.receive(link.take())
            while self.far.sent:
                link.protocol.dataReceived(encode_frame(*self.far.sent.popleft()))
            self.visitor.run()
        return self


class Link(FakeTransport):
    """The leg to the agent."""


class Pipes(Pipe):
    """A client's transport, with a producer."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take it."""
        del producer, streaming


@define(eq=False)
class World:
    """A listener among fakes."""

    verdict: Callable[[Operation], Verdict] = lambda _operation: ALLOW
    listener: dict[str, Any] = field(factory=dict)
    clock: Clock = field(factory=Clock)
    recorder: FakeRecorder = field(factory=FakeRecorder)
    ca: Ed25519PrivateKey = field(factory=Ed25519PrivateKey.generate)
    host: SshHost = field(init=False)
    opened: dict[str, tuple[Any, ...]] = field(factory=dict)
    """Live sessions, with what was said of them."""
    closed: list[tuple[str, str]] = field(factory=list)
    links: list[Link] = field(factory=list)
    opening: Deferred[None] = field(factory=lambda: succeed(None))
    """Fires when the agent has opened the target."""
    no_session: Exception | None = None
    """Why no session may be opened."""
    purses: list[Any] = field(factory=list)
    shown: list[SshCaller] = field(factory=list)
    """Whom certificates stood for that were good."""
    factory: SshFactory = field(init=False)
    _sessions: int = 0

    def __attrs_post_init__(self) -> None:
        self.clock.advance(NOW)
        key = Ed25519PrivateKey.generate()
        text = issue_host(self.ca, key.public_key(), ["gw.example"], NOW)
        self.host = SshHost(key=key, certificate=_blob(text))
        context = SimpleNamespace(
            reactor=self.clock,
            clock=self.clock,
            targets={"web1": TargetSettings(name="web1", protocol="ssh", agent="local")},
            listener=self.listener,
            names=("gw.example",),
            mask_key=lambda: b"k" * 32,
            counters=Counter(),
            policy=SimpleNamespace(
                epoch="1",
                version="v1",
                decide=lambda _who, op, _session: self.verdict(op),
                sights=lambda _who, fields, _session: {f.id: Sight(mask=None) for f in fields},
            ),
            recorder=self.recorder,
            reviews=None,
            budgets=SimpleNamespace(open=self._purse),
            link=SimpleNamespace(open=lambda *more: Deferred.fromCoroutine(self._open(*more))),
            logins=SimpleNamespace(ssh_certificate=self._verify),
            sessions=SimpleNamespace(opened=self._opened, closed=self._closed),
            grants=SimpleNamespace(url="https://gw.example", used=lambda *_more: None),
            contents=FakeContents(),
            ssh_host=lambda: self.host,
            new_session=self._new_session,
        )
        self.factory = make_factory(cast("GatewayContext", context))

    def connect(self, *algorithms: bytes, address: str = "192.0.2.7") -> Visitor:
        """Connect a client, exchange keys, and ask for the log-in."""
        made = self.factory.buildProtocol(cast("Any", SimpleNamespace(host=address)))
        server, client = cast("ClientConnection", made), _Client()
        hosts = Hosts(algorithms or (CERTIFICATE,))
        client.host_keys, client.clock = hosts, Clock()
        for side in (server, client):
            side.transport = Pipes()
            side.connectionMade()
        visitor = Visitor(self, server, client, hosts).run()
        client.requestService(_Auth())
        return visitor.run()

    @property
    def cut(self) -> Callable[[str], None]:
        """Ends the last session."""
        cut: Callable[[str], None] = self.opened[list(self.opened)[-1]][2]
        return cut

    @property
    def reconsider(self) -> Callable[[], str | None]:
        """Looks at the last session, as grants have changed."""
        found: Callable[[], str | None] = self.opened[list(self.opened)[-1]][5]
        return found

    @property
    def freeze(self) -> Freeze:
        """Freezes the last session, or thaws it."""
        found: Freeze = self.opened[list(self.opened)[-1]][7]
        return found

    def kinds(self) -> list[str]:
        """Return what was recorded, by kind."""
        return [type(record).__name__ for record in self.recorder.records]

    def _verify(self, text: str, target: str, account: str) -> SshCaller:
        authorities = [self.ca.public_key()]
        now = self.clock.seconds()
        self.shown.append(verify_user(text, authorities, URL, target, account, now))
        return self.shown[-1]

    async def _open(self, *_more: Any) -> Any:
        await self.opening
        self.links.append(Link())
        facts = {"server": "SSH-2.0-x"}
        return SimpleNamespace(leg=self.links[-1], agent="local", facts=facts, cancel=None)

    def _opened(self, session: str, *more: Any) -> None:
        if self.no_session is not None:
            raise self.no_session
        self.opened[session] = more

    def _closed(self, session: str, reason: str = "") -> None:
        if session in self.opened:
            self.closed.append((session, reason))

    def _purse(self, _principal: object) -> Any:
        plenty = {"spend": lambda _names: True, "room": lambda _name: None}
        self.purses.append(SimpleNamespace(closed=0, used=lambda _amounts: None, **plenty))
        purse = self.purses[-1]

        def close() -> None:
            purse.closed += 1

        purse.close = close
        return purse

    def _new_session(self) -> str:
        self._sessions += 1
        return f"s-{self._sessions}"


def _blob(text: str) -> bytes:
    return base64.b64decode(text.split()[1])
