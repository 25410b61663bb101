"""The version line of an SSH peer, and what servers may say before it. No I/O.

Reference: RFC 4253 section 4.2.
"""

from __future__ import annotations

from typing import Final

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh.wire import Bytes

VERSION_LIMIT: Final = 255
"""Bytes of a version line, its end included."""
GREETING_LIMIT: Final = 8_192
"""Bytes of other lines that a server may send before its version."""


class Greeting:
    """Looks for the peer's version.

    Args:
        from_server: whether the peer is a server, which may say more.

    """

    __slots__ = ("_from_server", "_said", "_tail", "rest")

    def __init__(self, *, from_server: bool) -> None:
        self._from_server = from_server
        self._tail = bytearray()
        self._said = 0
        self.rest = b""
        """What came behind the version."""

    def receive(self, data: Bytes) -> bytes | None:
        """Take bytes; return the version line, without its end, when it is there.

        Raises:
            ProtocolViolationError: it is malformed, another one's, or none.

        """
        self._tail += data
        text, at = bytes(self._tail), 0
        while (end := text.find(b"\n", at)) >= 0:
            line = text[at:end].removesuffix(b"\r")
            if end - at >= VERSION_LIMIT or not line.isascii() or b"\0" in line:
                raise ProtocolViolationError("the version is malformed")
            at = end + 1
            if line.startswith(b"SSH-"):
                if not line.startswith((b"SSH-2.0-", b"SSH-1.99-")):
                    raise ProtocolViolationError("no version of SSH but 2.0 is spoken here")
                self.rest = text[at:]
                return line
            self._said += len(line) + 2
            if not self._from_server or self._said > GREETING_LIMIT:
                raise ProtocolViolationError("the peer does not speak SSH")
        if len(text) - at > VERSION_LIMIT:
            raise ProtocolViolationError("the version is malformed")
        del self._tail[:at]
        return None
