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
from hoopgw_ssh.wire import CHANNEL_FAILURE, GLOBAL_REQUEST, Bytes

_HEAD: Final = Struct(">IB")


def encode_frame(number: int, payload: Bytes) -> bytes:
    """Return the frame of a message."""
    return b"".join((_HEAD.pack(len(payload) + 1, number), payload))


class FrameReader:
    """Cuts a stream into messages.

    Args:
        take: called with each message; the payload is valid during the call.

    """

    __slots__ = ("_needed", "_tail", "_take")

    def __init__(self, take: Callable[[int, memoryview], None]) -> None:
        self._take = take
        self._tail = bytearray()
        self._needed = _HEAD.size

    def receive(self, data: Bytes) -> None:
        """Take bytes.

        Raises:
            ProtocolViolationError: a frame is too long, or no message of the connection protocol.

        """
        self._tail += data
        if len(self._tail) < self._needed:
            return
        whole = bytes(self._tail)
        at, view = 0, memoryview(whole)
        while len(whole) - at >= _HEAD.size:
            length, number = _HEAD.unpack_from(whole, at)
            if not 1 <= length <= PACKET_LIMIT:
                raise ProtocolViolationError(f"a frame of {length} bytes")
            if not GLOBAL_REQUEST <= number <= CHANNEL_FAILURE:
                raise ProtocolViolationError(f"message {number} is not of the connection protocol")
            end = at + 4 + length
            if end > len(whole):
                self._needed = end - at
                break
            at, start = end, at + _HEAD.size
            self._take(number, view[start:end])
        else:
            self._needed = _HEAD.size
        self._tail = bytearray(view[at:])
