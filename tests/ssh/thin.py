"""A gateway of the thinnest: real clients, our transport and relay, the agent's leg, a real sshd.

Everything is allowed. What is between the two legs of the real gateway, link and policy, has tests
of its own; here the clients find out whether SSH is as they know it.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.service import SSHService
from twisted.internet.protocol import Factory

from hoopgw.identity.ssh_certificates import SshCaller, issue_user, verify_user
from hoopgw.link.pump import Pump
from hoopgw.spi import AgentContext, AgentTarget
from hoopgw.transport import Address, DataTransport, adopt, listen
from hoopgw_ssh.agent import SshTargetLeg, make_target_leg
from hoopgw_ssh.ciphers import PACKET_LIMIT
from hoopgw_ssh.joined import Joined
from hoopgw_ssh.transport import ServerTransport
from hoopgw_ssh.user_login import CERTIFICATE, LoggedIn, UserLogin
from tests.postgres.agent_case import giving
from tests.ssh.test_relay import Judging
from tests.ssh.test_user_login import CERTIFIED, URL
from tests.support.openssh import ACCOUNT, SshServer, make_key


class _Client(ServerTransport):
    """One client's connection."""

    user_algorithms = (CERTIFICATE,)

    def sendKexInit(self, theirs: Any = None) -> None:
        """Keep data back while keys are exchanged."""
        super().sendKexInit(theirs)
        if isinstance(self.service, Joined):
            self.service.exchanging(keys=self.is_exchanging)

    def exchanged(self) -> None:
        """Go on."""
        if isinstance(self.service, Joined):
            self.service.exchanging(keys=False)


@define(eq=False)
class ThinGateway(Factory):
    """Listens for SSH clients."""

    reactor: Any
    server: SshServer
    folder: Path
    judging: Judging = field(factory=Judging)
    port: int = field(init=False)
    clients: list[_Client] = field(factory=list, init=False)
    _ca: Ed25519PrivateKey = field(factory=Ed25519PrivateKey.generate, init=False)
    _host: Key = field(init=False)
    _leg: SshTargetLeg = field(init=False)
    _listening: Any = field(init=False)

    host_key_algorithms = (b"ssh-ed25519",)

    def __attrs_post_init__(self) -> None:
        self._host = Key(Ed25519PrivateKey.generate())
        self._leg = make_target_leg(AgentContext(reactor=self.reactor, clock=self.reactor))
        self._listening = listen(self.reactor, Address("127.0.0.1", 0), self)
        self.port = self._listening.getHost().port
        self._write_client_files()

    @property
    def publicKeys(self) -> dict[bytes, Key]:
        """For Conch."""
        return {b"ssh-ed25519": self._host.public()}

    @property
    def privateKeys(self) -> dict[bytes, Key]:
        """For Conch."""
        return {b"ssh-ed25519": self._host}

    def buildProtocol(self, addr: Any) -> _Client:
        """Serve a client."""
        client = _Client()
        client.factory, client.clock = self, self.reactor
        self.clients.append(client)
        return client

    def getService(self, transport: Any, name: bytes) -> Any:
        """For Conch."""
        if name != UserLogin.name:
            return None
        admit = lambda found: self._admit(transport, found)  # noqa: E731  # a closure, no more
        return lambda: UserLogin(self._verify, "127.0.0.1", self.reactor, admit)

    def _verify(self, text: str, target: str, account: str) -> SshCaller:
        now = self.reactor.seconds()
        return verify_user(text, [self._ca.public_key()], URL, target, account, now)

    async def _admit(self, transport: _Client, found: LoggedIn) -> SSHService:
        target = AgentTarget(
            name="web1",
            protocol="ssh",
            address=self.server.address,
            accounts={ACCOUNT: giving(self.server.user_key)},
            options={"host_keys": [self.server.host_key]},
        )
        opened = await self._leg.open(target, found.wanted.account, {})
        ours, theirs = socket.socketpair()
        near: DataTransport = adopt(self.reactor, theirs, None)
        assert opened.outbound is not None
        Pump(near, opened.transport, lambda: None, opened.outbound(near, opened.transport)).start()
        if opened.rest:
            near.write(opened.rest)
        transport.packet_limit = PACKET_LIMIT
        return Joined(adopt(self.reactor, ours, None), self.judging)

    def _write_client_files(self) -> None:
        key = make_key(self.folder / "id")
        private = Ed25519PrivateKey.from_private_bytes(_seed(key))
        now = self.reactor.seconds()
        principal = evolve(CERTIFIED.principal, expires=now + 3_600)
        text, _ = issue_user(
            self._ca, evolve(CERTIFIED, principal=principal), private.public_key(), [ACCOUNT], now
        )
        (self.folder / "id-cert.pub").write_text(text + "\n")
        known = self._host.public().toString("openssh").decode()
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.port} {known}\n")
        lines = (
            "Host gw web1",
            "HostName 127.0.0.1",
            f"Port {self.port}",
            f"User {ACCOUNT}+web1",
            f"IdentityFile {key}",
            f"CertificateFile {self.folder}/id-cert.pub",
            f"UserKnownHostsFile {self.folder}/known",
            "StrictHostKeyChecking yes",
            "IdentitiesOnly yes",
            "BatchMode yes",
            "ControlMaster no",
        )
        (self.folder / "config").write_text("\n".join(lines) + "\n")

    async def stop(self) -> None:
        """Listen no more, and end what lives."""
        self._listening.stopListening()
        for client in self.clients:
            if client.transport is not None:
                client.transport.abortConnection()


def _seed(path: Path) -> bytes:
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    key = load_ssh_private_key(path.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return key.private_bytes_raw()
