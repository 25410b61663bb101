"""TLS by memory BIO: ciphertext in, plaintext out, no socket.

OpenSSL through the standard library's ``ssl`` costs a third of what Twisted's TLS transport does.
The plaintext is decrypted into a buffer that all connections share.
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
