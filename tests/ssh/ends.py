"""Two ends of a connection, joined in memory, that keep what comes."""

from __future__ import annotations

from collections import deque
from typing import Any

from attrs import define, field

from hoopgw_ssh.channels import Channel, Opening, Request
from hoopgw_ssh.connection import Connection
from hoopgw_ssh.wire import Bytes


@define(eq=False)
class Taker:
    """Keeps what comes on a channel, and credits it at once unless told otherwise."""

    channel: Channel | None = None
    credits: bool = True
    closes: bool = True
    """Whether it answers CLOSE at once."""
    holds: bool = False
    """Whether each request holds the channel."""
    events: list[Any] = field(factory=list)
    requests: list[Request] = field(factory=list)

    def confirmed(self, extra: bytes) -> None:
        """Keep it."""
        self.events.append(("confirmed", extra))

    def refused(self, code: int, text: bytes) -> None:
        """Keep it."""
        self.events.append(("refused", code, text))

    def data(self, data: Bytes, code: int | None) -> None:
        """Keep it."""
        self.events.append((code, bytes(data)))
        if self.credits and self.channel is not None:
            self.channel.credit(len(data))

    def request(self, request: Request) -> None:
        """Keep it."""
        self.requests.append(request)
        self.events.append((request.name, request.data))
        if self.holds and self.channel is not None:
            self.channel.hold()

    def eof(self) -> None:
        """Keep it."""
        self.events.append("eof")

    def closed(self) -> None:
        """Keep it, and close in turn."""
        self.events.append("closed")
        if self.channel is not None and self.closes:
            self.channel.close()

    @property
    def text(self) -> bytes:
        """All data that came."""
        return self.stream(None)

    def stream(self, code: int | None) -> bytes:
        """All extended data of a code that came."""
        return b"".join(
            event[1] for event in self.events if isinstance(event, tuple) and event[0] == code
        )


@define(eq=False)
class End:
    """One end. Implements `hoopgw_ssh.connection.ConnectionTaker`."""

    confirms: bool = True
    sent: deque[tuple[int, bytes]] = field(factory=deque)
    takers: list[Taker] = field(factory=list)
    openings: list[tuple[Opening, Channel]] = field(factory=list)
    requests: list[Request] = field(factory=list)
    connection: Connection = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.connection = Connection(self._send, self)

    def _send(self, number: int, payload: bytes, more: Bytes = b"") -> None:
        self.sent.append((number, payload + bytes(more)))

    def opening(self, opening: Opening, channel: Channel) -> Taker:
        """Open it."""
        taker = Taker(channel)
        self.takers.append(taker)
        self.openings.append((opening, channel))
        if self.confirms:
            channel.confirm()
        return taker

    def request(self, request: Request) -> None:
        """Keep it."""
        self.requests.append(request)


@define(eq=False)
class Ends:
    """Both."""

    here: End = field(factory=End)
    there: End = field(factory=End)

    def run(self) -> None:
        """Carry all messages."""
        while self.here.sent or self.there.sent:
            for one, other in ((self.here, self.there), (self.there, self.here)):
                while one.sent:
                    other.connection.received(*one.sent.popleft())

    def channel(self) -> tuple[Channel, Taker, Channel, Taker]:
        """Open a channel: each side's end of it, and who takes what comes there."""
        taker = Taker()
        channel = self.here.connection.open(b"session", b"", taker)
        taker.channel = channel
        self.run()
        return channel, taker, self.there.openings[-1][1], self.there.takers[-1]
