"""Channels: their windows, what waits on them, and who is answered when. No I/O, no clock.

Conch's channels refill their windows when bytes arrive, let EOF overtake data and answer out of
order (twisted 26.10, `twisted.conch.ssh.connection`); here

- all that goes out on a channel leaves in order, as far as the peer's window and the transport take
  it: data, extended data, requests, EOF and CLOSE wait in one queue;
- a window is refilled when somebody says that its bytes have gone on (`Channel.credit`);
- answers to requests leave in the order of the requests, whoever gives them;
- a channel that is held keeps back all that comes behind, up to its window.

References: RFC 4254 section 5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Final, Protocol

from attrs import define, field, frozen

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh.answers import Answers, Slot
from hoopgw_ssh.behind import ASKING_LIMIT, Behind
from hoopgw_ssh.pieces import Piece, put
from hoopgw_ssh.wire import (
    CHANNEL_CLOSE,
    CHANNEL_DATA,
    CHANNEL_EOF,
    CHANNEL_FAILURE,
    CHANNEL_REQUEST,
    CHANNEL_SUCCESS,
    EXTENDED_DATA,
    OPEN_CONFIRMATION,
    OPEN_FAILURE,
    WINDOW_ADJUST,
    Bytes,
    string,
)

STDERR: Final = 1
PROHIBITED: Final = 1
CONNECT_FAILED: Final = 2
UNKNOWN_KIND: Final = 3
SHORTAGE: Final = 4

WINDOW: Final = 2 * 2**20
"""Bytes that a peer may send on a channel before they have gone on."""
LESSER_WINDOW: Final = 2**18
"""The same, on a channel beside many others: a connection's windows may all be full."""
PACKET: Final = 32_768
"""Bytes of data in one message of a peer."""
PACKET_LEAST: Final = 256
"""Bytes of data that a peer must take in one message: else one piece would become thousands."""
EXTRA_LIMIT: Final = 4_096
"""Bytes that a kind of channel may add to its opening; they are kept while it lives."""
_COST: Final = 256
"""Bytes that anything that waits takes at least."""

_U32: Final = Struct(">I")
_HEAD: Final = Struct(">II")
_TWO: Final = Struct(">III")
_MOST: Final = 0xFFFFFFFF


@frozen
class Opening:
    """A channel that the peer wants. Answer with `Channel.confirm` or `Channel.refuse`."""

    kind: bytes
    extra: bytes
    """What the kind adds, as it came."""


@frozen
class Request:
    """A request for a channel, or (no channel) for the connection."""

    name: bytes
    data: bytes
    """What the name adds, as it came."""
    slot: Slot | None
    """Where to answer; None if no answer is wanted."""


class ChannelTaker(Protocol):
    """Takes what comes on a channel. None of it may raise."""

    def confirmed(self, extra: bytes) -> None:
        """Take note that the peer has opened what we asked for."""
        ...

    def refused(self, code: int, text: bytes) -> None:
        """Take note that the peer has not: the channel is gone."""
        ...

    def data(self, data: Bytes, code: int | None) -> None:
        """Take bytes; ``code`` is of extended data. Say `Channel.credit` when they have gone on.

        They are valid during the call: copy what is kept.
        """
        ...

    def request(self, request: Request) -> None:
        """Take a request."""
        ...

    def eof(self) -> None:
        """Take note that no more data comes."""
        ...

    def closed(self) -> None:
        """Take note that the peer has closed, or is lost: nothing more comes.

        Requests may be sent still (a client closes before it is told the exit status); then say
        `Channel.close`.
        """
        ...


class Send(Protocol):
    """Sends a message."""

    def __call__(self, number: int, payload: bytes, more: Bytes = b"", /) -> None:
        """Send it; ``more`` is the rest of the payload, and valid during the call."""
        ...


class Carrier(Protocol):
    """The connection of a channel, as the channel sees it."""

    @property
    def is_writable(self) -> bool:
        """Whether the transport takes data now."""
        ...

    @property
    def send(self) -> Send:
        """Sends a message."""
        ...

    def forget(self, channel: Channel) -> None:
        """Let a channel go."""
        ...


@define(eq=False)
class Channel:
    """One end of a channel."""

    _connection: Carrier = field(repr=False)
    id: int
    taker: ChannelTaker = field(init=False, repr=False)
    is_open: bool = field(default=False, init=False)
    """Whether both sides have agreed on it."""
    peer_has_closed: bool = field(default=False, init=False)
    sent: int = field(default=0, init=False)
    """Bytes of data and extended data that have left."""
    _peer: int = field(default=0, init=False)
    _window: int = field(default=0, init=False)
    _packet: int = field(default=0, init=False)
    window: int = WINDOW
    """Bytes that the peer may send before they have gone on."""
    _room: int = field(init=False)
    """What the peer may send still."""
    _credit: int = field(default=0, init=False)
    _queue: deque[Piece] = field(factory=deque, init=False, repr=False)
    _asking: int = field(default=0, init=False)
    """Bytes of the requests in the queue."""
    early: Callable[[bytes], None] | None = field(default=None, init=False, repr=False)
    """Sees data when it comes, held or not: an interrupt must not wait behind what it is for."""
    is_wanted: bool = field(default=False, init=False)
    """Whether it was the peer who wanted it."""
    _asked: deque[Callable[[bool], None]] = field(factory=deque, init=False, repr=False)
    _answers: Answers = field(init=False, repr=False)
    behind: Behind = field(init=False, repr=False)
    """What comes while somebody holds the channel."""
    _ended: bool = field(default=False, init=False)
    """Whether we have said EOF, or are about to."""
    _closing: bool = field(default=False, init=False)
    """Whether we have said CLOSE, or are about to."""
    _has_closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._answers = Answers(self._answer)
        self.behind = Behind(self._hand_on)
        self._room = self.window

    # What comes next after an opening

    def confirm(self, extra: bytes = b"") -> None:
        """Open what the peer asked for."""
        self.is_open = True
        head = _HEAD.pack(self._peer, self.id) + _HEAD.pack(self.window, PACKET)
        self._connection.send(OPEN_CONFIRMATION, head + extra)
        self._pump()

    def refuse(self, code: int, text: str | bytes) -> None:
        """Do not open it."""
        text = text.encode() if isinstance(text, str) else text
        body = _HEAD.pack(self._peer, code) + string(text) + string(b"")
        self._connection.send(OPEN_FAILURE, body)
        self._connection.forget(self)

    # Sending

    def write(
        self, data: Bytes, credit: Callable[[int], None] | None = None, owed: int | None = None
    ) -> None:
        """Send data when the peer takes it.

        Args:
            data: valid during the call; what cannot leave yet is copied.
            credit: told of bytes that have left, in all ``owed``.
            owed: as many as ``data`` has, if not given: what was masked has another length.

        """
        self._write(CHANNEL_DATA, data, 0, credit, owed)

    def write_extended(
        self,
        code: int,
        data: Bytes,
        credit: Callable[[int], None] | None = None,
        owed: int | None = None,
    ) -> None:
        """Send extended data; see `write`."""
        self._write(EXTENDED_DATA, data, code, credit, owed)

    def _write(
        self,
        number: int,
        data: Bytes,
        code: int,
        credit: Callable[[int], None] | None,
        owed: int | None,
    ) -> None:
        size = len(data)
        owed = size if owed is None else owed
        if self._ended or self._closing or self.peer_has_closed or not size:
            if credit is not None and owed:
                credit(owed)  # it goes nowhere, and holds nobody up
            return
        if not self._queue and self.is_open:
            sent = self._send_at_once(number, code, data)
            paid = owed if sent == size else min(sent, owed)
            if credit is not None and paid:
                credit(paid)
            if sent == size:
                return
            data, owed = memoryview(data)[sent:], owed - paid
        put(self._queue, Piece(number, memoryview(bytes(data)), code, credit, owed))
        self._pump()

    def _send_at_once(self, number: int, code: int, data: Bytes) -> int:
        """Send what goes now of data that nothing waits before; return how much."""
        size, sent = len(data), 0
        while sent < size and self._connection.is_writable:
            count = min(size - sent, self._window, self._packet)
            if not count:
                break
            piece = data if count == size else memoryview(data)[sent : sent + count]
            self._send_data(number, code, piece)
            sent += count
        return sent

    def request(
        self, name: bytes, data: bytes, answered: Callable[[bool], None] | None = None
    ) -> None:
        """Ask something of the peer, in its place among the data.

        Who asks more than a peer takes that does not read loses the channel.
        """
        body = string(name) + bytes([answered is not None]) + data
        if self._asking + len(body) > ASKING_LIMIT:
            self.abort()
        if self._closing:
            if answered is not None:
                answered(False)
            return
        self._asking += len(body) + _COST
        if answered is not None:
            self._asked.append(answered)
        self._queue.append(Piece(CHANNEL_REQUEST, memoryview(body)))
        self._pump()

    def eof(self) -> None:
        """Say that no more data comes, after what waits."""
        if not self._ended and not self._closing:
            self._ended = True
            self._queue.append(Piece(CHANNEL_EOF, memoryview(b"")))
            self._pump()

    def close(self) -> None:
        """Close, after what waits."""
        if not self._closing:
            self._closing = True
            self._queue.append(Piece(CHANNEL_CLOSE, memoryview(b"")))
            self._pump()

    def abort(self) -> None:
        """Close now: what waits is dropped."""
        if not self._has_closed:
            self._drop()
            self._closing = False
            self.close()

    def interrupt(self, name: bytes, data: bytes) -> None:
        """Ask something of the peer, and close: what waits is dropped, and who asked for it too."""
        if not self._has_closed:
            self._drop()
            self._closing = False
            self.request(name, data)
            self.close()

    def credit(self, count: int) -> None:
        """Say that so many of the bytes that came have gone on."""
        self._credit += count
        if self._credit >= self.window // 4 and self.is_open and not self._closing:
            count, self._credit = self._credit, 0
            self._room += count
            self._connection.send(WINDOW_ADJUST, _HEAD.pack(self._peer, count))

    @property
    def waiting(self) -> int:
        """Bytes that have not left yet."""
        return sum(len(piece.data) for piece in self._queue)

    # Holding

    def hold(self) -> None:
        """Keep back all that comes from now on, until `release` is said as often as this."""
        self.behind.hold()

    def release(self) -> None:
        """Hand on what was kept back, and what comes from now on, if nobody else holds it."""
        self.behind.release()

    # Inside

    def _pump(self) -> None:
        if not self.is_open or self._has_closed:
            return
        send, queue = self._connection.send, self._queue
        while queue and (self._connection.is_writable or queue[0].number == CHANNEL_CLOSE):
            piece = queue[0]
            if piece.number in (CHANNEL_DATA, EXTENDED_DATA):
                if not self._send_from(piece):
                    return
                continue
            self._queue.popleft()
            if piece.number == CHANNEL_REQUEST:
                self._asking -= len(piece.data) + _COST
            send(piece.number, _U32.pack(self._peer) + bytes(piece.data))
            if piece.number == CHANNEL_CLOSE:
                self._has_closed = True
                if self.peer_has_closed:
                    self._connection.forget(self)
                return

    def _send_data(self, number: int, code: int, data: Bytes) -> None:
        """Send data that the window has room for."""
        count = len(data)
        peer = self._peer
        head = _HEAD.pack(peer, count) if number == CHANNEL_DATA else _TWO.pack(peer, code, count)
        self._window -= count
        self.sent += count
        self._connection.send(number, head, data)

    def _send_from(self, piece: Piece) -> bool:
        """Send as much of a piece as goes; say whether any did."""
        count = min(len(piece.data), self._window, self._packet)
        if not count:
            return False
        self._send_data(piece.number, piece.code, piece.data[:count])
        piece.data = piece.data[count:]
        paid = piece.owed
        if len(piece.data):
            paid = min(count, paid)
        else:
            self._queue.popleft()
        piece.owed -= paid
        if piece.credit is not None and paid:
            piece.credit(paid)
        return True

    def _drop(self, *, only_data: bool = False) -> None:
        pieces, self._queue = self._queue, deque()
        if not only_data:
            self._asking = 0
        for piece in pieces:
            if piece.credit is not None and piece.owed:
                piece.credit(piece.owed)
            if only_data and piece.number in (CHANNEL_REQUEST, CHANNEL_CLOSE):
                self._queue.append(piece)

    def _answer(self, succeeded: bool, _payload: bytes) -> None:
        if self.is_open and not self._has_closed:
            # At once, whatever waits: a peer asks so whether we live.
            number = CHANNEL_SUCCESS if succeeded else CHANNEL_FAILURE
            self._connection.send(number, _U32.pack(self._peer))

    # What the connection tells

    def opened_by_peer(self, peer: int, window: int, packet: int) -> None:
        """Note how the peer calls it, and what it takes.

        Raises:
            ProtocolViolationError: it takes too little at once.

        """
        if packet < PACKET_LEAST:
            raise ProtocolViolationError(f"a channel for packets of {packet} bytes")
        self._peer, self._window, self._packet = peer, window, packet

    def took(self, data: Bytes, code: int | None) -> None:
        """Note bytes that came; they are valid during the call."""
        if len(data) > self._room or len(data) > PACKET:
            raise ProtocolViolationError("more data than the window has room for")
        self._room -= len(data)
        if data:
            if self.early is not None:
                self.early(bytes(data))
            self.behind.data(data, code)

    def _hand_on(self, data: Bytes, code: int | None) -> None:
        self.taker.data(data, code)

    def asked(self, name: bytes, *, wants_answer: bool, data: bytes) -> None:
        """Note a request."""
        slot = self._answers.slot() if wants_answer else None
        size = len(name) + len(data) + _COST
        self.behind.event(lambda: self.taker.request(Request(name, data, slot)), size)

    def answered(self, succeeded: bool) -> None:
        """Note the answer to our oldest request."""
        if not self._asked:
            raise ProtocolViolationError("an answer to no request")
        self._asked.popleft()(succeeded)

    def adjusted(self, count: int) -> None:
        """Note that the peer takes more."""
        if self._window + count > _MOST:
            raise ProtocolViolationError("a window above 2^32")
        self._window += count
        self._pump()

    def peer_closed(self) -> None:
        """Note that the peer has closed: data that waits, or is held, is of no use any more."""
        if not self.is_open or self.peer_has_closed:
            return
        self.peer_has_closed = True
        self._drop(only_data=True)
        if self._has_closed:
            self._connection.forget(self)
        self._gone()

    def lost(self) -> None:
        """Note that the whole connection is gone."""
        self.is_open = False
        self._has_closed = self._closing = True
        self._drop()
        if not self.peer_has_closed:
            self.peer_has_closed = True
            self._gone()

    def _gone(self) -> None:
        self.behind.clear()
        asked, self._asked = self._asked, deque()
        for each in asked:
            each(False)
        self.taker.closed()
