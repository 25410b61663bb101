"""Messages of the connection protocol between gateway and agent: each with its length.

The agent speaks SSH's transport with the target, and passes the messages of the connection
protocol (numbers from 80) on as they are. So windows, channels and their numbers are the target's
and the gateway's own, back-pressure reaches from one to the other, and the agent keeps no state of
channels.

A frame is: length (uint32, of what follows), message number (one byte), payload.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh.ciphers import PACKET_LIMIT
from hoopgw_ssh.units import Units
from hoopgw_ssh.wire import CHANNEL_FAILURE, GLOBAL_REQUEST, Bytes

_HEAD: Final = Struct(">IB")


def frame_head(number: int, size: int) -> bytes:
    """Return what comes before a message's ``size`` bytes."""
    return _HEAD.pack(size + 1, number)


def encode_frame(number: int, payload: Bytes) -> bytes:
    """Return the frame of a message."""
    return b"".join((frame_head(number, len(payload)), payload))


class FrameReader:
    """Cuts a stream into messages.

    Args:
        take: called with each message; the payload is valid during the call.

    """

    __slots__ = ("_take", "receive")

    def __init__(self, take: Callable[[int, memoryview], None]) -> None:
        self._take = take
        self.receive = Units(_HEAD.size, self._one, _size).receive
        """Takes bytes. Raises `ProtocolViolationError`: a frame is too long, or no message of the
        connection protocol."""

    def _one(self, data: memoryview, at: int) -> int:
        """Hand the frame on that begins at ``at``."""
        if len(data) - at < _HEAD.size:
            return at
        length, number = _HEAD.unpack_from(data, at)
        if not 1 <= length <= PACKET_LIMIT:
            raise ProtocolViolationError(f"a frame of {length} bytes")
        if not GLOBAL_REQUEST <= number <= CHANNEL_FAILURE:
            raise ProtocolViolationError(f"message {number} is not of the connection protocol")
        end: int = at + 4 + length
        if end > len(data):
            return at
        self._take(number, data[at + _HEAD.size : end])
        return end


def _size(head: memoryview) -> int:
    return 4 + int.from_bytes(head[:4], "big")
