"""The transport's messages that go with no key exchange, as any peer may send them at any time.

Conch logs what comes as a warning or an error, so that anybody may fill a log before he has logged
in; it reads extensions in a time that grows with the square of their number, and as often as they
come (twisted 26.10, `twisted.conch.ssh.transport`).

References: RFC 4253 section 11; RFC 8308 section 2.
"""

from __future__ import annotations

import struct
from typing import Final

from twisted.conch.ssh.transport import SSHTransportBase
from twisted.logger import Logger

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh import wire
from hoopgw_ssh.wire import Reader

log = Logger()

EXTENSIONS_LIMIT: Final = 32
"""Extensions that one peer may tell."""
_TOLD_LIMIT: Final = 2
"""Times that it may tell them: behind the first keys, and before it lets somebody in."""


class SmallMessages(SSHTransportBase):
    """Takes them quietly. Mixed into `hoopgw_ssh.transport.HardenedTransport`."""

    incomingPacketSequence: int
    peerExtensions: dict[bytes, bytes]
    extensions_told: int
    """How often the peer has told its extensions; 0 at first."""

    def was_ended(self) -> None:
        """Take note that the peer has said its last word."""
        raise NotImplementedError

    def sendPacket(self, messageType: int, payload: wire.Bytes, more: wire.Bytes = b"") -> None:
        """Send a message."""
        raise NotImplementedError

    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
        """Hand a message to its method."""
        try:
            super().dispatchMessage(messageNum, payload)  # type: ignore[no-untyped-call]  # Conch's
        except (struct.error, ValueError, IndexError) as error:
            # What Conch's methods do with a message that ends too soon, or a point on no curve.
            raise ProtocolViolationError(f"message {messageNum} is malformed") from error

    def ssh_DISCONNECT(self, packet: bytes) -> None:
        """End: the peer says so, as each client does that has done its work."""
        reader = Reader(packet)
        code, text = reader.uint32(), reader.string()
        log.debug("the SSH peer ends: {code}, {text}", code=code, text=text[:200])
        self.was_ended()

    def ssh_UNIMPLEMENTED(self, packet: bytes) -> None:
        """Pass over what the peer does not know."""

    def ssh_DEBUG(self, packet: bytes) -> None:
        """Pass over what is for developers."""

    def ssh_EXT_INFO(self, packet: bytes) -> None:
        """Keep what the peer tells of itself."""
        reader = Reader(packet)
        count = reader.uint32()
        self.extensions_told += 1
        if count > EXTENSIONS_LIMIT or self.extensions_told > _TOLD_LIMIT:
            raise ProtocolViolationError("too many extensions")
        self.peerExtensions = {reader.string(): reader.string() for _ in range(count)}

    def sendUnimplemented(self) -> None:
        """Say that the last packet was not understood; Conch names the one after it."""
        number = (self.incomingPacketSequence - 1) & 0xFFFFFFFF
        self.sendPacket(wire.UNIMPLEMENTED, number.to_bytes(4, "big"))
