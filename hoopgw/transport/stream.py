"""One connection of a data leg."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections import deque
from typing import Any, Final

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IPushProducer,
    IReadWriteDescriptor,
    ITransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopgw.transport.addresses import address_of
from hoopgw.transport.pieces import rest_of
from hoopgw.transport.tls import NestedTls, TlsStream

log = Logger()

BUFFER_SIZE: Final = 262_144
PIECES: Final = 64
"""Pieces that are given to the kernel at once; more are copied together."""
HIGH_WATER: Final = 131_072
"""Queued bytes above which the registered producer is paused."""
LOW_WATER: Final = 16_384
"""Queued bytes below which it is resumed."""
ANSWERS_LIMIT: Final = 65_536
"""Bytes that TLS itself may answer, as to key updates, to a peer that takes nothing."""
LINGER: Final = 3.0
"""Seconds in which a closed connection may still take its last bytes."""
HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds that a TLS handshake may take."""

_BUFFER: Final = memoryview(bytearray(BUFFER_SIZE))
_DONE: Final = Failure(ConnectionDone())


@implementer(IReadWriteDescriptor, ITransport, IConsumer, IPushProducer)
class DataTransport:
    """A connected stream socket, with or without TLS.

    Args:
        reactor: an `IReactorFDSet` and `IReactorTime`.
        sock: connected and non-blocking; owned by this object from now on.

    """

    __slots__ = (
        "__weakref__",
        "_answers",
        "_carry_to",
        "_closing",
        "_deadline",
        "_fd",
        "_hold",
        "_lingering",
        "_producer",
        "_queue",
        "_queued",
        "_reactor",
        "_reading",
        "_sock",
        "_stalled",
        "_tls",
        "_writing",
        "connected",
        "protocol",
        "read_limit",
    )

    direct: Final = True
    """The reactor may call `doRead` and `doWrite` without guarding against exceptions."""

    def __init__(self, reactor: Any, sock: socket.socket) -> None:
        self._reactor = reactor
        self._sock = sock
        self._fd = sock.fileno()
        self._carry_to: DataTransport | None = None
        self._tls: TlsStream | NestedTls | None = None
        self._queue: deque[memoryview] = deque()
        self._queued = 0
        self._answers = 0  # bytes of TLS itself since the queue was last empty
        self._hold: list[bytes] = []  # plaintext written before the handshake is done
        self._producer: Any = None
        self._stalled = False
        self._reading = self._writing = False
        self._closing = False
        self._lingering = False
        self._deadline: IDelayedCall | None = None
        self.connected = True
        self.protocol: Any = None
        self.read_limit = 0  # bytes that are read at once; 0 is as many as there is room for

    # What protocols call

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send now what the kernel takes, and queue a copy of the rest."""
        if not self.connected or self._closing or not data:
            return
        tls = self._tls
        if tls is not None:
            if not tls.established:
                self._hold.append(bytes(data))
                self._count(len(data))
                return
            try:
                tls.seal(data)
            except ssl.SSLError as error:
                self._fail(error)
                return
            data = tls.ciphertext()
        self._send(data)

    def writeSequence(self, data: Any) -> None:
        """Send several pieces as one, without copying them together where that is possible."""
        pieces = list(data)
        if len(pieces) > PIECES or self._tls is not None or self._queue or self._closing:
            self.write(b"".join(pieces))
        elif pieces and self.connected:
            self._send_pieces(pieces)

    def loseConnection(self) -> None:
        """Close after what was written has been sent, or after `LINGER` seconds."""
        if not self.connected or self._closing:
            return
        if self._tls is not None:
            if not self._tls.established:
                self._lost(_DONE)
                return
            self._tls.close()
            self._send(self._tls.ciphertext())
            if not self.connected:
                return
        self._closing = True
        self._set_deadline(LINGER, self.abortConnection)
        if not self._queue:
            self._linger()

    def abortConnection(self) -> None:
        """Close now; what is queued is dropped."""
        if self.connected:
            self._lost(Failure(ConnectionLost("aborted")))

    def startReading(self) -> None:
        """Deliver data from now on."""
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """Deliver nothing until `resumeProducing`."""
        if self._reading:
            self._reading = False
            if self.connected and not self._lingering:
                self._reactor.removeReader(self)

    def resumeProducing(self) -> None:
        """Deliver again."""
        if self._reading or not self.connected or self._closing:
            return
        self._reading = True
        self._reactor.addReader(self)
        if self._tls is not None and self._tls.established:
            # Records that were read, but not delivered, wake no poll.
            self._reactor.callLater(0, self._deliver_rest)

    def stopProducing(self) -> None:
        """Close: what produced for us has gone."""
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause and resume ``producer`` as the queue fills and drains."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        self._producer = producer
        self._stalled = False
        if not self.connected:
            producer.stopProducing()
        elif self._queued > HIGH_WATER:
            self._stall()

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self._producer = None
        self._stalled = False

    def startTLS(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        received: bytes = b"",
    ) -> None:
        """Speak TLS from now on.

        Args:
            context: of the standard library.
            server_side: whether the peer starts the handshake.
            server_hostname: for SNI and the check of the certificate, as a client.
            received: the beginning of the handshake, if it was read already.

        A protocol with a ``handshakeCompleted`` method is told. A failed handshake loses the
        connection with the `ssl.SSLError`. Where TLS is spoken already, another one is begun inside
        of it, as a server: only while nothing is delivered (`pauseProducing`).

        """
        outer = self._tls
        if outer is None:
            self._tls = begun = TlsStream(
                context, server_side=server_side, server_hostname=server_hostname
            )
            if received:
                begun.feed(received)
        else:
            if not isinstance(outer, TlsStream) or not outer.established or not server_side:
                raise RuntimeError("TLS was started already")
            if self._reading:
                raise RuntimeError("what comes meanwhile would be of neither")
            self._tls = NestedTls(outer, context, received)
        self._set_deadline(HANDSHAKE_TIMEOUT, self.abortConnection)
        if received or not server_side or outer is not None:
            self._reactor.callLater(0, self._deliver_rest)

    def carry_to(self, other: DataTransport | None) -> None:
        """Say that the protocol only writes all that comes to ``other``; None: not any more.

        A compiled reactor (`hoopgw.transport.reactor`) then does that without asking the protocol.
        """
        self._carry_to = other

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS connection, for its certificate, ALPN and version; None without TLS."""
        return None if self._tls is None else self._tls.object

    @property
    def queued(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._queued

    def getPeer(self) -> Any:
        """Return the peer's address."""
        return address_of(self._sock, self._sock.getpeername)

    def getHost(self) -> Any:
        """Return our address."""
        return address_of(self._sock, self._sock.getsockname)

    def peer_credentials(self) -> tuple[int, int, int]:
        """Return pid, uid and gid of the process behind a unix socket."""
        raw = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, gid = memoryview(raw).cast("i")
        return pid, uid, gid

    # What the reactor calls

    def fileno(self) -> int:
        """Return the descriptor, or -1 after the end."""
        return self._sock.fileno()

    def logPrefix(self) -> str:
        """Name this in Twisted's log."""
        return type(self.protocol).__name__

    def doRead(self) -> None:
        """Read once and deliver; whatever a protocol raises ends the connection."""
        try:
            count = self._sock.recv_into(_BUFFER, self.read_limit)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.broken(error.errno)
            return
        if count == 0:
            self.closed()
            return
        if self._closing:
            return  # read all the same: unread bytes would turn our close into a reset
        try:
            if self._tls is None:
                self.protocol.dataReceived(_BUFFER[:count])
                return
            self._tls.feed(_BUFFER[:count])
            self._deliver()
        except Exception:
            self.raised()

    def doWrite(self) -> None:
        """Send what is queued."""
        queue = self._queue
        while queue:
            piece = queue[0]
            try:
                sent = self._sock.send(piece)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._lost(Failure(ConnectionLost(str(error))))
                return
            self._queued -= sent
            if sent < len(piece):
                queue[0] = piece[sent:]
                break
            queue.popleft()
        if not queue:
            self._writing = False
            self._reactor.removeWriter(self)
        self._unstall()
        if self._closing and not self._queue and self.connected:
            self._linger()

    def closed(self) -> None:
        """End: the peer has closed its side."""
        self._lost(_DONE)

    def broken(self, code: int | None) -> None:
        """End: reading failed with an error of the system."""
        self._lost(Failure(ConnectionLost(os.strerror(code or 0))))

    def raised(self) -> None:
        """End with the exception that is being handled."""
        log.failure("a data leg raised")
        self._lost(Failure())

    def connectionLost(self, reason: Failure) -> None:
        """End: called by the reactor when it stops, or finds the descriptor broken."""
        self._lost(reason)

    # Inside

    def _send(self, data: bytes | bytearray | memoryview) -> None:
        sent = 0
        if not self._queue:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._unsent(error)
                return
            if sent == len(data):
                return
        self._keep(memoryview(bytes(data if sent == 0 else memoryview(data)[sent:])))

    def _send_pieces(self, pieces: list[Any]) -> None:
        """Send several pieces while nothing is queued."""
        try:
            sent = self._sock.sendmsg(pieces)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._unsent(error)
            return
        if rest := rest_of(pieces, sent):
            self._keep(memoryview(rest))

    def _unsent(self, error: OSError) -> None:
        # While we read, the end is reported by reading: after what the peer sent last.
        if not self._reading or error.errno not in (errno.EPIPE, errno.ECONNRESET):
            self._lost_soon(error)

    def _keep(self, rest: memoryview) -> None:
        """Queue what the kernel does not take yet."""
        self._queue.append(rest)
        if not self._writing:
            self._writing = True
            self._reactor.addWriter(self)
        self._count(len(rest))

    def _count(self, queued: int) -> None:
        self._queued += queued
        if self._queued > HIGH_WATER and not self._stalled and self._producer is not None:
            self._stall()

    def _unstall(self) -> None:
        if self._stalled and self._queued < LOW_WATER:
            self._stalled = False
            self._producer.resumeProducing()

    def _stall(self) -> None:
        self._stalled = True
        self._producer.pauseProducing()

    def _deliver(self) -> None:
        """Hand decrypted data to the protocol, while it wants any."""
        tls = self._tls
        if tls is None or not self.connected or self._closing:
            return
        try:
            if not tls.established:
                if not tls.shake():
                    self._send(tls.ciphertext())
                    return
                self._established(tls)
            more = self._reading
            while more and (piece := tls.plaintext()) is not None:
                self.protocol.dataReceived(piece)
                if not self._reading or not self.connected:
                    return
                more = tls.has_more
            if tls.has_ciphertext:
                self._answer(tls)
        except ssl.SSLZeroReturnError:
            self.closed()
        except ssl.SSLError as error:
            self._fail(error)

    def _answer(self, tls: TlsStream | NestedTls) -> None:
        """Send what TLS itself answers, as to a key update.

        No protocol asked for it, so no pause stops a peer that asks on and never reads: the end
        does.
        """
        data = tls.ciphertext()
        self._send(data)
        self._answers = self._answers + len(data) if self._queue else 0
        if self._answers > ANSWERS_LIMIT:
            self.abortConnection()

    def _established(self, tls: TlsStream | NestedTls) -> None:
        self._clear_deadline()
        self._send(tls.ciphertext())
        completed = getattr(self.protocol, "handshakeCompleted", None)
        if completed is not None:
            completed()
        held, self._hold = self._hold, []
        for data in held:
            self._queued -= len(data)
            self.write(data)
        self._unstall()

    def _deliver_rest(self) -> None:
        try:
            self._deliver()
        except Exception:
            self.raised()

    def _fail(self, error: ssl.SSLError) -> None:
        if self._tls is not None and self.connected:
            self._send(self._tls.ciphertext())  # the alert that says why
        self._lost(Failure(error))

    def _linger(self) -> None:
        """Close our side, and wait for the peer to close its own."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._lost(_DONE)
            return
        self._lingering = True
        if not self._reading:
            self._reactor.addReader(self)

    def _lost_soon(self, error: OSError) -> None:
        """Report the loss after the caller's stack is unwound."""
        self._closing = True
        self._queue.clear()
        self._queued = 0
        self._reactor.callLater(
            0, self._lost, Failure(ConnectionLost(os.strerror(error.errno or 0)))
        )

    def _lost(self, reason: Failure) -> None:
        if not self.connected:
            return
        self.connected = False
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._clear_deadline()
        self._reading = self._writing = self._stalled = False
        self._queue.clear()
        self._queued = 0
        self._hold.clear()
        self._fd = -1
        self._carry_to = None
        self._sock.close()
        producer, self._producer = self._producer, None
        protocol, self.protocol = self.protocol, None
        if producer is not None:
            producer.stopProducing()
        if protocol is not None:
            protocol.connectionLost(reason)

    def _set_deadline(self, seconds: float, then: Any) -> None:
        self._clear_deadline()
        self._deadline = self._reactor.callLater(seconds, then)

    def _clear_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
