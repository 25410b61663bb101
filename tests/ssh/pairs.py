"""A client's and a server's transport that are joined in memory, on a clock that tests drive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.service import SSHService
from twisted.internet.task import Clock

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh.client import ClientTransport
from hoopgw_ssh.transport import HardenedTransport, ServerTransport

USER_ALGORITHMS = (b"ssh-ed25519", b"rsa-sha2-512")


@define
class Pipe:
    """Keeps what is written."""

    written: bytearray = field(factory=bytearray)
    writes: int = 0
    closed: bool = False

    @property
    def queued(self) -> int:
        """Bytes that the peer has not taken."""
        return len(self.written)

    def write(self, data: bytes) -> None:
        """Take bytes."""
        self.written += data
        self.writes += 1

    def writeSequence(self, pieces: Iterable[bytes]) -> None:
        """Take pieces, as one write."""
        self.write(b"".join(pieces))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Do nothing: it is never full."""

    def loseConnection(self) -> None:
        """End."""
        self.closed = True

    def abortConnection(self) -> None:
        """End."""
        self.closed = True

    def take(self, size: int | None = None) -> bytes:
        """Return what was written, and forget it; at most ``size`` bytes."""
        taken = bytes(self.written[:size])
        del self.written[: len(taken)]
        return taken


class Notes(SSHService):
    """A service that keeps what comes."""

    name = b"ssh-userauth"

    def __init__(self) -> None:
        self.messages: list[tuple[int, bytes]] = []

    def packetReceived(self, messageNum: int, payload: bytes) -> None:
        """Take a message."""
        self.messages.append((messageNum, bytes(payload)))


@define(eq=False)
class Host:
    """A server's keys and services, and what its clients know of them."""

    key: Key = field(factory=lambda: Key(Ed25519PrivateKey.generate()))
    pinned: Key | None = None
    """What clients take for its key, if not that."""

    host_key_algorithms = (b"ssh-ed25519",)
    algorithms = (b"ssh-ed25519",)

    @property
    def publicKeys(self) -> dict[bytes, Key]:
        """For Conch."""
        return {b"ssh-ed25519": self.key.public()}

    @property
    def privateKeys(self) -> dict[bytes, Key]:
        """For Conch."""
        return {b"ssh-ed25519": self.key}

    def getService(self, _transport: Any, name: bytes) -> type[Notes] | None:
        """For Conch."""
        return Notes if name == Notes.name else None

    def check(self, blob: bytes) -> bytes:
        """Take the pinned key, and no other."""
        if blob != (self.pinned or self.key).public().blob():
            raise ProtocolViolationError("not the host's key")
        return blob


@define(eq=False)
class Pair:
    """Both sides."""

    host: Host = field(factory=Host)
    clock: Clock = field(factory=Clock)
    server: ServerTransport = field(factory=ServerTransport)
    client: ClientTransport = field(factory=ClientTransport)

    def begin(self) -> Pair:
        """Let both say their versions."""
        self.server.factory = self.client.host_keys = self.host
        self.server.user_algorithms = USER_ALGORITHMS
        for side in (self.server, self.client):
            side.clock, side.transport = self.clock, Pipe()
            side.connectionMade()
        return self

    def run(self, size: int | None = None) -> Pair:
        """Carry all there is, in pieces of ``size`` bytes if given."""
        while self.server.transport.written or self.client.transport.written:
            for one, other in ((self.server, self.client), (self.client, self.server)):
                if data := one.transport.take(size):
                    other.dataReceived(memoryview(data))
        return self

    def logged_in(self) -> Pair:
        """Exchange keys, and begin a service."""
        self.begin().run()
        self.client.requestService(Notes())
        return self.run()


def messages(side: HardenedTransport) -> list[tuple[int, bytes]]:
    """Return what a side's service has taken."""
    found: list[tuple[int, bytes]] = side.service.messages
    return found
