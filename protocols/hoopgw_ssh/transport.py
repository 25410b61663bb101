"""Conch's SSH transport, with what it lacks (twisted 26.10, `twisted.conch.ssh.transport`).

What is Conch's: the key exchange's own messages as a server, the derivation of keys, dispatch to
``ssh_*`` methods and services. What is replaced, and why:

- packets: no AES-GCM, no encrypt-then-MAC (twisted#6966), a buffer that is copied for each packet;
- the choice of algorithms: `hoopgw_ssh.negotiation`; compression before log-in is left out;
- which message may come when: Conch takes any at any time, SERVICE_REQUEST before there are keys
  included. With it strict key exchange (twisted#12057), against prefix truncation (Terrapin);
- key exchange again by volume, by count and by time (twisted#4790), each with a deadline;
- keys per direction: each side's NEWKEYS switches its own;
- a key exchange with ML-KEM as a client (twisted#12624), and host keys that are checked as a client
  with the algorithm that was chosen, not whichever the signature names.

References: RFC 4253; RFC 8308; OpenSSH's PROTOCOL sections 1.5, 1.6 and 1.10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from twisted.conch.ssh import _kex
from twisted.conch.ssh.transport import SSHServerTransport, SSHTransportBase
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh import wire
from hoopgw_ssh.ciphers import (
    EARLY_PACKET_LIMIT,
    ClearOpener,
    ClearSealer,
    IntegrityError,
    Keys,
    Opener,
    Sealer,
    make_opener,
    make_sealer,
)
from hoopgw_ssh.greeting import Greeting
from hoopgw_ssh.negotiation import (
    AEAD,
    CTR,
    EXT_INFO_CLIENT,
    EXT_INFO_SERVER,
    MACS,
    STRICT_CLIENT,
    STRICT_SERVER,
    Choice,
    Offer,
    choose,
    guessed_wrong,
    parse_offer,
)
from hoopgw_ssh.small_messages import SmallMessages
from hoopgw_ssh.units import Units

log = Logger()

VERSION: Final = b"SSH-2.0-hoopgw"
STEERING_PATIENCE: Final = 1.0
"""Seconds for which a server waits for the client's offer before it makes its own."""
EXCHANGE_TIMEOUT: Final = 60.0
"""Seconds that a key exchange may take."""
SERVICE_TIMEOUT: Final = 120.0
"""Seconds from connecting to asking for the log-in, which has a deadline of its own."""
REKEY_BYTES: Final = 1 << 30
REKEY_PACKETS: Final = 1 << 28
"""Far below 2^32, where a packet's number begins again and AES-GCM's limit is near."""
REKEY_SECONDS: Final = 3600.0
WAITING_LIMIT: Final = 8 * 2**20
"""Bytes that may wait for the end of a key exchange."""
_COST: Final = 128
"""Bytes that a message takes that waits, besides its own."""
ANSWERS_LIMIT: Final = 2**20
"""Bytes of other messages than data that were sent since the peer last had taken all."""
UNREAD_LIMIT: Final = 4 * 2**20
"""Bytes that may wait for a peer that asks on and never reads: no window bounds answers."""

KEY_EXCHANGES: Final = tuple(
    name
    for name in (b"mlkem768x25519-sha256", b"curve25519-sha256", b"curve25519-sha256@libssh.org")
    if name in _kex.getSupportedKeyExchanges()
)

_NONE: Final = SSHTransportBase._KEY_EXCHANGE_NONE
_REQUESTED: Final = SSHTransportBase._KEY_EXCHANGE_REQUESTED
_PROGRESSING: Final = SSHTransportBase._KEY_EXCHANGE_PROGRESSING


class HardenedTransport(SmallMessages):
    """What both roles share. Its ``transport`` is one of `hoopgw.transport`.

    A subclass names ``isClient``, and handles the messages of its side of the key exchange.
    """

    transport: Any
    service: Any
    ourVersionString = VERSION
    clock: IReactorTime
    """Set before the connection is made."""
    packet_limit: int = EARLY_PACKET_LIMIT
    """Bytes of a packet that is taken; `hoopgw_ssh.ciphers.PACKET_LIMIT` once the peer is known."""
    strict: bool = False
    """Whether both sides agreed on strict key exchange."""
    afterwards: Callable[[], None] | None = None
    """Called at the end of each batch: what others have gathered meanwhile leaves."""

    def connectionMade(self) -> None:
        """Say the version; a client makes its offer at once."""
        self._greeting = Greeting(from_server=self.isClient)
        self._units = Units(4, self._open, self._size)
        self._opener: Opener = ClearOpener()
        self._sealer: Sealer = ClearSealer()
        self._pending: list[wire.Bytes] = []
        self._answers = 0
        self._depth = 0
        self._expected = wire.KEXINIT
        """The one message that a key exchange goes on with; 0 while there is none."""
        self._is_first = True
        self._skips = False
        self.extensions_told = 0
        self._waiting_bytes = 0
        self._moved_bytes = self._moved_packets = 0
        self._deadline: IDelayedCall | None = None
        self._rekey: IDelayedCall | None = None
        self._ended = False
        self._choice: Choice | None = None
        self._our_offer: Offer | None = None
        self.transport.write(self.ourVersionString + b"\r\n")
        self._set_deadline()
        if self.isClient:
            self.sendKexInit()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """End the service, and forget all that was to happen."""
        self._ended = True
        for call in (self._deadline, self._rekey):
            if call is not None and call.active():
                call.cancel()
        if self.service:
            self.service.serviceStopped()

    # Receiving

    def dataReceived(self, data: wire.Bytes) -> None:
        """Take bytes: the version line, then packets."""
        self._depth += 1
        try:
            if self.gotVersion:
                self._units.receive(data)
            else:
                self._greet(data)
        except IntegrityError as error:
            self._refuse(wire.DISCONNECT_MAC_ERROR, error)
        except ProtocolViolationError as error:
            self._refuse(wire.DISCONNECT_PROTOCOL_ERROR, error)
        finally:
            self._leave()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Let what is sent meanwhile leave in one piece, at the end."""
        self._depth += 1
        try:
            yield
        finally:
            self._leave()

    @property
    def is_batching(self) -> bool:
        """Whether `afterwards` is going to be called."""
        return self._depth > 0

    def _leave(self) -> None:
        self._depth -= 1
        if not self._depth:
            if self.afterwards is not None:
                self.afterwards()
            self._flush()

    def _greet(self, data: wire.Bytes) -> None:
        version = self._greeting.receive(data)
        if version is not None:
            self.otherVersionString = version
            self.gotVersion = True
            self._units.receive(self._greeting.rest)

    def _open(self, data: memoryview, at: int) -> int:
        """Open the packet that begins at ``at``; return where the next one does: see `Units`."""
        if self._ended:
            return len(data)
        # The opener is looked up for each packet: NEWKEYS can lie in the middle.
        found = self._opener.open(data, at, self.incomingPacketSequence, self.packet_limit)
        if found is None:
            return at
        payload, end = found
        self.incomingPacketSequence = (self.incomingPacketSequence + 1) & 0xFFFFFFFF
        self._count(end - at)
        self._take(payload)
        return end

    def _size(self, head: memoryview) -> int:
        return 4 + int.from_bytes(head[:4], "big") + self._opener.behind

    def _take(self, payload: memoryview) -> None:
        """Let a message in, if it may come now."""
        number = payload[0]
        if number <= wire.LAST_OF_TRANSPORT:
            if not self._may_come(number):
                raise ProtocolViolationError(f"message {number} may not come now")
            if self._skips and number == wire.KEX_ECDH_INIT:
                self._skips = False  # the guess was wrong
                return
            self.dispatchMessage(number, bytes(payload[1:]))
        elif self._expected or self.service is None:
            raise ProtocolViolationError(f"message {number} may not come now")
        else:
            self.service.packetReceived(number, payload[1:])

    def _may_come(self, number: int) -> bool:
        """Say whether a message of the transport may come now."""
        if number == wire.DISCONNECT:
            return True
        expected = self._expected
        if self._is_first and self.strict and number != expected:
            return False
        if number in wire.HARMLESS:
            return True
        if number == wire.KEXINIT:
            return expected in (0, wire.KEXINIT)
        if wire.KEXINIT < number <= wire.LAST_OF_TRANSPORT:
            return number == expected
        return not expected

    # Sending

    def sendPacket(self, messageType: int, payload: wire.Bytes, more: wire.Bytes = b"") -> None:
        """Send a message, or keep it back until the key exchange is over.

        Messages that are sent while bytes are received leave in one piece afterwards. ``more`` is
        the rest of the payload, where that is long: it is copied once less.
        """
        if self._ended:
            return
        if self._keyExchangeState != _NONE and not wire.is_of_exchange(messageType):
            whole = b"".join((payload, more))  # what is given is valid now, and may not be later
            self._blockedByKeyExchange.append((messageType, whole))
            self._waiting_bytes += len(whole) + _COST
            if self._waiting_bytes > WAITING_LIMIT:
                self._refuse(wire.DISCONNECT_BY_APPLICATION, "a key exchange takes too long")
            return
        head = bytes((messageType,))
        if more:
            head, payload = b"".join((head, payload)), more
        packet = self._sealer.seal(head, self.outgoingPacketSequence, payload)
        self.outgoingPacketSequence = (self.outgoingPacketSequence + 1) & 0xFFFFFFFF
        self._pending.append(packet)
        if messageType not in wire.BOUNDED:
            self._answers += len(packet)
        self._count(len(packet))
        if not self._depth:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            pending, self._pending = self._pending, []
            if self.transport is not None:
                self.transport.writeSequence(pending)
                queued: int = self.transport.queued
                if not queued:
                    self._answers = 0
                elif self._answers > ANSWERS_LIMIT and queued > UNREAD_LIMIT and not self._ended:
                    log.info("an SSH connection is cut: the peer asks on and does not read")
                    self._ended = True
                    self.transport.abortConnection()

    def was_ended(self) -> None:
        """End: the peer has said so."""
        self._ended = True
        self.transport.loseConnection()

    def sendDisconnect(self, reason: int, desc: bytes | str) -> None:
        """Say why, and end. Conch itself gives bytes in most places, and text in some."""
        self._refuse(reason, desc if isinstance(desc, str) else desc.decode("utf-8", "replace"))

    def _refuse(self, reason: int, why: object) -> None:
        if self._ended:
            return
        text = wire.string(str(why).encode()[:255])
        self.sendPacket(wire.DISCONNECT, reason.to_bytes(4, "big") + text + wire.string(b""))
        self._flush()
        self._ended = True
        log.info("an SSH connection is ended: {why}", why=str(why))
        self.transport.loseConnection()

    # Key exchange

    def our_offer(self, theirs: Offer | None) -> Offer:
        """Return what is offered; ``theirs`` is the peer's offer if it came first.

        A peer that has AES-GCM is offered nothing else: the client's order decides, and OpenSSH
        before 10 would rather have what costs more.
        """
        ciphers = AEAD if theirs is not None and theirs.prefers_aead() else (*AEAD, *CTR)
        marks = [EXT_INFO_CLIENT if self.isClient else EXT_INFO_SERVER]
        if self.sessionID is None:
            marks.append(STRICT_CLIENT if self.isClient else STRICT_SERVER)
        return Offer(
            kex=(*KEY_EXCHANGES, *marks),
            host_keys=self.host_key_algorithms(),
            ciphers_up=ciphers,
            ciphers_down=ciphers,
            macs_up=MACS,
            macs_down=MACS,
        )

    def host_key_algorithms(self) -> tuple[bytes, ...]:
        """Return the algorithms of host keys, the most wanted first."""
        raise NotImplementedError

    def sendKexInit(self, theirs: Offer | None = None) -> None:
        """Begin a key exchange, or take part in one."""
        if self._keyExchangeState != _NONE or self._ended:
            return
        self._moved_bytes = self._moved_packets = 0  # or the offer would call for another one
        self._our_offer = self.our_offer(theirs)
        self.ourKexInitPayload = self._our_offer.encode()
        self.sendPacket(wire.KEXINIT, self.ourKexInitPayload[1:])
        self._keyExchangeState = _REQUESTED
        self._blockedByKeyExchange = []
        self._waiting_bytes = 0
        self._set_deadline()

    def ssh_KEXINIT(self, packet: bytes) -> None:
        """Take the peer's offer, and choose."""
        theirs = parse_offer(packet)
        self.otherKexInitPayload = bytes([wire.KEXINIT]) + packet
        if self._keyExchangeState == _NONE:
            self.sendKexInit(theirs)
        ours = self._our_offer
        assert ours is not None
        client, server = (ours, theirs) if self.isClient else (theirs, ours)
        if self.sessionID is None:
            self._agree_on_strictness(client, server)
        try:
            self._choice = choice = choose(client, server)
        except ProtocolViolationError as error:
            self._refuse(wire.DISCONNECT_KEY_EXCHANGE_FAILED, error)
            return
        self._keyExchangeState = _PROGRESSING
        self.kexAlg, self.keyAlg = choice.kex, choice.host_key
        self._peerSupportsExtensions = (
            EXT_INFO_SERVER if self.isClient else EXT_INFO_CLIENT
        ) in theirs.kex
        self._expected = wire.KEX_ECDH_REPLY if self.isClient else wire.KEX_ECDH_INIT
        self._skips = not self.isClient and guessed_wrong(client, server)
        self.exchange_begins()

    def _agree_on_strictness(self, client: Offer, server: Offer) -> None:
        self.strict = STRICT_CLIENT in client.kex and STRICT_SERVER in server.kex
        if self.strict and self.incomingPacketSequence != 1:
            raise ProtocolViolationError("something came before the key exchange")

    def exchange_begins(self) -> None:
        """Do what comes next on this side, now that the algorithms are chosen."""

    def _keySetup(self, sharedSecret: bytes, exchangeHash: bytes) -> None:
        """Derive the keys, say NEWKEYS, and use ours from here on."""
        if not self.sessionID:
            self.sessionID = exchangeHash

        def derive(letter: bytes) -> bytes:
            key: bytes = self._getKey(letter, sharedSecret, exchangeHash)
            return key

        up = Keys(iv=derive(b"A"), key=derive(b"C"), integrity=derive(b"E"))
        down = Keys(iv=derive(b"B"), key=derive(b"D"), integrity=derive(b"F"))
        choice = self._choice
        assert choice is not None
        self.sendPacket(wire.NEWKEYS, b"")
        if self.isClient:
            self._sealer = make_sealer(choice.cipher_up, choice.mac_up, up)
            self._next_opener = make_opener(choice.cipher_down, choice.mac_down, down)
        else:
            self._sealer = make_sealer(choice.cipher_down, choice.mac_down, down)
            self._next_opener = make_opener(choice.cipher_up, choice.mac_up, up)
        if self.strict:
            self.outgoingPacketSequence = 0
        self._expected = wire.NEWKEYS

    def ssh_NEWKEYS(self, packet: bytes) -> None:
        """Use the peer's new keys from here on, and send what waited."""
        if packet:
            raise ProtocolViolationError("NEWKEYS takes no data")
        self._opener = self._next_opener
        if self.strict:
            self.incomingPacketSequence = 0
        self._expected = 0
        self._keyExchangeState = _NONE
        self._moved_bytes = self._moved_packets = 0
        self._clear_deadline()
        self._rekey_later()
        waiting, self._blockedByKeyExchange = self._blockedByKeyExchange, []
        if self._is_first:
            self._is_first = False
            self.secured()
        for number, payload in waiting:
            self.sendPacket(number, payload)
        self.exchanged()

    def secured(self) -> None:
        """Send what comes first under the first keys."""

    def exchanged(self) -> None:
        """Go on after a key exchange: what is sent leaves at once again."""

    @property
    def is_exchanging(self) -> bool:
        """Whether a key exchange keeps messages back."""
        return bool(self._keyExchangeState != _NONE)

    def _count(self, size: int) -> None:
        self._moved_bytes += size
        self._moved_packets += 1
        if (
            self._moved_bytes > REKEY_BYTES or self._moved_packets > REKEY_PACKETS
        ) and not self._expected:
            self.sendKexInit()

    def _rekey_later(self) -> None:
        if self._rekey is not None and self._rekey.active():
            self._rekey.cancel()
        self._rekey = self.clock.callLater(REKEY_SECONDS, self.sendKexInit)

    def _set_deadline(self) -> None:
        if self._deadline is None or not self._deadline.active():
            self._deadline = self.clock.callLater(EXCHANGE_TIMEOUT, self._too_late)

    def _clear_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _too_late(self) -> None:
        self._refuse(wire.DISCONNECT_CONNECTION_LOST, "the key exchange takes too long")


class ServerTransport(HardenedTransport, SSHServerTransport):
    """The gateway's side, towards clients. ``factory`` has the host keys and services."""

    factory: Any
    user_algorithms: tuple[bytes, ...] = ()
    """Signature algorithms of users' keys that are taken (``server-sig-algs``, RFC 8308)."""

    def connectionMade(self) -> None:
        """Say the version, and wait a moment for the client's offer: see `our_offer`."""
        super().connectionMade()
        self._steering = self.clock.callLater(STEERING_PATIENCE, self.sendKexInit)
        self._idle = self.clock.callLater(SERVICE_TIMEOUT, self._too_late)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """End."""
        for call in (self._steering, self._idle):
            if call.active():
                call.cancel()
        super().connectionLost(reason)

    def sendKexInit(self, theirs: Offer | None = None) -> None:
        """Make our offer."""
        if self._steering.active():
            self._steering.cancel()
        super().sendKexInit(theirs)

    def host_key_algorithms(self) -> tuple[bytes, ...]:
        """Those for which the factory has a key."""
        found: tuple[bytes, ...] = tuple(self.factory.host_key_algorithms)
        return found

    def ssh_SERVICE_REQUEST(self, packet: bytes) -> None:
        """Start the first service; later ones are not asked for like this."""
        if self.service is not None:
            raise ProtocolViolationError("a service is there already")
        super().ssh_SERVICE_REQUEST(packet)
        if self.service is not None:
            self._idle.cancel()

    def secured(self) -> None:
        """Tell which signatures of users are taken; Conch names those of its host keys."""
        told = [(b"server-sig-algs", b",".join(self.user_algorithms))]
        self.sendExtInfo(told)  # type: ignore[no-untyped-call]  # Conch's has no annotations
