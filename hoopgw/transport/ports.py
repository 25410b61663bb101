"""Listen, connect, and adopt: where data transports come from."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import stat
from typing import Any, Final

from attrs import frozen
from twisted.internet import defer
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReadDescriptor
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopgw.transport.addresses import address_of
from hoopgw.transport.stream import BUFFER_SIZE, DataTransport

log = Logger()

CONNECT_TIMEOUT: Final = 10.0
"""Seconds, for name resolution and connecting."""
_BACKLOG: Final = 1024
_BATCH: Final = 64
_PAUSE: Final = 0.5
"""Seconds without accepting after descriptors have run out."""


@frozen
class Address:
    """Where to listen or connect: ``host:port``, ``[v6]:port`` or ``unix:/path``."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address.

        Raises:
            ValueError: the text is none; it says what is expected.

        """
        if text.startswith("unix:/"):
            return cls(path=text.removeprefix("unix:"))
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:/\s]+)):(\d{1,5})", text)
        if match is None or int(match[3]) > 65_535:
            raise ValueError(f"{text!r} is no address: use host:port, [v6]:port or unix:/path")
        return cls(host=match[1] or match[2], port=int(match[3]))

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def adopt(reactor: Any, sock: socket.socket, protocol: Any = None) -> DataTransport:
    """Make a transport of a connected socket; paused, until ``resumeProducing``."""
    sock.setblocking(False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    else:
        # The usual 208 KB are less than one read; as much as we may have is twice that.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_SIZE)
    transport = DataTransport(reactor, sock)
    transport.protocol = protocol
    return transport


def listen(
    reactor: Any,
    address: Address,
    factory: IProtocolFactory,
    *,
    tls: ssl.SSLContext | None = None,
    mode: int = 0o600,
) -> DataPort:
    """Accept connections and give each to a protocol of ``factory``.

    Args:
        reactor: where to run.
        address: port 0 takes a free one; see `DataPort.getHost`.
        factory: builds the protocols; None from it closes the connection.
        tls: start TLS on each connection at once.
        mode: permissions of a unix socket; an old socket at the path is replaced.

    Raises:
        OSError: the address cannot be had.

    """
    if address.path:
        sock = _unix_listener(address.path, mode)
    else:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address.host, address.port))
        except OSError:
            sock.close()
            raise
    sock.setblocking(False)
    sock.listen(_BACKLOG)
    port = DataPort(reactor, sock, factory, tls)
    port.startListening()
    return port


def _unix_listener(path: str, mode: int) -> socket.socket:
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass  # the usual case
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        sock.bind(path)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


@implementer(IListeningPort, IReadDescriptor)
class DataPort:
    """A listening socket. Made by `listen`."""

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        factory: IProtocolFactory,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._reactor = reactor
        self._sock = sock
        self._factory = factory
        self._tls = tls

    def startListening(self) -> None:
        """Accept from now on."""
        self._factory.doStart()
        self._reactor.addReader(self)

    def stopListening(self) -> Deferred[None]:
        """Accept no more; connections that were made live on."""
        if self._sock.fileno() != -1:
            self._reactor.removeReader(self)
            if self._sock.family == socket.AF_UNIX:
                path = self._sock.getsockname()
                if os.path.exists(path):
                    os.unlink(path)
            self._sock.close()
            self._factory.doStop()
        return succeed(None)

    def getHost(self) -> Any:
        """Return the address that is listened on."""
        return address_of(self._sock, self._sock.getsockname)

    def fileno(self) -> int:
        """Return the descriptor, or -1 after the end."""
        return self._sock.fileno()

    def logPrefix(self) -> str:
        """Name this in Twisted's log."""
        return type(self._factory).__name__

    def connectionLost(self, reason: Failure) -> None:
        """End: called by the reactor."""
        self.stopListening()

    def doRead(self) -> None:
        """Accept what waits."""
        for _ in range(_BATCH):
            try:
                sock, _peer = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.error("no connection can be accepted: {error}", error=error)
                    self._reactor.removeReader(self)
                    self._reactor.callLater(_PAUSE, self._accept_again)
                    return
                raise
            self._accepted(sock)

    def _accept_again(self) -> None:
        if self._sock.fileno() != -1:
            self._reactor.addReader(self)

    def _accepted(self, sock: socket.socket) -> None:
        transport = adopt(self._reactor, sock)
        try:
            protocol = self._factory.buildProtocol(transport.getPeer())
            if protocol is None:
                transport.abortConnection()
                return
            transport.protocol = protocol
            if self._tls is not None:
                transport.startTLS(self._tls, server_side=True)
            protocol.makeConnection(transport)
            transport.resumeProducing()
        except Exception:
            log.failure("a connection could not be started")
            transport.abortConnection()


async def connect(
    reactor: Any,
    address: Address,
    protocol: Any,
    *,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    timeout: float = CONNECT_TIMEOUT,
    paused: bool = False,
) -> DataTransport:
    """Connect, and give the transport to ``protocol`` (``makeConnection``).

    Args:
        reactor: where to run.
        address: where to.
        protocol: receives; with ``paused`` not before `DataTransport.resumeProducing`.
        tls: start TLS at once, as a client.
        server_hostname: the name to check; by default the address's host.
        timeout: seconds for each address of the name.
        paused: deliver nothing yet; a TLS handshake waits, too.

    Raises:
        ConnectError: nobody answers there; the last address's reason.

    """
    reason: Exception = ConnectError(string="the name has no address")
    for family, where in await _resolve(reactor, address):
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await _Connecting(reactor, sock).run(where, timeout)
        except (OSError, defer.TimeoutError) as error:
            sock.close()
            reason = error
            continue
        except BaseException:
            sock.close()
            raise
        transport = adopt(reactor, sock, protocol)
        if tls is not None:
            name = server_hostname or address.host
            transport.startTLS(tls, server_side=False, server_hostname=name)
        protocol.makeConnection(transport)
        if not paused:
            transport.resumeProducing()
        return transport
    raise ConnectError(string=f"{address}: {reason}") from reason


async def _resolve(reactor: Any, address: Address) -> list[tuple[int, Any]]:
    if address.path:
        return [(socket.AF_UNIX, address.path)]
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        found = socket.getaddrinfo(address.host, address.port, 0, socket.SOCK_STREAM, 0, numeric)
    except socket.gaierror:
        try:
            found = await deferToThreadPool(
                reactor,
                reactor.getThreadPool(),
                socket.getaddrinfo,
                address.host,
                address.port,
                0,
                socket.SOCK_STREAM,
            ).addTimeout(CONNECT_TIMEOUT, reactor)
        except (OSError, defer.TimeoutError) as error:
            raise ConnectError(string=f"{address.host} cannot be resolved") from error
    return [(family, where) for family, _type, _proto, _name, where in found]


@implementer(IReadDescriptor)
class _Connecting:
    """A non-blocking connect under way; writable means that it is decided."""

    def __init__(self, reactor: Any, sock: socket.socket) -> None:
        self._reactor = reactor
        self._sock = sock
        self._decided: Deferred[None] = Deferred()

    async def run(self, where: Any, timeout: float) -> None:
        code = self._sock.connect_ex(where)
        if code not in (0, errno.EINPROGRESS, errno.EAGAIN):
            raise OSError(code, os.strerror(code))
        if code == errno.EAGAIN:  # of a unix socket whose backlog is full
            raise OSError(code, "the listener is busy")
        self._reactor.addWriter(self)
        try:
            await self._decided.addTimeout(timeout, self._reactor)
        finally:
            self._reactor.removeWriter(self)
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def fileno(self) -> int:
        return self._sock.fileno()

    def logPrefix(self) -> str:
        return "connecting"

    def doRead(self) -> None:
        self.doWrite()

    def doWrite(self) -> None:
        self._reactor.removeWriter(self)
        if not self._decided.called:
            self._decided.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        self.doWrite()
