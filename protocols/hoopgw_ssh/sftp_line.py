"""Both directions of an SFTP channel, at the boundaries of their packets. No I/O.

What goes on untouched goes on as it came. Requests of our own to the target, and our own answers to
the client, are put between the packets of the other side; ids of ours are from the upper end, where
no client is. What the client sends waits while its answers are unread, or who takes it is busy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from attrs import define, field
from twisted.internet.defer import Deferred

from hoopgw.errors import ProtocolViolationError, RecorderError
from hoopgw_ssh import sftp_wire as sftp
from hoopgw_ssh.inspector import Passage
from hoopgw_ssh.kept_files import not_kept
from hoopgw_ssh.sftp_packets import Bulk, PacketReader
from hoopgw_ssh.sftp_wire import Packet

UNREAD_LIMIT: Final = 256 * 1024
"""Bytes of answers of ours that the client has not taken; it is not read beyond that."""
_LAST_ID: Final = 0xFFFFFFFF
_OUR_IDS: Final = 4_096

Count: TypeAlias = Callable[[int, memoryview], None]
"""Takes note of content: where it belongs, and what it is."""


class Taker(Protocol):
    """Takes what comes on a line."""

    @property
    def is_busy(self) -> bool:
        """Whether nothing more of the client can be taken now."""
        ...

    def request(self, packet: Packet) -> None:
        """Take a request; send it on, keep it, or answer it."""
        ...

    def write(self, bulk: Bulk) -> Count | None:
        """Take the head of a WRITE; return what counts its content, None if it does not go on."""
        ...

    def answer(self, packet: Packet) -> bool:
        """Take an answer of the target; say whether it goes to the client as it came."""
        ...

    def data(self, bulk: Bulk) -> tuple[Count, int]:
        """Take the head of a DATA; return what counts its content, and where that belongs."""
        ...


@define(eq=False)
class _Way:
    """One direction: what is looked at, and what is put in between."""

    reader: PacketReader
    send: Callable[[bytes], None] = field(repr=False)
    going: list[bytes | memoryview] | None = field(default=None, init=False, repr=False)
    """What goes on of the data that is being looked at; None while none is."""
    late: list[bytes] = field(factory=list, init=False, repr=False)
    """What waits for the end of a packet that is on its way."""
    late_size: int = field(default=0, init=False)
    is_same: bool = field(default=True, init=False)
    """Whether what is being looked at goes on as it came."""
    count: Count | None = field(default=None, init=False)
    """Counts the content that comes; without one it goes nowhere."""
    at: int = field(default=0, init=False)

    def begin(self) -> list[bytes | memoryview]:
        """Begin to look at data."""
        self.going, self.is_same = [], True
        return self.going

    def end(self, data: bytes | None) -> bytes:
        """Return what goes on: ``data`` itself, if it is that."""
        going, self.going = self.going, None
        if data is not None and self.is_same and not self.reader.kept:
            return data
        return b"".join(going or ())

    def put(self, encoded: bytes, *, is_same: bool = False) -> None:
        """Send a packet at the next boundary."""
        if not self.reader.is_between:
            self.late.append(encoded)
            self.late_size += len(encoded)
        elif self.going is not None:
            self.going.append(encoded)
            self.is_same = self.is_same and is_same
        else:
            self.send(encoded)

    def head(self, bulk: Bulk, count: Count | None, at: int) -> None:
        """Take the head of a packet with content."""
        self.count, self.at = count, at
        self._pass(bulk.head)

    def content(self, content: memoryview) -> None:
        """Take some of the content."""
        if self.count is not None:
            self.count(self.at, content)
            self.at += len(content)
        self._pass(content)

    def _pass(self, data: bytes | memoryview) -> None:
        assert self.going is not None
        if self.count is None:
            self.is_same = False
        else:
            self.going.append(data)
        if self.late and self.reader.is_between:
            self.is_same = False
            self.going += self.late
            self.late.clear()
            self.late_size = 0


@define(eq=False)
class Line:
    """Both directions."""

    taker: Taker = field(repr=False)
    is_over: bool = field(default=False, init=False)
    _passage: Passage = field(init=False, repr=False)
    _ours: dict[int, Deferred[Packet]] = field(factory=dict, init=False, repr=False)
    _next_id: int = field(default=_LAST_ID, init=False)
    _unread: int = field(default=0, init=False)
    _is_holding: bool = field(default=False, init=False)
    _up: _Way = field(init=False, repr=False)
    _down: _Way = field(init=False, repr=False)

    def attach(self, passage: Passage) -> None:
        """Begin."""
        self._passage = passage
        self._up = _Way(PacketReader(sftp.WRITE), passage.to_target)
        self._down = _Way(PacketReader(sftp.DATA), self._send_down)

    def end(self, why: str) -> None:
        """End the channel."""
        if not self.is_over:
            self.is_over = True
            self._passage.end(why)

    # The client's data

    def to_target(self, data: bytes) -> bytes:
        """Take data of the client; return what goes on now."""
        if self.is_over:
            return b""
        is_whole = not self._up.reader.kept
        self._up.reader.receive(data)
        return self._pump(data if is_whole else None)

    def resume(self) -> None:
        """Go on with what waits of the client's, if nothing hinders that any more."""
        if not self._is_holding or self._up.going is not None or self.is_over:
            return
        if going := self._pump(None):
            self._passage.to_target(going)
        if not self._must_wait and not self.is_over:
            self._is_holding = False
            self._passage.release()

    @property
    def _must_wait(self) -> bool:
        return self._unread + self._down.late_size >= UNREAD_LIMIT or self.taker.is_busy

    def _pump(self, data: bytes | None) -> bytes:
        self._up.begin()
        try:
            self._look_at_requests()
        except ProtocolViolationError as error:
            self.end(f"This is not SFTP as it is spoken: {error}")
        except RecorderError as error:
            self.end(not_kept(error))
        going = self._up.end(data)
        return b"" if self.is_over else going

    def _look_at_requests(self) -> None:
        way, reader = self._up, self._up.reader
        while not self.is_over:
            if reader.is_between and self._must_wait:
                self._hold()
                return
            piece = reader.next_piece()
            if isinstance(piece, memoryview):
                way.content(piece)
            elif isinstance(piece, Bulk):
                way.head(piece, self.taker.write(piece), piece.offset)
            elif piece is None:
                return
            else:
                assert way.going is not None
                before = len(way.going)
                self.taker.request(piece)
                way.is_same = way.is_same and len(way.going) == before + 1

    def _hold(self) -> None:
        if not self._is_holding:
            self._is_holding = True
            self._passage.hold()

    def forward(self, encoded: bytes, *, is_same: bool = False) -> None:
        """Send a request to the target; ``is_same`` if it is the one that is being looked at."""
        if not self.is_over:
            self._up.put(encoded, is_same=is_same)

    def ask(self, request: Callable[[int], bytes]) -> Deferred[Packet]:
        """Ask the target something of our own; ``request`` encodes it for an id."""
        number = self._next_id
        self._next_id = number - 1 if number > _LAST_ID - _OUR_IDS else _LAST_ID
        asked: Deferred[Packet] = Deferred()  # without a canceller: its answer comes all the same
        self._ours[number] = asked
        self.forward(request(number))
        return asked

    def is_ours(self, number: int) -> bool:
        """Whether an id stands for a request of our own that waits for its answer."""
        return number in self._ours

    # The target's data

    def to_client(self, data: bytes) -> bytes:
        """Take data of the target; return what goes on now."""
        if self.is_over:
            return b""
        way = self._down
        is_whole = not way.reader.kept
        way.reader.receive(data)
        way.begin()
        try:
            self._look_at_answers()
        except ProtocolViolationError as error:
            way.end(None)
            self.end(f"The target does not speak SFTP as it should: {error}")
        except RecorderError as error:
            way.end(None)
            self.end(not_kept(error))
        going = way.end(data if is_whole else None)
        if self.is_over:
            return b""
        self.resume()
        return going

    def _look_at_answers(self) -> None:
        way, reader = self._down, self._down.reader
        while not self.is_over and (piece := reader.next_piece()) is not None:
            if isinstance(piece, memoryview):
                way.content(piece)
            elif isinstance(piece, Bulk):
                count, at = self.taker.data(piece)
                way.head(piece, count, at)
            elif self._is_passed(piece):
                way.put(piece.encode(), is_same=True)
            else:
                way.is_same = False

    def _is_passed(self, packet: Packet) -> bool:
        number = packet.id
        ours = None
        if number is not None and packet.kind != sftp.VERSION:
            ours = self._ours.pop(number, None)
        if ours is None:
            return self.taker.answer(packet)
        ours.callback(packet)
        return False

    def answer(self, encoded: bytes) -> None:
        """Send an answer of our own to the client."""
        if not self.is_over:
            self._down.put(encoded)

    def _send_down(self, encoded: bytes) -> None:
        self._unread += len(encoded)
        self._passage.to_client(encoded, None, self._left)

    def _left(self, count: int) -> None:
        self._unread -= count
        if self._is_holding:
            self.resume()
