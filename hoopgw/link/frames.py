"""Frames that open a connection of the link: bytes in, values out, no I/O.

A frame is a 4-byte big-endian length and one MessagePack map with a ``type``. They are spoken
before a connection becomes what it is for, in this order:

=========  ==================  ====================================================================
gateway    `Challenge`         at once
agent      `Hello`             who it is, signed with the challenge; wants ``control`` or ``data``
gateway    `Welcome`           from here on a control connection speaks `hoopgw.ipc`
gateway    `Open`              on a data connection, perhaps minutes later: a ticket, and wishes
agent      `Opened`/`Refused`  after the target let it in
gateway    `Go`                from here on both ways carry the target's bytes and nothing else
=========  ==================  ====================================================================

`Go` is why no byte of the target can come in one piece with `Opened`: the gateway hands the bare
transport to a protocol, which must find nothing read already.

Invariants, each with a test: nothing is lost or invented however the bytes are cut; a frame over
the limit is refused when its length is read; whatever the bytes, the only exception is
`ProtocolViolationError`, and after it every later call raises it again.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec
from attrs import define, field

from hoopgw.errors import LinkError, ProtocolViolationError

VERSION: Final = 1
FRAME_LIMIT: Final = 64 * 1024
_LENGTH: Final = 4


class Challenge(msgspec.Struct, frozen=True, tag=True):
    """The gateway's first word."""

    version: int
    nonce: bytes


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The agent says who it is, and proves it: see `hoopgw.link.proof`."""

    version: int
    kind: Literal["control", "data"]
    agent: str
    nonce: bytes
    """Chosen by the agent; the ticket for this connection must name it."""
    certificate: bytes
    """DER."""
    signature: bytes


class Welcome(msgspec.Struct, frozen=True, tag=True):
    """The agent is who it says."""


class Open(msgspec.Struct, frozen=True, tag=True):
    """The gateway wants a target."""

    ticket: str
    wishes: dict[str, Any]

    def __repr__(self) -> str:
        return "Open(...)"


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The target has let the agent in."""

    facts: dict[str, Any]


class Refused(msgspec.Struct, frozen=True, tag=True):
    """It will not be opened; the reason is for the caller."""

    reason: str


class Go(msgspec.Struct, frozen=True, tag=True):
    """The gateway is ready for the target's bytes."""


Frame: TypeAlias = Challenge | Hello | Welcome | Open | Opened | Refused | Go

_DECODER: Final[msgspec.msgpack.Decoder[Frame]] = msgspec.msgpack.Decoder(Frame)


def encode(frame: Frame) -> bytes:
    """Return a frame as it goes over the wire.

    Raises:
        LinkError: it is longer than the other side would take.

    """
    body = msgspec.msgpack.encode(frame)
    if len(body) > FRAME_LIMIT:
        raise LinkError("what the session asks of its target is too long")
    return len(body).to_bytes(_LENGTH, "big") + body


@define
class FrameReader:
    """Cuts the beginning of a connection into frames."""

    limit: int = FRAME_LIMIT
    _buffer: bytearray = field(factory=bytearray, init=False, repr=False)
    _failed: str | None = field(default=None, init=False)

    def receive_data(self, data: bytes | memoryview) -> None:
        """Store what was read; a peer that sends more than a frame ahead fails at the next read."""
        if len(self._buffer) <= _LENGTH + self.limit:
            self._buffer += data

    def next_frame(self) -> Frame | None:
        """Take the next frame, or `None` if more bytes are needed.

        Raises:
            ProtocolViolationError: the peer broke the protocol.

        """
        if self._failed is not None:
            raise ProtocolViolationError(self._failed)
        if len(self._buffer) < _LENGTH:
            return None
        size = int.from_bytes(self._buffer[:_LENGTH], "big")
        if size > self.limit:
            raise self._fail(f"a frame of {size} bytes")
        if len(self._buffer) < _LENGTH + size:
            return None
        body = bytes(self._buffer[_LENGTH : _LENGTH + size])
        del self._buffer[: _LENGTH + size]
        try:
            return _DECODER.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._fail("a malformed frame") from error

    def rest(self) -> bytes:
        """Take what came behind the frames that were read."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        return rest

    def _fail(self, reason: str) -> ProtocolViolationError:
        self._failed = reason
        self._buffer.clear()
        return ProtocolViolationError(reason)
