"""TLS by memory BIO: ciphertext in, plaintext out, no socket.

OpenSSL through the standard library's ``ssl`` costs a third of what Twisted's TLS transport does.
The plaintext is decrypted into a buffer that all connections share. `NestedTls` is TLS inside of
TLS, as a client speaks it that reaches a host through a proxy over HTTPS.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Final, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

RECORD: Final = 65_536
"""Bytes: more than the 16 KB that one record can hold."""
PLAIN: Final = memoryview(bytearray(RECORD))
"""Where all connections decrypt to."""


class TlsStream:
    """One TLS connection without its socket.

    ``feed`` stores what came from the peer, ``seal`` encrypts data, and ``ciphertext`` takes what
    is to be sent to the peer: the methods of OpenSSL's objects themselves, as each call counts.
    """

    __slots__ = (
        "ciphertext",
        "established",
        "feed",
        "incoming",
        "object",
        "outgoing",
        "read",
        "seal",
    )

    def __init__(
        self, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None
    ) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.object = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side, server_hostname=server_hostname
        )
        # The standard library's object only passes these two on to the one inside it.
        inner: Any = getattr(self.object, "_sslobj", self.object)
        self.read: Callable[[int, memoryview], int] = inner.read
        self.seal: Callable[[Buffer], int] = inner.write
        self.feed: Callable[[Buffer], int] = self.incoming.write
        self.ciphertext: Callable[[], bytes] = self.outgoing.read
        self.established = False

    def end(self) -> None:
        """Say that nothing more comes from the peer."""
        self.incoming.write_eof()

    def shake(self) -> bool:
        """Go on with the handshake; tell whether it is done.

        Raises:
            ssl.SSLError: it failed.

        """
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.established = True
        return True

    def plaintext(self) -> memoryview | None:
        """Return decrypted data, valid until the next call; None if there is none yet.

        Raises:
            ssl.SSLZeroReturnError: the peer closed its side.
            ssl.SSLError: the stream is broken.

        """
        try:
            count = self.read(RECORD, PLAIN)
        except ssl.SSLWantReadError:
            return None
        if count == 0:
            raise ssl.SSLZeroReturnError
        return PLAIN[:count]

    @property
    def has_more(self) -> bool:
        """Whether `plaintext` may find something; asking first saves an exception.

        OpenSSL keeps no rest of a record: each fits into the buffer that it is read into.
        """
        return self.incoming.pending > 0

    @property
    def has_ciphertext(self) -> bool:
        """Whether something is to be sent."""
        return self.outgoing.pending > 0

    def close(self) -> None:
        """Add a close_notify to what is to be sent (RFC 8446, section 6.1)."""
        if self.established:
            try:
                self.object.unwrap()
            except ssl.SSLError:
                return  # it waits for the peer's, or the stream is broken: ours is written, or moot


class NestedTls:
    """TLS that is carried by another TLS connection: what `TlsStream` is, for both at once.

    Args:
        outer: the connection that carries it, whose handshake is done.
        context: of the inner one; we are its server.
        received: the beginning of the inner handshake, if it was read from the outer already.

    """

    __slots__ = ("_broken", "_inner", "_outer", "incoming", "object", "outgoing", "read")

    def __init__(self, outer: TlsStream, context: ssl.SSLContext, received: bytes = b"") -> None:
        self._outer = outer
        self._inner = inner = TlsStream(context, server_side=True, server_hostname=None)
        self._broken: ssl.SSLError | None = None
        self.object = inner.object
        self.incoming = inner.incoming
        self.outgoing = _Pending(inner, outer)
        self.read = self._read
        if received:
            inner.feed(received)
        self._draw()

    @property
    def established(self) -> bool:
        """Whether the inner handshake is done."""
        return self._inner.established

    def feed(self, data: Buffer) -> None:
        """Store what came from the peer."""
        self._outer.feed(data)
        self._draw()

    def _draw(self) -> None:
        """Hand on what the outer one has; what is wrong with it is said when that was read."""
        try:
            while (data := self._outer.plaintext()) is not None:
                self._inner.feed(data)
        except ssl.SSLError as error:
            self._broken = error

    def _read(self, size: int, buffer: memoryview) -> int:
        try:
            return self._inner.read(size, buffer)
        except ssl.SSLWantReadError:
            if self._broken is not None:
                raise self._broken from None
            raise

    def shake(self) -> bool:
        """Go on with the inner handshake; tell whether it is done. Raises `ssl.SSLError`."""
        done = self._inner.shake()
        if not done and self._broken is not None:
            raise self._broken
        return done

    def plaintext(self) -> memoryview | None:
        """Return decrypted data, as `TlsStream.plaintext`."""
        try:
            count = self._read(RECORD, PLAIN)
        except ssl.SSLWantReadError:
            return None
        if count == 0:
            raise ssl.SSLZeroReturnError
        return PLAIN[:count]

    def seal(self, data: Buffer) -> int:
        """Encrypt data for the peer."""
        return self._inner.seal(data)

    def ciphertext(self) -> bytes:
        """Take what is to be sent to the peer."""
        data = self._inner.ciphertext()
        if data:
            self._outer.seal(data)
        return self._outer.ciphertext()

    @property
    def has_more(self) -> bool:
        """Whether `plaintext` may find something."""
        return self._inner.has_more

    @property
    def has_ciphertext(self) -> bool:
        """Whether something is to be sent."""
        return self.outgoing.pending > 0

    def close(self) -> None:
        """Add a close_notify of each to what is to be sent, the inner one's first."""
        self._inner.close()
        data = self._inner.ciphertext()
        try:
            if data:
                self._outer.seal(data)
        except ssl.SSLError:
            return  # the outer one is broken: there is nothing to say any more
        self._outer.close()


class _Pending:
    """How much both have to send."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, inner: TlsStream, outer: TlsStream) -> None:
        self._inner = inner
        self._outer = outer

    @property
    def pending(self) -> int:
        """Bytes."""
        return self._inner.outgoing.pending + self._outer.outgoing.pending
