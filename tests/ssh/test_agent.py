"""The agent's leg against a real sshd: who it takes for the host, and how it logs in."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import TestCase

from hoopgw.errors import ConfigError, LinkError
from hoopgw.link.pump import Pump
from hoopgw.spi import AgentContext, AgentTarget, Opened
from hoopgw.transport import DataTransport, adopt
from hoopgw_ssh import transport, wire
from hoopgw_ssh.agent import make_target_leg
from hoopgw_ssh.framing import FrameReader, encode_frame
from tests.postgres.agent_case import giving
from tests.ssh.ends import End, Taker
from tests.support.openssh import ACCOUNT, SshServer, make_key, public, running
from tests.support.waiting import eventually, is_quiet


class _Near(Protocol):
    """The gateway's side of the link."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.frames = FrameReader(lambda number, payload: end.connection.received(number, payload))

    def dataReceived(self, data: bytes) -> None:
        """Take frames."""
        self.frames.receive(data)
        self.flush()

    def flush(self) -> None:
        """Send what waits."""
        assert self.transport is not None
        while self.end.sent:
            self.transport.write(encode_frame(*self.end.sent.popleft()))


@define(eq=False)
class Session:
    """A target that is open, as the gateway sees it."""

    opened: Opened
    end: End = field(factory=End)
    near: _Near = field(init=False)
    ended: list[bool] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.near = _Near(self.end)
        gateway: DataTransport = adopt(reactor, ours, self.near)
        self.near.makeConnection(gateway)
        agent = adopt(reactor, theirs, None)
        outbound = self.opened.outbound
        assert outbound is not None
        pump = Pump(
            agent,
            self.opened.transport,
            lambda: self.ended.append(True),
            outbound(agent, self.opened.transport),
        )
        pump.start()
        gateway.resumeProducing()

    def channel(self) -> Taker:
        """Open a session channel."""
        taker = Taker()
        taker.channel = self.end.connection.open(b"session", b"", taker)
        self.near.flush()
        return taker

    async def run(self, command: str) -> Taker:
        """Run a command to its end."""
        taker = self.channel()
        assert taker.channel is not None
        taker.channel.request(b"exec", wire.string(command.encode()), lambda _ok: None)
        await eventually(reactor, lambda: "closed" in taker.events)
        return taker


class AgentCase(TestCase):
    """With a server, that each class starts once."""

    timeout = 120
    server: SshServer

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = cls.enterClassContext(running())

    def setUp(self) -> None:
        self.addCleanup(self.calm_down)
        self.leg = make_target_leg(AgentContext(reactor=reactor, clock=reactor))

    def calm_down(self) -> Deferred[None]:
        """Wait until every connection is closed on both sides."""
        return Deferred.fromCoroutine(eventually(reactor, lambda: is_quiet(reactor)))

    def target(self, secret: bytes, **options: Any) -> AgentTarget:
        """Return the server as a target."""
        return AgentTarget(
            name="web1",
            protocol="ssh",
            address=self.server.address,
            accounts={ACCOUNT: giving(secret)},
            options={"host_keys": [self.server.host_key], **options},
        )

    async def session(self, target: AgentTarget) -> Session:
        """Open a target."""
        opened = await self.leg.open(target, ACCOUNT, {})
        session = Session(opened)
        self.addCleanup(opened.transport.abortConnection)
        return session

    async def refused(self, target: AgentTarget) -> str:
        """Fail to open a target; return why."""
        with self.assertRaises(LinkError) as caught:
            await self.leg.open(target, ACCOUNT, {})
        return str(caught.exception)


class LoginTests(AgentCase):
    """How accounts log in."""

    async def test_a_key(self) -> None:
        """A command runs; output, errors and status come, in order."""
        session = await self.session(self.target(self.server.user_key))
        taker = await session.run("echo out; echo err >&2; exit 3")
        self.assertEqual(taker.text, b"out\n")
        self.assertIn((1, b"err\n"), taker.events)
        self.assertIn((b"exit-status", (3).to_bytes(4, "big")), taker.events)

    async def test_kinds_of_keys(self) -> None:
        """RSA signs with SHA-2; ECDSA; PEM of old."""
        folder = Path(self.mktemp())
        folder.mkdir()
        keys = [make_key(folder / kind, kind) for kind in ("rsa", "ecdsa")]
        old = make_key(folder / "pem", "rsa")
        subprocess.run(["ssh-keygen", "-q", "-p", "-m", "PEM", "-N", "", "-f", old], check=True)
        authorized = self.server.folder / "authorized"
        before = authorized.read_text()
        self.addCleanup(authorized.write_text, before)
        authorized.write_text(before + "".join(public(key) + "\n" for key in (*keys, old)))
        for key in (*keys, old):
            session = await self.session(self.target(key.read_bytes()))
            self.assertEqual((await session.run("echo yes")).text, b"yes\n")

    async def test_a_certificate_of_its_own(self) -> None:
        """The agent has a CA's key; each session logs in with a key that nobody keeps."""
        target = self.target(self.server.user_ca, auth={ACCOUNT: "ca"})
        for _ in range(2):
            session = await self.session(target)
            self.assertEqual((await session.run("echo certified")).text, b"certified\n")
        await eventually(reactor, lambda: self.server.log.count(f"ID hoopgw {ACCOUNT}") >= 2)

    async def test_a_key_with_its_certificate(self) -> None:
        """One file has both."""
        folder = Path(self.mktemp())
        folder.mkdir()
        key = make_key(folder / "key")
        ca = self.server.folder / "user_ca"
        subprocess.run(
            ["ssh-keygen", "-q", "-s", ca, "-I", "x", "-n", ACCOUNT, f"{key}.pub"], check=True
        )
        certificate = (folder / "key-cert.pub").read_bytes()
        session = await self.session(self.target(key.read_bytes() + certificate))
        self.assertEqual((await session.run("echo both")).text, b"both\n")

    async def test_a_wrong_key(self) -> None:
        """Is told as what it is, and nothing of the key is."""
        key = make_key(Path(self.mktemp()))
        said = await self.refused(self.target(key.read_bytes()))
        self.assertIn("does not take the agent's credential", said)
        for secret in (b"no key", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH"):
            said = await self.refused(self.target(secret))
            self.assertIn("cannot be read", said)
            self.assertNotIn("AAAA", said)

    async def test_a_key_is_no_password(self) -> None:
        """A key whose kind was left out is not shown to the target, as a password would be."""
        for kind in ("password", "interactive"):
            with self.subTest(kind):
                target = self.target(self.server.user_key, auth={ACCOUNT: kind})
                self.assertIn("configuration of web1 is wrong", await self.refused(target))
        self.assertNotIn("Failed", self.server.log)
        self.flushLoggedErrors()


class HostTests(AgentCase):
    """Who is taken for the host."""

    async def test_another_key(self) -> None:
        """The credential is not shown to who has another one."""
        other = public(make_key(Path(self.mktemp())))
        before = self.server.log.count("Accepted")
        said = await self.refused(self.target(self.server.user_key, host_keys=[other]))
        self.assertIn("the host's key is not the one that is known", said)
        self.assertEqual(self.server.log.count("Accepted"), before)

    async def test_an_rsa_key(self) -> None:
        """By SHA-2."""
        pinned = public(self.server.folder / "host_rsa")
        session = await self.session(self.target(self.server.user_key, host_keys=[pinned]))
        self.assertEqual((await session.run("echo rsa")).text, b"rsa\n")

    async def test_known_hosts(self) -> None:
        """Plain and hashed; another port is another host; what is revoked is not taken."""
        file = Path(self.mktemp())
        name, key = f"[127.0.0.1]:{self.server.port}", self.server.host_key
        target = self.target(self.server.user_key, host_keys=[], known_hosts=str(file))
        for text, good in (
            (f"{name} {key}\n", True),
            (f"other,{name} {key} comment\n", True),
            (f"127.0.0.1 {key}\n", False),
            (f"* {key}\n", False),
            (f"{name} {key}\n@revoked {name} {key}\n", False),
        ):
            file.write_text(text)
            if good:
                await self.session(target)
            else:
                self.assertIn("configuration of web1 is wrong", await self.refused(target))
        file.write_text(f"{name} {key}\n")
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
        self.assertIn("|1|", file.read_text())
        await self.session(target)

    async def test_a_ca(self) -> None:
        """Signs for a name, and for a time; users' certificates are no hosts'."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        ca, key = make_key(folder / "ca"), make_key(folder / "key")
        lines = (f"HostKey {key}", f"HostCertificate {key}-cert.pub")
        for options, why in (
            (["-h", "-n", "web1.internal"], ""),
            (["-h", "-n", "other.internal"], "for another host"),
            (["-h"], "for another host"),
            (["-h", "-n", "web1.internal", "-V", "20200101:20200102"], "outside its time"),
            (["-n", "web1.internal"], "shows a user's certificate"),
        ):
            subprocess.run(["ssh-keygen", "-q", "-s", ca, "-I", "x", *options, f"{key}.pub"])
            with running(*lines) as server:
                target = evolve(
                    self.target(server.user_key, host_ca=[public(ca)], host_keys=[]),
                    address=server.address,
                )
                named = evolve(target, options={**target.options, "host": "web1.internal"})
                if why:
                    self.assertIn(why, await self.refused(named))
                    continue
                await self.session(named)
                other = {**named.options, "host_ca": [public(key)]}
                self.assertIn("another CA", await self.refused(evolve(named, options=other)))

    def test_configuration(self) -> None:
        """What makes no sense is told when the agent starts."""
        for options, said in (
            ({"host_keys": []}, "no host key of 127.0.0.1 is known"),
            ({"host_keys": ["ssh-ed25519 nonsense"]}, "not of the form"),
            ({"host_keys": ["ssh-dss AAAAB3NzaC1kc3M="]}, "is not taken"),
            ({"known_hosts": "/nowhere"}, "cannot be read"),
            ({"auth": {ACCOUNT: "magic"}}, "expected one of"),
            ({"colour": 1}, "no such option"),
        ):
            with self.assertRaisesRegex(ConfigError, said):
                self.leg.check(self.target(b"", **options))
        self.leg.check(self.target(b""))


class CarryingTests(AgentCase):
    """What an open target does."""

    async def test_much_both_ways(self) -> None:
        """As it is, though neither side has room for all of it at once."""
        session = await self.session(self.target(self.server.user_key))
        taker = session.channel()
        assert taker.channel is not None
        taker.channel.request(b"exec", wire.string(b"cat"), lambda _ok: None)
        sent = bytes(range(256)) * 40_000
        for at in range(0, len(sent), 30_000):
            taker.channel.write(sent[at : at + 30_000])
        taker.channel.eof()
        session.near.flush()
        await eventually(reactor, lambda: "closed" in taker.events)
        self.assertEqual(taker.text, sent)

    async def test_keys_are_exchanged_meanwhile(self) -> None:
        """By us, again and again; nothing is lost."""
        session = await self.session(self.target(self.server.user_key))
        self.patch(transport, "REKEY_BYTES", 300_000)
        taker = await session.run("head -c 3000000 /dev/zero")
        self.assertEqual(len(taker.text), 3_000_000)

    async def test_both_ends_end_together(self) -> None:
        """And no timer stays."""
        session = await self.session(self.target(self.server.user_key))
        assert session.near.transport is not None
        session.near.transport.loseConnection()
        await eventually(reactor, lambda: session.ended)
