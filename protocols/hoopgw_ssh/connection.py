"""The connection protocol: one end of a client's connection, or of a target's. No I/O, no clock.

References: RFC 4254. Messages to channels that are gone are ignored, as OpenSSH does: they may have
crossed with the CLOSE.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Final, Protocol

from attrs import define, field

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh import wire
from hoopgw_ssh.answers import Answers
from hoopgw_ssh.channels import (
    EXTRA_LIMIT,
    LESSER_WINDOW,
    PACKET,
    PACKET_LEAST,
    SHORTAGE,
    WINDOW,
    Channel,
    ChannelTaker,
    Opening,
    Request,
    Send,
)
from hoopgw_ssh.wire import Bytes, Reader, string

CHANNELS_LIMIT: Final = 200
"""Channels of one connection, the half-open ones included."""
WIDE_CHANNELS: Final = 16
"""Channels at once that have a whole window."""

_HEAD: Final = Struct(">II")
_TWO: Final = Struct(">III")
_MOST: Final = 0xFFFFFFFF


class ConnectionTaker(Protocol):
    """Takes what comes on a connection outside its channels."""

    def opening(self, opening: Opening, channel: Channel) -> ChannelTaker:
        """Take note that the peer wants a channel; return who takes what comes on it."""
        ...

    def request(self, request: Request) -> None:
        """Take a request of the connection."""
        ...


@define(eq=False)
class Connection:
    """One end of a connection."""

    send: Send = field(repr=False)
    """Sends a message."""
    taker: ConnectionTaker = field(repr=False)
    is_writable: bool = field(default=True, init=False)
    """Whether the transport takes more: see `pause` and `resume`."""
    channels: dict[int, Channel] = field(factory=dict, init=False)
    _next: int = field(default=0, init=False)
    _answers: Answers = field(init=False, repr=False)
    _asked: deque[Callable[[bytes | None], None]] = field(factory=deque, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._answers = Answers(self._answer)

    def open(self, kind: bytes, extra: bytes, taker: ChannelTaker) -> Channel:
        """Ask the peer for a channel.

        Raises:
            ProtocolViolationError: there are too many.

        """
        channel = self._make()
        channel.taker = taker
        head = string(kind) + _TWO.pack(channel.id, channel.window, PACKET)
        self.send(wire.CHANNEL_OPEN, head + extra)
        return channel

    def request(
        self, name: bytes, data: bytes, answered: Callable[[bytes | None], None] | None = None
    ) -> None:
        """Ask something of the peer; ``answered`` gets what it adds to a success, or None."""
        if answered is not None:
            self._asked.append(answered)
        self.send(wire.GLOBAL_REQUEST, string(name) + bytes([answered is not None]) + data)

    def pause(self) -> None:
        """Send no data for now: the transport is full, or exchanges keys."""
        self.is_writable = False

    def resume(self) -> None:
        """Send again."""
        self.is_writable = True
        for channel in list(self.channels.values()):
            channel._pump()
            if not self.is_writable:
                return

    def lost(self) -> None:
        """End all channels: the transport is gone."""
        channels, self.channels = self.channels, {}
        for channel in channels.values():
            channel.lost()
        asked, self._asked = self._asked, deque()
        for each in asked:
            each(None)

    def received(self, number: int, payload: Bytes) -> None:
        """Take a message.

        Raises:
            ProtocolViolationError: the connection cannot go on.

        """
        if number == wire.CHANNEL_DATA:
            self._took(payload)
            return
        method = _METHODS.get(number)
        if method is None:
            raise ProtocolViolationError(f"message {number} is not of the connection protocol")
        method(self, Reader(payload))

    def forget(self, channel: Channel) -> None:
        """Let a channel go."""
        self.channels.pop(channel.id, None)

    def _make(self) -> Channel:
        if len(self.channels) >= CHANNELS_LIMIT:
            raise ProtocolViolationError("too many channels")
        while self._next in self.channels:
            self._next = (self._next + 1) & _MOST
        window = WINDOW if len(self.channels) < WIDE_CHANNELS else LESSER_WINDOW
        channel = Channel(self, self._next, window)
        self._next = (self._next + 1) & _MOST
        self.channels[channel.id] = channel
        return channel

    def _answer(self, succeeded: bool, payload: bytes) -> None:
        self.send(wire.REQUEST_SUCCESS if succeeded else wire.REQUEST_FAILURE, payload)

    def _channel(self, reader: Reader) -> Channel | None:
        """Return the channel of a message; None if it is gone, which may have crossed."""
        channel = self.channels.get(reader.uint32())
        return None if channel is None or channel.peer_has_closed else channel

    def _took(self, payload: Bytes) -> None:
        """Take CHANNEL_DATA: nearly all that comes, and so without a copy."""
        if len(payload) < _HEAD.size:
            raise ProtocolViolationError("a message is shorter than its fields say")
        number, size = _HEAD.unpack_from(payload)
        if size != len(payload) - _HEAD.size:
            raise ProtocolViolationError("a message is not as long as its fields say")
        channel = self.channels.get(number)
        if channel is not None and channel.is_open and not channel.peer_has_closed:
            channel.took(payload[_HEAD.size :], None)

    def _global_request(self, reader: Reader) -> None:
        name, wants = reader.string(), reader.boolean()
        slot = self._answers.slot() if wants else None
        self.taker.request(Request(name, reader.rest(), slot))

    def _request_success(self, reader: Reader) -> None:
        self._settle(reader.rest())

    def _request_failure(self, _reader: Reader) -> None:
        self._settle(None)

    def _settle(self, answer: bytes | None) -> None:
        if not self._asked:
            raise ProtocolViolationError("an answer to no request")
        self._asked.popleft()(answer)

    def _channel_open(self, reader: Reader) -> None:
        kind, peer, window, packet = (
            reader.string(),
            reader.uint32(),
            reader.uint32(),
            reader.uint32(),
        )
        extra = reader.rest()
        why = b"too many channels" if len(self.channels) >= CHANNELS_LIMIT else b""
        if len(kind + extra) > EXTRA_LIMIT or packet < PACKET_LEAST:
            why = b"too much is asked, or too little taken"
        if why:
            body = _HEAD.pack(peer, SHORTAGE) + string(why) + string(b"")
            self.send(wire.OPEN_FAILURE, body)
            return
        channel = self._make()
        channel.opened_by_peer(peer, window, packet)
        channel.is_wanted = True
        channel.taker = self.taker.opening(Opening(kind, extra), channel)

    def _open_confirmation(self, reader: Reader) -> None:
        channel = self._opening(reader)
        channel.opened_by_peer(reader.uint32(), reader.uint32(), reader.uint32())
        channel.is_open = True
        channel.taker.confirmed(reader.rest())
        channel._pump()

    def _open_failure(self, reader: Reader) -> None:
        channel = self._opening(reader)
        code, text = reader.uint32(), reader.string()
        self.forget(channel)
        channel.taker.refused(code, text)

    def _opening(self, reader: Reader) -> Channel:
        channel = self._channel(reader)
        if channel is None or channel.is_wanted or channel.is_open or channel._has_closed:
            raise ProtocolViolationError("an answer to no request for a channel")
        return channel

    def _window_adjust(self, reader: Reader) -> None:
        channel, count = self._channel(reader), reader.uint32()
        reader.end()
        if channel is not None and channel.is_open:
            channel.adjusted(count)

    def _extended_data(self, reader: Reader) -> None:
        channel, code, data = self._channel(reader), reader.uint32(), reader.string()
        reader.end()
        if channel is not None and channel.is_open:
            channel.took(data, code)

    def _channel_eof(self, reader: Reader) -> None:
        if (channel := self._channel(reader)) is not None and channel.is_open:
            channel.behind.event(channel.taker.eof)

    def _channel_close(self, reader: Reader) -> None:
        if (channel := self._channel(reader)) is not None:
            channel.peer_closed()

    def _channel_request(self, reader: Reader) -> None:
        channel, name, wants = self._channel(reader), reader.string(), reader.boolean()
        if channel is not None and channel.is_open:
            channel.asked(name, wants_answer=wants, data=reader.rest())

    def _channel_success(self, reader: Reader) -> None:
        if (channel := self._channel(reader)) is not None:
            channel.answered(True)

    def _channel_failure(self, reader: Reader) -> None:
        if (channel := self._channel(reader)) is not None:
            channel.answered(False)


_METHODS: Final[dict[int, Callable[[Connection, Reader], None]]] = {
    wire.GLOBAL_REQUEST: Connection._global_request,
    wire.REQUEST_SUCCESS: Connection._request_success,
    wire.REQUEST_FAILURE: Connection._request_failure,
    wire.CHANNEL_OPEN: Connection._channel_open,
    wire.OPEN_CONFIRMATION: Connection._open_confirmation,
    wire.OPEN_FAILURE: Connection._open_failure,
    wire.WINDOW_ADJUST: Connection._window_adjust,
    wire.EXTENDED_DATA: Connection._extended_data,
    wire.CHANNEL_EOF: Connection._channel_eof,
    wire.CHANNEL_CLOSE: Connection._channel_close,
    wire.CHANNEL_REQUEST: Connection._channel_request,
    wire.CHANNEL_SUCCESS: Connection._channel_success,
    wire.CHANNEL_FAILURE: Connection._channel_failure,
}
