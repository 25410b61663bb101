"""The client's side of the transport: towards targets, in the agent.

Conch's client cannot do a key exchange with ML-KEM (twisted#12624), and takes a signature by
whichever algorithm it names; here the host key must be of the kind that was chosen, and sign so.

References: RFC 8731 (curve25519), draft-ietf-sshm-mlkem-hybrid-kex, RFC 8332 section 3.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, Protocol

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import mlkem
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from twisted.conch.ssh.common import MP
from twisted.conch.ssh.keys import BadKeyError, Key
from twisted.conch.ssh.transport import SSHClientTransport

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh import wire
from hoopgw_ssh.transport import HardenedTransport
from hoopgw_ssh.wire import Reader, string

_CIPHERTEXT: Final = 1088
"""Bytes of an ML-KEM-768 ciphertext."""
_POINT: Final = 32
_PLAIN_KINDS: Final = {b"rsa-sha2-512": b"ssh-rsa", b"rsa-sha2-256": b"ssh-rsa"}
"""Algorithm to the kind of key, where they differ."""


class HostKeys(Protocol):
    """What is known of a host's keys."""

    @property
    def algorithms(self) -> tuple[bytes, ...]:
        """Algorithms by which the host can be known, the most wanted first."""
        ...

    def check(self, blob: bytes) -> bytes:
        """Check a key or certificate as the host showed it; return the plain key that signs.

        Raises:
            ProtocolViolationError: it is not the host's.

        """
        ...


class Exchange(Protocol):
    """The client's half of one key exchange."""

    @property
    def first(self) -> bytes:
        """What is sent."""
        ...

    def finish(self, reply: bytes) -> bytes:
        """Return the shared secret as it is hashed. Raises `ValueError` for what cannot be."""
        ...


class Curve25519Exchange:
    """curve25519-sha256. Implements `Exchange`."""

    def __init__(self) -> None:
        self._key = X25519PrivateKey.generate()
        self.first = self._key.public_key().public_bytes_raw()

    def finish(self, reply: bytes) -> bytes:
        """Return the shared secret, as an mpint."""
        shared = self._key.exchange(X25519PublicKey.from_public_bytes(reply))
        encoded: bytes = MP(int.from_bytes(shared, "big"))
        return encoded


class HybridExchange:
    """mlkem768x25519-sha256. Implements `Exchange`."""

    def __init__(self) -> None:
        self._curve = X25519PrivateKey.generate()
        self._kem = mlkem.MLKEM768PrivateKey.generate()
        self.first = (
            self._kem.public_key().public_bytes_raw() + self._curve.public_key().public_bytes_raw()
        )

    def finish(self, reply: bytes) -> bytes:
        """Return the shared secret, as a string: the hash of both."""
        if len(reply) != _CIPHERTEXT + _POINT:
            raise ValueError("not a ciphertext and a point")
        quantum = self._kem.decapsulate(reply[:_CIPHERTEXT])
        classical = self._curve.exchange(X25519PublicKey.from_public_bytes(reply[_CIPHERTEXT:]))
        return string(sha256(quantum + classical).digest())


def make_exchange(name: bytes) -> Exchange:
    """Begin a key exchange by its name."""
    return HybridExchange() if name.startswith(b"mlkem") else Curve25519Exchange()


@frozen
class _Reply:
    host_key: bytes
    point: bytes
    signature: bytes


class ClientTransport(HardenedTransport, SSHClientTransport):
    """The agent's side, towards a target."""

    host_keys: HostKeys
    """Set before the connection is made."""

    def host_key_algorithms(self) -> tuple[bytes, ...]:
        """Return those by which the host can be known."""
        return self.host_keys.algorithms

    def exchange_begins(self) -> None:
        """Send our half."""
        self._exchange = make_exchange(self.kexAlg)
        self.sendPacket(wire.KEX_ECDH_INIT, string(self._exchange.first))

    def ssh_SERVICE_ACCEPT(self, packet: bytes) -> None:
        """Begin what was asked for, once: Conch would log in again, as often as a host says so."""
        if self.service is not None or Reader(packet).string() != self.instance.name:
            raise ProtocolViolationError("no such service was asked for now")
        self.setService(self.instance)  # type: ignore[no-untyped-call]  # Conch's

    def ssh_KEX_DH_GEX_GROUP(self, packet: bytes) -> None:
        """Take KEX_ECDH_REPLY, which has the number that Conch calls by this name."""
        reader = Reader(packet)
        reply = _Reply(reader.string(), reader.string(), reader.string())
        reader.end()
        try:
            plain = self.host_keys.check(reply.host_key)
        except ProtocolViolationError as error:
            self.sendDisconnect(wire.DISCONNECT_HOST_KEY_NOT_VERIFIABLE, str(error).encode())
            return
        secret = self._exchange.finish(reply.point)
        exchange_hash = self._hash(reply, secret)
        if not _signed_by(plain, self.keyAlg, reply.signature, exchange_hash):
            self.sendDisconnect(
                wire.DISCONNECT_KEY_EXCHANGE_FAILED, b"the host did not sign the key exchange"
            )
            return
        self._keySetup(secret, exchange_hash)

    def _hash(self, reply: _Reply, secret: bytes) -> bytes:
        parts = (
            self.ourVersionString,
            self.otherVersionString,
            self.ourKexInitPayload,
            self.otherKexInitPayload,
            reply.host_key,
            self._exchange.first,
            reply.point,
        )
        return sha256(b"".join(map(string, parts)) + secret).digest()


def _signed_by(key: bytes, algorithm: bytes, signature: bytes, data: bytes) -> bool:
    """Whether a plain host key signed, with the algorithm that was chosen and no other."""
    plain = algorithm.replace(b"-cert-v01@openssh.com", b"")
    if Reader(signature).string() != plain:
        return False
    if Reader(key).string() != _PLAIN_KINDS.get(plain, plain):
        return False
    try:
        return bool(Key.fromString(key, type="blob").verify(signature, data))
    except BadKeyError:
        return False
