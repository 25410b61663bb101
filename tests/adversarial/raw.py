"""A PostgreSQL connection of which every message is seen, past the gateway.

psycopg logs in; then its socket is spoken to directly, so that nothing that a server sends is
hidden: errors' details, notices, parameters, notifications, rows in binary.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self

import psycopg
from attrs import frozen

_DEADLINE: Final = 30.0
_COPY_FAIL: Final = b"f" + (9).to_bytes(4, "big") + b"none\0"


@frozen
class Message:
    """One message from the server."""

    kind: bytes
    body: bytes

    def encode(self) -> bytes:
        """Return it as it came."""
        return self.kind + (len(self.body) + 4).to_bytes(4, "big") + self.body


class RawConnection:
    """Queries in, messages out. Use it as a context manager."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._socket = socket.socket(fileno=os.dup(connection.pgconn.socket))
        self._socket.setblocking(True)
        self._socket.settimeout(_DEADLINE)
        self._stream = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self._stream.close()
        self._socket.close()
        self._connection.close()

    def simple(self, text: str) -> list[Message]:
        """Send a simple query, and return all messages up to ReadyForQuery."""
        self._send(b"Q", text.encode() + b"\0")
        return list(self._answers())

    def binary(self, text: str) -> list[Message]:
        """Run one statement with results in binary; return all messages up to ReadyForQuery."""
        self._send(b"P", b"\0" + text.encode() + b"\0\0\0")
        self._send(b"B", b"\0\0\0\0\0\0\0\1\0\1")
        self._send(b"D", b"P\0")
        self._send(b"E", b"\0\0\0\0\0")
        self._send(b"S", b"")
        return list(self._answers())

    def _send(self, kind: bytes, body: bytes) -> None:
        self._socket.sendall(kind + (len(body) + 4).to_bytes(4, "big") + body)

    def _answers(self) -> Iterator[Message]:
        while True:
            head = self._stream.read(5)
            if len(head) < 5:
                return
            kind = head[:1]
            yield Message(kind, self._stream.read(int.from_bytes(head[1:], "big") - 4))
            if kind == b"G":  # CopyInResponse: there is nothing to copy
                self._socket.sendall(_COPY_FAIL)
            if kind == b"Z":
                return
